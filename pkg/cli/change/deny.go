package change

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/domicile-dev/domicile/pkg/approval"
	"github.com/domicile-dev/domicile/pkg/cli/compare"
	"github.com/domicile-dev/domicile/pkg/cli/exit"
	"github.com/domicile-dev/domicile/pkg/cli/session"
	"github.com/domicile-dev/domicile/pkg/cli/show"
	"github.com/domicile-dev/domicile/pkg/cli/sign"
	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/release"
)

func (a *commands) denyCommand() *cobra.Command {
	var (
		r            session.Access
		b            by
		d            policy.Denial
		lift         bool
		reason, home string
	)
	cmd := &cobra.Command{
		Use:   "deny --home H [--class C]",
		Short: "Pull the emergency brake: forbid a home's class at once",
		Long: `Forbid a class of a home, or all of them, whatever the rules say. It takes effect
like any policy, within milliseconds, closes open streams, and can only tighten: the
control plane refuses a denial that lets anything out. Where the deployment lists
signers, one signature of an emergencyDeny role is enough.

The brake holds until it is lifted: apply and rollback carry it over. Lifting it
(--lift) loosens the policy, and needs the approvals that loosening needs.`,
		Example: `  domicile deny --home SA --class message --reason "INC-31" --dir /tmp/demo
  domicile deny --home SA --reason "court order 7" --signing-key oncall.key --control https://control.example.com:8443
  domicile deny --lift --home SA --class message --reason "INC-31 is over" --dir /tmp/demo`,
		Args: session.Args(),
	}
	r.Flags(cmd)
	b.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&home, "home", "", "home jurisdiction, such as SA")
	f.StringVar(&d.Class, "class", "", "data class; all of them without it")
	f.StringVar(&reason, "reason", "", "why; it stands in the policy and in the history")
	f.BoolVar(&lift, "lift", false, "lift the denial again")
	cmd.RunE = a.Run(func(cmd *cobra.Command, _ []string) error {
		d.Home, d.Reason = home, cmp.Or(reason, b.message)
		for _, need := range []struct{ flag, value string }{{"--home", d.Home}, {"--reason", d.Reason}} {
			if need.value == "" {
				return session.Usage(cmd, "%s is missing", need.flag)
			}
		}
		return a.deny(cmd, r, b, d, lift)
	})
	return cmd
}

// deny pulls or lifts the brake on what is live.
func (a *commands) deny(cmd *cobra.Command, r session.Access, b by, d policy.Denial, lift bool) error {
	c, err := a.Client(cmd, r)
	if err != nil {
		return err
	}
	live, err := compare.Live(cmd.Context(), c, a.Now())
	if err != nil {
		return err
	}
	present, err := c.Bundle(cmd.Context())
	if err != nil {
		return err
	}
	q := b.query(a)
	d.By, d.At = q.Get("author"), a.Now().UTC().Truncate(time.Second)
	denials := live.Denials()
	action := approval.Deny
	if lift {
		if !release.Denied(denials, d) {
			return exit.Errorf(exit.Findings, "%s is not denied (denied are: %s)", name(d), list(denials))
		}
		denials = slices.DeleteFunc(slices.Clone(denials), func(x policy.Denial) bool { return x.Home == d.Home && x.Class == d.Class })
		action = approval.Apply
		q.Set("lift", "true")
	} else {
		denials = release.Union(denials, []policy.Denial{d})
		q.Set("action", "deny")
	}
	next, err := release.WithDenials(present, denials)
	if err != nil {
		return err
	}
	l, err := a.JudgeBundle(cmd, next, "the policy with this denial", session.Judged{TableOnly: true})
	if err != nil {
		return err
	}
	if !l.Good() {
		return a.Refuse(l)
	}
	if live.Comparable() == nil {
		compare.Between(live, l).Brief(a.Err, a.Lang())
	}
	b.message = cmp.Or(b.message, map[bool]string{false: "deny ", true: "lift "}[lift]+name(d)+": "+d.Reason)
	q.Set("message", b.message)
	q.Set("base", strconv.FormatUint(live.Base.Sequence, 10))
	q.Set("digest", next.Digest())
	envelope, err := sign.Sign(cmd.Context(), sign.Change{
		Deployment: live.Deployment(l), Action: action, Base: live.Base, Bundle: next.Digest(), Message: b.message, At: a.Now(),
	}, b.key)
	if err != nil {
		return err
	}
	fmt.Fprintln(a.Err, what(lift, d).In(a.Lang()))
	return a.change(cmd, c, "v1/apply", q, next.Archive(), l.Place, b.wait, envelope)
}

func what(lift bool, d policy.Denial) lang.Text {
	if lift {
		return lang.T("lifting the denial of %s", show.Line(name(d)))
	}
	return lang.T("denying %s", show.Line(name(d)))
}

// name is what a denial forbids.
func name(d policy.Denial) string {
	if d.Class == "" {
		return d.Home + " (every class)"
	}
	return d.Home + " " + d.Class
}

func list(denials []policy.Denial) string {
	out := ""
	for _, d := range denials {
		if out != "" {
			out += ", "
		}
		out += name(d)
	}
	return cmp.Or(out, "none")
}
