// Package mend makes the changes to policy files that a program may make: the
// canonical layout, quotes around codes, and the name of a field that is misspelt
// in one way only.
//
// It changes no decision. Where the files compiled before, what they decide has
// the same digest after, or nothing is changed. Where they did not compile, the
// files say the same after, letter by letter, but for quotes, order and those
// names; each name is tried by itself, and kept when there are fewer errors for it.
//
// The package is pure; whoever calls it says how files are judged, and writes them.
package mend

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/policy/format"
)

// maxNames bounds how many misspelt names are tried in one run; the rest is for
// the next one.
const maxNames = 50

// Verdict is what files come to.
type Verdict struct {
	Problems []policy.Problem
	Digest   string // of what they decide; "" when they do not compile
}

// File is one file that is to be changed.
type File struct {
	Name          string // slash path
	Before, After []byte
}

// Result is what Files would change.
type Result struct {
	Files []File // sorted by name
	Fixed int    // problems that are gone
}

// ErrDecision is that the changes would change what is decided, which is a bug.
var ErrDecision = errors.New("the changes would change what is decided")

// Files mends the policy files of a directory. The error is a bug, or a file that
// cannot be read; nothing is to be changed then.
func Files(fsys fs.FS, judge func(fs.FS) Verdict) (*Result, error) {
	m := &mender{formatter: format.New(), fsys: fsys, judge: judge, sources: map[string][]byte{}}
	if err := m.read(); err != nil {
		return nil, err
	}
	before := judge(fsys)
	var edits, names []edit
	for _, p := range before.Problems {
		switch {
		case !p.Fixable() || m.sources[p.File] == nil:
		case p.Code == unknownField:
			names = append(names, edit{p.File, p.Edit, true})
		default:
			edits = append(edits, edit{p.File, p.Edit, false})
		}
	}
	files, after, err := m.try(edits)
	if err != nil {
		return nil, err
	}
	if before.Digest != "" && before.Digest != after.Digest {
		return nil, ErrDecision
	}
	for _, x := range names[:min(len(names), maxNames)] {
		more, then, err := m.try(append(slices.Clone(edits), x))
		if err != nil {
			return nil, err
		}
		if count(then) < count(after) {
			edits, files, after = append(edits, x), more, then
		}
	}
	return &Result{Files: files, Fixed: len(before.Problems) - len(after.Problems)}, nil
}

const unknownField = "DP1010"

// edit is an edit of a file.
type edit struct {
	file string
	policy.Edit
	name bool // of a field
}

type mender struct {
	formatter *format.Formatter
	fsys      fs.FS
	judge     func(fs.FS) Verdict
	sources   map[string][]byte
}

// read reads the policy files: those that the reader looks at.
func (m *mender) read() error {
	return fs.WalkDir(m.fsys, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return fmt.Errorf("read %s: %w", name, err)
		case name != "." && strings.HasPrefix(d.Name(), ".") && d.IsDir():
			return fs.SkipDir
		case !d.Type().IsRegular() || strings.HasPrefix(d.Name(), ".") || path.Ext(name) != ".yaml":
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		if info.Size() > policy.MaxFileSize {
			return nil
		}
		src, err := fs.ReadFile(m.fsys, name)
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		if format.IsPolicy(src) {
			m.sources[name] = src
		}
		return nil
	})
}

// try makes edits, lays the files out, and judges the result.
func (m *mender) try(edits []edit) ([]File, Verdict, error) {
	var files []File
	changed := map[string][]byte{}
	for _, name := range slices.Sorted(maps.Keys(m.sources)) {
		src := m.sources[name]
		edited, err := apply(src, name, edits)
		if err != nil {
			return nil, Verdict{}, err
		}
		out, problems, err := m.formatter.Source(name, edited)
		if err != nil {
			return nil, Verdict{}, err
		}
		if len(problems) > 0 || bytes.Equal(out, src) {
			continue // what is no YAML stays as it is
		}
		files = append(files, File{name, src, out})
		changed[name] = out
	}
	return files, m.judge(overlay{m.fsys, changed}), nil
}

// apply makes the edits of one file, from the last to the first, so that none
// moves the place of another. But for the names of fields they add quotes only.
func apply(src []byte, name string, edits []edit) ([]byte, error) {
	var own, names []policy.Edit
	for _, e := range edits {
		if e.file == name && !slices.Contains(own, e.Edit) {
			own = append(own, e.Edit)
		}
		if e.name {
			names = append(names, e.Edit)
		}
	}
	if len(own) == 0 {
		return src, nil
	}
	slices.SortFunc(own, func(a, b policy.Edit) int {
		if a.Line != b.Line {
			return b.Line - a.Line
		}
		return b.Column - a.Column
	})
	lines := strings.Split(string(src), "\n")
	for _, e := range own {
		if e.Line < 1 || e.Line > len(lines) {
			return nil, fmt.Errorf("mend %s: there is no line %d", name, e.Line)
		}
		runes := []rune(lines[e.Line-1])
		if e.Column < 1 || e.EndColumn < e.Column || e.EndColumn > len(runes)+1 {
			return nil, fmt.Errorf("mend %s: line %d has no columns %d to %d", name, e.Line, e.Column, e.EndColumn)
		}
		if old := string(runes[e.Column-1 : e.EndColumn-1]); e.New != `"`+old+`"` && !slices.Contains(names, e) {
			return nil, fmt.Errorf("mend %s: line %d: %q would become %q", name, e.Line, old, e.New)
		}
		lines[e.Line-1] = string(runes[:e.Column-1]) + e.New + string(runes[e.EndColumn-1:])
	}
	return []byte(strings.Join(lines, "\n")), nil
}

// count counts the errors.
func count(v Verdict) (n int) {
	for _, p := range v.Problems {
		if p.Severity == policy.Error {
			n++
		}
	}
	return n
}
