package policytest

import (
	"encoding/json"
	"strings"
	"testing"

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
			{Home: "SA", Class: "profile", Serve: []string{"here"}, Entry: []string{"here"}},
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
Coverage   rules 2/3 (66 %)  never ran: SA/presence
      message  presence  profile
  SA  ok       -         ok
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
		`"coverage":{"rules":3,"covered":2,"missing":["SA/presence"]}}`
	if d := cmp.Diff(wantJSON, string(body)); d != "" {
		t.Error(d)
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
