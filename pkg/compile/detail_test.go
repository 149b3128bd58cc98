package compile

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/policy/law"
	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/topology"
)

func TestDestinationCodes(t *testing.T) {
	for code, ok := range map[string]bool{
		"US": true, "ZA": true, "AZ": true, "AA": true, "US-CA": true, "AE-DIFC": true, "CA-QC": true, "US-": false, "US-C_": false, "us-CA": false, "USA": false, "U": false, "": false, "-CA": false,
	} {
		if isCode(code) != ok {
			t.Errorf("isCode(%q) = %v", code, !ok)
		}
	}
}

func TestGroupNames(t *testing.T) {
	for name, what := range map[string]string{"SA": "jurisdiction", "KW": "jurisdiction that lies nowhere here", "TR": "region's country", "FR": "member of a group"} {
		s := sample()
		s.Groups[name] = &law.Group{Name: name}
		s.Jurisdictions["KW"] = &policy.Jurisdiction{Code: "KW"}
		if _, problems := Compile(s, now); len(problems) == 0 || problems[0].Code != CodeAmbiguousGroup {
			t.Errorf("a group may be named like a %s: %+v", what, problems)
		}
	}
}

// TestTransferReach: a transfer to a group reaches those that are in it now; when
// none is left it is lapsed, and when none has joined yet it reaches nobody.
func TestTransferReach(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(g *law.Group)
		want   residency.Transfer
	}{
		{"one left", func(g *law.Group) { g.Members[0].Until = now }, residency.Transfer{To: []string{"FR"}}},
		{"all left", func(g *law.Group) { g.Members[0].Until, g.Members[1].Until = now, now }, residency.Transfer{To: []string{"DE", "FR"}, Lapsed: true}},
		{"none joined", func(g *law.Group) { g.Members[0].Since, g.Members[1].Since = ending, ending }, residency.Transfer{}},
		{"left and joined again", func(g *law.Group) {
			g.Members[0].Until = now
			g.Members = append(g.Members, law.GroupMember{Code: "DE", Since: now})
		}, residency.Transfer{To: []string{"DE", "FR"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := sample()
			s.Groups["EEA"].FreeMovement = false
			c.change(s.Groups["EEA"])
			sa(s).Rules["profile"].Cache = nil
			sa(s).Rules["message"].Entry, sa(s).Rules["presence"].Entry = nil, nil
			sa(s).Transfers = sa(s).Transfers[:1]
			sa(s).Transfers[0].To = texts("EEA")
			got := mustCompile(t, s, now).Table.Spec().Transfers[0]
			if !cmp.Equal(got.To, c.want.To) || got.Lapsed != c.want.Lapsed {
				t.Errorf("to %v lapsed %v, want %+v", got.To, got.Lapsed, c.want)
			}
		})
	}
}

// TestAdequacyEnds: the destination leaves the law's list, the transfer lapses.
func TestAdequacyEnds(t *testing.T) {
	s := sample()
	s.Deployment.Regions[1].Country = "GB"
	sa(s).Transfers[0].To = texts("DE", "GB")
	de := s.Jurisdictions["DE"]
	de.Rules["message"].Entry = texts("eu-frankfurt", "tr-istanbul")
	de.Transfers = []*policy.Transfer{{ID: "gb", To: texts("GB"), Classes: texts("message"), For: texts("entry"), Mechanism: "adequacy", Pos: line(71)}}
	q := residency.Query{Home: "DE", Class: "message", Entry: "tr-istanbul"}
	end := s.Groups["LIST"].Members[0].Until
	if d := mustCompile(t, s, end.Add(-1)).Table.Decide(q); !d.Allowed() {
		t.Errorf("before: %+v", d)
	}
	r, problems := Compile(s, end)
	if r == nil {
		t.Fatalf("blocks recompiling: %+v", problems)
	}
	if d := r.Table.Decide(q); d.Reason != residency.Lapsed {
		t.Errorf("after: %+v", d)
	}
	if p, ok := find(problems, CodeLapsed); !ok || p.Severity != policy.Warning {
		t.Errorf("after: %+v", problems)
	}
}

