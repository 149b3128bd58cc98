package compile

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/residency"
)

// observed is the sample with SA under observation until a date.
func observed(until time.Time) *policy.Set {
	s := sample()
	s.Deployment.Today = map[string][]string{"message": {"10.9.0.2:1", "10.9.0.1:1"}, "profile": {"10.9.0.1:2"}}
	s.Jurisdictions["SA"].Enforcement, s.Jurisdictions["SA"].ObserveUntil = "observe", until
	return s
}

func TestObservationEndsAtItsInstant(t *testing.T) {
	until := now.AddDate(0, 0, 40)
	q := residency.Query{Home: "SA", Class: "profile", Entry: "eu-frankfurt"}
	for _, c := range []struct {
		at     time.Time
		passes bool
		codes  []string
	}{
		{now, true, []string{CodeNotEnforced}},
		{until.Add(-notice - time.Nanosecond), true, []string{CodeNotEnforced}},
		{until.Add(-notice), true, []string{CodeNotEnforced, CodeObserveEnds}},
		{until.Add(-time.Nanosecond), true, []string{CodeNotEnforced, CodeObserveEnds}},
		{until, false, []string{CodeObserved}},
		{until.AddDate(1, 0, 0), false, []string{CodeObserved}},
	} {
		r, problems := Compile(observed(until), c.at)
		if r == nil {
			t.Fatal(problems)
		}
		if d := r.Table.Decide(q); d.Reason != residency.EntryNotAllowed || d.Passes() != c.passes {
			t.Errorf("at %s: %q passes %t, want %t", c.at, d.Reason, d.Passes(), c.passes)
		}
		var got []string
		for _, code := range codes(problems) {
			if slices.Contains([]string{CodeNotEnforced, CodeObserveEnds, CodeObserved}, code) {
				got = append(got, code)
			}
		}
		if d := cmp.Diff(c.codes, got); d != "" {
			t.Errorf("at %s:\n%s", c.at, d)
		}
		if ahead := r.NextBoundary.Equal(until); ahead != c.passes {
			t.Errorf("at %s the next boundary is %s", c.at, r.NextBoundary)
		}
		if c.passes != r.Table.ObserveEnd("SA").Equal(until) || c.passes != r.Table.Observed("SA") || r.Table.Observed("DE") {
			t.Errorf("at %s observed: %v", c.at, r.Table.Spec().ObserveEnds)
		}
	}
	enforced := observed(until)
	enforced.Jurisdictions["SA"].Enforcement, enforced.Jurisdictions["SA"].ObserveUntil = "enforce", time.Time{}
	if mustCompile(t, enforced, now).Table.Digest() != mustCompile(t, observed(until), until).Table.Digest() {
		t.Error("the table after the end is not that of an enforced policy")
	}
	if mustCompile(t, observed(until), now).Table.Digest() == mustCompile(t, observed(until.AddDate(0, 1, 0)), now).Table.Digest() {
		t.Error("a later end is the same policy: nobody would hear of it")
	}
}

func TestObservationNeedsBackendsOfToday(t *testing.T) {
	until := now.AddDate(0, 0, 40)
	got := mustCompile(t, observed(until), now).Topology.Today
	if d := cmp.Diff(map[string][]string{"message": {"10.9.0.1:1", "10.9.0.2:1"}, "profile": {"10.9.0.1:2"}}, got); d != "" {
		t.Error(d)
	}
	for _, missing := range []string{"message", "profile"} {
		s := observed(until)
		s.Deployment.Today[missing] = nil
		r, problems := Compile(s, now)
		if p, ok := find(problems, CodeNoToday); r != nil || !ok || !says(p, missing, "SA") || p.Severity != policy.Error {
			t.Errorf("without a backend of today for %s: %v", missing, problems)
		}
		// Where nothing is observed, none is needed.
		s.Jurisdictions["SA"].Enforcement = "enforce"
		if r, problems := Compile(s, now); r == nil {
			t.Error(problems)
		}
	}
}

// The emergency brake forbids what a rule allows, what no rule knows and what
// observation would let pass.
func TestBrake(t *testing.T) {
	s := observed(now.AddDate(0, 0, 40))
	s.Denials = []policy.Denial{{Home: "SA", Class: "message"}, {Home: "QA"}}
	table := mustCompile(t, s, now).Table
	for _, q := range []residency.Query{
		{Home: "SA", Class: "message", Entry: "me-riyadh"}, {Home: "QA", Class: "message", Entry: "me-riyadh"}, {Home: "QA", Class: "profile", Entry: "me-riyadh"},
	} {
		if d := table.Decide(q); d.Reason != residency.Forbidden || d.Passes() {
			t.Errorf("%v: %+v", q, d)
		}
	}
	if d := table.DecideRoute(1, residency.Query{Home: "SA", Entry: "me-riyadh"}); d.Allowed() || d.Passes() {
		t.Errorf("a stream that carries messages: %+v", d)
	}
	if d := table.Decide(residency.Query{Home: "SA", Class: "presence", Entry: "me-riyadh"}); !d.Allowed() {
		t.Errorf("another class: %+v", d)
	}
}

// The brake tightens only: which gateways may decrypt the connections of a home's host
// stays as it was, however often it is pulled.
func TestBrakeKeepsWhoMayDecrypt(t *testing.T) {
	s := sample()
	free := mustCompile(t, s, now).Table
	s.Denials = []policy.Denial{{Home: "SA", Class: "message"}, {Home: "SA"}}
	table := mustCompile(t, s, now).Table
	closed := 0
	for _, host := range table.Regions() {
		for _, entry := range table.Regions() {
			may := table.MayDecrypt(host.Name, entry.Name)
			if may != free.MayDecrypt(host.Name, entry.Name) {
				t.Errorf("%s may decrypt the host of %s: %v", entry.Name, host.Name, may)
			}
			if !may {
				closed++
			}
		}
	}
	if closed == 0 {
		t.Error("every gateway may decrypt everything: the test shows nothing")
	}
}
