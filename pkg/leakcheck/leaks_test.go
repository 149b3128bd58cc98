package leakcheck

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	mutationrulesv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	dfpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dynamic_forward_proxy/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	headermutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	jwtauthnv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	luav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/lua/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	earlymutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	upstreamhttpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

var update = flag.Bool("update", false, "rewrite the golden file of findings")

type leak struct {
	name string
	plan plan
	code string
}

func leaks() []leak {
	return slices.Concat(routeLeaks(), clusterLeaks(), peerLeaks(), trustLeaks(), listenerLeaks(), closedSetLeaks())
}

func routeLeaks() []leak {
	header := func(name, value string) *routev3.HeaderMatcher {
		return &routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{
			StringMatch: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: value}},
		}}
	}
	identified := func(home, issuer, cluster string) *routev3.Route {
		r := to(isMessage(), cluster)
		r.Match.Headers = []*routev3.HeaderMatcher{header("x-domicile-home", home), header("x-domicile-issuer", issuer)}
		return r
	}
	return []leak{
		{"wrong cluster for one class", saAction(func(a *routev3.RouteAction) {
			a.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: "message@eu"}
		}), RegionNotAllowed},
		{"mirror on the route", saAction(func(a *routev3.RouteAction) {
			a.RequestMirrorPolicies = []*routev3.RouteAction_RequestMirrorPolicy{{Cluster: "message@eu"}}
		}), RegionNotAllowed},
		{"mirror on the virtual host", plan{vh: func(_ string, vh *routev3.VirtualHost) {
			vh.RequestMirrorPolicies = []*routev3.RouteAction_RequestMirrorPolicy{{Cluster: "peer@tr-istanbul"}}
		}}, RegionNotAllowed},
		{"mirror on the route table", plan{rc: func(rc *routev3.RouteConfiguration) {
			rc.RequestMirrorPolicies = []*routev3.RouteAction_RequestMirrorPolicy{{Cluster: "peer@tr-istanbul"}}
		}}, RegionNotAllowed},
		{"mirror where a header says", saAction(func(a *routev3.RouteAction) {
			a.RequestMirrorPolicies = []*routev3.RouteAction_RequestMirrorPolicy{{ClusterHeader: "x-to"}}
		}), NotJudged},
		{"weighted cluster with a foreign share", saAction(func(a *routev3.RouteAction) {
			a.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: &routev3.WeightedCluster{
				Clusters: []*routev3.WeightedCluster_ClusterWeight{{Name: "peer@me-riyadh"}, {Name: "message@eu", Weight: wrapperspb.UInt32(0)}},
			}}
		}), RegionNotAllowed},
		{"weighted cluster with filters of its own", saAction(func(a *routev3.RouteAction) {
			a.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: &routev3.WeightedCluster{
				Clusters: []*routev3.WeightedCluster_ClusterWeight{{
					Name: "peer@me-riyadh", TypedPerFilterConfig: map[string]*anypb.Any{"jwt": tokenless()},
				}},
			}}
		}), NotJudged},
		{"cluster from a header", saAction(func(a *routev3.RouteAction) {
			a.ClusterSpecifier = &routev3.RouteAction_ClusterHeader{ClusterHeader: "x-to"}
		}), NotJudged},
		{"cluster from a plug-in", saAction(func(a *routev3.RouteAction) {
			a.ClusterSpecifier = &routev3.RouteAction_ClusterSpecifierPlugin{ClusterSpecifierPlugin: "p"}
		}), NotJudged},
		{"internal redirect", saAction(func(a *routev3.RouteAction) { a.InternalRedirectPolicy = &routev3.InternalRedirectPolicy{} }), NotJudged},
		{"raw tunnel", saAction(func(a *routev3.RouteAction) {
			a.UpgradeConfigs = []*routev3.RouteAction_UpgradeConfig{{
				UpgradeType: "CONNECT", ConnectConfig: &routev3.RouteAction_UpgradeConfig_ConnectConfig{},
			}}
		}), NotJudged},
		{"path rewritten", saAction(func(a *routev3.RouteAction) { a.PrefixRewrite = "/v1/login" }), NotJudged},
		{"debug route before the classes", inList("gateway", "SA", before(to(below("/debug"), "peer@tr-istanbul"))), NoClass},
		{"debug route without a home", openFirst("gateway", branch{when(":path", `/debug.*`), act(to(prefix("/"), "peer@tr-istanbul"))}), NoClass},
		{"everything without a home", openFirst("gateway", branch{when(":path", `/v1/.*`), act(to(prefix("/"), "peer@me-riyadh"))}), NoHome},
		{"plain routes beside the tree", plan{vh: func(_ string, vh *routev3.VirtualHost) {
			vh.Routes = []*routev3.Route{to(isMessage(), "message@eu")}
		}}, NoHome},
		{"plain route by headers to the wrong region", plan{vh: func(_ string, vh *routev3.VirtualHost) {
			vh.Routes = []*routev3.Route{identified("SA", idAll, "message@eu")}
		}}, RegionNotAllowed},
		{"plain route by headers, unentitled issuer", plan{vh: func(_ string, vh *routev3.VirtualHost) {
			vh.Routes = []*routev3.Route{identified("SA", idDE, "peer@me-riyadh")}
		}}, NotEntitled},
		{"last route forwards instead of denying", inList("gateway", "SA", func(r []*routev3.Route) []*routev3.Route {
			r[len(r)-1] = to(prefix("/"), "peer@me-riyadh")
			return r
		}), NoClass},
		{"denial dropped, a wide route takes its class", inList("gateway", "SA", func(r []*routev3.Route) []*routev3.Route {
			return append(r[:4:4], asking(to(below("/v1"), "peer@me-riyadh")), r[5])
		}), Denied},
		{"prefix / to a region that only one class allows", inList("gateway", "TR", before(to(prefix("/"), "message@tr>eu"))), RegionNotAllowed},
		{"order swapped: wide route first", inList("gateway", "TR", func(r []*routev3.Route) []*routev3.Route {
			return append([]*routev3.Route{asking(to(below("/v1"), "message@tr>eu"))}, r...)
		}), RegionNotAllowed},
		{"prefix without a segment's end", inList("gateway", "SA", func(r []*routev3.Route) []*routev3.Route {
			r[0].Match = prefix("/v1/messages")
			return r
		}), NoClass},
		{"template takes more segments", inList("gateway", "DE", func(r []*routev3.Route) []*routev3.Route {
			r[3].Match = regex(`/v1/profiles/.+`)
			return r
		}), NoClass},
		{"case ignored", inList("gateway", "DE", func(r []*routev3.Route) []*routev3.Route {
			r[0].Match.CaseSensitive = wrapperspb.Bool(false)
			return r
		}), NoClass},
		{"method not asked", inList("gateway", "DE", func(r []*routev3.Route) []*routev3.Route {
			r[4].Match.Headers = nil
			return r
		}), NoClass},
		{"gRPC path without gRPC", inList("gateway", "DE", func(r []*routev3.Route) []*routev3.Route {
			r[2].Match.Grpc = nil
			return r
		}), NoClass},
		{"method inverted", inList("gateway", "DE", func(r []*routev3.Route) []*routev3.Route {
			r[4].Match.Headers[0].InvertMatch = true
			return r
		}), NoClass},
		{"class denied to the home is forwarded", inList("gateway", "SA", func(r []*routev3.Route) []*routev3.Route {
			r[4] = asking(to(isRelation(), "peer@me-riyadh"))
			return r
		}), Denied},
		{"homes swapped", plan{homes: func(t string, m map[string]*xdsmatcherv3.Matcher_OnMatch) {
			m["SA"], m["DE"] = m["DE"], m["SA"]
		}}, RegionNotAllowed},
		{"home without a rule", plan{homes: func(t string, m map[string]*xdsmatcherv3.Matcher_OnMatch) { m["QA"] = m["DE"] }}, NotEntitled},
		{"issuer that may not name the home", plan{homes: func(t string, m map[string]*xdsmatcherv3.Matcher_OnMatch) {
			tree := m["SA"].GetMatcher().GetMatcherTree().GetExactMatchMap().Map
			tree[idDE] = tree[idAll]
		}}, NotEntitled},
		{"issuer not asked", plan{homes: func(t string, m map[string]*xdsmatcherv3.Matcher_OnMatch) {
			m["SA"] = m["SA"].GetMatcher().GetMatcherTree().GetExactMatchMap().Map[idAll]
		}}, NotEntitled},
		{"any issuer falls through to the routes", plan{homes: func(t string, m map[string]*xdsmatcherv3.Matcher_OnMatch) {
			x := m["SA"].GetMatcher()
			x.OnNoMatch = x.GetMatcherTree().GetExactMatchMap().Map[idAll]
		}}, NotEntitled},
		{"home by prefix", plan{vh: func(_ string, vh *routev3.VirtualHost) {
			tree := vh.Matcher.OnNoMatch.GetMatcher().GetMatcherTree()
			tree.TreeType = &xdsmatcherv3.Matcher_MatcherTree_PrefixMatchMap{PrefixMatchMap: tree.GetExactMatchMap()}
		}}, NoHome},
		{"unknown home forwards", plan{vh: func(_ string, vh *routev3.VirtualHost) {
			vh.Matcher.OnNoMatch.GetMatcher().OnNoMatch = act(to(isMessage(), "message@eu"))
		}}, NoHome},
		{"unknown matcher", plan{vh: func(_ string, vh *routev3.VirtualHost) {
			tree := vh.Matcher.OnNoMatch.GetMatcher().GetMatcherTree()
			tree.TreeType = &xdsmatcherv3.Matcher_MatcherTree_CustomMatch{CustomMatch: xdsTyped(&emptypb.Empty{})}
		}}, NotJudged},
		{"unknown action", plan{vh: func(_ string, vh *routev3.VirtualHost) { vh.Matcher.OnNoMatch = act(&emptypb.Empty{}) }}, NotJudged},
		{"a stream without an end", inList("gateway", "DE", func(r []*routev3.Route) []*routev3.Route {
			r[0].GetRoute().MaxStreamDuration = nil
			return r
		}), Endless},
		{"a stream of an hour", inList("gateway", "DE", func(r []*routev3.Route) []*routev3.Route {
			r[0].GetRoute().MaxStreamDuration.MaxStreamDuration = durationpb.New(time.Hour)
			return r
		}), Endless},
		{"long-lived streams straight to the backend", inList("gateway", "DE", func(r []*routev3.Route) []*routev3.Route {
			r[1].GetRoute().ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: "message@eu"}
			return r
		}), Endless},
		{"agent not asked for a user in the path", inList("gateway", "DE", func(r []*routev3.Route) []*routev3.Route {
			r[3].TypedPerFilterConfig["authz"] = unasked()
			return r
		}), AgentBypassed},
		{"agent not asked on the whole host", plan{vh: func(_ string, vh *routev3.VirtualHost) {
			vh.TypedPerFilterConfig = map[string]*anypb.Any{"authz": pack(&routev3.FilterConfig{Disabled: true})}
		}}, AgentBypassed},
		{"agent guards a share only", plan{
			list: func(table, home string, r []*routev3.Route) []*routev3.Route {
				if table == "gateway" && home == "DE" {
					r[3] = to(isProfile(), "guard")
					r[3].GetRoute().RequestMirrorPolicies = []*routev3.RouteAction_RequestMirrorPolicy{{Cluster: "profile@eu"}}
				}
				return r
			},
			config: func(c *Config) { addGuard(c, false) },
		}, AgentBypassed},
		{"agent's guard stands open", plan{
			list: func(table, home string, r []*routev3.Route) []*routev3.Route {
				if table == "gateway" && home == "DE" {
					r[3] = to(isProfile(), "guard")
				}
				return r
			},
			config: func(c *Config) { addGuard(c, true) },
		}, AgentBypassed},
		{"user written for the agent's guard", inList("gateway", "DE", func(r []*routev3.Route) []*routev3.Route {
			r[3].RequestHeadersToAdd = []*corev3.HeaderValueOption{{Header: &corev3.HeaderValue{Key: "X-Domicile-User", Value: "%REQ(x-user)%"}}}
			return r
		}), HeaderTrust},
		{"home written on the virtual host", plan{vh: func(_ string, vh *routev3.VirtualHost) {
			vh.RequestHeadersToAdd = []*corev3.HeaderValueOption{{Header: &corev3.HeaderValue{Key: "x-domicile-home", Value: "SA"}}}
		}}, HeaderTrust},
		{"home map first, odd paths come back with a home", plan{vh: homesFirst, list: func(table, home string, r []*routev3.Route) []*routev3.Route {
			if table == "gateway" && home == "DE" {
				return append(r[:5:5], to(below("/v1/login"), "peer@me-riyadh"), r[5])
			}
			return r
		}}, RegionNotAllowed},
		{"home map first, a branch with a hole in it", plan{vh: func(t string, vh *routev3.VirtualHost) {
			homesFirst(t, vh)
			branches := vh.Matcher.OnNoMatch.GetMatcher()
			hole := inner(&xdsmatcherv3.Matcher{MatcherType: first([]branch{{when(":path", `.*x`), act(deny(prefix("/")))}}, nil).MatcherType})
			list := []branch{{when(":path", `/v1/login.*`), hole}}
			for _, m := range branches.GetMatcherList().GetMatchers() {
				list = append(list, branch{m.Predicate, m.OnMatch})
			}
			vh.Matcher.OnNoMatch = inner(first(list, branches.OnNoMatch))
		}, open: func(_ string, b []branch) []branch { return append(b[1:2:2], tokenlessHosts(b[2])) }, list: func(table, home string, r []*routev3.Route) []*routev3.Route {
			if table == "gateway" && home == "DE" {
				return append(r[:5:5], to(below("/v1/login"), "peer@me-riyadh"), r[5])
			}
			return r
		}}, RegionNotAllowed},
		{"open route takes a caller's class", plan{open: func(t string, b []branch) []branch {
			b[2].when = when(":path", `/v1(?:[/?].*)?`)
			return b
		}}, NoHome},
		{"agent replaced on a route", inList("gateway", "DE", func(r []*routev3.Route) []*routev3.Route {
			r[3].TypedPerFilterConfig["authz"] = pack(&extauthzv3.ExtAuthzPerRoute{Override: &extauthzv3.ExtAuthzPerRoute_CheckSettings{
				CheckSettings: &extauthzv3.CheckSettings{ServiceOverride: &extauthzv3.CheckSettings_GrpcService{GrpcService: &corev3.GrpcService{}}},
			}})
			return r
		}), NotJudged},
		{"token not verified on a route", inList("gateway", "SA", func(r []*routev3.Route) []*routev3.Route {
			withoutToken(r[0])
			return r
		}), TokenUnproved},
		{"filter configuration of an unknown kind", inList("gateway", "SA", func(r []*routev3.Route) []*routev3.Route {
			r[0].TypedPerFilterConfig["lua"] = pack(&luav3.LuaPerRoute{})
			return r
		}), NotJudged},
		{"login host of another region", plan{open: func(t string, b []branch) []branch {
			if t == "gateway" {
				b[2].then = inner(first([]branch{{toHost("sa"), act(withoutToken(to(prefix("/"), "message@eu")))}}, act(deny(prefix("/")))))
			}
			return b
		}}, RegionNotAllowed},
		{"login whatever the host", plan{open: func(t string, b []branch) []branch {
			if t == "gateway" {
				b[2].then = act(withoutToken(to(prefix("/"), "message@eu")))
			}
			return b
		}}, RegionNotAllowed},
		{"health check to another region", plan{open: func(t string, b []branch) []branch {
			if t == "gateway" {
				b[1].then = act(withoutToken(to(prefix("/"), "peer@me-riyadh")))
			}
			return b
		}}, RegionNotAllowed},
		{"health check takes more than its path", plan{open: func(t string, b []branch) []branch {
			b[1].when = when(":path", `/health.*`)
			return b
		}}, NoClass},
		{"cors mirrors by a later field", plan{rc: func(rc *routev3.RouteConfiguration) { rc.VhostHeader = "x-vhost" }}, NotJudged},
	}
}

