package leakcheck

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	grpclogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	mutationrulesv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	aggregatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/aggregate/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	jwtauthnv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	earlymutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// The world of these tests: three regions, seen from Frankfurt's gateway.
//   - SA is served in Riyadh only, and may enter in Frankfurt, but for relations.
//   - TR is served in Istanbul, Frankfurt second.
//   - DE is served in Frankfurt, and may enter in Frankfurt and Istanbul.
const (
	me, tr, eu = "me-riyadh", "tr-istanbul", "eu-frankfurt"
	idAll      = "https://id.example.com"
	idDE       = "https://id.example.de"
	keys       = `{"keys":[{"kty":"EC","kid":"1"}]}`
)

func worldSpec() residency.Spec {
	rule := func(home, class string, serve, entry []string) residency.Rule {
		return residency.Rule{Home: home, Class: class, Serve: serve, Entry: entry}
	}
	l := func(s ...string) []string { return s }
	return residency.Spec{
		Regions: []residency.Region{{Name: me, Country: "SA"}, {Name: tr, Country: "TR"}, {Name: eu, Country: "DE"}},
		Routes: []residency.Route{
			{Class: "health", Match: residency.Match{Path: "/healthz"}, Subject: residency.SubjectNone, Service: "message", Serve: l(eu)},
			{Class: "login", Match: residency.Match{PathPrefix: "/v1/login"}, Subject: residency.SubjectHost, Service: "message"},
			{Class: "message", Match: residency.Match{PathPrefix: "/v1/messages"}, Subject: residency.SubjectCaller, Service: "message"},
			{Class: "message", Match: residency.Match{Path: "/ws"}, Subject: residency.SubjectCaller, Service: "message", LongLived: true},
			{Class: "message", Match: residency.Match{GRPCService: "im.v1.Chat"}, Subject: residency.SubjectCaller, Service: "message"},
			{Class: "profile", Match: residency.Match{PathTemplate: "/v1/profiles/{user}"}, Subject: residency.SubjectUser, Service: "profile"},
			{Class: "relation", Match: residency.Match{PathTemplate: "/v1/friends/{user}", Method: "GET"}, Subject: residency.SubjectUser, Service: "profile"},
		},
		Issuers: []residency.Issuer{{Issuer: idAll, Homes: l("SA", "TR", "DE")}, {Issuer: idDE, Homes: l("DE")}},
		Rules: []residency.Rule{
			rule("SA", "login", l(me), l(me, eu)), rule("SA", "message", l(me), l(me, eu)),
			rule("SA", "profile", l(me), l(me, eu)), rule("SA", "relation", l(me), l(me)),
			rule("TR", "login", l(tr), l(tr, eu)), rule("TR", "message", l(tr, eu), l(tr, eu)),
			rule("TR", "profile", l(tr), l(tr, eu)), rule("TR", "relation", l(tr), l(tr, eu)),
			rule("DE", "login", l(eu), l(eu, tr)), rule("DE", "message", l(eu), l(eu, tr)),
			rule("DE", "profile", l(eu), l(eu, tr)), rule("DE", "relation", l(eu), l(eu, tr)),
		},
	}
}

func worldTopology() *topology.Topology {
	region := func(name, country, code string, net int) topology.Region {
		return topology.Region{
			Name: name, Country: country, Host: code + ".im.example.com", Peer: "peer." + code + ".example.com:8443",
			Backends: map[string][]string{
				"message": {fmt.Sprintf("10.%d.1.1:8080", net)}, "profile": {fmt.Sprintf("10.%d.1.2:8080", net)},
			},
			Agent: "/run/domicile/agent.sock", Listen: topology.DefaultListen(),
		}
	}
	return &topology.Topology{
		TrustDomain: "d.test",
		Regions:     []topology.Region{region(eu, "DE", "de", 2), region(me, "SA", "sa", 1), region(tr, "TR", "tr", 3)},
		Issuers: []topology.Issuer{
			{Issuer: idAll, HomeClaim: "home", JWKS: keys}, {Issuer: idDE, HomeClaim: "home", JWKS: keys},
		},
	}
}

