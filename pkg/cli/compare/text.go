package compare

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/domicile-dev/domicile/pkg/cli/show"
	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/plan"
	"github.com/domicile-dev/domicile/pkg/policy"
)

// marks are the symbols of the effects; loosening is loud.
var marks = map[plan.Effect]string{plan.Loosens: "!", plan.Tightens: "+", plan.Neutral: "~"}

func word(e plan.Effect) lang.Text {
	switch e {
	case plan.Loosens:
		return lang.T("loosens")
	case plan.Tightens:
		return lang.T("tightens")
	}
	return lang.T("neutral")
}

// view is how much of a comparison is shown.
type view struct {
	all   bool
	saved string // the file that the plan was saved in
	dir   string
}

// group is changes that read the same but for where they are.
type group struct {
	plan.Change
	where []string // entries, edges, countries
	what  []string // fields, purposes
	count int
}

// groups puts together what one edit has changed in many combinations.
func groups(changes []plan.Change) []*group {
	var out []*group
	at := map[plan.Change]*group{}
	for _, c := range changes {
		key := c
		key.Entry = ""
		if c.Kind == plan.Cache || c.Kind == plan.Transfer {
			key.What = ""
		}
		g := at[key]
		if g == nil {
			g = &group{Change: key}
			g.Entry = c.Entry // the first stands for all, in examples
			at[key] = g
			out = append(out, g)
		}
		g.count++
		if c.Entry != "" && !slices.Contains(g.where, c.Entry) {
			g.where = append(g.where, c.Entry)
		}
		if c.What != key.What && !slices.Contains(g.what, c.What) {
			g.what = append(g.what, c.What)
		}
	}
	order := []plan.Effect{plan.Loosens, plan.Tightens, plan.Neutral}
	slices.SortStableFunc(out, func(a, b *group) int { return slices.Index(order, a.Effect) - slices.Index(order, b.Effect) })
	return out
}

// most is how many places of a group are named unless all are asked for.
const most = 6

func (g *group) places(all bool, l lang.Lang) string {
	list := func(names []string) string {
		if all || len(names) <= most {
			return strings.Join(names, ", ")
		}
		return strings.Join(names[:most], ", ") + " " + lang.T("and %d more", len(names)-most).In(l)
	}
	if len(g.what) == 0 {
		return list(g.where)
	}
	return list(g.where) + " (" + list(g.what) + ")"
}

func (g *group) subject() string {
	return strings.TrimSpace(strings.Join(slices.DeleteFunc([]string{g.Home, g.Class, g.What}, func(s string) bool { return s == "" }), " "))
}

// place is where the rule of a change stands: in the new policy, else in the old.
func (c *Comparison) place(x plan.Change) (show.Place, policy.Pos) {
	key := [2]string{x.Home, x.Class}
	if at, ok := c.after.Places[key]; ok {
		return c.after.Place, at
	}
	if c.before.Release != nil && c.before.Result != nil {
		if at, ok := c.before.Places[key]; ok {
			return c.before.Place, at
		}
	}
	return show.Place{}, policy.Pos{}
}

// example is a command that shows a change; nil where none does.
func example(x plan.Change, dir string) []string {
	if x.Kind != plan.Serve {
		return nil
	}
	return []string{"explain", "--home", x.Home, "--class", x.Class, "--entry", x.Entry, "--policies", dir}
}

func (c *Comparison) text(w io.Writer, l lang.Lang, v view) {
	say := func(t lang.Text) { fmt.Fprintln(w, t.In(l)) }
	say(lang.T("Comparing %s (bundle %s) with %s (%s).", c.after.Dir, show.Digest(c.after.Bundle.Digest()), c.before.Name, c.base()))
	fmt.Fprintln(w)
	hidden := 0
	for _, g := range groups(c.report.Changes) {
		if g.Effect == plan.Neutral && !v.all {
			hidden += g.count
			continue
		}
		place, at := c.place(g.Change)
		where := ""
		if at.File != "" {
			where = place.Position(at)
		}
		fmt.Fprintf(w, "  %s %s  %s  %s  %s\n", marks[g.Effect], word(g.Effect).In(l), g.Kind, show.Line(g.subject()), show.Clean(where))
		if len(g.where) > 0 {
			fmt.Fprintf(w, "      %s\n", lang.T("at %s", show.Line(g.places(v.all, l))).In(l))
		}
		fmt.Fprintf(w, "      %s -> %s\n", show.Line(g.Before), show.Line(g.After))
		if args := example(g.Change, c.after.Dir); args != nil && g.Effect == plan.Loosens {
			fmt.Fprintf(w, "      %s domicile %s\n", lang.T("for example").In(l), show.Line(strings.Join(args, " ")))
		}
	}
	for _, b := range c.beside {
		note := lang.T("(look: no policy judges it)")
		if b.Effect == plan.Loosens {
			note = lang.T("(counts as loosening)")
		}
		fmt.Fprintf(w, "  %s %s  %s  %s\n      %s -> %s\n", marks[b.Effect], b.Kind, show.Line(b.What), note.In(l), show.Line(b.Before), show.Line(b.After))
	}
	if len(c.report.Changes)+len(c.beside) > hidden {
		fmt.Fprintln(w)
	}
	c.standing(w, l)
	if c.passed != nil {
		c.passed.Text(w, l)
	}
	c.summary(w, l, hidden)
	c.next(w, l, v)
}

// Show writes the whole comparison, as plan does; saved is the file that it was
// saved in, "" for none.
func (c *Comparison) Show(w io.Writer, l lang.Lang, saved string) {
	c.text(w, l, view{saved: saved})
}

