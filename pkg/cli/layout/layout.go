// Package layout is the command "fmt": the canonical layout of policy files.
package layout

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	"github.com/domicile-dev/domicile/pkg/atomicfile"
	"github.com/domicile-dev/domicile/pkg/cli/exit"
	"github.com/domicile-dev/domicile/pkg/cli/session"
	"github.com/domicile-dev/domicile/pkg/cli/show"
	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/policy/format"
)

type result struct {
	session.Versioned
	Files    int            `json:"files"`   // looked at
	Changed  []string       `json:"changed"` // whose layout is, or would be, another
	Problems []show.Problem `json:"problems"`
}

// run is one run of the command.
type run struct {
	*session.Session
	check, diff bool

	formatter *format.Formatter
	result    result
	problems  []located
	bugs      int
}

// located is a problem and the place that its file is named by.
type located struct {
	at show.Place
	policy.Problem
}

// Command is the command "fmt".
func Command(s *session.Session) *cobra.Command {
	r := &run{Session: s}
	cmd := &cobra.Command{
		Use:   "fmt PATH...",
		Short: "Lay out policy files in the one canonical way",
		Long: `Lay out policy files in the one canonical way: two blanks of indentation, known
fields in the order of the language, codes in quotes, at most one empty line, LF,
no byte order mark. Every comment stays at what it belongs to, and what an author
chose stays: flow or block style, and where lines break.

The layout changes no meaning: that is proved for each file before it is written.
A file that is no valid YAML is left alone, and its problem printed. PATH is a file,
a directory, in which all policy files are laid out, or - for standard input, whose
layout goes to standard output. Files that are laid out already are not written.`,
		Example: `  domicile fmt policies
  domicile fmt --check --diff policies
  domicile fmt - <policies/jurisdictions/sa.yaml`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return session.Usage(cmd, "PATH is missing")
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&r.check, "check", false, "write nothing; exit 1 when a file would change")
	cmd.Flags().BoolVar(&r.diff, "diff", false, "write nothing; show what would change")
	cmd.RunE = s.Run(r.run)
	return cmd
}

func (r *run) run(cmd *cobra.Command, args []string) error {
	r.formatter = format.New()
	r.result = result{Versioned: session.V1(), Changed: []string{}, Problems: []show.Problem{}}
	for _, arg := range args {
		if arg == "-" {
			if len(args) > 1 {
				return session.Usage(cmd, "- stands alone: its layout goes to standard output")
			}
			if r.Output != "text" {
				return session.Usage(cmd, "--output %s goes with files, not with -", r.Output)
			}
			return r.stdin(cmd.InOrStdin())
		}
		if err := r.path(arg); err != nil {
			return err
		}
	}
	if err := r.Emit(r.result, r.text); err != nil {
		return err
	}
	return r.verdict()
}

func (r *run) verdict() error {
	switch {
	case r.bugs > 0:
		return exit.Silent(exit.Bug)
	case len(r.problems) > 0, r.check && len(r.result.Changed) > 0:
		return exit.Silent(exit.Findings)
	}
	return nil
}

// stdin lays out standard input.
func (r *run) stdin(in io.Reader) error {
	src, err := io.ReadAll(io.LimitReader(in, policy.MaxFileSize+1))
	if err != nil {
		return exit.Errorf(exit.Usage, "read standard input: %w", err)
	}
	at := show.Place{Lang: r.Lang()}
	out := r.source(at, "stdin", src)
	if len(r.problems) > 0 {
		r.complain(r.Err)
		return r.verdict()
	}
	switch {
	case r.diff:
		r.patch("stdin", src, out)
	case !r.check:
		_, err = r.Out.Write(out)
	}
	if err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return r.verdict()
}

