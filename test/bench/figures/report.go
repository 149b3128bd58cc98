// Package figures keeps what a run has measured, judges it against the goals and
// prints it. It knows no clock and no machine.
package figures

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// Report is the result of a run.
type Report struct {
	Machine  Machine   `json:"machine"`
	Versions []Version `json:"versions"`
	Rounds   int       `json:"rounds"`
	Seconds  float64   `json:"seconds"`
	Users    int       `json:"users"`
	// LoadBefore and LoadAfter are the machine's one-minute load averages: what
	// else ran.
	LoadBefore float64 `json:"loadBefore"`
	LoadAfter  float64 `json:"loadAfter"`
	Took       float64 `json:"tookSeconds"`
	// Order is the order in which Table shows the rows.
	Order []string `json:"-"`
	Lines []Line   `json:"lines"`
	// Notes say what was not measured and why, and what a line means.
	Notes []string `json:"notes,omitempty"`
}

// Machine is what it was measured on.
type Machine struct {
	CPU   string `json:"cpu"`
	Cores int    `json:"cores"`
	OS    string `json:"os"`
}

// Version is one thing that took part.
type Version struct {
	Of      string `json:"of"`
	Version string `json:"version"`
}

// Line is one figure.
type Line struct {
	Row    string  `json:"row"`
	What   string  `json:"what"`
	Unit   string  `json:"unit"` // ×, /s, µs, …
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	N      int     `json:"n"`
	Goal   string  `json:"goal,omitempty"`
	Met    *bool   `json:"met,omitempty"`
}

// Goal is a bound on the judged figure of a line.
type Goal struct {
	atLeast bool
	bound   float64
}

// AtLeast is a goal that more than x meets too.
func AtLeast(x float64) *Goal { return &Goal{true, x} }

// AtMost is a goal that less than x meets too.
func AtMost(x float64) *Goal { return &Goal{false, x} }

// Met tells whether x meets the goal; a figure that is no number meets nothing.
func (g Goal) Met(x float64) bool {
	if g.atLeast {
		return x >= g.bound
	}
	return x <= g.bound
}

// String writes the goal as a person would.
func (g Goal) String() string {
	if g.atLeast {
		return fmt.Sprintf("≥ %g", g.bound)
	}
	return fmt.Sprintf("≤ %g", g.bound)
}

// Add appends a line of a series, judged by its median.
func (r *Report) Add(row, what, unit string, s Series, g *Goal) {
	r.Judge(row, what, unit, s, s.Median(), g)
}

// Judge appends a line whose shown and judged figure is not the median.
func (r *Report) Judge(row, what, unit string, s Series, figure float64, g *Goal) {
	l := Line{Row: row, What: what, Unit: unit, Median: figure, Min: s.Min(), Max: s.Max(), N: len(s)}
	if g != nil {
		met := g.Met(figure)
		l.Goal, l.Met = strings.TrimSpace(g.String()+" "+unit), &met
	}
	r.Lines = append(r.Lines, l)
}

// Measured names one thing that took part, and its version.
func (r *Report) Measured(of, v string) {
	r.Versions = append(r.Versions, Version{of, v})
}

// Note appends a remark.
func (r *Report) Note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// JSON writes everything.
func (r *Report) JSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(r)
}

// Table writes everything for people.
func (r *Report) Table(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ROW\tWHAT\tFIGURE\tSPREAD\tN\tGOAL\tMET")
	lines := slices.Clone(r.Lines)
	slices.SortStableFunc(lines, func(a, b Line) int {
		return slices.Index(r.Order, a.Row) - slices.Index(r.Order, b.Row)
	})
	missed, judged := 0, 0
	for _, l := range lines {
		met := ""
		if l.Met != nil {
			judged++
			if met = "yes"; !*l.Met {
				met = "NO"
				missed++
			}
		}
		fmt.Fprintf(t, "%s\t%s\t%s %s\t%s–%s\t%d\t%s\t%s\n",
			l.Row, l.What, figure(l.Median), l.Unit, figure(l.Min), figure(l.Max), l.N, l.Goal, met)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	for _, n := range r.Notes {
		fmt.Fprintln(w, n)
	}
	fmt.Fprintf(w, "%d of %d goals met in this run.\n\n", judged-missed, judged)
	var versions []string
	for _, v := range r.Versions {
		versions = append(versions, v.Of+" "+v.Version)
	}
	fmt.Fprintf(w, "%s; %s, %d cores, %s\n", strings.Join(versions, ", "), r.Machine.CPU, r.Machine.Cores, r.Machine.OS)
	_, err := fmt.Fprintf(w, "%d rounds of %g s, %d users, load average %.1f before and %.1f after, took %.0f s\n",
		r.Rounds, r.Seconds, r.Users, r.LoadBefore, r.LoadAfter, r.Took)
	return err
}

// figure writes a number with about three significant digits.
func figure(x float64) string {
	switch {
	case x >= 100 || x <= -100:
		return fmt.Sprintf("%.0f", x)
	case x >= 10:
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.2f", x)
}
