package leakcheck

import (
	"slices"
	"testing"

	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	jwtauthnv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	earlymutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// scene is what a check reads.
type scene struct {
	spec   residency.Spec
	top    *topology.Topology
	region string
	c      Config
}

func goodScene() *scene { return &scene{worldSpec(), worldTopology(), eu, plan{}.build()} }

func (s *scene) check(t *testing.T, check func(Config, *residency.Table, *topology.Topology, string) []Finding) []Finding {
	t.Helper()
	table, err := residency.New(s.spec)
	if err != nil {
		t.Fatal(err)
	}
	return check(s.c, table, s.top, s.region)
}

func (s *scene) rule(home, class string, change func(*residency.Rule)) {
	for i, r := range s.spec.Rules {
		if r.Home == home && r.Class == class {
			change(&s.spec.Rules[i])
		}
	}
}

// routeTable replaces a table by another one, so that the messages are new and the
// branches of homes those of before.
func (s *scene) routeTable(name string, p plan) {
	old := s.tree(name)
	for i, rc := range s.c.Routes {
		if rc.GetName() == name {
			s.c.Routes[i] = p.routeTable(name)
		}
	}
	if p.list == nil && p.homes == nil {
		s.tree(name).GetExactMatchMap().Map = old.GetExactMatchMap().GetMap()
	}
}

func (s *scene) tree(name string) *xdsmatcherv3.Matcher_MatcherTree {
	for _, rc := range s.c.Routes {
		if rc.GetName() == name {
			return rc.GetVirtualHosts()[0].GetMatcher().GetOnNoMatch().GetMatcher().GetMatcherTree()
		}
	}
	return nil
}

func (s *scene) listener(t *testing.T, name string, p plan) {
	t.Helper()
	for i, l := range s.c.Listeners {
		if l.GetName() == name {
			for _, other := range p.build().Listeners {
				if other.GetName() == name {
					s.c.Listeners[i] = other
					return
				}
			}
		}
	}
	t.Fatalf("no listener %s", name)
}

func (s *scene) replace(c *clusterv3.Cluster) {
	for i, old := range s.c.Clusters {
		if old.GetName() == c.GetName() {
			s.c.Clusters[i] = c
		}
	}
}

func (s *scene) byEDS(name, address string) {
	c := cluster(name, address)
	s.c.Endpoints = []*endpointv3.ClusterLoadAssignment{c.GetLoadAssignment()}
	c.LoadAssignment, c.ClusterDiscoveryType = nil, &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS}
	for _, old := range s.c.Clusters {
		if old.GetName() == name && old.GetType() == clusterv3.Cluster_EDS {
			return
		}
	}
	s.replace(c)
}

// forwardsNothing makes the gateway's table refuse everything but one home, on a
// listener that does not take clients' headers away.
func forwardsNothing(t *testing.T, s *scene, but string) {
	t.Helper()
	s.listener(t, "gateway", plan{early: func(_ string, m *earlymutationv3.HeaderMutation) { m.Mutations = nil }})
	s.routeTable("gateway", plan{
		open: func(string, []branch) []branch { return nil },
		list: func(_, home string, r []*routev3.Route) []*routev3.Route {
			if home == but {
				return r
			}
			return []*routev3.Route{deny(prefix("/"))}
		},
	})
}

// knowsNobody is the same, but that requests without a caller are forwarded, and
// that no token is verified.
func knowsNobody(t *testing.T, s *scene, but string) {
	t.Helper()
	s.listener(t, "gateway", plan{hcm: func(_ string, m *hcmv3.HttpConnectionManager) { m.HttpFilters = m.HttpFilters[1:] }})
	s.routeTable("gateway", plan{list: func(_, home string, r []*routev3.Route) []*routev3.Route {
		if home == but {
			return []*routev3.Route{to(isMessage(), "message@eu"), deny(prefix("/"))}
		}
		return []*routev3.Route{deny(prefix("/"))}
	}})
}

// filtered gives a virtual host what keeps its homes from being remembered.
func filtered(_ string, vh *routev3.VirtualHost) {
	vh.TypedPerFilterConfig = map[string]*anypb.Any{"jwt": pack(&jwtauthnv3.PerRouteConfig{})}
}

