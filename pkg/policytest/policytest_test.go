package policytest

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/residency"
)

func table(t *testing.T) *residency.Table {
	t.Helper()
	tab, err := residency.New(residency.Spec{
		Regions: []residency.Region{{Name: "here", Country: "SA"}, {Name: "there", Country: "DE"}},
		Routes:  []residency.Route{{Class: "message", Carries: []string{"message", "presence"}}, {Class: "profile"}},
		Issuers: []residency.Issuer{{Issuer: "i", Homes: []string{"SA", "QA"}}},
		Rules: []residency.Rule{
			{Home: "SA", Class: "message", Serve: []string{"here"}, Entry: []string{"here"}},
			{Home: "SA", Class: "presence"},
			{Home: "SA", Class: "profile", Serve: []string{"here"}, Entry: []string{"here"},
				Cache: &residency.Cache{Edges: []string{"there"}, Fields: []string{"displayName"}, TTL: 10 * time.Minute}},
		},
		Transfers: []residency.Transfer{
			{ID: "card", Home: "SA", To: []string{"DE", "FR"}, Classes: []string{"profile"}, For: []string{"cache"}, Mechanism: "scc"},
			{ID: "old", Home: "SA", To: []string{"FR"}, Classes: []string{"profile"}, For: []string{"entry"}, Mechanism: "scc", Lapsed: true},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

func run(t *testing.T, cases ...policy.TestCase) Report {
	t.Helper()
	for i := range cases {
		cases[i].Pos = policy.Pos{File: "sa_test.yaml", Line: i + 5, Column: 3}
	}
	return Run(&policy.Set{Tests: []*policy.PolicyTest{nil, {Name: "t", Cases: cases}}}, table(t))
}

func TestCases(t *testing.T) {
	for _, c := range []struct {
		name string
		in   policy.TestCase
		fail string // part of the message, "" for a pass
	}{
		{"allowed", policy.TestCase{Home: "SA", Class: "message", Entry: "here", AllowRegion: "here"}, ""},
		{"allowed elsewhere", policy.TestCase{Home: "SA", Class: "message", Entry: "here", AllowRegion: "there"}, "expected allow there, got allow here (rule SA/message)"},
		{"denied at an entry", policy.TestCase{Home: "SA", Class: "message", Entry: "there", DenyReason: "entry-not-allowed"}, ""},
		{"denied for another reason", policy.TestCase{Home: "SA", Class: "message", Entry: "there", DenyReason: "forbidden"}, "got deny entry-not-allowed"},
		{"down", policy.TestCase{Home: "SA", Class: "message", Entry: "here", Down: []string{"here"}, DenyReason: "region-unavailable"}, ""},
		{"forbidden", policy.TestCase{Home: "SA", Class: "presence", Entry: "here", DenyReason: "forbidden"}, ""},
		{"allowed although denied", policy.TestCase{Home: "SA", Class: "message", Entry: "here", DenyReason: "region-unavailable"}, "got allow here"},
		{"no rule, as named", policy.TestCase{Home: "QA", Class: "message", Entry: "here", DenyReason: "no-rule"}, ""},
		{"no rule, not named", policy.TestCase{Home: "QA", Class: "message", Entry: "here", DenyReason: "forbidden"}, CodeNotEvaluated},
		{"no rule to allow", policy.TestCase{Home: "QA", Class: "message", Entry: "here", AllowRegion: "here"}, CodeNotEvaluated},
		{"no rule expected, a rule ran", policy.TestCase{Home: "SA", Class: "message", Entry: "here", DenyReason: "no-rule"}, "got allow here"},
		{"no class, as named", policy.TestCase{Home: "SA", Class: "media", Entry: "here", DenyReason: "no-class"}, ""},
		{"unknown class", policy.TestCase{Home: "SA", Class: "mesage", Entry: "here", AllowRegion: "here"}, `unknown class "mesage", did you mean "message"?`},
		{"unknown home", policy.TestCase{Home: "SB", Class: "message", Entry: "here", DenyReason: "no-rule"}, `unknown home "SB", did you mean "SA"?`},
		{"unknown entry", policy.TestCase{Home: "SA", Class: "message", Entry: "heer", DenyReason: "entry-not-allowed"}, `unknown entry region "heer", did you mean "here"?`},
		{"unknown down", policy.TestCase{Home: "SA", Class: "message", Entry: "here", Down: []string{"mars"}, AllowRegion: "here"}, `unknown region "mars"  DP5101`},
		{"unknown region", policy.TestCase{Home: "SA", Class: "message", Entry: "here", AllowRegion: "hree"}, `unknown region "hree"`},
		{"unknown reason", policy.TestCase{Home: "SA", Class: "message", Entry: "there", DenyReason: "entry-not-alowed"}, `did you mean "entry-not-allowed"?`},
		{"cached", policy.TestCase{Home: "SA", Class: "profile", Edge: "there", Field: "displayName", CacheTTL: 10 * time.Minute}, ""},
		{"cached for another time", policy.TestCase{Home: "SA", Class: "profile", Edge: "there", Field: "displayName", CacheTTL: time.Hour}, "expected cache 1h, got cache 10m (rule SA/profile)"},
		{"cached although none is expected", policy.TestCase{Home: "SA", Class: "profile", Edge: "there", Field: "displayName", CacheNone: true}, "expected cache none, got cache 10m"},
		{"not cached at home", policy.TestCase{Home: "SA", Class: "profile", Edge: "here", Field: "displayName", CacheNone: true}, ""},
		{"a field that is never cached", policy.TestCase{Home: "SA", Class: "profile", Edge: "there", Field: "phone", CacheNone: true}, ""},
		{"a field that is never cached, expected", policy.TestCase{Home: "SA", Class: "profile", Edge: "there", Field: "phone", CacheTTL: time.Hour}, `unknown field "phone"  DP5101`},
		{"a slip of the pen in a field", policy.TestCase{Home: "SA", Class: "profile", Edge: "there", Field: "displayNmae", CacheNone: true}, `unknown field "displayNmae", did you mean "displayName"?`},
		{"unknown edge", policy.TestCase{Home: "SA", Class: "profile", Edge: "thre", Field: "phone", CacheNone: true}, `unknown edge "thre"`},
		{"cache without a rule", policy.TestCase{Home: "QA", Class: "profile", Edge: "there", Field: "phone", CacheNone: true}, CodeNotEvaluated},
		{"cache where nobody may be served", policy.TestCase{Home: "SA", Class: "presence", Edge: "there", Field: "phone", CacheNone: true}, ""},
		{"covered", policy.TestCase{Home: "SA", Class: "profile", To: "DE", For: "cache", Transfer: "card"}, ""},
		{"covered by another", policy.TestCase{Home: "SA", Class: "profile", To: "DE", For: "cache", Transfer: "old"}, "expected transfer old, got transfer card"},
		{"not covered", policy.TestCase{Home: "SA", Class: "profile", To: "DE", For: "serve", DenyReason: "transfer-not-allowed"}, ""},
		{"not covered, to a country that nothing names", policy.TestCase{Home: "SA", Class: "profile", To: "US", For: "serve", DenyReason: "transfer-not-allowed"}, ""},
		{"covered although refused", policy.TestCase{Home: "SA", Class: "profile", To: "DE", For: "cache", DenyReason: "transfer-not-allowed"}, "got transfer card"},
		{"lapsed", policy.TestCase{Home: "SA", Class: "profile", To: "FR", For: "entry", DenyReason: "lapsed"}, ""},
		{"unknown transfer", policy.TestCase{Home: "SA", Class: "profile", To: "DE", For: "cache", Transfer: "crad"}, `unknown transfer of the home "crad", did you mean "card"?`},
		{"unknown destination", policy.TestCase{Home: "SA", Class: "profile", To: "US", For: "cache", Transfer: "card"}, `unknown destination "US"`},
		{"unknown purpose", policy.TestCase{Home: "SA", Class: "profile", To: "DE", For: "cahce", DenyReason: "transfer-not-allowed"}, `unknown purpose "cahce", did you mean "cache"?`},
		{"a crossing without a rule", policy.TestCase{Home: "QA", Class: "profile", To: "DE", For: "cache", DenyReason: "transfer-not-allowed"}, CodeNotEvaluated},
		{"no-rule is no answer to a crossing", policy.TestCase{Home: "QA", Class: "profile", To: "DE", For: "cache", DenyReason: "no-rule"}, CodeNotEvaluated},
		{"another question's answer", policy.TestCase{Home: "SA", Class: "profile", Edge: "there", Field: "displayName", AllowRegion: "here"}, "expect needs"},
		{"two questions", policy.TestCase{Home: "SA", Class: "profile", Entry: "here", To: "DE", For: "cache", Transfer: "card"}, "expect needs"},
		{"nothing expected", policy.TestCase{Home: "SA", Class: "message", Entry: "here"}, "expect needs"},
		{"both expected", policy.TestCase{Home: "SA", Class: "message", Entry: "here", AllowRegion: "here", DenyReason: "forbidden"}, "expect needs"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := run(t, c.in)
			got := r.Cases[0]
			if got.Pass != (c.fail == "") || !strings.Contains(got.Message.En, c.fail) || got.Message.IsZero() != got.Pass {
				t.Errorf("got %+v, want failure %q", got, c.fail)
			}
			if r.OK() != got.Pass || r.Passed+r.Failed != 1 {
				t.Errorf("counts: %+v", r)
			}
		})
	}
}

func TestReport(t *testing.T) {
	r := run(t,
		policy.TestCase{Name: "stays", Home: "SA", Class: "message", Entry: "here", AllowRegion: "here"},
		policy.TestCase{Name: "留在境内", Home: "SA", Class: "profile", Entry: "there", AllowRegion: "here"},
	)
	var b strings.Builder
	r.Text(&b, lang.English)
	want := `sa_test.yaml
  PASS  stays
  FAIL  留在境内  (line 6)
        expected allow here, got deny entry-not-allowed (rule SA/profile)
Coverage   rules 2/3   cells of home and class 2/6   33 %
           never asked: QA/message, QA/presence, QA/profile, SA/presence
      message  presence  profile
  QA  none     none      none
  SA  ok       -         ok
  none: no rule, and no case that expects no-rule
1 passed, 1 failed.
`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Error(d)
	}
	body, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	wantJSON := `{"passed":1,"failed":1,"cases":[` +
		`{"file":"sa_test.yaml","line":5,"name":"stays","pass":true,"got":"allow here","want":"allow here"},` +
		`{"file":"sa_test.yaml","line":6,"name":"留在境内","pass":false,"got":"deny entry-not-allowed","want":"allow here","message":"expected allow here, got deny entry-not-allowed (rule SA/profile)","messageZh":"期望 allow here，实际 deny entry-not-allowed (规则 SA/profile)"}],` +
		`"coverage":{"rules":3,"covered":2,"missing":["SA/presence"],"cells":6,"coveredCells":2,"missingCells":["QA/message","QA/presence","QA/profile","SA/presence"],"matrix":[` +
		`{"home":"QA","class":"message","rule":false,"asked":false},{"home":"QA","class":"presence","rule":false,"asked":false},{"home":"QA","class":"profile","rule":false,"asked":false},` +
		`{"home":"SA","class":"message","rule":true,"asked":true},{"home":"SA","class":"presence","rule":true,"asked":false},{"home":"SA","class":"profile","rule":true,"asked":true}]}}`
	if d := cmp.Diff(wantJSON, string(body)); d != "" {
		t.Error(d)
	}
}

// TestCoverage: a cell of a home and class without a rule counts, and only a case
// that asks for the decision covers one. QA is named by an issuer only, TR by a
// jurisdiction only.
func TestCoverage(t *testing.T) {
	cases := []policy.TestCase{
		{Home: "SA", Class: "message", Entry: "here", AllowRegion: "here"},
		{Home: "SA", Class: "profile", Edge: "there", Field: "displayName", CacheTTL: 10 * time.Minute},
		{Home: "SA", Class: "profile", To: "DE", For: "cache", Transfer: "card"},
		{Home: "QA", Class: "message", Entry: "here", DenyReason: "no-rule"},
	}
	set := &policy.Set{
		Tests:         []*policy.PolicyTest{{Cases: cases}},
		Jurisdictions: map[string]*policy.Jurisdiction{"SA": {}, "TR": {}},
	}
	r := Run(set, table(t))
	if !r.OK() {
		t.Fatalf("%+v", r.Cases)
	}
	c := r.Coverage
	if d := cmp.Diff([]string{"QA/presence", "QA/profile", "SA/presence", "SA/profile", "TR/message", "TR/presence", "TR/profile"}, c.MissingCells); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"SA/presence", "SA/profile"}, c.Missing); d != "" {
		t.Error(d)
	}
	if c.Rules != 3 || c.Covered != 1 || c.Cells != 9 || c.CoveredCells != 2 || c.Percent() != 22 {
		t.Errorf("%+v: %d %%", c, c.Percent())
	}
	var b strings.Builder
	r.Text(&b, lang.Chinese)
	if want := `覆盖率   规则 1/3   归属法域与类别的组合 2/9   22 %
           从未测试：QA/presence, QA/profile, SA/presence, SA/profile, TR/message, TR/presence, TR/profile
      message  presence  profile
  QA  ok       none      none
  SA  ok       -         -
  TR  none     none      none
  none：没有规则，也没有期望 no-rule 的用例
`; !strings.Contains(b.String(), want) {
		t.Errorf("got %s", b.String())
	}
}

