// Package explain says what a policy decides and why. It is pure.
package explain

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/domicile-dev/domicile/pkg/cli/show"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/residency"
)

// Policy is what is asked.
type Policy struct {
	Set    *policy.Set
	Table  *residency.Table
	Places map[[2]string]policy.Pos // where each rule stands, by home and class
	Bundle string                   // digest
	Shown  func(file string) string // a policy file's path for people
	Hosts  []Host                   // in the deployment's order
}

// Rule is where the rule stands.
type Rule struct {
	File string `json:"file"`
	Line int    `json:"line"`
}

// Basis is what the author cited.
type Basis struct {
	ID       string `json:"id"`
	Citation string `json:"citation,omitempty"`
}

// Explanation is a decision and where it comes from; its fields are a contract.
type Explanation struct {
	FormatVersion string   `json:"formatVersion"`
	Allowed       bool     `json:"allowed"`
	Reason        string   `json:"reason"` // "" when allowed
	Region        string   `json:"region"` // that serves; "" when denied
	Serve         []string `json:"serve"`  // regions that may serve, in order
	Entry         string   `json:"entry"`
	Entries       []string `json:"entries"` // regions whose gateways may take the request
	Home          string   `json:"home"`
	Class         string   `json:"class"`
	Down          []string `json:"down"`
	// Rule is null where no rule decided: a default denial.
	Rule *Rule `json:"rule"`
	// Open lists the class's routes that do not ask who is calling.
	Open  []Open  `json:"open"`
	Basis []Basis `json:"basis"`
	// NotEnforced says that the home is under observation; null where it is not.
	NotEnforced *NotEnforced `json:"notEnforced"`
	Policy      string       `json:"policy"` // the table's digest
	Bundle      string       `json:"bundle"`

	open     *Open // the answer, where no route of the class asks who is calling
	status   int
	title    string
	whenDown string
	cache    *residency.Cache
	maxAge   time.Duration
}

// NotEnforced is the observation of a home.
type NotEnforced struct {
	Until string `json:"until"` // a date, or an instant (RFC 3339)
	// Passes tells that the request, though refused, goes to today's backend.
	Passes bool `json:"passes"`
}

// Explain asks the policy and gathers the reasons. A question without an entry
// is asked for the first that may take it.
func Explain(p Policy, q residency.Query, version string) *Explanation {
	e := &Explanation{
		FormatVersion: version, Entry: q.Entry, Entries: []string{}, Home: q.Home, Class: q.Class,
		Down: orEmpty(q.Down), Basis: []Basis{}, Policy: p.Table.Digest(), Bundle: p.Bundle,
	}
	var asks bool
	if e.Open, asks = openRoutes(p, q); len(e.Open) > 0 && !asks {
		e.takeOpen(p)
		return e
	}
	if q.Entry == "" {
		q.Entry = firstEntry(p.Table, q)
	}
	if regions := p.Table.Regions(); q.Entry == "" && p.Table.Observed(q.Home) && len(regions) > 0 {
		q.Entry = regions[0].Name // what is refused everywhere passes at each
	}
	d := p.Table.Decide(q)
	e.Allowed, e.Reason, e.Region, e.Serve, e.Entry = d.Allowed(), string(d.Reason), d.Region, orEmpty(d.Serve), q.Entry
	e.status, e.title = d.Reason.Status(), d.Reason.Title()
	e.observe(p, d.Passes())
	if d.Rule == nil {
		return e
	}
	e.because(p, d.Rule)
	if d.Allowed() {
		e.whenDown = whenDown(p.Table, q, d)
	}
	return e
}

// observe notes that the home is under observation.
func (e *Explanation) observe(p Policy, passes bool) {
	if !p.Table.Observed(e.Home) {
		return
	}
	until := p.Table.ObserveEnd(e.Home)
	e.NotEnforced = &NotEnforced{until.Format(time.RFC3339), passes}
	if until.Equal(until.Truncate(24 * time.Hour)) {
		e.NotEnforced.Until = until.Format(time.DateOnly)
	}
}

// because notes the rule that decided, and what stands behind it.
func (e *Explanation) because(p Policy, r *residency.Rule) {
	if r == nil {
		return
	}
	e.Serve, e.Entries = orEmpty(r.Serve), orEmpty(r.Entry)
	e.cache, e.maxAge = r.Cache, r.MaxAge
	if at, ok := p.Places[[2]string{e.Home, e.Class}]; ok {
		e.Rule = &Rule{p.Shown(at.File), at.Line}
	}
	if j := p.Set.Jurisdictions[e.Home]; j != nil {
		e.Basis = basisOf(p.Set, j, e.Class)
	}
}

