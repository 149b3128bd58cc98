// Package identity says who a part of Domicile is: the id of a node, the
// certificate that proves it, and the TLS settings that check it. It also holds
// the keyed hash by which the directory knows users.
//
// A node id is REGION/ROLE/NAME. It is an Envoy's Node.id and, as
// spiffe://TRUSTDOMAIN/REGION/ROLE/NAME, the only URI in its certificate, so a
// node cannot claim an id that its certificate does not carry.
//
// Everything fails closed: an id that is not canonical, a certificate with no
// URI, two URIs or another trust domain, and the zero ID are refused. An
// Authority and the functions here are safe for concurrent use.
package identity

import (
	"fmt"
	"strings"
)

// The roles.
const (
	RoleGateway  = "gateway"  // user-facing Envoy
	RolePeer     = "peer"     // Envoy that faces other regions' gateways only
	RoleSidecar  = "sidecar"  // Envoy next to an app
	RoleEgress   = "egress"   // Envoy that faces other IM clusters and third parties
	RoleAgent    = "agent"    // domicile-agent
	RoleControl  = "control"  // domicile-control, in no region
	RoleOperator = "operator" // a person or job that calls the admin API, in no region
)

// Envoys lists the roles of Envoys that get a configuration from the control plane.
// Package envoy, which is core and does not know this one, names the same; a test
// there holds the two together.
func Envoys() []string { return []string{RoleGateway, RolePeer, RoleSidecar} }

// NoRegion is the Region of roles that belong to no region.
const NoRegion = "-"

// ID names one node. The zero ID is not valid and equals no node's.
type ID struct{ Region, Role, Name string }

// ParseID reads REGION/ROLE/NAME. Region and name are lower-case DNS labels of
// at most 63 bytes; roles are those of this package; exactly the roles control
// and operator have region "-".
func ParseID(s string) (ID, error) {
	if len(s) > 200 {
		return ID{}, fmt.Errorf("node id: longer than 200 bytes")
	}
	parts := strings.Split(s, "/")
	if len(parts) != 3 {
		return ID{}, fmt.Errorf("node id %q: not REGION/ROLE/NAME", s)
	}
	id := ID{Region: parts[0], Role: parts[1], Name: parts[2]}
	if err := id.Validate(); err != nil {
		return ID{}, err
	}
	return id, nil
}

// Validate tells what is wrong with id; nil means that it is canonical.
func (id ID) Validate() error {
	switch id.Role {
	case RoleControl, RoleOperator:
		if id.Region != NoRegion {
			return fmt.Errorf("node id %q: role %s belongs to no region, write %q", id, id.Role, NoRegion)
		}
	case RoleGateway, RolePeer, RoleSidecar, RoleEgress, RoleAgent:
		if !label(id.Region) {
			return fmt.Errorf("node id %q: region is not a lower-case DNS label", id)
		}
	default:
		return fmt.Errorf("node id %q: role is not gateway, peer, sidecar, egress, agent, control or operator", id)
	}
	if !label(id.Name) {
		return fmt.Errorf("node id %q: name is not a lower-case DNS label", id)
	}
	return nil
}

// String returns REGION/ROLE/NAME.
func (id ID) String() string { return id.Region + "/" + id.Role + "/" + id.Name }

// URI returns the SPIFFE id: spiffe://TRUSTDOMAIN/REGION/ROLE/NAME.
func (id ID) URI(trustDomain string) string { return "spiffe://" + trustDomain + "/" + id.String() }

// parseURI is the strict inverse of URI. It compares text and never decodes, so
// an escaped or dressed-up spelling of an id is not that id.
func parseURI(uri, trustDomain string) (ID, error) {
	if err := checkTrustDomain(trustDomain); err != nil {
		return ID{}, err
	}
	rest, ok := strings.CutPrefix(uri, "spiffe://"+trustDomain+"/")
	if !ok {
		return ID{}, fmt.Errorf("identity %q: not of trust domain %s", uri, trustDomain)
	}
	return ParseID(rest)
}

// checkTrustDomain wants dot-separated lower-case DNS labels.
func checkTrustDomain(td string) error {
	if len(td) > 255 {
		return fmt.Errorf("trust domain: longer than 255 bytes")
	}
	for part := range strings.SplitSeq(td, ".") {
		if !label(part) {
			return fmt.Errorf("trust domain %q: not a lower-case DNS name", td)
		}
	}
	return nil
}

// label tells whether s is a lower-case DNS label: a-z, 0-9 and inner hyphens.
func label(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}