// resolvingAnybody asks the agent whose data it is, and forwards whoever it is.
func resolvingAnybody() *hcmv3.HttpConnectionManager {
	m := plan{}.manager("resolve")
	m.HttpFilters = []*hcmv3.HttpFilter{
		httpFilter("authz", &extauthzv3.ExtAuthz{ClearRouteCache: true, Services: &extauthzv3.ExtAuthz_GrpcService{GrpcService: &corev3.GrpcService{
			TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: "agent"}},
		}}}),
		httpFilter("router", &routerv3.Router{}),
	}
	m.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{Name: "resolve", VirtualHosts: []*routev3.VirtualHost{{
		Name: "v", Domains: []string{"*"}, Routes: []*routev3.Route{asking(to(isMessage(), "message@eu"))},
	}}}}
	return m
}

func headerExactly(name, value string) *routev3.HeaderMatcher {
	return &routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{
		StringMatch: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: value}},
	}}
}

// TestWholesHoldAllButHomes: a configuration was proved; then one thing outside the
// branches of homes is another, and they are the same messages. Memory must find
// what a cold run finds.
func TestWholesHoldAllButHomes(t *testing.T) {
	named := func(name string) plan {
		return plan{vh: func(table string, vh *routev3.VirtualHost) {
			de := to(isMessage(), "message@eu")
			de.Match.Headers = append(de.Match.Headers, headerExactly("x-domicile-home", "DE"), headerExactly("x-domicile-issuer", idDE))
			if table == name {
				vh.Routes = append(vh.Routes, de)
			}
		}}
	}
	for name, x := range map[string]struct {
		before, change func(*testing.T, *scene)
	}{
		"the region": {change: func(_ *testing.T, s *scene) { s.region = me }},
		"a place": {change: func(_ *testing.T, s *scene) {
			s.top.Regions[0].Backends["message"] = []string{"10.77.1.1:8080"}
		}},
		"the keys of an issuer":                     {change: func(_ *testing.T, s *scene) { s.top.Issuers[1].JWKS = `{"keys":[{"kty":"EC","kid":"2"}]}` }},
		"where a class without a subject is served": {change: func(_ *testing.T, s *scene) { s.spec.Routes[0].Serve = []string{me} }},
		"the class of a path":                       {change: func(_ *testing.T, s *scene) { s.spec.Routes[0].Match.Path = "/other" }},
		"who may sign up at a host": {change: func(_ *testing.T, s *scene) {
			s.rule("DE", "login", func(r *residency.Rule) { r.Entry = []string{tr} })
		}},
		"where those of a host are served": {
			before: func(_ *testing.T, s *scene) {
				s.rule("TR", "login", func(r *residency.Rule) { r.Serve = []string{tr, eu} })
				s.routeTable("gateway", plan{open: func(_ string, b []branch) []branch {
					login := branch{both(when(":path", `/v1/login(?:[/?].*)?`), toHost("tr")), act(withoutToken(to(prefix("/"), "message@tr>eu")))}
					return append([]branch{login}, b...)
				}})
			},
			change: func(_ *testing.T, s *scene) {
				s.rule("TR", "login", func(r *residency.Rule) { r.Serve = []string{tr} })
			},
		},
		"what a home's rule says": {change: func(_ *testing.T, s *scene) {
			s.rule("TR", "profile", func(r *residency.Rule) { r.Serve = []string{me} })
		}},
		"a home that a route names": {
			before: func(_ *testing.T, s *scene) {
				s.routeTable("gateway", named("gateway"))
				delete(s.tree("gateway").GetExactMatchMap().Map, "DE")
				delete(s.tree("peer").GetExactMatchMap().Map, "DE")
			},
			change: func(_ *testing.T, s *scene) {
				s.rule("DE", "message", func(r *residency.Rule) { r.Entry = []string{tr} })
			},
		},
		"homes inside a listener": {
			before: func(t *testing.T, s *scene) {
				rc := s.c.Routes[0]
				if rc.GetName() != "gateway" {
					t.Fatal("not the gateway's table")
				}
				s.listener(t, "gateway", plan{hcm: func(_ string, m *hcmv3.HttpConnectionManager) {
					m.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: rc}
				}})
				s.c.Routes = s.c.Routes[1:]
			},
			change: func(_ *testing.T, s *scene) {
				s.rule("TR", "profile", func(r *residency.Rule) { r.Serve = []string{me} })
			},
		},
		"what stands before the homes": {change: func(_ *testing.T, s *scene) {
			s.routeTable("gateway", plan{open: func(_ string, b []branch) []branch {
				return append(b, branch{when(":path", "/v1/messages/open"), act(withoutToken(to(prefix("/"), "message@eu")))})
			}})
		}},
		"a route table's own settings": {change: func(_ *testing.T, s *scene) {
			s.routeTable("gateway", plan{rc: func(rc *routev3.RouteConfiguration) {
				rc.RequestMirrorPolicies = []*routev3.RouteAction_RequestMirrorPolicy{{Cluster: "peer@tr-istanbul"}}
			}})
		}},
		"a listener": {change: func(t *testing.T, s *scene) {
			s.listener(t, "gateway", plan{early: func(_ string, m *earlymutationv3.HeaderMutation) { m.Mutations = nil }})
		}},
		"an internal listener": {change: func(_ *testing.T, s *scene) {
			for i, l := range s.c.Listeners {
				if l.GetName() == "live/DE" {
					s.c.Listeners[i] = tcpListener("live/DE", "peer@me-riyadh")
				}
			}
		}},
		"a cluster": {change: func(_ *testing.T, s *scene) { s.replace(cluster("message@eu", "10.1.1.1:8080")) }},
		"a cluster's kind": {change: func(_ *testing.T, s *scene) {
			c := cluster("message@eu", "10.2.1.1:8080")
			c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_ORIGINAL_DST}
			s.replace(c)
		}},
		"endpoints": {
			before: func(_ *testing.T, s *scene) { s.byEDS("message@eu", "10.2.1.1:8080") },
			change: func(_ *testing.T, s *scene) { s.byEDS("message@eu", "10.1.1.1:8080") },
		},
		"an extension": {change: func(_ *testing.T, s *scene) {
			s.c.Extensions = plan{jwt: func(j *jwtauthnv3.JwtAuthentication) { j.Providers["de"].ClaimToHeaders[0].ClaimName = "country" }}.build().Extensions
		}},
		"homes that cannot be remembered": {
			before: func(_ *testing.T, s *scene) {
				s.routeTable("gateway", plan{vh: filtered})
			},
			change: func(_ *testing.T, s *scene) {
				s.rule("TR", "profile", func(r *residency.Rule) { r.Serve = []string{me} })
			},
		},
		"a home that cannot be remembered, and went nowhere": {
			before: func(_ *testing.T, s *scene) {
				s.routeTable("gateway", plan{vh: filtered, list: func(_, _ string, _ []*routev3.Route) []*routev3.Route {
					return []*routev3.Route{deny(prefix("/"))}
				}})
			},
			change: func(_ *testing.T, s *scene) {
				s.routeTable("gateway", plan{vh: filtered, list: func(_, home string, r []*routev3.Route) []*routev3.Route {
					if home == "DE" {
						return []*routev3.Route{to(isMessage(), "peer@me-riyadh")}
					}
					return []*routev3.Route{deny(prefix("/"))}
				}})
			},
		},
		"a home that comes to a listener which nobody proved": {
			before: func(_ *testing.T, s *scene) {
				s.c.Clusters = append(s.c.Clusters, internalCluster("resolve"))
				l := tcpListener("resolve", "message@eu")
				l.FilterChains[0].Filters = []*listenerv3.Filter{networkFilter(resolvingAnybody())}
				s.c.Listeners = append(s.c.Listeners, l)
			},
			change: func(_ *testing.T, s *scene) {
				s.routeTable("gateway", plan{list: func(_, home string, r []*routev3.Route) []*routev3.Route {
					if home == "DE" {
						r[0] = to(isMessage(), "resolve")
					}
					return r
				}})
			},
		},
		"what a rule says of another entry": {change: func(_ *testing.T, s *scene) {
			s.rule("DE", "message", func(r *residency.Rule) { r.Entry = []string{eu} })
		}},
		"who may name a home": {change: func(_ *testing.T, s *scene) {
			s.spec.Issuers = []residency.Issuer{{Issuer: idAll, Homes: []string{"SA", "DE"}}, {Issuer: idDE, Homes: []string{"DE"}}}
		}},
		"what a branch asks of its clusters": {change: func(_ *testing.T, s *scene) {
			s.routeTable("gateway", plan{list: func(_, home string, r []*routev3.Route) []*routev3.Route {
				for _, x := range r {
					if home == "DE" && x.GetRoute() != nil {
						x.TypedPerFilterConfig = map[string]*anypb.Any{"authz": unasked()}
					}
				}
				return r
			}})
		}},
		"where the one cluster of a branch leads": {
			before: func(_ *testing.T, s *scene) {
				s.c.Clusters = append(s.c.Clusters, cluster("only", "10.2.1.1:8080"))
				s.routeTable("gateway", plan{list: func(_, home string, r []*routev3.Route) []*routev3.Route {
					if home == "DE" {
						return []*routev3.Route{to(isMessage(), "only"), deny(prefix("/"))}
					}
					return r
				}})
			},
			change: func(_ *testing.T, s *scene) {
				only := peerCluster("only", me, "peer.sa.example.com:8443")
				s.replace(only)
			},
		},
		"the hosts of a route table": {
			before: func(_ *testing.T, s *scene) {
				for i, r := range s.spec.Routes {
					if r.Class == "message" && r.Match.PathPrefix != "" {
						s.spec.Routes[i].Match.Host = "de.im.example.com"
					}
				}
				for _, table := range []string{"gateway", "peer"} {
					s.routeTable(table, plan{vh: func(_ string, vh *routev3.VirtualHost) { vh.Domains = []string{"de.im.example.com"} }})
				}
			},
			change: func(_ *testing.T, s *scene) {
				s.routeTable("gateway", plan{vh: func(_ string, vh *routev3.VirtualHost) {
					vh.Domains = []string{"de.im.example.com", "sa.im.example.com"}
				}})
			},
		},
		"an agent that is off": {change: func(t *testing.T, s *scene) {
			s.listener(t, "gateway", plan{hcm: func(_ string, m *hcmv3.HttpConnectionManager) { m.HttpFilters[1].Disabled = true }})
		}},
		"no agent": {change: func(t *testing.T, s *scene) {
			s.listener(t, "gateway", plan{hcm: func(_ string, m *hcmv3.HttpConnectionManager) {
				m.HttpFilters = slices.Delete(m.HttpFilters, 1, 2)
			}})
		}},
		"an agent by another name": {change: func(t *testing.T, s *scene) {
			s.listener(t, "gateway", plan{hcm: func(_ string, m *hcmv3.HttpConnectionManager) {
				m.HttpFilters[1].Name, m.HttpFilters[1].Disabled = "other", true
			}})
		}},
		"a home whose routes are of the host's": {
			before: func(_ *testing.T, s *scene) {
				noLogin := func(_ string, b []branch) []branch { return b[:2] }
				s.routeTable("peer", plan{open: noLogin})
				s.routeTable("gateway", plan{open: noLogin, list: func(_, home string, r []*routev3.Route) []*routev3.Route {
					if home == "DE" {
						login := to(below("/v1/login"), "message@eu")
						login.Match.Headers = append(login.Match.Headers, headerIs(":authority", `de\.im\.example\.com(?::[0-9]+)?`))
						r = append([]*routev3.Route{login}, r...)
					}
					return r
				}})
			},
			change: func(_ *testing.T, s *scene) {
				s.rule("DE", "login", func(r *residency.Rule) { r.Entry = []string{tr} })
			},
		},
		"a home that makes a manager know callers": {
			before: func(t *testing.T, s *scene) { knowsNobody(t, s, "") },
			change: func(t *testing.T, s *scene) { knowsNobody(t, s, "DE") },
		},
		"a home that makes a manager forward": {
			before: func(t *testing.T, s *scene) { forwardsNothing(t, s, "") },
			change: func(t *testing.T, s *scene) { forwardsNothing(t, s, "DE") },
		},
		"a home that leads to a cluster which nobody judged": {
			before: func(_ *testing.T, s *scene) {
				odd := cluster("odd", "10.2.1.1:8080")
				odd.TransportSocket = socket(&routev3.Route{})
				s.c.Clusters = append(s.c.Clusters, odd)
			},
			change: func(_ *testing.T, s *scene) {
				s.routeTable("gateway", plan{list: func(_, home string, r []*routev3.Route) []*routev3.Route {
					if home == "DE" {
						r[0] = to(isMessage(), "odd")
					}
					return r
				}})
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, s := new(Prover), goodScene()
			if x.before != nil {
				x.before(t, s)
			}
			for range 2 {
				if found := s.check(t, p.Check); len(found) > 0 {
					t.Fatalf("not good before: %v", found[0])
				}
			}
			other := *s
			other.top = worldTopology()
			other.spec.Rules, other.spec.Routes = slices.Clone(s.spec.Rules), slices.Clone(s.spec.Routes)
			other.c.Clusters, other.c.Listeners, other.c.Routes = slices.Clone(s.c.Clusters), slices.Clone(s.c.Listeners), slices.Clone(s.c.Routes)
			x.change(t, &other)
			for range 2 {
				cold := other.check(t, Check)
				if diff := cmp.Diff(cold, other.check(t, p.Check)); diff != "" || len(cold) == 0 {
					t.Errorf("%d findings (-without memory +with):\n%s", len(cold), diff)
				}
			}
			if found := s.check(t, p.Check); len(found) > 0 {
				t.Errorf("no longer good: %v", found[0])
			}
		})
	}
}

