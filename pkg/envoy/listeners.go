package envoy

import (
	"slices"
	"strings"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	healthv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/health_check/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	earlyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/domicile-dev/domicile/pkg/envoy/internal/address"
	"github.com/domicile-dev/domicile/pkg/envoy/internal/fence"
	"github.com/domicile-dev/domicile/pkg/envoy/internal/inner"
	"github.com/domicile-dev/domicile/pkg/envoy/internal/match"
	"github.com/domicile-dev/domicile/pkg/envoy/internal/mutual"
	"github.com/domicile-dev/domicile/pkg/envoy/internal/reply"
	"github.com/domicile-dev/domicile/pkg/envoy/internal/sample"
	"github.com/domicile-dev/domicile/pkg/envoy/internal/sni"
	"github.com/domicile-dev/domicile/pkg/envoy/internal/tokens"
	"github.com/domicile-dev/domicile/pkg/residency"
)

const (
	sessionKeepAlive = 1 * time.Hour
	healthCluster    = "health"
)

func (t *translation) plainListener() *listenerv3.Listener {
	return t.listener(Gateway, t.region.Listen.Plain, t.connectionManager(Gateway, Gateway), nil)
}

func (t *translation) sidecarListener() *listenerv3.Listener {
	return t.listener(Sidecar, t.region.Listen.Sidecar, t.connectionManager(Sidecar, Sidecar), nil)
}

func (t *translation) egressListener() *listenerv3.Listener {
	return t.listener("egress", t.region.Listen.Egress, t.connectionManager("egress", "egress"), nil)
}

// tlsListener ends TLS for every name, or passes on those of others that may not be
// decrypted here, where there is an address for that.
func (t *translation) tlsListener() *listenerv3.Listener {
	l := t.listener("gateway_tls", t.region.Listen.TLS, t.connectionManager("gateway_tls", Gateway), &tlsv3.DownstreamTlsContext{
		CommonTlsContext: &tlsv3.CommonTlsContext{
			AlpnProtocols:                  []string{"h2", "http/1.1"},
			TlsParams:                      &tlsv3.TlsParameters{TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_2},
			TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{{Name: publicSecret}},
		},
	})
	if g := t.names(); g.Passes() {
		t.addWays(g.Connections(l.GetFilterChains()[0]))
		g.Listen(l)
	}
	return l
}

// names decides by TLS server names.
func (t *translation) names() sni.Gateway {
	g := sni.Gateway{Packer: t.Packer, Tables: []*residency.Table{t.Table}, Topology: t.Topology, Region: t.region}
	if t.Opening != nil {
		g.Tables = append(g.Tables, t.Opening)
	}
	return g
}

func (t *translation) addWays(w sni.Ways) {
	for _, c := range w.Clusters {
		t.addCluster(c)
	}
	for _, l := range w.Listeners {
		t.inner[l.GetName()] = l
	}
}

// peerListener takes other regions' gateways and sidecars, and nobody else.
func (t *translation) peerListener() *listenerv3.Listener {
	return t.listener(Peer, t.region.Listen.Peer, t.connectionManager(Peer, Peer), &tlsv3.DownstreamTlsContext{
		CommonTlsContext:         mutual.TLS([]string{"h2", "http/1.1"}, t.sanOf("[a-z0-9-]+", Gateway, Sidecar)),
		RequireClientCertificate: wrapperspb.Bool(true),
	})
}

// listener holds nothing of the policy: its bytes stay when the policy changes.
func (t *translation) listener(name, at string, hcm *hcmv3.HttpConnectionManager, tls *tlsv3.DownstreamTlsContext) *listenerv3.Listener {
	a, _, err := address.Socket(at)
	if err != nil {
		t.Fail(err)
	}
	chain := &listenerv3.FilterChain{Filters: []*listenerv3.Filter{{
		Name:       "http",
		ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: t.Pack(hcm)},
	}}}
	if tls != nil {
		chain.TransportSocket = &corev3.TransportSocket{
			Name:       "envoy.transport_sockets.tls",
			ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: t.Pack(tls)},
		}
		chain.TransportSocketConnectTimeout = durationpb.New(10 * time.Second)
	}
	return &listenerv3.Listener{
		Name: name, Address: a, FilterChains: []*listenerv3.FilterChain{chain},
		PerConnectionBufferLimitBytes: wrapperspb.UInt32(32 << 10),
	}
}

