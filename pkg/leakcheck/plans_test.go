package leakcheck

import (
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	jwtauthnv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Shorthands for plans.

// inList changes the class routes of one home in one table.
func inList(table, home string, change func([]*routev3.Route) []*routev3.Route) plan {
	return plan{list: func(t, h string, r []*routev3.Route) []*routev3.Route {
		if t == table && h == home {
			return change(r)
		}
		return r
	}}
}

// saAction changes the action of SA's message route.
func saAction(change func(a *routev3.RouteAction)) plan {
	return inList("gateway", "SA", func(r []*routev3.Route) []*routev3.Route { change(r[0].GetRoute()); return r })
}

func before(extra *routev3.Route) func([]*routev3.Route) []*routev3.Route {
	return func(r []*routev3.Route) []*routev3.Route { return append([]*routev3.Route{extra}, r...) }
}

func inConfig(change func(c *Config)) plan { return plan{config: change} }

func inCluster(name string, change func(c *clusterv3.Cluster)) plan {
	return inConfig(func(c *Config) { change(clusterNamed(c, name)) })
}

func inManager(change func(m *hcmv3.HttpConnectionManager)) plan {
	return plan{hcm: func(name string, m *hcmv3.HttpConnectionManager) {
		if name == "gateway" {
			change(m)
		}
	}}
}

func inToken(change func(j *jwtauthnv3.JwtAuthentication)) plan { return plan{jwt: change} }

func openFirst(table string, b branch) plan {
	return plan{open: func(t string, list []branch) []branch {
		if t == table {
			return append([]branch{b}, list...)
		}
		return list
	}}
}

func requires(r *jwtauthnv3.JwtRequirement) plan {
	return inToken(func(j *jwtauthnv3.JwtAuthentication) {
		j.Rules[0].RequirementType = &jwtauthnv3.RequirementRule_Requires{Requires: r}
	})
}

func filterFirst(f *hcmv3.HttpFilter) plan {
	return inManager(func(m *hcmv3.HttpConnectionManager) { m.HttpFilters = append([]*hcmv3.HttpFilter{f}, m.HttpFilters...) })
}

func discovery(m *hcmv3.HttpConnectionManager) *corev3.ExtensionConfigSource {
	return m.HttpFilters[0].GetConfigDiscovery()
}

func chainOf(c *Config, name string) *listenerv3.FilterChain {
	i := slices.IndexFunc(c.Listeners, func(l *listenerv3.Listener) bool { return l.GetName() == name })
	return c.Listeners[i].FilterChains[0]
}

func peerTLS(change func(t *tlsv3.DownstreamTlsContext)) plan {
	return inConfig(func(c *Config) {
		t := &tlsv3.DownstreamTlsContext{CommonTlsContext: mutual(), RequireClientCertificate: wrapperspb.Bool(true)}
		change(t)
		chainOf(c, "peer").TransportSocket = socket(t)
	})
}

func upstreamTLS(san ...*tlsv3.SubjectAltNameMatcher) plan {
	return inCluster("peer@me-riyadh", func(c *clusterv3.Cluster) {
		c.TransportSocket = socket(&tlsv3.UpstreamTlsContext{CommonTlsContext: mutual(san...)})
	})
}

func inlineRoutes(m *hcmv3.HttpConnectionManager, routes ...*routev3.Route) {
	m.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{
		Name: "inline", VirtualHosts: []*routev3.VirtualHost{{Name: "v", Domains: []string{"*"}, Routes: routes}},
	}}
}

// addGuard puts an inner connection manager before profile@eu that asks the
// agent, or, when open, could and does not.
func addGuard(c *Config, open bool) {
	m := plan{}.manager("guard")
	m.HttpFilters = m.HttpFilters[1:]
	r := asking(to(prefix("/"), "profile@eu"))
	if open {
		r.TypedPerFilterConfig["authz"] = unasked()
	}
	inlineRoutes(m, r)
	l := tcpListener("guard", "")
	l.FilterChains[0].Filters[0] = networkFilter(m)
	c.Listeners = append(c.Listeners, l)
	c.Clusters = append(c.Clusters, internalCluster("guard"))
}

// homesFirst turns the tree round: the home map first, the open branches for
// requests without a home.
func homesFirst(_ string, vh *routev3.VirtualHost) {
	open, homes := vh.Matcher.GetMatcherList(), vh.Matcher.OnNoMatch.GetMatcher()
	var list []branch
	for _, m := range open.Matchers {
		list = append(list, branch{m.Predicate, m.OnMatch})
	}
	homes.OnNoMatch = inner(first(list, homes.OnNoMatch))
	vh.Matcher = homes
}

// tokenlessHosts makes the denial of unknown hosts one without the token filter.
func tokenlessHosts(b branch) branch {
	d := deny(prefix("/"))
	d.TypedPerFilterConfig = map[string]*anypb.Any{"jwt": tokenless()}
	b.then.GetMatcher().OnNoMatch = act(d)
	return b
}

func optionsOf(m proto.Message) map[string]*anypb.Any { return map[string]*anypb.Any{"o": pack(m)} }
