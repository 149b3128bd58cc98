package residency

import "slices"

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
