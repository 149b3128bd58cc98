// Package plan says what changes from one residency table to another, by asking
// both every question that a table answers: no solver is needed, because the
// space is finite. "Nothing loosens" is therefore a statement about every
// combination, and Report.Compared says how many there were.
//
// The combinations, over everything that either table knows:
//   - serve: home × class × entry × region, the region being reached or not,
//     with today's backends as one more region (observation);
//   - stream: home × route that carries several classes × entry × region;
//   - host: route decided by host name × region's host name × entry × region;
//   - cache: home × class × edge × field;
//   - transfer: home × class × country of destination × purpose, and its end;
//   - issuer: issuer × home that it may name;
//   - observe: home, and until when its policy is not enforced;
//   - session: home × class;
//   - pins: home, and which epoch its pins must carry;
//   - route: a request of each route's shape, judged by both route tables.
//
// A change loosens when anything is reached after it that was not before: a
// region, an edge, a field, a destination, a home by an issuer, or a longer life
// of a copy. It tightens when something is lost and nothing is gained, and is
// neutral otherwise. An epoch that rises ends all pins of a home; one that falls lets
// those count again that it ended. Neutral is: another order of the same regions, another reason of a
// refusal, another reference of a transfer. A region that lies in another country
// than before is another region.
//
// The package is pure and its order is deterministic.
package plan

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/domicile-dev/domicile/pkg/residency"
)

// Effect is what a change does to what may happen.
type Effect string

// The effects.
const (
	Loosens  Effect = "loosens"
	Tightens Effect = "tightens"
	Neutral  Effect = "neutral"
)

// Kind is the dimension in which something changed.
type Kind string

// The kinds, in the order of a report.
const (
	Serve    Kind = "serve"
	Stream   Kind = "stream"
	Host     Kind = "host"
	Cache    Kind = "cache"
	Transfer Kind = "transfer"
	Issuer   Kind = "issuer"
	Session  Kind = "session"
	Pins     Kind = "pins"
	Route    Kind = "route"
	Observe  Kind = "observe"
)

var kinds = []Kind{Observe, Serve, Stream, Host, Cache, Transfer, Issuer, Session, Pins, Route}

// Change is one difference. Home, Class and Entry are empty where the kind has
// none; Entry is the entry of a request, the edge of a cache, or the country of
// a transfer's destination.
type Change struct {
	Effect Effect `json:"effect"`
	Kind   Kind   `json:"kind"`
	Home   string `json:"home"`
	Class  string `json:"class"`
	Entry  string `json:"entry"`
	// What narrows it down: the field of a cache, the purpose of a transfer, the
	// issuer, or the shape of the requests.
	What   string `json:"what,omitempty"`
	Before string `json:"before"`
	After  string `json:"after"`
}

// Report is everything that differs, and how much was compared.
type Report struct {
	Changes  []Change `json:"changes"`
	Compared int      `json:"compared"`
}

// Loosens tells whether anything does.
func (r Report) Loosens() bool { return r.Count(Loosens) > 0 }

// Count counts the changes of an effect.
func (r Report) Count(e Effect) int {
	n := 0
	for _, c := range r.Changes {
		if c.Effect == e {
			n++
		}
	}
	return n
}

// Compare compares every combination of two tables. A nil table denies.
func Compare(before, after *residency.Table) Report {
	c := newComparison(before, after)
	c.observations()
	c.cells()
	c.streams()
	c.hosts()
	c.transfers()
	c.issuers()
	c.epochs()
	c.routes()
	order := func(k Kind) int { return slices.Index(kinds, k) }
	slices.SortStableFunc(c.out.Changes, func(a, b Change) int {
		return cmp.Or(
			order(a.Kind)-order(b.Kind), cmp.Compare(a.Home, b.Home), cmp.Compare(a.Class, b.Class),
			cmp.Compare(a.Entry, b.Entry), cmp.Compare(a.What, b.What),
		)
	})
	return c.out
}

