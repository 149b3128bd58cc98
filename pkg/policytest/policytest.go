// Package policytest runs the tests that policy authors write beside their
// jurisdictions, against a compiled table, and measures what they reach: which
// rules, and which cells of all classes of the deployment and all homes that have a
// jurisdiction or that an issuer may name, those without a rule too.
//
// A case asks one of three questions: where a request is served, whether an edge
// may hold a field, or which transfer covers a crossing. It must be able to fail:
// one that names a home, class, region, field, transfer or reason that does not
// exist fails, and so does one whose expectation belongs to a rule while no rule
// decided it (DP5001). Only the default denials no-rule and no-class may be
// expected without a rule, by their names.
//
// The package is pure; a Report is plain data.
package policytest

import (
	"encoding/json"
	"fmt"

	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/residency"
)

// Report is the outcome of all cases, in the order of files and cases.
type Report struct {
	Passed   int      `json:"passed"`
	Failed   int      `json:"failed"`
	Cases    []Case   `json:"cases"`
	Coverage Coverage `json:"coverage"`
}

// Case is the outcome of one case. Got and Want read "allow REGION", "deny REASON",
// "cache 10m", "cache none" or "transfer ID"; Message says why a case failed and is
// empty when it passed.
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

// OK tells whether no case failed.
func (r Report) OK() bool { return r.Failed == 0 }

// Run runs every case of the set against the table that the set compiled to. A
// nil table denies everything.
func Run(set *policy.Set, table *residency.Table) Report {
	if table == nil {
		table = &residency.Table{}
	}
	r := runner{table: table, ran: map[[2]string]bool{}}
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
	report.Coverage = cover(set, table, r.ran)
	return report
}