// plan is the good configuration of eu-frankfurt/gateway with hooks at which a
// test plants something. Every hook may be nil.
type plan struct {
	list   func(table, home string, routes []*routev3.Route) []*routev3.Route
	open   func(table string, branches []branch) []branch
	homes  func(table string, homes map[string]*xdsmatcherv3.Matcher_OnMatch)
	vh     func(table string, vh *routev3.VirtualHost)
	rc     func(rc *routev3.RouteConfiguration)
	hcm    func(name string, m *hcmv3.HttpConnectionManager)
	jwt    func(j *jwtauthnv3.JwtAuthentication)
	authz  func(a *extauthzv3.ExtAuthz)
	early  func(name string, m *earlymutationv3.HeaderMutation)
	config func(c *Config)
}

type branch struct {
	when *xdsmatcherv3.Matcher_MatcherList_Predicate
	then *xdsmatcherv3.Matcher_OnMatch
}

// pack gives equal messages equal bytes.
func pack(m proto.Message) *anypb.Any {
	a := &anypb.Any{}
	if err := anypb.MarshalFrom(a, m, proto.MarshalOptions{Deterministic: true}); err != nil {
		panic(err)
	}
	return a
}

func typed(name string, m proto.Message) *corev3.TypedExtensionConfig {
	return &corev3.TypedExtensionConfig{Name: name, TypedConfig: pack(m)}
}

func xdsTyped(m proto.Message) *xdscorev3.TypedExtensionConfig {
	return &xdscorev3.TypedExtensionConfig{Name: "x", TypedConfig: pack(m)}
}

func address(hostPort string) *corev3.Address {
	h, port, _ := strings.Cut(hostPort, ":")
	var p uint32
	_, _ = fmt.Sscan(port, &p)
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: h, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: p},
	}}}
}

func endpoint(a *corev3.Address) *endpointv3.LocalityLbEndpoints {
	return &endpointv3.LocalityLbEndpoints{LbEndpoints: []*endpointv3.LbEndpoint{{
		HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: a}},
	}}}
}

func cluster(name string, addresses ...string) *clusterv3.Cluster {
	la := &endpointv3.ClusterLoadAssignment{ClusterName: name}
	for _, a := range addresses {
		la.Endpoints = append(la.Endpoints, endpoint(address(a)))
	}
	return &clusterv3.Cluster{
		Name: name, LoadAssignment: la, ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STRICT_DNS},
	}
}

func sanMatcher(region string) *tlsv3.SubjectAltNameMatcher {
	return &tlsv3.SubjectAltNameMatcher{SanType: tlsv3.SubjectAltNameMatcher_URI, Matcher: &matcherv3.StringMatcher{
		MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: "spiffe://d.test/" + region + "/"},
	}}
}

func mutual(san ...*tlsv3.SubjectAltNameMatcher) *tlsv3.CommonTlsContext {
	return &tlsv3.CommonTlsContext{ValidationContextType: &tlsv3.CommonTlsContext_CombinedValidationContext{
		CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
			DefaultValidationContext:         &tlsv3.CertificateValidationContext{MatchTypedSubjectAltNames: san},
			ValidationContextSdsSecretConfig: &tlsv3.SdsSecretConfig{Name: "domicile_ca"},
		},
	}}
}

func socket(m proto.Message) *corev3.TransportSocket {
	return &corev3.TransportSocket{Name: "t", ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(m)}}
}

func peerCluster(name, region, address string) *clusterv3.Cluster {
	c := cluster(name, address)
	c.TransportSocket = socket(&tlsv3.UpstreamTlsContext{CommonTlsContext: mutual(sanMatcher(region))})
	return c
}

func internalCluster(name string) *clusterv3.Cluster {
	c := cluster(name)
	c.LoadAssignment.Endpoints = []*endpointv3.LocalityLbEndpoints{endpoint(&corev3.Address{Address: &corev3.Address_EnvoyInternalAddress{
		EnvoyInternalAddress: &corev3.EnvoyInternalAddress{
			AddressNameSpecifier: &corev3.EnvoyInternalAddress_ServerListenerName{ServerListenerName: name},
		},
	}})}
	return c
}

func aggregate(name string, members ...string) *clusterv3.Cluster {
	return &clusterv3.Cluster{Name: name, ClusterDiscoveryType: &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{
		Name: "envoy.clusters.aggregate", TypedConfig: pack(&aggregatev3.ClusterConfig{Clusters: members}),
	}}}
}

func tcpListener(name, cluster string) *listenerv3.Listener {
	return &listenerv3.Listener{
		Name:              name,
		ListenerSpecifier: &listenerv3.Listener_InternalListener{InternalListener: &listenerv3.Listener_InternalListenerConfig{}},
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{networkFilter(&tcpproxyv3.TcpProxy{
			StatPrefix: "live", ClusterSpecifier: &tcpproxyv3.TcpProxy_Cluster{Cluster: cluster},
		})}}},
	}
}

