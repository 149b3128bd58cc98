// Package change is the commands that change which policy is in force, and the
// history of those changes: apply, rollback, deny and history.
//
// What changes is compared with what is live and shown before anything is sent.
// The control plane checks it all once more and changes all or nothing.
package change

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/user"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/domicile-dev/domicile/pkg/approval"
	"github.com/domicile-dev/domicile/pkg/cli/compare"
	"github.com/domicile-dev/domicile/pkg/cli/exit"
	"github.com/domicile-dev/domicile/pkg/cli/planfile"
	"github.com/domicile-dev/domicile/pkg/cli/remote"
	"github.com/domicile-dev/domicile/pkg/cli/session"
	"github.com/domicile-dev/domicile/pkg/cli/show"
	"github.com/domicile-dev/domicile/pkg/cli/sign"
	"github.com/domicile-dev/domicile/pkg/control"
	"github.com/domicile-dev/domicile/pkg/leakcheck"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/policytest"
	"github.com/domicile-dev/domicile/pkg/release"
	"github.com/domicile-dev/domicile/pkg/store"
)

// Output writes what lint and test found, as those commands do.
type Output struct {
	Lint func(*session.Local) error
	Test func(*session.Local, policytest.Report) error
}

type commands struct {
	*session.Session
	Output
}

// Commands returns the commands.
func Commands(s *session.Session, o Output) []*cobra.Command {
	a := &commands{s, o}
	return []*cobra.Command{a.applyCommand(), a.rollbackCommand(), a.denyCommand(), a.historyCommand()}
}

// changed is the answer to a change.
type changed struct {
	session.Versioned
	control.Outcome
	Proxies *control.Spread `json:"proxies,omitempty"`
}

// by is who changes the policy, why, and how long to wait for the proxies.
type by struct {
	author, message, commit, key string
	wait                         time.Duration
}

func (b *by) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&b.author, "author", "", "who makes the change (default $DOMICILE_AUTHOR, else $USER; over mTLS the certificate says it)")
	f.StringVarP(&b.message, "message", "m", "", "why, for the history")
	f.StringVar(&b.commit, "commit", "", "git commit of the policy directory, for the history")
	f.StringVar(&b.key, "signing-key", "", "sign with this private key (PEM `file`, mode 0600), where the deployment lists signers")
	f.DurationVar(&b.wait, "wait", 0, "wait until the connected proxies run it, at most this long")
}

