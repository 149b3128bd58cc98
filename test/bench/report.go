package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// report is the result of a run.
type report struct {
	Machine  machine   `json:"machine"`
	Versions []version `json:"versions"`
	Rounds   int       `json:"rounds"`
	Seconds  float64   `json:"seconds"`
	Users    int       `json:"users"`
	// LoadBefore and LoadAfter are the machine's one-minute load averages: what
	// else ran.
	LoadBefore float64 `json:"loadBefore"`
	LoadAfter  float64 `json:"loadAfter"`
	Took       float64 `json:"tookSeconds"`
	Lines      []line  `json:"lines"`
	// Notes say what was not measured and why, and what a line means.
	Notes []string `json:"notes,omitempty"`
}

type machine struct {
	CPU   string `json:"cpu"`
	Cores int    `json:"cores"`
	OS    string `json:"os"`
}

type version struct {
	Of      string `json:"of"`
	Version string `json:"version"`
}

// line is one figure.
type line struct {
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

// goal is a bound on the judged figure of a line.
type goal struct {
	atLeast bool
	bound   float64
}

func atLeast(x float64) *goal { return &goal{true, x} }
func atMost(x float64) *goal  { return &goal{false, x} }

// met tells whether x meets the goal; a figure that is no number meets nothing.
func (g goal) met(x float64) bool {
	if g.atLeast {
		return x >= g.bound
	}
	return x <= g.bound
}

func (g goal) String() string {
	if g.atLeast {
		return fmt.Sprintf("≥ %g", g.bound)
	}
	return fmt.Sprintf("≤ %g", g.bound)
}

// add appends a line of a series, judged by its median.
func (r *report) add(row, what, unit string, s series, g *goal) {
	r.judge(row, what, unit, s, s.median(), g)
}

// judge appends a line whose shown and judged figure is not the median.
func (r *report) judge(row, what, unit string, s series, figure float64, g *goal) {
	l := line{Row: row, What: what, Unit: unit, Median: figure, Min: s.min(), Max: s.max(), N: len(s)}
	if g != nil {
		met := g.met(figure)
		l.Goal, l.Met = strings.TrimSpace(g.String()+" "+unit), &met
	}
	r.Lines = append(r.Lines, l)
}

func (r *report) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

func (r *report) json(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(r)
}

func (r *report) table(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ROW\tWHAT\tFIGURE\tSPREAD\tN\tGOAL\tMET")
	lines := slices.Clone(r.Lines)
	slices.SortStableFunc(lines, func(a, b line) int {
		return slices.Index(allRows, a.Row) - slices.Index(allRows, b.Row)
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
