package residency

import (
	"slices"
	"time"
)

// Query asks one question. Entry is the region whose gateway takes the
// connection; Down lists regions that cannot serve now.
type Query struct {
	Home, Class, Entry string
	Down               []string
}

// Decision is the answer. The zero Decision is a denial: Allowed is true only
// when a Table made it so.
type Decision struct {
	allowed, passes bool
	// Reason says why not; empty when allowed.
	Reason Reason
	// Region serves; empty when denied.
	Region string
	// Serve lists the regions that may serve, in order, whatever is down. The
	// caller must not change it.
	Serve []string
	// Rule is the rule that decided; nil for the default denials. The caller
	// must not change it.
	Rule *Rule
}

// Allowed tells whether the request may pass.
func (d Decision) Allowed() bool { return d.allowed }

// Passes tells that the request is refused, but that its home is under
// observation: it goes to the backend that served before Domicile, from its entry
// and no further, and is counted under Reason.
func (d Decision) Passes() bool { return d.passes }

// Home judges a verified token: may this issuer name this home? Claim is the
// value of the home claim, "" when it is missing.
func (t *Table) Home(issuer, claim string) (home string, why Reason) {
	if t == nil {
		return "", NotDecidable
	}
	if claim == "" {
		if t.issuers[issuer] == nil {
			return "", IssuerNotEntitled
		}
		return "", NoHome
	}
	if !t.issuers[issuer][claim] {
		return "", IssuerNotEntitled
	}
	return claim, ""
}

// Decide judges one home and class at one entry.
func (t *Table) Decide(q Query) Decision {
	if t == nil {
		return Decision{Reason: NotDecidable}
	}
	if !t.knowsClass(q.Class) {
		return Decision{Reason: NoClass}
	}
	return t.judge(t.rules[cell{q.Home, q.Class}], q)
}

// DecideRoute judges the i-th class route for a home: the strictest rule of all
// classes that the route carries. q.Class is ignored.
func (t *Table) DecideRoute(i int, q Query) Decision {
	if t == nil || i < 0 || i >= len(t.spec.Routes) {
		return Decision{Reason: NoClass}
	}
	r := t.lanes[lane{q.Home, i}]
	if r == nil {
		r = t.rules[cell{q.Home, governing(t.spec.Routes[i])}]
	}
	d := t.judge(r, q)
	d.passes = d.passes && !slices.Contains(t.held[lane{q.Home, i}], q.Entry)
	return d
}

// governing is the class that governs a route which carries one only.
func governing(r Route) string {
	if len(r.Carries) == 1 {
		return r.Carries[0]
	}
	return r.Class
}

// Observed tells whether a home is under observation.
func (t *Table) Observed(home string) bool { return t != nil && t.observed[home] }

// ObserveEnd tells when the observation of a home ends; zero where it is not known,
// or the home is not under observation.
func (t *Table) ObserveEnd(home string) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.spec.ObserveEnds[home]
}

// judge decides by a rule, nil for none. A region that is down, or anything that
// the policy of an observed home does not decide, is refused as ever.
func (t *Table) judge(r *Rule, q Query) Decision {
	d := verdict(r, q)
	switch d.Reason {
	case NoRule, Forbidden, EntryNotAllowed, TransferNotAllowed, Lapsed:
		_, here := t.regions[q.Entry]
		d.passes = here && t.observed[q.Home] && (r == nil || !r.Braked)
	}
	return d
}

func verdict(r *Rule, q Query) Decision {
	switch {
	case r == nil:
		return Decision{Reason: NoRule}
	case r.Class == "" && r.Braked:
		return Decision{Reason: Forbidden}
	case r.Class == "":
		return Decision{Reason: NoRule}
	case len(r.Serve) == 0 && len(r.LapsedServe) > 0:
		return Decision{Reason: Lapsed, Rule: r}
	case len(r.Serve) == 0:
		return Decision{Reason: Forbidden, Rule: r}
	case !slices.Contains(r.Entry, q.Entry) && slices.Contains(r.LapsedEntry, q.Entry):
		return Decision{Reason: Lapsed, Rule: r}
	case !slices.Contains(r.Entry, q.Entry):
		return Decision{Reason: EntryNotAllowed, Rule: r}
	}
	for _, n := range r.Serve {
		if !slices.Contains(q.Down, n) {
			return Decision{allowed: true, Region: n, Serve: r.Serve, Rule: r}
		}
	}
	return Decision{Reason: RegionUnavailable, Serve: r.Serve, Rule: r}
}

func (t *Table) knowsClass(c string) bool {
	for i := range t.spec.Routes {
		if t.spec.Routes[i].Class == c || slices.Contains(t.spec.Routes[i].Carries, c) {
			return true
		}
	}
	return false
}

// Transfer finds the transfer that covers a crossing of a home's class to a
// country for a purpose (serve, entry, cache, directory, deliver). It returns
// nil and TransferNotAllowed where none does, nil and Lapsed where it has ended.
func (t *Table) Transfer(home, class, to, purpose string) (*Transfer, Reason) {
	if t == nil {
		return nil, NotDecidable
	}
	why := TransferNotAllowed
	for i := range t.spec.Transfers {
		x := &t.spec.Transfers[i]
		if x.Home != home || !slices.Contains(x.To, to) || !slices.Contains(x.Classes, class) || !slices.Contains(x.For, purpose) {
			continue
		}
		if !x.Lapsed {
			return x, ""
		}
		why = Lapsed
	}
	return nil, why
}

// HomesOf returns the homes that a region's host name stands for in a class:
// those whose rule serves first in that region, sorted.
func (t *Table) HomesOf(region, class string) []string {
	var out []string
	for _, r := range t.spec.Rules {
		if r.Class == class && len(r.Serve) > 0 && r.Serve[0] == region {
			out = append(out, r.Home)
		}
	}
	return out
}

// DecideHost judges a SubjectHost route for the homes of a region's host name.
// They must agree on every serving region; where they do not, or where there is
// none, nothing says whose home governs: NoHome.
func (t *Table) DecideHost(i int, region, entry string) Decision {
	if t == nil || i < 0 || i >= len(t.spec.Routes) {
		return Decision{Reason: NoClass}
	}
	var out Decision
	for n, home := range t.HomesOf(region, t.spec.Routes[i].Class) {
		d := t.DecideRoute(i, Query{Home: home, Entry: entry})
		if !d.allowed {
			d.passes = false // nobody is known yet
			return d
		}
		if n > 0 && !slices.Equal(d.Serve, out.Serve) {
			return Decision{Reason: NoHome}
		}
		out = d
	}
	if !out.allowed {
		return Decision{Reason: NoHome}
	}
	return out
}

// Everywhere is the decision of a SubjectNone route: no personal data, so every
// entry may take it, and the named regions serve in order.
func Everywhere(serve []string) Decision {
	if len(serve) == 0 {
		return Decision{Reason: NoBackend}
	}
	return Decision{allowed: true, Region: serve[0], Serve: serve}
}
