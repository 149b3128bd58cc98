// Package suppress hides warnings that a comment in a policy file asks to hide,
// and judges those comments:
//
//	# domicile:ignore DP3102 until 2027-01-31: the new contract is being signed
//
// It speaks of its own line, or, where it has a line to itself, of the next line
// that is no comment. Code, end and reason are mandatory, the end is at most a
// year ahead, and only warnings can be hidden. A comment that hides nothing, or
// nothing any more, is a finding itself. What is hidden is returned, not lost.
//
// The package is pure and reports the same for the same input.
package suppress

import (
	"bytes"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/policy/internal/yamlpos"
	"github.com/domicile-dev/domicile/pkg/policy/nearest"
)

// The codes of comments that hide nothing. They are stable.
const (
	CodeMalformed  = "DP3201" // error
	CodeExpired    = "DP3202" // warning
	CodeTooLong    = "DP3203" // warning
	CodeUnknown    = "DP3204" // warning
	CodeUnused     = "DP3205" // warning
	CodeNotAllowed = "DP3206" // warning: an error, or a warning that stays loud
)

var codeInfos = []policy.CodeInfo{
	{Code: CodeMalformed, Title: lang.T("a suppression that says too little"), Page: lang.T("A comment that hides a warning names its code, its end and its reason: # domicile:ignore CODE until DATE: reason. A warning that is hidden for ever, or for no reason, is one that nobody looks at again.")},
	{Code: CodeExpired, Title: lang.T("a suppression that has ended"), Page: lang.T("From its date on the comment hides nothing: the warning is shown again. Mend what it warns of, or give the comment a new date and reason.")},
	{Code: CodeTooLong, Title: lang.T("a suppression for too long"), Page: lang.T("A comment hides a warning for at most 365 days from now. A later end is not accepted, and the warning is shown.")},
	{Code: CodeUnknown, Title: lang.T("a suppression of an unknown code"), Page: lang.T("There is no such code, so the comment hides nothing.")},
	{Code: CodeUnused, Title: lang.T("a suppression that hides nothing"), Page: lang.T("The warning is not given at the line of which the comment speaks: its own, or the next one that is no comment. Remove the comment, or move it.")},
	{Code: CodeNotAllowed, Title: lang.T("a suppression of what cannot be hidden"), Page: lang.T("Only warnings can be hidden, and not that a home is under observation: that its policy is not enforced stays in sight.")},
}

// CodeInfos explains the codes, sorted.
func CodeInfos() []policy.CodeInfo { return slices.Clone(codeInfos) }

// Codes tells of a code whether it exists, and whether its warnings stay in sight
// whatever a comment says.
type Codes struct {
	Known []string
	Loud  []string
}

// Suppressed is a warning that a comment hides.
type Suppressed struct {
	policy.Problem
	Reason string
	Until  time.Time
}

// maxAhead is how far ahead a suppression may end.
const maxAhead = 365 * 24 * time.Hour

// comment is one suppression.
type comment struct {
	pos    policy.Pos
	line   int // of which it speaks
	code   string
	until  time.Time
	reason string
	used   bool
}

// Apply takes from problems those warnings that comments in files hide at an
// instant, and adds what is wrong with the comments. Files are those of policy.Set.
func Apply(files map[string][]byte, codes Codes, at time.Time, problems []policy.Problem) (kept []policy.Problem, hidden []Suppressed) {
	var all []*comment
	var found []policy.Problem
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if src := files[name]; path.Ext(name) == ".yaml" && bytes.Contains(src, []byte(marker)) {
			c, wrong := read(name, src)
			all, found = append(all, c...), append(found, wrong...)
		}
	}
	if len(all)+len(found) == 0 {
		return problems, nil
	}
	for _, p := range problems {
		if c := matching(all, p); c != nil {
			c.used = true
			if fault := c.refused(codes, at, p.Severity); fault == nil {
				hidden = append(hidden, Suppressed{p, c.reason, c.until})
				continue
			}
		}
		kept = append(kept, p)
	}
	whole := !policy.HasErrors(problems)
	for _, c := range all {
		severity := policy.Warning
		if c.used && slices.ContainsFunc(kept, func(p policy.Problem) bool { return matching([]*comment{c}, p) != nil && p.Severity == policy.Error }) {
			severity = policy.Error
		}
		switch fault := c.refused(codes, at, severity); {
		case fault != nil:
			found = append(found, *fault)
		case !c.used && whole: // with errors, some warnings were not looked for
			found = append(found, c.problem(CodeUnused, lang.T("remove it, or move it to the line of the warning"), lang.T("this hides nothing: there is no %s at line %d", c.code, c.line)))
		}
	}
	return policy.Sort(append(kept, found...)), hidden
}

