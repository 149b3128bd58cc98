package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/domicile-dev/domicile/pkg/cli/show"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/residency"
)

type ruleJSON struct {
	File string `json:"file"`
	Line int    `json:"line"`
}

type basisJSON struct {
	ID       string `json:"id"`
	Citation string `json:"citation,omitempty"`
}

type explanation struct {
	versioned
	Allowed bool     `json:"allowed"`
	Reason  string   `json:"reason"` // "" when allowed
	Region  string   `json:"region"` // that serves; "" when denied
	Serve   []string `json:"serve"`  // regions that may serve, in order
	Entry   string   `json:"entry"`
	Entries []string `json:"entries"` // regions whose gateways may take the request
	Home    string   `json:"home"`
	Class   string   `json:"class"`
	Down    []string `json:"down"`
	// Rule is null where no rule decided: a default denial.
	Rule   *ruleJSON   `json:"rule"`
	Basis  []basisJSON `json:"basis"`
	Policy string      `json:"policy"` // the table's digest
	Bundle string      `json:"bundle"`

	status      int
	title       string
	whenDown    string
	cache       *residency.Cache
	maxAge      time.Duration
	enforcement string
}

func (a *app) explainCommand() *cobra.Command {
	var (
		q   residency.Query
		j   judged
		src source
	)
	cmd := &cobra.Command{
		Use:   "explain --home H --class C",
		Short: "Say what the policy decides for a home and class, and why",
		Long: `Say what the policy decides for requests of a home and data class: the decision in
one sentence, the rule and line it comes from, what happens when regions are
down, and what the author cited as the basis.

The policy is read from --policies DIR, from a running demo (--dir) or from a
control plane (--control); without any of them from ./policies. A denial is an
answer, not a failure: the exit code is 0.`,
		Example: `  domicile explain --home SA --class message --entry eu-frankfurt
  domicile explain --home SA --class message --entry eu-frankfurt --down me-riyadh
  domicile explain --home TR --class profile --control https://control.example.com:8443`,
		Args: args(),
	}
	f := cmd.Flags()
	f.StringVar(&q.Home, "home", "", `home jurisdiction, such as SA`)
	f.StringVar(&q.Class, "class", "", "data class, such as message")
	f.StringVar(&q.Entry, "entry", "", "region whose gateway takes the connection (default: the first that may)")
	f.StringSliceVar(&q.Down, "down", nil, "regions that cannot serve, separated by commas")
	j.flags(cmd)
	src.flags(cmd, true)
	cmd.RunE = a.run(func(cmd *cobra.Command, _ []string) error {
		for _, need := range []struct{ flag, value string }{{"--home", q.Home}, {"--class", q.Class}} {
			if need.value == "" {
				return usage(cmd, "%s is missing", need.flag)
			}
		}
		l, err := a.source(cmd, src, j)
		if err != nil {
			return err
		}
		if !l.good() {
			return a.refuse(l)
		}
		a.noteUnknown(l, q)
		e := explain(l, q)
		return a.emit(e, e.text)
	})
	return cmd
}

// noteUnknown points out words that the deployment does not know: likely typing
// errors, which the policy answers with a denial like all that is unknown.
func (a *app) noteUnknown(l *local, q residency.Query) {
	var regions, homes, classes []string
	for _, r := range l.Topology.Regions {
		regions = append(regions, r.Name)
	}
	for code := range l.Set.Jurisdictions {
		homes = append(homes, code)
	}
	for _, c := range l.Set.Deployment.Classes {
		classes = append(classes, c.Class)
		for _, x := range c.Carries {
			classes = append(classes, x.Value)
		}
	}
	note := func(kind, word string, known []string) {
		if word != "" && !slices.Contains(known, word) {
			slices.Sort(known)
			fmt.Fprintf(a.Err, "note: the policy knows no %s %q%s\n", kind, show.Line(word), didYouMean(word, known, ""))
		}
	}
	note("home", q.Home, homes)
	note("class", q.Class, classes)
	note("region", q.Entry, regions)
	for _, d := range q.Down {
		note("region", d, regions)
	}
}

func explain(l *local, q residency.Query) *explanation {
	if q.Entry == "" {
		q.Entry = firstEntry(l.Table, q)
	}
	d := l.Table.Decide(q)
	e := &explanation{
		versioned: v1(), Allowed: d.Allowed(), Reason: string(d.Reason), Region: d.Region, Serve: orEmpty(d.Serve),
		Entry: q.Entry, Entries: []string{}, Home: q.Home, Class: q.Class, Down: orEmpty(q.Down), Basis: []basisJSON{},
		Policy: l.Table.Digest(), Bundle: l.Bundle.Digest(), status: d.Reason.Status(), title: d.Reason.Title(),
	}
	if d.Rule == nil {
		return e
	}
	e.Serve, e.Entries = orEmpty(d.Rule.Serve), orEmpty(d.Rule.Entry)
	e.cache, e.maxAge = d.Rule.Cache, d.Rule.MaxAge
	if at, ok := l.Places[[2]string{q.Home, q.Class}]; ok {
		e.Rule = &ruleJSON{l.Shown(at.File), at.Line}
	}
	if d.Allowed() {
		e.whenDown = whenDown(l.Table, q, d)
	}
	if j := l.Set.Jurisdictions[q.Home]; j != nil {
		e.Basis, e.enforcement = basisOf(l.Set, j, q.Class), j.Enforcement
	}
	return e
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
func basisOf(set *policy.Set, j *policy.Jurisdiction, class string) []basisJSON {
	out := []basisJSON{}
	rule := j.Rules[class]
	if rule == nil {
		return out
	}
	for _, b := range rule.Basis {
		row := basisJSON{ID: b.Value}
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

func (e *explanation) text(w io.Writer) {
	who := fmt.Sprintf("%s data of users at home in %s", show.Line(e.Class), show.Line(e.Home))
	if e.Allowed {
		fmt.Fprintf(w, "ALLOWED  %s is served by %s, through %s.\n\n", who, e.Region, e.Entry)
	} else {
		fmt.Fprintf(w, "DENIED  %s is refused with %d %s: %s.\n\n", who, e.status, e.Reason, e.title)
	}
	row := func(label, format string, args ...any) {
		fmt.Fprintf(w, "  %-8s %s\n", label, show.Line(fmt.Sprintf(format, args...)))
	}
	row("who", "home %s", e.Home)
	row("what", "class %s", e.Class)
	switch {
	case len(e.Serve) > 0:
		row("where", "served by %s", strings.Join(e.Serve, ", then "))
		row("", "may enter through %s", orNone(e.Entries))
	case e.Rule != nil:
		row("where", "nowhere")
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
	default:
		row("why", "default deny: no rule allows it")
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
	if e.enforcement == "observe" {
		row("mode", "observe: NOT ENFORCED")
	}
	row("policy", "table %s", e.Policy)
	row("", "bundle %s", e.Bundle)
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
