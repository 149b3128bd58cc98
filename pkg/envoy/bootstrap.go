package envoy

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	overloadv3 "github.com/envoyproxy/go-control-plane/envoy/config/overload/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	internallistenerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/bootstrap/internal_listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	connectionsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/domicile-dev/domicile/pkg/envoy/internal/address"
	"github.com/domicile-dev/domicile/pkg/envoy/internal/counted"
	"github.com/domicile-dev/domicile/pkg/envoy/internal/fence"
	"github.com/domicile-dev/domicile/pkg/envoy/internal/mutual"
	"github.com/domicile-dev/domicile/pkg/envoy/internal/packing"
	"github.com/domicile-dev/domicile/pkg/envoy/internal/sample"
	"github.com/domicile-dev/domicile/pkg/envoy/internal/upstream"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// ControlPlaneCluster is the bootstrap's cluster for xDS. No route may lead to it.
const ControlPlaneCluster = "domicile_xds"

// maxConnections bounds what one Envoy accepts from users (Envoy's best
// practices for edge proxies).
const maxConnections = 100_000

// keepsLastBytes is the runtime feature of Envoy that, turned off, keeps them: an internal
// listener's close counts as a reset, and with it the last bytes of an answer with
// Connection: close were thrown away on their way to the client (envoyproxy/envoy
// 45190 is of this kind).
const keepsLastBytes = "envoy.reloadable_features.propagate_upstream_rst_through_tunneled_tcp_proxy"

// BootstrapSpec is what an Envoy must know before it can ask.
type BootstrapSpec struct {
	ID          string // REGION/ROLE/NAME, as in its certificate
	Cluster     string // for Envoy's own node.cluster; default the role
	Admin       string // host:port of the admin listener; loopback only
	XDS         string // host:port of domicile-control; empty for a static file
	TrustDomain string
	// Certificates: what this Envoy is, who may be a peer, and what users see.
	Node, Public KeyPair
	CA           PEM
	// Coverage is how many of 100 requests with a verified user are shown to the
	// agent, which counts users by home; 0 leaves Envoy's default, 1.
	Coverage int
	// Agent is the Unix socket of the agent beside this Envoy, which says whom to keep
	// out; default topology.DefaultAgent.
	Agent string
}

// PEM is a file or its content.
type PEM struct{ File, Inline string }

// KeyPair is a certificate chain and its key.
type KeyPair struct{ Certificate, Key PEM }

func (p PEM) source() *corev3.DataSource {
	if p.File != "" {
		return &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: p.File}}
	}
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: p.Inline}}
}

// Bootstrap returns the JSON with which an Envoy starts and asks
// domicile-control for everything else. Until it is answered it has no
// listener, and a listener without its token filter denies: closed by default.
func Bootstrap(s BootstrapSpec) ([]byte, error) {
	b, err := s.base()
	if err != nil {
		return nil, err
	}
	xds, err := s.controlPlane()
	if err != nil {
		return nil, err
	}
	p := new(packing.Packer)
	b.StaticResources.Clusters = []*clusterv3.Cluster{xds, fence.Agent(p, cmp.Or(s.Agent, topology.DefaultAgent))}
	if p.Err() != nil {
		return nil, p.Err()
	}
	b.DynamicResources = &bootstrapv3.Bootstrap_DynamicResources{
		CdsConfig: fromADS(), LdsConfig: fromADS(),
		AdsConfig: &corev3.ApiConfigSource{
			ApiType: corev3.ApiConfigSource_DELTA_GRPC, TransportApiVersion: corev3.ApiVersion_V3,
			SetNodeOnFirstMessageOnly: true,
			GrpcServices: []*corev3.GrpcService{{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
				EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: ControlPlaneCluster},
			}}},
		},
	}
	return JSON(b)
}

// StaticBootstrap returns one JSON file with which an Envoy runs r without any
// control plane. It keeps out nobody by itself: its fence is open.
func StaticBootstrap(s BootstrapSpec, r *Resources) ([]byte, error) {
	b, err := s.base()
	if err != nil {
		return nil, err
	}
	p := new(packing.Packer)
	open := *r
	open.Extensions = append(slices.Clone(r.Extensions), fence.Open(p))
	r = &open
	if p.Err() != nil {
		return nil, p.Err()
	}
	b.StaticResources.Clusters = r.Clusters
	for _, l := range r.Listeners {
		static, err := inline(l, r)
		if err != nil {
			return nil, fmt.Errorf("listener %s: %w", l.GetName(), err)
		}
		b.StaticResources.Listeners = append(b.StaticResources.Listeners, static)
	}
	return JSON(b)
}

