package residency

import (
	"reflect"
	"slices"
)

// Differ names the homes about whose callers two tables can decide differently:
// Home, Decide, DecideRoute and Epoch answer alike for every other home, whatever
// the entry, also for one that neither table knows. It is false where the tables differ
// in more than single homes, so that nothing can be said. Transfers are not compared.
func Differ(a, b *Table) (homes map[string]bool, ok bool) {
	if a == nil || b == nil || !reflect.DeepEqual(a.spec.Regions, b.spec.Regions) || !reflect.DeepEqual(a.spec.Routes, b.spec.Routes) ||
		!reflect.DeepEqual(a.spec.Issuers, b.spec.Issuers) || !reflect.DeepEqual(a.spec.Held, b.spec.Held) {
		return nil, false
	}
	homes = map[string]bool{}
	for home := range a.observed {
		if !b.observed[home] {
			homes[home] = true
		}
	}
	for home := range b.observed {
		if !a.observed[home] {
			homes[home] = true
		}
	}
	for _, epochs := range []map[string]uint64{a.spec.Epochs, b.spec.Epochs} {
		for home := range epochs {
			if a.spec.Epochs[home] != b.spec.Epochs[home] {
				homes[home] = true
			}
		}
	}
	rest := b.spec.Rules // both are sorted by home and class
	for i := range a.spec.Rules {
		x := &a.spec.Rules[i]
		for len(rest) > 0 && before(&rest[0], x) {
			homes[rest[0].Home] = true
			rest = rest[1:]
		}
		if len(rest) == 0 || before(x, &rest[0]) || !sameRule(x, &rest[0]) {
			homes[x.Home] = true
		}
		if len(rest) > 0 && !before(x, &rest[0]) {
			rest = rest[1:]
		}
	}
	for i := range rest {
		homes[rest[i].Home] = true
	}
	return homes, true
}

func before(x, y *Rule) bool { return x.Home < y.Home || x.Home == y.Home && x.Class < y.Class }

func sameRule(x, y *Rule) bool {
	return x.Home == y.Home && x.Class == y.Class && x.MaxAge == y.MaxAge && x.Braked == y.Braked &&
		slices.Equal(x.Serve, y.Serve) && slices.Equal(x.Entry, y.Entry) &&
		slices.Equal(x.LapsedServe, y.LapsedServe) && slices.Equal(x.LapsedEntry, y.LapsedEntry) && slices.Equal(x.Stopped, y.Stopped) && reflect.DeepEqual(x.Cache, y.Cache)
}
