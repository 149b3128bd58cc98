package leakcheck

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	statev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	setstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_filter_state/v3"

	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	mutationrulesv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	jwtauthnv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	earlymutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/domicile-dev/domicile/pkg/topology"
)

type identityLeak struct {
	name string
	identity
	code string
}

// inProvider changes a provider of the gateway's token filter.
func inProvider(name string, change func(p *jwtauthnv3.JwtProvider)) identity {
	return identity{jwt: func(table string, j *jwtauthnv3.JwtAuthentication) {
		if table == "gateway" {
			change(j.Providers[name])
		}
	}}
}

// asksFor is the gateway's requirement.
func asksFor(r *jwtauthnv3.JwtRequirement) identity {
	return identity{jwt: func(table string, j *jwtauthnv3.JwtAuthentication) {
		if table == "gateway" {
			j.Rules[0].RequirementType = &jwtauthnv3.RequirementRule_Requires{Requires: r}
		}
	}}
}

// inPin changes the branch of one pin's home at the gateway.
func inPin(home string, change func(p *pinned)) identity {
	return identity{pin: func(table, h string, p *pinned) {
		if table == "gateway" && h == home {
			change(p)
		}
	}}
}

// tiedBy is another text of the condition that binds a pin to its token.
func tiedBy(format string) identity {
	return identity{state: func(_ string, c *setstatev3.Config) {
		c.OnRequestHeaders[0].GetFormatString().GetTextFormatSource().Specifier = &corev3.DataSource_InlineString{InlineString: format}
	}}
}

func inTree(change func(t *unhomed)) identity {
	return identity{tree: func(table string, t *unhomed) {
		if table == "gateway" {
			change(t)
		}
	}}
}

// inResolver changes the listener where the agent says whose data it is.
func inResolver(change func(m *hcmv3.HttpConnectionManager)) identity {
	return identity{hcm: func(name string, m *hcmv3.HttpConnectionManager) {
		if name == "resolve" {
			change(m)
		}
	}}
}

// asksAgent changes how its agent is asked.
func asksAgent(change func(a *extauthzv3.ExtAuthz)) identity {
	return inResolver(func(m *hcmv3.HttpConnectionManager) {
		var a extauthzv3.ExtAuthz
		if err := m.HttpFilters[0].GetTypedConfig().UnmarshalTo(&a); err != nil {
			panic(err)
		}
		change(&a)
		m.HttpFilters[0] = httpFilter("authz", &a)
	})
}

func resolves(home string, change func(list []*routev3.Route)) identity {
	return identity{inner: func(lists map[string][]*routev3.Route) { change(lists[home]) }}
}

func inGateway(change func(m *hcmv3.HttpConnectionManager)) identity {
	return identity{hcm: func(name string, m *hcmv3.HttpConnectionManager) {
		if name == "gateway" {
			change(m)
		}
	}}
}

func issuersOnly(list ...*jwtauthnv3.JwtRequirement) *jwtauthnv3.JwtRequirement {
	return anyOf(append([]*jwtauthnv3.JwtRequirement{named1("all"), named1("de"), named1("homeless"), named1("secret")}, list...)...)
}

