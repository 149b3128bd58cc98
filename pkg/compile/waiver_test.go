package compile

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/policy/law"
	"github.com/domicile-dev/domicile/pkg/residency"
)

// dutiful is the sample in which SA's law wants data in SA.
func dutiful(keeps string) *policy.Set {
	s := sample()
	l := s.Laws["SA"]
	l.Duty = "required"
	l.Localisation = law.Localisation{Duty: "required", Keeps: keeps, Citation: "PDPL Art. 30", Classes: map[string]string{"profile": "none"}}
	return s
}

// abroad lets a class of SA be served abroad, by transfer.
func abroad(s *policy.Set, regions ...string) {
	message(s).Serve = at(71, regions...)
	sa(s).Transfers[0].For = texts("entry", "serve")
}

func waiver(change func(*policy.Waiver)) *policy.Waiver {
	w := &policy.Waiver{
		ID: "w-1", Owner: "ops", Code: CodeDutyShortfall, Home: "SA", Classes: texts("message"), Reason: "the new region is late", Reference: "CASE-1",
		ApprovedBy: []string{"kim"}, Since: now.AddDate(0, 0, -1), Until: now.AddDate(0, 0, 60), Pos: line(81),
	}
	if change != nil {
		change(w)
	}
	return w
}

// TestADutyOfTheLaw: a copy in the country comes first, and the only copy has no
// other place; a class that the law leaves free is free.
func TestADutyOfTheLaw(t *testing.T) {
	for _, c := range []struct {
		name, keeps string
		change      func(*policy.Set)
		says        []string // nil: no shortfall
	}{
		{"a copy, served at home", "copy", func(*policy.Set) {}, nil},
		{"a copy, failover abroad", "copy", func(s *policy.Set) { abroad(s, "me-riyadh", "tr-istanbul") }, nil},
		{"a copy, served abroad first", "copy", func(s *policy.Set) { abroad(s, "tr-istanbul", "me-riyadh") },
			[]string{"message of SA users", "tr-istanbul", "TR", "a copy there", "PDPL Art. 30", "x.yaml:1"}},
		{"no form, served abroad first", "", func(s *policy.Set) { abroad(s, "tr-istanbul", "me-riyadh") }, []string{"a copy there"}},
		{"only, served at home", "only", func(*policy.Set) {}, nil},
		{"only, failover abroad", "only", func(s *policy.Set) { abroad(s, "me-riyadh", "tr-istanbul") }, []string{"nowhere else", "tr-istanbul", "remove tr-istanbul"}},
		{"only, cached abroad where the class is free", "only", func(*policy.Set) {}, nil},
		{"only, cached abroad", "only", func(s *policy.Set) { s.Laws["SA"].Localisation.Classes = nil }, []string{"profile of SA users", "cache edge eu-frankfurt", "nowhere else"}},
		{"only, forbidden", "only", func(s *policy.Set) { message(s).Serve = []policy.Text{} }, nil},
		{"a bill", "only", func(s *policy.Set) { abroad(s, "tr-istanbul"); s.Laws["SA"].NotLaw = true }, nil},
	} {
		s := dutiful(c.keeps)
		c.change(s)
		r, problems := Compile(s, now)
		p, found := find(problems, CodeDutyShortfall)
		if found != (c.says != nil) || found == (r != nil) || found && (p.Severity != policy.Error || !says(p, c.says...)) {
			t.Errorf("%s: result %v, %+v", c.name, r != nil, problems)
		}
	}
}

// TestAWaiverCarriesAShortfall until its instant, and not in other classes; then
// what it carried lapses, and new work is refused.
func TestAWaiverCarriesAShortfall(t *testing.T) {
	set := func() *policy.Set {
		s := dutiful("only")
		abroad(s, "me-riyadh", "tr-istanbul")
		s.Deployment.AllowWaivers = true
		s.Waivers = []*policy.Waiver{waiver(nil)}
		return s
	}
	until := set().Waivers[0].Until
	r, problems := Compile(set(), now)
	p, _ := find(problems, CodeDutyShortfall)
	if r == nil || p.Severity != policy.Warning || p.Waiver != "w-1" || !says(p, "waived by w-1", "the new region is late", "x.yaml:81", "PDPL Art. 30") {
		t.Fatalf("%+v", problems)
	}
	if !r.NextBoundary.Equal(until) || policy.HasErrors(Refuse(problems)) {
		t.Errorf("the next boundary is %s; %+v", r.NextBoundary, problems)
	}
	down := residency.Query{Home: "SA", Class: "message", Entry: "tr-istanbul", Down: []string{"me-riyadh"}}
	if d := r.Table.Decide(down); d.Region != "tr-istanbul" {
		t.Errorf("while it holds: %+v", d)
	}
	for _, c := range []struct {
		left time.Duration
		code string
	}{{30 * 24 * time.Hour, CodeWaiverEnding}, {time.Nanosecond, CodeWaiverEnding}, {0, CodeWaiverEnded}, {-1000 * time.Hour, CodeWaiverEnded}} {
		r, problems := Compile(set(), until.Add(-c.left))
		p, ok := find(problems, c.code)
		if r == nil || !ok || p.Severity != policy.Warning || p.Line != 81 {
			t.Fatalf("%v before its end: %+v", c.left, problems)
		}
		ended := c.code == CodeWaiverEnded
		if policy.HasErrors(Refuse(problems)) != ended {
			t.Errorf("%v before its end new work gives %+v", c.left, Refuse(problems))
		}
		d := r.Table.Decide(down)
		if ended == d.Allowed() {
			t.Errorf("%v before its end: %+v", c.left, d)
		}
		if home := r.Table.Decide(residency.Query{Home: "SA", Class: "message", Entry: "me-riyadh"}); home.Region != "me-riyadh" {
			t.Errorf("%v before its end, at home: %+v", c.left, home)
		}
	}
	s := set()
	s.Waivers[0].Classes = texts("presence")
	if r, problems := Compile(s, now); r != nil {
		t.Errorf("a waiver of another class: %+v", problems)
	}
	s = set()
	s.Waivers[0].Since = now.Add(time.Nanosecond)
	if r, problems := Compile(s, now); r != nil {
		t.Errorf("a waiver that has not begun: %+v", problems)
	}
}

