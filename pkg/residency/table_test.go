package residency_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/domicile-dev/domicile/pkg/residency"
)

var (
	regionNames = []string{"eu", "sa", "tr"}
	homeCodes   = []string{"DE", "SA", "TR"}
	classNames  = []string{"message", "presence", "profile"}
)

func spec() residency.Spec {
	return residency.Spec{
		Regions: []residency.Region{{Name: "sa", Country: "SA"}, {Name: "tr", Country: "TR"}, {Name: "eu", Country: "DE"}},
		Routes: []residency.Route{
			{Class: "login", Match: residency.Match{PathPrefix: "/login"}, Subject: residency.SubjectHost, Service: "message"},
			{Class: "message", Match: residency.Match{PathPrefix: "/m"}, Subject: residency.SubjectCaller, Service: "message"},
			{Class: "message", Match: residency.Match{Path: "/ws"}, Subject: residency.SubjectCaller, Service: "message", LongLived: true, Carries: []string{"message", "presence"}},
		},
		Issuers: []residency.Issuer{{Issuer: "id", Homes: []string{"SA", "TR", "DE", "QA"}}},
		Rules: []residency.Rule{
			{Home: "SA", Class: "message", Serve: []string{"sa"}, Entry: []string{"sa", "eu"}, MaxAge: 24 * time.Hour},
			{Home: "SA", Class: "presence", Serve: []string{"sa"}, Entry: []string{"sa"}, MaxAge: time.Hour},
			{Home: "TR", Class: "message", Serve: []string{"tr", "eu"}, Entry: []string{"tr", "eu", "sa"}},
			{Home: "DE", Class: "message", Serve: []string{"eu"}, Entry: []string{"eu"}, LapsedEntry: []string{"sa"}},
			{Home: "DE", Class: "presence"},
			{Home: "SA", Class: "login", Serve: []string{"sa"}, Entry: []string{"sa"}},
			{Home: "DE", Class: "login", Serve: []string{"eu"}, Entry: []string{"eu"}},
			{Home: "TR", Class: "login", LapsedServe: []string{"eu"}, Entry: []string{"eu"}},
		},
		Transfers: []residency.Transfer{
			{ID: "roam", Home: "SA", To: []string{"DE"}, Classes: []string{"message"}, For: []string{"entry"}, Mechanism: "scc"},
			{ID: "old", Home: "SA", To: []string{"TR"}, Classes: []string{"message"}, For: []string{"entry"}, Mechanism: "scc", Lapsed: true},
		},
	}
}

