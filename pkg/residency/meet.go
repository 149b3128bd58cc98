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
func Meet(a, b *Table) (*Table, error) {
	s := b.spec
	s.Rules = nil
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
	return New(s)
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
				if was, is := old.DecideRoute(i, q), t.DecideRoute(i, q); was.allowed && !sameWay(was, is) {
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
