package compile

import (
	"math/rand"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/policy/law"
	"github.com/domicile-dev/domicile/pkg/residency"
)

// edit is one change to the sample and the one problem that it makes.
type edit struct {
	name     string
	change   func(s *policy.Set)
	code     string
	severity policy.Severity
	line     int
	says     []string
	also     []string // codes of further problems that the change brings
}

func sa(s *policy.Set) *policy.Jurisdiction { return s.Jurisdictions["SA"] }
func message(s *policy.Set) *policy.Rule    { return sa(s).Rules["message"] }

func at(n int, values ...string) []policy.Text {
	var out []policy.Text
	for _, v := range values {
		out = append(out, policy.Text{Value: v, Pos: line(n)})
	}
	return out
}

var errorsMade = []edit{
	{"a denial of nobody's home", func(s *policy.Set) { s.Denials = []policy.Denial{{Home: "DK", Pos: line(71)}} }, CodeUnknownHome, policy.Error, 71, []string{`"DK"`}, nil},
	{"a peer of two regions, in another case", func(s *policy.Set) { s.Deployment.Regions[1].Peer = "PEER.sa.example.com:8443" },
		CodeTwice, policy.Error, 12, []string{"gateway peer"}, nil},
	{"an issuer with a line break", func(s *policy.Set) { s.Deployment.Issuers[0].Issuer = "https://id\nx: y" },
		CodeOddIssuer, policy.Error, sample().Deployment.Issuers[0].Pos.Line, nil, nil},
	{"every path without a token", func(s *policy.Set) {
		open := policy.ClassRoute{Class: "health", PathPrefix: "/", Subject: "none", Service: "message", Serve: at(71, "me-riyadh"), Pos: line(72)}
		s.Deployment.Classes = append([]policy.ClassRoute{open}, s.Deployment.Classes...)
	},
		CodeOpenShadows, policy.Error, 72, []string{"class health", "class message"}, []string{CodeShadowedRoute}},
	{"a gateway's host without a token", func(s *policy.Set) {
		open := policy.ClassRoute{Class: "health", Host: "SA.example.com", Subject: "none", Service: "message", Serve: at(71, "me-riyadh"), Pos: line(72)}
		s.Deployment.Classes = append([]policy.ClassRoute{open}, s.Deployment.Classes...)
	},
		CodeOpenShadows, policy.Error, 72, nil, nil},
	{"a login that takes a profile", func(s *policy.Set) {
		open := policy.ClassRoute{Class: "presence", PathPrefix: "/v1/profiles/", Subject: "host", Service: "message", Pos: line(72)}
		s.Deployment.Classes = append([]policy.ClassRoute{open}, s.Deployment.Classes...)
	},
		CodeOpenShadows, policy.Error, 72, []string{"class profile"}, nil},
	{"no deployment", func(s *policy.Set) { s.Deployment = nil }, CodeNoDeployment, policy.Error, 0, []string{"deployment"}, nil},
	{"unknown serving region", func(s *policy.Set) { message(s).Serve = at(71, "me-riyad") },
		CodeUnknownRegion, policy.Error, 71, []string{`"me-riyad"`, `did you mean "me-riyadh"`}, nil},
	{"unknown failover region", func(s *policy.Set) { message(s).Serve = append(message(s).Serve, at(71, "mars")...) },
		CodeUnknownRegion, policy.Error, 71, []string{`"mars"`}, nil},
	{"unknown entry region", func(s *policy.Set) { message(s).Entry = at(71, "eu-frankfort") },
		CodeUnknownRegion, policy.Error, 71, []string{`did you mean "eu-frankfurt"`}, nil},
	{"unknown edge", func(s *policy.Set) { sa(s).Rules["profile"].Cache.Edges = at(71, "x") },
		CodeUnknownRegion, policy.Error, 71, nil, []string{CodeUnused}},
	{"unknown region of a class without subject", func(s *policy.Set) { s.Deployment.Classes[4].Serve = at(71, "x") },
		CodeUnknownRegion, policy.Error, 71, nil, nil},
	{"class without subject, no region", func(s *policy.Set) { s.Deployment.Classes[4].Serve = nil },
		CodeNobodyServes, policy.Error, 25, nil, nil},
	{"unknown subject", func(s *policy.Set) { s.Deployment.Classes[0].Subject = "everyone" },
		CodeUnknownSubject, policy.Error, 21, []string{"everyone"}, nil},
	{"unknown class in a rule", func(s *policy.Set) { sa(s).Rules["mesage"] = saRule("mesage") },
		CodeUnknownClass, policy.Error, 43, []string{`did you mean "message"`}, nil},
	{"unknown class in a transfer", func(s *policy.Set) {
		sa(s).Transfers[0].Classes = append(sa(s).Transfers[0].Classes, at(71, "profil")...)
	},
		CodeUnknownClass, policy.Error, 71, []string{`did you mean "profile"`}, nil},
	{"unknown group", func(s *policy.Set) { sa(s).Transfers[0].To = append(sa(s).Transfers[0].To, at(71, "EFA")...) },
		CodeUnknownPlace, policy.Error, 71, []string{`did you mean "EEA"`}, nil},
	{"lower-case destination", func(s *policy.Set) {
		sa(s).Transfers[0].To = append(sa(s).Transfers[0].To, at(71, "de", "D1", "DE-")...)
	},
		CodeUnknownPlace, policy.Error, 71, []string{`"D1"`}, nil},
	{"unknown law", func(s *policy.Set) { sa(s).Laws = append(sa(s).Laws, at(71, "SB")...) },
		CodeUnknownLaw, policy.Error, 71, []string{`"SB"`, "add law/sb.yaml (kind: Law; title, localisation and reviewBy are required), or use one of: EU, SA"}, nil},
	{"unknown law among many", func(s *policy.Set) {
		for _, c := range []string{"AT", "BE", "BR", "CA", "CA-QC", "CH", "CN", "GB", "IN", "JP", "KR", "US"} {
			s.Laws[c] = &law.Law{Code: c}
		}
		sa(s).Laws = append(sa(s).Laws, at(71, "CA-ON")...)
	}, CodeUnknownLaw, policy.Error, 71, []string{"are required), or use one of: CA, CA-QC"}, nil},
	{"unknown basis", func(s *policy.Set) { message(s).Basis = at(71, "pdpl-92") },
		CodeUnknownBasis, policy.Error, 71, []string{`did you mean "pdpl-29"`}, nil},
	{"basis of a law that does not apply", func(s *policy.Set) { s.Jurisdictions["DE"].Rules["message"].Basis = at(71, "pdpl-29") },
		CodeUnknownBasis, policy.Error, 71, nil, nil},
	{"region twice", func(s *policy.Set) {
		s.Deployment.Regions = append(s.Deployment.Regions, policy.Region{Name: "me-riyadh", Country: "DE", Pos: line(71)})
	}, CodeTwice, policy.Error, 71, []string{"region me-riyadh", "x.yaml:11"}, nil},
	{"gateway host twice", func(s *policy.Set) { s.Deployment.Regions[2].Host = "SA.example.com" }, CodeTwice, policy.Error, 13, []string{"SA.example.com"}, nil},
	{"issuer twice", func(s *policy.Set) {
		s.Deployment.Issuers = append(s.Deployment.Issuers, policy.Issuer{Issuer: "https://id.example.com", Homes: texts("TR"), Pos: line(71)})
	}, CodeTwice, policy.Error, 71, []string{"x.yaml:31"}, nil},
	{"transfer twice", func(s *policy.Set) {
		x := *sa(s).Transfers[0]
		x.Pos = line(71)
		sa(s).Transfers = append(sa(s).Transfers, &x)
	}, CodeTwice, policy.Error, 71, []string{"roam"}, nil},
	{"region without a country", func(s *policy.Set) {
		s.Deployment.Regions = append(s.Deployment.Regions, policy.Region{Name: "sea", Country: "", Pos: line(71)})
	}, CodeRegionCountry, policy.Error, 71, []string{"sea"}, nil},
	{"group named like a country", func(s *policy.Set) {
		s.Groups["TR"] = &law.Group{Name: "TR", Members: []law.GroupMember{{Code: "DE"}, {Code: "TR"}}, Pos: line(71)}
	}, CodeAmbiguousGroup, policy.Error, 71, []string{"TR"}, nil},

	{"foreign serving region", func(s *policy.Set) { message(s).Serve = at(71, "eu-frankfurt") },
		CodeServeAbroad, policy.Error, 71, []string{"message", "SA", "eu-frankfurt", "in DE", `"serve"`, "PDPL Art. 29", "remove eu-frankfurt", "transfer roam"}, nil},
	{"foreign failover region", func(s *policy.Set) { message(s).Serve = append(message(s).Serve, at(71, "tr-istanbul")...) },
		CodeServeAbroad, policy.Error, 71, []string{"tr-istanbul", "in TR"}, nil},
	{"foreign entry region", func(s *policy.Set) {
		s.Jurisdictions["DE"].Rules["message"].Entry = at(71, "eu-frankfurt", "tr-istanbul")
	},
		CodeEntryAbroad, policy.Error, 71, []string{"DE users", "tr-istanbul", `"entry"`}, nil},
	{"transfer of another class", func(s *policy.Set) { sa(s).Rules["profile"].Entry = at(71, "eu-frankfurt") },
		CodeEntryAbroad, policy.Error, 71, []string{"profile", "classes [message, presence] for [entry] only"}, nil},
	{"foreign edge", func(s *policy.Set) { sa(s).Rules["profile"].Cache.Edges = at(71, "tr-istanbul") },
		CodeCacheAbroad, policy.Error, 71, []string{"tr-istanbul", `"cache"`}, []string{CodeUnused}},
	{"no mechanism of the law", func(s *policy.Set) { sa(s).Transfers[1].Mechanism = "bcr" },
		CodeMechanism, policy.Error, 47, []string{`"bcr"`, "adequacy, scc"}, nil},
	{"adequacy without a list", func(s *policy.Set) { sa(s).Transfers[1].Mechanism = "adequacy" },
		CodeNotAdequate, policy.Error, 47, []string{"do not list DE as adequate"}, nil},
	{"adequacy for others", func(s *policy.Set) {
		s.Jurisdictions["DE"].Transfers = []*policy.Transfer{{
			ID: "a", To: texts("JP", "GB", "TR"), Classes: texts("message"), For: texts("deliver"), Mechanism: "adequacy", ReviewBy: ending, Pos: line(71),
		}}
	}, CodeNotAdequate, policy.Error, 71, []string{"do not list TR as adequate"}, nil},
	{"adequacy for five others", func(s *policy.Set) {
		s.Jurisdictions["DE"].Transfers = []*policy.Transfer{{
			ID: "a", To: texts("BA", "BB", "BC", "BD", "BE"), Classes: texts("message"), For: texts("deliver"), Mechanism: "adequacy", ReviewBy: ending, Pos: line(71),
		}}
	}, CodeNotAdequate, policy.Error, 71, []string{"BA, BB, BC, BD, BE as"}, nil},
	{"adequacy for many others", func(s *policy.Set) {
		s.Jurisdictions["DE"].Transfers = []*policy.Transfer{{
			ID: "a", To: texts("BA", "BB", "BC", "BD", "BE", "BF", "BG"), Classes: texts("message"), For: texts("deliver"), Mechanism: "adequacy", ReviewBy: ending, Pos: line(71),
		}}
	}, CodeNotAdequate, policy.Error, 71, []string{"BA, BB, BC, BD, BE and 2 more as"}, nil},
}

