// Package upstream makes the parts of clusters that say nothing of the policy:
// endpoints, health checks and limits. It is pure.
package upstream

import (
	"slices"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	upstreamhttpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/domicile-dev/domicile/pkg/envoy/internal/address"
	"github.com/domicile-dev/domicile/pkg/envoy/internal/packing"
)

// ConnectTimeout bounds how long a connection may take to come about.
const ConnectTimeout = 2 * time.Second

const healthInterval = time.Second

// Unlimited lifts Envoy's bound of 1,024 connections and requests a cluster: what
// one Envoy takes is bounded where users come in (connections), and a full cluster
// would leave the rest of a home's users hanging.
func Unlimited(connections uint32) *clusterv3.CircuitBreakers {
	most := 10 * connections
	return &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
		MaxConnections: wrapperspb.UInt32(most), MaxPendingRequests: wrapperspb.UInt32(most), MaxRequests: wrapperspb.UInt32(most),
	}}}
}

// NoPanic: where nothing is healthy nothing is served. Envoy's default would
// send to every endpoint once half of them are down.
func NoPanic() *clusterv3.Cluster_CommonLbConfig {
	return &clusterv3.Cluster_CommonLbConfig{HealthyPanicThreshold: &typev3.Percent{Value: 0}}
}

// TCPCheck is a health check by connecting.
func TCPCheck() *corev3.HealthCheck {
	return &corev3.HealthCheck{
		Timeout: durationpb.New(healthInterval), Interval: durationpb.New(healthInterval),
		NoTrafficInterval:  durationpb.New(healthInterval),
		UnhealthyThreshold: wrapperspb.UInt32(2), HealthyThreshold: wrapperspb.UInt32(1),
		HealthChecker: &corev3.HealthCheck_TcpHealthCheck_{TcpHealthCheck: &corev3.HealthCheck_TcpHealthCheck{}},
	}
}

// HTTPCheck is a health check by asking host for path, over HTTP/2 where http2.
func HTTPCheck(host, path string, http2 bool) *corev3.HealthCheck {
	c := TCPCheck()
	h := &corev3.HealthCheck_HttpHealthCheck{Host: host, Path: path}
	if http2 {
		h.CodecClientType = typev3.CodecClientType_HTTP2
	}
	c.HealthChecker = &corev3.HealthCheck_HttpHealthCheck_{HttpHealthCheck: h}
	return c
}

// Assignment puts addresses into one group.
func Assignment(cluster string, addresses ...*corev3.Address) *endpointv3.ClusterLoadAssignment {
	group := &endpointv3.LocalityLbEndpoints{}
	for _, a := range addresses {
		group.LbEndpoints = append(group.LbEndpoints, &endpointv3.LbEndpoint{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: a}},
		})
	}
	return &endpointv3.ClusterLoadAssignment{ClusterName: cluster, Endpoints: []*endpointv3.LocalityLbEndpoints{group}}
}

// SetEndpoints puts host:port addresses into a cluster: literal where all are
// IP addresses, by DNS otherwise.
func SetEndpoints(c *clusterv3.Cluster, hostPorts []string) error {
	kind := clusterv3.Cluster_STATIC
	var list []*corev3.Address
	for _, hp := range slices.Sorted(slices.Values(hostPorts)) {
		a, ip, err := address.Socket(hp)
		if err != nil {
			return err
		}
		if !ip {
			kind = clusterv3.Cluster_STRICT_DNS
		}
		list = append(list, a)
	}
	c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: kind}
	c.LoadAssignment = Assignment(c.GetName(), list...)
	return nil
}

// Options fixes the protocol towards a cluster; connect lets upgrades pass over HTTP/2.
func Options(p *packing.Packer, http2, connect bool) map[string]*anypb.Any {
	explicit := &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig{}
	if http2 {
		o := &corev3.Http2ProtocolOptions{AllowConnect: connect}
		if connect {
			o.ConnectionKeepalive = &corev3.KeepaliveSettings{
				Interval: durationpb.New(10 * time.Second), Timeout: durationpb.New(5 * time.Second),
			}
		}
		explicit.ProtocolConfig = &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: o}
	} else {
		explicit.ProtocolConfig = &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{
			HttpProtocolOptions: &corev3.Http1ProtocolOptions{},
		}
	}
	return map[string]*anypb.Any{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": p.Pack(&upstreamhttpv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: explicit},
	})}
}