// connectionManager follows Envoy's list for edge proxies
// (docs/configuration/best_practices/edge).
func (t *translation) connectionManager(name, routes string) *hcmv3.HttpConnectionManager {
	hcm := &hcmv3.HttpConnectionManager{
		StatPrefix: name,
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{
			RouteConfigName: routes, ConfigSource: fromADS(),
		}},
		HttpFilters:                  t.filters(name),
		UpgradeConfigs:               []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}},
		LocalReplyConfig:             t.replies(reply.FromVirtualHost, fenced(name)),
		UseRemoteAddress:             wrapperspb.Bool(true),
		NormalizePath:                wrapperspb.Bool(true),
		MergeSlashes:                 true,
		PathWithEscapedSlashesAction: hcmv3.HttpConnectionManager_REJECT_REQUEST,
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{
			IdleTimeout:                  durationpb.New(sessionKeepAlive),
			HeadersWithUnderscoresAction: corev3.HttpProtocolOptions_REJECT_REQUEST,
		},
		HttpProtocolOptions: &corev3.Http1ProtocolOptions{},
		Http2ProtocolOptions: &corev3.Http2ProtocolOptions{
			MaxConcurrentStreams:        wrapperspb.UInt32(100),
			InitialStreamWindowSize:     wrapperspb.UInt32(64 << 10),
			InitialConnectionWindowSize: wrapperspb.UInt32(1 << 20),
		},
		StreamIdleTimeout:     durationpb.New(5 * time.Minute),
		RequestHeadersTimeout: durationpb.New(10 * time.Second),
	}
	mutations := []*mutationv3.HeaderMutation{tokens.Without(tokens.Prefix), tokens.Without("x-envoy-")}
	if name == Gateway || name == Sidecar || name == "gateway_tls" {
		seen, err := sample.Log(agentName, tokens.UserHeader, tokens.HomeHeader)
		if err != nil {
			t.Fail(err)
		}
		hcm.AccessLog = []*accesslogv3.AccessLog{seen}
	}
	if name == Peer {
		hcm.UseRemoteAddress = wrapperspb.Bool(false)
		hcm.Http2ProtocolOptions.MaxConcurrentStreams = wrapperspb.UInt32(1000)
		// Not for users: a client that keeps to RFC 8441 sends no Sec-WebSocket-Key,
		// and Envoy makes none for an HTTP/1.1 backend (envoyproxy/envoy 8547).
		// Without the offer browsers use HTTP/1.1.
		hcm.Http2ProtocolOptions.AllowConnect = true
		mutations = append(mutations, &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_Append{
			Append: setHeader(entryHeader, "%DOWNSTREAM_PEER_URI_SAN%"),
		}})
	}
	hcm.EarlyHeaderMutationExtensions = []*corev3.TypedExtensionConfig{{
		Name: "scrub", TypedConfig: t.Pack(&earlyv3.HeaderMutation{Mutations: mutations}),
	}}
	return hcm
}

// filters are those of a listener. Who calls, and by what pin, comes by ECDS.
func (t *translation) filters(listener string) []*hcmv3.HttpFilter {
	out := []*hcmv3.HttpFilter{tokens.ByECDS(t.Packer, tokens.Name(t.Topology, listener == Peer), tokens.Type, fromADS())}
	if fenced(listener) {
		out = append(out, tokens.WithoutTrailers(t.Packer), fence.Filter(t.Packer))
		if t.Topology.Pins != nil {
			pin := tokens.ByECDS(t.Packer, tokens.PinFilterName, tokens.PinFilterType, fromADS())
			pin.Disabled = true
			out = append(out, pin)
		}
	}
	return append(out, t.router())
}

// fenced tells whether a listener takes users, of whom some may have moved or been
// erased while their tokens are good.
func fenced(listener string) bool { return listener != "egress" }

// fromADS takes a resource from the control plane. Envoy waits for the first
// answer for ever, closed.
func fromADS() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ResourceApiVersion:    corev3.ApiVersion_V3,
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
		InitialFetchTimeout:   durationpb.New(0),
	}
}

func (t *translation) replies(policy string, fenced bool) *hcmv3.LocalReplyConfig {
	out, err := reply.Config(policy, fenced)
	if err != nil {
		t.Fail(err)
	}
	return out
}

func (t *translation) router() *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: "router", ConfigType: &hcmv3.HttpFilter_TypedConfig{
		TypedConfig: t.Pack(&routerv3.Router{SuppressEnvoyHeaders: true}),
	}}
}

// liveCluster asks for the pair of cluster and internal listener through which
// the long-lived streams of one home, class route and destination run. Removing
// the listener closes them, and no others.
func (t *translation) liveCluster(owner string, r residency.Route, d destination) string {
	name := liveName(owner, streamID(r, t, d), d)
	if _, done := t.inner[name]; done {
		return name
	}
	t.addCluster(inner.Cluster(t.Packer, name, d.proto == http2))
	t.inner[name] = inner.Listener(name, "tcp", t.Pack(&tcpproxyv3.TcpProxy{
		StatPrefix:       "live",
		ClusterSpecifier: &tcpproxyv3.TcpProxy_Cluster{Cluster: t.streamCluster(d)},
		IdleTimeout:      durationpb.New(0),
	}))
	return name
}