// comparison is one run of Compare.
type comparison struct {
	was, is side
	out     Report
	// Everything that either side knows, sorted.
	homes, classes, regions, countries, issuerNames []string
}

// side is one of the two tables, with what is asked of it often.
type side struct {
	table  *residency.Table
	spec   residency.Spec
	lands  map[string]string // region → country
	rules  map[[2]string]*residency.Rule
	routes []residency.Route
	// crossings are the transfers of a home.
	crossings map[string][]residency.Transfer
}

func newSide(t *residency.Table) side {
	if t == nil {
		t = &residency.Table{}
	}
	s := side{table: t, spec: t.Spec(), lands: map[string]string{}, rules: map[[2]string]*residency.Rule{}, routes: t.Routes()}
	for _, r := range t.Regions() {
		s.lands[r.Name] = r.Country
	}
	for i, r := range s.spec.Rules {
		s.rules[[2]string{r.Home, r.Class}] = &s.spec.Rules[i]
	}
	s.crossings = map[string][]residency.Transfer{}
	for _, t := range s.spec.Transfers {
		s.crossings[t.Home] = append(s.crossings[t.Home], t)
	}
	return s
}

func newComparison(before, after *residency.Table) *comparison {
	c := &comparison{was: newSide(before), is: newSide(after), out: Report{Changes: []Change{}}}
	for _, s := range []side{c.was, c.is} {
		c.homes = append(c.homes, s.table.Homes()...)
		c.homes = append(c.homes, s.spec.Observed...)
		for _, r := range s.spec.Rules {
			c.homes = append(c.homes, r.Home)
			c.classes = append(c.classes, r.Class)
		}
		for _, r := range s.routes {
			c.classes = append(append(c.classes, r.Class), r.Carries...)
		}
		for name, country := range s.lands {
			c.regions, c.countries = append(c.regions, name), append(c.countries, country)
		}
		for _, t := range s.spec.Transfers {
			c.countries = append(c.countries, t.To...)
			c.homes = append(c.homes, t.Home)
			c.classes = append(c.classes, t.Classes...)
		}
		for home := range s.spec.Epochs {
			c.homes = append(c.homes, home)
		}
		for _, i := range s.table.Issuers() {
			c.issuerNames = append(c.issuerNames, i.Issuer)
			c.homes = append(c.homes, i.Homes...)
		}
	}
	for _, list := range []*[]string{&c.homes, &c.classes, &c.regions, &c.countries, &c.issuerNames} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
		*list = slices.DeleteFunc(*list, func(s string) bool { return s == "" })
	}
	return c
}

// today stands for the backends that served before Domicile, in outcomes.
const today = "today's backend"

// reached lists the regions that a decision reaches, whatever is down, in order;
// each with its country where that is not the same on both sides.
func (c *comparison) reached(s side, d residency.Decision) []string {
	if d.Passes() {
		return []string{today}
	}
	var out []string
	for _, r := range d.Serve {
		out = append(out, c.place(s, r))
	}
	return out
}

// place names a region, so that one that has moved is another.
func (c *comparison) place(s side, region string) string {
	was, old := c.was.lands[region]
	is, now := c.is.lands[region]
	if old && now && was != is {
		return region + " in " + s.lands[region]
	}
	return region
}

// outcome is a decision as people read it.
func (c *comparison) outcome(s side, d residency.Decision) string {
	where := strings.Join(c.reached(s, d), " > ")
	switch {
	case d.Passes():
		return fmt.Sprintf("observe %s (%s)", d.Reason, where)
	case d.Allowed():
		return "allow " + where
	default:
		return "deny " + string(d.Reason)
	}
}

// gain judges two sets.
func gain(before, after []string) Effect {
	effect := Neutral
	for _, b := range before {
		if !slices.Contains(after, b) {
			effect = Tightens
		}
	}
	for _, a := range after {
		if !slices.Contains(before, a) {
			return Loosens
		}
	}
	return effect
}

