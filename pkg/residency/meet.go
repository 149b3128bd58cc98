package residency

import (
	"reflect"
	"slices"
)

// Meet returns the table of the first step of a roll-out from a to b: it allows
// only what both allow, the way a does it. What b forbids is gone at once; what
// b adds is not open yet: a cell that a allows and b moves elsewhere keeps
// nothing until b itself is in force. Whoever publishes the step should answer
// RegionUnavailable where b allows and the Meet does not.
//
// The routes, issuers and regions are those of b, so a request that b would
// refuse for its class or issuer is refused already.
//
// What passes by observation passes in the Meet where it does in both a and b, and
// nowhere else: what ends is gone at once, and what begins waits for b.
func Meet(a, b *Table) (*Table, error) {
	s := b.spec
	s.Rules, s.Observed, s.Held = nil, nil, nil
	for _, h := range b.spec.Observed {
		if a.observed[h] {
			s.Observed = append(s.Observed, h)
		}
	}
	for _, nr := range b.spec.Rules {
		or := a.rules[cell{nr.Home, nr.Class}]
		if or == nil {
			nr.Serve = nil
			s.Rules = append(s.Rules, clone(nr))
			continue
		}
		r := restrict(clone(*or), nr)
		r.Serve = a.sameCountry(b, r.Serve)
		r.LapsedServe, r.LapsedEntry = nr.LapsedServe, nr.LapsedEntry
		r.MaxAge, r.Cache = nr.MaxAge, nr.Cache
		s.Rules = append(s.Rules, r)
	}
	m, err := New(s)
	if err != nil || len(s.Observed) == 0 {
		return m, err
	}
	if s.Held = m.holds(a, b); len(s.Held) == 0 {
		return m, nil
	}
	return New(s)
}

// holds returns where m, a Meet of a and b without any Held, passes what a or b
// does not: there one of them allows, or is not observing.
func (t *Table) holds(a, b *Table) []Held {
	var out []Held
	for _, home := range t.spec.Observed {
		for i, r := range t.spec.Routes {
			h := Held{Home: home, Route: i}
			for _, entry := range t.spec.Regions {
				q := Query{Home: home, Entry: entry.Name}
				if t.DecideRoute(i, q).passes && !(a.passesLike(r, q) && b.DecideRoute(i, q).passes) {
					h.Entries = append(h.Entries, entry.Name)
				}
			}
			if h.Entries != nil {
				out = append(out, h)
			}
		}
	}
	return out
}

// passesLike asks t about a class route of another table. Where t is a step
// itself, what it holds at a route of that class is held.
func (t *Table) passesLike(r Route, q Query) bool {
	rule := t.merge(q.Home, r)
	if rule == nil {
		rule = t.rules[cell{q.Home, governing(r)}]
	}
	if !t.judge(rule, q).passes {
		return false
	}
	for _, h := range t.spec.Held {
		if h.Home == q.Home && t.spec.Routes[h.Route].Class == r.Class && slices.Contains(h.Entries, q.Entry) {
			return false
		}
	}
	return true
}

// sameCountry drops regions that moved to another country between a and b: the
// name is the same, the place is not.
func (t *Table) sameCountry(b *Table, list []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(n string) bool {
		return t.regions[n].Country != b.regions[n].Country
	})
}

// Keeps tells whether t allows everything that old allows, in the same way: the
// same requests by the same routes and issuers, served by the same regions in
// the same order and for as long. A Meet that keeps the old table takes nothing
// away.
func (t *Table) Keeps(old *Table) bool {
	if !reflect.DeepEqual(t.spec.Routes, old.spec.Routes) || !reflect.DeepEqual(t.spec.Issuers, old.spec.Issuers) ||
		!reflect.DeepEqual(t.spec.Regions, old.spec.Regions) {
		return false
	}
	for i := range old.spec.Routes {
		for _, entry := range old.spec.Regions {
			for home := range old.homes {
				q := Query{Home: home, Entry: entry.Name}
				was, is := old.DecideRoute(i, q), t.DecideRoute(i, q)
				if was.allowed && !sameWay(was, is) || was.passes && !is.passes {
					return false
				}
			}
			for _, host := range old.spec.Regions {
				if was, is := old.DecideHost(i, host.Name, entry.Name), t.DecideHost(i, host.Name, entry.Name); was.allowed && !sameWay(was, is) {
					return false
				}
			}
		}
	}
	return true
}

func sameWay(was, is Decision) bool {
	return is.allowed && slices.Equal(was.Serve, is.Serve) && was.Rule.MaxAge == is.Rule.MaxAge
}
