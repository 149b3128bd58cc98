// Package topology says where things run: the addresses of gateways, peers,
// backends and agents, the keys of issuers, the host names of regions. The
// residency table says what is allowed; a topology never widens it.
//
// A Topology comes from the deployment file by way of package compile. An
// Overlay replaces addresses, keys and directory with local stand-ins; it is
// applied by domicile-control after the bundle has been verified and is never
// part of a bundle, so that what was signed stays what was signed.
//
// The package is pure and its values are plain data.
package topology

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// TrustDomain is the SPIFFE trust domain of a deployment that names none.
const TrustDomain = "domicile.local"

// Topology is where things run.
type Topology struct {
	TrustDomain string   `json:"trustDomain"`
	Regions     []Region `json:"regions"` // sorted by name
	Issuers     []Issuer `json:"issuers"` // sorted by issuer
	// Pins says how pins are issued; nil where there are none.
	Pins *Pins `json:"pins,omitempty"`
	// Directory says where the home of a user is looked up whose token does not
	// name it; nil where there is none.
	Directory *Directory `json:"directory,omitempty"`
	// GeoIP is nil where addresses propose nothing.
	GeoIP *GeoIP `json:"geoip,omitempty"`
	// Streams are the services over TCP that are reached by TLS server name, sorted by
	// name: MQTT, XMPP.
	Streams []Stream `json:"streams,omitempty"`
	// Today maps a service to the host:port list of the backends that served it
	// before Domicile. Only what the policy refuses to homes under observation goes
	// there.
	Today map[string][]string `json:"today,omitempty"`
	// Expose asks for x-domicile-region, -policy and -home on allowed responses, and
	// for x-domicile-observed on those of observation.
	Expose bool `json:"expose,omitempty"`
}

// Region is where one region runs.
type Region struct {
	Name    string `json:"name"`
	Country string `json:"country"`
	// Host is the public host name of the gateway, without port. Aliases are
	// further names that the gateway accepts as its own.
	Host    string   `json:"host,omitempty"`
	Aliases []string `json:"aliases,omitempty"`
	// Peer is host:port on which this region's gateway takes other regions'.
	Peer string `json:"peer,omitempty"`
	// TLS is host:port on which this region's gateway terminates TLS for its own
	// users: where other regions pass its host name through, undecrypted. Empty means
	// that they cannot.
	TLS string `json:"tls,omitempty"`
	// PinKeys is the set of public keys (RFC 7517) that this region's pins are signed
	// with; empty means that no pin of this region verifies.
	PinKeys string `json:"pinKeys,omitempty"`
	// Backends maps a service to the host:port list of its backends here.
	Backends map[string][]string `json:"backends,omitempty"`
	// Agent is the Unix socket of the agent beside the region's Envoys.
	Agent  string `json:"agent"`
	Listen Listen `json:"listen"`
}

// Listen holds the host:port on which the region's Envoys listen.
type Listen struct {
	Plain   string `json:"plain"`   // gateway, without TLS (behind a load balancer, or the demo)
	TLS     string `json:"tls"`     // gateway, TLS
	Peer    string `json:"peer"`    // other regions' gateways, mTLS
	Egress  string `json:"egress"`  // the region's backends, outward
	Sidecar string `json:"sidecar"` // the app beside a sidecar
	// Streams holds, by the name of a Stream, where the gateway takes it, for its own
	// users and from other regions' gateways. Only an overlay says so; otherwise it is
	// the stream's port, at every address here and at the host of TLS from elsewhere.
	Streams map[string]string `json:"streams,omitempty"`
}

// DefaultListen is what an Envoy listens on when no overlay says otherwise.
func DefaultListen() Listen {
	return Listen{
		Plain: "0.0.0.0:8080", TLS: "0.0.0.0:8443", Peer: "0.0.0.0:9443",
		Egress: "127.0.0.1:15002", Sidecar: "127.0.0.1:15001",
	}
}

