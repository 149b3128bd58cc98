package compile

import (
	"maps"
	"slices"

	"github.com/domicile-dev/domicile/pkg/residency"
)

// brake pulls the emergency brake: what a denial names is forbidden whatever the
// rules say, and does not pass by observation either.
func (b *builder) brake() {
	for _, d := range b.set.Denials {
		classes := []string{d.Class}
		if d.Class == "" {
			classes = slices.Sorted(maps.Keys(b.classes))
		}
		for _, class := range classes {
			b.forbid(d.Home, class)
		}
	}
}

func (b *builder) forbid(home, class string) {
	braked := residency.Rule{Home: home, Class: class, Braked: true}
	i := slices.IndexFunc(b.spec.Rules, func(r residency.Rule) bool { return r.Home == home && r.Class == class })
	if i < 0 {
		b.spec.Rules = append(b.spec.Rules, braked)
		return
	}
	old := b.spec.Rules[i]
	braked.Entry, braked.Stopped = old.Entry, old.Serve
	if old.Braked {
		braked.Stopped = old.Stopped
	}
	b.spec.Rules[i] = braked
}