// decisions adds the change of one question, if there is one.
func (c *comparison) decisions(k Kind, home, class, entry, what string, was, is residency.Decision) {
	c.out.Compared += len(c.regions) + 1
	if was.Allowed() == is.Allowed() && was.Reason == is.Reason && was.Passes() == is.Passes() && slices.Equal(was.Serve, is.Serve) && c.still(entry, is.Serve) {
		return
	}
	before, after := c.outcome(c.was, was), c.outcome(c.is, is)
	effect := gain(c.reached(c.was, was), c.reached(c.is, is))
	if moved := c.place(c.was, entry) != c.place(c.is, entry); moved && is.Allowed() {
		before, after, effect = before+" at "+c.place(c.was, entry), after+" at "+c.place(c.is, entry), Loosens
	}
	if before != after {
		c.add(Change{Effect: effect, Kind: k, Home: home, Class: class, Entry: entry, What: what, Before: before, After: after})
	}
}

// still tells whether no region of a decision lies elsewhere than before.
func (c *comparison) still(entry string, serve []string) bool {
	moved := func(r string) bool { return c.place(c.was, r) != c.place(c.is, r) }
	return !moved(entry) && !slices.ContainsFunc(serve, moved)
}

func (c *comparison) add(x Change) { c.out.Changes = append(c.out.Changes, x) }

// observations compares until when homes are not enforced: where it is longer, or
// begins, what is refused in the end passes for longer.
func (c *comparison) observations() {
	state := func(s side, home string) (string, time.Time) {
		end := s.table.ObserveEnd(home)
		switch {
		case !s.table.Observed(home):
			return "enforced", time.Time{}
		case end.IsZero():
			return "not enforced", end
		}
		return "not enforced until " + end.Format(time.RFC3339), end
	}
	for _, home := range c.homes {
		c.out.Compared++
		was, before := state(c.was, home)
		is, after := state(c.is, home)
		if was == is {
			continue
		}
		x := Change{Effect: Loosens, Kind: Observe, Home: home, Before: was, After: is}
		if !c.is.table.Observed(home) || c.was.table.Observed(home) && !after.IsZero() && (before.IsZero() || after.Before(before)) {
			x.Effect = Tightens
		}
		c.add(x)
	}
}

// cells compares what hangs on a home and a class.
func (c *comparison) cells() {
	for _, home := range c.homes {
		for _, class := range c.classes {
			for _, entry := range c.regions {
				q := residency.Query{Home: home, Class: class, Entry: entry}
				c.decisions(Serve, home, class, entry, "", c.was.table.Decide(q), c.is.table.Decide(q))
			}
			was, is := c.was.rules[[2]string{home, class}], c.is.rules[[2]string{home, class}]
			c.session(home, class, was, is)
			c.caches(home, class, was, is)
		}
	}
}

func (c *comparison) session(home, class string, was, is *residency.Rule) {
	c.out.Compared++
	if was == nil || is == nil || was.MaxAge == is.MaxAge {
		return // a rule that comes or goes is told by its decisions
	}
	c.add(Change{Effect: Neutral, Kind: Session, Home: home, Class: class, Before: age(was.MaxAge), After: age(is.MaxAge)})
}

func age(d time.Duration) string {
	if d == 0 {
		return "no bound"
	}
	return short(d)
}

func (c *comparison) caches(home, class string, was, is *residency.Rule) {
	a, b := cacheOf(was), cacheOf(is)
	fields := slices.Concat(a.Fields, b.Fields)
	slices.Sort(fields)
	fields = slices.Compact(fields)
	for _, edge := range c.regions {
		moved := c.place(c.was, edge) != c.place(c.is, edge)
		for _, field := range fields {
			c.out.Compared++
			before, after := ttl(a, edge, field), ttl(b, edge, field)
			if before == after && (!moved || before == 0) {
				continue
			}
			effect := Tightens
			if after > before || moved && after > 0 {
				effect = Loosens
			}
			c.add(Change{
				Effect: effect, Kind: Cache, Home: home, Class: class, Entry: edge, What: field,
				Before: kept(before), After: kept(after),
			})
		}
	}
}

