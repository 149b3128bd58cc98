package compile

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/policy/law"
	"github.com/domicile-dev/domicile/pkg/residency"
)

// notice is how long before its end a transfer is announced.
const notice = 30 * 24 * time.Hour

const day = "2006-01-02"

func (b *builder) warn(at policy.Pos, code string, fix, message lang.Text) {
	b.add(warning(at, code, fix, message))
}

func warning(at policy.Pos, code string, fix, message lang.Text) policy.Problem {
	return policy.Problem{Pos: at, Code: code, Severity: policy.Warning, Message: message, Fix: fix}
}

// atRunTime are the purposes whose crossings only a request shows.
var atRunTime = []string{"deliver", "directory"}

// reportUnused warns of transfers that no rule needs.
func (b *builder) reportUnused() {
	b.eachJurisdiction(func(home string, _ *policy.Jurisdiction) {
		for _, c := range b.transfers[home] {
			waits := slices.ContainsFunc(c.For, func(t policy.Text) bool { return slices.Contains(atRunTime, t.Value) })
			if !c.used && !waits {
				b.warn(c.Pos, CodeUnused, lang.T("remove it"), lang.T("transfer %s of %s is used by nothing", c.ID, home))
			}
		}
	})
}

// checkReach warns of a home that nobody can have, and of classes that it lacks.
func (b *builder) checkReach(home string, j *policy.Jurisdiction) {
	if !b.homes[home] {
		b.warn(j.Pos, CodeNoIssuer, lang.T("add it to homes of an issuer in the deployment"), lang.T("no issuer may name the home %s", home))
	}
	for _, class := range slices.Sorted(maps.Keys(b.subjects)) {
		if b.subjects[class] && j.Rules[class] == nil {
			b.warn(j.Pos, CodeNoRule, lang.T("add a rule, or serve: [] to forbid it"), lang.T("%s has no rule for class %s: refused as no-rule", home, class))
		}
	}
	for _, r := range b.routes {
		var missing []string
		for _, c := range r.Carries {
			if j.Rules[c] == nil {
				missing = append(missing, c)
			}
		}
		if len(missing) > 0 && j.Rules[r.Class] != nil {
			b.warn(j.Pos, CodeCarriesNoRule, lang.T("add rules for what it carries"), lang.T("%s: a %s stream carries %s, for which there is no rule: refused as no-rule",
				home, r.Class, strings.Join(missing, ", ")))
		}
	}
}

// checkReviews warns of what is overdue or about to end.
func (b *builder) checkReviews(home string, j *policy.Jurisdiction) {
	for _, c := range b.transfers[home] {
		switch {
		case c.ended:
			b.warn(c.Pos, CodeLapsed, lang.T("renew it, or remove it and what it covered"),
				lang.T("transfer %s of %s ended on %s: what it covered is refused as lapsed", c.ID, home, c.Until.UTC().Format(day)))
		case !c.Until.IsZero() && c.Until.Sub(b.at) <= notice:
			b.warn(c.Pos, CodeLapsing, lang.T("renew it in time"), lang.T("transfer %s of %s ends on %s", c.ID, home, c.Until.UTC().Format(day)))
		}
		if b.overdue(c.ReviewBy) {
			b.govern(home, unique(c.Classes), warning(c.Pos, CodeReviewDue, lang.T("review it and move reviewBy"),
				lang.T("transfer %s of %s was to be reviewed by %s", c.ID, home, c.ReviewBy.UTC().Format(day))))
		}
		if c.ReviewBy.IsZero() {
			b.govern(home, unique(c.Classes), warning(c.Pos, CodeNoReviewDate, lang.T("add reviewBy: DATE"), lang.T("transfer %s of %s has no date of review", c.ID, home)))
		}
	}
	// A day begins up to 14 hours earlier in the east than in UTC.
	if j.ReviewLast.Sub(b.at) > 14*time.Hour {
		b.govern(home, nil, warning(cmp.Or(j.ReviewPos, j.Pos), CodeReviewAhead, lang.T("set review.last to the day of the last review"),
			lang.T("review.last of %s is %s, in the future", home, j.ReviewLast.UTC().Format(day))))
	}
	if next := j.ReviewLast.Add(j.ReviewEvery); j.ReviewEvery > 0 && b.overdue(next) {
		b.govern(home, nil, warning(j.Pos, CodeReviewDue, lang.T("review it and set review.last"), lang.T("%s was to be reviewed by %s", home, next.UTC().Format(day))))
	}
}

