// Package policytest runs the tests that policy authors write beside their
// jurisdictions, against a compiled table, and measures which rules they reach.
//
// A test must be able to fail: a case that names a home, class, region or reason
// that does not exist fails, and so does one whose expectation belongs to a rule
// while no rule decided it (DP5001). Only the default denials no-rule and no-class
// may be expected without a rule, by their names.
//
// The package is pure; a Report is plain data.
package policytest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/policy/nearest"
	"github.com/domicile-dev/domicile/pkg/residency"
)

// Report is the outcome of all cases, in the order of files and cases.
type Report struct {
	Passed   int      `json:"passed"`
	Failed   int      `json:"failed"`
	Cases    []Case   `json:"cases"`
	Coverage Coverage `json:"coverage"`
}

// Case is the outcome of one case. Got and Want read "allow REGION" or
// "deny REASON"; Message says why a case failed and is empty when it passed.
type Case struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Name    string `json:"name"`
	Pass    bool   `json:"pass"`
	Got     string `json:"got"`
	Want    string `json:"want"`
	Message string `json:"message,omitempty"`
}

// Coverage counts the rules (cells of home and class) that at least one case ran.
type Coverage struct {
	Rules   int `json:"rules"`
	Covered int `json:"covered"`
	// Missing lists the rules that no case ran, as HOME/CLASS, sorted.
	Missing []string `json:"missing"`

	cells []cell
}

type cell struct {
	home, class string
	ran         bool
}

// Percent returns the share of covered rules, rounded down: 100 means all.
func (c Coverage) Percent() int {
	if c.Rules == 0 {
		return 0
	}
	return c.Covered * 100 / c.Rules
}

// OK tells whether no case failed.
func (r Report) OK() bool { return r.Failed == 0 }

// Run runs every case of the set against the table that the set compiled to. A
// nil table denies everything.
func Run(set *policy.Set, table *residency.Table) Report {
	if table == nil {
		table = &residency.Table{}
	}
	r := runner{table: table, ran: map[*residency.Rule]bool{}}
	report := Report{Cases: []Case{}}
	if set != nil {
		for _, t := range set.Tests {
			if t == nil {
				continue
			}
			for _, c := range t.Cases {
				out := r.run(c)
				report.Cases = append(report.Cases, out)
				if out.Pass {
					report.Passed++
				} else {
					report.Failed++
				}
			}
		}
	}
	report.Coverage = r.coverage()
	return report
}

type runner struct {
	table *residency.Table
	ran   map[*residency.Rule]bool
}

func (r *runner) run(c policy.TestCase) Case {
	out := Case{File: c.Pos.File, Line: c.Pos.Line, Name: c.Name, Want: want(c)}
	d := r.table.Decide(residency.Query{Home: c.Home, Class: c.Class, Entry: c.Entry, Down: c.Down})
	if d.Rule != nil {
		r.ran[d.Rule] = true
	}
	out.Got = "deny " + string(d.Reason)
	if d.Allowed() {
		out.Got = "allow " + d.Region
	}
	out.Message = r.judge(c, d, out)
	out.Pass = out.Message == ""
	return out
}

func want(c policy.TestCase) string {
	switch {
	case c.AllowRegion != "" && c.DenyReason == "":
		return "allow " + c.AllowRegion
	case c.DenyReason != "" && c.AllowRegion == "":
		return "deny " + c.DenyReason
	}
	return ""
}

// judge returns why the case fails, "" when it passes.
func (r *runner) judge(c policy.TestCase, d residency.Decision, out Case) string {
	if out.Want == "" {
		return "expect needs either allow or deny"
	}
	if m := r.unknownName(c); m != "" {
		return m
	}
	if byDefault := c.DenyReason == string(residency.NoRule) || c.DenyReason == string(residency.NoClass); d.Rule == nil && !byDefault {
		return fmt.Sprintf("no rule applied to this case (%s), so nothing was tested  %s", out.Got, CodeNotEvaluated)
	}
	if out.Got == out.Want {
		return ""
	}
	m := fmt.Sprintf("expected %s, got %s", out.Want, out.Got)
	if d.Rule != nil {
		m += fmt.Sprintf(" (rule %s/%s)", d.Rule.Home, d.Rule.Class)
	}
	return m
}

// unknownName looks for a name in the case that means nothing. A class may be
// unknown where that is what the case expects.
func (r *runner) unknownName(c policy.TestCase) string {
	var regions, classes, reasons []string
	for _, x := range r.table.Regions() {
		regions = append(regions, x.Name)
	}
	for _, x := range r.table.Routes() {
		classes = append(append(classes, x.Class), x.Carries...)
	}
	for _, x := range residency.Reasons() {
		reasons = append(reasons, string(x))
	}
	if c.DenyReason == string(residency.NoClass) {
		classes = append(classes, c.Class)
	}
	type name struct {
		what, value string
		known       []string
	}
	names := []name{{"home", c.Home, r.table.Homes()}, {"class", c.Class, classes}, {"entry region", c.Entry, regions}}
	for _, x := range c.Down {
		names = append(names, name{"region", x, regions})
	}
	if c.AllowRegion != "" {
		names = append(names, name{"region", c.AllowRegion, regions})
	}
	if c.DenyReason != "" {
		names = append(names, name{"reason", c.DenyReason, reasons})
	}
	for _, n := range names {
		if !slices.Contains(n.known, n.value) {
			hint := nearest.Word(n.value, n.known)
			if hint != "" {
				hint = fmt.Sprintf(", did you mean %q?", hint)
			}
			return fmt.Sprintf("unknown %s %q%s  %s", n.what, n.value, hint, CodeUnknownName)
		}
	}
	return ""
}

func (r *runner) coverage() Coverage {
	out := Coverage{Missing: []string{}}
	ran := map[[2]string]bool{}
	for rule := range r.ran {
		ran[[2]string{rule.Home, rule.Class}] = true
	}
	for _, rule := range r.table.Spec().Rules {
		did := ran[[2]string{rule.Home, rule.Class}]
		out.cells = append(out.cells, cell{rule.Home, rule.Class, did})
		out.Rules++
		if did {
			out.Covered++
		} else {
			out.Missing = append(out.Missing, strings.Join([]string{rule.Home, rule.Class}, "/"))
		}
	}
	slices.Sort(out.Missing)
	return out
}