// DefaultAgent is the agent's Unix socket when no overlay says otherwise.
const DefaultAgent = "/run/domicile/agent.sock"

// Region returns the region of that name.
func (t *Topology) Region(name string) (Region, bool) {
	for _, r := range t.Regions {
		if r.Name == name {
			return r, true
		}
	}
	return Region{}, false
}

// Overlay holds local stand-ins. Fields that are set replace the deployment's.
type Overlay struct {
	TrustDomain string                   `json:"trustDomain,omitempty"`
	Regions     map[string]RegionOverlay `json:"regions,omitempty"`
	// Today replaces the addresses of today's backends, by service.
	Today map[string][]string `json:"today,omitempty"`
	// JWKS replaces the key set of every issuer whose keys stand in the bundle or are
	// fetched.
	JWKS string `json:"jwks,omitempty"`
	// Keys are the key sets of single issuers that are fetched, where there is no JWKS.
	// The control plane puts there what it fetched.
	Keys map[string]string `json:"keys,omitempty"`
	// Expose turns the x-domicile response headers on.
	Expose bool `json:"expose,omitempty"`
}

// RegionOverlay replaces the addresses of one region.
type RegionOverlay struct {
	Aliases  []string            `json:"aliases,omitempty"`
	Peer     string              `json:"peer,omitempty"`
	TLS      string              `json:"tls,omitempty"`
	PinKeys  string              `json:"pinKeys,omitempty"`
	Backends map[string][]string `json:"backends,omitempty"`
	Agent    string              `json:"agent,omitempty"`
	Listen   *Listen             `json:"listen,omitempty"`
}

// ParseOverlay reads an Overlay from JSON; unknown fields are errors.
func ParseOverlay(data []byte) (*Overlay, error) {
	var o Overlay
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&o); err != nil {
		return nil, fmt.Errorf("read overlay: %w", err)
	}
	return &o, nil
}

// With returns a copy of t with the overlay applied. A service that the
// deployment gives no backend in a region stays without one: an overlay moves
// addresses, it never adds a place that may serve. A nil overlay changes nothing.
func (t *Topology) With(o *Overlay) *Topology {
	out := *t
	out.Regions = slices.Clone(t.Regions)
	out.Issuers = slices.Clone(t.Issuers)
	if o == nil {
		return &out
	}
	out.TrustDomain = cmp.Or(o.TrustDomain, t.TrustDomain)
	out.Expose = t.Expose || o.Expose
	out.Today = moved(t.Today, o.Today)
	for i := range out.Issuers {
		x := &out.Issuers[i]
		if x.Introspection != nil || x.Whoami != nil || x.Nameless || x.Secret != nil {
			continue
		}
		fetched := ""
		if x.Remote != nil { // keys that stand in the bundle are what was signed
			fetched = o.Keys[x.Issuer]
		}
		x.JWKS = cmp.Or(o.JWKS, fetched, x.JWKS)
	}
	for i, r := range out.Regions {
		if ro, ok := o.Regions[r.Name]; ok {
			out.Regions[i] = r.with(ro)
		}
	}
	return &out
}

func (r Region) with(o RegionOverlay) Region {
	r.Peer = cmp.Or(o.Peer, r.Peer)
	r.Agent = cmp.Or(o.Agent, r.Agent)
	r.TLS = cmp.Or(o.TLS, r.TLS)
	r.PinKeys = cmp.Or(o.PinKeys, r.PinKeys)
	r.Aliases = append(slices.Clone(r.Aliases), o.Aliases...)
	if o.Listen != nil {
		r.Listen = *o.Listen
	}
	r.Backends = moved(r.Backends, o.Backends)
	return r
}

// moved replaces the addresses of the services that there are.
func moved(services, to map[string][]string) map[string][]string {
	out := maps.Clone(services)
	for service := range out {
		if a, ok := to[service]; ok {
			out[service] = a
		}
	}
	return out
}