func networkFilter(m proto.Message) *listenerv3.Filter {
	return &listenerv3.Filter{Name: "n", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(m)}}
}

func httpFilter(name string, m proto.Message) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(m)}}
}

// Routes.

func prefix(p string) *routev3.RouteMatch {
	return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: p}}
}

func below(p string) *routev3.RouteMatch {
	return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: p}}
}

func exactly(p string) *routev3.RouteMatch {
	return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Path{Path: p}}
}

func regex(p string) *routev3.RouteMatch {
	return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: p}}}
}

func to(m *routev3.RouteMatch, cluster string) *routev3.Route {
	action := &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster}}
	if !strings.HasPrefix(cluster, "live/") {
		action.MaxStreamDuration = &routev3.RouteAction_MaxStreamDuration{MaxStreamDuration: durationpb.New(30 * time.Second)}
	}
	return &routev3.Route{Match: m, Action: &routev3.Route_Route{Route: action}, TypedPerFilterConfig: map[string]*anypb.Any{"authz": unasked()}}
}

func asking(r *routev3.Route) *routev3.Route {
	delete(r.TypedPerFilterConfig, "authz")
	return r
}

func unasked() *anypb.Any {
	return pack(&extauthzv3.ExtAuthzPerRoute{Override: &extauthzv3.ExtAuthzPerRoute_Disabled{Disabled: true}})
}

func tokenless() *anypb.Any {
	return pack(&jwtauthnv3.PerRouteConfig{RequirementSpecifier: &jwtauthnv3.PerRouteConfig_Disabled{Disabled: true}})
}

func withoutToken(r *routev3.Route) *routev3.Route {
	r.TypedPerFilterConfig["jwt"] = tokenless()
	return r
}

func deny(m *routev3.RouteMatch) *routev3.Route {
	return &routev3.Route{Match: m, Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 403}}}
}

func stringRegex(e string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: e}}}
}

func headerIs(name, expr string) *routev3.HeaderMatcher {
	return &routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: stringRegex(expr)}}
}

func from(r *routev3.Route, regions ...string) *routev3.Route {
	r.Match.Headers = append(r.Match.Headers, headerIs("x-domicile-entry", `spiffe://d\.test/(?:`+strings.Join(regions, "|")+`)/(?:gateway|sidecar)/[^/]+`))
	return r
}

func get(m *routev3.RouteMatch) *routev3.RouteMatch {
	m.Headers = append(m.Headers, headerIs(":method", "GET"))
	return m
}

func grpcCall(m *routev3.RouteMatch) *routev3.RouteMatch {
	m.Grpc = &routev3.RouteMatch_GrpcRouteMatchOptions{}
	return m
}

func isMessage() *routev3.RouteMatch  { return below("/v1/messages") }
func isSocket() *routev3.RouteMatch   { return exactly("/ws") }
func isChat() *routev3.RouteMatch     { return grpcCall(below("/im.v1.Chat")) }
func isProfile() *routev3.RouteMatch  { return regex(`/v1/profiles/[^/]+`) }
func isRelation() *routev3.RouteMatch { return get(regex(`/v1/friends/[^/]+`)) }

// classes is one route for each class, in the table's order; nil denies.
func classes(message, socket, chat, profile, relation string) []*routev3.Route {
	one := func(m *routev3.RouteMatch, c string) *routev3.Route {
		if c == "" {
			return deny(m)
		}
		return to(m, c)
	}
	out := []*routev3.Route{
		one(isMessage(), message), one(isSocket(), socket), one(isChat(), chat),
		asking(one(isProfile(), profile)), asking(one(isRelation(), relation)),
	}
	return append(out, deny(prefix("/")))
}

func (p plan) routes(table string) map[string][]*routev3.Route {
	lists := map[string][]*routev3.Route{
		"SA": classes("peer@me-riyadh", "live/SA", "peer@me-riyadh", "peer@me-riyadh", ""),
		"TR": classes("message@tr>eu", "live/TR", "message@tr>eu", "peer@tr-istanbul", "peer@tr-istanbul"),
		"DE": classes("message@eu", "live/DE", "message@eu", "profile@eu", "profile@eu"),
	}
	if table == "peer" {
		lists = map[string][]*routev3.Route{
			"SA": classes("", "", "", "", ""),
			"TR": classes("message@eu", "live/DE", "message@eu", "", ""),
			"DE": classes("message@eu", "live/DE", "message@eu", "profile@eu", "profile@eu"),
		}
		for _, r := range lists["TR"] {
			from(r, tr, eu)
		}
		for _, r := range lists["DE"] {
			from(r, eu, tr)
		}
	}
	for _, home := range []string{"SA", "TR", "DE"} {
		if p.list != nil {
			lists[home] = p.list(table, home, lists[home])
		}
	}
	return lists
}

