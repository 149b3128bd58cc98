package policytest

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/residency"
)

// Coverage counts what at least one case asked a decision of: the rules, and the
// cells of every home that has a jurisdiction or that an issuer may name, and every
// class of the deployment. A cell without a rule is covered by a case that expects
// no-rule, and passes.
type Coverage struct {
	Rules   int `json:"rules"`
	Covered int `json:"covered"`
	// Missing lists the rules that no case ran, as HOME/CLASS, sorted.
	Missing      []string `json:"missing"`
	Cells        int      `json:"cells"`
	CoveredCells int      `json:"coveredCells"`
	// MissingCells lists the cells that no case asked about, as HOME/CLASS, sorted.
	MissingCells []string `json:"missingCells"`
	// Matrix holds all cells, sorted by home and class.
	Matrix []Cell `json:"matrix"`
}

// Cell is a home and class: whether it has a rule, and whether a case asked.
type Cell struct {
	Home  string `json:"home"`
	Class string `json:"class"`
	Rule  bool   `json:"rule"`
	Asked bool   `json:"asked"`
}

// Percent returns the share of covered rules, or that of covered cells where it
// is smaller, rounded down: 100 means all.
func (c Coverage) Percent() int {
	if c.Rules == 0 || c.Cells == 0 {
		return 0
	}
	return min(c.Covered*100/c.Rules, c.CoveredCells*100/c.Cells)
}

func cover(set *policy.Set, t *residency.Table, asked map[[2]string]bool) Coverage {
	out := Coverage{Missing: []string{}, MissingCells: []string{}, Matrix: []Cell{}}
	rules, homes := map[[2]string]bool{}, map[string]bool{}
	for _, home := range t.Homes() {
		homes[home] = true
	}
	for _, x := range t.Spec().Rules {
		rules[[2]string{x.Home, x.Class}] = true
	}
	if set != nil {
		for home := range set.Jurisdictions {
			homes[home] = true
		}
	}
	all := classes(t, false)
	for key := range rules {
		all = append(all, key[1])
	}
	all = unique(all)
	for _, home := range slices.Sorted(maps.Keys(homes)) {
		for _, class := range all {
			key := [2]string{home, class}
			out.add(Cell{Home: home, Class: class, Rule: rules[key], Asked: asked[key]})
		}
	}
	return out
}

func (c *Coverage) add(x Cell) {
	c.Matrix = append(c.Matrix, x)
	c.Cells++
	name := x.Home + "/" + x.Class
	if x.Asked {
		c.CoveredCells++
	} else {
		c.MissingCells = append(c.MissingCells, name)
	}
	if !x.Rule {
		return
	}
	c.Rules++
	if x.Asked {
		c.Covered++
	} else {
		c.Missing = append(c.Missing, name)
	}
}

// text writes the sums and the matrix.
func (c Coverage) text(b *strings.Builder, l lang.Lang) {
	fmt.Fprintln(b, lang.T("Coverage   rules %d/%d   cells of home and class %d/%d   %d %%", c.Covered, c.Rules, c.CoveredCells, c.Cells, c.Percent()).In(l))
	if len(c.MissingCells) > 0 {
		fmt.Fprintln(b, lang.T("           never asked: %s", shorten(c.MissingCells)).In(l))
	}
	var homes, classes []string
	state := map[[2]string]string{}
	bare := false
	for _, x := range c.Matrix {
		homes, classes = append(homes, x.Home), append(classes, x.Class)
		s := "-"
		switch {
		case x.Asked:
			s = "ok"
		case !x.Rule:
			s, bare = "none", true
		}
		state[[2]string{x.Home, x.Class}] = s
	}
	homes, classes = unique(homes), unique(classes)
	width := 2
	for _, h := range homes {
		width = max(width, len(h))
	}
	row := func(head string, value func(class string) string) {
		line := fmt.Sprintf("  %*s", width, head)
		for _, class := range classes {
			line += fmt.Sprintf("  %-*s", max(4, len(class)), value(class))
		}
		fmt.Fprintln(b, strings.TrimRight(line, " "))
	}
	if len(homes) > 0 {
		row("", func(class string) string { return class })
	}
	for _, h := range homes {
		row(h, func(class string) string { return state[[2]string{h, class}] })
	}
	if bare {
		fmt.Fprintln(b, lang.T("  none: no rule, and no case that expects no-rule").In(l))
	}
}

// shorten lists the first few names, and how many more there are.
func shorten(names []string) lang.Text {
	const most = 12
	if len(names) <= most {
		return lang.Same(strings.Join(names, ", "))
	}
	return lang.T("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
