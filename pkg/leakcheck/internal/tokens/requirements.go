package tokens

import (
	"maps"
	"slices"

	jwtauthnv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"

	"github.com/domicile-dev/domicile/pkg/topology"
)

// requirement judges what the filter lets through. Headers are written from
// verified tokens only, whatever is let through; but a pin stands in for a token
// that names no home, never for one that does not verify.
func (w *judge) requirement(where string, r *jwtauthnv3.JwtRequirement) {
	if r.GetRequiresType() == nil {
		return // nothing is verified, so nobody has a home
	}
	w.parts(where, r)
	for _, i := range w.failing(r) {
		w.unproved(where, "requests pass with a token of %s that does not verify", i.Issuer)
	}
	if w.passes(r, "") && !w.Topology.FirstContacts() {
		w.unproved(where, "requests pass without a verified token")
	}
}

// failing lists the issuers of whom a token passes that does not verify.
func (w *judge) failing(r *jwtauthnv3.JwtRequirement) (out []topology.Issuer) {
	for _, name := range slices.Sorted(maps.Keys(w.issuers)) {
		if w.passes(r, name) {
			out = append(out, w.issuers[name])
		}
	}
	return out
}

// parts judges what is wrong wherever it stands.
func (w *judge) parts(where string, r *jwtauthnv3.JwtRequirement) {
	switch t := r.GetRequiresType().(type) {
	case *jwtauthnv3.JwtRequirement_ExtractOnlyWithoutValidation:
		w.unproved(where, "claims are believed without verification")
	case *jwtauthnv3.JwtRequirement_ProviderAndAudiences:
		p := t.ProviderAndAudiences
		if want := w.audiences(p.GetProviderName()); len(want) > 0 && !within(p.GetAudiences(), want) {
			w.unproved(where, "audiences %v are taken, the deployment names %v", p.GetAudiences(), want)
		}
	}
	for _, n := range members(r) {
		w.parts(where, n)
	}
}

// audiences are those of a provider; a pin's are judged where it is defined, so
// that others may not be asked for.
func (w *judge) audiences(provider string) []string {
	if w.pins[provider] {
		return []string{w.Own.Name, nobody}
	}
	return w.issuers[provider].Audiences
}

// nobody is an audience that no pin has: it is no name of a region.
const nobody = "-"

func members(r *jwtauthnv3.JwtRequirement) []*jwtauthnv3.JwtRequirement {
	if any := r.GetRequiresAny(); any != nil {
		return any.GetRequirements()
	}
	return r.GetRequiresAll().GetRequirements()
}

// passes tells whether a request may get through in which the only token is one
// that the named provider refuses, with every pin in order beside it; without a
// name, in which there is neither token nor pin.
func (w *judge) passes(r *jwtauthnv3.JwtRequirement, refused string) bool {
	switch t := r.GetRequiresType().(type) {
	case *jwtauthnv3.JwtRequirement_ProviderName:
		return refused != "" && w.pins[t.ProviderName]
	case *jwtauthnv3.JwtRequirement_ProviderAndAudiences:
		return refused != "" && w.pins[t.ProviderAndAudiences.GetProviderName()]
	case *jwtauthnv3.JwtRequirement_RequiresAny:
		return w.anyPasses(t.RequiresAny.GetRequirements(), refused)
	case *jwtauthnv3.JwtRequirement_RequiresAll:
		return !slices.ContainsFunc(t.RequiresAll.GetRequirements(), func(n *jwtauthnv3.JwtRequirement) bool { return !w.passes(n, refused) })
	case *jwtauthnv3.JwtRequirement_AllowMissing:
		return refused == ""
	}
	return true
}

// anyPasses: that a token may be missing means, in a list of alternatives, those
// of their providers.
func (w *judge) anyPasses(list []*jwtauthnv3.JwtRequirement, refused string) bool {
	for _, n := range list {
		if n.GetAllowMissing() == nil && w.passes(n, refused) {
			return true
		}
	}
	missing := slices.ContainsFunc(list, func(n *jwtauthnv3.JwtRequirement) bool { return n.GetAllowMissing() != nil })
	return missing && (refused == "" || !slices.ContainsFunc(list, func(n *jwtauthnv3.JwtRequirement) bool { return asks(n, refused) }))
}

func asks(r *jwtauthnv3.JwtRequirement, provider string) bool {
	return r.GetProviderName() == provider || r.GetProviderAndAudiences().GetProviderName() == provider ||
		slices.ContainsFunc(members(r), func(n *jwtauthnv3.JwtRequirement) bool { return asks(n, provider) })
}