var warningsMade = []edit{
	{"a rule without a basis", func(s *policy.Set) { message(s).Basis, message(s).Pos = nil, line(71) }, CodeNoBasis, policy.Warning, 71, []string{"SA", "message"}, nil},
	{"a transfer without a date of review", func(s *policy.Set) { sa(s).Transfers[0].ReviewBy = time.Time{} }, CodeNoReviewDate, policy.Warning, 46, []string{"roam"}, nil},
	{"a law without a Chinese title", func(s *policy.Set) { s.Laws["SA"].TitleZh = "" }, CodeNoTranslation, policy.Warning, 1, []string{"SA", "no Chinese title"}, nil},
	{"a law whose Chinese title is stale", func(s *policy.Set) { s.Laws["SA"].TitleZh = "《2019 年个人数据保护法》" }, CodeNoTranslation, policy.Warning, 1, []string{"other years", "2019"}, nil},
	{"a route behind one that takes all", func(s *policy.Set) {
		s.Deployment.Classes = append(s.Deployment.Classes, policy.ClassRoute{Class: "message", PathPrefix: "/v1/messages/old", Subject: "caller", Pos: line(71)})
	}, CodeShadowedRoute, policy.Warning, 71, []string{"x.yaml:21", "message"}, nil},
	{"a route of a host behind one of every host", func(s *policy.Set) {
		s.Deployment.Classes = append(s.Deployment.Classes, policy.ClassRoute{Class: "presence", Path: "/ws", Host: "a.example.com", Method: "GET", Subject: "caller", Service: "message", Pos: line(71)})
	}, CodeShadowedRoute, policy.Warning, 71, []string{"x.yaml:22"}, nil},
	{"an observation for two years", func(s *policy.Set) {
		s.Deployment.Today = map[string][]string{"message": {"10.9.0.1:1"}, "profile": {"10.9.0.1:2"}}
		sa(s).Enforcement, sa(s).ObserveUntil = "observe", now.AddDate(2, 0, 0)
	}, CodeObserveLong, policy.Warning, 41, []string{"SA"}, []string{CodeNotEnforced}},
	{"law that is a bill", func(s *policy.Set) { s.Laws["SA"].NotLaw, sa(s).Laws = true, at(71, "SA") },
		CodeNotInForce, policy.Warning, 71, []string{`law "SA"`}, nil},
	{"export limit", func(s *policy.Set) {
		s.Laws["SA"].ExportLimits = []law.ExportLimit{{Citation: "Art. 9", Condition: "above 1,000", Destinations: texts("LIST", "DE")}}
	}, CodeExportLimit, policy.Warning, 46, []string{"roam of SA", "exports to DE", "Art. 9: above 1,000"}, nil},
	{"one backend in two regions", func(s *policy.Set) { s.Deployment.Regions[1].Backends["message"] = []string{"10.0.1.1:1"} },
		CodeSharedAddress, policy.Warning, 12, []string{"10.0.1.1:1", "me-riyadh", "tr-istanbul"}, nil},
	{"lapsed", func(s *policy.Set) { sa(s).Transfers[0].Until = now }, CodeLapsed, policy.Warning, 46, []string{"roam", "2026-11-24"}, nil},
	{"lapses in 30 days", func(s *policy.Set) { sa(s).Transfers[0].Until = now.Add(30 * 24 * time.Hour) },
		CodeLapsing, policy.Warning, 46, []string{"2026-12-24"}, nil},
	{"transfer review overdue", func(s *policy.Set) { sa(s).Transfers[0].ReviewBy = now.AddDate(0, 0, -1) },
		CodeReviewDue, policy.Warning, 46, []string{"roam", "2026-11-23"}, nil},
	{"jurisdiction review overdue", func(s *policy.Set) { sa(s).ReviewLast = now.AddDate(0, 0, -91) },
		CodeReviewDue, policy.Warning, 41, []string{"SA", "2026-11-23"}, nil},
	{"law review overdue", func(s *policy.Set) { s.Laws["EU"].ReviewBy = now.AddDate(0, 0, -1) },
		CodeReviewDue, policy.Warning, 2, []string{"law file EU"}, nil},
	{"review in the future", func(s *policy.Set) { sa(s).ReviewLast, sa(s).ReviewPos = now.Add(14*time.Hour+1), line(71) },
		CodeReviewAhead, policy.Warning, 71, []string{"SA", "2026-11-2", "in the future"}, nil},
	{"class without rule", func(s *policy.Set) { delete(sa(s).Rules, "profile") },
		CodeNoRule, policy.Warning, 41, []string{"SA", "profile"}, []string{CodeUnused}},
	{"carried class without rule", func(s *policy.Set) { delete(sa(s).Rules, "presence") },
		CodeCarriesNoRule, policy.Warning, 41, []string{"message stream carries presence"}, []string{CodeNoRule}},
	{"unused transfer", func(s *policy.Set) { sa(s).Rules["profile"].Cache = nil }, CodeUnused, policy.Warning, 47, []string{"card"}, nil},
	{"no backend", func(s *policy.Set) { delete(s.Deployment.Regions[0].Backends, "profile") },
		CodeNoBackend, policy.Warning, 11, []string{"me-riyadh", "profile"}, nil},
	{"no backend for a class without subject", func(s *policy.Set) { s.Deployment.Classes[4].Service = "health" },
		CodeNoBackend, policy.Warning, 25, []string{"service health"}, nil},
	{"no peer", func(s *policy.Set) { s.Deployment.Regions[0].Peer = "" }, CodeNoPeer, policy.Warning, 11, []string{"me-riyadh"}, nil},
	{"home that no issuer names", func(s *policy.Set) { s.Deployment.Issuers[0].Homes = texts("SA") },
		CodeNoIssuer, policy.Warning, 61, []string{"DE"}, nil},
	{"no law file", func(s *policy.Set) {
		sa(s).Laws = nil
		message(s).Basis = texts("chosen")
		sa(s).Rules["presence"].Basis = texts("chosen")
	},
		CodeNoLaw, policy.Warning, 46, []string{"roam"}, nil},
	{"host name that says nothing", func(s *policy.Set) {
		s.Deployment.Classes[0].Subject = "host"
		s.Deployment.Regions[1].Country = "FR"
		sa(s).Transfers[0].To = texts("EEA")
		s.Jurisdictions["FR"] = &policy.Jurisdiction{Code: "FR", Laws: texts("EU"), Pos: line(71), Rules: map[string]*policy.Rule{
			"message": {Serve: texts("eu-frankfurt", "tr-istanbul"), Basis: texts("chosen")}, "presence": {}, "profile": {},
		}}
		s.Deployment.Issuers[0].Homes = texts("SA", "DE", "FR")
	}, CodeHostDisagrees, policy.Warning, 21, []string{"eu-frankfurt"}, nil},
}