func clusterLeaks() []leak {
	return []leak{
		{"aggregate with a member too many", inConfig(func(c *Config) {
			i := slices.IndexFunc(c.Clusters, func(x *clusterv3.Cluster) bool { return x.GetName() == "message@tr>eu" })
			c.Clusters[i] = aggregate("message@tr>eu", "peer@tr-istanbul", "message@eu", "peer@me-riyadh")
		}), RegionNotAllowed},
		{"aggregate inside an aggregate, in a circle", inConfig(func(c *Config) {
			i := slices.IndexFunc(c.Clusters, func(x *clusterv3.Cluster) bool { return x.GetName() == "message@tr>eu" })
			c.Clusters[i] = aggregate("message@tr>eu", "peer@tr-istanbul", "more")
			c.Clusters = append(c.Clusters, aggregate("more", "message@tr>eu", "peer@me-riyadh"))
		}), RegionNotAllowed},
		{"endpoint in the second priority", inCluster("profile@eu", func(c *clusterv3.Cluster) {
			more := endpoint(address("peer.sa.example.com:8443"))
			more.Priority = 1
			c.LoadAssignment.Endpoints = append(c.LoadAssignment.Endpoints, more)
		}), RegionNotAllowed},
		{"second address of an endpoint", inCluster("profile@eu", func(c *clusterv3.Cluster) {
			c.LoadAssignment.Endpoints[0].LbEndpoints[0].GetEndpoint().AdditionalAddresses = []*endpointv3.Endpoint_AdditionalAddress{
				{Address: address("10.66.0.1:80")},
			}
		}), UnknownEndpoint},
		{"unknown endpoint", inCluster("message@eu", func(c *clusterv3.Cluster) {
			c.LoadAssignment.Endpoints = append(c.LoadAssignment.Endpoints, endpoint(address("10.66.0.1:8080")))
		}), UnknownEndpoint},
		{"known host on another port", inCluster("message@eu", func(c *clusterv3.Cluster) {
			c.LoadAssignment.Endpoints = []*endpointv3.LocalityLbEndpoints{endpoint(address("10.2.1.1:8081"))}
		}), UnknownEndpoint},
		{"unix socket that is not the agent's", inCluster("message@eu", func(c *clusterv3.Cluster) {
			c.LoadAssignment.Endpoints = []*endpointv3.LocalityLbEndpoints{endpoint(&corev3.Address{
				Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: "/tmp/other.sock"}},
			})}
		}), UnknownEndpoint},
		{"another region's backend around its peer", inCluster("peer@me-riyadh", func(c *clusterv3.Cluster) {
			c.LoadAssignment.Endpoints = []*endpointv3.LocalityLbEndpoints{endpoint(address("10.1.1.1:8080"))}
		}), AroundPeer},
		{"original destination", inCluster("message@eu", func(c *clusterv3.Cluster) {
			c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_ORIGINAL_DST}
		}), NotJudged},
		{"dynamic forward proxy", inCluster("message@eu", func(c *clusterv3.Cluster) {
			c.ClusterDiscoveryType = &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{
				Name: "envoy.clusters.dynamic_forward_proxy", TypedConfig: pack(&dfpv3.ClusterConfig{}),
			}}
		}), NotJudged},
		{"endpoints by EDS", inConfig(func(c *Config) {
			x := clusterNamed(c, "message@eu")
			x.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS}
			x.LoadAssignment = nil
			x.EdsClusterConfig = &clusterv3.Cluster_EdsClusterConfig{ServiceName: "m"}
			c.Endpoints = []*endpointv3.ClusterLoadAssignment{{
				ClusterName: "m", Endpoints: []*endpointv3.LocalityLbEndpoints{endpoint(address("10.66.0.1:8080"))},
			}}
		}), UnknownEndpoint},
		{"a second cluster of the name is warming", inConfig(func(c *Config) {
			c.Clusters = append(c.Clusters, cluster("message@eu", "10.66.0.1:8080"))
		}), UnknownEndpoint},
		{"internal listener switched", inConfig(func(c *Config) {
			c.Listeners[2] = tcpListener("live/SA", "message@eu")
		}), RegionNotAllowed},
		{"internal listener with a weighted share", inConfig(func(c *Config) {
			c.Listeners[2] = tcpListener("live/SA", "")
			c.Listeners[2].FilterChains[0].Filters[0] = networkFilter(&tcpproxyv3.TcpProxy{
				ClusterSpecifier: &tcpproxyv3.TcpProxy_WeightedClusters{WeightedClusters: &tcpproxyv3.TcpProxy_WeightedCluster{
					Clusters: []*tcpproxyv3.TcpProxy_WeightedCluster_ClusterWeight{{Name: "peer@me-riyadh"}, {Name: "message@eu"}},
				}},
			})
		}), RegionNotAllowed},
		{"internal listener with a connection manager", inConfig(func(c *Config) {
			m := &hcmv3.HttpConnectionManager{}
			inlineRoutes(m, to(prefix("/"), "message@eu"))
			c.Listeners[2].FilterChains[0].Filters[0] = networkFilter(m)
		}), RegionNotAllowed},
		{"internal listener with an unknown filter", inConfig(func(c *Config) {
			c.Listeners[2].FilterChains[0].Filters[0] = networkFilter(&emptypb.Empty{})
		}), NotJudged},
		{"route to the control plane", saAction(func(a *routev3.RouteAction) {
			a.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: "domicile_xds"}
		}), UnknownEndpoint},
		{"peer without TLS", inCluster("peer@me-riyadh", func(c *clusterv3.Cluster) { c.TransportSocket = nil }), PeerUnproved},
		{"peer's name not checked", upstreamTLS(), PeerUnproved},
		{"peer of any region", upstreamTLS(&tlsv3.SubjectAltNameMatcher{
			SanType: tlsv3.SubjectAltNameMatcher_URI, Matcher: stringRegex(`spiffe://d\.test/.*`),
		}), PeerUnproved},
		{"peer of two regions", upstreamTLS(sanMatcher(me), sanMatcher(tr)), PeerUnproved},
		{"peer by a DNS name", upstreamTLS(&tlsv3.SubjectAltNameMatcher{
			SanType: tlsv3.SubjectAltNameMatcher_DNS, Matcher: sanMatcher(me).Matcher,
		}), PeerUnproved},
		{"peer without an authority", inCluster("peer@me-riyadh", func(c *clusterv3.Cluster) {
			tls := mutual(sanMatcher(me))
			tls.GetCombinedValidationContext().ValidationContextSdsSecretConfig = nil
			c.TransportSocket = socket(&tlsv3.UpstreamTlsContext{CommonTlsContext: tls})
		}), PeerUnproved},
		{"peer whose certificate is not verified", inCluster("peer@me-riyadh", func(c *clusterv3.Cluster) {
			tls := mutual(sanMatcher(me))
			tls.GetCombinedValidationContext().DefaultValidationContext.TrustChainVerification = tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED
			c.TransportSocket = socket(&tlsv3.UpstreamTlsContext{CommonTlsContext: tls})
		}), PeerUnproved},
		{"transport chosen by endpoint", inCluster("peer@me-riyadh", func(c *clusterv3.Cluster) {
			c.TransportSocketMatches = []*clusterv3.Cluster_TransportSocketMatch{{Name: "plain"}}
		}), NotJudged},
		{"mirror in the protocol options", inCluster("message@eu", func(c *clusterv3.Cluster) {
			c.TypedExtensionProtocolOptions = map[string]*anypb.Any{"o": pack(&upstreamhttpv3.HttpProtocolOptions{
				RequestMirrorPolicies: []*routev3.RouteAction_RequestMirrorPolicy{{Cluster: "peer@me-riyadh"}},
			})}
		}), NotJudged},
		{"load reports", inCluster("message@eu", func(c *clusterv3.Cluster) { c.LrsServer = &corev3.ConfigSource{} }), NotJudged},
	}
}