// TestNothingTestedReachesNothing: a case that fails because no rule ran covers no
// cell; one that a rule decided otherwise has reached it.
func TestNothingTestedReachesNothing(t *testing.T) {
	c := run(t,
		policy.TestCase{Home: "QA", Class: "message", Entry: "here", AllowRegion: "here"},
		policy.TestCase{Home: "SA", Class: "message", Entry: "here", AllowRegion: "there"},
	).Coverage
	if d := cmp.Diff([]string{"QA/message", "QA/presence", "QA/profile", "SA/presence", "SA/profile"}, c.MissingCells); d != "" {
		t.Error(d)
	}
}

// TestPercentNeverRoundsUp: 100 means all, and less is never shown as all.
func TestPercentNeverRoundsUp(t *testing.T) {
	for _, c := range []struct {
		c    Coverage
		want int
	}{
		{Coverage{Rules: 1000, Covered: 999, Cells: 1000, CoveredCells: 999}, 99},
		{Coverage{Rules: 3, Covered: 3, Cells: 4, CoveredCells: 3}, 75},
		{Coverage{Rules: 4, Covered: 2, Cells: 8, CoveredCells: 6}, 50},
		{Coverage{Rules: 3, Covered: 3, Cells: 3, CoveredCells: 3}, 100},
		{Coverage{}, 0},
	} {
		if got := c.c.Percent(); got != c.want {
			t.Errorf("%+v: %d, want %d", c.c, got, c.want)
		}
	}
}

// TestNothingToRun: without a table everything is denied, without tests nothing
// is covered, and neither panics.
func TestNothingToRun(t *testing.T) {
	set := &policy.Set{Tests: []*policy.PolicyTest{{Cases: []policy.TestCase{{Home: "SA", Class: "message", Entry: "here", AllowRegion: "here"}}}}}
	if r := Run(set, nil); r.OK() || r.Coverage.Percent() != 0 {
		t.Errorf("%+v", r)
	}
	if r := Run(nil, table(t)); len(r.Cases) != 0 || r.Coverage.Covered != 0 || len(r.Coverage.Missing) != 3 {
		t.Errorf("%+v", r)
	}
}
