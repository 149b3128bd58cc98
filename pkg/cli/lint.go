package cli

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/domicile-dev/domicile/pkg/cli/exit"
	"github.com/domicile-dev/domicile/pkg/cli/mend"
	"github.com/domicile-dev/domicile/pkg/cli/sarif"
	"github.com/domicile-dev/domicile/pkg/cli/session"
	"github.com/domicile-dev/domicile/pkg/cli/show"
	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/leakcheck"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/version"
)

type lintResult struct {
	session.Versioned
	Problems []show.Problem `json:"problems"`
	// Suppressed are the warnings that comments in the files hide.
	Suppressed []show.Suppressed   `json:"suppressed"`
	Leaks      []leakcheck.Finding `json:"leaks"`
	Errors     int                 `json:"errors"`
	Warnings   int                 `json:"warnings"`
	Fixable    int                 `json:"fixable"`
	Fixed      *mend.Done          `json:"fixed,omitempty"` // by --fix
	Files      int                 `json:"files"`
	Rules      int                 `json:"rules"`            // of all jurisdictions that could be read
	Table      string              `json:"table,omitempty"`  // digest of what the files mean
	Bundle     string              `json:"bundle,omitempty"` // digest of the files
}

func (a *app) lintCommand() *cobra.Command {
	var (
		j         session.Judged
		fix, diff bool
		failOn    string
		exitZero  bool
	)
	cmd := &cobra.Command{
		Use:   "lint DIR",
		Short: "Check a policy directory and report every problem at once",
		Long: `Check a policy directory the way the control plane does: read it strictly,
compile it, make every Envoy's configuration of it, and prove that no route in it
leaves the regions that the policy allows. Every problem is reported at once,
with file, line, column, a stable code and what to do.

With --fix it first mends what a program may mend, marked [--fix]: the layout, quotes
around codes, and names of fields that are misspelt in one way only. That changes no
decision: where the files compiled, what they decide has the same digest after. All
files are written, or none; --diff shows the changes instead.

Warnings do not change the exit code, unless --fail-on warning says so. Transfers
that have lapsed are errors here: new work must not rely on them. With --exit-zero
findings leave the exit code at 0, for steps that only upload them.`,
		Example: `  domicile lint policies
  domicile lint policies --fail-on warning
  domicile lint policies --output sarif --exit-zero >domicile.sarif
  domicile lint policies --output json | jq '.problems[] | {file, line, code}'`,
		Args: session.Args("DIR"), ValidArgsFunction: session.Directories,
	}
	j.Flags(cmd)
	cmd.Flags().BoolVar(&fix, "fix", false, "mend what changes no decision, then check")
	cmd.Flags().BoolVar(&diff, "diff", false, "with --fix: write nothing, show what would change, and check what is there")
	cmd.Flags().StringVar(&failOn, "fail-on", "error", "the least severity that makes the exit code 1: error or warning")
	cmd.Flags().BoolVar(&exitZero, "exit-zero", false, "exit with 0 whatever is found")
	session.Complete(cmd, "fail-on", func(*cobra.Command) []string { return []string{"error", "warning"} })
	session.Forms(cmd, "sarif", "github", "junit")
	cmd.RunE = a.Run(func(cmd *cobra.Command, args []string) error {
		switch {
		case failOn != "error" && failOn != "warning":
			return session.Usage(cmd, "--fail-on %q is not one of error, warning", failOn)
		case diff && !fix:
			return session.Usage(cmd, "--diff goes with --fix")
		}
		j.Strict = true
		var done *mend.Done
		if fix {
			var err error
			if done, err = mend.Run(a.Session, cmd, args[0], j, diff); err != nil {
				return err
			}
		}
		l, err := a.Read(cmd, args[0], j)
		if err != nil {
			return err
		}
		if err := a.lintReport(l, done); err != nil {
			return err
		}
		if found := !l.Good() || failOn == "warning" && len(l.Problems) > 0; found && !exitZero {
			return exit.Silent(exit.Findings)
		}
		return nil
	})
	return cmd
}

func (a *app) lintOutput(l *session.Local) error { return a.lintReport(l, nil) }

// lintReport writes what was found, after what was mended.
func (a *app) lintReport(l *session.Local, done *mend.Done) error {
	all := slices.Concat(l.Problems, show.LeakProblems(l.Leaks))
	switch a.Output {
	case "sarif":
		var findings []sarif.Finding
		for _, q := range all {
			findings = append(findings, sarif.Finding{
				File: l.Shown(q.File), Line: q.Line, Column: q.Column, Code: q.Code,
				Error: q.Severity == policy.Error, Key: q.Message.En, Message: show.Remedied(q).In(l.Lang),
			})
		}
		return sarif.Write(a.Out, version.String(), findings)
	case "github":
		l.GitHub(a.Out, all)
		return nil
	case "junit":
		return show.WriteJUnit(a.Out, l.JUnit(all))
	}
	r := lintResult{Versioned: session.V1(), Problems: l.JSON(l.Problems), Suppressed: l.HiddenJSON(l.Suppressed), Leaks: l.Leaks, Fixed: done}
	if r.Leaks == nil {
		r.Leaks = []leakcheck.Finding{}
	}
	for _, q := range all {
		if q.Fixable() {
			r.Fixable++
		}
		if q.Severity == policy.Error {
			r.Errors++
		} else {
			r.Warnings++
		}
	}
	if l.Set != nil {
		r.Files = len(l.Set.Files)
		for _, j := range l.Set.Jurisdictions {
			r.Rules += len(j.Rules)
		}
	}
	if l.Good() {
		r.Table, r.Bundle = l.Table.Digest(), l.Bundle.Digest()
	}
	return a.Emit(r, func(w io.Writer) {
		done.Text(w, l.Lang)
		l.Text(w, all)
		fmt.Fprint(w, lang.T("Checked %[1]s, %[2]s: %[3]s, %[4]s.",
			show.CountText(r.Files, "file"), show.CountText(r.Rules, "rule"), show.CountText(r.Errors, "error"), show.CountText(r.Warnings, "warning")).In(l.Lang))
		if n := len(r.Suppressed); n > 0 {
			fmt.Fprint(w, lang.T(" Hidden by comments: %s.", show.CountText(n, "warning")).In(l.Lang))
		}
		if l.Good() {
			fmt.Fprint(w, lang.T(" No leak in %s.", show.CountText(len(l.Nodes), "Envoy configuration")).In(l.Lang))
		}
		fmt.Fprintln(w)
		if r.Fixable > 0 {
			fmt.Fprintln(w, lang.T("%d fixable: domicile lint --fix", r.Fixable).In(l.Lang))
		}
		if len(all) > 0 {
			fmt.Fprintln(w, lang.T("What a code means: domicile explain-code %s", all[0].Code).In(l.Lang))
		}
	})
}

// ShowPolicy writes what keeps a policy directory from being published, for
// commands of other packages. Dir is its path as people typed it.
func ShowPolicy(w io.Writer, dir string, fsys fs.FS, problems []policy.Problem, leaks []leakcheck.Finding) {
	l := &session.Local{Place: show.Place{FS: fsys, Lang: lang.Environment(os.Getenv)}}
	if dir != "" {
		l.Dir = session.ShownDir(dir)
	}
	errs := slices.DeleteFunc(slices.Clone(problems), func(q policy.Problem) bool { return q.Severity != policy.Error })
	l.Text(w, append(errs, show.LeakProblems(leaks)...))
}