func peerLeaks() []leak {
	return []leak{
		{"onward transfer", inList("peer", "TR", func(r []*routev3.Route) []*routev3.Route {
			r[0] = from(to(isMessage(), "peer@tr-istanbul"), tr, eu)
			return r
		}), Onward},
		{"peer serves a home that is not served here", inList("peer", "SA", func(r []*routev3.Route) []*routev3.Route {
			r[0] = from(to(isMessage(), "message@eu"), me, eu)
			return r
		}), RegionNotAllowed},
		{"peer takes any entry", inList("peer", "DE", func(r []*routev3.Route) []*routev3.Route {
			r[0].Match.Headers = nil
			return r
		}), Denied},
		{"peer takes an entry too many", inList("peer", "DE", func(r []*routev3.Route) []*routev3.Route {
			r[0] = from(to(isMessage(), "message@eu"), eu, tr, me)
			return r
		}), Denied},
		{"peer takes entries by an open pattern", inList("peer", "DE", func(r []*routev3.Route) []*routev3.Route {
			r[0].Match.Headers = []*routev3.HeaderMatcher{headerIs("x-domicile-entry", `.*(?:eu-frankfurt|tr-istanbul).*`)}
			return r
		}), Denied},
		{"peer's login takes any entry", plan{open: func(t string, b []branch) []branch {
			if t == "peer" {
				b[2].then = inner(first([]branch{{toHost("de"), act(withoutToken(to(prefix("/"), "message@eu")))}}, act(deny(prefix("/")))))
			}
			return b
		}}, Denied},
		{"peer that wants no certificate", peerTLS(func(t *tlsv3.DownstreamTlsContext) { t.RequireClientCertificate = nil }), HeaderTrust},
		{"peer that trusts any certificate", peerTLS(func(t *tlsv3.DownstreamTlsContext) {
			t.CommonTlsContext.GetCombinedValidationContext().DefaultValidationContext.TrustChainVerification = tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED
		}), PeerUnproved},
		{"entry written from a header", plan{early: func(n string, m *earlymutationv3.HeaderMutation) {
			if n == "peer" {
				m.Mutations[1] = writes("x-domicile-entry", "%REQ(X-ENTRY)%")
			}
		}}, HeaderTrust},
	}
}