func sourceLeaks() []identityLeak {
	return []identityLeak{
		{"token in a header that nobody named", inProvider("all", func(p *jwtauthnv3.JwtProvider) {
			p.FromHeaders = append(p.FromHeaders, &jwtauthnv3.JwtHeader{Name: "x-token"})
		}), TokenUnproved},
		{"token after another prefix", inProvider("all", func(p *jwtauthnv3.JwtProvider) { p.FromHeaders[0].ValuePrefix = "" }), TokenUnproved},
		{"token in a query parameter that nobody named", inProvider("all", func(p *jwtauthnv3.JwtProvider) {
			p.FromParams = append(p.FromParams, "token")
		}), TokenUnproved},
		{"token in JSON read as it stands", inProvider("all", func(p *jwtauthnv3.JwtProvider) { p.FromParams = append(p.FromParams, "v") }), TokenUnproved},
		{"token in a cookie that nobody named", inProvider("homeless", func(p *jwtauthnv3.JwtProvider) { p.FromCookies = []string{"session"} }), TokenUnproved},
		{"token wherever Envoy looks by itself", inProvider("de", func(p *jwtauthnv3.JwtProvider) { p.FromHeaders = nil }), TokenUnproved},
		{"token in another issuer's subprotocol", inProvider("de", func(p *jwtauthnv3.JwtProvider) {
			p.FromHeaders = []*jwtauthnv3.JwtHeader{{Name: "sec-websocket-protocol", ValuePrefix: "bearer."}}
		}), TokenUnproved},
		{"audience of somebody else", inProvider("all", func(p *jwtauthnv3.JwtProvider) { p.Audiences = []string{"im", "crm"} }), TokenUnproved},
		{"any audience", inProvider("all", func(p *jwtauthnv3.JwtProvider) { p.Audiences = nil }), TokenUnproved},
		{"audience of somebody else in the requirement", asksFor(anyOf(&jwtauthnv3.JwtRequirement{
			RequiresType: &jwtauthnv3.JwtRequirement_ProviderAndAudiences{ProviderAndAudiences: &jwtauthnv3.ProviderWithAudiences{ProviderName: "all", Audiences: []string{"crm"}}},
		}, named1("de"))), TokenUnproved},
		{"pins of another audience in the requirement", asksFor(allOf(issuersOnly(missing()), anyOf(missingOrFailed(), &jwtauthnv3.JwtRequirement{
			RequiresType: &jwtauthnv3.JwtRequirement_ProviderAndAudiences{ProviderAndAudiences: &jwtauthnv3.ProviderWithAudiences{ProviderName: eu, Audiences: []string{me}}},
		}))), TokenUnproved},
		{"token that never ends", inProvider("all", func(p *jwtauthnv3.JwtProvider) { p.RequireExpiration = false }), TokenUnproved},
		{"token of ten years", inProvider("all", func(p *jwtauthnv3.JwtProvider) { p.MaxLifetime = nil }), TokenUnproved},
		{"token of two days", inProvider("all", func(p *jwtauthnv3.JwtProvider) { p.MaxLifetime = durationpb.New(48 * time.Hour) }), TokenUnproved},
		{"clocks may differ by the usual", inProvider("all", func(p *jwtauthnv3.JwtProvider) { p.ClockSkewSeconds = 0 }), TokenUnproved},
		{"clocks may differ by hours", inProvider("de", func(p *jwtauthnv3.JwtProvider) { p.ClockSkewSeconds = 7200 }), TokenUnproved},
		{"home of an issuer that names none", inProvider("homeless", func(p *jwtauthnv3.JwtProvider) {
			p.ClaimToHeaders = append(p.ClaimToHeaders, &jwtauthnv3.JwtClaimToHeader{HeaderName: "x-domicile-home", ClaimName: "country"})
		}), HeaderTrust},
		{"user from another claim", inProvider("homeless", func(p *jwtauthnv3.JwtProvider) { p.ClaimToHeaders[1].ClaimName = "uid" }), HeaderTrust},
		{"user not written", inProvider("homeless", func(p *jwtauthnv3.JwtProvider) { p.ClaimToHeaders = p.ClaimToHeaders[:1] }), TokenUnproved},
		{"tokens of an issuer that only a server reads", identity{jwt: func(_ string, j *jwtauthnv3.JwtAuthentication) {
			j.Providers["opaque"] = provider(idOpaque)
		}}, TokenUnproved},
		{"keys in another file", inProvider("secret", func(p *jwtauthnv3.JwtProvider) {
			p.GetLocalJwks().Specifier = &corev3.DataSource_Filename{Filename: "/tmp/im.json"}
		}), TokenUnproved},
		{"keys in a file where none is named", inProvider("de", func(p *jwtauthnv3.JwtProvider) {
			p.GetLocalJwks().Specifier = &corev3.DataSource_Filename{Filename: secretFile}
		}), TokenUnproved},
		{"secret in a region that may not have it", identity{top: func(top *topology.Topology) {
			top.Issuers[3].Secret.Regions = []string{tr}
		}}, TokenUnproved},
		{"keys as bytes", inProvider("all", func(p *jwtauthnv3.JwtProvider) {
			p.GetLocalJwks().Specifier = &corev3.DataSource_InlineBytes{InlineBytes: []byte(keys)}
		}), TokenUnproved},
		{"keys from the environment", inProvider("all", func(p *jwtauthnv3.JwtProvider) {
			p.GetLocalJwks().Specifier = &corev3.DataSource_EnvironmentVariable{EnvironmentVariable: "K"}
		}), TokenUnproved},
	}
}

