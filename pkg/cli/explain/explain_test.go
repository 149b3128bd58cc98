package explain

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/policy/law"
	"github.com/domicile-dev/domicile/pkg/residency"
)

func ask(t *testing.T, q residency.Query) *Explanation {
	t.Helper()
	table, err := residency.New(residency.Spec{
		Regions: []residency.Region{{Name: "a", Country: "AA"}, {Name: "b", Country: "AA"}, {Name: "c", Country: "CC"}},
		Routes:  []residency.Route{{Class: "m", Match: residency.Match{Path: "/m"}, Subject: residency.SubjectCaller, Service: "m", Carries: []string{"m", "unruled"}}},
		Rules: []residency.Rule{
			{
				Home: "AA", Class: "m", Serve: []string{"a", "b"}, Entry: []string{"b", "c"}, MaxAge: 90 * time.Minute,
				Cache: &residency.Cache{Edges: []string{"c"}, Fields: []string{"name"}, TTL: 10 * time.Minute},
			},
			{Home: "BB", Class: "m", Serve: []string{}, Entry: []string{}},
		},
		Observed: []string{"AA"}, ObserveEnds: map[string]time.Time{"AA": time.Date(2027, 2, 24, 0, 0, 0, 0, time.UTC)},
	})
	if err != nil {
		t.Fatal(err)
	}
	text := func(s string) policy.Text { return policy.Text{Value: s} }
	return Explain(Policy{
		Table: table, Bundle: "sha256:b",
		Places: map[[2]string]policy.Pos{{"AA", "m"}: {File: "aa.yaml", Line: 7}, {"BB", "m"}: {File: "bb.yaml", Line: 3}},
		Shown:  func(f string) string { return "policies/" + f },
		Set: &policy.Set{
			Laws: map[string]*law.Law{"AA": {Articles: map[string]law.Article{"art-1": {Citation: "Art. 1"}}}},
			Jurisdictions: map[string]*policy.Jurisdiction{
				"AA": {
					Laws:  []policy.Text{text("AA")},
					Rules: map[string]*policy.Rule{"m": {Basis: []policy.Text{text("chosen"), text("art-1"), text("art-9")}}},
				},
				"BB": {},
			},
		},
	}, q, "1.0")
}

func TestDecisions(t *testing.T) {
	type row struct {
		allowed               bool
		reason, region, entry string
		rule                  *Rule
		whenDown              string
	}
	aa, bb := &Rule{"policies/aa.yaml", 7}, &Rule{"policies/bb.yaml", 3}
	for _, c := range []struct {
		name string
		q    residency.Query
		want row
	}{
		{"at an entry", residency.Query{Home: "AA", Class: "m", Entry: "c"}, row{true, "", "a", "c", aa, "b serves"}},
		{"failover", residency.Query{Home: "AA", Class: "m", Entry: "c", Down: []string{"a"}}, row{true, "", "b", "c", aa, "refused with 503 region-unavailable; no other region serves"}},
		{"all down", residency.Query{Home: "AA", Class: "m", Entry: "c", Down: []string{"a", "b"}}, row{false, "region-unavailable", "", "c", aa, ""}},
		// b serves and may be entered; a serves first but may not.
		{"no entry named", residency.Query{Home: "AA", Class: "m"}, row{true, "", "a", "b", aa, "b serves"}},
		{"wrong entry", residency.Query{Home: "AA", Class: "m", Entry: "a"}, row{false, "entry-not-allowed", "", "a", aa, ""}},
		{"forbidden", residency.Query{Home: "BB", Class: "m", Entry: "a"}, row{false, "forbidden", "", "a", bb, ""}},
		{"no rule", residency.Query{Home: "ZZ", Class: "m", Entry: "a"}, row{false, "no-rule", "", "a", nil, ""}},
		{"no class", residency.Query{Home: "AA", Class: "z", Entry: "a"}, row{false, "no-class", "", "a", nil, ""}},
	} {
		e := ask(t, c.q)
		got := row{e.Allowed, e.Reason, e.Region, e.Entry, e.Rule, e.whenDown}
		if d := cmp.Diff(c.want, got, cmp.AllowUnexported(row{})); d != "" {
			t.Errorf("%s:\n%s", c.name, d)
		}
	}
}

func TestText(t *testing.T) {
	e := ask(t, residency.Query{Home: "AA", Class: "m", Entry: "c"})
	var b strings.Builder
	e.Text(&b)
	want := `ALLOWED  m data of users at home in AA is served by a, through c.

  who      home AA
  what     class m
  where    served by a, then b
           may enter through b, c
           name may be cached in c for 10m
           sessions end after 1h30m at most
  if a is down: b serves
  why      rule policies/aa.yaml:7
  basis    chosen by the operator
  basis    art-1: Art. 1 (as the author cited it)
  basis    art-9
  mode     observe until 2027-02-24: NOT ENFORCED
  policy   table ` + e.Policy + `
           bundle sha256:b
`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Error(d)
	}
	for _, entry := range []string{"a", ""} { // without an entry, at any
		b.Reset()
		e = ask(t, residency.Query{Home: "AA", Class: "unruled", Entry: entry})
		e.Text(&b)
		const passes = "NOT ENFORCED  unruled data of users at home in AA would be refused (403 no-rule: the home has no rule for this data class); " +
			"it passes to today's backend until 2027-02-24.\n"
		if !strings.HasPrefix(b.String(), passes) || e.Allowed || e.Reason != "no-rule" || !e.NotEnforced.Passes {
			t.Errorf("at %q: %+v\n%s", entry, e, b.String())
		}
	}
	b.Reset()
	ask(t, residency.Query{Home: "\x1b[2J", Class: "m", Entry: "a"}).Text(&b)
	if strings.Contains(b.String(), "\x1b") || !strings.HasPrefix(b.String(), `DENIED  m data of users at home in \u001b[2J is refused with 403 no-rule: `) {
		t.Errorf("%q", b.String())
	}
}