func TestProblemCitesTheAuthorsBasisAndTheNearestTransfer(t *testing.T) {
	s := sample()
	s.Laws["EU"].Articles = map[string]law.Article{"pdpl-29": {Citation: "PDPL Art. 29"}, "x": {Citation: "X"}, "other": {Citation: "Other"}}
	sa(s).Laws = texts("SA", "EU")
	message(s).Basis = texts("chosen", "pdpl-29", "x")
	message(s).Serve = at(71, "me-riyadh", "tr-istanbul")
	sa(s).Transfers[0], sa(s).Transfers[1] = sa(s).Transfers[1], sa(s).Transfers[0]
	_, problems := Compile(s, now)
	if len(problems) != 1 {
		t.Fatalf("%+v", problems)
	}
	p := problems[0]
	want := []any{
		line(71), CodeServeAbroad, policy.Error,
		`message of SA users: serving region tr-istanbul is in TR, across a border, and no transfer covers it for "serve"`,
		`SA 用户的 message：服务区域 tr-istanbul 位于 TR，跨越边境，且没有跨境传输覆盖用途 "serve"`,
		"transfer roam (x.yaml:46) covers classes [message, presence] for [entry] only",
		"PDPL Art. 29; X",
		`remove tr-istanbul, or add a transfer to "TR" of classes [message] for [serve]`,
	}
	got := []any{p.Pos, p.Code, p.Severity, p.Message.En, p.Message.Zh, p.Why.En, p.Law, p.Fix.En}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	sa(s).Transfers = nil
	_, problems = Compile(s, now)
	if p, _ := find(problems, CodeServeAbroad); !says(p, "SA lies in SA; SA has no transfer to TR") {
		t.Errorf("%+v", p)
	}
}

// TestARuleForAClassWithoutSubject is never asked: the class is served without it.
func TestARuleForAClassWithoutSubject(t *testing.T) {
	s := sample()
	s.Deployment.Regions = append(s.Deployment.Regions, policy.Region{Name: "ksa-jeddah", Country: "SA", Pos: line(71)})
	sa(s).Rules["health"] = &policy.Rule{Serve: texts("ksa-jeddah"), Entry: texts("me-riyadh"), Basis: texts("chosen"), Pos: line(72)}
	_, problems := Compile(s, now)
	if p, _ := find(problems, CodeUnreachableRule); len(problems) != 1 || p.Line != 72 || p.Severity != policy.Warning {
		t.Errorf("%+v", problems)
	}
}

// TestPeerIsNeededByOtherEntriesOnly: a region that nothing enters elsewhere may
// have no peer address.
func TestPeerIsNeededByOtherEntriesOnly(t *testing.T) {
	s := sample()
	s.Deployment.Regions[2].Peer = "" // serves DE, entered there only
	if _, problems := Compile(s, now); len(problems) > 0 {
		t.Errorf("%+v", problems)
	}
}

// TestHostWhoseHomesAgree is no problem, whoever may enter there; nor are homes
// that disagree where no host name decides.
func TestHostWhoseHomesAgree(t *testing.T) {
	s := sample()
	s.Deployment.Classes[0].Subject = "host"
	s.Deployment.Regions[1].Country = "FR"
	s.Jurisdictions["DE"].Rules["message"].Entry = texts("tr-istanbul")
	s.Jurisdictions["DE"].Rules["presence"].Serve = texts("eu-frankfurt", "tr-istanbul")
	sa(s).Transfers[0].To = texts("EEA")
	fr := *s.Jurisdictions["DE"]
	fr.Code = "FR"
	fr.Rules = map[string]*policy.Rule{"message": {Serve: texts("eu-frankfurt"), Basis: texts("chosen")}, "presence": {Serve: texts("eu-frankfurt"), Basis: texts("chosen")}, "profile": {}}
	s.Jurisdictions["FR"] = &fr
	s.Deployment.Issuers[0].Homes = texts("SA", "DE", "FR")
	if _, problems := Compile(s, now); len(problems) > 0 {
		t.Errorf("%+v", problems)
	}
}