func pinLeaks() []identityLeak {
	return slices.Concat(pinProviderLeaks(), []identityLeak{
		{"pin of another epoch", inPin("SA", func(p *pinned) { p.epoch = "1" }), PinUnproved},
		{"pin whatever the epoch", inPin("DE", func(p *pinned) { p.then = act(&routev3.RouteList{Routes: p.routes}) }), PinUnproved},
		{"pin of an issuer that may not name the home", inPin("TR", func(p *pinned) { p.issuers = append(p.issuers, idOpaque) }), NotEntitled},
		{"pin without the token that it was issued for", inPin("SA", func(p *pinned) { p.bound = when("authorization", ".+") }), PinUnproved},
		{"pin bound to a header without tokens", tiedBy("%CEL(" + strings.Replace(tied, "authorization", "x-token", 1) + ")%"), PinUnproved},
		{"pin bound to a header without tokens, too", tiedBy("%CEL(" + tied + " || " + strings.Replace(tied, "authorization", "x-token", 1) + ")%"), PinUnproved},
		{"pin bound the other way round", tiedBy(`%CEL(request.headers['x-domicile-pin-credential'].endsWith(request.headers['authorization']))%`), PinUnproved},
		{"pin whose credential is anywhere", tiedBy("%CEL(" + strings.Replace(tied, "endsWith", "contains", 1) + ")%"), PinUnproved},
		{"pin bound by its user", tiedBy("%CEL(" + strings.Replace(tied, "credential", "user", 1) + ")%"), PinUnproved},
		{"pin bound or not", tiedBy("%CEL(" + tied + " || true)%"), PinUnproved},
		{"pin bound by word", tiedBy("true"), PinUnproved},
		{"pin bound by the client", tiedBy("%REQ(x-bound)%"), PinUnproved},
		{"pin bound in a text", tiedBy("%CEL(" + tied + ")%%REQ(x)%"), PinUnproved},
		{"pin bound in one of two ways", identity{state: func(table string, c *setstatev3.Config) {
			c.OnRequestHeaders = append(c.OnRequestHeaders, notes("pin", "%REQ(x-bound)%").OnRequestHeaders...)
		}}, PinUnproved},
		{"pin bound in the second of two ways", identity{state: func(table string, c *setstatev3.Config) {
			c.OnRequestHeaders = append(notes("pin", "%REQ(x-bound)%").OnRequestHeaders, c.OnRequestHeaders...)
		}}, PinUnproved},
		{"pin bound where it is not", inPin("SA", func(p *pinned) { p.bound = stateIs("pin", "false") }), PinUnproved},
		{"pin bound by another note", inPin("SA", func(p *pinned) { p.bound = stateIs("other", "true") }), PinUnproved},
		{"note of a name that Envoy obeys", identity{state: func(_ string, c *setstatev3.Config) {
			c.OnRequestHeaders = append(c.OnRequestHeaders, notes("envoy.tcp_proxy.cluster", "peer@tr-istanbul").OnRequestHeaders...)
		}}, NotJudged},
		{"note of another kind", identity{state: func(_ string, c *setstatev3.Config) {
			c.OnRequestHeaders = append(c.OnRequestHeaders, notes("x", "x").OnRequestHeaders...)
			c.OnRequestHeaders[1].FactoryKey = "envoy.network.upstream_server_name"
		}}, NotJudged},
		{"note that goes upstream", identity{state: func(_ string, c *setstatev3.Config) {
			c.OnRequestHeaders[0].SharedWithUpstream = statev3.FilterStateValue_ONCE
		}}, NotJudged},
		{"pin that is not bound", inPin("SA", func(p *pinned) {
			p.bound = &xdsmatcherv3.Matcher_MatcherList_Predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_NotMatcher{NotMatcher: p.bound}}
		}), PinUnproved},
		{"pin that may be bound", inPin("SA", func(p *pinned) {
			p.bound = &xdsmatcherv3.Matcher_MatcherList_Predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_OrMatcher{
				OrMatcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_PredicateList{
					Predicate: []*xdsmatcherv3.Matcher_MatcherList_Predicate{p.bound, when("x-any", ".+")},
				},
			}}
		}), PinUnproved},
		{"pin beside a token of another home", inTree(func(t *unhomed) { t.first = nil }), PinUnproved},
		{"pin beside a token of some other homes", inTree(func(t *unhomed) { t.first[0].when = when("x-domicile-home", "QA") }), PinUnproved},
		{"pin beside a token, at times", inTree(func(t *unhomed) { t.first[0].when = both(t.first[0].when, when("x-any", ".+")) }), PinUnproved},
		{"pin of another home's routes", identity{tree: func(table string, t *unhomed) {
			if table == "gateway" {
				m := t.pins.GetMatcherTree().GetExactMatchMap().Map
				m["SA"], m["DE"] = m["DE"], m["SA"]
			}
		}}, RegionNotAllowed},
		{"pin of a home without a rule", inTree(func(t *unhomed) {
			m := t.pins.GetMatcherTree().GetExactMatchMap().Map
			m["QA"] = m["DE"]
		}), NotEntitled},
		{"pin's home by prefix", inTree(func(t *unhomed) {
			tree := t.pins.GetMatcherTree()
			tree.TreeType = &xdsmatcherv3.Matcher_MatcherTree_PrefixMatchMap{PrefixMatchMap: tree.GetExactMatchMap()}
		}), NoHome},
		{"pin to a region that its class may not reach", inPin("SA", func(p *pinned) { p.routes[0] = to(isMessage(), "message@eu") }), RegionNotAllowed},
		{"pin past the token filter", inPin("DE", func(p *pinned) { withoutToken(p.routes[0]) }), TokenUnproved},
		{"pin in a deployment without pins", identity{top: func(top *topology.Topology) { top.Pins = nil }}, PinUnproved},
		{"pin's home written on a route", inPin("DE", func(p *pinned) {
			p.routes[0].RequestHeadersToAdd = []*corev3.HeaderValueOption{{Header: &corev3.HeaderValue{Key: "X-Domicile-Pin-Home", Value: "DE"}}}
		}), HeaderTrust},
	})
}