// path lays out a file, or every policy file of a directory.
func (r *run) path(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		if session.Missing(err) {
			return exit.Errorf(exit.Usage, "%s does not exist", path)
		}
		return exit.Errorf(exit.Usage, "open %s: %w", path, err)
	}
	if !info.IsDir() {
		dir := filepath.Dir(path)
		return r.file(show.Place{Dir: session.ShownDir(dir), FS: os.DirFS(dir), Lang: r.Lang()}, dir, filepath.Base(path), true)
	}
	at := show.Place{Dir: session.ShownDir(path), FS: os.DirFS(path), Lang: r.Lang()}
	return fs.WalkDir(at.FS, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return exit.Errorf(exit.Usage, "open %s: %w", at.Shown(name), err)
		case name != "." && strings.HasPrefix(d.Name(), "."):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.IsDir() || filepath.Ext(name) != ".yaml":
			return nil
		}
		return r.file(at, path, name, false)
	})
}

// file lays out one file. Of a directory, those that do not claim to be policy
// files are passed over.
func (r *run) file(at show.Place, dir, name string, named bool) error {
	// A link keeps pointing where it points: the file behind it is written.
	path, err := filepath.EvalSymlinks(filepath.Join(dir, filepath.FromSlash(name)))
	if err != nil {
		return exit.Errorf(exit.Usage, "open %s: %w", at.Shown(name), err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return exit.Errorf(exit.Usage, "open %s: %w", at.Shown(name), err)
	}
	if !info.Mode().IsRegular() {
		if named {
			return exit.Errorf(exit.Usage, "open %s: it is no regular file", at.Shown(name))
		}
		return nil
	}
	src, err := read(path)
	if err != nil {
		return exit.Errorf(exit.Usage, "read %s: %w", at.Shown(name), err)
	}
	if !named && !placed(name) && !format.IsPolicy(src) {
		return nil
	}
	out := r.source(at, name, src)
	if out == nil || bytes.Equal(src, out) {
		return nil
	}
	switch {
	case r.diff:
		if r.Output == "text" {
			shown := at.Shown(name)
			r.patch(shown, src, out)
		}
	case !r.check:
		if err := atomicfile.Write(path, out, info.Mode().Perm()); err != nil {
			return exit.Errorf(exit.Usage, "%w", err)
		}
	}
	return nil
}

// placed tells whether a file lies where policy files lie: it is looked at even if
// it does not say that it is one.
func placed(name string) bool {
	dir, _, inside := strings.Cut(name, "/")
	return inside && slices.Contains([]string{"law", "jurisdictions", "waivers"}, dir)
}

// patch shows a difference, without the control characters of the file.
func (r *run) patch(name string, before, after []byte) {
	for line := range strings.Lines(string(diff.Diff(name, before, name, after))) {
		fmt.Fprintln(r.Out, show.Clean(strings.TrimSuffix(line, "\n")))
	}
}

func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, policy.MaxFileSize+1))
}

// source lays out one text and notes what is to be said about it; nil when there
// is no layout of it.
func (r *run) source(at show.Place, name string, src []byte) []byte {
	r.result.Files++
	out, problems, err := r.formatter.Source(name, src)
	if err != nil {
		r.bugs++
		problems = append(problems, policy.Problem{
			Pos: policy.Pos{File: name, Line: 1, Column: 1}, Code: "DP9001", Severity: policy.Error,
			Message: lang.T("this file cannot be laid out: %v; it is left as it is", err),
			Fix:     lang.T("this is a bug in Domicile: report it with the file"),
		})
	}
	for _, q := range problems {
		r.problems = append(r.problems, located{at, q})
	}
	r.result.Problems = append(r.result.Problems, at.JSON(problems)...)
	if len(problems) == 0 && !bytes.Equal(src, out) {
		r.result.Changed = append(r.result.Changed, at.Shown(name))
	}
	return out
}

func (r *run) complain(w io.Writer) {
	for _, q := range r.problems {
		q.at.Text(w, []policy.Problem{q.Problem})
	}
}

func (r *run) text(w io.Writer) {
	r.complain(w)
	for _, name := range r.result.Changed {
		line := lang.T("laid out %s", name)
		if r.check || r.diff {
			line = lang.T("would lay out %s", name)
		}
		fmt.Fprintln(w, show.Clean(line.In(r.Lang())))
	}
	if left := len(r.result.Changed); left > 0 && r.check {
		fmt.Fprintln(w, lang.T("next: lay out with domicile fmt").In(r.Lang()))
	}
}
