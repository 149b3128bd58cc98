package policytest

import (
	"fmt"
	"slices"
	"time"

	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/policy/nearest"
	"github.com/domicile-dev/domicile/pkg/residency"
)

// runner runs cases and remembers the cells, home and class, whose decision was
// asked for.
type runner struct {
	table *residency.Table
	ran   map[[2]string]bool
}

// answer is what the table says to a case.
type answer struct {
	got  string
	rule *residency.Rule // of the cell; nil where it has none
}

func (r *runner) run(c policy.TestCase) Case {
	a := ask(r.table, c)
	out := Case{File: c.Pos.File, Line: c.Pos.Line, Name: c.Name, Want: want(c), Got: a.got}
	out.Message = judge(r.table, c, a, out)
	out.Pass = out.Message.IsZero()
	// A failed case in which no rule ran tested nothing, so it reaches nothing.
	if c.Entry != "" && (a.rule != nil || out.Pass) {
		r.ran[[2]string{c.Home, c.Class}] = true
	}
	return out
}

// ask puts the question of a case.
func ask(t *residency.Table, c policy.TestCase) answer {
	d := t.Decide(residency.Query{Home: c.Home, Class: c.Class, Entry: c.Entry, Down: c.Down})
	a := answer{rule: d.Rule}
	switch {
	case c.Edge != "":
		a.got = "cache none"
		if x := held(d.Rule, c.Edge, c.Field); x > 0 {
			a.got = "cache " + Duration(x)
		}
	case c.To != "":
		x, why := t.Transfer(c.Home, c.Class, c.To, c.For)
		if a.got = "deny " + string(why); x != nil {
			a.got = "transfer " + x.ID
		}
	case d.Allowed():
		a.got = "allow " + d.Region
	default:
		a.got = "deny " + string(d.Reason)
	}
	return a
}

// held is how long an edge may hold a field; 0 is not at all.
func held(r *residency.Rule, edge, field string) time.Duration {
	if r == nil || r.Cache == nil || len(r.Serve) == 0 || !slices.Contains(r.Cache.Edges, edge) || !slices.Contains(r.Cache.Fields, field) {
		return 0
	}
	return r.Cache.TTL
}

