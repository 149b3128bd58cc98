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
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/domicile-dev/domicile/pkg/lang"
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
	File    string
	Line    int
	Name    string
	Pass    bool
	Got     string
	Want    string
	Message lang.Text
}

// caseJSON is the form of a Case in machine output: both languages side by side.
type caseJSON struct {
	File      string `json:"file"`
	Line      int    `json:"line"`
	Name      string `json:"name"`
	Pass      bool   `json:"pass"`
	Got       string `json:"got"`
	Want      string `json:"want"`
	Message   string `json:"message,omitempty"`
	MessageZh string `json:"messageZh,omitempty"`
}

// MarshalJSON writes the case flat.
func (c Case) MarshalJSON() ([]byte, error) {
	return json.Marshal(caseJSON{c.File, c.Line, c.Name, c.Pass, c.Got, c.Want, c.Message.En, c.Message.Zh})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (c *Case) UnmarshalJSON(data []byte) error {
	var x caseJSON
	if err := json.Unmarshal(data, &x); err != nil {
		return fmt.Errorf("read case: %w", err)
	}
	*c = Case{x.File, x.Line, x.Name, x.Pass, x.Got, x.Want, lang.Text{En: x.Message, Zh: x.MessageZh}}
	return nil
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
	out.Pass = out.Message.IsZero()
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

// judge returns why the case fails, nothing when it passes.
func (r *runner) judge(c policy.TestCase, d residency.Decision, out Case) lang.Text {
	if out.Want == "" {
		return lang.T("expect needs either allow or deny")
	}
	if m := r.unknownName(c); !m.IsZero() {
		return m
	}
	if byDefault := c.DenyReason == string(residency.NoRule) || c.DenyReason == string(residency.NoClass); d.Rule == nil && !byDefault {
		return lang.T("no rule applied to this case (%s), so nothing was tested  %s", out.Got, CodeNotEvaluated)
	}
	switch {
	case out.Got == out.Want:
		return lang.Text{}
	case d.Rule != nil:
		return lang.T("expected %s, got %s (rule %s/%s)", out.Want, out.Got, d.Rule.Home, d.Rule.Class)
	default:
		return lang.T("expected %s, got %s", out.Want, out.Got)
	}
}

// unknownName looks for a name in the case that means nothing. A class may be
// unknown where that is what the case expects.
func (r *runner) unknownName(c policy.TestCase) lang.Text {
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
		what  lang.Text
		value string
		known []string
	}
	names := []name{{lang.T("home"), c.Home, r.table.Homes()}, {lang.T("class"), c.Class, classes}, {lang.T("entry region"), c.Entry, regions}}
	for _, x := range c.Down {
		names = append(names, name{lang.T("region"), x, regions})
	}
	if c.AllowRegion != "" {
		names = append(names, name{lang.T("region"), c.AllowRegion, regions})
	}
	if c.DenyReason != "" {
		names = append(names, name{lang.T("deny reason"), c.DenyReason, reasons})
	}
	for _, n := range names {
		if !slices.Contains(n.known, n.value) {
			hint := lang.Text{}
			if near := nearest.Word(n.value, n.known); near != "" {
				hint = lang.T(", did you mean %q?", near)
			}
			return lang.T("unknown %s %q%s  %s", n.what, n.value, hint, CodeUnknownName)
		}
	}
	return lang.Text{}
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
