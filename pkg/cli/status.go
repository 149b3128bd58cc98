package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/domicile-dev/domicile/pkg/api"
	"github.com/domicile-dev/domicile/pkg/cli/exit"
	"github.com/domicile-dev/domicile/pkg/cli/health"
	"github.com/domicile-dev/domicile/pkg/cli/remote"
	"github.com/domicile-dev/domicile/pkg/cli/session"
	"github.com/domicile-dev/domicile/pkg/cli/show"
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
				fmt.Fprintf(a.Err, "error: %s\n", show.Clean(err.Error()))
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
	if p := s.Policy; p != nil {
		fmt.Fprintf(w, "policy   sequence %d, table %s, applied %s ago by %s, in force here for %s\n",
			p.Sequence, show.Digest(p.Table), a.Age(p.At), show.Line(show.OrDash(p.Author)), a.Age(p.Since))
		if p.Message != "" {
			fmt.Fprintf(w, "         %s\n", show.Line(p.Message))
		}
		if p.NextBoundary != nil {
			fmt.Fprintf(w, "         next end of a transfer or observation, or group change: %s\n", p.NextBoundary.UTC().Format(time.RFC3339))
		}
		for _, n := range p.NotEnforced {
			days := lang.T("%d days left", int(max(0, n.Until.Sub(a.Now()))/(24*time.Hour)))
			fmt.Fprintf(w, "!        %s\n", lang.T("%s is NOT ENFORCED until %s (%s): what its policy refuses passes to today's backends",
				show.Line(n.Home), n.Until.UTC().Format(time.RFC3339), days).In(a.Lang()))
		}
	} else {
		fmt.Fprintln(w, "policy   none in force: everything is refused")
	}
	if s.Store.Connected {
		fmt.Fprintf(w, "store    answers (for %s)\n", a.Age(s.Store.Since))
	} else {
		fmt.Fprintf(w, "store    DOES NOT ANSWER for %s: %s\n", a.Age(s.Store.Since), show.Line(s.Store.Error))
	}
	if f := s.Refused; f != nil {
		fmt.Fprintf(w, "refused  sequence %d, bundle %s, for %s: %s\n", f.Sequence, show.Digest(f.Bundle), a.Age(f.Since), show.Line(health.Why(f)))
	}
	for _, f := range health.Clock(s.Clock, 0) {
		if f.State != "ok" {
			fmt.Fprintf(w, "clock    %s\n", show.Line(f.Message))
		}
	}
	if s.Git != nil {
		fmt.Fprintf(w, "git      %s\n", show.Line(health.Git(s.Git, a.Now()).Message))
	}
	fmt.Fprintln(w)
	if len(s.Proxies) == 0 {
		fmt.Fprintln(w, "No proxy is known here.")
		return
	}
	t := show.NewTable("PROXY", "STATE", "POLICY", "SINCE", "CONNECTED")
	for _, p := range s.Proxies {
		runs := show.OrDash(show.Digest(p.Table))
		switch {
		case health.Runs(s.Status, p):
			runs += " (current)"
		case health.HasNoPlace(s.Status, p):
			runs = "none: has no place in this policy"
		}
		connected := "no"
		if !p.ConnectedSince.IsZero() {
			connected = a.Age(p.ConnectedSince)
		}
		t.Row(p.ID, string(p.State), runs, a.Age(p.Since), connected)
	}
	t.Write(w)
	for _, p := range s.Proxies {
		if p.Error != nil {
			fmt.Fprintf(w, "  %s refused %s (%d times): %s\n", show.Line(p.ID), show.Line(p.Error.Version), p.Error.Attempts, show.Line(p.Error.Detail))
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
		v := struct {
			session.Versioned
			Checks []health.Finding `json:"checks"`
		}{session.V1(), list}
		counts := map[string]int{}
		for _, f := range list {
			counts[f.State]++
		}
		if err := a.Emit(v, func(w io.Writer) {
			for _, f := range list {
				fmt.Fprintf(w, "  %-4s  %s\n", map[string]string{"ok": "OK", "warn": "WARN", "fail": "FAIL"}[f.State], show.Line(f.Message))
				if f.Fix != "" {
					fmt.Fprintf(w, "        fix: %s\n", f.Fix)
				}
			}
			fmt.Fprintf(w, "%s: %d ok, %s, %d failed.\n", show.Count(len(list), "check"), counts["ok"], show.Count(counts["warn"], "warning"), counts["fail"])
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
