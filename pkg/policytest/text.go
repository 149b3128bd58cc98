package policytest

import (
	"fmt"
	"io"
	"strings"

	"github.com/domicile-dev/domicile/pkg/lang"
)

// Text writes the report for people, in their language: the cases by file, the
// coverage as a matrix of jurisdictions and classes ("ok" asked, "-" never asked,
// "none" no rule, and not asked), the sum.
func (r Report) Text(w io.Writer, l lang.Lang) {
	var b strings.Builder
	file := ""
	for _, c := range r.Cases {
		if c.File != file {
			file = c.File
			fmt.Fprintln(&b, file)
		}
		if c.Pass {
			fmt.Fprintf(&b, "  PASS  %s\n", c.Name)
			continue
		}
		fmt.Fprintf(&b, "  FAIL  %s  (%s)\n        %s\n", c.Name, lang.T("line %d", c.Line).In(l), c.Message.In(l))
	}
	r.Coverage.text(&b, l)
	fmt.Fprintln(&b, lang.T("%d passed, %d failed.", r.Passed, r.Failed).In(l))
	_, _ = io.WriteString(w, b.String()) // a reader that went away needs no report
}