// Matchers.

func input(header string) *xdscorev3.TypedExtensionConfig {
	return xdsTyped(&matcherv3.HttpRequestHeaderMatchInput{HeaderName: header})
}

func when(header, expr string) *xdsmatcherv3.Matcher_MatcherList_Predicate {
	return &xdsmatcherv3.Matcher_MatcherList_Predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_{
		SinglePredicate: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate{
			Input: input(header),
			Matcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_ValueMatch{ValueMatch: &xdsmatcherv3.StringMatcher{
				MatchPattern: &xdsmatcherv3.StringMatcher_SafeRegex{SafeRegex: &xdsmatcherv3.RegexMatcher{Regex: expr}},
			}},
		},
	}}
}

func both(list ...*xdsmatcherv3.Matcher_MatcherList_Predicate) *xdsmatcherv3.Matcher_MatcherList_Predicate {
	return &xdsmatcherv3.Matcher_MatcherList_Predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_AndMatcher{
		AndMatcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_PredicateList{Predicate: list},
	}}
}

func act(m proto.Message) *xdsmatcherv3.Matcher_OnMatch {
	return &xdsmatcherv3.Matcher_OnMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Action{Action: xdsTyped(m)}}
}

func inner(m *xdsmatcherv3.Matcher) *xdsmatcherv3.Matcher_OnMatch {
	return &xdsmatcherv3.Matcher_OnMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Matcher{Matcher: m}}
}

func exactMap(header string, m map[string]*xdsmatcherv3.Matcher_OnMatch) *xdsmatcherv3.Matcher {
	return &xdsmatcherv3.Matcher{
		MatcherType: &xdsmatcherv3.Matcher_MatcherTree_{MatcherTree: &xdsmatcherv3.Matcher_MatcherTree{
			Input:    input(header),
			TreeType: &xdsmatcherv3.Matcher_MatcherTree_ExactMatchMap{ExactMatchMap: &xdsmatcherv3.Matcher_MatcherTree_MatchMap{Map: m}},
		}},
		OnNoMatch: act(deny(prefix("/"))),
	}
}

func first(branches []branch, miss *xdsmatcherv3.Matcher_OnMatch) *xdsmatcherv3.Matcher {
	l := &xdsmatcherv3.Matcher_MatcherList{}
	for _, b := range branches {
		l.Matchers = append(l.Matchers, &xdsmatcherv3.Matcher_MatcherList_FieldMatcher{Predicate: b.when, OnMatch: b.then})
	}
	return &xdsmatcherv3.Matcher{MatcherType: &xdsmatcherv3.Matcher_MatcherList_{MatcherList: l}, OnNoMatch: miss}
}

func toHost(code string) *xdsmatcherv3.Matcher_MatcherList_Predicate {
	return when(":authority", `(?i)`+code+`\.im\.example\.com(?::[0-9]+)?`)
}

func (p plan) openBranches(table string) []branch {
	login := func(cluster string) *xdsmatcherv3.Matcher_OnMatch { return act(withoutToken(to(prefix("/"), cluster))) }
	hosts := []branch{{toHost("de"), login("message@eu")}, {toHost("sa"), login("peer@me-riyadh")}, {toHost("tr"), login("peer@tr-istanbul")}}
	if table == "peer" {
		hosts = []branch{{both(toHost("de"), when("x-domicile-entry", `spiffe://d\.test/(?:eu-frankfurt|tr-istanbul)/.*`)), login("message@eu")}}
	}
	out := []branch{
		{when(":path", `[^?]*[;\\#].*`), act(deny(prefix("/")))},
		{when(":path", `/healthz(?:\?.*)?`), act(withoutToken(to(prefix("/"), "message@eu")))},
		{when(":path", `/v1/login(?:[/?].*)?`), inner(first(hosts, act(deny(prefix("/")))))},
	}
	if p.open != nil {
		out = p.open(table, out)
	}
	return out
}

