package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/user"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/domicile-dev/domicile/pkg/cli/compare"
	"github.com/domicile-dev/domicile/pkg/cli/exit"
	"github.com/domicile-dev/domicile/pkg/cli/planfile"
	"github.com/domicile-dev/domicile/pkg/cli/remote"
	"github.com/domicile-dev/domicile/pkg/cli/session"
	"github.com/domicile-dev/domicile/pkg/cli/show"
	"github.com/domicile-dev/domicile/pkg/control"
	"github.com/domicile-dev/domicile/pkg/leakcheck"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/policytest"
	"github.com/domicile-dev/domicile/pkg/store"
)

// changed is the answer to a change.
type changed struct {
	session.Versioned
	control.Outcome
	Proxies *control.Spread `json:"proxies,omitempty"`
}

// by is who changes the policy, why, and how long to wait for the proxies.
type by struct {
	author, message, commit string
	wait                    time.Duration
}

func (b *by) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&b.author, "author", "", "who makes the change (default $DOMICILE_AUTHOR, else $USER; over mTLS the certificate says it)")
	f.StringVarP(&b.message, "message", "m", "", "why, for the history")
	f.StringVar(&b.commit, "commit", "", "git commit of the policy directory, for the history")
	f.DurationVar(&b.wait, "wait", 0, "wait until the connected proxies run it, at most this long")
}

func (b *by) query(a *app) url.Values {
	author := cmp.Or(b.author, a.Getenv("DOMICILE_AUTHOR"), a.Getenv("USER"))
	if u, err := user.Current(); err == nil && author == "" {
		author = u.Username
	}
	q := url.Values{"author": {author}}
	if b.message != "" {
		q.Set("message", b.message)
	}
	if b.commit != "" {
		q.Set("commit", b.commit)
	}
	if b.wait > 0 {
		q.Set("wait", b.wait.String())
	}
	return q
}

func (a *app) applyCommand() *cobra.Command {
	var (
		r    session.Access
		b    by
		base int64
	)
	cmd := &cobra.Command{
		Use:   "apply DIR|PLAN",
		Short: "Check a policy directory and make it the policy in force",
		Long: `Check a policy directory like lint and test do, leak check included, and make it
the policy in force. Nothing is sent when anything is found; the control plane
checks it once more and publishes all or nothing.

What it changes is printed first, as domicile plan does. PLAN is a file that
domicile plan --out has saved: exactly that is applied, and refused with exit code 6
when another policy is live by now.

If somebody else changes the policy between the reading of the present one and
the write, nothing is changed and the exit code is 6. With --base the change is
made only on top of that sequence. Applying what is in force already records
nothing.

With --wait the exit code is 1 when a connected proxy does not run it in time; the
policy is in force all the same. A directory without policy tests is applied with
a warning, where domicile test fails.`,
		Example: `  domicile apply policies --control https://control.example.com:8443 \
    --cert me.pem --key me-key.pem --ca ca.pem -m "TR: messages stay home"
  domicile apply policies --dir /tmp/demo --wait 5s
  domicile apply change.plan --dir /tmp/demo`,
		Args: session.Args("DIR|PLAN"),
	}
	r.Flags(cmd)
	b.flags(cmd)
	cmd.Flags().Int64Var(&base, "base", -1, "`sequence` that this change is made on top of (default: the present one)")
	cmd.Flags().Lookup("base").DefValue = "0" // or help would say "default -1"
	cmd.RunE = a.Run(func(cmd *cobra.Command, args []string) error {
		c, err := a.Client(cmd, r)
		if err != nil {
			return err
		}
		l, saved, err := a.applied(cmd, args[0])
		if err != nil {
			return err
		}
		live, err := compare.Live(cmd.Context(), c, l.At)
		if err != nil {
			return err
		}
		uncertain := live.Comparable()
		if saved != nil && uncertain != nil {
			return uncertain
		}
		if saved != nil {
			if err := compare.Check(saved, l.Bundle, live, l.At); err != nil {
				return err
			}
			b.commit, b.message = cmp.Or(b.commit, saved.GitCommit), cmp.Or(b.message, saved.Message)
		}
		q := b.query(a)
		if base < 0 {
			base = int64(live.Base.Sequence)
		}
		q.Set("base", strconv.FormatInt(base, 10))
		q.Set("digest", l.Bundle.Digest())
		if uncertain != nil { // what is in force must not stand in the way of its replacement
			fmt.Fprintf(a.Err, "warning: nothing is compared: %v\n", uncertain)
		} else {
			compare.Between(live, l).Brief(a.Err, a.Lang())
		}
		fmt.Fprintf(a.Err, "sending bundle %s on top of sequence %d\n", show.Short(l.Bundle.Digest()), base)
		return a.change(cmd, c, "v1/apply", q, l.Bundle.Archive(), l.Place, b.wait)
	})
	return cmd
}

