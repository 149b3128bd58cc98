// Package health judges what a control plane reports of a deployment. It is pure.
package health

import (
	"fmt"
	"time"

	"github.com/domicile-dev/domicile/pkg/cli/show"
	"github.com/domicile-dev/domicile/pkg/control"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/xds"
)

// Finding is one line of check; its fields are a contract.
type Finding struct {
	State   string `json:"state"` // ok, warn, fail
	Message string `json:"message"`
	Fix     string `json:"fix,omitempty"`
}

// Runs tells whether a proxy has acknowledged the policy in force. Synced
// alone says only that it runs what it was told, and that may be nothing.
func Runs(s control.Status, p xds.Proxy) bool {
	return s.Policy != nil && p.State == xds.Synced && p.Table == s.Policy.Table && p.Target == s.Policy.Table
}

// HasNoPlace tells whether a proxy is emptied, or is being: no part of the policy
// in force is for its region and role.
func HasNoPlace(s control.Status, p xds.Proxy) bool {
	return s.Policy != nil && p.Target == "" && !p.ConnectedSince.IsZero()
}

// Why is why a policy was refused, in one line.
func Why(f *control.Refusal) string {
	switch {
	case f.Error != "":
		return f.Error
	case len(f.Problems) > 0:
		return f.Problems[0].Message.En
	case len(f.Leaks) > 0:
		return "leak: " + f.Leaks[0].String()
	}
	return "no reason given"
}

// announced is how long before a transfer ends people hear of it.
const announced = 30 * 24 * time.Hour

// Judge returns everything that check looks at, good or bad.
func Judge(s control.Status, now time.Time) []Finding {
	var out []Finding
	add := func(ok bool, good, bad, fix string) {
		if ok {
			out = append(out, Finding{"ok", good, ""})
		} else {
			out = append(out, Finding{"fail", bad, fix})
		}
	}
	add(s.Policy != nil, "a policy is in force", "no policy is in force: everything is refused", "domicile apply DIR")
	bad := ""
	if s.Refused != nil {
		bad = fmt.Sprintf("sequence %d was refused: %s", s.Refused.Sequence, Why(s.Refused))
	}
	add(s.Refused == nil, "it is the newest policy", bad, "domicile rollback, or apply a corrected policy")
	add(s.Store.Connected, "the policy store answers", "the policy store does not answer: "+s.Store.Error, "look at etcd; what is in force stays in force meanwhile")
	if s.Policy != nil {
		if b := s.Policy.NextBoundary; b != nil && b.Sub(now) <= announced {
			out = append(out, Finding{"warn", "a transfer or an observation ends, or a group changes, at " + b.UTC().Format(time.RFC3339), "domicile lint DIR names it"})
		}
		for _, q := range s.Policy.Warnings {
			if q.Severity == policy.Warning {
				out = append(out, Finding{"warn", fmt.Sprintf("%s: %s", show.Place{}.Position(q.Pos), q.Message), q.Fix.En})
			}
		}
	}
	for _, p := range s.Proxies {
		since := p.Since.UTC().Format(time.RFC3339)
		bad, fix := fmt.Sprintf("%s is %s since %s", p.ID, p.State, since), "look at that Envoy's log; domicile status --watch shows its progress"
		switch {
		case p.Error != nil:
			bad += ": " + p.Error.Detail
		case HasNoPlace(s, p):
			bad, fix = p.ID+" has no place in this policy: it refuses everything", "name its region in the deployment again (domicile rollback), or stop that Envoy"
		case p.State == xds.Synced:
			bad = fmt.Sprintf("%s runs another policy since %s", p.ID, since)
		}
		add(Runs(s, p), fmt.Sprintf("%s runs it", p.ID), bad, fix)
	}
	if len(s.Proxies) == 0 {
		out = append(out, Finding{"warn", "no proxy is connected", "start an Envoy with a bootstrap of this deployment"})
	}
	return out
}
