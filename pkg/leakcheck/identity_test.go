package leakcheck

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	statev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	setstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_filter_state/v3"
	networkinputsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/network/v3"

	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	jwtauthnv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// The world of these tests has, beside the issuers of the other one, one whose
// tokens name no home, one that signs with a secret in Frankfurt, and one whose
// tokens only a server reads; and every region signs pins.
const (
	idHomeless = "https://dir.example.com"
	idSecret   = "https://secret.example.com"
	idOpaque   = "https://opaque.example.com"
	secretFile = "/etc/domicile/keys/im.json"
)

// refusal is the type of a filter that can only refuse.
const refusal = typePrefix + "envoy.extensions.filters.http.rbac.v3.RBAC"

func pinKeys(region string) string { return `{"keys":[{"kty":"OKP","kid":"` + region + `"}]}` }

func identityTopology() *topology.Topology {
	top := worldTopology()
	top.Pins = &topology.Pins{TTL: 10 * time.Minute, Cookie: "domicile-pin", Header: "domicile-pin"}
	for i := range top.Regions {
		top.Regions[i].PinKeys = pinKeys(top.Regions[i].Name)
	}
	top.Issuers[0].Audiences = []string{"im", "web"}
	top.Issuers[0].MaxLifetime, top.Issuers[0].Skew = 24*time.Hour, 30*time.Second
	top.Issuers[0].Sources = []topology.TokenSource{
		{Header: "Authorization", Prefix: "Bearer "}, {Cookie: "session"}, {Query: "access_token"}, {Subprotocol: "bearer."}, {Query: "v", JSON: "token"},
	}
	top.Issuers = append(top.Issuers,
		topology.Issuer{Issuer: idHomeless, JWKS: keys, Sources: []topology.TokenSource{{Header: "authorization", Prefix: "Bearer "}, {Query: "t"}}},
		topology.Issuer{Issuer: idSecret, HomeClaim: "home", Secret: &topology.Secret{File: secretFile, Regions: []string{eu}}},
		topology.Issuer{Issuer: idOpaque, Whoami: &topology.Whoami{Service: "message", Path: "/whoami", Member: "user"}},
	)
	return top
}

func identitySpec() residency.Spec {
	s := worldSpec()
	s.Issuers = append(s.Issuers, residency.Issuer{Issuer: idHomeless, Homes: []string{"SA", "TR", "DE"}},
		residency.Issuer{Issuer: idSecret, Homes: []string{"DE"}}, residency.Issuer{Issuer: idOpaque, Homes: []string{"SA", "DE"}})
	s.Epochs = map[string]uint64{"SA": 2}
	return s
}

// identity is the good configuration with identities, with hooks like those of a
// plan. Every hook may be nil.
type identity struct {
	jwt   func(table string, j *jwtauthnv3.JwtAuthentication)
	pin   func(table, home string, p *pinned)
	tree  func(table string, t *unhomed)
	two   func(table string, list []*xdsmatcherv3.Matcher_MatcherList_Predicate) []*xdsmatcherv3.Matcher_MatcherList_Predicate
	inner func(lists map[string][]*routev3.Route)
	state func(table string, c *setstatev3.Config)
	hcm   func(name string, m *hcmv3.HttpConnectionManager)
	vh    func(table string, vh *routev3.VirtualHost)
	conf  func(c *Config)
	top   func(t *topology.Topology)
}

// pinned is the branch of one pin's home.
type pinned struct {
	epoch   string
	issuers []string
	bound   *xdsmatcherv3.Matcher_MatcherList_Predicate
	routes  []*routev3.Route
	then    *xdsmatcherv3.Matcher_OnMatch // in place of all of that
}

// unhomed is what a request without a verified home of the table comes to.
type unhomed struct {
	first []branch // before the pins
	pins  *xdsmatcherv3.Matcher
}

// tied is the text of the one condition that binds a pin to the token in a header.
const tied = `request.headers['authorization'].endsWith(request.headers['x-domicile-pin-credential'])`