func TestEachProblemIsReported(t *testing.T) {
	for _, e := range append(errorsMade, warningsMade...) {
		t.Run(e.name, func(t *testing.T) {
			s := sample()
			e.change(s)
			r, problems := Compile(s, now)
			p, ok := find(problems, e.code)
			if !ok {
				t.Fatalf("no %s in %+v", e.code, problems)
			}
			if p.Severity != e.severity || p.Line != e.line || !says(p, e.says...) {
				t.Errorf("got %+v\nwant %s at line %d with %q", p, e.severity, e.line, e.says)
			}
			for _, c := range codes(problems) {
				if c != e.code && !slices.Contains(e.also, c) {
					t.Errorf("unexpected %s: %+v", c, problems)
				}
			}
			if (r == nil) != (e.severity == policy.Error) {
				t.Errorf("result %v with a problem of severity %s", r, e.severity)
			}
		})
	}
}

func TestDefaultsAreReportedOnce(t *testing.T) {
	s := sample()
	shared := at(71, "me-riyadh", "eu-frankfurt")
	message(s).Basis = texts("chosen")
	message(s).Serve, sa(s).Rules["presence"].Serve = shared, shared
	_, problems := Compile(s, now)
	if len(problems) != 1 || !says(problems[0], "message, presence of SA users") {
		t.Errorf("want one problem for both classes, got %+v", problems)
	}
}

