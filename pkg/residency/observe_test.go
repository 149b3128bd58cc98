package residency_test

import (
	"testing"
	"time"

	"github.com/domicile-dev/domicile/pkg/residency"
)

// Observation lets pass what the rules refuse, and nothing that is refused for
// another reason, or that the emergency brake stops.
func TestWhatPassesUnderObservation(t *testing.T) {
	s := spec()
	s.Observed = []string{"TR", "SA", "QA"}
	s.Rules = append(s.Rules, residency.Rule{Home: "QA", Class: "presence", Braked: true})
	tab := table(t, s)
	for _, c := range []struct {
		home, class, entry string
		down               []string
		reason             residency.Reason
		passes             bool
	}{
		{"SA", "message", "sa", nil, "", false},
		{"SA", "message", "tr", nil, residency.EntryNotAllowed, true},
		{"TR", "presence", "eu", nil, residency.NoRule, true},
		{"TR", "login", "eu", nil, residency.Lapsed, true},
		{"QA", "message", "eu", nil, residency.NoRule, true},
		{"QA", "presence", "eu", nil, residency.Forbidden, false},
		{"QA", "message", "nowhere", nil, residency.NoRule, false},
		{"QA", "message", "", nil, residency.NoRule, false},
		{"SA", "message", "eu", []string{"sa"}, residency.RegionUnavailable, false},
		{"SA", "media", "eu", nil, residency.NoClass, false},
		{"DE", "presence", "eu", nil, residency.Forbidden, false},
		{"XX", "message", "eu", nil, residency.NoRule, false},
	} {
		d := tab.Decide(residency.Query{Home: c.home, Class: c.class, Entry: c.entry, Down: c.down})
		if d.Reason != c.reason || d.Passes() != c.passes || d.Allowed() && d.Passes() {
			t.Errorf("%s %s at %q: %q passes %t, want %q %t", c.home, c.class, c.entry, d.Reason, d.Passes(), c.reason, c.passes)
		}
	}
	// A stream that carries a class under the brake is stopped, whatever else it lacks.
	for _, missing := range []bool{false, true} {
		s := spec()
		s.Observed = []string{"DE"}
		s.Rules = []residency.Rule{{Home: "DE", Class: "presence", Braked: true}}
		if !missing {
			s.Rules = append(s.Rules, residency.Rule{Home: "DE", Class: "message", Serve: []string{"eu"}, Entry: []string{"eu"}})
		}
		if d := table(t, s).DecideRoute(2, residency.Query{Home: "DE", Entry: "eu"}); d.Allowed() || d.Passes() {
			t.Errorf("without a rule for messages %t: %+v", missing, d)
		}
	}
	// When it ends is part of what the table says, for observed homes only.
	end := time.Date(2027, 2, 24, 0, 0, 0, 0, time.FixedZone("east", 3600))
	s.ObserveEnds = map[string]time.Time{"TR": end, "DE": end}
	if dated := table(t, s); !dated.ObserveEnd("TR").Equal(end) || !dated.ObserveEnd("DE").IsZero() || dated.Digest() == tab.Digest() {
		t.Errorf("the ends: %v", dated.Spec().ObserveEnds)
	}
	// At a host name nobody is known.
	s = spec()
	s.Observed = []string{"SA", "TR", "DE"}
	s.Rules[5].Entry = nil
	if d := table(t, s).DecideHost(0, "sa", "sa"); d.Reason != residency.EntryNotAllowed || d.Passes() {
		t.Errorf("by host name: %+v", d)
	}
	var none *residency.Table
	if none.Observed("SA") || !none.ObserveEnd("SA").IsZero() || (residency.Decision{}).Passes() || (&residency.Table{}).Decide(residency.Query{Home: "SA", Class: "message"}).Passes() {
		t.Error("a zero value observes")
	}
}

// Two classes of a stream that both policies serve somewhere, and no longer in one
// place: the stream passes under the new policy only, so not yet in the step.
func TestAStepHoldsBackWhatOnlyTheNewPolicyPasses(t *testing.T) {
	with := func(message, presence []string) *residency.Table {
		s := spec()
		s.Observed = []string{"SA"}
		s.Rules = []residency.Rule{
			{Home: "SA", Class: "message", Serve: message, Entry: regionNames}, {Home: "SA", Class: "presence", Serve: presence, Entry: regionNames},
		}
		return table(t, s)
	}
	a, b := with([]string{"sa", "tr"}, []string{"tr", "sa"}), with([]string{"sa"}, []string{"tr"})
	q := residency.Query{Home: "SA", Entry: "eu"}
	if !a.DecideRoute(2, q).Allowed() || !b.DecideRoute(2, q).Passes() {
		t.Fatal("the case is not the one that is meant")
	}
	m, err := residency.Meet(a, b)
	if err != nil {
		t.Fatal(err)
	}
	if d := m.DecideRoute(2, q); d.Allowed() || d.Passes() {
		t.Errorf("the step: %+v", d)
	}
	// From that step on to a third policy, what it held is still held.
	m2, err := residency.Meet(m, b)
	if err != nil {
		t.Fatal(err)
	}
	if m2.DecideRoute(2, q).Passes() || m.Keeps(b) {
		t.Error("a step from a step passes what the first held")
	}
}
