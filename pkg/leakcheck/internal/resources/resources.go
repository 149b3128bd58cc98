// Package resources holds what one Envoy was given, by name. Two resources of one
// name (one active, one warming) both count. It is pure.
package resources

import (
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"

	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/facts"
)

// Set is all of it. Endpoints are by the cluster that they are for. It must not be
// used concurrently.
type Set struct {
	Clusters   map[string][]*clusterv3.Cluster
	Endpoints  map[string][]*endpointv3.ClusterLoadAssignment
	Internal   map[string][]*listenerv3.Listener // listeners that only this Envoy comes to
	Routes     map[string][]*routev3.RouteConfiguration
	Extensions map[string][]*corev3.TypedExtensionConfig

	open map[string]bool // clusters that are looked at: guards cycles
}

// New groups what an Envoy was given.
func New(listeners []*listenerv3.Listener, clusters []*clusterv3.Cluster, endpoints []*endpointv3.ClusterLoadAssignment,
	routes []*routev3.RouteConfiguration, extensions []*corev3.TypedExtensionConfig,
) *Set {
	s := &Set{
		Clusters:   group(clusters, (*clusterv3.Cluster).GetName),
		Endpoints:  group(endpoints, (*endpointv3.ClusterLoadAssignment).GetClusterName),
		Internal:   map[string][]*listenerv3.Listener{},
		Routes:     group(routes, (*routev3.RouteConfiguration).GetName),
		Extensions: group(extensions, (*corev3.TypedExtensionConfig).GetName),
		open:       map[string]bool{},
	}
	for _, l := range listeners {
		if l.GetInternalListener() != nil {
			s.Internal[l.GetName()] = append(s.Internal[l.GetName()], l)
		}
	}
	return s
}

func group[T any](list []T, name func(T) string) map[string][]T {
	out := map[string][]T{}
	for _, x := range list {
		out[name(x)] = append(out[name(x)], x)
	}
	return out
}

// Closable tells whether all streams of a cluster run through an internal listener
// that passes bytes on: removing it ends them.
func (s *Set) Closable(cluster string) bool {
	if s.open[cluster] || len(s.Clusters[cluster]) == 0 {
		return false
	}
	s.open[cluster] = true
	defer delete(s.open, cluster)
	for _, c := range s.Clusters[cluster] {
		for _, group := range c.GetLoadAssignment().GetEndpoints() {
			for _, e := range group.GetLbEndpoints() {
				i := e.GetEndpoint().GetAddress().GetEnvoyInternalAddress()
				if i == nil || slices.ContainsFunc(s.Internal[i.GetServerListenerName()], func(l *listenerv3.Listener) bool { return !s.passes(l) }) {
					return false
				}
			}
		}
	}
	return true
}

// passes tells whether a listener is such a one, or leads to one in all its routes.
func (s *Set) passes(l *listenerv3.Listener) bool {
	for _, chain := range facts.Chains(l) {
		for _, f := range chain.GetFilters() {
			m, _ := f.GetTypedConfig().UnmarshalNew()
			if _, ok := m.(*tcpproxyv3.TcpProxy); ok {
				continue
			}
			cfg, ok := m.(*hcmv3.HttpConnectionManager)
			if !ok {
				return false
			}
			if cfg.GetRouteConfig() == nil {
				return false
			}
			for _, vh := range cfg.GetRouteConfig().GetVirtualHosts() {
				if vh.GetMatcher() != nil {
					return false
				}
				for _, r := range vh.GetRoutes() {
					if r.GetRoute() != nil && !s.Closable(r.GetRoute().GetCluster()) {
						return false
					}
				}
			}
		}
	}
	return true
}