func pinProviderLeaks() []identityLeak {
	return []identityLeak{
		{"pins of another region at the gateway", identity{jwt: func(table string, j *jwtauthnv3.JwtAuthentication) {
			if table == "gateway" {
				j.Providers[me] = pinProvider(me)
			}
		}}, TokenUnproved},
		{"pins of a region that is none", identity{jwt: func(_ string, j *jwtauthnv3.JwtAuthentication) { j.Providers["xx"] = pinProvider("xx") }}, TokenUnproved},
		{"pins by another region's key", inProvider(eu, func(p *jwtauthnv3.JwtProvider) {
			p.GetLocalJwks().Specifier = &corev3.DataSource_InlineString{InlineString: pinKeys(me)}
		}), TokenUnproved},
		{"pins by an issuer's key", inProvider(eu, func(p *jwtauthnv3.JwtProvider) {
			p.GetLocalJwks().Specifier = &corev3.DataSource_InlineString{InlineString: keys}
		}), TokenUnproved},
		{"pins for another region", inProvider(eu, func(p *jwtauthnv3.JwtProvider) { p.Audiences = []string{eu, me} }), TokenUnproved},
		{"pins for anybody", inProvider(eu, func(p *jwtauthnv3.JwtProvider) { p.Audiences = nil }), TokenUnproved},
		{"pins of an hour", inProvider(eu, func(p *jwtauthnv3.JwtProvider) { p.MaxLifetime = durationpb.New(time.Hour) }), TokenUnproved},
		{"pins that never end", inProvider(eu, func(p *jwtauthnv3.JwtProvider) { p.RequireExpiration = false }), TokenUnproved},
		{"pins in the place of tokens", inProvider(eu, func(p *jwtauthnv3.JwtProvider) {
			p.FromHeaders = []*jwtauthnv3.JwtHeader{{Name: "authorization", ValuePrefix: "Bearer "}}
		}), TokenUnproved},
		{"pins in the query", inProvider(eu, func(p *jwtauthnv3.JwtProvider) { p.FromParams = []string{"pin"} }), TokenUnproved},
		{"pins that stand for a token", inProvider(eu, func(p *jwtauthnv3.JwtProvider) { p.ClaimToHeaders[0].HeaderName = "x-domicile-home" }), HeaderTrust},
		{"pin's issuer from its own name", inProvider(eu, func(p *jwtauthnv3.JwtProvider) { p.ClaimToHeaders[3].ClaimName = "iss" }), HeaderTrust},
		{"pin's credential not written", inProvider(eu, func(p *jwtauthnv3.JwtProvider) { p.ClaimToHeaders = p.ClaimToHeaders[:4] }), TokenUnproved},
		{"token that says what a pin says", inProvider("de", func(p *jwtauthnv3.JwtProvider) {
			p.ClaimToHeaders = append(p.ClaimToHeaders, &jwtauthnv3.JwtClaimToHeader{HeaderName: "X-Domicile-Pin-Home", ClaimName: "home"})
		}), HeaderTrust},
		{"a failed token passes with a pin", asksFor(anyOf(issuersOnly(), named1(eu))), TokenUnproved},
		{"a failed token passes beside pins", asksFor(allOf(issuersOnly(missingOrFailed()), anyOf(named1(eu), missingOrFailed()))), TokenUnproved},
		{"a failed token of one issuer passes", asksFor(allOf(anyOf(named1("all"), named1("de"), named1("homeless"), missing()), anyOf(named1(eu), missingOrFailed()))), TokenUnproved},
		{"pins alone are asked for", asksFor(anyOf(named1(eu), missingOrFailed())), TokenUnproved},
		{"pins alone are asked for by name", identity{jwt: func(table string, j *jwtauthnv3.JwtAuthentication) {
			if table == "gateway" {
				j.RequirementMap = map[string]*jwtauthnv3.JwtRequirement{"pins": named1(eu)}
				j.Rules[0].RequirementType = &jwtauthnv3.RequirementRule_RequirementName{RequirementName: "pins"}
			}
		}}, TokenUnproved},
		{"a failed token passes, one way of two", asksFor(allOf(issuersOnly(allOf(named1(eu))), anyOf(named1(eu), missingOrFailed()))), TokenUnproved},
		{"a missing token passes where all tokens name homes", identity{top: func(top *topology.Topology) {
			top.Issuers = slices.DeleteFunc(top.Issuers, func(i topology.Issuer) bool { return i.HomeClaim == "" })
		}}, TokenUnproved},
	}
}

