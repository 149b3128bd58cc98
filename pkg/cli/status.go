package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"github.com/domicile-dev/domicile/pkg/api"
	"github.com/domicile-dev/domicile/pkg/cli/exit"
	"github.com/domicile-dev/domicile/pkg/cli/health"
	"github.com/domicile-dev/domicile/pkg/cli/remote"
	"github.com/domicile-dev/domicile/pkg/cli/session"
	"github.com/domicile-dev/domicile/pkg/cli/show"
	"github.com/domicile-dev/domicile/pkg/control"
	"github.com/domicile-dev/domicile/pkg/lang"
)

type statusResult struct {
	session.Versioned
	api.Status
}

// watchPause is the time between two questions of status --watch.
const watchPause = time.Second

func (a *app) statusCommand() *cobra.Command {
	var (
		r     session.Access
		watch bool
	)
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show which policy is in force and what each proxy runs",
		Long: `Show the policy in force, whether the policy store answers, why a newer policy was
refused if one was, and for each proxy: synced, pending or rejected and why,
which policy it runs, and for how long. A proxy whose region or role has no place
in the policy is emptied: it refuses everything.

With --watch it prints again whenever something changed, until interrupted.
domicile check judges the same and sets the exit code.`,
		Example: `  domicile status --dir /tmp/demo
  domicile status --output json --control https://control.example.com:8443 | jq '.policy.table as $t | .proxies[] | select(.state != "synced" or .table != $t)'`,
		Args: session.Args(),
	}
	r.Flags(cmd)
	cmd.Flags().BoolVar(&watch, "watch", false, "print again whenever something changed")
	cmd.RunE = a.Run(func(cmd *cobra.Command, _ []string) error {
		c, err := a.Client(cmd, r)
		if err != nil {
			return err
		}
		if watch {
			return a.watch(cmd.Context(), c)
		}
		s, err := c.Status(cmd.Context())
		if err != nil {
			return err
		}
		return a.Emit(statusResult{session.V1(), s}, func(w io.Writer) { a.statusText(w, s) })
	})
	return cmd
}