// TestLapseAtTheInstant: one nanosecond before its end a transfer holds, at its
// end it does not.
func TestT42LapseAtTheInstant(t *testing.T) {
	before := mustCompile(t, sample(), ending.Add(-time.Nanosecond))
	if !before.NextBoundary.Equal(ending) {
		t.Errorf("next boundary %s, want %s", before.NextBoundary, ending)
	}
	after := mustCompile(t, sample(), ending)
	if !after.NextBoundary.IsZero() {
		t.Errorf("next boundary %s, want none", after.NextBoundary)
	}
	q := residency.Query{Home: "SA", Class: "message", Entry: "eu-frankfurt"}
	if d := before.Table.Decide(q); !d.Allowed() || d.Region != "me-riyadh" {
		t.Errorf("before: %+v", d)
	}
	if d := after.Table.Decide(q); d.Allowed() || d.Reason != residency.Lapsed {
		t.Errorf("at the end: %+v", d)
	}
	q.Entry = "me-riyadh"
	if d := after.Table.Decide(q); !d.Allowed() {
		t.Errorf("at home after the end: %+v", d)
	}
	if _, why := after.Table.Transfer("SA", "message", "TR", "entry"); why != residency.Lapsed {
		t.Errorf("transfer after the end: %q", why)
	}
	if r := ruleOf(after, "SA", "profile"); r.Cache != nil {
		t.Errorf("an edge may still cache: %+v", r.Cache)
	}
	if r := ruleOf(before, "SA", "profile"); r.Cache == nil {
		t.Error("no edge may cache before the end")
	}
}