func matching(all []*comment, p policy.Problem) *comment {
	i := slices.IndexFunc(all, func(c *comment) bool { return c.pos.File == p.File && c.line == p.Line && c.code == p.Code })
	if i < 0 {
		return nil
	}
	return all[i]
}

func (c *comment) problem(code string, fix, message lang.Text) policy.Problem {
	return policy.Problem{Pos: c.pos, Code: code, Severity: policy.Warning, Message: message, Fix: fix}
}

// refused says why a comment may not hide a finding of a severity; nil when it may.
func (c *comment) refused(codes Codes, at time.Time, severity policy.Severity) *policy.Problem {
	var p policy.Problem
	date := c.until.Format(time.DateOnly)
	switch {
	case !slices.Contains(codes.Known, c.code):
		fix := lang.T("remove it")
		if near := nearest.Word(c.code, codes.Known); near != "" {
			fix = lang.T("did you mean %q?", near)
		}
		p = c.problem(CodeUnknown, fix, lang.T("this hides nothing: there is no code %s", c.code))
	case severity == policy.Error, slices.Contains(codes.Loud, c.code):
		p = c.problem(CodeNotAllowed, lang.T("mend what it hides, and remove it"), lang.T("this hides nothing: %s cannot be hidden here", c.code))
	case !at.Before(c.until):
		p = c.problem(CodeExpired, lang.T("mend what it hid, or give it a new date"), lang.T("this hides nothing any more: it ended on %s", date))
	case c.until.Sub(at) > maxAhead:
		p = c.problem(CodeTooLong, lang.T("write %s or earlier", at.Add(maxAhead).UTC().Format(time.DateOnly)), lang.T("this hides nothing: %s is more than 365 days ahead", date))
	default:
		return nil
	}
	return &p
}

const marker = "domicile:ignore"

var form = regexp.MustCompile(`^domicile:ignore +(DP[0-9]{4}) +until +([0-9]{4}-[0-9]{2}-[0-9]{2}) *: *(\S.*)$`)

// read finds the suppressions of a file.
func read(name string, src []byte) (out []*comment, wrong []policy.Problem) {
	lines := strings.Split(string(src), "\n")
	for _, y := range yamlpos.Comments(src) {
		text := strings.TrimSpace(y.Text)
		if !strings.HasPrefix(text, marker) {
			continue
		}
		c := &comment{pos: policy.Pos{File: name, Line: y.Line, Column: y.Column}, line: y.Line}
		if blank(lines, y.Line) {
			for c.line++; c.line <= len(lines) && blank(lines, c.line); c.line++ {
			}
		}
		m := form.FindStringSubmatch(text)
		if m != nil {
			c.code, c.reason = m[1], m[3]
			c.until, _ = time.Parse(time.DateOnly, m[2])
		}
		if c.until.IsZero() {
			p := c.problem(CodeMalformed, lang.T("write # domicile:ignore CODE until DATE: reason, as in # domicile:ignore DP3101 until 2027-01-31: the review is under way"),
				lang.T("this suppression does not say code, end and reason"))
			p.Severity = policy.Error
			wrong = append(wrong, p)
			continue
		}
		out = append(out, c)
	}
	return out, wrong
}

// blank tells whether a line, counted from 1, holds nothing but a comment.
func blank(lines []string, line int) bool {
	return strings.HasPrefix(strings.TrimSpace(lines[line-1]), "#")
}