func cacheOf(r *residency.Rule) residency.Cache {
	if r == nil || r.Cache == nil {
		return residency.Cache{}
	}
	return *r.Cache
}

// ttl is for how long an edge may keep a field; 0 is not at all.
func ttl(c residency.Cache, edge, field string) time.Duration {
	if !slices.Contains(c.Edges, edge) || !slices.Contains(c.Fields, field) {
		return 0
	}
	return c.TTL
}

func kept(d time.Duration) string {
	if d == 0 {
		return "not cached"
	}
	return "cached for " + short(d)
}

// short is a duration without zero units.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// purposes are what a transfer may be for (DESIGN.md).
var purposes = []string{"serve", "entry", "cache", "directory", "deliver"}

func (c *comparison) transfers() {
	asked := slices.Clone(purposes)
	for _, s := range []side{c.was, c.is} {
		for _, t := range s.spec.Transfers {
			asked = append(asked, t.For...)
		}
	}
	slices.Sort(asked)
	asked = slices.Compact(asked)
	for _, home := range c.homes {
		if reflect.DeepEqual(c.was.crossings[home], c.is.crossings[home]) {
			c.out.Compared += len(c.classes) * len(c.countries) * len(asked)
			continue
		}
		for _, class := range c.classes {
			for _, to := range c.countries {
				for _, purpose := range asked {
					c.out.Compared++
					a, why := c.was.table.Transfer(home, class, to, purpose)
					b, whyNot := c.is.table.Transfer(home, class, to, purpose)
					before, after := crossing(a, why), crossing(b, whyNot)
					if before == after {
						continue
					}
					effect := Neutral
					switch {
					case a == nil && b != nil:
						effect = Loosens
					case a != nil && b == nil:
						effect = Tightens
					case a != nil && later(a.Until, b.Until):
						effect = Loosens
					case a != nil && later(b.Until, a.Until):
						effect = Tightens
					}
					c.add(Change{Effect: effect, Kind: Transfer, Home: home, Class: class, Entry: to, What: purpose, Before: before, After: after})
				}
			}
		}
	}
}

func crossing(t *residency.Transfer, why residency.Reason) string {
	if t == nil {
		return "deny " + string(why)
	}
	out := "allow by " + t.ID + " (" + t.Mechanism
	if t.Reference != "" {
		out += ", " + t.Reference
	}
	if !t.Until.IsZero() {
		out += ", until " + t.Until.UTC().Format(time.DateOnly)
	}
	return out + ")"
}

// later tells whether an end b comes after an end a; zero is no end.
func later(a, b time.Time) bool { return !a.IsZero() && (b.IsZero() || b.After(a)) }

func (c *comparison) issuers() {
	for _, issuer := range c.issuerNames {
		for _, home := range c.homes {
			c.out.Compared++
			_, was := c.was.table.Home(issuer, home)
			_, is := c.is.table.Home(issuer, home)
			if was == is {
				continue
			}
			x := Change{Effect: Tightens, Kind: Issuer, Home: home, What: issuer, Before: "may name it", After: "deny " + string(is)}
			if is == "" {
				x.Effect, x.Before, x.After = Loosens, "deny "+string(was), "may name it"
			}
			c.add(x)
		}
	}
}

// epochs compares which pins count.
func (c *comparison) epochs() {
	for _, home := range c.homes {
		c.out.Compared++
		was, is := c.was.table.Epoch(home), c.is.table.Epoch(home)
		if was == is {
			continue
		}
		x := Change{Effect: Tightens, Kind: Pins, Home: home, Before: fmt.Sprintf("epoch %d", was), After: fmt.Sprintf("epoch %d", is)}
		if is < was {
			x.Effect = Loosens
		}
		c.add(x)
	}
}