// watch prints the status whenever it differs in more than ages. It goes on
// while the control plane is away: that is when people watch.
func (a *app) watch(ctx context.Context, c *remote.Client) error {
	var last []byte
	tick := time.NewTicker(watchPause)
	defer tick.Stop()
	for {
		data, err := c.Call(ctx, remote.AskTime, "v1/status", nil, nil)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			if last == nil || len(last) > 0 {
				fmt.Fprintln(a.Err, lang.T("error: %s", show.Clean(err.Error())).In(a.Lang()))
			}
			last = []byte{}
		case !bytes.Equal(data, last):
			var s api.Status
			if err := c.Decode(data, &s); err != nil {
				return err
			}
			if err := a.Emit(statusResult{session.V1(), s}, func(w io.Writer) {
				if len(last) > 0 {
					fmt.Fprintln(w)
				}
				a.statusText(w, s)
			}); err != nil {
				return err
			}
			last = data
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (a *app) statusText(w io.Writer, s api.Status) {
	line := func(label, sentence lang.Text) {
		l := label.In(a.Lang())
		fmt.Fprintf(w, "%s%s%s\n", l, strings.Repeat(" ", max(1, 9-text.StringWidth(l))), show.Line(sentence.In(a.Lang())))
	}
	if s.Policy != nil {
		a.statusPolicy(line, s.Policy)
	} else {
		line(lang.T("policy"), lang.T("none in force: everything is refused"))
	}
	if s.Store.Connected {
		line(lang.T("store"), lang.T("answers (for %s)", a.Age(s.Store.Since)))
	} else {
		line(lang.T("store"), lang.T("DOES NOT ANSWER for %s: %s", a.Age(s.Store.Since), s.Store.Error))
	}
	if f := s.Refused; f != nil {
		line(lang.T("refused"), lang.T("sequence %d, bundle %s, for %s: %s", f.Sequence, show.Digest(f.Bundle), a.Age(f.Since), health.Why(f)))
	}
	for _, f := range health.Clock(s.Clock, 0) {
		if f.State != "ok" {
			line(lang.T("clock"), f.Message)
		}
	}
	if s.Git != nil {
		line(lang.Same("git"), health.Git(s.Git, a.Now()).Message)
	}
	for _, k := range s.Keys {
		line(lang.T("keys"), health.Keys(k, a.Now()).Message)
	}
	fmt.Fprintln(w)
	a.statusProxies(w, s)
}

func (a *app) statusPolicy(line func(label, sentence lang.Text), p *control.PolicyStatus) {
	var more lang.Text
	line(lang.T("policy"), lang.T("sequence %d, table %s, applied %s ago by %s, in force here for %s",
		p.Sequence, show.Digest(p.Table), a.Age(p.At), show.OrDash(p.Author), a.Age(p.Since)))
	if p.Message != "" {
		line(more, lang.Same(p.Message))
	}
	if p.NextBoundary != nil {
		line(more, lang.T("next end of a transfer or observation, or group change: %s", p.NextBoundary.UTC().Format(time.RFC3339)))
	}
	if len(p.OtherLaw) > 0 {
		line(more, health.OtherLaw(p))
	}
	for _, n := range p.NotEnforced {
		days := lang.T("%d days left", int(max(0, n.Until.Sub(a.Now()))/(24*time.Hour)))
		line(lang.Same("!"), lang.T("%s is NOT ENFORCED until %s (%s): what its policy refuses passes to today's backends", n.Home, n.Until.UTC().Format(time.RFC3339), days))
	}
}

func (a *app) statusProxies(w io.Writer, s api.Status) {
	l := a.Lang()
	if len(s.Proxies) == 0 {
		fmt.Fprintln(w, lang.T("No proxy is known here.").In(l))
		return
	}
	t := show.NewTable(lang.T("PROXY").In(l), lang.T("STATE").In(l), lang.T("POLICY").In(l), lang.T("SINCE").In(l), lang.T("CONNECTED").In(l))
	for _, p := range s.Proxies {
		runs := lang.Same(show.OrDash(show.Digest(p.Table)))
		switch {
		case health.Runs(s.Status, p):
			runs = lang.T("%s (current)", runs)
		case health.HasNoPlace(s.Status, p):
			runs = lang.T("none: has no place in this policy")
		}
		connected := lang.T("no")
		if !p.ConnectedSince.IsZero() {
			connected = lang.Same(a.Age(p.ConnectedSince))
		}
		t.Row(p.ID, string(p.State), runs.In(l), a.Age(p.Since), connected.In(l))
	}
	t.Write(w)
	for _, p := range s.Proxies {
		if p.Error != nil {
			fmt.Fprintf(w, "  %s\n", show.Line(lang.T("%s refused %s (%d times): %s", p.ID, p.Error.Version, p.Error.Attempts, p.Error.Detail).In(l)))
		}
	}
}

func (a *app) checkCommand() *cobra.Command {
	var r session.Access
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Judge whether a deployment is healthy",
		Long: `Judge what the control plane reports: a policy is in force, it is the newest, the
policy store answers, nothing lapses within 30 days, every proxy runs it, and its
clock agrees with this machine's and with the other replicas' to a minute. A
proxy that has no place in the policy refuses everything, and fails the check.
The exit code is 1 when anything fails, 4 when the control plane does not answer.

It does not look at what the control plane cannot see, such as traffic that goes
around the Envoys; domicile verify judges one Envoy by itself.`,
		Example: `  domicile check --dir /tmp/demo
  domicile check --control https://control.example.com:8443 --cert me.pem --key me-key.pem --ca ca.pem`,
		Args: session.Args(),
	}
	r.Flags(cmd)
	cmd.RunE = a.Run(func(cmd *cobra.Command, _ []string) error {
		c, err := a.Client(cmd, r)
		if err != nil {
			return err
		}
		s, err := c.Status(cmd.Context())
		if err != nil {
			return err
		}
		list := append(health.Judge(s.Status, a.Now()), health.Clock(s.Clock, c.Ahead())...)
		if s.Git != nil {
			list = append(list, health.Git(s.Git, a.Now()))
		}
		for _, k := range s.Keys {
			list = append(list, health.Keys(k, a.Now()))
		}
		v := struct {
			session.Versioned
			Checks []health.Finding `json:"checks"`
		}{session.V1(), list}
		counts := map[string]int{}
		for _, f := range list {
			counts[f.State]++
		}
		if err := a.Emit(v, func(w io.Writer) {
			l := a.Lang()
			for _, f := range list {
				fmt.Fprintf(w, "  %-4s  %s\n", map[string]string{"ok": "OK", "warn": "WARN", "fail": "FAIL"}[f.State], show.Line(f.Message.In(l)))
				if !f.Fix.IsZero() {
					fmt.Fprintf(w, "        %s\n", show.Line(lang.T("fix: %s", f.Fix).In(l)))
				}
			}
			fmt.Fprintln(w, lang.T("%s: %d ok, %s, %d failed.", show.CountText(len(list), "check"), counts["ok"], show.CountText(counts["warn"], "warning"), counts["fail"]).In(l))
		}); err != nil {
			return err
		}
		if counts["fail"] > 0 {
			return exit.Silent(exit.Findings)
		}
		return nil
	})
	return cmd
}