func trustLeaks() []leak {
	missing := &jwtauthnv3.JwtRequirement{RequiresType: &jwtauthnv3.JwtRequirement_AllowMissing{AllowMissing: &emptypb.Empty{}}}
	return []leak{
		{"headers not scrubbed", inManager(func(m *hcmv3.HttpConnectionManager) { m.EarlyHeaderMutationExtensions = nil }), HeaderTrust},
		{"one header scrubbed only", plan{early: func(_ string, m *earlymutationv3.HeaderMutation) {
			m.Mutations[0].GetRemoveOnMatch().KeyMatcher = &matcherv3.StringMatcher{
				MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "x-domicile-home"},
			}
		}}, HeaderTrust},
		{"home written by early mutation", plan{early: func(_ string, m *earlymutationv3.HeaderMutation) {
			m.Mutations = append(m.Mutations, writes("X-Domicile-Home", "%REQ(X-HOME)%"))
		}}, HeaderTrust},
		{"entry written on the gateway", plan{early: func(n string, m *earlymutationv3.HeaderMutation) {
			if n == "gateway" {
				m.Mutations = append(m.Mutations, writes("x-domicile-entry", "%DOWNSTREAM_PEER_URI_SAN%"))
			}
		}}, HeaderTrust},
		{"home written by a filter", filterFirst(httpFilter("m", &headermutationv3.HeaderMutation{Mutations: &headermutationv3.Mutations{
			RequestMutations: []*mutationrulesv3.HeaderMutation{writes("x-domicile-home", "SA")},
		}})), HeaderTrust},
		{"lua", filterFirst(httpFilter("lua", &luav3.Lua{})), NotJudged},
		{"tokens not verified at all", inManager(func(m *hcmv3.HttpConnectionManager) { m.HttpFilters = m.HttpFilters[1:] }), TokenUnproved},
		{"tokens verified after the router", inManager(func(m *hcmv3.HttpConnectionManager) {
			m.HttpFilters = append(m.HttpFilters[1:], m.HttpFilters[0])
		}), TokenUnproved},
		{"agent asked before the token", inManager(func(m *hcmv3.HttpConnectionManager) {
			m.HttpFilters[0], m.HttpFilters[1] = m.HttpFilters[1], m.HttpFilters[0]
		}), AgentBypassed},
		{"token filter off", inManager(func(m *hcmv3.HttpConnectionManager) { m.HttpFilters[0].Disabled = true }), TokenUnproved},
		{"token filter optional", inManager(func(m *hcmv3.HttpConnectionManager) { m.HttpFilters[0].IsOptional = true }), NotJudged},
		{"default of the token filter lets through", inManager(func(m *hcmv3.HttpConnectionManager) {
			discovery(m).DefaultConfig = pack(&httprbacv3.RBAC{})
		}), TokenUnproved},
		{"default of the token filter denies a list", inManager(func(m *hcmv3.HttpConnectionManager) {
			discovery(m).DefaultConfig = pack(&httprbacv3.RBAC{Rules: &rbacv3.RBAC{Action: rbacv3.RBAC_DENY}})
		}), TokenUnproved},
		{"extension is not a token filter", inConfig(func(c *Config) {
			c.Extensions[0] = typed("jwt", &httprbacv3.RBAC{})
		}), TokenUnproved},
		{"extension of an unknown kind", inConfig(func(c *Config) { c.Extensions[0] = typed("jwt", &luav3.Lua{}) }), NotJudged},
		{"a missing token passes", requires(anyOf(named1("all"), missing)), TokenUnproved},
		{"a failed token passes", requires(&jwtauthnv3.JwtRequirement{
			RequiresType: &jwtauthnv3.JwtRequirement_AllowMissingOrFailed{AllowMissingOrFailed: &emptypb.Empty{}},
		}), TokenUnproved},
		{"claims without verification", requires(&jwtauthnv3.JwtRequirement{
			RequiresType: &jwtauthnv3.JwtRequirement_ExtractOnlyWithoutValidation{ExtractOnlyWithoutValidation: &jwtauthnv3.ExtractOnlyWithoutValidation{}},
		}), TokenUnproved},
		{"a missing token passes by name", inToken(func(j *jwtauthnv3.JwtAuthentication) {
			j.RequirementMap = map[string]*jwtauthnv3.JwtRequirement{"lax": missing}
			j.Rules[0].RequirementType = &jwtauthnv3.RequirementRule_RequirementName{RequirementName: "lax"}
		}), TokenUnproved},
		{"issuer that nobody knows", inToken(func(j *jwtauthnv3.JwtAuthentication) { j.Providers["x"] = provider("https://evil.example") }), TokenUnproved},
		{"provider for any issuer", inToken(func(j *jwtauthnv3.JwtAuthentication) { j.Providers["all"].Issuer = "" }), TokenUnproved},
		{"another key", inToken(func(j *jwtauthnv3.JwtAuthentication) {
			j.Providers["all"].GetLocalJwks().Specifier = &corev3.DataSource_InlineString{InlineString: `{"keys":[{"kty":"EC","kid":"2"}]}`}
		}), TokenUnproved},
		{"keys fetched from elsewhere", inToken(func(j *jwtauthnv3.JwtAuthentication) {
			j.Providers["all"].JwksSourceSpecifier = &jwtauthnv3.JwtProvider_RemoteJwks{RemoteJwks: &jwtauthnv3.RemoteJwks{}}
		}), NotJudged},
		{"home from another claim", inToken(func(j *jwtauthnv3.JwtAuthentication) {
			j.Providers["all"].ClaimToHeaders[0].ClaimName = "nickname"
		}), HeaderTrust},
		{"issuer from another claim", inToken(func(j *jwtauthnv3.JwtAuthentication) {
			j.Providers["all"].ClaimToHeaders[1].ClaimName = "azp"
		}), HeaderTrust},
		{"home not written", inToken(func(j *jwtauthnv3.JwtAuthentication) {
			j.Providers["all"].ClaimToHeaders = j.Providers["all"].ClaimToHeaders[1:]
		}), TokenUnproved},
		{"token written over the home", inToken(func(j *jwtauthnv3.JwtAuthentication) {
			j.Providers["all"].ForwardPayloadHeader = "x-domicile-home"
		}), HeaderTrust},
		{"agent may be silent", plan{authz: func(a *extauthzv3.ExtAuthz) { a.FailureModeAllow = true }}, AgentBypassed},
		{"agent in another place", plan{authz: func(a *extauthzv3.ExtAuthz) {
			a.GetGrpcService().GetEnvoyGrpc().ClusterName = "peer@tr-istanbul"
		}}, AgentBypassed},
		{"agent for a share of requests", plan{authz: func(a *extauthzv3.ExtAuthz) { a.FilterEnabled = &corev3.RuntimeFractionalPercent{} }}, NotJudged},
		{"agent in shadow mode", plan{authz: func(a *extauthzv3.ExtAuthz) { a.ShadowMode = true }}, NotJudged},
	}
}