func ruleOf(r *Result, home, class string) residency.Rule {
	for _, x := range r.Table.Spec().Rules {
		if x.Home == home && x.Class == class {
			return x
		}
	}
	return residency.Rule{}
}

func TestServingRegionLapses(t *testing.T) {
	s := sample()
	message(s).Serve = texts("me-riyadh", "eu-frankfurt")
	sa(s).Transfers[0].For = texts("entry", "serve")
	if got := ruleOf(mustCompile(t, s, now), "SA", "message").Serve; len(got) != 2 {
		t.Errorf("serve %v", got)
	}
	got := ruleOf(mustCompile(t, s, ending), "SA", "message")
	if len(got.Serve) != 1 || got.Serve[0] != "me-riyadh" || len(got.LapsedServe) != 1 || got.LapsedServe[0] != "eu-frankfurt" {
		t.Errorf("after the end: %+v", got)
	}
}

// TestReviewOfToday: in the east a day begins before it does in UTC.
func TestReviewOfToday(t *testing.T) {
	s := sample()
	sa(s).ReviewLast = now.Add(14 * time.Hour)
	if _, problems := Compile(s, now); len(problems) > 0 {
		t.Errorf("a review of today: %+v", problems)
	}
	sa(s).ReviewLast = now.AddDate(0, 0, 2)
	r, problems := Compile(s, now)
	if r == nil || policyErrors(problems) != 0 || policyErrors(Refuse(problems)) != 1 {
		t.Errorf("a review to come must be an error for new work alone: %+v", problems)
	}
}

