package envoy

import (
	"regexp"
	"slices"
	"strconv"

	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	earlyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/domicile-dev/domicile/pkg/envoy/internal/inner"
	"github.com/domicile-dev/domicile/pkg/envoy/internal/match"
	"github.com/domicile-dev/domicile/pkg/envoy/internal/reply"
	"github.com/domicile-dev/domicile/pkg/envoy/internal/tokens"
	"github.com/domicile-dev/domicile/pkg/residency"
)

// resolveName names the internal listener, its route table and its cluster, through
// which a request goes whose home only the agent can find: that of users, or of peers.
func resolveName(peer bool) string {
	if peer {
		return "resolve_peer"
	}
	return "resolve"
}

// unlessPinnedElsewhere refuses a request whose token names this home and whose pin,
// a good one, names another.
func (v view) unlessPinnedElsewhere(home string, then *xdsmatcherv3.Matcher_OnMatch) *xdsmatcherv3.Matcher_OnMatch {
	if len(tokens.PinRegions(v.Topology, v.region.Name, v.peer)) == 0 {
		return then
	}
	elsewhere := match.And(v.Header(tokens.PinHomeHeader, ".+"), match.Not(v.Header(tokens.PinHomeHeader, regexp.QuoteMeta(home))))
	return match.Nested(match.First([]match.Branch{
		match.When(elsewhere, v.TakeRoute(v.deny(match.AnyPath(), residency.TwoIdentities, "", ""))),
	}, then))
}

// pinnedHomes are the homes of requests whose pin was issued for the token beside it.
// A pin of an earlier epoch is none, and so is one beside a token that names a home
// of its own, be it an unknown one.
func (v view) pinnedHomes(homes map[string]*xdsmatcherv3.Matcher_OnMatch) []match.Branch {
	ask := v.toResolve(nil)
	byEpoch := map[string]*xdsmatcherv3.Matcher_OnMatch{}
	for home, then := range homes {
		epoch := strconv.FormatUint(v.Table.Epoch(home), 10)
		byEpoch[home] = match.Nested(v.Exact(tokens.PinEpochHeader, map[string]*xdsmatcherv3.Matcher_OnMatch{epoch: then}, ask))
	}
	pinned := match.And(v.Header(tokens.PinHomeHeader, ".+"), match.Not(v.Header(tokens.HomeHeader, ".+")))
	return []match.Branch{
		match.When(match.And(pinned, v.State(tokens.PinState, "true")), match.Nested(v.Exact(tokens.PinHomeHeader, byEpoch, ask))),
		// On the walk before the filter has compared, any route will do.
		match.When(match.And(pinned, match.Not(v.HasState(tokens.PinState))), v.TakeRoute(v.deny(match.AnyPath(), residency.NotDecidable, "", ""))),
	}
}

// asked are the requests with a credential that only an agent can read. A pin may
// stand beside one in a header; with any other the agent is asked each time.
func (v view) asked() []match.Branch {
	var out []match.Branch
	header, elsewhere := v.creds.Asked()
	if header != nil {
		out = append(out, match.When(header, v.withPin(tokens.PinOnly, v.toResolve, v.withoutToken)))
	}
	if elsewhere != nil {
		out = append(out, match.When(elsewhere, v.toResolve(v.withoutToken)))
	}
	return out
}

// withPin makes, by to, the way of requests with something that stands where a pin
// does, which is verified as needed, and of those without, by plain.
func (v view) withPin(need tokens.Requirement, to func(func(*routev3.Route) *routev3.Route) *xdsmatcherv3.Matcher_OnMatch, plain func(*routev3.Route) *routev3.Route) *xdsmatcherv3.Matcher_OnMatch {
	regions := tokens.PinRegions(v.Topology, v.region.Name, v.peer)
	if len(regions) == 0 {
		return to(plain)
	}
	verified := func(region string) *xdsmatcherv3.Matcher_OnMatch {
		return to(func(r *routev3.Route) *routev3.Route {
			r.TypedPerFilterConfig = tokens.With(v.Packer, v.Topology, need, region, v.peer)
			return r
		})
	}
	if !v.peer {
		return match.Nested(match.First([]match.Branch{match.When(v.creds.Pin(), verified(regions[0]))}, to(plain)))
	}
	// A peer counts the pins of the region that sent the request only.
	var from []match.Branch
	for _, region := range regions {
		sent := v.Header(entryHeader, v.sanRegex(regexp.QuoteMeta(region), Gateway, Sidecar))
		from = append(from, match.When(match.And(v.creds.Pin(), sent), verified(region)))
	}
	return match.Nested(match.First(from, to(plain)))
}

// homeless answers a request whose home is none of the table's, or not known.
func (v view) homeless() *xdsmatcherv3.Matcher {
	refuse := func(why residency.Reason) func(func(*routev3.Route) *routev3.Route) *xdsmatcherv3.Matcher_OnMatch {
		return func(also func(*routev3.Route) *routev3.Route) *xdsmatcherv3.Matcher_OnMatch {
			return v.TakeRoute(also(v.deny(match.AnyPath(), why, "", "")))
		}
	}
	plain := func(r *routev3.Route) *routev3.Route { return r }
	known := refuse(residency.NoHome)
	if v.Topology.FirstContacts() {
		known = v.toResolve
	}
	return match.First([]match.Branch{
		match.When(v.Header(tokens.HomeHeader, ".+"), refuse(residency.IssuerNotEntitled)(plain)),
		match.When(v.Header(tokens.IssuerHeader, ".+"), known(plain)),
	}, v.withPin(tokens.TokenAndPin, refuse(residency.NoIdentity), plain))
}

