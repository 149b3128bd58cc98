package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/domicile-dev/domicile/pkg/cli/exit"
	"github.com/domicile-dev/domicile/pkg/cli/remote"
	"github.com/domicile-dev/domicile/pkg/cli/show"
	"github.com/domicile-dev/domicile/pkg/control"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/xds"
)

type statusResult struct {
	versioned
	control.Status
}

// watchPause is the time between two questions of status --watch.
const watchPause = time.Second

func (a *app) statusCommand() *cobra.Command {
	var (
		r     access
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
		Args: args(),
	}
	r.flags(cmd)
	cmd.Flags().BoolVar(&watch, "watch", false, "print again whenever something changed")
	cmd.RunE = a.run(func(cmd *cobra.Command, _ []string) error {
		c, err := a.client(cmd, r)
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
		return a.emit(statusResult{v1(), s}, func(w io.Writer) { a.statusText(w, s) })
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
			var s control.Status
			if err := c.Decode(data, &s); err != nil {
				return err
			}
			if err := a.emit(statusResult{v1(), s}, func(w io.Writer) {
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

func (a *app) statusText(w io.Writer, s control.Status) {
	if p := s.Policy; p != nil {
		fmt.Fprintf(w, "policy   sequence %d, table %s, applied %s ago by %s, in force here for %s\n",
			p.Sequence, show.Digest(p.Table), a.age(p.At), show.Line(orDash(p.Author)), a.age(p.Since))
		if p.Message != "" {
			fmt.Fprintf(w, "         %s\n", show.Line(p.Message))
		}
		if p.NextBoundary != nil {
			fmt.Fprintf(w, "         next transfer or group change: %s\n", p.NextBoundary.UTC().Format(time.RFC3339))
		}
	} else {
		fmt.Fprintln(w, "policy   none in force: everything is refused")
	}
	if s.Store.Connected {
		fmt.Fprintf(w, "store    answers (for %s)\n", a.age(s.Store.Since))
	} else {
		fmt.Fprintf(w, "store    DOES NOT ANSWER for %s: %s\n", a.age(s.Store.Since), show.Line(s.Store.Error))
	}
	if f := s.Refused; f != nil {
		fmt.Fprintf(w, "refused  sequence %d, bundle %s, for %s: %s\n", f.Sequence, show.Digest(f.Bundle), a.age(f.Since), show.Line(refusal(f)))
	}
	fmt.Fprintln(w)
	if len(s.Proxies) == 0 {
		fmt.Fprintln(w, "No proxy is known here.")
		return
	}
	t := show.NewTable("PROXY", "STATE", "POLICY", "SINCE", "CONNECTED")
	for _, p := range s.Proxies {
		runs := orDash(show.Digest(p.Table))
		switch {
		case runsPolicy(s, p):
			runs += " (current)"
		case hasNoPlace(s, p):
			runs = "none: has no place in this policy"
		}
		connected := "no"
		if !p.ConnectedSince.IsZero() {
			connected = a.age(p.ConnectedSince)
		}
		t.Row(p.ID, string(p.State), runs, a.age(p.Since), connected)
	}
	t.Write(w)
	for _, p := range s.Proxies {
		if p.Error != nil {
			fmt.Fprintf(w, "  %s refused %s (%d times): %s\n", show.Line(p.ID), show.Line(p.Error.Version), p.Error.Attempts, show.Line(p.Error.Detail))
		}
	}
}

// runsPolicy tells whether a proxy has acknowledged the policy in force. Synced
// alone says only that it runs what it was told, and that may be nothing.
func runsPolicy(s control.Status, p xds.Proxy) bool {
	return s.Policy != nil && p.State == xds.Synced && p.Table == s.Policy.Table && p.Target == s.Policy.Table
}

// hasNoPlace tells whether a proxy is emptied, or is being: no part of the policy
// in force is for its region and role.
func hasNoPlace(s control.Status, p xds.Proxy) bool {
	return s.Policy != nil && p.Target == "" && !p.ConnectedSince.IsZero()
}

func refusal(f *control.Refusal) string {
	switch {
	case f.Error != "":
		return f.Error
	case len(f.Problems) > 0:
		return f.Problems[0].Message
	case len(f.Leaks) > 0:
		return "leak: " + f.Leaks[0].String()
	}
	return "no reason given"
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// finding is one line of check.
type finding struct {
	State   string `json:"state"` // ok, warn, fail
	Message string `json:"message"`
	Fix     string `json:"fix,omitempty"`
}

func (a *app) checkCommand() *cobra.Command {
	var r access
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Judge whether a deployment is healthy",
		Long: `Judge what the control plane reports: a policy is in force, it is the newest, the
policy store answers, nothing lapses within 30 days, and every proxy runs it. A
proxy that has no place in the policy refuses everything, and fails the check.
The exit code is 1 when anything fails, 4 when the control plane does not answer.

It does not look at what the control plane cannot see, such as traffic that goes
around the Envoys; domicile verify judges one Envoy by itself.`,
		Example: `  domicile check --dir /tmp/demo
  domicile check --control https://control.example.com:8443 --cert me.pem --key me-key.pem --ca ca.pem`,
		Args: args(),
	}
	r.flags(cmd)
	cmd.RunE = a.run(func(cmd *cobra.Command, _ []string) error {
		c, err := a.client(cmd, r)
		if err != nil {
			return err
		}
		s, err := c.Status(cmd.Context())
		if err != nil {
			return err
		}
		list := judgeStatus(s, a.Now())
		v := struct {
			versioned
			Checks []finding `json:"checks"`
		}{v1(), list}
		counts := map[string]int{}
		for _, f := range list {
			counts[f.State]++
		}
		if err := a.emit(v, func(w io.Writer) {
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

// announced is how long before a transfer ends people hear of it.
const announced = 30 * 24 * time.Hour

func judgeStatus(s control.Status, now time.Time) []finding {
	var out []finding
	add := func(ok bool, good, bad, fix string) {
		if ok {
			out = append(out, finding{"ok", good, ""})
		} else {
			out = append(out, finding{"fail", bad, fix})
		}
	}
	add(s.Policy != nil, "a policy is in force", "no policy is in force: everything is refused", "domicile apply DIR")
	bad := ""
	if s.Refused != nil {
		bad = fmt.Sprintf("sequence %d was refused: %s", s.Refused.Sequence, refusal(s.Refused))
	}
	add(s.Refused == nil, "it is the newest policy", bad, "domicile rollback, or apply a corrected policy")
	add(s.Store.Connected, "the policy store answers", "the policy store does not answer: "+s.Store.Error, "look at etcd; what is in force stays in force meanwhile")
	if s.Policy != nil {
		if b := s.Policy.NextBoundary; b != nil && b.Sub(now) < announced {
			out = append(out, finding{"warn", "a transfer ends or a group changes at " + b.UTC().Format(time.RFC3339), "domicile lint DIR names it"})
		}
		for _, q := range s.Policy.Warnings {
			if q.Severity == policy.Warning {
				out = append(out, finding{"warn", fmt.Sprintf("%s: %s", show.Place{}.Position(q.Pos), q.Message), q.Fix})
			}
		}
	}
	for _, p := range s.Proxies {
		since := p.Since.UTC().Format(time.RFC3339)
		bad, fix := fmt.Sprintf("%s is %s since %s", p.ID, p.State, since), "look at that Envoy's log; domicile status --watch shows its progress"
		switch {
		case p.Error != nil:
			bad += ": " + p.Error.Detail
		case hasNoPlace(s, p):
			bad, fix = p.ID+" has no place in this policy: it refuses everything", "name its region in the deployment again (domicile rollback), or stop that Envoy"
		case p.State == xds.Synced:
			bad = fmt.Sprintf("%s runs another policy since %s", p.ID, since)
		}
		add(runsPolicy(s, p), fmt.Sprintf("%s runs it", p.ID), bad, fix)
	}
	if len(s.Proxies) == 0 {
		out = append(out, finding{"warn", "no proxy is connected", "start an Envoy with a bootstrap of this deployment"})
	}
	return out
}