func listenerLeaks() []leak {
	return []leak{
		{"raw TCP listener", inConfig(func(c *Config) {
			chainOf(c, "gateway").Filters = []*listenerv3.Filter{networkFilter(&tcpproxyv3.TcpProxy{
				ClusterSpecifier: &tcpproxyv3.TcpProxy_Cluster{Cluster: "message@eu"},
			})}
		}), NoHome},
		{"second filter chain", inConfig(func(c *Config) {
			m := plan{}.manager("gateway")
			inlineRoutes(m, to(prefix("/"), "peer@me-riyadh"))
			c.Listeners[0].FilterChains = append(c.Listeners[0].FilterChains, &listenerv3.FilterChain{Filters: []*listenerv3.Filter{networkFilter(m)}})
		}), NoHome},
		{"default filter chain", inConfig(func(c *Config) {
			m := &hcmv3.HttpConnectionManager{}
			inlineRoutes(m, to(prefix("/"), "peer@me-riyadh"))
			c.Listeners[0].DefaultFilterChain = &listenerv3.FilterChain{Filters: []*listenerv3.Filter{networkFilter(m)}}
		}), HeaderTrust},
		{"unknown network filter", inConfig(func(c *Config) {
			chainOf(c, "gateway").Filters = append([]*listenerv3.Filter{networkFilter(&emptypb.Empty{})}, chainOf(c, "gateway").Filters...)
		}), NotJudged},
		{"original destination", inConfig(func(c *Config) { c.Listeners[0].UseOriginalDst = wrapperspb.Bool(true) }), NotJudged},
		{"unknown listener filter", inConfig(func(c *Config) {
			c.Listeners[0].ListenerFilters = []*listenerv3.ListenerFilter{{
				Name: "o", ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: pack(&emptypb.Empty{})},
			}}
		}), NotJudged},
		{"tracing", inManager(func(m *hcmv3.HttpConnectionManager) { m.Tracing = &hcmv3.HttpConnectionManager_Tracing{} }), NotJudged},
		{"access log by gRPC", inManager(func(m *hcmv3.HttpConnectionManager) {
			m.AccessLog = logByGRPC("")
		}), NotJudged},
		{"access log by gRPC to a peer", inManager(func(m *hcmv3.HttpConnectionManager) {
			m.AccessLog = logByGRPC("peer@me-riyadh")
		}), AgentBypassed},
		{"filters of an upgrade", inManager(func(m *hcmv3.HttpConnectionManager) {
			m.UpgradeConfigs[0].Filters = []*hcmv3.HttpFilter{m.HttpFilters[2]}
		}), NotJudged},
		{"routes by scope", inManager(func(m *hcmv3.HttpConnectionManager) {
			m.RouteSpecifier = &hcmv3.HttpConnectionManager_ScopedRoutes{ScopedRoutes: &hcmv3.ScopedRoutes{}}
		}), NotJudged},
	}
}

// TestLeaks plants one leak at a time. Each must be found, under its code, and
// the findings' text is kept in a golden file.
func TestLeaks(t *testing.T) {
	var out strings.Builder
	names := map[string]bool{}
	for _, l := range leaks() {
		name := strings.ReplaceAll(l.name, " ", "_")
		if names[name] {
			name += "_2"
		}
		names[name] = true
		t.Run(name, func(t *testing.T) {
			found := check(t, l.plan.build())
			if !slices.ContainsFunc(found, func(f Finding) bool { return f.Code == l.code }) {
				t.Errorf("no finding %s, got %v", l.code, found)
			}
			fmt.Fprintf(&out, "# %s\n", l.name)
			for _, f := range found[:min(len(found), 3)] {
				fmt.Fprintln(&out, f)
			}
		})
	}
	if len(names) < 40 {
		t.Fatalf("only %d leaks are planted", len(names))
	}
	golden := filepath.Join("testdata", "findings.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), out.String()); diff != "" {
		t.Errorf("findings changed (-update to accept):\n%s", diff)
	}
}
