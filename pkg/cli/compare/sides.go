package compare

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/domicile-dev/domicile/pkg/bundle"
	"github.com/domicile-dev/domicile/pkg/cli/exit"
	"github.com/domicile-dev/domicile/pkg/cli/planfile"
	"github.com/domicile-dev/domicile/pkg/cli/remote"
	"github.com/domicile-dev/domicile/pkg/cli/session"
	"github.com/domicile-dev/domicile/pkg/cli/show"
	"github.com/domicile-dev/domicile/pkg/gitsync/gogit"
	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/release"
	"github.com/domicile-dev/domicile/pkg/residency"
)

// Side is one of the two policies that are compared.
type Side struct {
	Name string // as messages call it: live, git#main, a directory
	show.Place
	*release.Release               // nil where there is no policy yet
	Base             planfile.Base // of what is live
	Connected        bool          // of what is live: its policy store answers
}

// table is nil where there is no policy: it denies everything.
func (s *Side) table() *residency.Table {
	if s.Release == nil || s.Result == nil {
		return nil
	}
	return s.Table
}

// Live compiles what a control plane has in force, at an instant.
func Live(ctx context.Context, c *remote.Client, at time.Time) (*Side, error) {
	status, err := c.Status(ctx)
	if err != nil {
		return nil, err
	}
	out := &Side{Name: "live", Base: planfile.Base{Sequence: status.Store.Sequence}, Connected: status.Store.Connected}
	if status.Policy == nil {
		return out, nil
	}
	b, err := c.Bundle(ctx)
	if err != nil {
		return nil, err
	}
	out.Base = planfile.Base{Sequence: status.Store.Sequence, Bundle: b.Digest()}
	out.compile(release.Of(b), at)
	if out.Result != nil {
		out.Base.Table = out.Table.Digest()
	}
	return out, nil
}

// Denials are those that stand in it.
func (s *Side) Denials() []policy.Denial {
	if s.Release == nil || s.Set == nil {
		return nil
	}
	return s.Set.Denials
}

// Deployment names the deployment whose signers judge what replaces this side: its
// own, or that of its first successor.
func (s *Side) Deployment(next *session.Local) string {
	if s.Release != nil && s.Set != nil && s.Set.Deployment != nil {
		return s.Set.Deployment.Name
	}
	return next.Set.Deployment.Name
}

// Carry adds the denials that are live to a directory that lacks them: the
// emergency brake holds until it is lifted. What it adds is said.
func Carry(s *session.Session, cmd *cobra.Command, l *session.Local, live *Side) (*session.Local, error) {
	all := release.Union(l.Set.Denials, live.Denials())
	if len(all) == len(l.Set.Denials) {
		return l, nil
	}
	for _, d := range all[len(l.Set.Denials):] {
		fmt.Fprintln(s.Err, lang.T("carried over: the denial of %s %s (%s, by %s); domicile deny --lift lifts it",
			show.Line(d.Home), show.Line(orAll(d.Class)), show.Line(d.Reason), show.Line(d.By)).In(s.Lang()))
	}
	b, err := release.WithDenials(l.Bundle, all)
	if err != nil {
		return nil, err
	}
	out, err := s.JudgeBundle(cmd, b, l.Dir, session.Judged{Strict: true})
	if err == nil && !out.Good() {
		err = s.Refuse(out)
	}
	return out, err
}

// Commit is the commit that a directory is checked out at; "" where it lies in no
// repository, or is not as it was committed, which is said.
func Commit(ctx context.Context, s *session.Session, l *session.Local, dir string) string {
	checkout, err := gogit.Open(dir)
	if err != nil {
		return ""
	}
	fsys, hash, err := checkout.At(ctx, "HEAD")
	if err != nil {
		return ""
	}
	for name, data := range l.Set.Files {
		if committed, err := fs.ReadFile(fsys, name); err != nil || !bytes.Equal(committed, data) {
			fmt.Fprintln(s.Err, lang.T("note: %s differs from commit %s (%s), so that no commit is recorded", show.Line(dir), hash[:12], show.Line(name)).In(s.Lang()))
			return ""
		}
	}
	return hash
}