// TestOddBranchesAreWalkedEachTime: a proof of such a branch would rest on more than
// its name holds.
func TestOddBranchesAreWalkedEachTime(t *testing.T) {
	for name, x := range map[string]struct {
		route func() *routev3.Route
		odd   bool
	}{
		"plain":                 {func() *routev3.Route { return to(isMessage(), "message@eu") }, false},
		"a class of the host's": {func() *routev3.Route { return to(below("/v1/login"), "message@eu") }, true},
		"a route that names a home": {func() *routev3.Route {
			r := to(isMessage(), "message@eu")
			r.Match.Headers = append(r.Match.Headers, headerExactly("x-domicile-home", "DE"))
			return r
		}, true},
		"a route that names an issuer": {func() *routev3.Route {
			r := to(isMessage(), "message@eu")
			r.Match.Headers = append(r.Match.Headers, headerExactly("x-domicile-issuer", idAll))
			return r
		}, true},
		"several clusters": {func() *routev3.Route {
			r := to(isMessage(), "message@eu")
			r.GetRoute().ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: &routev3.WeightedCluster{
				Clusters: []*routev3.WeightedCluster_ClusterWeight{{Name: "message@eu", Weight: wrapperspb.UInt32(1)}},
			}}
			return r
		}, true},
		"a cluster that is chosen while a request runs": {func() *routev3.Route {
			r := to(isMessage(), "message@eu")
			r.GetRoute().ClusterSpecifier = &routev3.RouteAction_ClusterHeader{ClusterHeader: "x"}
			return r
		}, true},
	} {
		p, s := new(Prover), goodScene()
		s.routeTable("gateway", plan{open: func(_ string, b []branch) []branch { return b[:2] }, list: func(_, home string, r []*routev3.Route) []*routev3.Route {
			if home == "DE" {
				return []*routev3.Route{x.route(), deny(prefix("/"))}
			}
			return r
		}})
		s.check(t, p.Check)
		table, err := residency.New(s.spec)
		if err != nil {
			t.Fatal(err)
		}
		p.check(s.c, table, s.top, s.region, true)
		c := p.branches.Branch(s.tree("gateway").GetExactMatchMap().GetMap()["DE"])
		if c == nil || !c.Walked || c.Odd != x.odd {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

// TestWhoLeadsToAResolverIsNotRemembered: the requests that lead there decide what it
// is proved for, and they are in the branches of homes.
func TestWhoLeadsToAResolverIsNotRemembered(t *testing.T) {
	p, s := new(Prover), goodScene()
	m := resolvingAnybody()
	m.GetRouteConfig().VirtualHosts[0].Routes = []*routev3.Route{deny(prefix("/"))}
	l := tcpListener("resolve", "message@eu")
	l.FilterChains[0].Filters = []*listenerv3.Filter{networkFilter(m)}
	s.c.Listeners, s.c.Clusters = append(s.c.Listeners, l), append(s.c.Clusters, internalCluster("resolve"))
	for _, cluster := range []string{"message@eu", "resolve"} {
		s.routeTable("gateway", plan{list: func(_, home string, r []*routev3.Route) []*routev3.Route {
			if home == "DE" {
				r[0] = to(isMessage(), cluster)
			}
			return r
		}})
		p.wholes = nil
		if found := s.check(t, p.Check); len(found) > 0 {
			t.Fatalf("not good: %v", found[0])
		}
		if want := cluster != "resolve"; (len(p.wholes) > 0) != want {
			t.Errorf("%s: remembered %v", cluster, !want)
		}
	}
}

// TestMemoryIsBounded: what is held for ever counts, and all is forgotten when it is
// too much.
func TestMemoryIsBounded(t *testing.T) {
	p, s := new(Prover), goodScene()
	s.check(t, p.Check)
	if len(p.wholes) != 1 {
		t.Fatalf("%d configurations are remembered", len(p.wholes))
	}
	p.branches.Hold(1 << 30)
	s.c = Config{}
	s.check(t, p.Check)
	if len(p.wholes) != 1 { // the empty one
		t.Errorf("%d configurations are remembered", len(p.wholes))
	}
}
