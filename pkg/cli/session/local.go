package session

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/domicile-dev/domicile/pkg/bundle"
	"github.com/domicile-dev/domicile/pkg/cli/exit"
	"github.com/domicile-dev/domicile/pkg/cli/show"
	"github.com/domicile-dev/domicile/pkg/leakcheck"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/release"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// Local is a policy directory (or a bundle of one) that was read and judged.
type Local struct {
	show.Place
	*release.Release
	Bundle *bundle.Bundle // the one that was judged, or the directory's; nil unless good
	At     time.Time      // the instant of judgement
}

// Judged is how a directory is to be judged.
type Judged struct {
	At      string // instant, RFC 3339; "" is now
	Overlay string // file of local stand-ins; "" is none
	Strict  bool   // lapsed transfers are errors
	// TableOnly is for commands that ask for decisions: it leaves out the
	// configuration and its leak check, which take most of the time.
	TableOnly bool
}

// Flags adds the flags of every command that judges a directory.
func (j *Judged) Flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&j.At, "at", "", "judge as of this instant (RFC 3339), instead of now")
	cmd.Flags().StringVar(&j.Overlay, "overlay", "", "file of local stand-ins for addresses and keys (overlay.json of a demo)")
}

// Read judges the policy directory. Its error is a path that cannot be opened
// or a wrong flag; what is wrong inside the files stands in Problems.
func (a *Session) Read(cmd *cobra.Command, dir string, j Judged) (*Local, error) {
	info, err := os.Stat(dir)
	if Missing(err) {
		return nil, exit.Errorf(exit.Usage, "policy directory %s does not exist", dir)
	}
	if err != nil {
		return nil, exit.Errorf(exit.Usage, "open policy directory: %w", err)
	}
	if !info.IsDir() {
		return nil, exit.Errorf(exit.Usage, "open policy directory: %s is a file; name the directory it lies in", dir)
	}
	if f, err := os.Open(dir); err != nil {
		return nil, exit.Errorf(exit.Usage, "open policy directory: %w", err)
	} else if err := f.Close(); err != nil {
		return nil, exit.Errorf(exit.Usage, "open policy directory: %w", err)
	}
	return a.Judge(cmd, os.DirFS(dir), ShownDir(dir), j)
}

// Judge judges what fsys holds; shown is its directory as messages name it.
func (a *Session) Judge(cmd *cobra.Command, fsys fs.FS, shown string, j Judged) (*Local, error) {
	return a.judge(cmd, release.Input{FS: fsys}, nil, shown, j)
}

// JudgeBundle judges a bundle with the law that it carries.
func (a *Session) JudgeBundle(cmd *cobra.Command, b *bundle.Bundle, shown string, j Judged) (*Local, error) {
	return a.judge(cmd, release.Of(b), b, shown, j)
}

func (a *Session) judge(cmd *cobra.Command, in release.Input, b *bundle.Bundle, shown string, j Judged) (*Local, error) {
	in.At, in.Strict, in.TableOnly = a.Now(), j.Strict, j.TableOnly
	if j.At != "" {
		at, err := time.Parse(time.RFC3339, j.At)
		if err != nil {
			return nil, Usage(cmd, "--at %q is not an instant such as 2026-11-24T00:00:00Z", j.At)
		}
		in.At = at
	}
	if j.Overlay != "" {
		data, err := os.ReadFile(j.Overlay)
		if err != nil {
			return nil, exit.Errorf(exit.Usage, "open overlay: %w", err)
		}
		if in.Overlay, err = topology.ParseOverlay(data); err != nil {
			return nil, exit.Errorf(exit.Findings, "%s: %w", j.Overlay, err)
		}
	}
	l := &Local{Place: show.Place{Dir: shown, FS: in.FS, Lang: a.Lang()}, Release: release.Build(in), At: in.At}
	if l.Bundle = b; l.Good() && b == nil {
		var err error
		if l.Bundle, err = release.PackSet(l.Set); err != nil {
			return nil, exit.Errorf(exit.Findings, "pack %s: %w", shown, err)
		}
	}
	return l, nil
}

// Good tells whether the release may be used: no error and no leak. Otherwise
// it has no table and no configuration. (Of TableOnly it has the table.)
func (l *Local) Good() bool { return l.Result != nil }

// Refuse is the result of a command that needs a good release and has none: machine
// output lists the problems as lint does, people read them on stderr.
func (a *Session) Refuse(l *Local) error {
	if a.Output == "json" || a.Output == "yaml" {
		v := struct {
			Versioned
			Problems []show.Problem      `json:"problems"`
			Leaks    []leakcheck.Finding `json:"leaks,omitempty"`
		}{V1(), l.JSON(l.Problems), l.Leaks}
		if err := a.Emit(v, nil); err != nil {
			return err
		}
		return exit.Errorf(exit.Findings, "%s does not compile; see domicile lint", l.Dir)
	}
	for _, q := range l.Problems {
		if q.Severity == policy.Error {
			l.Text(a.Err, []policy.Problem{q})
		}
	}
	for _, f := range l.Leaks {
		fmt.Fprintf(a.Err, "leak: %s\n", show.Line(f.String()))
	}
	return exit.Errorf(exit.Findings, "%s does not compile; see domicile lint", l.Dir)
}

// ShownDir is a directory as people would type it here: relative if it lies
// below the working directory.
func ShownDir(dir string) string {
	wd, err := os.Getwd()
	if err != nil || !filepath.IsAbs(dir) {
		return filepath.ToSlash(filepath.Clean(dir))
	}
	rel, err := filepath.Rel(wd, dir)
	if err != nil || strings.HasPrefix(rel, "..") {
		return filepath.ToSlash(filepath.Clean(dir))
	}
	return filepath.ToSlash(rel)
}

// Missing tells whether an error is that a file does not exist.
func Missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
