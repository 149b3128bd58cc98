package residency_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/domicile-dev/domicile/pkg/residency"
)

func differing(t *testing.T) residency.Spec {
	t.Helper()
	s := residency.Spec{
		Regions: []residency.Region{{Name: "r0", Country: "AA"}, {Name: "r1", Country: "BB"}, {Name: "r2", Country: "CC"}},
		Routes: []residency.Route{
			{Class: "message", Match: residency.Match{Path: "/m"}, Subject: residency.SubjectCaller, Service: "im"},
			{Class: "stream", Match: residency.Match{Path: "/s"}, Subject: residency.SubjectCaller, Service: "im", Carries: []string{"message", "profile"}},
			{Class: "profile", Match: residency.Match{Path: "/p"}, Subject: residency.SubjectCaller, Service: "im"},
		},
		Issuers: []residency.Issuer{{Issuer: "i", Homes: []string{"AA", "BB", "CC", "QA"}}},
	}
	for _, home := range []string{"AA", "BB", "CC"} {
		for _, class := range []string{"message", "profile"} {
			s.Rules = append(s.Rules, residency.Rule{Home: home, Class: class, Serve: []string{"r0", "r1"}, Entry: []string{"r0", "r1"}})
		}
	}
	return s
}

// TestDifferNamesEveryHomeThatIsDecidedDifferently: random edits, and each home that
// is not named must get the same answers to every question.
func TestDifferNamesEveryHomeThatIsDecidedDifferently(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	spec := differing(t)
	named, silent := 0, 0
	for n := range 400 {
		old, err := residency.New(spec)
		if err != nil {
			t.Fatal(err)
		}
		for range 1 + r.IntN(2) {
			spec = editedSpec(r, spec)
		}
		now, err := residency.New(spec)
		if err != nil {
			t.Fatal(err)
		}
		homes, ok := residency.Differ(old, now)
		if !ok {
			silent++
			continue
		}
		if back, _ := residency.Differ(now, old); !cmp.Equal(homes, back) {
			t.Fatalf("round %d: %v one way, %v the other", n, homes, back)
		}
		named += len(homes)
		for _, home := range []string{"AA", "BB", "CC", "QA", "ZZ"} {
			if diff := cmp.Diff(answers(old, home), answers(now, home)); diff != "" && !homes[home] {
				t.Fatalf("round %d: %s is not among %v and is decided differently (-old +new):\n%s", n, home, homes, diff)
			}
		}
	}
	if named < 100 || silent == 0 || silent > 300 {
		t.Errorf("%d homes named, %d rounds nothing said: too little to compare", named, silent)
	}
}

// TestDifferIsNarrow: one rule names one home.
func TestDifferIsNarrow(t *testing.T) {
	old, _ := residency.New(differing(t))
	spec := differing(t)
	spec.Rules[2].Serve = []string{"r1"}
	now, _ := residency.New(spec)
	homes, ok := residency.Differ(old, now)
	if diff := cmp.Diff(map[string]bool{"BB": true}, homes); diff != "" || !ok {
		t.Errorf("ok %v (-want +got):\n%s", ok, diff)
	}
	if _, ok := residency.Differ(nil, now); ok {
		t.Error("something is said of no table")
	}
}

func answers(t *residency.Table, home string) (out []string) {
	say := func(d residency.Decision) {
		age := time.Duration(-1)
		if d.Rule != nil {
			age = d.Rule.MaxAge
		}
		out = append(out, fmt.Sprint(d.Allowed(), d.Passes(), d.Reason, d.Region, d.Serve, age))
	}
	for _, entry := range []string{"r0", "r1", "r2", "nowhere"} {
		for i := range t.Routes() {
			say(t.DecideRoute(i, residency.Query{Home: home, Entry: entry}))
		}
		for _, class := range []string{"message", "profile", "stream"} {
			say(t.Decide(residency.Query{Home: home, Class: class, Entry: entry}))
		}
	}
	out = append(out, fmt.Sprint(t.Epoch(home)))
	for _, issuer := range []string{"i", "j"} {
		h, why := t.Home(issuer, home)
		out = append(out, h+" "+string(why))
	}
	return out
}

func editedSpec(r *rand.Rand, s residency.Spec) residency.Spec {
	s.Rules = slices.Clone(s.Rules)
	i := r.IntN(len(s.Rules) + 1)
	if i == len(s.Rules) || len(s.Rules) < 3 {
		return differingAgain(r, s)
	}
	some := []string{"r0", "r1", "r2"}[:r.IntN(4)]
	switch r.IntN(10) {
	case 9:
		s.Epochs = map[string]uint64{"AA": uint64(r.IntN(2)), "QA": uint64(r.IntN(2))}
	case 0:
		s.Rules[i].Serve = some
	case 1:
		s.Rules[i].Entry = some
	case 2:
		s.Rules[i].LapsedServe = some
	case 3:
		s.Rules[i].LapsedEntry = some
	case 4:
		s.Rules[i].MaxAge = time.Duration(r.IntN(3))
	case 5:
		s.Rules[i].Braked = !s.Rules[i].Braked
	case 6:
		s.Rules = slices.Delete(s.Rules, i, i+1)
	case 7:
		s.Observed = []string{"AA", "BB", "QA"}[:r.IntN(4)]
	case 8:
		if r.IntN(3) == 0 {
			return differingAgain(r, s)
		}
	}
	return s
}

// differingAgain changes what is no single home's.
func differingAgain(r *rand.Rand, s residency.Spec) residency.Spec {
	fresh := residency.Spec{Regions: s.Regions, Routes: slices.Clone(s.Routes), Issuers: s.Issuers, Rules: s.Rules, Observed: s.Observed}
	switch r.IntN(4) {
	case 0:
		fresh.Routes[2].Carries = []string{"message"}
	case 1:
		fresh.Issuers = []residency.Issuer{{Issuer: "i", Homes: []string{"AA", "BB"}}}
	case 2:
		fresh.Held = []residency.Held{{Home: "AA", Route: 0, Entries: []string{"r0"}}}
	case 3:
		fresh.Rules = nil
		for _, home := range []string{"AA", "BB", "CC"} {
			for _, class := range []string{"message", "profile"} {
				fresh.Rules = append(fresh.Rules, residency.Rule{Home: home, Class: class, Serve: []string{"r0"}, Entry: []string{"r0"}})
			}
		}
	}
	return fresh
}