// Brief writes what loosens, what stands beside the rules, and the counts, for people who are about to apply.
func (c *Comparison) Brief(w io.Writer, l lang.Lang) {
	for _, g := range groups(c.report.Changes) {
		if g.Effect == plan.Loosens {
			fmt.Fprintf(w, "  %s %s  %s  %s  %s: %s -> %s\n", marks[g.Effect], word(g.Effect).In(l), g.Kind,
				show.Line(g.subject()), show.Line(g.places(false, l)), show.Line(g.Before), show.Line(g.After))
		}
	}
	c.standing(w, l)
	c.summary(w, l, 0)
}

// base names what the comparison is made against.
func (c *Comparison) base() lang.Text {
	switch b := c.before.Base; {
	case b.Sequence > 0 && b.Bundle != "":
		return lang.T("sequence %d, bundle %s", b.Sequence, show.Digest(b.Bundle))
	case c.before.table() == nil:
		return lang.T("no policy yet: everything is refused")
	default:
		return lang.T("table %s", show.Digest(c.before.Table.Digest()))
	}
}

// standing lists what holds beside the rules: every plan says it.
func (c *Comparison) standing(w io.Writer, l lang.Lang) {
	r := c.result()
	for _, x := range r.NotEnforced {
		fmt.Fprintln(w, lang.T("NOT ENFORCED: %s is under observation until %s; what would be refused passes to today's backend",
			x, c.after.Table.ObserveEnd(x).Format(time.RFC3339)).In(l))
	}
	for _, x := range r.Waivers {
		fmt.Fprintln(w, lang.T("waiver   %s", show.Line(x)).In(l))
	}
	for _, x := range r.Denials {
		fmt.Fprintln(w, lang.T("denied   %s (emergency brake)", show.Line(x)).In(l))
	}
}

func (c *Comparison) summary(w io.Writer, l lang.Lang, hidden int) {
	loosened, tightened, neutral := c.report.Count(plan.Loosens), c.report.Count(plan.Tightens), c.report.Count(plan.Neutral)
	fmt.Fprintln(w, lang.T("Plan: %d loosened, %d tightened, %d neutral; %d of %d combinations compared, exhaustive.",
		loosened, tightened, neutral, c.report.Compared, c.report.Compared).In(l))
	if hidden > 0 {
		fmt.Fprintln(w, lang.T("%d neutral changes are not shown (--all).", hidden).In(l))
	}
	if roles := c.roles(); len(roles) > 0 {
		fmt.Fprintln(w, lang.T("Needs the approval of %s, each by another signer.", strings.Join(roles, ", ")).In(l))
	}
}

func (c *Comparison) next(w io.Writer, l lang.Lang, v view) {
	switch {
	case v.saved != "" && len(c.roles()) > 0:
		fmt.Fprintln(w, lang.T("Saved %s.\nnext: domicile approve %s --signing-key FILE, then domicile apply %s", v.saved, v.saved, v.saved).In(l))
	case v.saved != "":
		fmt.Fprintln(w, lang.T("Saved %s.\nnext: domicile apply %s", v.saved, v.saved).In(l))
	}
}

// maxRows bounds the table of a pull request.
const maxRows = 60

func (c *Comparison) markdown(w io.Writer, l lang.Lang) {
	cell := func(s string) string { return strings.ReplaceAll(show.Line(s), "|", "\\|") }
	fmt.Fprintf(w, "### %s\n\n", lang.T("Policy plan: %d loosened, %d tightened, %d neutral",
		c.report.Count(plan.Loosens), c.report.Count(plan.Tightens), c.report.Count(plan.Neutral)).In(l))
	list := groups(c.report.Changes)
	if len(list) > 0 {
		fmt.Fprintf(w, "| | %s | %s | %s | %s |\n|---|---|---|---|---|\n",
			lang.T("what").In(l), lang.T("where").In(l), lang.T("before").In(l), lang.T("after").In(l))
	}
	for i, g := range list {
		if i == maxRows {
			fmt.Fprintf(w, "\n%s\n", lang.T("and %d more", len(list)-maxRows).In(l))
			break
		}
		fmt.Fprintf(w, "| %s %s | %s %s | %s | %s | %s |\n", marks[g.Effect], word(g.Effect).In(l), g.Kind, cell(g.subject()), cell(g.places(false, l)), cell(g.Before), cell(g.After))
	}
	for _, b := range c.beside {
		fmt.Fprintf(w, "\n- %s %s: `%s` -> `%s`", b.Kind, cell(b.What), cell(b.Before), cell(b.After))
	}
	fmt.Fprintln(w)
	c.standing(w, l)
	if c.passed != nil {
		fmt.Fprintln(w, "```")
		c.passed.Text(w, l)
		fmt.Fprintln(w, "```")
	}
	fmt.Fprintln(w)
	c.summary(w, l, 0)
}

// github writes an annotation for each group that loosens.
func (c *Comparison) github(w io.Writer, l lang.Lang) {
	escape := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	property := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	for _, g := range groups(c.report.Changes) {
		place, at := c.place(g.Change)
		target := ""
		if at.File != "" {
			target = fmt.Sprintf(" file=%s,line=%d", property.Replace(place.Shown(at.File)), at.Line)
		}
		text := fmt.Sprintf("%s %s %s (%s): %s -> %s", word(g.Effect).In(l), g.Kind, g.subject(), g.places(false, l), g.Before, g.After)
		fmt.Fprintf(w, "::error%s::%s\n", target, escape.Replace(show.Line(text)))
	}
}
