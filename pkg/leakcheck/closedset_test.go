package leakcheck

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	jwtauthnv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/types/known/emptypb"
)

// closedSetLeaks set one thing outside the closed set in each kind of message.
func closedSetLeaks() []leak {
	return []leak{
		{"token rules by filter state", inToken(func(j *jwtauthnv3.JwtAuthentication) {
			j.FilterStateRules = &jwtauthnv3.FilterStateRule{}
		}), NotJudged},
		{"endpoints of a locality by LEDS", inCluster("message@eu", func(c *clusterv3.Cluster) {
			c.LoadAssignment.Endpoints[0].LbConfig = &endpointv3.LocalityLbEndpoints_LedsClusterLocalityConfig{
				LedsClusterLocalityConfig: &endpointv3.LedsClusterLocalityConfig{},
			}
		}), NotJudged},
		{"endpoint by name", inCluster("message@eu", func(c *clusterv3.Cluster) {
			c.LoadAssignment.Endpoints[0].LbEndpoints[0].HostIdentifier = &endpointv3.LbEndpoint_EndpointName{EndpointName: "x"}
		}), NotJudged},
		{"named endpoints", inCluster("message@eu", func(c *clusterv3.Cluster) {
			c.LoadAssignment.NamedEndpoints = map[string]*endpointv3.Endpoint{"x": {Address: address("10.66.0.1:80")}}
		}), NotJudged},
		{"endpoint with a resolver of its own", inCluster("message@eu", func(c *clusterv3.Cluster) {
			c.LoadAssignment.Endpoints[0].LbEndpoints[0].GetEndpoint().Address.GetSocketAddress().ResolverName = "r"
		}), UnknownEndpoint},
		{"endpoint over UDP", inCluster("message@eu", func(c *clusterv3.Cluster) {
			c.LoadAssignment.Endpoints[0].LbEndpoints[0].GetEndpoint().Address.GetSocketAddress().Protocol = corev3.SocketAddress_UDP
		}), UnknownEndpoint},
		{"unknown upstream transport", inCluster("message@eu", func(c *clusterv3.Cluster) { c.TransportSocket = socket(&emptypb.Empty{}) }), NotJudged},
		{"upstream transport by name only", inCluster("message@eu", func(c *clusterv3.Cluster) {
			c.TransportSocket = &corev3.TransportSocket{Name: "tap"}
		}), NotJudged},
		{"unknown downstream transport", inConfig(func(c *Config) { chainOf(c, "gateway").TransportSocket = socket(&emptypb.Empty{}) }), NotJudged},
		{"unknown early mutation", inManager(func(m *hcmv3.HttpConnectionManager) {
			m.EarlyHeaderMutationExtensions = append(m.EarlyHeaderMutationExtensions, typed("x", &emptypb.Empty{}))
		}), NotJudged},
		{"filters behind the router", inManager(func(m *hcmv3.HttpConnectionManager) {
			m.HttpFilters[2] = httpFilter("router", &routerv3.Router{UpstreamHttpFilters: []*hcmv3.HttpFilter{{Name: "lua"}}})
		}), NotJudged},
		{"internal listener tunnels", inConfig(func(c *Config) {
			c.Listeners[2].FilterChains[0].Filters[0] = networkFilter(&tcpproxyv3.TcpProxy{
				ClusterSpecifier: &tcpproxyv3.TcpProxy_Cluster{Cluster: "peer@me-riyadh+h1"},
				TunnelingConfig:  &tcpproxyv3.TcpProxy_TunnelingConfig{Hostname: "elsewhere:443"},
			})
		}), NotJudged},
		{"agent may choose the route", plan{authz: func(a *extauthzv3.ExtAuthz) { a.ClearRouteCache = true }}, NotJudged},
		{"agent is no cluster", plan{authz: func(a *extauthzv3.ExtAuthz) {
			a.Services = &extauthzv3.ExtAuthz_GrpcService{GrpcService: &corev3.GrpcService{
				TargetSpecifier: &corev3.GrpcService_GoogleGrpc_{GoogleGrpc: &corev3.GrpcService_GoogleGrpc{TargetUri: "x:1"}},
			}}
		}}, NotJudged},
		{"agent over HTTP elsewhere", plan{authz: func(a *extauthzv3.ExtAuthz) {
			a.Services = &extauthzv3.ExtAuthz_HttpService{HttpService: &extauthzv3.HttpService{ServerUri: &corev3.HttpUri{
				HttpUpstreamType: &corev3.HttpUri_Cluster{Cluster: "message@eu"},
			}}}
		}}, AgentBypassed},
		{"retry on another cluster's word", saAction(func(a *routev3.RouteAction) {
			a.RetryPolicy = &routev3.RetryPolicy{RefreshClusterOnRetry: true}
		}), NotJudged},
		{"route traced", inList("gateway", "SA", func(r []*routev3.Route) []*routev3.Route {
			r[0].Tracing = &routev3.Tracing{}
			return r
		}), NotJudged},
		{"route left to a filter", inList("gateway", "SA", func(r []*routev3.Route) []*routev3.Route {
			r[0].Action = &routev3.Route_FilterAction{FilterAction: &routev3.FilterAction{}}
			return r
		}), NotJudged},
		{"virtual host by another source", plan{vh: func(_ string, vh *routev3.VirtualHost) {
			vh.RouteSpecifiers = []*corev3.TypedExtensionConfig{typed("x", &emptypb.Empty{})}
		}}, NotJudged},
		{"route table by another source", plan{rc: func(rc *routev3.RouteConfiguration) { rc.Vhds = &routev3.Vhds{} }}, NotJudged},
		{"protocol options of another kind", inCluster("message@eu", func(c *clusterv3.Cluster) {
			c.TypedExtensionProtocolOptions = optionsOf(&emptypb.Empty{})
		}), NotJudged},
		{"field of a later Envoy", inCluster("message@eu", func(c *clusterv3.Cluster) {
			c.ProtoReflect().SetUnknown([]byte{0xf8, 0xff, 0x7f, 0x01})
		}), NotJudged},
	}
}