func (p plan) routeTable(name string) *routev3.RouteConfiguration {
	homes := map[string]*xdsmatcherv3.Matcher_OnMatch{}
	for home, list := range p.routes(name) {
		issuers := map[string]*xdsmatcherv3.Matcher_OnMatch{idAll: act(&routev3.RouteList{Routes: list})}
		if home == "DE" {
			issuers[idDE] = issuers[idAll]
		}
		homes[home] = inner(exactMap("x-domicile-issuer", issuers))
	}
	if p.homes != nil {
		p.homes(name, homes)
	}
	domains := []string{"*"}
	if name == "gateway" {
		domains = []string{"de.im.example.com", "sa.im.example.com", "tr.im.example.com"}
	}
	vh := &routev3.VirtualHost{Name: "v", Domains: domains, Matcher: first(p.openBranches(name), inner(exactMap("x-domicile-home", homes)))}
	if p.vh != nil {
		p.vh(name, vh)
	}
	rc := &routev3.RouteConfiguration{Name: name, VirtualHosts: []*routev3.VirtualHost{vh}, IgnorePortInHostMatching: true}
	if p.rc != nil {
		p.rc(rc)
	}
	return rc
}

// Filters and listeners.

func provider(issuer string) *jwtauthnv3.JwtProvider {
	return &jwtauthnv3.JwtProvider{
		Issuer: issuer, Forward: true, RequireExpiration: true, MaxLifetime: durationpb.New(24 * time.Hour),
		FromHeaders: []*jwtauthnv3.JwtHeader{{Name: "Authorization", ValuePrefix: "Bearer "}},
		JwksSourceSpecifier: &jwtauthnv3.JwtProvider_LocalJwks{LocalJwks: &corev3.DataSource{
			Specifier: &corev3.DataSource_InlineString{InlineString: keys},
		}},
		ClaimToHeaders: []*jwtauthnv3.JwtClaimToHeader{
			{HeaderName: "x-domicile-home", ClaimName: "home"}, {HeaderName: "x-domicile-issuer", ClaimName: "iss"},
			{HeaderName: "x-domicile-user", ClaimName: "sub"},
		},
		ClearRouteCache: true,
	}
}

func named1(n string) *jwtauthnv3.JwtRequirement {
	return &jwtauthnv3.JwtRequirement{RequiresType: &jwtauthnv3.JwtRequirement_ProviderName{ProviderName: n}}
}

func anyOf(list ...*jwtauthnv3.JwtRequirement) *jwtauthnv3.JwtRequirement {
	return &jwtauthnv3.JwtRequirement{RequiresType: &jwtauthnv3.JwtRequirement_RequiresAny{
		RequiresAny: &jwtauthnv3.JwtRequirementOrList{Requirements: list},
	}}
}

func (p plan) tokenFilter() *jwtauthnv3.JwtAuthentication {
	j := &jwtauthnv3.JwtAuthentication{
		Providers: map[string]*jwtauthnv3.JwtProvider{"all": provider(idAll), "de": provider(idDE)},
		Rules: []*jwtauthnv3.RequirementRule{{
			Match:           prefix("/"),
			RequirementType: &jwtauthnv3.RequirementRule_Requires{Requires: anyOf(named1("all"), named1("de"))},
		}},
	}
	if p.jwt != nil {
		p.jwt(j)
	}
	return j
}

func (p plan) manager(name string) *hcmv3.HttpConnectionManager {
	early := &earlymutationv3.HeaderMutation{Mutations: []*mutationrulesv3.HeaderMutation{{
		Action: &mutationrulesv3.HeaderMutation_RemoveOnMatch_{RemoveOnMatch: &mutationrulesv3.HeaderMutation_RemoveOnMatch{
			KeyMatcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: "x-domicile-"}},
		}},
	}}}
	if name == "peer" {
		early.Mutations = append(early.Mutations, writes("x-domicile-entry", "%DOWNSTREAM_PEER_URI_SAN%"))
	}
	if p.early != nil {
		p.early(name, early)
	}
	authz := &extauthzv3.ExtAuthz{Services: &extauthzv3.ExtAuthz_GrpcService{GrpcService: &corev3.GrpcService{
		TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: "agent"}},
	}}}
	if p.authz != nil {
		p.authz(authz)
	}
	m := &hcmv3.HttpConnectionManager{
		StatPrefix:     name,
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{RouteConfigName: name}},
		HttpFilters: []*hcmv3.HttpFilter{
			{Name: "jwt", ConfigType: &hcmv3.HttpFilter_ConfigDiscovery{ConfigDiscovery: &corev3.ExtensionConfigSource{
				DefaultConfig: pack(&httprbacv3.RBAC{Rules: &rbacv3.RBAC{Action: rbacv3.RBAC_ALLOW}}),
				TypeUrls:      []string{tokenType},
			}}},
			httpFilter("authz", authz),
			httpFilter("router", &routerv3.Router{}),
		},
		EarlyHeaderMutationExtensions: []*corev3.TypedExtensionConfig{typed("scrub", early)},
		UpgradeConfigs:                []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}},
	}
	if p.hcm != nil {
		p.hcm(name, m)
	}
	return m
}