// overdue tells whether a date, itself included, has passed.
func (b *builder) overdue(date time.Time) bool {
	return !date.IsZero() && !b.at.Before(date.AddDate(0, 0, 1))
}

// checkLawFiles warns of law files in use whose facts may be out of date, or
// whose Chinese title is missing or older than the English one.
func (b *builder) checkLawFiles() {
	used := map[string]*law.Law{}
	b.eachJurisdiction(func(_ string, j *policy.Jurisdiction) {
		for _, l := range b.laws(j) {
			used[l.Code] = l
		}
	})
	for _, code := range slices.Sorted(maps.Keys(used)) {
		l := used[code]
		if b.overdue(l.ReviewBy) {
			b.warn(l.Pos, CodeReviewDue, lang.T("check its facts against the sources"), lang.T("law file %s was to be reviewed by %s", code, l.ReviewBy.UTC().Format(day)))
		}
		switch {
		case l.TitleZh == "":
			b.warn(l.Pos, CodeNoTranslation, lang.T("add titleZh"), lang.T("law file %s has no Chinese title", code))
		case !slices.Equal(years(l.Title), years(l.TitleZh)):
			b.warn(l.Pos, CodeNoTranslation, lang.T("translate the title anew"), lang.T("the Chinese title of law file %s names other years than the English one: %s", code, l.TitleZh))
		}
	}
}

// years lists the years that a title names, sorted: an amended law has another
// one, so that a title which was not translated since can be told.
func years(title string) []string {
	var out []string
	for _, word := range strings.FieldsFunc(title, func(r rune) bool { return r < '0' || r > '9' }) {
		if len(word) == 4 && (word[:2] == "19" || word[:2] == "20") {
			out = append(out, word)
		}
	}
	return distinct(out)
}

// checkBackends warns of serving regions that have nothing to serve with, or
// that other entries cannot reach.
func (b *builder) checkBackends() {
	for i, r := range b.routes {
		at := b.set.Deployment.Classes[i].Pos
		for _, name := range r.Serve {
			b.needBackend(at, name, r)
		}
		if r.Subject == residency.SubjectNone {
			continue
		}
		for _, rule := range b.spec.Rules {
			if rule.Class != r.Class && !slices.Contains(r.Carries, rule.Class) {
				continue
			}
			for _, name := range rule.Serve {
				b.needBackend(b.regions[name].Pos, name, r)
				foreign := slices.ContainsFunc(rule.Entry, func(e string) bool { return e != name })
				if b.regions[name].Peer == "" && foreign {
					b.warn(b.regions[name].Pos, CodeNoPeer, lang.T("add gateway.peer"), lang.T("region %s has no peer address: what enters elsewhere cannot reach it", name))
				}
			}
		}
	}
}

func (b *builder) needBackend(at policy.Pos, region string, r residency.Route) {
	if len(b.regions[region].Backends[r.Service]) == 0 {
		b.warn(at, CodeNoBackend, lang.T("add backends for it"), lang.T("region %s serves class %s and has no backend for service %s: refused as no-backend", region, r.Class, r.Service))
	}
}

// checkHosts warns of host names whose homes disagree about where they are
// served: there nothing says whose home governs.
func (b *builder) checkHosts(t *residency.Table) {
	for i, r := range t.Routes() {
		if r.Subject != residency.SubjectHost {
			continue
		}
		for _, region := range t.Regions() {
			var first *residency.Rule
			for _, home := range t.HomesOf(region.Name, r.Class) {
				rule := t.DecideRoute(i, residency.Query{Home: home, Entry: region.Name}).Rule
				switch {
				case rule == nil: // reported as a class without rule
				case first == nil:
					first = rule
				case !slices.Equal(first.Serve, rule.Serve):
					b.warn(b.set.Deployment.Classes[i].Pos, CodeHostDisagrees, lang.T("serve them by the same regions in the same order"),
						lang.T("class %s by host name: the homes of region %s are served by different regions: refused as no-home", r.Class, region.Name))
				}
			}
		}
	}
}
