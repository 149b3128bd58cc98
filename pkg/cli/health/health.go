// Package health judges what a control plane reports of a deployment. It is pure.
package health

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/domicile-dev/domicile/pkg/cli/show"
	"github.com/domicile-dev/domicile/pkg/control"
	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/xds"
)

// Finding is one line of check.
type Finding struct {
	State   string // ok, warn, fail
	Message lang.Text
	Fix     lang.Text
}

// MarshalJSON writes each sentence in both languages, beside each other; the fields
// are a contract.
func (f Finding) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		State     string `json:"state"`
		Message   string `json:"message"`
		MessageZh string `json:"messageZh,omitempty"`
		Fix       string `json:"fix,omitempty"`
		FixZh     string `json:"fixZh,omitempty"`
	}{f.State, f.Message.En, f.Message.Zh, f.Fix.En, f.Fix.Zh})
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
func Why(f *control.Refusal) lang.Text {
	switch {
	case f.Error != "":
		return lang.Same(f.Error)
	case len(f.Problems) > 0:
		return f.Problems[0].Message
	case len(f.Leaks) > 0:
		return lang.T("leak: %s", f.Leaks[0].String())
	}
	return lang.T("no reason given")
}

// announced is how long before a transfer ends people hear of it.
const announced = 30 * 24 * time.Hour

// Judge returns everything that check looks at, good or bad.
func Judge(s control.Status, now time.Time) []Finding {
	var out []Finding
	add := func(ok bool, good, bad, fix lang.Text) {
		if ok {
			out = append(out, Finding{State: "ok", Message: good})
		} else {
			out = append(out, Finding{"fail", bad, fix})
		}
	}
	add(s.Policy != nil, lang.T("a policy is in force"), lang.T("no policy is in force: everything is refused"), lang.Same("domicile apply DIR"))
	var bad lang.Text
	if s.Refused != nil {
		bad = lang.T("sequence %d was refused: %s", s.Refused.Sequence, Why(s.Refused))
	}
	add(s.Refused == nil, lang.T("it is the newest policy"), bad, lang.T("domicile rollback, or apply a corrected policy"))
	add(s.Store.Connected, lang.T("the policy store answers"), lang.T("the policy store does not answer: %s", s.Store.Error),
		lang.T("look at etcd; what is in force stays in force meanwhile"))
	if s.Policy != nil {
		out = append(out, judgePolicy(s.Policy, now)...)
	}
	for _, p := range s.Proxies {
		bad, fix := proxy(s, p)
		add(Runs(s, p), lang.T("%s runs it", p.ID), bad, fix)
	}
	if len(s.Proxies) == 0 {
		out = append(out, Finding{"warn", lang.T("no proxy is connected"), lang.T("start an Envoy with a bootstrap of this deployment")})
	}
	return out
}

// judgePolicy is what is to be known of the policy in force.
func judgePolicy(p *control.PolicyStatus, now time.Time) (out []Finding) {
	if b := p.NextBoundary; b != nil && b.Sub(now) <= announced {
		out = append(out, Finding{"warn", lang.T("a transfer or an observation ends, or a group changes, at %s", b.UTC().Format(time.RFC3339)), lang.T("domicile lint DIR names it")})
	}
	if len(p.OtherLaw) > 0 {
		out = append(out, Finding{"warn", OtherLaw(p), lang.T("apply the policy again, packed with this version, after domicile plan has shown what that changes")})
	}
	for _, q := range p.Warnings {
		if q.Severity == policy.Warning {
			out = append(out, Finding{"warn", lang.T("%s: %s", show.Place{}.Position(q.Pos), q.Message), q.Fix})
		}
	}
	return out
}

// OtherLaw says that a policy was packed with other law than the control plane's
// version has.
func OtherLaw(p *control.PolicyStatus) lang.Text {
	const most = 5
	names := lang.Same(strings.Join(p.OtherLaw[:min(most, len(p.OtherLaw))], ", "))
	if more := len(p.OtherLaw) - most; more > 0 {
		names = lang.T("%s and %d more", names, more)
	}
	return lang.T("the policy was packed with law files that are not those of this version: %s", names)
}

// proxy says what is wrong with a proxy that does not run the policy in force.
func proxy(s control.Status, p xds.Proxy) (bad, fix lang.Text) {
	since := p.Since.UTC().Format(time.RFC3339)
	fix = lang.T("look at that Envoy's log; domicile status --watch shows its progress")
	switch {
	case p.Error != nil:
		return lang.T("%s is %s since %s: %s", p.ID, string(p.State), since, p.Error.Detail), fix
	case HasNoPlace(s, p):
		return lang.T("%s has no place in this policy: it refuses everything", p.ID), lang.T("name its region in the deployment again (domicile rollback), or stop that Envoy")
	case p.State == xds.Synced:
		return lang.T("%s runs another policy since %s", p.ID, since), fix
	}
	return lang.T("%s is %s since %s", p.ID, string(p.State), since), fix
}
