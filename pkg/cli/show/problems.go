package show

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/mattn/go-runewidth"

	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/policy/suppress"
)

// Problem is a policy problem in machine output; its fields are a contract.
type Problem struct {
	File     string          `json:"file"`
	Line     int             `json:"line"`
	Column   int             `json:"column"`
	Code     string          `json:"code"`
	Severity policy.Severity `json:"severity"`
	Message  string          `json:"message"`
	// The same sentences in Chinese, so that no reader has to ask twice.
	MessageZh string `json:"messageZh"`
	Fix       string `json:"fix"`
	FixZh     string `json:"fixZh"`
	Why       string `json:"why,omitempty"`
	WhyZh     string `json:"whyZh,omitempty"`
	Law       string `json:"law,omitempty"`
	Waiver    string `json:"waiver,omitempty"` // id of the one that excuses it
	// Fixable problems are mended by lint --fix; Edit is the change.
	Fixable bool         `json:"fixable,omitempty"`
	Edit    *policy.Edit `json:"edit,omitempty"`
}

// Place turns the names of policy files into paths that the reader can open, and
// says what is wrong in them in the reader's language.
type Place struct {
	Dir  string
	FS   fs.FS     // nil when there is nothing to quote from
	Lang lang.Lang // "" is English
}

// shipped begins the name of a file of the shipped library, see package policy.
const shipped = "(shipped)/"

// Shown is the path of a policy file for people and machines, whether it exists
// or is missing. A file of the shipped library keeps its name.
func (p Place) Shown(file string) string {
	if file == "" || p.FS == nil || !fs.ValidPath(file) || strings.HasPrefix(file, shipped) {
		return file
	}
	return path.Join(p.Dir, file)
}

// JSON returns the problems for machine output; never nil.
func (p Place) JSON(problems []policy.Problem) []Problem {
	out := []Problem{}
	for _, q := range problems {
		x := Problem{
			File: p.Shown(q.File), Line: q.Line, Column: q.Column, Code: q.Code, Severity: q.Severity,
			Message: q.Message.En, MessageZh: q.Message.In(lang.Chinese), Fix: q.Fix.En, FixZh: q.Fix.In(lang.Chinese),
			Why: q.Why.En, WhyZh: q.Why.In(lang.Chinese), Law: q.Law, Waiver: q.Waiver,
			Fixable: q.Fixable(),
		}
		if x.Fixable {
			x.Edit = &q.Edit
		}
		out = append(out, x)
	}
	return out
}

// Suppressed is a warning that a comment hides, in machine output.
type Suppressed struct {
	Problem
	Reason string `json:"reason"`
	Until  string `json:"until"` // a date
}

// HiddenJSON returns hidden warnings for machine output; never nil.
func (p Place) HiddenJSON(hidden []suppress.Suppressed) []Suppressed {
	out := []Suppressed{}
	for _, h := range hidden {
		out = append(out, Suppressed{p.JSON([]policy.Problem{h.Problem})[0], h.Reason, h.Until.Format(time.DateOnly)})
	}
	return out
}

// Text writes problems for people: what, where, the line itself, why, and the fix.
func (p Place) Text(w io.Writer, problems []policy.Problem) {
	for _, q := range problems {
		fmt.Fprintf(w, "%s[%s]: %s\n", severity(q.Severity).In(p.Lang), q.Code, Line(q.Message.In(p.Lang)))
		if q.File != "" {
			fmt.Fprintf(w, "  --> %s\n", Clean(p.Position(q.Pos)))
			p.excerpt(w, q.Pos)
		}
		fix := q.Fix
		if q.Fixable() {
			fix = lang.Join([]lang.Text{fix, lang.Same("[--fix]")}, lang.Same(" "))
		}
		for _, row := range []struct{ label, text lang.Text }{
			{lang.T("why"), q.Why}, {lang.T("law"), lang.Same(q.Law)}, {lang.T("fix"), fix},
		} {
			if !row.text.IsZero() {
				fmt.Fprintf(w, "   %s  %s\n", row.label.In(p.Lang), Line(row.text.In(p.Lang)))
			}
		}
		fmt.Fprintln(w)
	}
}

func severity(s policy.Severity) lang.Text {
	if s == policy.Error {
		return lang.T("error")
	}
	return lang.T("warning")
}

// Position is FILE:LINE:COLUMN.
func (p Place) Position(at policy.Pos) string {
	s := p.Shown(at.File)
	if at.Line > 0 {
		s = fmt.Sprintf("%s:%d:%d", s, at.Line, at.Column)
	}
	return s
}

const (
	maxQuoted = 1 << 20 // a larger file is not read again to quote a line of it
	maxLine   = 160     // of a longer line this many runes around the column are quoted
)