// firstEntry is the entry of a question that names none: the serving region
// itself where it may take users, else the first that may.
func firstEntry(t *residency.Table, q residency.Query) string {
	r := t.Decide(q).Rule
	if r == nil || len(r.Entry) == 0 {
		return ""
	}
	for _, s := range r.Serve {
		if slices.Contains(r.Entry, s) {
			return s
		}
	}
	return r.Entry[0]
}

// whenDown asks the table what happens when the serving region is lost too.
func whenDown(t *residency.Table, q residency.Query, d residency.Decision) string {
	q.Down = append(slices.Clone(q.Down), d.Region)
	next := t.Decide(q)
	if next.Allowed() {
		return fmt.Sprintf("%s serves", next.Region)
	}
	return fmt.Sprintf("refused with %d %s; no other region serves", next.Reason.Status(), next.Reason)
}

// basisOf lists what the author cited, with the law file's words for it.
func basisOf(set *policy.Set, j *policy.Jurisdiction, class string) []Basis {
	out := []Basis{}
	rule := j.Rules[class]
	if rule == nil {
		return out
	}
	for _, b := range rule.Basis {
		row := Basis{ID: b.Value}
		for _, l := range j.Laws {
			if law := set.Laws[l.Value]; law != nil {
				if art, ok := law.Articles[b.Value]; ok {
					row.Citation = art.Citation
				}
			}
		}
		out = append(out, row)
	}
	return out
}

// Text writes it for people: the decision in one sentence, then the reasons.
func (e *Explanation) Text(w io.Writer) {
	e.head(w)
	row := func(label, format string, args ...any) {
		fmt.Fprintf(w, "  %-8s %s\n", label, show.Line(fmt.Sprintf(format, args...)))
	}
	switch {
	case e.open == nil:
		row("who", "home %s", e.Home)
	case e.open.Subject == residency.SubjectNone:
		row("who", "anybody")
	default:
		row("who", "nobody is known yet: the homes of the host name decide")
	}
	row("what", "class %s", e.Class)
	switch {
	case len(e.Serve) > 0:
		row("where", "served by %s", strings.Join(e.Serve, ", then "))
		row("", "may enter through %s", orNone(e.Entries))
	case e.Rule != nil && e.open == nil:
		row("where", "nowhere")
	}
	for i, o := range e.Open {
		label := ""
		if i == 0 {
			label = "open"
		}
		row(label, "%s", o.row())
	}
	if e.cache != nil {
		row("", "%s may be cached in %s for %s", strings.Join(e.cache.Fields, ", "), strings.Join(e.cache.Edges, ", "), show.Duration(e.cache.TTL))
	}
	if e.maxAge > 0 {
		row("", "sessions end after %s at most", show.Duration(e.maxAge))
	}
	if len(e.Down) > 0 {
		row("down", "%s", strings.Join(e.Down, ", "))
	}
	if e.whenDown != "" {
		fmt.Fprintf(w, "  if %s is down: %s\n", e.Region, e.whenDown)
	}
	switch {
	case e.Rule != nil:
		row("why", "rule %s:%d", e.Rule.File, e.Rule.Line)
	case e.open == nil:
		row("why", "default deny: no rule allows it")
	case e.open.Subject == residency.SubjectNone:
		row("why", "the deployment says that this class holds no personal data")
	default:
		row("why", "default deny: no host name stands for this home")
	}
	for _, b := range e.Basis {
		switch {
		case b.Citation != "":
			row("basis", "%s: %s (as the author cited it)", b.ID, b.Citation)
		case b.ID == "chosen":
			row("basis", "chosen by the operator")
		default:
			row("basis", "%s", b.ID)
		}
	}
	if e.NotEnforced != nil {
		row("mode", "observe until %s: NOT ENFORCED", e.NotEnforced.Until)
	}
	row("policy", "table %s", e.Policy)
	row("", "bundle %s", e.Bundle)
}

// head is the decision in one sentence.
func (e *Explanation) head(w io.Writer) {
	who := fmt.Sprintf("%s data of users at home in %s", show.Line(e.Class), show.Line(e.Home))
	switch {
	case e.open != nil:
		fmt.Fprintf(w, "%s\n\n", show.Line(e.open.headline(e.Home, e.Class)))
	case e.Allowed:
		fmt.Fprintf(w, "ALLOWED  %s is served by %s, through %s.\n\n", who, e.Region, e.Entry)
	case e.NotEnforced != nil && e.NotEnforced.Passes:
		fmt.Fprintf(w, "NOT ENFORCED  %s would be refused (%d %s: %s); it passes to today's backend until %s.\n\n",
			who, e.status, e.Reason, e.title, e.NotEnforced.Until)
	default:
		fmt.Fprintf(w, "DENIED  %s is refused with %d %s: %s.\n\n", who, e.status, e.Reason, e.title)
	}
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "no region"
	}
	return strings.Join(list, ", ")
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
