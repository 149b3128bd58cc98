// Package mutations judges what writes and removes request headers. It is pure.
package mutations

import (
	"strings"

	mutationrulesv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/conditions"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/findings"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/patterns"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/requests"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/trusted"
)

// peerURI is the region and role in the client's certificate, as Envoy writes it.
const peerURI = "%DOWNSTREAM_PEER_URI_SAN%"

// Judge tells whether clients' trusted headers are gone after a list of header
// mutations, and judges what it writes. Peers are clients with a certificate, which
// says where they are.
func Judge(r *conditions.Reader, where string, list []*mutationrulesv3.HeaderMutation, peers bool) (scrubs bool) {
	for _, m := range list {
		switch a := m.GetAction().(type) {
		case *mutationrulesv3.HeaderMutation_Append:
			h := a.Append.GetHeader()
			name := strings.ToLower(h.GetKey())
			proves := peers && name == trusted.Entry && h.GetValue() == peerURI && len(h.GetRawValue()) == 0
			if strings.HasPrefix(name, trusted.Prefix) && !proves {
				r.Report(findings.Finding{Code: findings.HeaderTrust, Where: where, Message: "header " + name + " is written from " + h.GetValue()})
			}
		case *mutationrulesv3.HeaderMutation_RemoveOnMatch_:
			l := r.Compile(patterns.Envoy(a.RemoveOnMatch.GetKeyMatcher()), false)
			if l != nil && !requests.Exceeds(r.Compile(patterns.Text("prefix", trusted.Prefix, false), false), l) {
				scrubs = true
			}
		case *mutationrulesv3.HeaderMutation_Remove:
		default:
			r.Unjudged(where, "a header mutation of an unknown kind")
		}
	}
	return scrubs
}

// Added judges the headers that a route adds: an inner listener's agent believes
// those that say who is calling.
func Added(found *findings.List, where string, list []*corev3.HeaderValueOption) {
	for _, o := range list {
		if name := strings.ToLower(o.GetHeader().GetKey()); trusted.Says(name) {
			found.Report(findings.Finding{Code: findings.HeaderTrust, Where: where, Message: "header " + name + " is written from " + o.GetHeader().GetValue()})
		}
	}
}