func resolverLeaks() []identityLeak {
	off := func(m *hcmv3.HttpConnectionManager) { m.HttpFilters[0].Disabled = true }
	return []identityLeak{
		{"agent off", inResolver(off), AgentBypassed},
		{"agent may be silent", asksAgent(func(a *extauthzv3.ExtAuthz) { a.FailureModeAllow = true }), AgentBypassed},
		{"agent in another place", asksAgent(func(a *extauthzv3.ExtAuthz) { a.GetGrpcService().GetEnvoyGrpc().ClusterName = "peer@me-riyadh" }), AgentBypassed},
		{"agent's answer chooses no route", asksAgent(func(a *extauthzv3.ExtAuthz) { a.ClearRouteCache = false }), NoHome},
		{"agent optional", inResolver(func(m *hcmv3.HttpConnectionManager) { m.HttpFilters[0].IsOptional = true }), NotJudged},
		{"agent not asked on a route", resolves("DE", func(r []*routev3.Route) { r[0].TypedPerFilterConfig = map[string]*anypb.Any{"authz": unasked()} }), AgentBypassed},
		{"agent not asked on the host", identity{vh: func(table string, vh *routev3.VirtualHost) {
			if table == "resolve" {
				vh.TypedPerFilterConfig = map[string]*anypb.Any{"authz": unasked()}
			}
		}}, AgentBypassed},
		{"agent chooses among routes for verified tokens", inGateway(func(m *hcmv3.HttpConnectionManager) {
			m.HttpFilters[3] = httpFilter("authz", &extauthzv3.ExtAuthz{ClearRouteCache: true, Services: &extauthzv3.ExtAuthz_GrpcService{
				GrpcService: &corev3.GrpcService{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: "agent"}}},
			}})
		}), NotJudged},
		{"home written before the agent", inResolver(func(m *hcmv3.HttpConnectionManager) {
			m.EarlyHeaderMutationExtensions = []*corev3.TypedExtensionConfig{typed("w", &earlymutationv3.HeaderMutation{
				Mutations: []*mutationrulesv3.HeaderMutation{writes("x-domicile-home", "%REQ(x-home)%")},
			})}
		}), HeaderTrust},
		{"clients' headers come to the agent", inGateway(func(m *hcmv3.HttpConnectionManager) { m.EarlyHeaderMutationExtensions = nil }), HeaderTrust},
		{"resolved to another region", resolves("SA", func(r []*routev3.Route) { r[0] = asking(to(isMessage(), "message@eu")) }), RegionNotAllowed},
		{"resolved without a class", resolves("DE", func(r []*routev3.Route) { r[0].Match = prefix("/") }), NoClass},
		{"resolved from an issuer that may not", identity{vh: func(table string, vh *routev3.VirtualHost) {
			if table == "resolve" {
				m := vh.Matcher.GetMatcherTree().GetExactMatchMap().Map["TR"].GetMatcher().GetMatcherTree().GetExactMatchMap().Map
				m[idOpaque] = m[idHomeless]
			}
		}}, NotEntitled},
		{"resolved whatever the home", identity{vh: func(table string, vh *routev3.VirtualHost) {
			if table == "resolve" {
				vh.Matcher.OnNoMatch = act(asking(to(isMessage(), "message@eu")))
			}
		}}, NoHome},
		{"resolved to a user's profile without a guard", resolves("DE", func(r []*routev3.Route) { r[3] = asking(to(isProfile(), "profile@eu")) }), AgentBypassed},
		{"resolved to a stream without an end", resolves("DE", func(r []*routev3.Route) {
			r[1].GetRoute().ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: "message@eu"}
		}), Endless},
		{"peer's agent sends onward", identity{tree: func(table string, t *unhomed) {
			if table == "peer" {
				t.pins.OnNoMatch = act(to(prefix("/"), "resolve"))
			}
		}}, Onward},
		{"anybody comes to the agent by TCP", identity{conf: func(c *Config) {
			chainOf(c, "gateway").Filters = []*listenerv3.Filter{networkFilter(&tcpproxyv3.TcpProxy{
				ClusterSpecifier: &tcpproxyv3.TcpProxy_Cluster{Cluster: "resolve"},
			})}
		}}, NoHome},
		{"resolver with a share elsewhere", identity{conf: func(c *Config) {
			r := clusterNamed(c, "resolve")
			r.LoadAssignment.Endpoints = append(r.LoadAssignment.Endpoints, endpoint(address("10.2.1.1:8080")))
		}}, NoHome},
		{"inner listener with a tree and no end", identity{pin: func(table, home string, p *pinned) {
			if table == "gateway" && home == "DE" {
				p.routes[1] = to(isSocket(), "live/inner")
			}
		}, conf: func(c *Config) {
			m := plan{}.manager("inner")
			m.HttpFilters = m.HttpFilters[2:]
			m.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{VirtualHosts: []*routev3.VirtualHost{{
				Domains: []string{"*"}, Matcher: &xdsmatcherv3.Matcher{OnNoMatch: act(to(prefix("/"), "message@eu"))},
			}}}}
			l := tcpListener("live/inner", "")
			l.FilterChains[0].Filters[0] = networkFilter(m)
			c.Listeners, c.Clusters = append(c.Listeners, l), append(c.Clusters, internalCluster("live/inner"))
		}}, Endless},
	}
}