// guardCluster asks for the pair of cluster and internal listener that a request
// passes whose subject its path names: there the agent beside this Envoy judges
// it, and nothing goes on without its word. It stands apart so that the requests
// that need no agent pay nothing for it, and holds nothing of the policy.
func (t *translation) guardCluster(r residency.Route, target string, d destination) string {
	name := strings.Join([]string{"guard", streamID(r, t, d), target}, "/")
	if d.counted != "" {
		name += "/" + strings.ReplaceAll(d.counted, ".", "/") // dots would part the listener's own metrics
	}
	if _, done := t.inner[name]; done {
		return name
	}
	t.addCluster(inner.Cluster(t.Packer, name, d.proto == http2))
	route := &routev3.Route{
		Match:      match.AnyPath(),
		StatPrefix: d.counted,
		Metadata:   reply.Explain(residency.RegionUnavailable, r.Class, ""),
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: target},
			Timeout:          durationpb.New(0), // the outer route has one
		}},
		RequestHeadersToRemove: []string{policyHeader},
		TypedPerFilterConfig:   map[string]*anypb.Any{authzFilterName: t.told(map[string]string{"class": r.Class, "template": r.Match.PathTemplate})},
	}
	t.inner[name] = inner.Listener(name, "http", t.Pack(&hcmv3.HttpConnectionManager{
		StatPrefix:           "guard",
		CodecType:            hcmv3.HttpConnectionManager_AUTO,
		HttpFilters:          []*hcmv3.HttpFilter{t.agentFilter(), t.router()},
		UpgradeConfigs:       []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}},
		LocalReplyConfig:     t.replies("%REQ("+policyHeader+")%", false),
		NormalizePath:        wrapperspb.Bool(true),
		StreamIdleTimeout:    durationpb.New(0),
		Http2ProtocolOptions: &corev3.Http2ProtocolOptions{AllowConnect: true},
		RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{
			Name:         name,
			VirtualHosts: []*routev3.VirtualHost{{Name: "guard", Domains: []string{"*"}, Routes: []*routev3.Route{route}}},
		}},
	}))
	return name
}

// healthRoute leads to the internal listener that knows which of this region's
// services have a live backend.
func (t *translation) healthRoute() *routev3.Route {
	t.addCluster(inner.Cluster(t.Packer, healthCluster, false))
	r := t.deny(match.AnyPath(), residency.RegionUnavailable, "", "")
	r.Action = &routev3.Route_Route{Route: &routev3.RouteAction{
		ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: healthCluster},
		Timeout:          durationpb.New(time.Second),
	}}
	return r
}

// healthListener answers peers' health checks, one filter a service. It stands
// apart so that a service more or less closes no peer's connection.
func (t *translation) healthListener() *listenerv3.Listener {
	hcm := &hcmv3.HttpConnectionManager{
		StatPrefix: healthCluster,
		RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{
			Name: healthCluster,
			VirtualHosts: []*routev3.VirtualHost{{
				Name: healthCluster, Domains: []string{"*"},
				Routes: []*routev3.Route{{Match: match.AnyPath(), Action: &routev3.Route_DirectResponse{
					DirectResponse: &routev3.DirectResponseAction{Status: 503},
				}}},
			}},
		}},
	}
	for _, service := range t.services() {
		cluster := t.localCluster(service, http1, true)
		hcm.HttpFilters = append(hcm.HttpFilters, &hcmv3.HttpFilter{
			Name: "health." + service,
			ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: t.Pack(&healthv3.HealthCheck{
				PassThroughMode:              wrapperspb.Bool(false),
				Headers:                      []*routev3.HeaderMatcher{match.HeaderIs(":path", healthPath+service)},
				ClusterMinHealthyPercentages: map[string]*typev3.Percent{cluster: {Value: 1}},
			})},
		})
	}
	hcm.HttpFilters = append(hcm.HttpFilters, t.router())
	return inner.Listener(healthCluster, "http", t.Pack(hcm))
}

// services are the services that some rule serves from this region as one of
// several: only for those does another region need to know.
func (t *translation) services() []string {
	var out []string
	for _, r := range t.Table.Routes() {
		if !slices.Contains(out, r.Service) && len(t.region.Backends[r.Service]) > 0 && t.Memory.shared.Listed(r.Service, t.region.Name) {
			out = append(out, r.Service)
		}
	}
	slices.Sort(out)
	return out
}

func cloneMatch(m *routev3.RouteMatch) *routev3.RouteMatch {
	return proto.Clone(m).(*routev3.RouteMatch)
}
