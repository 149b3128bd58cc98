// Package tokens judges the filter that verifies tokens: who may say whose data it
// is, and by which headers. It is pure.
package tokens

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	jwtauthnv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"

	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/facts"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/findings"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/trusted"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// Judge reports what is wrong with a filter that verifies tokens.
func Judge(found *findings.List, where string, j *jwtauthnv3.JwtAuthentication, top *topology.Topology) {
	w := judge{found, top}
	w.Known(where, j)
	for _, name := range slices.Sorted(maps.Keys(j.GetProviders())) {
		w.provider(where+" › provider "+name, j.GetProviders()[name])
	}
	for _, r := range j.GetRules() {
		w.requirement(where, r.GetRequires())
	}
	for _, r := range j.GetRequirementMap() {
		w.requirement(where, r)
	}
}

type judge struct {
	*findings.List
	top *topology.Topology
}

func (w judge) requirement(where string, r *jwtauthnv3.JwtRequirement) {
	switch t := r.GetRequiresType().(type) {
	case nil, *jwtauthnv3.JwtRequirement_ProviderName, *jwtauthnv3.JwtRequirement_ProviderAndAudiences:
	case *jwtauthnv3.JwtRequirement_RequiresAny:
		for _, n := range t.RequiresAny.GetRequirements() {
			w.requirement(where, n)
		}
	case *jwtauthnv3.JwtRequirement_RequiresAll:
		for _, n := range t.RequiresAll.GetRequirements() {
			w.requirement(where, n)
		}
	default:
		w.Report(findings.Finding{Code: findings.TokenUnproved, Where: where, Message: "requests pass without a verified token"})
	}
}

func (w judge) provider(where string, p *jwtauthnv3.JwtProvider) {
	w.Known(where, p)
	bad := func(format string, args ...any) {
		w.Report(findings.Finding{Code: findings.TokenUnproved, Where: where, Message: fmt.Sprintf(format, args...)})
	}
	i := slices.IndexFunc(w.top.Issuers, func(i topology.Issuer) bool { return i.Issuer == p.GetIssuer() })
	if p.GetIssuer() == "" || i < 0 {
		bad("issuer %q is not in the deployment", p.GetIssuer())
		return
	}
	issuer := w.top.Issuers[i]
	if !facts.SameKeys(p.GetLocalJwks().GetInlineString(), issuer.JWKS) {
		bad("the keys are not those that the deployment names for %s", issuer.Issuer)
	}
	want := map[string]string{trusted.Home: issuer.HomeClaim, trusted.Issuer: "iss", trusted.User: "sub"}
	got := map[string]bool{}
	for _, c := range p.GetClaimToHeaders() {
		name := strings.ToLower(c.GetHeaderName())
		if strings.HasPrefix(name, trusted.Prefix) && want[name] != c.GetClaimName() {
			w.Report(findings.Finding{Code: findings.HeaderTrust, Where: where, Message: "header " + name + " is written from claim " + c.GetClaimName()})
		}
		got[name] = true
	}
	if !got[trusted.Home] || !got[trusted.Issuer] {
		bad("the token's home and issuer are not written into %s and %s", trusted.Home, trusted.Issuer)
	}
	if strings.HasPrefix(strings.ToLower(p.GetForwardPayloadHeader()), trusted.Prefix) {
		w.Report(findings.Finding{Code: findings.HeaderTrust, Where: where, Message: "header " + p.GetForwardPayloadHeader() + " is written from the whole token"})
	}
}