// stateIs is true when a filter has noted this value.
func stateIs(key, value string) *xdsmatcherv3.Matcher_MatcherList_Predicate {
	p := when("x", "x")
	s := p.GetSinglePredicate()
	s.Input = xdsTyped(&networkinputsv3.FilterStateInput{Key: key})
	s.GetValueMatch().MatchPattern = &xdsmatcherv3.StringMatcher_Exact{Exact: value}
	return p
}

// notes is the filter that compares a pin with its token.
func notes(key, format string) *setstatev3.Config {
	return &setstatev3.Config{ClearRouteCache: true, OnRequestHeaders: []*statev3.FilterStateValue{{
		Key:        &statev3.FilterStateValue_ObjectKey{ObjectKey: key},
		FactoryKey: "envoy.string",
		Value: &statev3.FilterStateValue_FormatString{FormatString: &corev3.SubstitutionFormatString{
			Format: &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: &corev3.DataSource{
				Specifier: &corev3.DataSource_InlineString{InlineString: format},
			}},
		}},
	}}}
}

func (p identity) pins(table string) map[string]*xdsmatcherv3.Matcher_OnMatch {
	homes := map[string]*xdsmatcherv3.Matcher_OnMatch{}
	for home, routes := range (plan{}).routes(table) {
		b := &pinned{epoch: "0", issuers: []string{idHomeless, idOpaque}, routes: routes, bound: stateIs("pin", "true")}
		if home == "SA" {
			b.epoch = "2"
		}
		if home == "TR" {
			b.issuers = b.issuers[:1]
		}
		if p.pin != nil {
			p.pin(table, home, b)
		}
		if homes[home] = b.then; b.then != nil {
			continue
		}
		issuers := map[string]*xdsmatcherv3.Matcher_OnMatch{}
		for _, i := range b.issuers {
			issuers[i] = inner(first([]branch{{b.bound, act(&routev3.RouteList{Routes: b.routes})}}, act(deny(prefix("/")))))
		}
		homes[home] = inner(exactMap("x-domicile-pin-epoch", map[string]*xdsmatcherv3.Matcher_OnMatch{b.epoch: inner(exactMap("x-domicile-pin-issuer", issuers))}))
	}
	return homes
}

// unhomed hangs the pins and the resolver behind the home map.
func (p identity) unhomed(table string, vh *routev3.VirtualHost) {
	t := &unhomed{first: []branch{{when("x-domicile-home", ".+"), act(deny(prefix("/")))}}, pins: exactMap("x-domicile-pin-home", p.pins(table))}
	if table == "gateway" {
		t.pins.OnNoMatch = act(to(prefix("/"), "resolve"))
		asks := to(prefix("/"), "resolve")
		asks.TypedPerFilterConfig = map[string]*anypb.Any{"jwt": pack(&jwtauthnv3.PerRouteConfig{
			RequirementSpecifier: &jwtauthnv3.PerRouteConfig_RequirementName{RequirementName: "pins"},
		})}
		t.first = append(t.first, branch{both(when("authorization", "Bearer .+"), neither(when("authorization", signedBearer))), act(asks)})
	}
	if p.tree != nil {
		p.tree(table, t)
	}
	homes := vh.Matcher.OnNoMatch.GetMatcher()
	homes.OnNoMatch = inner(first(t.first, inner(t.pins)))
	if len(t.first) == 0 {
		homes.OnNoMatch = inner(t.pins)
	}
	if p.vh != nil {
		p.vh(table, vh)
	}
}

func pinProvider(region string) *jwtauthnv3.JwtProvider {
	p := provider(topology.PinIssuer(region))
	p.Audiences, p.MaxLifetime = []string{region}, durationpb.New(10*time.Minute)
	p.GetLocalJwks().Specifier = &corev3.DataSource_InlineString{InlineString: pinKeys(region)}
	p.FromHeaders, p.FromCookies = []*jwtauthnv3.JwtHeader{{Name: "domicile-pin"}}, []string{"domicile-pin"}
	p.ClaimToHeaders = nil
	for _, c := range [][2]string{{"home", "home"}, {"user", "sub"}, {"epoch", "epoch"}, {"issuer", "idp"}, {"credential", "cred"}} {
		p.ClaimToHeaders = append(p.ClaimToHeaders, &jwtauthnv3.JwtClaimToHeader{HeaderName: "x-domicile-pin-" + c[0], ClaimName: c[1]})
	}
	return p
}