func table(t testing.TB, s residency.Spec) *residency.Table {
	t.Helper()
	out, err := residency.New(s)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestZeroValuesDeny(t *testing.T) {
	var none *residency.Table
	for name, tab := range map[string]*residency.Table{"nil": none, "zero": {}, "empty": table(t, residency.Spec{})} {
		if d := tab.Decide(residency.Query{Home: "SA", Class: "message", Entry: "sa"}); d.Allowed() || d.Reason == "" {
			t.Errorf("%s table: decided %+v", name, d)
		}
		if d := tab.DecideRoute(0, residency.Query{Home: "SA"}); d.Allowed() || d.Reason == "" {
			t.Errorf("%s table: route decided %+v", name, d)
		}
		if d := tab.DecideHost(0, "sa", "sa"); d.Allowed() || d.Reason == "" {
			t.Errorf("%s table: host decided %+v", name, d)
		}
		if home, why := tab.Home("id", "SA"); home != "" || why == "" {
			t.Errorf("%s table: home %q %q", name, home, why)
		}
		if x, why := tab.Transfer("SA", "message", "DE", "entry"); x != nil || why == "" {
			t.Errorf("%s table: transfer %v %q", name, x, why)
		}
	}
	var d residency.Decision
	if d.Allowed() {
		t.Error("the zero decision allows")
	}
	if s := residency.Reason("made-up").Status(); s != 503 {
		t.Errorf("an unknown reason has status %d", s)
	}
}

func TestDecide(t *testing.T) {
	tab := table(t, spec())
	cases := []struct {
		name   string
		q      residency.Query
		region string
		reason residency.Reason
	}{
		{"served at home", residency.Query{Home: "SA", Class: "message", Entry: "eu"}, "sa", ""},
		{"first in order", residency.Query{Home: "TR", Class: "message", Entry: "sa"}, "tr", ""},
		{"failover as listed", residency.Query{Home: "TR", Class: "message", Entry: "sa", Down: []string{"tr"}}, "eu", ""},
		{"all down", residency.Query{Home: "TR", Class: "message", Entry: "sa", Down: []string{"tr", "eu"}}, "", residency.RegionUnavailable},
		{"no spill-over", residency.Query{Home: "SA", Class: "message", Entry: "eu", Down: []string{"sa"}}, "", residency.RegionUnavailable},
		{"entry", residency.Query{Home: "SA", Class: "message", Entry: "tr"}, "", residency.EntryNotAllowed},
		{"unknown entry", residency.Query{Home: "SA", Class: "message", Entry: ""}, "", residency.EntryNotAllowed},
		{"lapsed entry", residency.Query{Home: "DE", Class: "message", Entry: "sa"}, "", residency.Lapsed},
		{"lapsed serve", residency.Query{Home: "TR", Class: "login", Entry: "eu"}, "", residency.Lapsed},
		{"forbidden", residency.Query{Home: "DE", Class: "presence", Entry: "eu"}, "", residency.Forbidden},
		{"no rule", residency.Query{Home: "TR", Class: "presence", Entry: "eu"}, "", residency.NoRule},
		{"home without rules", residency.Query{Home: "QA", Class: "message", Entry: "eu"}, "", residency.NoRule},
		{"unknown class", residency.Query{Home: "SA", Class: "media", Entry: "eu"}, "", residency.NoClass},
	}
	for _, c := range cases {
		d := tab.Decide(c.q)
		if d.Region != c.region || d.Reason != c.reason || d.Allowed() != (c.reason == "") {
			t.Errorf("%s: got %q %q allowed=%v, want %q %q", c.name, d.Region, d.Reason, d.Allowed(), c.region, c.reason)
		}
	}
}

func TestStreamsTakeTheStrictestRule(t *testing.T) {
	tab := table(t, spec())
	d := tab.DecideRoute(2, residency.Query{Home: "SA", Entry: "sa"})
	if !d.Allowed() || d.Rule.MaxAge != time.Hour {
		t.Errorf("SA at sa: %+v", d)
	}
	if d := tab.DecideRoute(2, residency.Query{Home: "SA", Entry: "eu"}); d.Reason != residency.EntryNotAllowed {
		t.Errorf("presence may not enter at eu, got %q", d.Reason)
	}
	if d := tab.DecideRoute(2, residency.Query{Home: "DE", Entry: "eu"}); d.Reason != residency.Forbidden {
		t.Errorf("presence of DE is forbidden, got %q", d.Reason)
	}
	if d := tab.DecideRoute(2, residency.Query{Home: "TR", Entry: "eu"}); d.Reason != residency.NoRule {
		t.Errorf("presence of TR has no rule, got %q", d.Reason)
	}
	if d := tab.DecideRoute(9, residency.Query{Home: "TR", Entry: "eu"}); d.Reason != residency.NoClass {
		t.Errorf("no such route, got %q", d.Reason)
	}
}

func TestHome(t *testing.T) {
	tab := table(t, spec())
	for _, c := range []struct {
		issuer, claim, home string
		why                 residency.Reason
	}{
		{"id", "SA", "SA", ""}, {"id", "QA", "QA", ""},
		{"id", "US", "", residency.IssuerNotEntitled}, {"id", "sa", "", residency.IssuerNotEntitled},
		{"other", "SA", "", residency.IssuerNotEntitled}, {"other", "", "", residency.IssuerNotEntitled},
		{"id", "", "", residency.NoHome},
	} {
		if home, why := tab.Home(c.issuer, c.claim); home != c.home || why != c.why {
			t.Errorf("%s names %q: got %q %q, want %q %q", c.issuer, c.claim, home, why, c.home, c.why)
		}
	}
}

func TestHostsStandForHomesThatAgree(t *testing.T) {
	s := spec()
	tab := table(t, s)
	if d := tab.DecideHost(0, "sa", "sa"); !d.Allowed() || d.Region != "sa" {
		t.Errorf("host of sa: %+v", d)
	}
	if d := tab.DecideHost(0, "sa", "eu"); d.Reason != residency.EntryNotAllowed {
		t.Errorf("host of sa at eu: %q", d.Reason)
	}
	if d := tab.DecideHost(0, "tr", "tr"); d.Reason != residency.NoHome {
		t.Errorf("nobody is at home at tr's host: %q", d.Reason)
	}
	s.Rules = append(s.Rules, residency.Rule{Home: "FR", Class: "login", Serve: []string{"eu", "tr"}, Entry: []string{"eu"}})
	if d := table(t, s).DecideHost(0, "eu", "eu"); d.Reason != residency.NoHome {
		t.Errorf("DE and FR disagree: %q", d.Reason)
	}
}

func TestTransfer(t *testing.T) {
	tab := table(t, spec())
	if x, why := tab.Transfer("SA", "message", "DE", "entry"); x == nil || why != "" || x.ID != "roam" {
		t.Errorf("covered: %v %q", x, why)
	}
	for _, c := range []struct {
		class, to, purpose string
		why                residency.Reason
	}{
		{"message", "TR", "entry", residency.Lapsed},
		{"message", "DE", "serve", residency.TransferNotAllowed},
		{"profile", "DE", "entry", residency.TransferNotAllowed},
		{"message", "US", "entry", residency.TransferNotAllowed},
	} {
		if x, why := tab.Transfer("SA", c.class, c.to, c.purpose); x != nil || why != c.why {
			t.Errorf("%v: %v %q", c, x, why)
		}
	}
}

func TestNewRefusesWhatIsAmbiguous(t *testing.T) {
	for name, spoil := range map[string]func(*residency.Spec){
		"two regions of one name":      func(s *residency.Spec) { s.Regions = append(s.Regions, s.Regions[0]) },
		"two issuers of one name":      func(s *residency.Spec) { s.Issuers = append(s.Issuers, s.Issuers[0]) },
		"two rules for one cell":       func(s *residency.Spec) { s.Rules = append(s.Rules, s.Rules[0]) },
		"unknown serving region":       func(s *residency.Spec) { s.Rules[0].Serve = []string{"us"} },
		"unknown entry":                func(s *residency.Spec) { s.Rules[0].Entry = []string{"us"} },
		"unknown lapsed entry":         func(s *residency.Spec) { s.Rules[0].LapsedEntry = []string{"us"} },
		"unknown lapsed region":        func(s *residency.Spec) { s.Rules[0].LapsedServe = []string{"us"} },
		"unknown region of a no-class": func(s *residency.Spec) { s.Routes[0].Serve = []string{"us"} },
	} {
		s := spec()
		spoil(&s)
		if _, err := residency.New(s); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestDigestIsOfMeaningNotOfOrder(t *testing.T) {
	want := table(t, spec()).Digest()
	for range 50 {
		s := spec()
		rand.Shuffle(len(s.Regions), func(i, j int) { s.Regions[i], s.Regions[j] = s.Regions[j], s.Regions[i] })
		rand.Shuffle(len(s.Rules), func(i, j int) { s.Rules[i], s.Rules[j] = s.Rules[j], s.Rules[i] })
		rand.Shuffle(len(s.Transfers), func(i, j int) { s.Transfers[i], s.Transfers[j] = s.Transfers[j], s.Transfers[i] })
		for i := range s.Rules {
			e := s.Rules[i].Entry
			rand.Shuffle(len(e), func(i, j int) { e[i], e[j] = e[j], e[i] })
		}
		if got := table(t, s).Digest(); got != want {
			t.Fatalf("another order, another digest: %s", got)
		}
	}
	for name, change := range map[string]func(*residency.Spec){
		"failover order": func(s *residency.Spec) { slices.Reverse(s.Rules[2].Serve) },
		"route order":    func(s *residency.Spec) { slices.Reverse(s.Routes) },
		"a country":      func(s *residency.Spec) { s.Regions[0].Country = "AE" },
		"an entry":       func(s *residency.Spec) { s.Rules[0].Entry = s.Rules[0].Entry[:1] },
		"max age":        func(s *residency.Spec) { s.Rules[0].MaxAge++ },
		"a lapse":        func(s *residency.Spec) { s.Transfers[0].Lapsed = true },
		"an end": func(s *residency.Spec) {
			s.Observed, s.ObserveEnds = []string{"DE"}, map[string]time.Time{"DE": time.Unix(1, 0)}
		},
		"observation": func(s *residency.Spec) { s.Observed = []string{"DE"} },
		"the brake":   func(s *residency.Spec) { s.Rules[0].Braked = true },
	} {
		s := spec()
		change(&s)
		if table(t, s).Digest() == want {
			t.Errorf("%s changed and the digest did not", name)
		}
	}
}

func TestNewCopiesItsInput(t *testing.T) {
	s := spec()
	tab := table(t, s)
	s.Rules[0].Serve[0], s.Issuers[0].Homes[0] = "tr", "US"
	if d := tab.Decide(residency.Query{Home: "SA", Class: "message", Entry: "sa"}); d.Region != "sa" {
		t.Errorf("the table changed under us: %q", d.Region)
	}
}

// randomSpec draws a spec over a small world, so that two of them overlap.
func randomSpec(r *rapid.T, label string) residency.Spec {
	s := spec()
	s.Rules = nil
	subset := func(name string, from []string) []string {
		return rapid.SliceOfNDistinct(rapid.SampledFrom(from), 0, len(from), rapid.ID[string]).Draw(r, label+name)
	}
	for _, h := range homeCodes {
		for _, c := range classNames {
			if rapid.IntRange(0, 4).Draw(r, label+"skip") == 0 {
				continue
			}
			s.Rules = append(s.Rules, residency.Rule{
				Home: h, Class: c, Serve: subset("serve", regionNames), Entry: subset("entry", regionNames),
				Braked: rapid.IntRange(0, 9).Draw(r, label+"brake") == 0,
			})
		}
	}
	s.Observed = subset("observed", homeCodes)
	return s
}

// What the first step of a roll-out allows, the old and the new table allow
// both; what both allow the same way, it allows.
func TestMeetNeverAllowsMoreThanBoth(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		a, b := table(t, randomSpec(r, "a")), table(t, randomSpec(r, "b"))
		m, err := residency.Meet(a, b)
		if err != nil {
			t.Fatal(err)
		}
		for route := range m.Routes() {
			for _, h := range homeCodes {
				for _, e := range regionNames {
					q := residency.Query{Home: h, Entry: e}
					da, db, dm := a.DecideRoute(route, q), b.DecideRoute(route, q), m.DecideRoute(route, q)
					for _, region := range dm.Serve {
						if dm.Allowed() && (!da.Allowed() || !db.Allowed() || !slices.Contains(da.Serve, region) || !slices.Contains(db.Serve, region)) {
							r.Fatalf("route %d %s at %s: the step serves in %s; old %v, new %v", route, h, e, region, da.Serve, db.Serve)
						}
					}
					if dm.Passes() != (da.Passes() && db.Passes()) {
						r.Fatalf("route %d %s at %s: the step passes %t, old %t, new %t", route, h, e, dm.Passes(), da.Passes(), db.Passes())
					}
					if da.Allowed() && db.Allowed() && cmp.Equal(da.Serve, db.Serve) && !dm.Allowed() {
						r.Fatalf("route %d %s at %s: unchanged, yet the step denies: %s", route, h, e, dm.Reason)
					}
				}
			}
		}
	})
}

func TestKeeps(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		a, b := table(t, randomSpec(r, "a")), table(t, randomSpec(r, "b"))
		m, err := residency.Meet(a, b)
		if err != nil {
			t.Fatal(err)
		}
		want := true
		for route := range a.Routes() {
			for _, h := range homeCodes {
				for _, e := range regionNames {
					q := residency.Query{Home: h, Entry: e}
					if was, is := a.DecideRoute(route, q), m.DecideRoute(route, q); was.Allowed() && !cmp.Equal(was.Serve, is.Serve) || was.Passes() && !is.Passes() {
						want = false
					}
				}
			}
		}
		if got := m.Keeps(a); got && !want {
			r.Fatalf("the step takes something away, and Keeps says it does not")
		}
		if !a.Keeps(a) {
			r.Fatal("a table does not keep itself")
		}
	})
	s := spec()
	loose := spec()
	loose.Rules[0].Entry = append(loose.Rules[0].Entry, "tr")
	m, err := residency.Meet(table(t, s), table(t, loose))
	if err != nil || !m.Keeps(table(t, s)) {
		t.Errorf("one more entry takes nothing away: %v", err)
	}
	if back, err := residency.Meet(table(t, loose), table(t, s)); err != nil || back.Keeps(table(t, loose)) {
		t.Errorf("one entry less takes something away: %v", err)
	}
	shorter := spec()
	shorter.Rules[0].MaxAge /= 2
	if m, err := residency.Meet(table(t, s), table(t, shorter)); err != nil || m.Keeps(table(t, s)) {
		t.Errorf("a shorter session takes something away: %v", err)
	}
}