func TestRefuseRaisesOnlyLapsed(t *testing.T) {
	_, problems := Compile(sample(), ending)
	if policyErrors(problems) != 0 {
		t.Fatalf("a lapse blocks recompiling: %+v", problems)
	}
	refused := Refuse(problems)
	for i, p := range refused {
		if (p.Severity == policy.Error) != (p.Code == CodeLapsed) {
			t.Errorf("%+v", p)
		}
		if problems[i].Severity == policy.Error {
			t.Error("the argument was changed")
		}
	}
	if policyErrors(refused) != 2 {
		t.Errorf("want an error for each of two transfers: %+v", refused)
	}
}

func policyErrors(problems []policy.Problem) (n int) {
	for _, p := range problems {
		if p.Severity == policy.Error {
			n++
		}
	}
	return n
}

// TestGroupMembershipIsDated: a crossing that is covered through a group holds
// between the row's dates, and is lapsed, not an error, after them.
func TestGroupMembershipIsDated(t *testing.T) {
	since, until := now.AddDate(0, 1, 0), now.AddDate(0, 2, 0)
	s := sample()
	s.Groups["EEA"].Members[0] = law.GroupMember{Code: "DE", Since: since, Until: until}
	q := residency.Query{Home: "SA", Class: "message", Entry: "eu-frankfurt"}

	r, problems := Compile(s, since.Add(-time.Nanosecond))
	if _, ok := find(problems, CodeEntryAbroad); r != nil || !ok {
		t.Errorf("before the membership: %+v", problems)
	}
	r = mustCompile(t, s, since)
	if d := r.Table.Decide(q); !d.Allowed() || !r.NextBoundary.Equal(until) {
		t.Errorf("inside: %+v, next boundary %s", d, r.NextBoundary)
	}
	r, problems = Compile(s, until)
	if r == nil {
		t.Fatalf("an ended membership blocks recompiling: %+v", problems)
	}
	if d := r.Table.Decide(q); d.Reason != residency.Lapsed {
		t.Errorf("after: %+v", d)
	}
	if p, ok := find(problems, CodeLapsed); !ok || p.Severity != policy.Warning || !says(p, "eu-frankfurt", "ended") {
		t.Errorf("after: %+v", problems)
	}
	if _, why := r.Table.Transfer("SA", "message", "DE", "entry"); why != residency.TransferNotAllowed {
		t.Errorf("transfer to one that left: %q", why)
	}
}

