package policies_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/domicile-dev/domicile/pkg/compile"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/policy/law"
	"github.com/domicile-dev/domicile/pkg/policytest"
	"github.com/domicile-dev/domicile/policies"
)

// operator makes the repository of an operator who runs one region in each country
// of the library and keeps every home in its own country, with tests.
func operator(laws map[string]*law.Law) fstest.MapFS {
	var homes, quoted, regions []string
	seen := map[string]bool{}
	fsys := fstest.MapFS{}
	put := func(name, text string) { fsys[name] = &fstest.MapFile{Data: []byte(text)} }
	for _, code := range slices.Sorted(maps.Keys(laws)) {
		l := laws[code]
		if code == "EU" { // a union is no home
			continue
		}
		homes = append(homes, code)
		country := code[:2]
		region := strings.ToLower(country) + "-1"
		if !seen[country] {
			seen[country] = true
			regions = append(regions, fmt.Sprintf(`    - {name: %s, country: %q, gateway: {host: %s.im.example.com, peer: "peer.%s.example.com:8443"}, backends: {message: ["10.1.%d.1:8080"], profile: ["10.1.%d.2:8080"]}}`,
				region, country, country, country, len(seen), len(seen)))
		}
		files := fmt.Sprintf("%q", code)
		if l.Adds != "" {
			files = fmt.Sprintf("%q, %q", l.Adds, code)
		}
		put("jurisdictions/"+strings.ToLower(code)+".yaml", fmt.Sprintf(`apiVersion: domicile.dev/v1
kind: Jurisdiction
metadata: {name: %q, owner: compliance}
spec:
  law: [%s]
  enforcement: enforce
  review: {every: 90d, last: 2026-11-24}
  defaults: {serve: [%s], entry: [%s], basis: [chosen]}
  classes: {login: {}, presence: {}, message: {session: {maxAge: 24h}}, relation: {}, profile: {}}
`, code, files, region, region))
		test := "apiVersion: domicile.dev/v1\nkind: PolicyTest\nmetadata: {name: at home}\ncases:\n"
		for _, class := range []string{"login", "presence", "message", "relation", "profile"} {
			test += fmt.Sprintf("  - {name: %s at home, home: %q, class: %s, entry: %s, expect: {allow: %s}}\n", class, code, class, region, region)
			test += fmt.Sprintf("  - {name: no spill-over of %s, home: %q, class: %s, entry: %s, down: [%s], expect: {deny: region-unavailable}}\n", class, code, class, region, region)
		}
		put("jurisdictions/"+strings.ToLower(code)+"_test.yaml", test)
	}
	for _, h := range homes {
		quoted = append(quoted, fmt.Sprintf("%q", h))
	}
	put("deployment.yaml", `apiVersion: domicile.dev/v1
kind: Deployment
metadata: {name: everywhere}
spec:
  regions:
`+strings.Join(regions, "\n")+`
  classes:
    - {class: login, match: {pathPrefix: /v1/login}, subject: host, service: message}
    - {class: message, match: {pathPrefix: /v1/messages}, subject: caller}
    - {class: message, match: {path: /ws}, subject: caller, longLived: true, carries: [message, presence]}
    - {class: profile, match: {pathTemplate: "/v1/profiles/{user}"}, subject: path.user}
    - {class: relation, match: {pathTemplate: "/v1/friends/{user}"}, subject: path.user, service: profile}
  issuers:
    - {issuer: "https://id.example.com", jwks: {file: jwks.json}, audiences: [im], homeClaim: home, homes: [`+strings.Join(quoted, ", ")+`]}
`)
	keys, _ := policies.FS.ReadFile("jwks.json")
	put("jwks.json", string(keys))
	return fsys
}