func allOf(list ...*jwtauthnv3.JwtRequirement) *jwtauthnv3.JwtRequirement {
	return &jwtauthnv3.JwtRequirement{RequiresType: &jwtauthnv3.JwtRequirement_RequiresAll{
		RequiresAll: &jwtauthnv3.JwtRequirementAndList{Requirements: list},
	}}
}

func missing() *jwtauthnv3.JwtRequirement {
	return &jwtauthnv3.JwtRequirement{RequiresType: &jwtauthnv3.JwtRequirement_AllowMissing{AllowMissing: &emptypb.Empty{}}}
}

func missingOrFailed() *jwtauthnv3.JwtRequirement {
	return &jwtauthnv3.JwtRequirement{RequiresType: &jwtauthnv3.JwtRequirement_AllowMissingOrFailed{AllowMissingOrFailed: &emptypb.Empty{}}}
}

func (p identity) tokenFilter(table string) *jwtauthnv3.JwtAuthentication {
	all, homeless, secret := provider(idAll), provider(idHomeless), provider(idSecret)
	all.Audiences, all.ClockSkewSeconds = []string{"im"}, 30
	all.FromHeaders = append(all.FromHeaders, &jwtauthnv3.JwtHeader{Name: "Sec-WebSocket-Protocol", ValuePrefix: "bearer."})
	all.FromCookies, all.FromParams = []string{"session"}, []string{"access_token"}
	homeless.ClaimToHeaders = homeless.ClaimToHeaders[1:]
	secret.GetLocalJwks().Specifier = &corev3.DataSource_Filename{Filename: secretFile}
	j := &jwtauthnv3.JwtAuthentication{Providers: map[string]*jwtauthnv3.JwtProvider{
		"all": all, "de": provider(idDE), "homeless": homeless, "secret": secret, eu: pinProvider(eu),
	}}
	pins := []*jwtauthnv3.JwtRequirement{named1(eu)}
	if table == "peer" {
		for _, r := range []string{me, tr} {
			j.Providers[r], pins = pinProvider(r), append(pins, named1(r))
		}
	}
	j.Rules = []*jwtauthnv3.RequirementRule{{Match: prefix("/"), RequirementType: &jwtauthnv3.RequirementRule_Requires{Requires: allOf(
		anyOf(named1("all"), named1("de"), named1("homeless"), named1("secret"), missing()), anyOf(append(pins, missingOrFailed())...),
	)}}}
	j.RequirementMap = map[string]*jwtauthnv3.JwtRequirement{"pins": anyOf(named1(eu), missingOrFailed())}
	if p.jwt != nil {
		p.jwt(table, j)
	}
	return j
}

func fence(cluster string, types ...string) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: "fence", ConfigType: &hcmv3.HttpFilter_ConfigDiscovery{ConfigDiscovery: &corev3.ExtensionConfigSource{
		ConfigSource: &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_ApiConfigSource{ApiConfigSource: &corev3.ApiConfigSource{
			ApiType: corev3.ApiConfigSource_DELTA_GRPC,
			GrpcServices: []*corev3.GrpcService{{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
				EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: cluster},
			}}},
		}}},
		DefaultConfig: pack(&httprbacv3.RBAC{Rules: &rbacv3.RBAC{Action: rbacv3.RBAC_ALLOW}}),
		TypeUrls:      types,
	}}}
}

