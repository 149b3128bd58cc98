package approval

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// Needed lists the roles that must sign an action, as the deployment in force
// asks: those of apply for every change, those of loosen where something loosens,
// and for the emergency brake one of emergencyDeny, which is then the only entry's
// list. Signers without a word on loosening: any one of them signs it. Nil means that
// nobody has to sign.
func Needed(d *policy.Deployment, a Action, loosens bool) [][]string {
	if d == nil || len(d.Signers) == 0 {
		return nil
	}
	if a == Deny && !loosens && len(d.Approvals["emergencyDeny"]) > 0 {
		return [][]string{d.Approvals["emergencyDeny"]}
	}
	roles := slices.Clone(d.Approvals["apply"])
	if loosens {
		roles = append(roles, d.Approvals["loosen"]...)
	}
	slices.Sort(roles)
	var out [][]string
	for _, r := range slices.Compact(roles) {
		out = append(out, []string{r})
	}
	if loosens && len(out) == 0 {
		var any []string
		for _, s := range d.Signers {
			any = append(any, s.Roles...)
		}
		out = append(out, any)
	}
	return out
}

// Missing returns the needs that the approvals do not fill, when each approval
// may fill one: two roles of one person are one signature. Nil means approved.
func Missing(needed [][]string, approvals []Approval) [][]string {
	// A matching between needs and approvals: both are few.
	fills := make([]int, len(approvals)) // approval → need, -1 for none
	for i := range fills {
		fills[i] = -1
	}
	var try func(need int, seen []bool) bool
	try = func(need int, seen []bool) bool {
		for i, a := range approvals {
			if seen[i] || !meets(a, needed[need]) {
				continue
			}
			seen[i] = true
			if fills[i] < 0 || try(fills[i], seen) {
				fills[i] = need
				return true
			}
		}
		return false
	}
	var out [][]string
	for need := range needed {
		if !try(need, make([]bool, len(approvals))) {
			out = append(out, needed[need])
		}
	}
	return out
}

func meets(a Approval, roles []string) bool {
	return slices.ContainsFunc(roles, func(r string) bool { return slices.Contains(a.Roles, r) })
}

// Summary is who may sign what, as people read it.
func Summary(d *policy.Deployment) string {
	if d == nil || len(d.Signers) == 0 {
		return "nobody has to sign"
	}
	var parts []string
	for _, s := range d.Signers {
		parts = append(parts, s.Name+" ("+strings.Join(s.Roles, ", ")+", key "+keyID(s.Key)[:8]+")")
	}
	for _, action := range slices.Sorted(maps.Keys(d.Approvals)) {
		parts = append(parts, action+" by "+strings.Join(d.Approvals[action], " and "))
	}
	if d.AllowWaivers {
		parts = append(parts, "waivers allowed")
	}
	return strings.Join(parts, "; ")
}

// Governed tells whether two deployments let the same people decide in the same
// way. Where they do not, the change between them counts as loosening.
func Governed(a, b *policy.Deployment) bool {
	if a == nil || b == nil {
		return a == b
	}
	if len(a.Approvals) != len(b.Approvals) || len(a.Signers) != len(b.Signers) || a.AllowWaivers != b.AllowWaivers && b.AllowWaivers {
		return false
	}
	for action, roles := range a.Approvals {
		if !equalSets(roles, b.Approvals[action]) {
			return false
		}
	}
	for _, s := range a.Signers {
		if !slices.ContainsFunc(b.Signers, func(o policy.Signer) bool {
			return o.Name == s.Name && string(o.Key) == string(s.Key) && equalSets(o.Roles, s.Roles)
		}) {
			return false
		}
	}
	return true
}

func equalSets(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(slices.Compact(a), slices.Compact(b))
}

// Widens tells whether b reaches or trusts anything, outside the table, that a did
// not: an address of a backend or a peer, a key or audience of an issuer or another
// place for its tokens, another trust domain, a service over TCP, another directory,
// other pins or their keys. In which country an address lies, and who holds a key,
// no table can say; so a change of them needs the eyes that loosening needs.
// Regions and issuers that only b has are told by the table, except for pin keys, which
// every region's peers trust.
func Widens(a, b *policy.Deployment) bool {
	if a == nil || b == nil {
		return b != nil
	}
	if a.TrustDomain != b.TrustDomain || !within(a.Today, b.Today) || !reflect.DeepEqual(beside(a), beside(b)) {
		return true
	}
	for _, is := range b.Streams {
		if !slices.ContainsFunc(a.Streams, func(was policy.Stream) bool {
			return was.Name == is.Name && was.Class.Value == is.Class.Value && was.Service.Value == is.Service.Value && was.Port == is.Port
		}) {
			return true
		}
	}
	for _, is := range b.Regions {
		if is.PinKeys.JWKS != nil && !slices.ContainsFunc(a.Regions, func(was policy.Region) bool { return was.Name == is.Name }) {
			return true
		}
		for _, was := range a.Regions {
			if was.Name == is.Name && (was.Host != is.Host || was.Peer != is.Peer || was.TLS != is.TLS || was.KMS != is.KMS || string(was.PinKeys.JWKS) != string(is.PinKeys.JWKS) || !within(was.Backends, is.Backends)) {
				return true
			}
		}
	}
	for _, is := range b.Issuers {
		for _, was := range a.Issuers {
			if was.Issuer == is.Issuer && (!reflect.DeepEqual(verified(was), verified(is)) || is.Forward && !was.Forward || !subset(is.Audiences, was.Audiences) || len(is.Audiences) == 0 && len(was.Audiences) > 0) {
				return true
			}
		}
	}
	return false
}

// verified is how an issuer's tokens are verified and read, without what the table
// or a comparison of sets tells.
func verified(i policy.Issuer) topology.Issuer {
	out := i.Topology()
	out.Audiences, out.Forward = nil, false
	return out
}

// beside is where homes come from when no token names them, and what carries them.
func beside(d *policy.Deployment) topology.Topology {
	var out topology.Topology
	if d.Pins != nil {
		out.Pins = &d.Pins.Pins
	}
	if d.Directory != nil {
		out.Directory = &d.Directory.Directory
	}
	if d.GeoIP != nil {
		out.GeoIP = &d.GeoIP.GeoIP
	}
	return out
}

// within tells whether every address of b stands in a, by service.
func within(a, b map[string][]string) bool {
	for service, addresses := range b {
		if !subset(addresses, a[service]) {
			return false
		}
	}
	return true
}

func subset(part, whole []string) bool {
	return !slices.ContainsFunc(part, func(s string) bool { return !slices.Contains(whole, s) })
}