// applied is what apply is about: a directory, or the policy of a saved plan.
func (a *app) applied(cmd *cobra.Command, path string) (*session.Local, *planfile.Plan, error) {
	if info, err := os.Stat(path); err != nil || info.IsDir() {
		l, err := a.Read(cmd, path, session.Judged{Strict: true})
		if err == nil {
			err = a.checked(l)
		}
		return l, nil, err
	}
	saved, b, err := planfile.Read(path)
	switch {
	case errors.Is(err, os.ErrPermission), errors.Is(err, os.ErrNotExist):
		return nil, nil, exit.Errorf(exit.Usage, "%w", err)
	case errors.Is(err, planfile.ErrEdited):
		return nil, nil, exit.Errorf(exit.Stale, "%w (next: domicile plan again)", err)
	case err != nil:
		return nil, nil, exit.Errorf(exit.Findings, "%w", err)
	}
	l, err := a.Judge(cmd, b.FS(), path, session.Judged{Strict: true})
	if err == nil {
		err = a.checked(l)
	}
	return l, saved, err
}

// checked is the error for a policy that does not pass lint, tests and leak
// check; what was found is printed.
func (a *app) checked(l *session.Local) error {
	if !l.Good() {
		if err := a.lintOutput(l); err != nil {
			return err
		}
		return exit.Errorf(exit.Findings, "%s has errors; nothing was sent", l.Dir)
	}
	report := policytest.Run(l.Set, l.Table)
	if len(report.Cases) == 0 {
		fmt.Fprintln(a.Err, "warning: no policy tests: nothing guards this policy")
	}
	if !report.OK() {
		if err := a.testOutput(l, report); err != nil {
			return err
		}
		return exit.Errorf(exit.Findings, "policy tests of %s fail; nothing was sent", l.Dir)
	}
	fmt.Fprintf(a.Err, "checked %s: %s, %s passed, no leak in %s\n", l.Dir,
		show.Count(len(l.Set.Files), "file"), show.Count(report.Passed, "test"), show.Count(len(l.Nodes), "Envoy configuration"))
	return nil
}

func (a *app) rollbackCommand() *cobra.Command {
	var (
		r session.Access
		b by
	)
	cmd := &cobra.Command{
		Use:   "rollback [SEQUENCE]",
		Short: "Put an earlier policy in force again, under a new sequence",
		Long: `Put the content of an earlier sequence in force again, under a new sequence; the
history stays complete. Without SEQUENCE it is the one before the present one.
The policy is checked like any change: what has lapsed since does not come back.

With --wait the exit code is 1 when a connected proxy does not run it in time; the
policy is in force all the same.`,
		Example: `  domicile rollback --control https://control.example.com:8443
  domicile rollback 17 --dir /tmp/demo -m "18 refuses logins"`,
		Args: func(cmd *cobra.Command, got []string) error {
			if len(got) > 1 {
				return session.Usage(cmd, "unexpected argument %q", got[1])
			}
			return nil
		},
	}
	r.Flags(cmd)
	b.flags(cmd)
	cmd.RunE = a.Run(func(cmd *cobra.Command, args []string) error {
		q := b.query(a)
		if len(args) == 1 {
			n, err := strconv.ParseUint(args[0], 10, 63)
			if err != nil || n == 0 {
				return session.Usage(cmd, "%q is no sequence; domicile history lists them", args[0])
			}
			q.Set("to", args[0])
		}
		c, err := a.Client(cmd, r)
		if err != nil {
			return err
		}
		s, err := c.Status(cmd.Context()) // who does not answer this is unreachable
		switch {
		case err != nil:
			return err
		case len(args) == 0 && s.Store.Connected && s.Store.Sequence == 0:
			return exit.Errorf(exit.Findings, "no policy was ever applied: there is nothing to roll back")
		case len(args) == 0 && s.Store.Connected && s.Store.Sequence == 1:
			return exit.Errorf(exit.Findings, "sequence 1 is the first: there is nothing before it to roll back to")
		}
		return a.change(cmd, c, "v1/rollback", q, []byte{}, show.Place{Lang: a.Lang()}, b.wait)
	})
	return cmd
}