// resolver is the listener where the agent says whose data it is.
func (p identity) resolver(c *Config) {
	m := plan{}.manager("resolve")
	m.EarlyHeaderMutationExtensions = nil
	m.HttpFilters = []*hcmv3.HttpFilter{httpFilter("authz", &extauthzv3.ExtAuthz{
		ClearRouteCache: true,
		Services: &extauthzv3.ExtAuthz_GrpcService{GrpcService: &corev3.GrpcService{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
			EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: "agent"},
		}}},
	}), httpFilter("router", &routerv3.Router{})}
	if p.hcm != nil {
		p.hcm("resolve", m)
	}
	l := tcpListener("resolve", "")
	l.FilterChains[0].Filters[0] = networkFilter(m)
	c.Listeners = append(c.Listeners, l)
	c.Clusters = append(c.Clusters, internalCluster("resolve"))
	lists := map[string][]*routev3.Route{
		"SA": classes("peer@me-riyadh", "live/SA", "peer@me-riyadh", "", ""),
		"TR": classes("message@tr>eu", "live/TR", "message@tr>eu", "", ""),
		"DE": classes("message@eu", "live/DE", "message@eu", "guard", ""),
	}
	for _, list := range lists {
		for _, r := range list {
			delete(r.TypedPerFilterConfig, "authz")
		}
	}
	if p.inner != nil {
		p.inner(lists)
	}
	homes := map[string]*xdsmatcherv3.Matcher_OnMatch{}
	for home, list := range lists {
		issuers := map[string]*xdsmatcherv3.Matcher_OnMatch{idHomeless: act(&routev3.RouteList{Routes: list})}
		if home != "TR" {
			issuers[idOpaque] = issuers[idHomeless]
		}
		homes[home] = inner(exactMap("x-domicile-issuer", issuers))
	}
	vh := &routev3.VirtualHost{Name: "v", Domains: []string{"*"}, Matcher: exactMap("x-domicile-home", homes)}
	if p.vh != nil {
		p.vh("resolve", vh)
	}
	c.Routes = append(c.Routes, &routev3.RouteConfiguration{Name: "resolve", VirtualHosts: []*routev3.VirtualHost{vh}})
}

func (p identity) build() Config {
	out := plan{
		vh: p.unhomed,
		hcm: func(name string, m *hcmv3.HttpConnectionManager) {
			if name == "peer" {
				m.HttpFilters[0].Name = "jwt.peer"
			}
			note := notes("pin", "%CEL("+tied+")%")
			if p.state != nil {
				p.state(name, note)
			}
			tie := httpFilter("pin", note)
			tie.Disabled = true
			m.HttpFilters = slices.Insert(m.HttpFilters, 1, fence("domicile_agent", refusal), tie)
			if p.hcm != nil {
				p.hcm(name, m)
			}
		},
		open: func(table string, list []branch) []branch {
			refused := deny(prefix("/"))
			refused.TypedPerFilterConfig = map[string]*anypb.Any{"jwt": tokenless(), "jwt.peer": tokenless()}
			list[0].then = act(refused)
			second := secondTokens()
			if p.two != nil {
				second = p.two(table, second)
			}
			list = slices.Insert(list, 1, branch{either(second...), act(refused)})
			if table != "peer" {
				return list
			}
			// The token filter of the peer has another name.
			list[2].then = act(peerOpen(to(prefix("/"), "message@eu")))
			list[3].then = inner(first([]branch{{both(toHost("de"), when("x-domicile-entry", `spiffe://d\.test/(?:eu-frankfurt|tr-istanbul)/.*`)), act(peerOpen(to(prefix("/"), "message@eu")))}}, act(deny(prefix("/")))))
			return list
		},
		config: func(c *Config) {
			c.Extensions = nil
			c.Extensions = append(c.Extensions, typed("jwt", p.tokenFilter("gateway")), typed("jwt.peer", p.tokenFilter("peer")))
			addGuard(c, false)
			p.resolver(c)
			agent := clusterNamed(c, "agent")
			c.Clusters = append(c.Clusters, cluster("domicile_agent"))
			clusterNamed(c, "domicile_agent").LoadAssignment = agent.LoadAssignment
			if p.conf != nil {
				p.conf(c)
			}
		},
	}
	return out.build()
}

// signedBearer is an Authorization header with a token that Envoy can read.
const signedBearer = `Bearer [A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*`

func neither(p *xdsmatcherv3.Matcher_MatcherList_Predicate) *xdsmatcherv3.Matcher_MatcherList_Predicate {
	return &xdsmatcherv3.Matcher_MatcherList_Predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_NotMatcher{NotMatcher: p}}
}

func either(list ...*xdsmatcherv3.Matcher_MatcherList_Predicate) *xdsmatcherv3.Matcher_MatcherList_Predicate {
	return &xdsmatcherv3.Matcher_MatcherList_Predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_OrMatcher{
		OrMatcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_PredicateList{Predicate: list},
	}}
}