// toResolve leads to the listener where the agent finds the home.
func (v view) toResolve(also func(*routev3.Route) *routev3.Route) *xdsmatcherv3.Matcher_OnMatch {
	way := func(cluster string) *xdsmatcherv3.Matcher_OnMatch {
		r := v.deny(match.AnyPath(), residency.NotDecidable, "", "")
		r.Action = &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster},
			Timeout:          durationpb.New(0), // the inner route has one
			IdleTimeout:      durationpb.New(idleTimeout),
		}}
		if also != nil {
			r = also(r)
		}
		return v.TakeRoute(r)
	}
	name := resolveName(v.peer)
	if !v.speaksGRPC() {
		return way(name)
	}
	return match.Nested(match.First([]match.Branch{
		match.When(v.Header("content-type", `application/grpc(?:\+.*)?`), way(name+string(http2))),
	}, way(name)))
}

func (t *translation) speaksGRPC() bool {
	return slices.ContainsFunc(t.Table.Routes(), func(r residency.Route) bool { return r.Match.GRPCService != "" })
}

// addResolvers adds the listeners where the agent finds homes, for the users and the
// peers that this Envoy has.
func (t *translation) addResolvers() {
	for _, peer := range []bool{false, true} {
		if peer && t.Node.Role == Sidecar || !peer && t.Node.Role == Peer {
			continue
		}
		name := resolveName(peer)
		t.addCluster(inner.Cluster(t.Packer, name, false))
		if t.speaksGRPC() {
			t.addCluster(inner.ClusterTo(t.Packer, name+string(http2), name, true))
		}
		t.out.Routes = append(t.out.Routes, view{t, peer}.resolved(name))
		t.inner[name] = inner.Listener(name, "http", t.Pack(t.resolver(name)))
	}
}

// resolved is the route table behind the agent's word: home, issuer, class, as for
// verified tokens.
func (v view) resolved(name string) *routev3.RouteConfiguration {
	homes := map[string]*xdsmatcherv3.Matcher_OnMatch{}
	for _, home := range v.Memory.shared.Homes() {
		homes[home] = v.home(home).Match
	}
	asks := v.deny(match.AnyPath(), residency.NotDecidable, "", "")
	asks.TypedPerFilterConfig = map[string]*anypb.Any{authzFilterName: v.told(map[string]string{"mode": "resolve"})}
	return &routev3.RouteConfiguration{Name: name, VirtualHosts: []*routev3.VirtualHost{
		v.virtualHost(name, []string{"*"}, v.Exact(tokens.HomeHeader, homes, v.TakeRoute(asks))),
	}}
}

// resolver is the connection manager of that listener. Nothing passes it but by the
// agent, and no home but the agent's.
func (t *translation) resolver(name string) *hcmv3.HttpConnectionManager {
	return &hcmv3.HttpConnectionManager{
		StatPrefix: name,
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{
			RouteConfigName: name, ConfigSource: fromADS(),
		}},
		EarlyHeaderMutationExtensions: []*corev3.TypedExtensionConfig{{
			Name: "scrub", TypedConfig: t.Pack(&earlyv3.HeaderMutation{Mutations: []*mutationv3.HeaderMutation{tokens.Without(tokens.HomeHeader), tokens.Without(tokens.PinPrefix)}}),
		}},
		HttpFilters:          []*hcmv3.HttpFilter{t.resolveFilter(), t.router()},
		UpgradeConfigs:       []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}},
		LocalReplyConfig:     t.replies(reply.FromVirtualHost, false),
		NormalizePath:        wrapperspb.Bool(true),
		StreamIdleTimeout:    durationpb.New(0),
		Http2ProtocolOptions: &corev3.Http2ProtocolOptions{AllowConnect: true},
	}
}

// identityFilters are the resources of the filters that say who calls.
func (t *translation) identityFilters() []*corev3.TypedExtensionConfig {
	var out []*corev3.TypedExtensionConfig
	if t.Node.Role != Peer || t.Topology.Pins == nil {
		out = append(out, tokens.Filter(t.Packer, t.Topology, t.region.Name, false))
	}
	if t.Topology.Pins == nil {
		return out
	}
	if t.Node.Role != Sidecar {
		out = append(out, tokens.Filter(t.Packer, t.Topology, t.region.Name, true))
	}
	return append(out, tokens.PinFilter(t.Packer, t.creds.Headers()))
}

// lastHopRemovals: tokens end here, unless the operator's IM servers check them.
// Where the host name decides nobody reads a token: what stands there is between
// the user and the IM server, as a password or a session of Matrix is.
func (t *translation) lastHopRemovals(r residency.Route) []string {
	out := []string{entryHeader}
	if r.Subject != residency.SubjectHost {
		out = append(out, t.creds.Stripped()...)
	} else if t.Topology.Pins != nil {
		out = append(out, t.Topology.Pins.Header)
	}
	if t.Topology.Pins != nil {
		out = append(out, tokens.PinCredentialHeader)
	}
	return out
}

// withoutCredentials is what a request loses that is nobody's.
func (t *translation) withoutCredentials() []string {
	out := append([]string{entryHeader}, t.creds.Headers()...)
	if t.Topology.Pins != nil {
		out = append(out, t.Topology.Pins.Header)
	}
	return append(out, "cookie")
}
