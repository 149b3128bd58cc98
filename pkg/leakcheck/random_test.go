package leakcheck_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/domicile-dev/domicile/pkg/envoy"
	"github.com/domicile-dev/domicile/pkg/leakcheck"
	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// randomWorld is a deployment and policy of any shape that compiles: overlapping
// routes, several homes a host, denials, failover, streams that carry classes.
func randomWorld(t *testing.T, seed uint64) (residency.Spec, *topology.Topology) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 7))
	regions := []string{"a-one", "b-two", "c-three", "a-one-more"}[:2+r.IntN(3)]
	some := func() []string {
		var out []string
		for _, i := range r.Perm(len(regions))[:r.IntN(len(regions)+1)] {
			out = append(out, regions[i])
		}
		return out
	}
	top := &topology.Topology{TrustDomain: "w.test", Expose: r.IntN(2) == 0}
	var spec residency.Spec
	for i, n := range regions {
		region := topology.Region{
			Name: n, Country: string(rune('A' + i)), Peer: fmt.Sprintf("10.%d.0.9:8443", i), Agent: topology.DefaultAgent,
			Aliases: []string{fmt.Sprintf("127.0.0.1:%d", 8000+i)}, Listen: topology.DefaultListen(),
			Backends: map[string][]string{"message": {fmt.Sprintf("10.%d.0.1:80", i)}},
		}
		if r.IntN(4) > 0 {
			region.Host = fmt.Sprintf("h%d.example.com", i)
		}
		if r.IntN(4) > 0 {
			region.Backends["profile"] = []string{fmt.Sprintf("p%d.example.com:80", i), fmt.Sprintf("10.%d.0.2:80", i)}
		}
		spec.Regions = append(spec.Regions, residency.Region{Name: n, Country: region.Country})
		top.Regions = append(top.Regions, region)
	}
	pool := []residency.Route{
		{Class: "open", Match: residency.Match{Path: "/healthz"}, Subject: residency.SubjectNone, Service: "message", Serve: some()},
		{Class: "open", Match: residency.Match{PathPrefix: "/static", Method: "GET"}, Subject: residency.SubjectNone, Service: "profile", Serve: some()},
		{Class: "login", Match: residency.Match{PathPrefix: "/v1/login"}, Subject: residency.SubjectHost, Service: "message"},
		{Class: "login", Match: residency.Match{PathPrefix: "/v1", Method: "OPTIONS"}, Subject: residency.SubjectHost, Service: "message", LongLived: true},
		{Class: "message", Match: residency.Match{PathPrefix: "/v1/messages"}, Subject: residency.SubjectCaller, Service: "message"},
		{Class: "message", Match: residency.Match{Path: "/ws"}, Subject: residency.SubjectCaller, Service: "message", LongLived: true,
			Carries: []string{"message", "profile"}},
		{Class: "message", Match: residency.Match{GRPCService: "im.v1.Chat"}, Subject: residency.SubjectCaller, Service: "message"},
		{Class: "profile", Match: residency.Match{PathTemplate: "/v1/profiles/{user}"}, Subject: residency.SubjectUser, Service: "profile"},
		{Class: "profile", Match: residency.Match{PathTemplate: "/{any}/messages"}, Subject: residency.SubjectUser, Service: "profile"},
		{Class: "relation", Match: residency.Match{PathPrefix: "/", Host: "h0.example.com"}, Subject: residency.SubjectCaller, Service: "profile"},
		{Class: "relation", Match: residency.Match{PathPrefix: "/v1", Method: "PUT"}, Subject: residency.SubjectCaller, Service: "profile"},
	}
	for _, i := range r.Perm(len(pool))[:1+r.IntN(len(pool))] {
		spec.Routes = append(spec.Routes, pool[i])
	}
	homes := []string{"AA", "BB", "CC", "DD"}
	for n, issuer := range []string{"https://one.example", "https://two.example"} {
		spec.Issuers = append(spec.Issuers, residency.Issuer{Issuer: issuer, Homes: homes[n : n+3]})
		top.Issuers = append(top.Issuers, topology.Issuer{
			Issuer: issuer, HomeClaim: "home", JWKS: `{"keys":[{"kty":"EC","kid":"1"}]}`, Forward: r.IntN(2) == 0,
		})
	}
	for _, home := range homes {
		for _, class := range []string{"login", "message", "profile", "relation"} {
			if r.IntN(5) > 0 {
				spec.Rules = append(spec.Rules, residency.Rule{Home: home, Class: class, Serve: some(), Entry: some(), MaxAge: 3600e9})
			}
		}
	}
	for _, home := range homes {
		if r.IntN(2) == 0 {
			spec.Observed = append(spec.Observed, home)
		}
	}
	top.Today = map[string][]string{"message": {"10.0.0.1:80", "today.example.com:80"}}
	if r.IntN(3) > 0 {
		top.Today["profile"] = []string{"10.99.0.2:80"}
	}
	return spec, top
}

// TestTranslationOfRandomPolicies: translator and leak check agree on whatever
// policy comes, also on the first step of a roll-out. The step leads from the
// same policy with every other rule taken away, so that it opens something.
func TestTranslationOfRandomPolicies(t *testing.T) {
	clusters, halfway, passed := 0, 0, 0
	for seed := range uint64(6) {
		spec, top := randomWorld(t, seed)
		table := tableOf(t, spec)
		spec.Rules, spec.Observed = slices.Clone(spec.Rules), spec.Observed[:len(spec.Observed)/2]
		for i := range spec.Rules {
			if i%2 == 0 {
				spec.Rules[i].Serve, spec.Rules[i].Entry = nil, nil
			}
		}
		meet, err := residency.Meet(tableOf(t, spec), table)
		if err != nil {
			t.Fatal(err)
		}
		for _, node := range envoy.Nodes(top) {
			whole, today := proved(t, envoy.Input{Table: table, Topology: top, Node: node})
			passed += today
			step, _ := proved(t, envoy.Input{Table: meet, Opening: table, Topology: top, Node: node})
			clusters += whole
			if step > 0 && step < whole {
				halfway++
			}
		}
	}
	if clusters == 0 || halfway == 0 || passed == 0 {
		t.Errorf("%d clusters are reached, %d of today, %d steps are between nothing and the policy: too little to prove", clusters, passed, halfway)
	}
}

// proved translates, checks, and returns how many clusters with data there are to
// reach, and of how many of them today's backends are part.
func proved(t *testing.T, in envoy.Input) (reached, today int) {
	t.Helper()
	r, err := envoy.Translate(in)
	if err != nil {
		t.Fatal(err)
	}
	c := leakcheck.Config{Listeners: r.Listeners, Clusters: r.Clusters, Routes: r.Routes, Extensions: r.Extensions}
	for _, f := range leakcheck.Check(c, in.Table, in.Topology, in.Node.Region) {
		t.Errorf("%s, table %s: %s", in.Node, in.Table.Digest(), f)
	}
	for _, cluster := range r.Clusters {
		if strings.Contains(cluster.GetName(), "@") { // else the agent's
			reached++
		}
		if strings.Contains(cluster.GetName(), "today/") {
			today++
		}
	}
	return reached, today
}

func tableOf(t *testing.T, spec residency.Spec) *residency.Table {
	t.Helper()
	table, err := residency.New(spec)
	if err != nil {
		t.Fatal(err)
	}
	return table
}