// secondTokens are the requests with something in two places where tokens may stand.
func secondTokens() []*xdsmatcherv3.Matcher_MatcherList_Predicate {
	const start = `[^?]*\?(?:.*[&;])?`
	name := func(n string) string {
		var out strings.Builder
		for _, c := range n {
			fmt.Fprintf(&out, `(?:%c|%%(?i:%02x))`, c, c)
		}
		return out.String()
	}
	again := func(n string) string {
		return start + name(n) + `(?:=[^&;]*)?[&;](?:.*[&;])?` + name(n) + `(?:[=&;#].*)?`
	}
	places := []*xdsmatcherv3.Matcher_MatcherList_Predicate{
		when("authorization", ".+"), when("cookie", `(?:.*[;, \t])?session=.*`), when("sec-websocket-protocol", `.*bearer\..*`),
	}
	out := []*xdsmatcherv3.Matcher_MatcherList_Predicate{
		when("authorization", ".*,.*"), when("cookie", `(?:.*[;, \t])?session=.*[;, \t]session=.*`), when("sec-websocket-protocol", `.*bearer\..*bearer\..*`),
	}
	for _, q := range []string{"access_token", "v", "t"} {
		places, out = append(places, when(":path", start+name(q)+`(?:[=&;#].*)?`)), append(out, when(":path", again(q)))
	}
	for i, p := range places {
		if i+1 < len(places) {
			out = append(out, both(p, either(places[i+1:]...)))
		}
	}
	return out
}

func peerOpen(r *routev3.Route) *routev3.Route {
	r.TypedPerFilterConfig["jwt.peer"] = tokenless()
	return r
}

func checkIdentity(t *testing.T, p identity) []Finding {
	t.Helper()
	table, err := residency.New(identitySpec())
	if err != nil {
		t.Fatal(err)
	}
	top := identityTopology()
	if p.top != nil {
		p.top(top)
	}
	warm.Check(identity{}.build(), table, top, eu)
	return agreed(t, p.build(), table, top)
}

func TestGoodIdentitiesAreProved(t *testing.T) {
	for _, f := range checkIdentity(t, identity{}) {
		t.Error(f)
	}
	// Pins for tokens in several headers, and routes that turn the filter on.
	several := identity{
		two: func(_ string, list []*xdsmatcherv3.Matcher_MatcherList_Predicate) []*xdsmatcherv3.Matcher_MatcherList_Predicate {
			return append(list, when("x-token", ".*,.*"), both(when("x-token", ".+"), either(list[0], when("authorization", ".+"), when("cookie", ".*session=.*"),
				when("sec-websocket-protocol", ".+"), when(":path", `.*[?&;].+`))))
		},
		state: func(_ string, c *setstatev3.Config) {
			*c = *notes("pin", "%CEL("+tied+" || "+strings.Replace(tied, "authorization", "x-token", 1)+")%")
		},
		top: func(top *topology.Topology) {
			top.Issuers[0].Sources = append(top.Issuers[0].Sources, topology.TokenSource{Header: "X-Token"})
		},
		pin: func(_, _ string, p *pinned) {
			p.routes[0].TypedPerFilterConfig = map[string]*anypb.Any{"authz": unasked(), "pin": pack(&routev3.FilterConfig{Config: &anypb.Any{}})}
		},
	}
	for _, f := range checkIdentity(t, several) {
		t.Error(f)
	}
	// Pins in places of the operator's own, and with fewer homes than there are.
	named := identity{
		top: func(top *topology.Topology) { top.Pins.Header, top.Pins.Cookie = "X-Pin", "p" },
		jwt: func(_ string, j *jwtauthnv3.JwtAuthentication) {
			for _, name := range slices.Sorted(maps.Keys(j.Providers)) {
				if p := j.Providers[name]; len(p.GetFromCookies()) > 0 && p.GetFromCookies()[0] == "domicile-pin" {
					p.FromHeaders[0].Name, p.FromCookies[0] = "x-pin", "p"
				}
			}
		},
	}
	for _, f := range checkIdentity(t, named) {
		t.Error(f)
	}
}