func (b *by) query(a *commands) url.Values {
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

func (a *commands) applyCommand() *cobra.Command {
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
	cmd.RunE = a.Run(func(cmd *cobra.Command, args []string) error { return a.apply(cmd, r, b, base, args[0]) })
	return cmd
}

// apply makes a directory or a saved plan the policy in force.
func (a *commands) apply(cmd *cobra.Command, r session.Access, b by, base int64, path string) error {
	c, err := a.Client(cmd, r)
	if err != nil {
		return err
	}
	l, saved, err := a.applied(cmd, path)
	if err != nil {
		return err
	}
	live, err := compare.Live(cmd.Context(), c, l.At)
	if err != nil {
		return err
	}
	if saved == nil && b.commit == "" {
		b.commit = compare.Commit(cmd.Context(), a.Session, l, path)
	}
	uncertain := live.Comparable()
	switch {
	case saved != nil && uncertain != nil:
		return uncertain
	case saved != nil:
		if err := compare.Check(saved, l.Bundle, live, l.At); err != nil {
			return err
		}
		b.commit, b.message = cmp.Or(b.commit, saved.GitCommit), cmp.Or(b.message, saved.Message)
	case uncertain == nil:
		if l, err = compare.Carry(a.Session, cmd, l, live); err != nil {
			return err
		}
	}
	if base >= 0 && uint64(base) != live.Base.Sequence && saved == nil {
		live.Base.Sequence = uint64(base) // the control plane will say that it is stale
	}
	if uncertain != nil { // what is in force must not stand in the way of its replacement
		fmt.Fprintf(a.Err, "warning: nothing is compared: %v\n", uncertain)
	} else {
		compare.Between(live, l).Brief(a.Err, a.Lang())
	}
	envelope, err := b.envelope(cmd.Context(), saved, sign.Change{
		Deployment: live.Deployment(l), Action: approval.Apply, Base: live.Base, Bundle: l.Bundle.Digest(), Message: b.message, GitCommit: b.commit, At: l.At,
	})
	if err != nil {
		return err
	}
	q := b.query(a)
	q.Set("base", strconv.FormatUint(live.Base.Sequence, 10))
	q.Set("digest", l.Bundle.Digest())
	fmt.Fprintf(a.Err, "sending bundle %s on top of sequence %d\n", show.Short(l.Bundle.Digest()), live.Base.Sequence)
	return a.change(cmd, c, "v1/apply", q, l.Bundle.Archive(), l.Place, b.wait, envelope)
}

// envelope is the signatures that go with a change: those of a saved plan, and
// that of --signing-key.
func (b *by) envelope(ctx context.Context, saved *planfile.Plan, c sign.Change) ([]byte, error) {
	if saved == nil {
		return sign.Sign(ctx, c, b.key)
	}
	if b.key != "" {
		k, err := sign.ReadKey(b.key)
		if err != nil {
			return nil, err
		}
		if err := sign.Plan(ctx, saved, k, sign.Valid); err != nil {
			return nil, err
		}
	}
	if string(saved.Envelope) == "null" {
		return nil, nil
	}
	// As it was signed, without the spaces of its file.
	var out bytes.Buffer
	err := json.Compact(&out, saved.Envelope)
	return out.Bytes(), err
}

// applied is what apply is about: a directory, or the policy of a saved plan.
func (a *commands) applied(cmd *cobra.Command, path string) (*session.Local, *planfile.Plan, error) {
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
	l, err := a.JudgeBundle(cmd, b, path, session.Judged{Strict: true})
	if err == nil {
		err = a.checked(l)
	}
	return l, saved, err
}

// checked is the error for a policy that does not pass lint, tests and leak
// check; what was found is printed.
func (a *commands) checked(l *session.Local) error {
	if !l.Good() {
		if err := a.Lint(l); err != nil {
			return err
		}
		return exit.Errorf(exit.Findings, "%s has errors; nothing was sent", l.Dir)
	}
	report := release.Tests(l.Release, l.At)
	if len(report.Cases) == 0 {
		fmt.Fprintln(a.Err, "warning: no policy tests: nothing guards this policy")
	}
	if !report.OK() {
		if err := a.Test(l, report); err != nil {
			return err
		}
		return exit.Errorf(exit.Findings, "policy tests of %s fail; nothing was sent", l.Dir)
	}
	fmt.Fprintf(a.Err, "checked %s: %s, %s passed, no leak in %s\n", l.Dir,
		show.Count(len(l.Set.Files), "file"), show.Count(report.Passed, "test"), show.Count(len(l.Nodes), "Envoy configuration"))
	return nil
}

func (a *commands) rollbackCommand() *cobra.Command {
	var (
		r   session.Access
		b   by
		out string
	)
	cmd := &cobra.Command{
		Use:   "rollback [SEQUENCE]",
		Short: "Put an earlier policy in force again, under a new sequence",
		Long: `Put the content of an earlier sequence in force again, under a new sequence; the
history stays complete. Without SEQUENCE it is the one before the present one.
The policy is checked like any change: what has lapsed since does not come back,
and what it loosens needs the approvals that any loosening needs. Where more than
one person has to sign, --out saves it as a plan to approve and apply.

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
	cmd.Flags().StringVarP(&out, "out", "o", "", "save it as a plan in this `file` instead, to be approved")
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
		live, err := compare.Live(cmd.Context(), c, a.Now()) // who does not answer this is unreachable
		switch {
		case err != nil:
			return err
		case len(args) == 0 && live.Connected && live.Base.Sequence == 0:
			return exit.Errorf(exit.Findings, "no policy was ever applied: there is nothing to roll back")
		case len(args) == 0 && live.Connected && live.Base.Sequence == 1:
			return exit.Errorf(exit.Findings, "sequence 1 is the first: there is nothing before it to roll back to")
		}
		old, record, err := a.earlier(cmd, c, live, args)
		if err == nil {
			err = live.Comparable()
		}
		switch {
		case err != nil && (out != "" || b.key != ""):
			return err
		case err != nil: // the control plane judges it; what cannot be shown must not stand in the way
			fmt.Fprintf(a.Err, "warning: nothing is compared: %s\n", show.Line(err.Error()))
			return a.change(cmd, c, "v1/rollback", q, []byte{}, show.Place{Lang: a.Lang()}, b.wait, nil)
		case out != "":
			return a.savePlan(old, live, out, fmt.Sprintf("rollback to sequence %d: %s", record.Sequence, b.message))
		}
		compare.Between(live, old).Brief(a.Err, a.Lang())
		envelope, err := sign.Sign(cmd.Context(), sign.Change{
			Deployment: live.Deployment(old), Action: approval.Rollback, Base: live.Base, Bundle: record.Bundle, Message: b.message, GitCommit: record.GitCommit, At: a.Now(),
		}, b.key)
		if err != nil {
			return err
		}
		return a.change(cmd, c, "v1/rollback", q, []byte{}, show.Place{Lang: a.Lang()}, b.wait, envelope)
	})
	return cmd
}

// change asks for a change and shows what became of it.
func (a *commands) change(cmd *cobra.Command, c *remote.Client, path string, q url.Values, body []byte, p show.Place, wait time.Duration, envelope []byte) error {
	data, err := c.Call(cmd.Context(), session.ChangeTime+wait, path, q, body, envelope...)
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
func (a *commands) showRejected(no *remote.Rejected, p show.Place) error {
	v := struct {
		session.Versioned
		Problems []show.Problem      `json:"problems"`
		Leaks    []leakcheck.Finding `json:"leaks"`
		Tests    *policytest.Report  `json:"tests,omitempty"`
		Error    string              `json:"error,omitempty"`
	}{session.V1(), p.JSON(no.Problems), no.Leaks, no.Tests, no.Cause}
	return a.Emit(v, func(w io.Writer) {
		p.Text(w, append(append([]policy.Problem{}, no.Problems...), show.LeakProblems(no.Leaks)...))
		if no.Tests != nil {
			no.Tests.Text(show.Cleaner{W: w}, p.Lang)
		}
	})
}

func (a *commands) historyCommand() *cobra.Command {
	var (
		r     session.Access
		limit int
	)
	cmd := &cobra.Command{
		Use:   "history",
		Short: "List the policies that were in force, newest first",
		Long: `List the policies that were in force, newest first: sequence, when, by whom, the
digest of what they mean (table) and of their files (bundle), the git commit, who
approved it in which roles, how many combinations it loosened (!) and tightened
(+), whether it changed the signers or approvals, and why.`,
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

func (a *commands) historyText(w io.Writer, records []store.Record) {
	if len(records) == 0 {
		fmt.Fprintln(w, "No policy was ever applied.")
		return
	}
	t := show.NewTable("SEQUENCE", "APPLIED", "AUTHOR", "TABLE", "BUNDLE", "COMMIT", "APPROVED BY", "CHANGES", "MESSAGE")
	for _, r := range records {
		message := r.Message
		if r.Denial {
			message = "(denial) " + message
		}
		if r.RollbackOf != 0 {
			message = fmt.Sprintf("(rollback to %d) %s", r.RollbackOf, message)
		}
		when := fmt.Sprintf("%s (%s ago)", r.At.UTC().Format("2006-01-02T15:04:05Z"), a.Age(r.At))
		t.Row(strconv.FormatUint(r.Sequence, 10), when, show.OrDash(r.Author), show.Digest(r.Table), show.Digest(r.Bundle), show.OrDash(fmt.Sprintf("%.12s", r.GitCommit)), show.OrDash(r.ApprovedBy), counts(r), message)
	}
	t.Write(w)
}

// counts are how many combinations a change loosened and tightened.
func counts(r store.Record) string {
	out := fmt.Sprintf("!%d +%d", r.Loosened, r.Tightened)
	switch {
	case r.Governance:
		return out + " signers"
	case r.Loosened == 0 && r.Tightened == 0:
		return "-"
	}
	return out
}