func TestTopology(t *testing.T) {
	s := sample()
	d := s.Deployment
	d.TrustDomain, d.ResponseHeaders = "im.example.com", true
	d.Regions[2].Backends["media"] = nil
	d.Issuers = append(d.Issuers, policy.Issuer{Issuer: "https://a.example.com", JWKS: []byte("{}"), HomeClaim: "land", Homes: texts("DE"), Forward: true})
	got := mustCompile(t, s, now).Topology
	if got.TrustDomain != "im.example.com" || !got.Expose {
		t.Errorf("%+v", got)
	}
	if _, ok := got.Regions[0].Backends["media"]; ok {
		t.Error("a service without a backend has a place")
	}
	if d := cmp.Diff(topology.Issuer{Issuer: "https://a.example.com", HomeClaim: "land", JWKS: "{}", Forward: true}, got.Issuers[0]); d != "" {
		t.Error(d)
	}
}

// TestReviewIsOnTimeOnItsDay: a date counts as passed when its day has.
func TestReviewIsOnTimeOnItsDay(t *testing.T) {
	s := sample()
	sa(s).Transfers[0].ReviewBy = now
	next := now.AddDate(0, 0, 1)
	if _, problems := Compile(s, next.Add(-1)); len(problems) > 0 {
		t.Errorf("on its day: %+v", problems)
	}
	if _, problems := Compile(s, next); len(problems) != 1 || problems[0].Code != CodeReviewDue {
		t.Errorf("after its day: %+v", problems)
	}
}

// TestT42NoticeIsThirtyDays before the end, and not a nanosecond earlier.
func TestT42NoticeIsThirtyDays(t *testing.T) {
	s := sample()
	s.Jurisdictions["SA"].ReviewEvery = 0
	s.Laws["SA"].ReviewBy, s.Laws["EU"].ReviewBy = ending.AddDate(9, 0, 0), ending.AddDate(9, 0, 0)
	for _, x := range sa(s).Transfers {
		x.ReviewBy = ending
	}
	at := ending.Add(-notice)
	if _, problems := Compile(s, at.Add(-1)); len(problems) > 0 {
		t.Errorf("early: %+v", problems)
	}
	if _, problems := Compile(s, at); len(codes(problems)) != 1 || problems[0].Code != CodeLapsing {
		t.Errorf("in time: %+v", problems)
	}
}

// TestT42ReviewByOnlyWarns: years after every review was due the policy means what
// it meant, and new work is not refused for it.
func TestT42ReviewByOnlyWarns(t *testing.T) {
	at := ending.AddDate(5, 0, 0)
	compiled := func(due time.Time) (*Result, []policy.Problem) {
		s := sample()
		for _, l := range s.Laws {
			l.ReviewBy = due
		}
		for _, j := range s.Jurisdictions {
			for _, x := range j.Transfers {
				x.ReviewBy, x.Until = due, at.AddDate(1, 0, 0)
			}
		}
		return Compile(s, at)
	}
	fresh, _ := compiled(at.AddDate(1, 0, 0))
	overdue, problems := compiled(at.AddDate(-4, 0, 0))
	if fresh == nil || overdue == nil || fresh.Table.Digest() != overdue.Table.Digest() || !fresh.NextBoundary.Equal(overdue.NextBoundary) {
		t.Fatalf("an overdue review changes what the policy decides: %+v", problems)
	}
	due := 0
	for _, p := range Refuse(problems) {
		if p.Severity == policy.Error {
			t.Errorf("refused: %+v", p)
		}
		if p.Code == CodeReviewDue {
			due++
		}
	}
	if due < 4 { // two laws, two transfers
		t.Errorf("%d warnings in %+v", due, problems)
	}
}
