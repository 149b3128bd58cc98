// Package arch enforces how this repository is built: which package may import
// what, what the pure core may not touch, and how long things may grow. Every
// ban states its reason, and every check is itself tested on a small planted
// repository that breaks it, so a check that stopped working is noticed.
package arch

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

const module = "github.com/domicile-dev/domicile"

// repo is what the checks look at: the names of all files, and the Go files parsed.
type repo struct {
	names []string
	fset  *token.FileSet
	files []*file
}

type file struct {
	path      string
	dir       string
	test      bool
	generated bool
	lines     int
	imports   []imported
	ast       *ast.File
}

type imported struct {
	path string
	line int
}

// load parses the Go files among names. Build constraints are ignored: a rule
// holds on every platform.
func load(fsys fs.FS, names []string) (*repo, error) {
	r := &repo{names: names, fset: token.NewFileSet()}
	for _, name := range names {
		if path.Ext(name) != ".go" || strings.Contains(name, "/testdata/") {
			continue
		}
		src, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, err
		}
		f, err := parser.ParseFile(r.fset, name, src, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		r.files = append(r.files, &file{
			path: name, dir: path.Dir(name), ast: f,
			test:      strings.HasSuffix(name, "_test.go"),
			generated: ast.IsGenerated(f),
			lines:     bytes.Count(src, []byte("\n")),
			imports:   r.imports(f),
		})
	}
	return r, nil
}

func (r *repo) imports(f *ast.File) []imported {
	var out []imported
	for _, s := range f.Imports {
		p, err := strconv.Unquote(s.Path.Value)
		if err != nil {
			p = s.Path.Value
		}
		out = append(out, imported{p, r.fset.Position(s.Pos()).Line})
	}
	return out
}

// in tells whether the file lies in dir or below it.
func (f *file) in(dir string) bool { return within(f.dir, dir) }

func (f *file) inAny(dirs []string) bool {
	return slices.ContainsFunc(dirs, f.in)
}

func within(name, dir string) bool { return name == dir || strings.HasPrefix(name, dir+"/") }

// local returns the directory of an import of this module.
func local(imp string) (dir string, ok bool) {
	return strings.CutPrefix(imp, module+"/")
}

// standard tells whether an import is of the standard library: its first
// element has no dot.
func standard(imp string) bool {
	first, _, _ := strings.Cut(imp, "/")
	return !strings.Contains(first, ".")
}

// finding formats one violation: where, what, and the reason for the rule.
func finding(where string, line int, what, reason string) string {
	if line > 0 {
		where = fmt.Sprintf("%s:%d", where, line)
	}
	return fmt.Sprintf("%s: %s (%s)", where, what, reason)
}
