package compile

import (
	"fmt"
	"testing"

	"github.com/domicile-dev/domicile/pkg/policy"
)

// BenchmarkCompile250Homes compiles 250 homes, 50 regions and 6 classes, every
// home entered everywhere (GOALS.md, P17).
func BenchmarkCompile250Homes(b *testing.B) {
	s := large(250, 50, 6)
	for b.Loop() {
		if r, problems := Compile(s, now); r == nil {
			b.Fatal(problems[0])
		}
	}
}

func large(homes, regions, classes int) *policy.Set {
	code := func(i int) string { return string([]byte{byte('A' + i/26), byte('A' + i%26)}) }
	s := sample()
	s.Deployment.Regions, s.Deployment.Classes, s.Jurisdictions = nil, nil, map[string]*policy.Jurisdiction{}
	var all, to []policy.Text
	for i := range regions {
		name := fmt.Sprintf("region-%d", i)
		s.Deployment.Regions = append(s.Deployment.Regions, policy.Region{
			Name: name, Country: code(i), Peer: fmt.Sprintf("peer%d:1", i), Backends: map[string][]string{"message": {fmt.Sprintf("10.0.%d.1:1", i)}},
		})
		all, to = append(all, policy.Text{Value: name}), append(to, policy.Text{Value: code(i)})
	}
	var names []policy.Text
	for i := range classes {
		name := fmt.Sprintf("class-%d", i)
		s.Deployment.Classes = append(s.Deployment.Classes, policy.ClassRoute{Class: name, PathPrefix: "/" + name, Subject: "caller", Service: "message"})
		names = append(names, policy.Text{Value: name})
	}
	s.Deployment.Issuers[0].Homes = nil
	for i := range homes {
		home := code(i)
		j := &policy.Jurisdiction{Code: home, Laws: texts("SA"), Rules: map[string]*policy.Rule{}}
		for _, c := range names {
			j.Rules[c.Value] = &policy.Rule{Class: c.Value, Serve: all[i%regions : i%regions+1], Entry: all}
		}
		j.Transfers = []*policy.Transfer{{ID: "all", To: to, Classes: names, For: texts("serve", "entry"), Mechanism: "scc"}}
		s.Jurisdictions[home] = j
		s.Deployment.Issuers[0].Homes = append(s.Deployment.Issuers[0].Homes, policy.Text{Value: home})
	}
	return s
}
