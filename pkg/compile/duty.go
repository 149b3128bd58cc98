package compile

import (
	"maps"
	"slices"
	"strings"

	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/policy/law"
	"github.com/domicile-dev/domicile/pkg/residency"
)

// shortfall is a region that keeps data which a law wants elsewhere. Rules that
// share defaults share it.
type shortfall struct {
	home, law, region string
	purpose           string // forServe or forCache
	pos               policy.Pos
	waiver            *policy.Waiver // in force, or nil
}

// checkDuties holds the choices of a jurisdiction against what its law files
// require of the place of data: a copy in the country (the region that serves
// first lies there), or no copy elsewhere. Where a waiver carried a cell until
// now, the cell lapses; in force it stays, and is named.
func (b *builder) checkDuties(home string, j *policy.Jurisdiction) {
	found := map[shortfall][]string{}
	for _, l := range b.laws(j) {
		if l.NotLaw {
			continue
		}
		for _, class := range slices.Sorted(maps.Keys(j.Rules)) {
			r := j.Rules[class]
			if r == nil || level(l, class) != "required" {
				continue
			}
			short := b.shortfalls(home, l, r)
			if len(short) == 0 {
				continue
			}
			w, ended := b.excuse(CodeDutyShortfall, home, class)
			if ended {
				b.lapse(home, class, l, short)
				continue
			}
			for _, s := range short {
				s.waiver = w
				found[s] = append(found[s], class)
			}
		}
	}
	for s, classes := range found {
		b.reportShortfall(s, classes)
	}
}

// level is the level of a law's duty for a class.
func level(l *law.Law, class string) string {
	if at, ok := l.Localisation.Classes[class]; ok {
		return at
	}
	return l.Duty
}

// shortfalls lists the regions by which a rule falls short of a law's duty.
func (b *builder) shortfalls(home string, l *law.Law, r *policy.Rule) []shortfall {
	abroad := func(t policy.Text) bool {
		region, ok := b.regions[t.Value]
		return ok && !b.within(home, l, region.Country)
	}
	var out []shortfall
	add := func(t policy.Text, purpose string) {
		out = append(out, shortfall{home: home, law: l.Code, region: t.Value, purpose: purpose, pos: t.Pos})
	}
	if l.Localisation.Keeps != keepsOnly {
		if len(r.Serve) > 0 && abroad(r.Serve[0]) {
			add(r.Serve[0], forServe)
		}
		return out
	}
	for _, t := range r.Serve {
		if abroad(t) {
			add(t, forServe)
		}
	}
	if r.Cache != nil {
		for _, t := range r.Cache.Edges {
			if abroad(t) {
				add(t, forCache)
			}
		}
	}
	return out
}

// keepsOnly is the duty to keep data in the country and nowhere else.
const keepsOnly = "only"

// within tells whether a country lies in the territory of a law. The law of a
// union has none of its own: there it is where the home's data moves freely.
func (b *builder) within(home string, l *law.Law, country string) bool {
	if isCode(l.Code) && l.Code != "EU" {
		return b.territory(l.Code) == b.territory(country)
	}
	return b.freedom(home, country) == covered
}

// lapse takes from a cell what a waiver carried until it ended.
func (b *builder) lapse(home, class string, l *law.Law, short []shortfall) {
	i := slices.IndexFunc(b.spec.Rules, func(r residency.Rule) bool { return r.Home == home && r.Class == class })
	if i < 0 {
		return
	}
	r := &b.spec.Rules[i]
	gone := func(purpose string) func(region string) bool {
		return func(region string) bool {
			return l.Localisation.Keeps != keepsOnly && purpose == forServe ||
				slices.ContainsFunc(short, func(s shortfall) bool { return s.region == region && s.purpose == purpose })
		}
	}
	for _, region := range r.Serve {
		if gone(forServe)(region) && !slices.Contains(r.LapsedServe, region) {
			r.LapsedServe = append(r.LapsedServe, region)
		}
	}
	r.Serve = slices.DeleteFunc(slices.Clone(r.Serve), gone(forServe))
	if r.Cache != nil {
		c := *r.Cache
		if c.Edges = slices.DeleteFunc(slices.Clone(c.Edges), gone(forCache)); len(c.Edges) == 0 {
			r.Cache = nil
			return
		}
		r.Cache = &c
	}
}

func (b *builder) reportShortfall(s shortfall, classes []string) {
	l, list := b.set.Laws[s.law], strings.Join(distinct(classes), ", ")
	what, duty, fix := lang.T("serving region"), lang.T("a copy there"), lang.T("put a region in %s first", s.law)
	if s.purpose == forCache {
		what = lang.T("cache edge")
	}
	if l.Localisation.Keeps == keepsOnly {
		duty, fix = lang.T("that they be kept nowhere else"), lang.T("remove %s", s.region)
	}
	p := policy.Problem{
		Pos: s.pos, Code: CodeDutyShortfall, Severity: policy.Error, Law: cited(l),
		Message: lang.T("%s of %s users would be kept outside %s: %s %s is in %s, and law %q requires %s",
			list, s.home, s.law, what, s.region, b.regions[s.region].Country, s.law, duty),
		Why: lang.T("law %q says duty: required (%s:%d)", s.law, l.Pos.File, l.Pos.Line),
		Fix: lang.T("%s, forbid the class with serve: [], or let a waiver carry it for at most 90 days", fix),
	}
	if s.waiver != nil {
		p = waive(p, s.waiver)
	}
	b.add(p)
}

// cited is what a law file gives as the source of its duty.
func cited(l *law.Law) string {
	for _, s := range []string{l.Localisation.Citation, l.Citation, l.Title} {
		if s != "" {
			return s
		}
	}
	return l.Code
}