// Comparable is the error for a side that does not compile here.
func (s *Side) Comparable() error {
	if s.Release != nil && s.Result == nil {
		return exit.Errorf(exit.Findings, "what is live does not compile here: this command is of another version than the control plane, or a law file has changed (next: domicile version, domicile status)")
	}
	return nil
}

func (s *Side) compile(in release.Input, at time.Time) {
	s.FS = in.FS
	in.At, in.TableOnly = at, true
	s.Release = release.Build(in)
}

// against finds the other side: what --against names, else what is live if a
// control plane is named, else what is checked in.
func (o *options) against(s *session.Session, cmd *cobra.Command, dir string, at time.Time) (*Side, error) {
	where, ctx := o.other, cmd.Context()
	if where == "" {
		switch _, err := gogit.Open(dir); {
		case o.Control != "" || o.Dir != "" || s.Getenv("DOMICILE_CONTROL") != "":
			where = "live"
		case err == nil:
			where = "git#HEAD"
		default:
			return nil, session.Usage(cmd, "what to compare with is not named: use --against live, --against DIR or --against git#REF")
		}
	}
	if where == "live" {
		c, err := s.Client(cmd, o.Access)
		if err != nil {
			return nil, err
		}
		live, err := Live(ctx, c, at)
		if err == nil {
			err = live.Comparable()
		}
		return live, err
	}
	out := &Side{Name: where, Place: show.Place{Dir: where, Lang: s.Lang()}}
	if ref, ok := strings.CutPrefix(where, "git#"); ok {
		fsys, err := atCommit(ctx, dir, ref)
		if err != nil {
			return nil, err
		}
		out.compile(release.Input{FS: fsys}, at)
	} else {
		if info, err := os.Stat(where); err != nil || !info.IsDir() {
			return nil, exit.Errorf(exit.Usage, "--against %s: neither live nor git#REF nor a directory that can be opened", where)
		}
		out.compile(release.Input{FS: os.DirFS(where)}, at)
	}
	if out.Result == nil {
		out.Text(s.Err, errorsOf(out.Problems))
		return nil, exit.Errorf(exit.Findings, "%s does not compile, so that nothing can be compared with it", where)
	}
	return out, nil
}

func atCommit(ctx context.Context, dir, ref string) (fs.FS, error) {
	checkout, err := gogit.Open(dir)
	if errors.Is(err, gogit.ErrNoRepository) {
		return nil, exit.Errorf(exit.Usage, "--against git#%s: %w", ref, err)
	}
	if err != nil {
		return nil, err
	}
	fsys, _, err := checkout.At(ctx, ref)
	if err != nil {
		return nil, exit.Errorf(exit.Usage, "--against git#%s: %w", ref, err)
	}
	return fsys, nil
}

func errorsOf(problems []policy.Problem) []policy.Problem {
	var out []policy.Problem
	for _, p := range problems {
		if p.Severity == policy.Error {
			out = append(out, p)
		}
	}
	return out
}

// Check judges a saved plan against what is live: it may be applied only if that
// is what it was made against, and if it still says the same.
func Check(p *planfile.Plan, b *bundle.Bundle, live *Side, at time.Time) error {
	if p.Base.Sequence != live.Base.Sequence || p.Base.Bundle != live.Base.Bundle {
		return exit.Errorf(exit.Stale, "the plan was made against sequence %d, and sequence %d is live (next: domicile plan again)", p.Base.Sequence, live.Base.Sequence)
	}
	now := &Side{}
	now.compile(release.Of(b), at)
	if now.Result == nil {
		return exit.Errorf(exit.Findings, "the planned policy no longer compiles: %s (next: domicile lint, domicile plan again)", first(now.Problems))
	}
	report := compare(live, now)
	if now.Table.Digest() != p.Table || !same(report, p.Report) {
		if live.Base.Table == p.Base.Table && now.Table.Digest() == p.Table {
			return exit.Errorf(exit.Stale, "%w", planfile.ErrEdited)
		}
		return exit.Errorf(exit.Stale, "the plan means something else by now: a date has passed since it was made (next: domicile plan again)")
	}
	return nil
}

func first(problems []policy.Problem) string {
	for _, p := range errorsOf(problems) {
		return fmt.Sprintf("%s %s", p.Code, p.Message)
	}
	return "no reason given"
}
