package policytest

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Text writes the report for people: the cases by file, the coverage as a matrix
// of jurisdictions and classes ("ok" ran, "-" never ran, blank no rule), the sum.
func (r Report) Text(w io.Writer) {
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
		fmt.Fprintf(&b, "  FAIL  %s  (line %d)\n        %s\n", c.Name, c.Line, c.Message)
	}
	r.Coverage.text(&b)
	fmt.Fprintf(&b, "%d passed, %d failed.\n", r.Passed, r.Failed)
	_, _ = io.WriteString(w, b.String()) // a reader that went away needs no report
}

func (c Coverage) text(b *strings.Builder) {
	fmt.Fprintf(b, "Coverage   rules %d/%d (%d %%)", c.Covered, c.Rules, c.Percent())
	if len(c.Missing) > 0 {
		fmt.Fprintf(b, "  never ran: %s", strings.Join(c.Missing, ", "))
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