// change asks for a change and shows what became of it.
func (a *app) change(cmd *cobra.Command, c *remote.Client, path string, q url.Values, body []byte, p show.Place, wait time.Duration) error {
	data, err := c.Call(cmd.Context(), session.ChangeTime+wait, path, q, body)
	var no *remote.Rejected
	if errors.As(err, &no) {
		if err := a.showRejected(no, p); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	out := changed{Versioned: session.V1()}
	if err := c.Decode(data, &out); err != nil {
		return err
	}
	p.Text(a.Err, out.Warnings)
	err = a.Emit(out, func(w io.Writer) {
		switch {
		case out.Unchanged:
			fmt.Fprintf(w, "Unchanged: sequence %d holds this bundle already.\n", out.Sequence)
		case out.RollbackOf != 0:
			fmt.Fprintf(w, "Rolled back to the content of sequence %d, as sequence %d.\n", out.RollbackOf, out.Sequence)
		default:
			fmt.Fprintf(w, "Applied as sequence %d.\n", out.Sequence)
		}
		fmt.Fprintf(w, "  table   %s\n  bundle  %s\n", out.Table, out.Bundle)
		if s := out.Proxies; s != nil {
			fmt.Fprintf(w, "  proxies %d run it, %d do not yet\n", s.Synced, s.Pending)
		}
	})
	if s := out.Proxies; err == nil && s != nil && s.Pending > 0 {
		return exit.Errorf(exit.Findings, "%s not run it after %s; it is in force all the same (next: domicile status names them)", pending(s.Pending), wait)
	}
	return err
}

func pending(n int) string {
	if n == 1 {
		return "1 connected proxy does"
	}
	return fmt.Sprintf("%d connected proxies do", n)
}

// showRejected prints why a change was rejected, as a result.
func (a *app) showRejected(no *remote.Rejected, p show.Place) error {
	v := struct {
		session.Versioned
		Problems []show.Problem      `json:"problems"`
		Leaks    []leakcheck.Finding `json:"leaks"`
		Tests    *policytest.Report  `json:"tests,omitempty"`
		Error    string              `json:"error,omitempty"`
	}{session.V1(), p.JSON(no.Problems), no.Leaks, no.Tests, no.Cause}
	return a.Emit(v, func(w io.Writer) {
		p.Text(w, append(append([]policy.Problem{}, no.Problems...), leakProblems(no.Leaks)...))
		if no.Tests != nil {
			no.Tests.Text(cleaner{w}, p.Lang)
		}
	})
}

func (a *app) historyCommand() *cobra.Command {
	var (
		r     session.Access
		limit int
	)
	cmd := &cobra.Command{
		Use:   "history",
		Short: "List the policies that were in force, newest first",
		Long: `List the policies that were in force, newest first: sequence, when, by whom, the
digest of what they mean (table) and of their files (bundle), and why.`,
		Example: `  domicile history --dir /tmp/demo
  domicile history --limit 100 --output json --control https://control.example.com:8443`,
		Args: session.Args(),
	}
	r.Flags(cmd)
	cmd.Flags().IntVar(&limit, "limit", 20, "how many, 1 to 1000")
	cmd.RunE = a.Run(func(cmd *cobra.Command, _ []string) error {
		if limit < 1 || limit > 1000 {
			return session.Usage(cmd, "--limit %d is not between 1 and 1000", limit)
		}
		c, err := a.Client(cmd, r)
		if err != nil {
			return err
		}
		records := []store.Record{}
		if err := c.Ask(cmd.Context(), "v1/history", url.Values{"limit": {strconv.Itoa(limit)}}, &records); err != nil {
			return err
		}
		v := struct {
			session.Versioned
			Records []store.Record `json:"records"`
		}{session.V1(), records}
		return a.Emit(v, func(w io.Writer) { a.historyText(w, records) })
	})
	return cmd
}

func (a *app) historyText(w io.Writer, records []store.Record) {
	if len(records) == 0 {
		fmt.Fprintln(w, "No policy was ever applied.")
		return
	}
	t := show.NewTable("SEQUENCE", "APPLIED", "AUTHOR", "TABLE", "BUNDLE", "MESSAGE")
	for _, r := range records {
		message := r.Message
		if r.RollbackOf != 0 {
			message = fmt.Sprintf("(rollback to %d) %s", r.RollbackOf, message)
		}
		when := fmt.Sprintf("%s (%s ago)", r.At.UTC().Format("2006-01-02T15:04:05Z"), a.Age(r.At))
		t.Row(strconv.FormatUint(r.Sequence, 10), when, orDash(r.Author), show.Digest(r.Table), show.Digest(r.Bundle), message)
	}
	t.Write(w)
}