// inline copies a listener with its routes and token filter written into it.
func inline(l *listenerv3.Listener, r *Resources) (*listenerv3.Listener, error) {
	out := proto.Clone(l).(*listenerv3.Listener)
	for _, chain := range out.GetFilterChains() {
		for _, f := range chain.GetFilters() {
			hcm := &hcmv3.HttpConnectionManager{}
			if !f.GetTypedConfig().MessageIs(hcm) {
				continue
			}
			if err := f.GetTypedConfig().UnmarshalTo(hcm); err != nil {
				return nil, err
			}
			inlineManager(hcm, r)
			body, err := packing.Pack(hcm)
			if err != nil {
				return nil, err
			}
			f.ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: body}
		}
	}
	return out, nil
}

func inlineManager(hcm *hcmv3.HttpConnectionManager, r *Resources) {
	for _, rc := range r.Routes {
		if hcm.GetRds().GetRouteConfigName() == rc.GetName() {
			hcm.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: proto.Clone(rc).(*routev3.RouteConfiguration)}
		}
	}
	for _, f := range hcm.GetHttpFilters() {
		for _, x := range r.Extensions {
			if f.GetConfigDiscovery() != nil && f.GetName() == x.GetName() {
				f.ConfigType = &hcmv3.HttpFilter_TypedConfig{TypedConfig: proto.Clone(x.GetTypedConfig()).(*anypb.Any)}
			}
		}
	}
}

func (s BootstrapSpec) base() (*bootstrapv3.Bootstrap, error) {
	admin, _, err := address.Socket(s.Admin)
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	internal, err := packing.Pack(&internallistenerv3.InternalListener{})
	if err != nil {
		return nil, err
	}
	limit, err := packing.Pack(&connectionsv3.DownstreamConnectionsConfig{MaxActiveDownstreamConnections: maxConnections})
	if err != nil {
		return nil, err
	}
	b := &bootstrapv3.Bootstrap{
		Node:  &corev3.Node{Id: s.ID, Cluster: s.Cluster},
		Admin: &bootstrapv3.Admin{Address: admin},
		BootstrapExtensions: []*corev3.TypedExtensionConfig{{
			Name: "envoy.bootstrap.internal_listener", TypedConfig: internal,
		}},
		StatsConfig:     counted.Tags(),
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{Secrets: s.secrets()},
		OverloadManager: &overloadv3.OverloadManager{ResourceMonitors: []*overloadv3.ResourceMonitor{{
			Name:       "envoy.resource_monitors.global_downstream_max_connections",
			ConfigType: &overloadv3.ResourceMonitor_TypedConfig{TypedConfig: limit},
		}}},
	}
	runtime := map[string]*structpb.Value{keepsLastBytes: structpb.NewBoolValue(false)}
	if s.Coverage > 0 {
		runtime[sample.Runtime] = structpb.NewNumberValue(float64(s.Coverage))
	}
	b.LayeredRuntime = &bootstrapv3.LayeredRuntime{Layers: []*bootstrapv3.RuntimeLayer{{
		Name:           "static",
		LayerSpecifier: &bootstrapv3.RuntimeLayer_StaticLayer{StaticLayer: &structpb.Struct{Fields: runtime}},
	}}}
	return b, nil
}

func (s BootstrapSpec) secrets() []*tlsv3.Secret {
	pair := func(name string, k KeyPair) *tlsv3.Secret {
		return &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
			CertificateChain: k.Certificate.source(), PrivateKey: k.Key.source(),
		}}}
	}
	return []*tlsv3.Secret{
		pair(mutual.NodeSecret, s.Node), pair(publicSecret, s.Public),
		{Name: mutual.CASecret, Type: &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{
			TrustedCa: s.CA.source(),
		}}},
	}
}

func (s BootstrapSpec) controlPlane() (*clusterv3.Cluster, error) {
	t := begin(Input{Topology: &topology.Topology{TrustDomain: s.TrustDomain}}, topology.Region{})
	c := &clusterv3.Cluster{
		Name:                          ControlPlaneCluster,
		ConnectTimeout:                durationpb.New(upstream.ConnectTimeout),
		TypedExtensionProtocolOptions: t.protocolOptions(http2, true),
		TransportSocket: &corev3.TransportSocket{
			Name: "envoy.transport_sockets.tls",
			ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: t.Pack(&tlsv3.UpstreamTlsContext{
				Sni:              address.Host(s.XDS),
				CommonTlsContext: mutual.TLS([]string{"h2"}, t.sanOf("-", "control")),
			})},
		},
		UpstreamConnectionOptions: &clusterv3.UpstreamConnectionOptions{TcpKeepalive: &corev3.TcpKeepalive{
			KeepaliveTime: wrapperspb.UInt32(10), KeepaliveInterval: wrapperspb.UInt32(5), KeepaliveProbes: wrapperspb.UInt32(3),
		}},
	}
	t.setEndpoints(c, []string{s.XDS})
	return c, t.Err()
}

// JSON encodes a message with stable spacing: protojson's own varies on purpose.
func JSON(m proto.Message) ([]byte, error) {
	raw, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, raw, "", "  "); err != nil {
		return nil, fmt.Errorf("indent %s: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}
