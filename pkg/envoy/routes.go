package envoy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/domicile-dev/domicile/pkg/envoy/internal/branches"
	"github.com/domicile-dev/domicile/pkg/envoy/internal/lifetime"
	"github.com/domicile-dev/domicile/pkg/envoy/internal/match"
	"github.com/domicile-dev/domicile/pkg/envoy/internal/pattern"
	"github.com/domicile-dev/domicile/pkg/envoy/internal/reply"
	"github.com/domicile-dev/domicile/pkg/envoy/internal/tokens"
	"github.com/domicile-dev/domicile/pkg/envoy/internal/wellknown"
	"github.com/domicile-dev/domicile/pkg/residency"
)

// Headers that only Envoy sets, beside those of package tokens.
const (
	entryHeader  = "x-domicile-entry" // peer listener: the client certificate's URI
	policyHeader = "x-domicile-policy"
)

const (
	// shortLife bounds a request that is not long-lived, its body included, so that
	// none that began under yesterday's policy goes on for long. Envoy's time-out
	// alone begins when the body has ended.
	shortLife   = 30 * time.Second
	idleTimeout = time.Hour // of a long-lived stream
)

// view is one reading of the table: a gateway or sidecar decides for users at
// its own region's entry; a peer decides for requests that entered elsewhere,
// and serves from its own region or not at all.
type view struct {
	*translation
	peer bool
}

// userRoutes is the route table of a gateway or sidecar.
func (t *translation) userRoutes(name string) *routev3.RouteConfiguration {
	rc := &routev3.RouteConfiguration{Name: name, IgnorePortInHostMatching: true}
	hosts := []string{"*"}
	if name == Gateway {
		hosts = t.acceptedHosts()
	}
	rc.VirtualHosts = []*routev3.VirtualHost{t.virtualHost("users", hosts, view{t, false}.decisions(name != Gateway))}
	if name == Gateway {
		rc.VirtualHosts = append(rc.VirtualHosts, t.virtualHost("elsewhere", []string{"*"},
			&xdsmatcherv3.Matcher{OnNoMatch: view{t, false}.refuseUnseen(residency.BadRequest)}))
	}
	return rc
}

// peerRoutes is the route table of the listener that other regions' gateways
// call. It checks everything again, and forwards to local backends only.
func (t *translation) peerRoutes() *routev3.RouteConfiguration {
	health := match.When(t.Header(":path", regexp.QuoteMeta(healthPath)+"[a-z0-9-]+"), t.TakeRoute(view{t, true}.withoutToken(t.healthRoute())))
	return &routev3.RouteConfiguration{Name: Peer, VirtualHosts: []*routev3.VirtualHost{
		t.virtualHost("peers", []string{"*"}, match.First([]match.Branch{health}, match.Nested(view{t, true}.decisions(true)))),
	}}
}

// egressRoutes refuses every call that leaves for another home: no transfer
// `for: deliver` is carried out by this version.
func (t *translation) egressRoutes() *routev3.RouteConfiguration {
	return &routev3.RouteConfiguration{Name: "egress", VirtualHosts: []*routev3.VirtualHost{
		t.virtualHost("egress", []string{"*"},
			&xdsmatcherv3.Matcher{OnNoMatch: view{t, false}.refuseUnseen(residency.TransferNotAllowed)}),
	}}
}

