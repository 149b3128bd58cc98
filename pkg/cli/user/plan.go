package user

import (
	"slices"
	"time"

	"github.com/domicile-dev/domicile/pkg/residency"
)

// plan is what a move changes, and what keeps it from being made.
type plan struct {
	From    string  `json:"from"`
	To      string  `json:"to"`
	Classes []class `json:"classes"`
	// Regions are those whose gateways take or serve users of the old home: there its
	// tokens and pins must no longer count.
	Regions []string `json:"regions"`
	// Against says why the policy forbids the move; empty where it does not.
	Against []obstacle `json:"against"`
}

// class is one data class before and after.
type class struct {
	Class string   `json:"class"`
	From  []string `json:"from"` // the regions that serve, in order
	To    []string `json:"to"`
	// Session bounds how long a stream that is open now may go on; 0 for no bound,
	// negative where the class has no streams.
	Session time.Duration `json:"-"`
	Ends    string        `json:"sessionsEnd"`
}

// obstacle is one reason of the policy. Class is empty where it is about the home.
type obstacle struct {
	Class  string           `json:"class,omitempty"`
	Reason residency.Reason `json:"reason"`
}

// planMove asks the policy what a move from one home to another means. A class that the
// old home serves and the new one does not forbids it: the user would lose data that
// stays behind.
func planMove(t *residency.Table, from, to string) plan {
	p := plan{From: from, To: to, Classes: []class{}, Regions: []string{}, Against: []obstacle{}}
	if !slices.ContainsFunc(t.Issuers(), func(i residency.Issuer) bool { return slices.Contains(i.Homes, to) }) {
		p.Against = append(p.Against, obstacle{Reason: residency.IssuerNotEntitled})
	}
	for _, old := range t.Spec().Rules {
		if old.Home != from || len(old.Serve) == 0 {
			continue
		}
		p.Regions = append(p.Regions, old.Serve...)
		p.Regions = append(p.Regions, old.Entry...)
		c := class{Class: old.Class, From: old.Serve, To: []string{}, Session: lasts(t, old)}
		entry := old.Serve[0]
		for _, next := range t.Spec().Rules {
			if next.Home == to && next.Class == old.Class {
				c.To = append(c.To, next.Serve...)
				if len(next.Entry) > 0 {
					entry = next.Entry[0]
				}
			}
		}
		if d := t.Decide(residency.Query{Home: to, Class: old.Class, Entry: entry}); !d.Allowed() {
			p.Against = append(p.Against, obstacle{old.Class, d.Reason})
		}
		switch {
		case c.Session > 0:
			c.Ends = "within " + c.Session.String()
		case c.Session == 0:
			c.Ends = "when the client or the server ends them"
		default:
			c.Ends = "at once: there are none"
		}
		p.Classes = append(p.Classes, c)
	}
	slices.Sort(p.Regions)
	p.Regions = slices.Compact(p.Regions)
	return p
}

// lasts is how long a stream of the rule's class may go on.
func lasts(t *residency.Table, r residency.Rule) time.Duration {
	for _, route := range t.Routes() {
		if route.LongLived && (route.Class == r.Class || slices.Contains(route.Carries, r.Class)) {
			return r.MaxAge
		}
	}
	return -1
}
