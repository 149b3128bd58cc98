// Package mend is what lint --fix does: it mends policy files where that changes
// no decision, and writes all of them or none.
package mend

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	"github.com/domicile-dev/domicile/pkg/atomicfile"
	"github.com/domicile-dev/domicile/pkg/cli/exit"
	"github.com/domicile-dev/domicile/pkg/cli/session"
	"github.com/domicile-dev/domicile/pkg/cli/show"
	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy/mend"
)

// Done is what was mended; nil says nothing.
type Done struct {
	Files    []string `json:"files"`    // that were changed
	Problems int      `json:"problems"` // that are gone
	Written  bool     `json:"written"`  // false: it was only shown
}

// Run mends a policy directory. With only it shows what would change, and writes
// nothing. Its error is a path that cannot be opened or written, or a bug; no file
// has changed then.
func Run(s *session.Session, cmd *cobra.Command, dir string, j session.Judged, only bool) (*Done, error) {
	j.TableOnly = true
	l, err := s.Read(cmd, dir, j)
	if err != nil {
		return nil, err
	}
	var failed error
	r, err := mend.Files(l.FS, func(fsys fs.FS) mend.Verdict {
		then, err := s.Judge(cmd, fsys, l.Dir, j)
		if err != nil {
			failed = errors.Join(failed, err)
			return mend.Verdict{}
		}
		v := mend.Verdict{Problems: then.Problems}
		if then.Good() {
			v.Digest = then.Table.Digest()
		}
		return v
	})
	switch {
	case failed != nil:
		return nil, failed
	case errors.Is(err, fs.ErrPermission), errors.Is(err, fs.ErrNotExist):
		return nil, exit.Errorf(exit.Usage, "mend %s: %w", l.Dir, err)
	case err != nil:
		return nil, exit.Errorf(exit.Bug, "mend %s: %w; nothing was changed: report it with the policy directory", l.Dir, err)
	}
	done := &Done{Files: []string{}, Problems: r.Fixed, Written: !only}
	var files []atomicfile.File
	for _, f := range r.Files {
		path := filepath.Join(dir, filepath.FromSlash(f.Name))
		info, err := os.Stat(path)
		if err != nil {
			return nil, exit.Errorf(exit.Usage, "mend: %w", err)
		}
		done.Files = append(done.Files, l.Shown(f.Name))
		files = append(files, atomicfile.File{Path: path, Before: f.Before, After: f.After, Mode: info.Mode().Perm()})
		if only && s.Output == "text" {
			for line := range strings.Lines(string(diff.Diff(l.Shown(f.Name), f.Before, l.Shown(f.Name), f.After))) {
				fmt.Fprintln(s.Out, show.Clean(strings.TrimSuffix(line, "\n")))
			}
		}
	}
	if only {
		return done, nil
	}
	if err := atomicfile.WriteAll(files); err != nil {
		return nil, exit.Errorf(exit.Usage, "mend %s: %w", l.Dir, err)
	}
	return done, nil
}

// Text says what was mended.
func (d *Done) Text(w io.Writer, l lang.Lang) {
	if d == nil {
		return
	}
	for _, name := range d.Files {
		line := lang.T("mended %s", name)
		if !d.Written {
			line = lang.T("would mend %s", name)
		}
		fmt.Fprintln(w, show.Clean(line.In(l)))
	}
	if len(d.Files) > 0 {
		fmt.Fprintln(w)
	}
}