func TestMeetDropsARegionThatMovedAbroad(t *testing.T) {
	a, s := table(t, spec()), spec()
	s.Regions[0].Country = "AE"
	m, err := residency.Meet(a, table(t, s))
	if err != nil {
		t.Fatal(err)
	}
	if d := m.Decide(residency.Query{Home: "SA", Class: "message", Entry: "eu"}); d.Allowed() {
		t.Error("the name is the same, the place is not")
	}
}

func BenchmarkDecide(b *testing.B) {
	s := residency.Spec{Routes: spec().Routes}
	for i := range 50 {
		s.Regions = append(s.Regions, residency.Region{Name: fmt.Sprintf("r%d", i), Country: "DE"})
	}
	for i := range 250 {
		for _, c := range classNames {
			s.Rules = append(s.Rules, residency.Rule{Home: fmt.Sprintf("H%d", i), Class: c, Serve: []string{"r1", "r2"}, Entry: []string{"r1", "r2", "r3"}})
		}
	}
	tab := table(b, s)
	q := residency.Query{Home: "H77", Class: "message", Entry: "r2"}
	b.ReportAllocs()
	for b.Loop() {
		if !tab.Decide(q).Allowed() {
			b.Fatal("denied")
		}
	}
}

// The epoch is part of the policy, and a step towards a new one ends the old pins.
func TestEpoch(t *testing.T) {
	table := func(n uint64) *residency.Table {
		out, err := residency.New(residency.Spec{
			Regions: []residency.Region{{Name: "me-riyadh", Country: "SA"}},
			Rules:   []residency.Rule{{Home: "SA", Class: "message"}},
			Epochs:  map[string]uint64{"SA": n},
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	before, after := table(0), table(3)
	if before.Digest() == after.Digest() {
		t.Error("two epochs have one digest")
	}
	if got := before.Spec().Epochs; got != nil {
		t.Errorf("epoch 0 is written down: %v", got)
	}
	if got := after.Epoch("SA"); got != 3 {
		t.Errorf("epoch of SA = %d, want 3", got)
	}
	if got := (*residency.Table)(nil).Epoch("SA") + after.Epoch("TR"); got != 0 {
		t.Errorf("epoch of an unknown home = %d, want 0", got)
	}
	step, err := residency.Meet(before, after)
	if err != nil {
		t.Fatal(err)
	}
	if got := step.Epoch("SA"); got != 3 {
		t.Errorf("the step still takes pins of epoch %d", got)
	}
}