// excerpt quotes the line with a caret under the column, which counts runes.
func (p Place) excerpt(w io.Writer, at policy.Pos) {
	if p.FS == nil || at.Line < 1 || !fs.ValidPath(at.File) {
		return
	}
	if info, err := fs.Stat(p.FS, at.File); err != nil || !info.Mode().IsRegular() || info.Size() > maxQuoted {
		return
	}
	data, err := fs.ReadFile(p.FS, at.File)
	if err != nil {
		return
	}
	lines := bytes.Split(data, []byte("\n"))
	if at.Line > len(lines) {
		return
	}
	runes := []rune(strings.TrimSuffix(string(lines[at.Line-1]), "\r"))
	show := func(r []rune) string { return Clean(strings.ReplaceAll(string(r), "\t", "    ")) }
	column := at.Column - 1
	before, after := "", ""
	if len(runes) > maxLine {
		from := max(0, min(column-maxLine/2, len(runes)-maxLine))
		if from > 0 {
			before = "…"
		}
		if from+maxLine < len(runes) {
			after = "…"
		}
		runes, column = runes[from:from+maxLine], column-from
	}
	fmt.Fprintf(w, "%5d | %s\n", at.Line, before+show(runes)+after)
	if column >= 0 && column <= len(runes) {
		pad := runewidth.StringWidth(before + show(runes[:column]))
		fmt.Fprintf(w, "      | %s^\n", strings.Repeat(" ", pad))
	}
}

// Remedied is the message with the fix on a line of its own, where there is one.
func Remedied(q policy.Problem) lang.Text {
	if q.Fix.IsZero() {
		return q.Message
	}
	return lang.T("%s\nfix: %s", q.Message, q.Fix)
}

// annotations is how many of a step GitHub shows.
const annotations = 10

// GitHub writes workflow commands, which show as annotations on a change: the
// worst ones, errors first, as many as GitHub shows, and how many there are more.
func (p Place) GitHub(w io.Writer, problems []policy.Problem) {
	text := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	property := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	worst := slices.Clone(problems)
	slices.SortStableFunc(worst, func(a, b policy.Problem) int { return cmp.Compare(rank(a), rank(b)) })
	for _, q := range worst[:min(annotations, len(worst))] {
		message := Remedied(q).In(p.Lang)
		fmt.Fprintf(w, "::%s file=%s,line=%d,col=%d,title=%s::%s\n", q.Severity,
			property.Replace(p.Shown(q.File)), max(q.Line, 1), max(q.Column, 1), property.Replace(q.Code), text.Replace(message))
	}
	if hidden := len(worst) - annotations; hidden > 0 {
		fmt.Fprintf(w, "::notice title=domicile lint::%s\n", text.Replace(lang.T("%d more problems are hidden here: run domicile lint", hidden).In(p.Lang)))
	}
}

// rank orders problems by how bad they are.
func rank(q policy.Problem) int {
	if q.Severity == policy.Error {
		return 0
	}
	return 1
}

type document struct {
	XMLName xml.Name `xml:"testsuites"`
	Suites  []Suite  `xml:"testsuite"`
}

// Suite is a JUnit test suite.
type Suite struct {
	Name     string `xml:"name,attr"`
	Tests    int    `xml:"tests,attr"`
	Failures int    `xml:"failures,attr"`
	Cases    []Case `xml:"testcase"`
}

// Case is a JUnit test case.
type Case struct {
	Name      string   `xml:"name,attr"`
	ClassName string   `xml:"classname,attr"`
	File      string   `xml:"file,attr,omitempty"`
	Line      int      `xml:"line,attr,omitempty"`
	Failure   *Failure `xml:"failure"`
	SystemOut string   `xml:"system-out,omitempty"`
}

// Failure is why a case failed.
type Failure struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr"`
	Text    string `xml:",chardata"`
}

// JUnit gives each problem a test case of its own; a warning does not fail.
func (p Place) JUnit(problems []policy.Problem) Suite {
	s := Suite{Name: "domicile lint"}
	for _, q := range problems {
		c := Case{Name: q.Code + " " + p.Position(q.Pos), ClassName: p.Shown(q.File), File: p.Shown(q.File), Line: q.Line}
		if q.Severity == policy.Error {
			c.Failure = &Failure{Message: q.Message.In(p.Lang), Type: q.Code, Text: q.Fix.In(p.Lang)}
			s.Failures++
		} else {
			c.SystemOut = q.Message.In(p.Lang)
		}
		s.Cases = append(s.Cases, c)
	}
	if len(s.Cases) == 0 {
		s.Cases = []Case{{Name: "no problems", ClassName: p.Dir}}
	}
	s.Tests = len(s.Cases)
	return s
}

// WriteJUnit writes a JUnit report.
func WriteJUnit(w io.Writer, suites ...Suite) error {
	data, err := xml.MarshalIndent(document{Suites: suites}, "", "  ")
	if err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	_, err = fmt.Fprintf(w, "%s%s\n", xml.Header, data)
	return err
}
