package compile

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/policy/law"
	"github.com/domicile-dev/domicile/pkg/residency"
)

// TestOnlyCoveredCrossingsCompile draws small worlds and judges each region of
// each rule by a naive reading of the language: what holds at the instant is
// allowed, what held before it is lapsed, all else does not compile.
func TestOnlyCoveredCrossingsCompile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, at := drawWorld(t)
		r, problems := Compile(s, at)
		if r != nil {
			for _, rule := range r.Table.Spec().Rules {
				said := s.Jurisdictions[rule.Home].Rules[rule.Class]
				edges := []string{}
				if rule.Cache != nil {
					edges = rule.Cache.Edges
				}
				agree(t, s, at, rule, forServe, said.Serve, rule.Serve, rule.LapsedServe)
				if len(said.Serve) > 0 {
					agree(t, s, at, rule, forEntry, said.Entry, rule.Entry, rule.LapsedEntry)
				}
				agree(t, s, at, rule, forCache, said.Cache.Edges, edges, nil)
			}
		}
		if r == nil && everythingCovered(s, at) {
			t.Fatalf("everything is covered, and it does not compile: %+v", problems)
		}
	})
}

func agree(t *rapid.T, s *policy.Set, at time.Time, r residency.Rule, purpose string, said []policy.Text, live, ended []string) {
	if len(live)+len(ended) > len(said) {
		t.Fatalf("%s/%s for %s: %v and %v from %v", r.Home, r.Class, purpose, live, ended, said)
	}
	for _, name := range said {
		now, before := naive(s, r.Home, r.Class, name.Value, purpose, at)
		switch {
		case !now && !before:
			t.Fatalf("%s/%s: %s for %s is not covered, and compiles", r.Home, r.Class, name.Value, purpose)
		case now != slices.Contains(live, name.Value):
			t.Fatalf("%s/%s: %s for %s: covered %v, live %v", r.Home, r.Class, name.Value, purpose, now, live)
		case purpose != forCache && now == slices.Contains(ended, name.Value):
			t.Fatalf("%s/%s: %s for %s: covered %v, lapsed %v", r.Home, r.Class, name.Value, purpose, now, ended)
		}
	}
}

func everythingCovered(s *policy.Set, at time.Time) bool {
	for home, j := range s.Jurisdictions {
		for class, rule := range j.Rules {
			lists := map[string][]policy.Text{forServe: rule.Serve, forEntry: rule.Entry, forCache: rule.Cache.Edges}
			if len(rule.Serve) == 0 {
				delete(lists, forEntry) // forbidden: nothing enters
			}
			for purpose, list := range lists {
				for _, name := range list {
					if now, before := naive(s, home, class, name.Value, purpose, at); !now && !before {
						return false
					}
				}
			}
		}
	}
	return true
}

// naive says whether a crossing is permitted at an instant, or was by a date
// that has passed.
func naive(s *policy.Set, home, class, region, purpose string, at time.Time) (now, before bool) {
	country := ""
	for _, r := range s.Deployment.Regions {
		if r.Name == region {
			country = r.Country
		}
	}
	if country == home {
		return true, true
	}
	in := func(list []policy.Text, v string) bool {
		return slices.ContainsFunc(list, func(t policy.Text) bool { return t.Value == v })
	}
	holds := func(ends ...time.Time) {
		before = true
		if !slices.ContainsFunc(ends, func(e time.Time) bool { return !e.IsZero() && !at.Before(e) }) {
			now = true
		}
	}
	for _, g := range s.Groups {
		for _, x := range g.Members {
			for _, y := range g.Members {
				if g.FreeMovement && x.Code == home && y.Code == country && !at.Before(x.Since) && !at.Before(y.Since) {
					holds(x.Until, y.Until)
				}
			}
		}
	}
	for _, x := range s.Jurisdictions[home].Transfers {
		if !in(x.Classes, class) || !in(x.For, purpose) {
			continue
		}
		if in(x.To, country) {
			holds(x.Until)
		}
		for _, g := range s.Groups {
			for _, m := range g.Members {
				if in(x.To, g.Name) && m.Code == country && !at.Before(m.Since) {
					holds(x.Until, m.Until)
				}
			}
		}
	}
	return now, before
}

// drawWorld draws three countries with a region each, two dated groups, and one
// home with random rules and transfers.
func drawWorld(t *rapid.T) (*policy.Set, time.Time) {
	codes := []string{"SA", "TR", "DE"}
	some := func(label string, from ...string) []policy.Text {
		return texts(rapid.SliceOfNDistinct(rapid.SampledFrom(from), 0, len(from), rapid.ID[string]).Draw(t, label)...)
	}
	instant := func(label string) time.Time {
		return rapid.SampledFrom([]time.Time{{}, now, now.Add(1), ending}).Draw(t, label)
	}
	s := sample()
	s.Groups = map[string]*law.Group{}
	for _, name := range []string{"EEA", "GCC"} {
		g := &law.Group{Name: name, FreeMovement: name == "EEA"}
		for _, c := range some(name, codes...) {
			g.Members = append(g.Members, law.GroupMember{Code: c.Value, Since: instant("since"), Until: instant("until")})
		}
		s.Groups[name] = g
	}
	j := &policy.Jurisdiction{Code: "SA", Laws: texts("SA"), Rules: map[string]*policy.Rule{}}
	regions := []string{"me-riyadh", "tr-istanbul", "eu-frankfurt"}
	for _, class := range []string{"message", "presence"} {
		j.Rules[class] = &policy.Rule{
			Serve: some("serve", regions...), Entry: some("entry", regions...), Cache: &policy.Cache{Edges: some("edges", regions...)},
		}
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "transfers") {
		x := &policy.Transfer{
			ID: string(rune('a' + i)), To: some("to", "TR", "DE", "EEA", "GCC"), Classes: some("classes", "message", "presence"),
			For: some("for", forServe, forEntry, forCache), Mechanism: "scc", Until: instant("end"),
		}
		if rapid.Bool().Draw(t, "broad") { // or hardly any world would compile
			x.To, x.Classes, x.For = append(x.To, texts("TR", "DE")...), texts("message", "presence"), texts(forServe, forEntry, forCache)
		}
		j.Transfers = append(j.Transfers, x)
	}
	s.Jurisdictions = map[string]*policy.Jurisdiction{"SA": j}
	return s, rapid.SampledFrom([]time.Time{now, now.Add(1), ending.Add(-1), ending}).Draw(t, "at")
}
