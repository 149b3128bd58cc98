// Package fence makes the filter that keeps out users who were erased or moved while
// their tokens are good. Who they are comes from the agent of the region, not from the
// control plane, which knows no users.
package fence

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/domicile-dev/domicile/pkg/envoy/internal/packing"
	"github.com/domicile-dev/domicile/pkg/envoy/internal/upstream"
)

const (
	// FilterName is the filter's name, and that of its resource.
	FilterName = "domicile.fence"
	// Cluster is the bootstrap's cluster of the agent beside an Envoy.
	Cluster = "domicile_agent"

	kind = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"
)

// Filter takes the fence from the agent. Until it has come, everybody is kept out; once
// it has, Envoy keeps the last.
func Filter(p *packing.Packer) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: FilterName, ConfigType: &hcmv3.HttpFilter_ConfigDiscovery{
		ConfigDiscovery: &corev3.ExtensionConfigSource{
			ConfigSource: &corev3.ConfigSource{
				ResourceApiVersion:  corev3.ApiVersion_V3,
				InitialFetchTimeout: durationpb.New(0),
				ConfigSourceSpecifier: &corev3.ConfigSource_ApiConfigSource{ApiConfigSource: &corev3.ApiConfigSource{
					ApiType: corev3.ApiConfigSource_DELTA_GRPC, TransportApiVersion: corev3.ApiVersion_V3,
					SetNodeOnFirstMessageOnly: true,
					GrpcServices: []*corev3.GrpcService{{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
						EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: Cluster},
					}}},
				}},
			},
			DefaultConfig:                    p.Pack(&httprbacv3.RBAC{Rules: &rbacv3.RBAC{Action: rbacv3.RBAC_ALLOW}}),
			ApplyDefaultConfigWithoutWarming: true,
			TypeUrls:                         []string{kind},
		},
	}}
}

// Open is a fence that keeps nobody out, for an Envoy that runs from a file.
func Open(p *packing.Packer) *corev3.TypedExtensionConfig {
	return &corev3.TypedExtensionConfig{Name: FilterName, TypedConfig: p.Pack(&httprbacv3.RBAC{})}
}

// Agent is the cluster of the agent that listens on a Unix socket.
func Agent(p *packing.Packer, socket string) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                          Cluster,
		ConnectTimeout:                durationpb.New(upstream.ConnectTimeout),
		ClusterDiscoveryType:          &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		TypedExtensionProtocolOptions: upstream.Options(p, true, false),
		LoadAssignment: upstream.Assignment(Cluster, &corev3.Address{Address: &corev3.Address_Pipe{
			Pipe: &corev3.Pipe{Path: socket},
		}}),
	}
}
