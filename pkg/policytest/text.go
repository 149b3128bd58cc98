package policytest

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/domicile-dev/domicile/pkg/lang"
)

// Text writes the report for people, in their language: the cases by file, the
// coverage as a matrix of jurisdictions and classes ("ok" ran, "-" never ran,
// blank no rule), the sum.
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

func (c Coverage) text(b *strings.Builder, l lang.Lang) {
	b.WriteString(lang.T("Coverage   rules %d/%d (%d %%)", c.Covered, c.Rules, c.Percent()).In(l))
	if len(c.Missing) > 0 {
		b.WriteString(lang.T("  never ran: %s", strings.Join(c.Missing, ", ")).In(l))
	}
	fmt.Fprintln(b)
	var homes, classes []string
	state := map[[2]string]string{}
	for _, x := range c.cells {
		homes, classes = append(homes, x.home), append(classes, x.class)
		state[[2]string{x.home, x.class}] = "-"
		if x.ran {
			state[[2]string{x.home, x.class}] = "ok"
		}
	}
	homes, classes = unique(homes), unique(classes)
	width := 2
	for _, h := range homes {
		width = max(width, len(h))
	}
	row := func(head string, value func(class string) string) {
		line := fmt.Sprintf("  %*s", width, head)
		for _, class := range classes {
			line += fmt.Sprintf("  %-*s", max(2, len(class)), value(class))
		}
		fmt.Fprintln(b, strings.TrimRight(line, " "))
	}
	if len(homes) > 0 {
		row("", func(class string) string { return class })
	}
	for _, h := range homes {
		row(h, func(class string) string { return state[[2]string{h, class}] })
	}
}

func unique(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}