// TestAWaiverOfACopy: when it ends, nothing of the cell is served.
func TestAWaiverOfACopy(t *testing.T) {
	s := dutiful("copy")
	abroad(s, "tr-istanbul", "me-riyadh")
	s.Deployment.AllowWaivers = true
	s.Waivers = []*policy.Waiver{waiver(func(w *policy.Waiver) { w.Classes = nil })}
	q := residency.Query{Home: "SA", Class: "message", Entry: "tr-istanbul"}
	if d := mustCompile(t, s, now).Table.Decide(q); d.Region != "tr-istanbul" {
		t.Errorf("%+v", d)
	}
	if d := mustCompile(t, s, s.Waivers[0].Until).Table.Decide(q); d.Reason != residency.Lapsed {
		t.Errorf("%+v", d)
	}
}

// TestAWaiverOfACache: when it ends, nothing is cached abroad.
func TestAWaiverOfACache(t *testing.T) {
	s := dutiful("only")
	s.Laws["SA"].Localisation.Classes = nil
	s.Deployment.AllowWaivers = true
	s.Waivers = []*policy.Waiver{waiver(func(w *policy.Waiver) { w.Classes = texts("profile") })}
	caches := func(at time.Time) bool {
		rules := mustCompile(t, s, at).Table.Spec().Rules
		i := slices.IndexFunc(rules, func(r residency.Rule) bool { return r.Home == "SA" && r.Class == "profile" })
		return rules[i].Cache != nil
	}
	if !caches(now) || caches(s.Waivers[0].Until) {
		t.Error("the cache is not open until the waiver ends")
	}
}

// TestWaiversAreJudged: each is allowed, of a finding that may be waived, approved
// by signers, and of use.
func TestWaiversAreJudged(t *testing.T) {
	review := func(w *policy.Waiver) { w.Code, w.Classes = CodeReviewDue, nil }
	for _, c := range []struct {
		name   string
		allow  bool
		waiver func(*policy.Waiver)
		change func(*policy.Set)
		want   string
		strict bool // whether new work is refused
	}{
		{"not allowed", false, review, nil, "DP3130 error", true},
		{"a border", true, func(w *policy.Waiver) { w.Code = CodeServeAbroad }, nil, "DP3131 error", true},
		{"an unknown code", true, func(w *policy.Waiver) { w.Code = "DP9999" }, nil, "DP3131 error", true},
		{"an unknown home", true, func(w *policy.Waiver) { w.Home = "FR" }, nil, "DP2123 error", true},
		{"of no use", true, review, nil, "DP3132 warning", false},
		{"by a stranger", true, review, func(s *policy.Set) {
			s.Deployment.Signers = []policy.Signer{{Name: "kam"}}
			sa(s).ReviewLast = now.AddDate(-1, 0, 0)
		}, "DP3101 warning w-1, DP3134 error", true},
		{"by a signer", true, review, func(s *policy.Set) {
			s.Deployment.Signers = []policy.Signer{{Name: "kim"}}
			sa(s).ReviewLast = now.AddDate(-1, 0, 0)
		}, "DP3101 warning w-1", false},
		{"of a review ahead", true, func(w *policy.Waiver) { w.Code, w.Classes = CodeReviewAhead, nil },
			func(s *policy.Set) { sa(s).ReviewLast = now.AddDate(1, 0, 0) }, "DP3103 warning w-1", false},
		{"of a review ahead, for a class", true, func(w *policy.Waiver) { w.Code = CodeReviewAhead },
			func(s *policy.Set) { sa(s).ReviewLast = now.AddDate(1, 0, 0) }, "DP3103 warning, DP3132 warning", true},
		{"of half of a transfer's classes", true, func(w *policy.Waiver) { w.Code = CodeNoReviewDate },
			func(s *policy.Set) { sa(s).Transfers[0].ReviewBy = time.Time{} }, "DP3105 warning", false},
		{"of all of a transfer's classes", true, func(w *policy.Waiver) { w.Code, w.Classes = CodeNoReviewDate, texts("presence", "message") },
			func(s *policy.Set) { sa(s).Transfers[0].ReviewBy = time.Time{} }, "DP3105 warning w-1", false},
	} {
		s := sample()
		s.Deployment.AllowWaivers = c.allow
		if c.change != nil {
			c.change(s)
		}
		s.Waivers = []*policy.Waiver{waiver(c.waiver)}
		_, problems := Compile(s, now)
		got := ""
		for _, p := range problems {
			if got != "" {
				got += ", "
			}
			got += fmt.Sprintf("%s %s", p.Code, p.Severity)
			if p.Waiver != "" {
				got += " " + p.Waiver
			}
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s:\n%s", c.name, d)
		}
		if policy.HasErrors(Refuse(problems)) != c.strict {
			t.Errorf("%s: new work gives %+v", c.name, Refuse(problems))
		}
	}
}