func TestBorders(t *testing.T) {
	for _, c := range []struct {
		name, home, country string
		law                 *law.Law
		crosses             bool
	}{
		{"own country", "TR", "TR", nil, false},
		{"state in its country", "US-CA", "US", nil, false},
		{"another country", "TR", "DE", nil, true},
		{"inside the group", "FR", "DE", nil, false},
		{"out of the group", "FR", "TR", nil, true},
		{"into the group", "TR", "FR", nil, true},
		{"special territory", "AE-DIFC", "AE", &law.Law{Code: "AE-DIFC", Country: "AE"}, false},
		{"territory of its own", "AE-DIFC", "AE", &law.Law{Code: "AE-DIFC", Country: "AE", SeparateTerritory: true}, true},
		{"its own region", "AE-DIFC", "AE-DIFC", &law.Law{Code: "AE-DIFC", SeparateTerritory: true}, false},
		{"country into the territory", "AE", "AE-DIFC", &law.Law{Code: "AE-DIFC", SeparateTerritory: true}, true},
		{"law file that names the country", "XK-A", "TR", &law.Law{Code: "XK-A", Country: "TR"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := sample()
			s.Deployment.Regions = append(s.Deployment.Regions, policy.Region{
				Name: "here", Country: c.country, Backends: map[string][]string{"message": {"10.0.0.9:1"}},
			})
			s.Jurisdictions[c.home] = &policy.Jurisdiction{Code: c.home, Rules: map[string]*policy.Rule{
				"message": {Class: "message", Serve: texts("here")},
			}}
			if c.law != nil {
				s.Laws[c.law.Code] = c.law
			}
			_, problems := Compile(s, now)
			_, got := find(problems, CodeServeAbroad)
			if got != c.crosses {
				t.Errorf("crosses a border: %v, want %v (%+v)", got, c.crosses, problems)
			}
		})
	}
}

// TestFreeMovementEnds: a border comes back when one end leaves the group.
func TestFreeMovementEnds(t *testing.T) {
	s := sample()
	s.Deployment.Regions[1].Country = "FR"
	sa(s).Transfers[0].To = texts("DE", "FR")
	s.Groups["EEA"].Members[1].Until = ending
	s.Jurisdictions["DE"].Rules["message"].Serve = texts("eu-frankfurt", "tr-istanbul")
	if got := ruleOf(mustCompile(t, s, ending.Add(-1)), "DE", "message"); len(got.Serve) != 2 {
		t.Errorf("before: %+v", got)
	}
	sa(s).Transfers = nil
	sa(s).Rules = nil
	if got := ruleOf(mustCompile(t, s, ending), "DE", "message"); len(got.Serve) != 1 || len(got.LapsedServe) != 1 {
		t.Errorf("after: %+v", got)
	}
}