func credentialLeaks() []identityLeak {
	second := func(change func(list []*xdsmatcherv3.Matcher_MatcherList_Predicate) []*xdsmatcherv3.Matcher_MatcherList_Predicate) identity {
		return identity{two: func(table string, list []*xdsmatcherv3.Matcher_MatcherList_Predicate) []*xdsmatcherv3.Matcher_MatcherList_Predicate {
			if table == "gateway" {
				return change(slices.Clone(list))
			}
			return list
		}}
	}
	without := func(i int) identity {
		return second(func(list []*xdsmatcherv3.Matcher_MatcherList_Predicate) []*xdsmatcherv3.Matcher_MatcherList_Predicate {
			return slices.Delete(list, i, i+1)
		})
	}
	return []identityLeak{
		{"two tokens in one header", without(0), TokenUnproved},
		{"two tokens in one cookie", without(1), TokenUnproved},
		{"two tokens in subprotocols", without(2), TokenUnproved},
		{"two tokens in one query parameter", without(3), TokenUnproved},
		{"token in the header and another elsewhere", without(6), TokenUnproved},
		{"token in the query and another, escaped", second(func(list []*xdsmatcherv3.Matcher_MatcherList_Predicate) []*xdsmatcherv3.Matcher_MatcherList_Predicate {
			list[3] = when(":path", `.*[?&]access_token=.*[&]access_token=.*`)
			return list
		}), TokenUnproved},
		{"two tokens are refused at times", second(func(list []*xdsmatcherv3.Matcher_MatcherList_Predicate) []*xdsmatcherv3.Matcher_MatcherList_Predicate {
			return []*xdsmatcherv3.Matcher_MatcherList_Predicate{both(either(list...), when("x-any", ".+"))}
		}), TokenUnproved},
		{"a failed token passes where a server may read it", inTree(func(t *unhomed) { t.first[1].when = when("authorization", "Bearer .+") }), TokenUnproved},
		{"a failed token passes after another prefix", inTree(func(t *unhomed) {
			t.first[1].when = both(when("authorization", "Bearer .+"), neither(when("authorization", strings.Replace(signedBearer, "Bearer", "Token", 1))))
		}), TokenUnproved},
		{"a failed token passes in a cookie", inTree(func(t *unhomed) { t.first[1].when = when("cookie", ".*session=.*") }), TokenUnproved},
	}
}

