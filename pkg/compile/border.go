package compile

import (
	"slices"
	"strings"

	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/policy/law"
)

// cover says how far a crossing is permitted at the instant of compilation. The
// zero value is "not"; a greater value is a stronger permission.
type cover int

const (
	uncovered cover = iota
	lapsed          // permitted until something ended
	covered
)

// purposes of a transfer that concern places of the deployment.
const (
	forServe = "serve"
	forEntry = "entry"
	forCache = "cache"
	// forDirectory is that of what the directory says.
	forDirectory = "directory"
)

// isCountry tells whether s has the shape of a country code. policy.Parse has
// checked it against the list of countries.
func isCountry(s string) bool {
	return len(s) == 2 && s[0] >= 'A' && s[0] <= 'Z' && s[1] >= 'A' && s[1] <= 'Z'
}

// isCode tells whether s has the shape of a jurisdiction code: SA, US-CA, AE-DIFC.
func isCode(s string) bool {
	country, part, special := strings.Cut(s, "-")
	if !isCountry(country) {
		return false
	}
	return !special || part != "" && strings.Trim(part, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == ""
}

// territory returns the country in which a jurisdiction lies, or the code itself
// when its law file says that it is a territory of its own.
func (b *builder) territory(code string) string {
	if l := b.set.Laws[code]; l != nil {
		if l.SeparateTerritory {
			return code
		}
		if l.Country != "" {
			return l.Country
		}
	}
	country, _, _ := strings.Cut(code, "-")
	return country
}

// freedom says whether a home's data may reach a country without a transfer:
// within its own territory, and within a group of free movement.
func (b *builder) freedom(home, country string) cover {
	key := [2]string{home, country}
	how, done := b.free[key]
	if !done {
		how = b.judgeFreedom(home, country)
		b.free[key] = how
	}
	return how
}

func (b *builder) judgeFreedom(home, country string) cover {
	from := b.territory(home)
	if from == b.territory(country) {
		return covered
	}
	best := uncovered
	for _, g := range b.set.Groups {
		if g != nil && g.FreeMovement {
			best = max(best, min(b.member(g, from), b.member(g, country)))
		}
	}
	return best
}

// member says whether code belongs to the group: lapsed when it has left.
func (b *builder) member(g *law.Group, code string) cover {
	best := uncovered
	for _, m := range g.Members {
		if m.Code == code {
			best = max(best, b.row(m))
		}
	}
	return best
}

// row judges the dates of one row, and remembers when that judgement changes.
func (b *builder) row(m law.GroupMember) cover {
	b.note(m.Since)
	b.note(m.Until)
	switch {
	case b.at.Before(m.Since):
		return uncovered
	case !m.Until.IsZero() && !b.at.Before(m.Until):
		return lapsed
	}
	return covered
}

// expand returns the countries that a code or a group stands for.
func (b *builder) expand(name string) map[string]cover {
	g := b.set.Groups[name]
	if g == nil {
		return map[string]cover{name: covered}
	}
	out := map[string]cover{}
	for _, m := range g.Members {
		out[m.Code] = max(out[m.Code], b.row(m))
	}
	return out
}

// checkGroups refuses a group that is named like a country: a transfer to that
// name would mean two things.
func (b *builder) checkGroups() {
	known := map[string]bool{}
	for code := range b.set.Jurisdictions {
		known[code] = true
	}
	for _, r := range b.set.Deployment.Regions {
		known[r.Country] = true
	}
	for _, g := range b.set.Groups {
		if g != nil {
			for _, m := range g.Members {
				known[m.Code] = true
			}
		}
	}
	for name, g := range b.set.Groups {
		if g != nil && known[name] {
			b.add(policy.Problem{
				Pos: g.Pos, Code: CodeAmbiguousGroup, Severity: policy.Error,
				Message: lang.T("group %s has the name of a jurisdiction", name), Fix: lang.T("rename the group"),
			})
		}
	}
}

// crossing is a transfer and what it reaches.
type crossing struct {
	*policy.Transfer
	home  string
	ended bool             // its until has passed
	reach map[string]cover // by country, its own end not counted
	used  bool
}

func (c *crossing) covers(class, country, purpose string) cover {
	is := func(want string) func(policy.Text) bool {
		return func(t policy.Text) bool { return t.Value == want }
	}
	if !slices.ContainsFunc(c.Classes, is(class)) || !slices.ContainsFunc(c.For, is(purpose)) {
		return uncovered
	}
	if c.ended {
		return min(lapsed, c.reach[country])
	}
	return c.reach[country]
}

// allowed says how far a home's class may reach a country for a purpose, and
// whether a transfer that has ended is why it no longer may.
func (b *builder) allowed(home, class, country, purpose string) (best cover, byEnd bool) {
	if best = b.freedom(home, country); best == covered {
		return covered, false
	}
	for _, c := range b.transfers[home] {
		how := c.covers(class, country, purpose)
		c.used = c.used || how > uncovered
		byEnd = byEnd || how == lapsed && c.ended
		best = max(best, how)
	}
	return best, byEnd
}