func TestForbiddenHasNoEntry(t *testing.T) {
	s := sample()
	message(s).Serve = []policy.Text{}
	got := ruleOf(mustCompile(t, s, now), "SA", "message")
	if len(got.Serve)+len(got.Entry)+len(got.LapsedServe)+len(got.LapsedEntry) != 0 {
		t.Errorf("%+v", got)
	}
	if d := mustCompile(t, s, now).Table.Decide(residency.Query{Home: "SA", Class: "message", Entry: "me-riyadh"}); d.Reason != residency.Forbidden {
		t.Errorf("%+v", d)
	}
}

func TestEntryThatIsEmptyAdmitsNobody(t *testing.T) {
	s := sample()
	message(s).Entry = []policy.Text{}
	d := mustCompile(t, s, now).Table.Decide(residency.Query{Home: "SA", Class: "message", Entry: "me-riyadh"})
	if d.Reason != residency.EntryNotAllowed {
		t.Errorf("%+v", d)
	}
}

func TestAStreamCarriesItsOwnClass(t *testing.T) {
	s := sample()
	s.Deployment.Classes[1].Carries = texts("presence")
	got := mustCompile(t, s, now).Table.Routes()[1].Carries
	if len(got) != 2 || got[0] != "message" {
		t.Errorf("carries %v", got)
	}
}

// TestNoPanicOnPartialModels blanks random fields, and compiles.
func TestNoPanicOnPartialModels(t *testing.T) {
	rnd := rand.New(rand.NewSource(2))
	if r, p := Compile(nil, now); r != nil || len(p) == 0 {
		t.Error("nil compiles")
	}
	compiled := 0
	for range 3000 {
		s := sample()
		for range 1 + rnd.Intn(4) {
			blank(rnd, reflect.ValueOf(s))
		}
		if r, _ := Compile(s, now); r != nil {
			compiled++
		}
	}
	if compiled == 0 || compiled == 3000 {
		t.Errorf("%d of 3000 compile: the models are not partial", compiled)
	}
}

// blank walks to a random place below v and sets it to its zero value.
func blank(rnd *rand.Rand, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() && rnd.Intn(20) > 0 {
			blank(rnd, v.Elem())
			return
		}
	case reflect.Struct:
		if v.NumField() > 0 && v.Type() != reflect.TypeFor[time.Time]() {
			blank(rnd, v.Field(rnd.Intn(v.NumField())))
			return
		}
	case reflect.Slice:
		if v.Len() > 0 && rnd.Intn(8) > 0 {
			blank(rnd, v.Index(rnd.Intn(v.Len())))
			return
		}
	case reflect.Map:
		if v.Len() > 0 && rnd.Intn(8) > 0 {
			key := v.MapKeys()[rnd.Intn(v.Len())]
			if value := v.MapIndex(key); value.Kind() == reflect.Pointer && rnd.Intn(4) > 0 {
				blank(rnd, value)
			} else {
				v.SetMapIndex(key, reflect.Zero(v.Type().Elem()))
			}
			return
		}
	}
	if v.CanSet() {
		v.SetZero()
	}
}

func TestOpenRoutesThatTakeNobodysRequests(t *testing.T) {
	for name, open := range map[string]policy.ClassRoute{
		"a narrower path":      {Class: "health", Path: "/v1/messages/health", Subject: "none"},
		"another method":       {Class: "health", PathPrefix: "/", Method: "OPTIONS", Subject: "none"},
		"a host of its own":    {Class: "health", Host: "static.example.com", Subject: "none"},
		"almost the prefix":    {Class: "health", PathPrefix: "/v1/message", Subject: "none"},
		"another gRPC service": {Class: "health", GRPCService: "x.Y", Subject: "none"},
	} {
		s := sample()
		open.Service, open.Serve, open.Pos = "message", at(71, "me-riyadh"), line(72)
		s.Deployment.Classes = append([]policy.ClassRoute{open}, s.Deployment.Classes...)
		if _, problems := Compile(s, now); slices.ContainsFunc(problems, func(p policy.Problem) bool { return p.Code == CodeOpenShadows }) {
			t.Errorf("%s is refused: %v", name, problems)
		}
	}
}