// TestAnOperatorEverywhere: who keeps every home at home breaks no law of the
// library, and is told of the one that is a bill.
func TestAnOperatorEverywhere(t *testing.T) {
	all := laws(t)
	set, problems := policy.Parse(operator(all), policies.Shipped())
	if len(problems) > 0 {
		t.Fatalf("parse: %+v", problems)
	}
	if len(set.Jurisdictions) != 63 || len(set.Jurisdictions) != len(all)-1 {
		t.Fatalf("%d homes of %d laws", len(set.Jurisdictions), len(all))
	}
	r, problems := compile.Compile(set, released)
	if len(problems) != 1 || problems[0].Code != compile.CodeNotInForce || problems[0].File != "jurisdictions/us-pa.yaml" {
		t.Errorf("compile: %+v", problems)
	}
	if r == nil {
		t.Fatal("nothing compiled")
	}
	if report := policytest.Run(set, r.Table); !report.OK() || report.Passed != 63*10 || report.Coverage.Percent() != 100 {
		t.Errorf("tests: %d passed, %+v", report.Passed, report.Coverage)
	}
}

// TestEveryHomeCanBeLeft: each home has a mechanism, other than adequacy, on which
// a transfer may rest: a file that lists none by mistake would keep data at home
// where no law does.
func TestEveryHomeCanBeLeft(t *testing.T) {
	all := laws(t)
	set, problems := policy.Parse(operator(all), policies.Shipped())
	if len(problems) > 0 {
		t.Fatalf("parse: %+v", problems)
	}
	for _, j := range set.Jurisdictions {
		for _, m := range law.Mechanisms {
			j.Transfers = append(j.Transfers, &policy.Transfer{
				ID: m, To: []policy.Text{{Value: "NZ"}}, Classes: []policy.Text{{Value: "message"}}, For: []policy.Text{{Value: "deliver"}},
				Mechanism: m, Reference: "x", Pos: policy.Pos{File: m, Line: 1, Column: 1},
			})
		}
	}
	refused := map[string]int{}
	_, problems = compile.Compile(set, released)
	for _, p := range problems {
		for home := range set.Jurisdictions {
			if strings.HasPrefix(p.Message.En, "transfer ") && strings.Contains(p.Message.En, " of "+home+":") && p.File != "adequacy" {
				refused[home]++
			}
		}
	}
	if len(refused) < 30 {
		t.Errorf("only %d homes refuse any mechanism: %v", len(refused), refused)
	}
	for home, n := range refused {
		if n == len(law.Mechanisms)-1 {
			t.Errorf("%s: no mechanism", home)
		}
	}
}

// TestRequiredDuty: to serve a home abroad first, and at home second, falls short
// of the law of Russia, and of no other: the library imposes no duty that the law
// does not.
func TestRequiredDuty(t *testing.T) {
	all := laws(t)
	set, problems := policy.Parse(operator(all), policies.Shipped())
	if len(problems) > 0 {
		t.Fatalf("parse: %+v", problems)
	}
	eea := set.Groups["EEA"].Members
	for home, j := range set.Jurisdictions {
		abroad := "DE"
		if home == "DE" || slices.ContainsFunc(eea, func(m law.GroupMember) bool { return m.Code == home }) {
			abroad = "BR"
		}
		mechanism := "scc"
		for _, t := range j.Laws {
			for _, m := range set.Laws[t.Value].Mechanisms {
				if m != "adequacy" {
					mechanism = m
				}
			}
		}
		x := &policy.Transfer{
			ID: "abroad", To: []policy.Text{{Value: abroad}}, For: []policy.Text{{Value: "serve"}, {Value: "entry"}}, Mechanism: mechanism, Reference: "x", Pos: j.Pos,
		}
		for class, r := range j.Rules {
			r.Serve = append([]policy.Text{{Value: strings.ToLower(abroad) + "-1", Pos: j.Pos}}, r.Serve...)
			x.Classes = append(x.Classes, policy.Text{Value: class})
		}
		j.Transfers = append(j.Transfers, x)
	}
	_, problems = compile.Compile(set, released)
	short := map[string]bool{}
	for _, p := range problems {
		switch {
		case p.Code == compile.CodeDutyShortfall:
			short[p.File] = true
			if p.Severity != policy.Error || !strings.Contains(p.Law, "152-FZ Art. 18(5)") || !strings.Contains(p.Message.En, "RU users") {
				t.Errorf("%+v", p)
			}
		case p.Severity == policy.Error:
			t.Errorf("%+v", p)
		}
	}
	if len(short) != 1 || !short["jurisdictions/ru.yaml"] {
		t.Errorf("short of a duty: %v", short)
	}
}