func (t *translation) acceptedHosts() []string {
	hosts := slices.Clone(t.region.Aliases)
	for _, r := range t.Topology.Regions {
		if r.Host != "" {
			hosts = append(hosts, r.Host)
		}
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

func (t *translation) virtualHost(name string, domains []string, m *xdsmatcherv3.Matcher) *routev3.VirtualHost {
	vh := &routev3.VirtualHost{
		Name: name, Domains: domains, Matcher: m,
		Metadata: reply.Metadata(map[string]string{reply.Policy: t.digest()}),
	}
	if t.Topology.Expose {
		vh.ResponseHeadersToAdd = []*corev3.HeaderValueOption{setHeader("x-domicile-policy", t.digest())}
	}
	return vh
}

// decisions is the decision tree. Envoy walks it twice. Before the token is
// verified no request has a home, so the first walk finds what cannot be read in
// one way, two identities, and requests that need no identity; none of these
// has its token verified, so none of them ever gets a home. All others are
// verified and walk again: home, then issuer, then the short list of classes.
func (v view) decisions(anyHost bool) *xdsmatcherv3.Matcher {
	odd := v.Header(":path", pattern.OddPath)
	if anyHost { // elsewhere the virtual host's names have decided
		odd = match.Or(odd, v.Header(":authority", pattern.OddHost))
	}
	open := slices.Concat([]match.Branch{
		match.When(odd, v.refuseUnseen(residency.BadRequest)),
		match.When(v.StrayUpgrade(v.Table.Routes()), v.refuseUnseen(residency.BadRequest)),
		match.When(v.creds.Second(v.peer), v.refuseUnseen(residency.TwoIdentities)),
	}, v.askedByNobody(), v.openBranches())
	homes, pinned := map[string]*xdsmatcherv3.Matcher_OnMatch{}, map[string]*xdsmatcherv3.Matcher_OnMatch{}
	for _, home := range v.Memory.shared.Homes() {
		b := v.home(home)
		homes[home] = v.unlessPinnedElsewhere(home, b.Match)
		if b.Pinned != nil {
			pinned[home] = b.Pinned
		}
	}
	if v.Topology.FirstContacts() {
		open = slices.Concat(v.pinnedHomes(pinned), open, v.asked())
	}
	return match.First([]match.Branch{
		// The next hop would read another user than the token and the fence name, or none.
		match.When(match.And(v.Header(tokens.IssuerHeader, ".+"), match.Not(v.Header(tokens.UserHeader, pattern.User))), v.TakeRoute(v.deny(match.AnyPath(), residency.BadToken, "", ""))),
	}, match.Nested(v.Exact(tokens.HomeHeader, homes, match.Nested(match.First(open, match.Nested(v.homeless()))))))
}

// home is the branch of one home, with what it needs: made here, or shared.
func (v view) home(home string) *branches.Branch {
	b, err := v.Memory.shared.Share(home, v.region, v.peer, func() (*branches.Branch, error) {
		apart := view{begin(v.Input, v.region), v.peer}
		routes := apart.TakeList(apart.classes(home))
		issuers := map[string]*xdsmatcherv3.Matcher_OnMatch{}
		for _, i := range v.Memory.shared.Issuers(home) {
			issuers[i] = routes
		}
		otherwise := apart.TakeRoute(apart.deny(match.AnyPath(), residency.IssuerNotEntitled, "", ""))
		b := &branches.Branch{Match: match.Nested(apart.Exact(tokens.IssuerHeader, issuers, otherwise)), Clusters: apart.clusters, Inner: apart.inner}
		if v.Topology.FirstContacts() {
			b.Pinned = match.Nested(apart.Exact(tokens.PinIssuerHeader, issuers, otherwise))
		}
		return b, apart.Err()
	})
	if err != nil {
		v.Fail(err)
		return &branches.Branch{}
	}
	maps.Copy(v.clusters, b.Clusters)
	maps.Copy(v.inner, b.Inner)
	return b
}

// refuseUnseen denies before the token is verified.
func (v view) refuseUnseen(why residency.Reason) *xdsmatcherv3.Matcher_OnMatch {
	return v.TakeRoute(v.withoutToken(v.deny(match.AnyPath(), why, "", "")))
}

// openBranches are the routes of subjects host and none. A route that an
// earlier one shadows in the table must be shadowed here too.
func (v view) openBranches() []match.Branch {
	var out []match.Branch
	var earlier []*match.Predicate
	for i, r := range v.Table.Routes() {
		p := v.Class(r.Match)
		if r.Subject != residency.SubjectHost && r.Subject != residency.SubjectNone {
			earlier = append(earlier, p)
			continue
		}
		if len(earlier) > 0 {
			p = match.And(p, match.Not(match.Or(earlier...)))
		}
		out = append(out, match.When(p, v.openRoute(i, r)))
	}
	return out
}

func (v view) openRoute(i int, r residency.Route) *xdsmatcherv3.Matcher_OnMatch {
	if r.Subject == residency.SubjectNone {
		return v.takeOpen(v.cell(match.AnyPath(), r, "none", "", func(*residency.Table, string) residency.Decision {
			return residency.Everywhere(v.nearest(r.Serve))
		}))
	}
	var hosts []match.Branch
	for _, region := range v.Topology.Regions {
		var names []string
		if region.Host != "" {
			names = append(names, region.Host)
		}
		if region.Name == v.region.Name {
			names = append(names, region.Aliases...)
		}
		if len(names) == 0 {
			continue
		}
		routes := v.cell(match.AnyPath(), r, "host-"+region.Name, "", func(t *residency.Table, entry string) residency.Decision {
			return t.DecideHost(i, region.Name, entry)
		})
		hosts = append(hosts, match.When(v.Header(":authority", pattern.Host(names...)), v.takeOpen(routes)))
	}
	return match.Nested(match.First(hosts, v.TakeRoute(v.withoutToken(v.deny(match.AnyPath(), residency.NoHome, r.Class, "")))))
}

// nearest serves a request without personal data where it came in, if that
// region is named: what it carries all the same need not travel.
func (v view) nearest(serve []string) []string {
	if slices.Contains(serve, v.region.Name) {
		return []string{v.region.Name}
	}
	return serve
}

// takeOpen takes routes on which nobody has to say who is calling.
func (v view) takeOpen(routes []*routev3.Route) *xdsmatcherv3.Matcher_OnMatch {
	for _, r := range routes {
		v.withoutToken(r)
	}
	return v.TakeList(routes)
}

// classes is the list of class routes of one home.
func (v view) classes(home string) []*routev3.Route {
	var out []*routev3.Route
	hosts := -1
	for i, r := range v.Table.Routes() {
		if r.Subject == residency.SubjectCaller || r.Subject == residency.SubjectUser {
			if hosts < 0 && wellknown.Takes(r.Match) {
				hosts = len(out)
			}
			out = append(out, v.cell(match.Route(r.Match), r, home, home, func(t *residency.Table, entry string) residency.Decision {
				return t.DecideRoute(i, residency.Query{Home: home, Entry: entry})
			})...)
		}
	}
	if hosts < 0 {
		hosts = len(out)
	}
	return append(v.withHosts(home, out, hosts), v.deny(match.AnyPath(), residency.NoClass, "", home))
}

// judgement asks a table about one cell at one entry.
type judgement func(t *residency.Table, entry string) residency.Decision

// cell is one decision as routes that share a match: the way, if there is one,
// and the refusal.
func (v view) cell(m *routev3.RouteMatch, r residency.Route, owner, home string, ask judgement) []*routev3.Route {
	if v.peer {
		return v.peerCell(m, r, owner, home, ask)
	}
	d := ask(v.Table, v.region.Name)
	if d.Passes() {
		if route := v.observed(m, r, home, d.Reason); route != nil {
			return []*routev3.Route{route}
		}
	}
	if !d.Allowed() {
		why := v.opening(d.Reason, ask)
		return append(v.wrongHost(m, r, home, why, d.Rule), v.deny(m, why, r.Class, subjectHome(r, home)))
	}
	return sessions(v.forward(m, r, owner, home, d.Serve), r, d.Rule)
}

// peerCell serves from this region what other entries may send here. The entry
// is the region in the client's certificate.
func (v view) peerCell(m *routev3.RouteMatch, r residency.Route, owner, home string, ask judgement) []*routev3.Route {
	var entries []string
	var rule *residency.Rule
	for _, region := range v.Topology.Regions {
		if d := ask(v.Table, region.Name); d.Allowed() && slices.Contains(d.Serve, v.region.Name) {
			entries, rule = append(entries, regexp.QuoteMeta(region.Name)), d.Rule
		}
	}
	own := ask(v.Table, v.region.Name)
	why := own.Reason
	if own.Allowed() {
		why = residency.Forbidden
	}
	if len(entries) == 0 {
		return []*routev3.Route{v.deny(m, v.opening(why, ask), r.Class, subjectHome(r, home))}
	}
	from := cloneMatch(m)
	from.Headers = append(from.Headers, match.HeaderIs(entryHeader, v.sanRegex("(?:"+strings.Join(entries, "|")+")", Gateway, Sidecar)))
	routes := sessions(v.forward(from, r, owner, home, []string{v.region.Name}), r, rule)
	return append(routes, v.deny(m, residency.EntryNotAllowed, r.Class, subjectHome(r, home)))
}

// opening turns a denial into region-unavailable while what it denies is on its
// way to being allowed, or to pass under observation.
func (t *translation) opening(why residency.Reason, ask judgement) residency.Reason {
	if t.Opening == nil {
		return why
	}
	if d := ask(t.Opening, t.region.Name); d.Allowed() || d.Passes() {
		return residency.RegionUnavailable
	}
	return why
}

// subjectHome is the home to show in a refusal: the caller's, if it is the
// caller's data.
func subjectHome(r residency.Route, home string) string {
	if r.Subject == residency.SubjectCaller {
		return home
	}
	return ""
}

// sessions bounds a long-lived route to the rule's maxAge.
func sessions(route *routev3.Route, r residency.Route, rule *residency.Rule) []*routev3.Route {
	if !r.LongLived || rule == nil {
		return []*routev3.Route{route}
	}
	return lifetime.Spread(route, rule.MaxAge)
}

// forward is a route to the first of the serving regions that can serve.
// owner names whose long-lived sessions these are; home is empty where no
// caller is known.
func (t *translation) forward(m *routev3.RouteMatch, r residency.Route, owner, home string, serve []string) *routev3.Route {
	reachable := t.reachable(r.Service, serve)
	if len(reachable) == 0 {
		return t.deny(m, residency.NoBackend, r.Class, home)
	}
	route := t.way(m, r, owner, home, destination{service: r.Service, regions: reachable, proto: protocolOf(r)})
	if len(reachable) == 1 && reachable[0] == t.region.Name {
		route.RequestHeadersToRemove = t.lastHopRemovals(r)
	}
	if r.Subject == residency.SubjectNone { // nobody's data, so nobody's credentials
		route.RequestHeadersToRemove = t.withoutCredentials()
	}
	if t.Topology.Expose {
		route.ResponseHeadersToAdd = t.shown(home, reachable)
	}
	return route
}

func protocolOf(r residency.Route) protocol {
	if r.Match.GRPCService != "" {
		return http2
	}
	return http1
}

// way is a route to a destination: bounded in time, or through an internal
// listener of its own, and past the agent where the path names the subject.
func (t *translation) way(m *routev3.RouteMatch, r residency.Route, owner, home string, d destination) *routev3.Route {
	action := &routev3.RouteAction{Timeout: durationpb.New(shortLife), MaxStreamDuration: lifetime.Most(shortLife)}
	var cluster string
	if r.LongLived {
		action.Timeout, action.IdleTimeout, action.MaxStreamDuration = durationpb.New(0), durationpb.New(idleTimeout), nil
		cluster = t.liveCluster(owner, r, d)
	} else {
		cluster = t.routeCluster(d)
	}
	route := &routev3.Route{
		Match:  m,
		Action: &routev3.Route_Route{Route: action},
		// What Envoy itself answers on this route, it answers because no allowed
		// region could.
		Metadata: reply.Explain(residency.RegionUnavailable, r.Class, subjectHome(r, home)),
	}
	if r.Subject != residency.SubjectUser {
		route.StatPrefix = d.counted
	} else { // what the agent refuses does not count
		cluster = t.guardCluster(r, cluster, d)
		route.RequestHeadersToAdd = []*corev3.HeaderValueOption{setHeader(policyHeader, t.digest())}
	}
	action.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: cluster}
	return route
}

// reachable keeps the regions that have a backend for the service, and a peer
// gateway where they are not this one.
func (t *translation) reachable(service string, serve []string) []string {
	var out []string
	for _, name := range serve {
		region, ok := t.Topology.Region(name)
		if ok && len(region.Backends[service]) > 0 && (name == t.region.Name || region.Peer != "") {
			out = append(out, name)
		}
	}
	return out
}

// shown are the response headers that a deployment may ask for. With a list of
// regions only the last hop knows which one served.
func (t *translation) shown(home string, regions []string) []*corev3.HeaderValueOption {
	region := setHeader("x-domicile-region", regions[0])
	if len(regions) > 1 {
		region = setHeader("x-domicile-region", t.region.Name)
		region.AppendAction = corev3.HeaderValueOption_ADD_IF_ABSENT
	}
	out := []*corev3.HeaderValueOption{region}
	if home != "" {
		out = append(out, setHeader(tokens.HomeHeader, home))
	}
	return out
}

func setHeader(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, Value: value},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

// withoutToken exempts a route from token verification. Only routes that end in
// a denial, or serve without knowing a caller, may have it.
func (v view) withoutToken(r *routev3.Route) *routev3.Route {
	r.TypedPerFilterConfig = map[string]*anypb.Any{tokens.Name(v.Topology, v.peer): tokens.Off(v.Packer)}
	return r
}

func (t *translation) deny(m *routev3.RouteMatch, why residency.Reason, class, home string) *routev3.Route {
	return reply.Deny(m, why, class, home)
}

// streamID names a class route for its long-lived sessions, by meaning, not by
// its place in the list: a route moved, or another one added, closes nothing.
func streamID(r residency.Route, t *translation, d destination) string {
	body, err := json.Marshal(struct {
		Match     residency.Match
		Subject   residency.Subject
		Carries   []string
		Countries map[string]string
	}{r.Match, r.Subject, r.Carries, t.places(d)})
	if err != nil {
		t.Fail(fmt.Errorf("name sessions of class %s: %w", r.Class, err))
	}
	sum := sha256.Sum256(body)
	return r.Class + "/" + hex.EncodeToString(sum[:4])
}

func liveName(owner, stream string, d destination) string {
	return strings.Join([]string{"live", owner, stream, d.name()}, "/")
}
