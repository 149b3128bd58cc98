// Package inner makes Envoy's internal listeners and the clusters that lead to them:
// a listener that stands behind a cluster of its name is what a policy can take away
// from open streams, and what only some requests have to pass.
package inner

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	internalupstreamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/internal_upstream/v3"
	rawv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/domicile-dev/domicile/pkg/envoy/internal/packing"
	"github.com/domicile-dev/domicile/pkg/envoy/internal/upstream"
)

// Cluster leads to the internal listener of the same name, for requests.
func Cluster(p *packing.Packer, name string, http2 bool) *clusterv3.Cluster {
	return ClusterTo(p, name, name, http2)
}

// ClusterTo leads to an internal listener, for requests.
func ClusterTo(p *packing.Packer, name, listener string, http2 bool) *clusterv3.Cluster {
	c := Stream(p, name, listener)
	c.TypedExtensionProtocolOptions = upstream.Options(p, http2, false)
	return c
}

// Stream is a cluster of bytes that lead to an internal listener.
func Stream(p *packing.Packer, name, listener string) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                 name,
		ConnectTimeout:       durationpb.New(upstream.ConnectTimeout),
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		LoadAssignment: upstream.Assignment(name, &corev3.Address{Address: &corev3.Address_EnvoyInternalAddress{
			EnvoyInternalAddress: &corev3.EnvoyInternalAddress{
				AddressNameSpecifier: &corev3.EnvoyInternalAddress_ServerListenerName{ServerListenerName: listener},
			},
		}}),
		TransportSocket: &corev3.TransportSocket{
			Name: "envoy.transport_sockets.internal_upstream",
			ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: p.Pack(&internalupstreamv3.InternalUpstreamTransport{
				TransportSocket: &corev3.TransportSocket{
					Name:       "envoy.transport_sockets.raw_buffer",
					ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: p.Pack(&rawv3.RawBuffer{})},
				},
			})},
		},
	}
}

// Listener has one filter and is reached by the cluster of its name only.
func Listener(name, filter string, config *anypb.Any) *listenerv3.Listener {
	return Chain(name, &listenerv3.FilterChain{Filters: []*listenerv3.Filter{{
		Name: filter, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: config},
	}}})
}

// Chain is an internal listener of one chain.
func Chain(name string, chain *listenerv3.FilterChain) *listenerv3.Listener {
	return &listenerv3.Listener{
		Name:              name,
		ListenerSpecifier: &listenerv3.Listener_InternalListener{InternalListener: &listenerv3.Listener_InternalListenerConfig{}},
		FilterChains:      []*listenerv3.FilterChain{chain},
	}
}