func fenceLeaks() []identityLeak {
	replace := func(f *hcmv3.HttpFilter) identity {
		return inGateway(func(m *hcmv3.HttpConnectionManager) { m.HttpFilters[1] = f })
	}
	source := func(f *hcmv3.HttpFilter, s *corev3.ConfigSource) *hcmv3.HttpFilter {
		f.GetConfigDiscovery().ConfigSource = s
		return f
	}
	return []identityLeak{
		{"fence from another region", replace(fence("peer@me-riyadh", refusal)), AgentBypassed},
		{"fence that may verify tokens", replace(fence("domicile_agent", refusal, tokenType)), NotJudged},
		{"fence that may be anything", replace(fence("domicile_agent")), NotJudged},
		{"fence from no cluster", replace(fence("", refusal)), NotJudged},
		{"fence from somewhere", replace(source(fence("", refusal), &corev3.ConfigSource{
			ConfigSourceSpecifier: &corev3.ConfigSource_ApiConfigSource{ApiConfigSource: &corev3.ApiConfigSource{}},
		})), NotJudged},
		{"fence by REST", replace(source(fence("", refusal), &corev3.ConfigSource{
			ConfigSourceSpecifier: &corev3.ConfigSource_ApiConfigSource{ApiConfigSource: &corev3.ApiConfigSource{
				ClusterNames: []string{"peer@me-riyadh"}, GrpcServices: fence("domicile_agent").GetConfigDiscovery().GetConfigSource().GetApiConfigSource().GetGrpcServices(),
			}},
		})), NotJudged},
		{"the agent's cluster leads elsewhere", identity{conf: func(c *Config) {
			clusterNamed(c, "domicile_agent").LoadAssignment = cluster("x", "10.66.0.1:80").LoadAssignment
		}}, AgentBypassed},
		{"routes from somewhere", inGateway(func(m *hcmv3.HttpConnectionManager) {
			m.GetRds().ConfigSource = fence("domicile_agent").GetConfigDiscovery().GetConfigSource()
		}), NotJudged},
	}
}

// TestLeaksOfIdentities is TestLeaks for the world of identities.
func TestLeaksOfIdentities(t *testing.T) {
	var out strings.Builder
	for _, l := range slices.Concat(sourceLeaks(), pinLeaks(), resolverLeaks(), credentialLeaks(), fenceLeaks()) {
		t.Run(strings.ReplaceAll(l.name, " ", "_"), func(t *testing.T) {
			found := checkIdentity(t, l.identity)
			if !slices.ContainsFunc(found, func(f Finding) bool { return f.Code == l.code }) {
				t.Errorf("no finding %s, got %v", l.code, found)
			}
			fmt.Fprintf(&out, "# %s\n", l.name)
			for _, f := range found[:min(len(found), 2)] {
				fmt.Fprintln(&out, f)
			}
		})
	}
	golden := filepath.Join("testdata", "identities.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(out.String()), 0o600); err != nil {
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