// Duration writes a duration as policy files do: 10m, 24h, 90d.
func Duration(d time.Duration) string {
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}} {
		// A day is written as hours, as authors do.
		if d%u.unit == 0 && d >= u.unit && (u.name != "d" || d >= 7*u.unit) {
			return fmt.Sprintf("%d%s", d/u.unit, u.name)
		}
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

// want is what a case expects, "" when it expects nothing or two things, or what
// does not answer its question.
func want(c policy.TestCase) string {
	var all []string
	say := func(is bool, text string) {
		if is {
			all = append(all, text)
		}
	}
	say(c.AllowRegion != "", "allow "+c.AllowRegion)
	say(c.DenyReason != "", "deny "+c.DenyReason)
	say(c.CacheTTL != 0, "cache "+Duration(c.CacheTTL))
	say(c.CacheNone, "cache none")
	say(c.Transfer != "", "transfer "+c.Transfer)
	questions := 0
	for _, q := range []string{c.Entry, c.Edge, c.To} {
		if q != "" {
			questions++
		}
	}
	cache, crossing := c.CacheTTL != 0 || c.CacheNone, c.Transfer != ""
	switch {
	case len(all) != 1 || questions != 1:
	case (c.Edge != "") != cache, crossing && c.To == "", c.AllowRegion != "" && c.Entry == "":
	default:
		return all[0]
	}
	return ""
}

// judge returns why the case fails, nothing when it passes.
func judge(t *residency.Table, c policy.TestCase, a answer, out Case) lang.Text {
	if out.Want == "" {
		return lang.T("expect needs the answer to the case's question: allow or deny with entry, cache with edge, transfer or deny with to")
	}
	if m := unknownName(t, c); !m.IsZero() {
		return m
	}
	if byDefault := c.DenyReason == string(residency.NoRule) || c.DenyReason == string(residency.NoClass); a.rule == nil && (!byDefault || c.Entry == "") {
		return lang.T("no rule applied to this case (%s), so nothing was tested  %s", out.Got, CodeNotEvaluated)
	}
	switch {
	case out.Got == out.Want:
		return lang.Text{}
	case a.rule != nil:
		return lang.T("expected %s, got %s (rule %s/%s)", out.Want, out.Got, a.rule.Home, a.rule.Class)
	default:
		return lang.T("expected %s, got %s", out.Want, out.Got)
	}
}

// name is a name that a case uses, and what exists.
type name struct {
	what  lang.Text
	value string
	known []string
}

// unknownName looks for a name in the case that means nothing. A class may be
// unknown where that is what the case expects.
func unknownName(t *residency.Table, c policy.TestCase) lang.Text {
	for _, n := range names(t, c) {
		if slices.Contains(n.known, n.value) {
			continue
		}
		hint := lang.Text{}
		if near := nearest.Word(n.value, n.known); near != "" {
			hint = lang.T(", did you mean %q?", near)
		}
		return lang.T("unknown %s %q%s  %s", n.what, n.value, hint, CodeUnknownName)
	}
	return lang.Text{}
}

func names(t *residency.Table, c policy.TestCase) []name {
	var regions, reasons []string
	for _, x := range t.Regions() {
		regions = append(regions, x.Name)
	}
	for _, x := range residency.Reasons() {
		reasons = append(reasons, string(x))
	}
	classes := classes(t, true)
	if c.DenyReason == string(residency.NoClass) {
		classes = append(classes, c.Class)
	}
	out := []name{{lang.T("home"), c.Home, t.Homes()}, {lang.T("class"), c.Class, classes}}
	add := func(what lang.Text, value string, known []string) {
		if value != "" {
			out = append(out, name{what, value, known})
		}
	}
	add(lang.T("entry region"), c.Entry, regions)
	for _, x := range c.Down {
		add(lang.T("region"), x, regions)
	}
	add(lang.T("region"), c.AllowRegion, regions)
	add(lang.T("edge"), c.Edge, regions)
	if c.Edge != "" {
		out = append(out, name{lang.T("field"), c.Field, fields(t, c)})
	}
	if c.To != "" {
		out = append(out, name{lang.T("purpose"), c.For, policy.Purposes()})
	}
	if c.Transfer != "" {
		// A crossing that is expected goes to a country that the policy names; what
		// is refused may be every country of the world.
		add(lang.T("destination"), c.To, destinations(t))
		add(lang.T("transfer of the home"), c.Transfer, transfers(t, c.Home))
	}
	add(lang.T("deny reason"), c.DenyReason, reasons)
	return out
}

// classes lists the classes of the deployment, sorted; those whose requests belong
// to nobody only where all are wanted, since no home has a rule for them.
func classes(t *residency.Table, all bool) []string {
	var out []string
	for _, x := range t.Routes() {
		if all || x.Subject != residency.SubjectNone {
			out = append(append(out, x.Class), x.Carries...)
		}
	}
	return unique(out)
}

// fields lists the fields that rules cache. One that none caches may be named
// where it is expected not to be, unless it looks like a slip of the pen.
func fields(t *residency.Table, c policy.TestCase) []string {
	var out []string
	for _, x := range t.Spec().Rules {
		if x.Cache != nil {
			out = append(out, x.Cache.Fields...)
		}
	}
	if c.CacheNone && nearest.Word(c.Field, out) == "" {
		out = append(out, c.Field)
	}
	return out
}

func destinations(t *residency.Table) []string {
	var out []string
	for _, x := range t.Regions() {
		out = append(out, x.Country)
	}
	for _, x := range t.Spec().Transfers {
		out = append(out, x.To...)
	}
	return unique(out)
}

func transfers(t *residency.Table, home string) []string {
	var out []string
	for _, x := range t.Spec().Transfers {
		if x.Home == home {
			out = append(out, x.ID)
		}
	}
	return out
}

func unique(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}

// Present returns the case with the present answer to its question as what it
// expects. Why, when it says something, is why that would test nothing.
func Present(t *residency.Table, c policy.TestCase) (out policy.TestCase, why lang.Text) {
	d := t.Decide(residency.Query{Home: c.Home, Class: c.Class, Entry: c.Entry, Down: c.Down})
	c.AllowRegion, c.DenyReason, c.CacheTTL, c.CacheNone, c.Transfer = "", "", 0, false, ""
	switch {
	case c.Edge != "":
		c.CacheTTL = held(d.Rule, c.Edge, c.Field)
		c.CacheNone = c.CacheTTL == 0
	case c.To != "":
		x, reason := t.Transfer(c.Home, c.Class, c.To, c.For)
		if x != nil {
			c.Transfer = x.ID
		} else {
			c.DenyReason = string(reason)
		}
	case d.Allowed():
		c.AllowRegion = d.Region
	default:
		c.DenyReason = string(d.Reason)
	}
	if c.DenyReason == string(residency.NoClass) {
		// Only who writes no-class by hand means a class that does not exist.
		asked := c
		asked.DenyReason = ""
		return c, unknownName(t, asked)
	}
	a := ask(t, c)
	return c, judge(t, c, a, Case{Want: want(c), Got: a.got})
}

// SameQuestion tells whether two cases ask the same; in which order regions are
// down makes no difference.
func SameQuestion(a, b policy.TestCase) bool {
	down := func(c policy.TestCase) []string { return unique(slices.Clone(c.Down)) }
	return a.Home == b.Home && a.Class == b.Class && a.Entry == b.Entry && a.Edge == b.Edge && a.Field == b.Field &&
		a.To == b.To && a.For == b.For && slices.Equal(down(a), down(b))
}
