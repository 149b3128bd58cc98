// Package places says what an address is, by the topology. It is pure.
package places

import (
	"maps"
	"slices"
	"strings"

	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/facts"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// Kind is what stands at an address.
type Kind int

// The kinds.
const (
	Unknown Kind = iota
	Backend
	Peer
	Agent
	Resolver // a listener of this Envoy where the agent says whose data it is
	Ended    // a listener of this Envoy where the TLS of connections ends
)

// Place is what an address is, and where.
type Place struct {
	Kind   Kind
	Region string
}

// Hit is one endpoint that a cluster can reach. It is guarded when the way there
// passes an inner connection manager that asks the agent first. Today holds the
// services that the endpoint served before Domicile, between spaces; "" for none.
type Hit struct {
	Place
	Cluster, Endpoint, Today string
	Guarded                  bool
}

// Guarded tells whether all of it is.
func Guarded(hits []Hit) bool {
	return !slices.ContainsFunc(hits, func(h Hit) bool { return !h.Guarded })
}

// ServedToday tells whether all of it served the service before Domicile.
func ServedToday(hits []Hit, service string) bool {
	return !slices.ContainsFunc(hits, func(h Hit) bool { return !strings.Contains(h.Today, " "+service+" ") })
}

// Map is a topology by address text, see facts.AddressText.
type Map struct {
	places map[string][]Place
	today  map[string]string // see Hit
}

// New maps the topology. Where a private address is used in several regions, the
// one in the region own is meant.
func New(top *topology.Topology, own topology.Region) *Map {
	m := &Map{map[string][]Place{}, map[string]string{}}
	here := map[string]bool{}
	for _, addresses := range own.Backends {
		for _, a := range addresses {
			here[facts.Normal(a)] = true
		}
	}
	for a := range here {
		m.places[a] = []Place{{Backend, own.Name}}
	}
	add := func(a string, p Place) {
		if a = facts.Normal(a); a != "" && !here[a] && !slices.Contains(m.places[a], p) {
			m.places[a] = append(m.places[a], p)
		}
	}
	for _, r := range top.Regions {
		if r.Peer != "" {
			add(r.Peer, Place{Peer, r.Name})
		}
		for _, addresses := range r.Backends {
			for _, a := range addresses {
				add(a, Place{Backend, r.Name})
			}
		}
	}
	for _, service := range slices.Sorted(maps.Keys(top.Today)) {
		for _, a := range top.Today[service] {
			m.today[facts.Normal(a)] += " " + service + " "
		}
	}
	if own.Agent != "" {
		m.places["unix:"+own.Agent] = []Place{{Agent, own.Name}}
	}
	return m
}

// At is everything that an address can be, as hits of a cluster.
func (m *Map) At(cluster, text string) []Hit {
	if len(m.places[text]) == 0 {
		return []Hit{{Cluster: cluster, Endpoint: text, Today: m.today[text]}}
	}
	var out []Hit
	for _, p := range m.places[text] {
		out = append(out, Hit{Place: p, Cluster: cluster, Endpoint: text, Today: m.today[text]})
	}
	return out
}