func writes(name, value string) *mutationrulesv3.HeaderMutation {
	return &mutationrulesv3.HeaderMutation{Action: &mutationrulesv3.HeaderMutation_Append{Append: &corev3.HeaderValueOption{
		Header: &corev3.HeaderValue{Key: name, Value: value},
	}}}
}

func (p plan) build() Config {
	top := worldTopology()
	listener := func(name, at string, chain *listenerv3.FilterChain) *listenerv3.Listener {
		chain.Filters = []*listenerv3.Filter{networkFilter(p.manager(name))}
		return &listenerv3.Listener{Name: name, Address: address(at), FilterChains: []*listenerv3.FilterChain{chain}}
	}
	agent := cluster("agent")
	agent.LoadAssignment.Endpoints = []*endpointv3.LocalityLbEndpoints{endpoint(&corev3.Address{Address: &corev3.Address_Pipe{
		Pipe: &corev3.Pipe{Path: top.Regions[0].Agent},
	}})}
	c := Config{
		Listeners: []*listenerv3.Listener{
			listener("gateway", top.Regions[0].Listen.Plain, &listenerv3.FilterChain{}),
			listener("peer", top.Regions[0].Listen.Peer, &listenerv3.FilterChain{TransportSocket: socket(&tlsv3.DownstreamTlsContext{
				CommonTlsContext: mutual(), RequireClientCertificate: wrapperspb.Bool(true),
			})}),
			tcpListener("live/SA", "peer@me-riyadh+h1"), tcpListener("live/TR", "message@tr>eu"), tcpListener("live/DE", "message@eu"),
		},
		Clusters: []*clusterv3.Cluster{
			agent, cluster("message@eu", "10.2.1.1:8080"), cluster("profile@eu", "10.2.1.2:8080"),
			peerCluster("peer@me-riyadh", me, "peer.sa.example.com:8443"), peerCluster("peer@me-riyadh+h1", me, "peer.sa.example.com:8443"),
			peerCluster("peer@tr-istanbul", tr, "peer.tr.example.com:8443"),
			aggregate("message@tr>eu", "peer@tr-istanbul", "message@eu"),
			internalCluster("live/SA"), internalCluster("live/TR"), internalCluster("live/DE"),
			cluster("domicile_xds", "10.9.9.9:18000"),
		},
		Routes:     []*routev3.RouteConfiguration{p.routeTable("gateway"), p.routeTable("peer")},
		Extensions: []*corev3.TypedExtensionConfig{typed("jwt", p.tokenFilter())},
	}
	if p.config != nil {
		p.config(&c)
	}
	return c
}

func check(t *testing.T, c Config) []Finding {
	t.Helper()
	table, err := residency.New(worldSpec())
	if err != nil {
		t.Fatal(err)
	}
	return agreed(t, c, table, worldTopology())
}

func clusterNamed(c *Config, name string) *clusterv3.Cluster {
	return c.Clusters[slices.IndexFunc(c.Clusters, func(x *clusterv3.Cluster) bool { return x.GetName() == name })]
}

func TestGoodConfigurationIsProved(t *testing.T) {
	for _, f := range check(t, plan{}.build()) {
		t.Error(f)
	}
}

// logByGRPC is an access log that is sent to a cluster.
func logByGRPC(cluster string) []*accesslogv3.AccessLog {
	return []*accesslogv3.AccessLog{{Name: "g", ConfigType: &accesslogv3.AccessLog_TypedConfig{
		TypedConfig: pack(&grpclogv3.HttpGrpcAccessLogConfig{CommonConfig: &grpclogv3.CommonGrpcAccessLogConfig{
			GrpcService: &corev3.GrpcService{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
				EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: cluster},
			}},
		}}),
	}}}
}
