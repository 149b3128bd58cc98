package leakcheck

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	rawbufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/certificates"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/conditions"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/facts"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/mutations"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/names"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/overrides"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/patterns"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/requests"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/sources"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/trusted"
)

// listener judges a listener that something outside this Envoy can connect to.
// Internal listeners are judged where a cluster leads to them.
func (k *checker) listener(l *listenerv3.Listener) {
	if l.GetInternalListener() != nil {
		return
	}
	where := named("listener", l.GetName())
	k.listenerFields(where, l)
	for _, chain := range facts.Chains(l) {
		k.Known(where, chain)
		role := gateway
		if k.downstream(where, chain.GetTransportSocket()) {
			role = peerGateway
		} else if facts.TLS(chain) {
			k.terminates(where, chain)
		}
		if prefix, tcp, ok := names.Chosen(chain.GetFilters()); ok && chain.GetTransportSocket() == nil {
			k.byName(where, l, prefix)
			chain = &listenerv3.FilterChain{Filters: []*listenerv3.Filter{chain.GetFilters()[1]}}
			k.Known(where, tcp)
		}
		for _, f := range chain.GetFilters() {
			m, err := f.GetTypedConfig().UnmarshalNew()
			switch cfg := m.(type) {
			case *hcmv3.HttpConnectionManager:
				if k.firstTime(role, f) {
					k.manager(where, cfg, role).prove()
				}
			case *tcpproxyv3.TcpProxy:
				for _, h := range k.tcpHits(where, cfg) {
					k.Report(Finding{
						Code: NoHome, Where: where, Region: h.Region, Cluster: h.Cluster, Endpoint: h.Endpoint,
						Message: "whoever connects is passed on, and nothing says whose data it is",
					})
				}
			default:
				k.unjudgedFilter(where, f.GetName(), f.GetTypedConfig(), err)
			}
		}
	}
}

func (k *checker) listenerFields(where string, l *listenerv3.Listener) {
	k.Known(where, l)
	k.loggers(where, l.GetAccessLog())
	for _, f := range l.GetListenerFilters() {
		switch f.GetTypedConfig().GetTypeUrl() {
		case "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
			"type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector",
			"type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol":
		default:
			k.Unjudged(where, "listener filter %s", f.GetName())
		}
	}
}

// downstream judges how clients connect. Those that must show a certificate are
// other regions' Envoys.
func (k *checker) downstream(where string, ts *corev3.TransportSocket) (isPeer bool) {
	if ts.GetTypedConfig() == nil {
		return false
	}
	m, err := ts.GetTypedConfig().UnmarshalNew()
	switch cfg := m.(type) {
	case *rawbufferv3.RawBuffer:
	case *tlsv3.DownstreamTlsContext:
		if !cfg.GetRequireClientCertificate().GetValue() {
			return false
		}
		if !certificates.Verified(cfg.GetCommonTlsContext()) {
			k.Report(Finding{Code: PeerUnproved, Where: where, Message: "clients show a certificate that is not verified"})
		}
		return true
	default:
		k.Unjudged(where, "transport socket %s of type %s (%v)", ts.GetName(), ts.GetTypedConfig().GetTypeUrl(), err)
	}
	return false
}

// managerRole is who sends to a connection manager.
type managerRole int

const (
	gateway      managerRole = iota // anybody
	peerGateway                     // other regions' Envoys, by their certificates
	innerManager                    // this Envoy, through an internal listener
)

// managerWalk is one HTTP connection manager.
type managerWalk struct {
	*checker
	where  string
	role   managerRole
	hcm    *hcmv3.HttpConnectionManager
	tables []*routev3.RouteConfiguration
	// Resolves: it is reached through an internal listener from one of the role, and
	// the agent says whose data it is.
	resolves bool
	comes    *requests.Formula          // of the requests that come here
	notes    map[string]conditions.Note // of its filters, by the name of the filter state
	token    *slot                      // verifies tokens; nil when there is none
	agent    *slot                      // asks the agent; nil when there is none
	// What was seen on the way decides what must be trusted.
	forwards, callers bool
	verifies          bool // the anonymous walk has passed a route with the token filter
	here              []*site
}

// anonymousWalk is Envoy's first look at a route table, before any token is
// verified: no request has a home then, its own headers of that name are gone.
// The route that it finds says whether the token filter runs at all.
type anonymousWalk struct {
	*managerWalk
	unverified *requests.Formula // requests that find a route without the token filter
}

// unverified is the condition of the requests whose token nobody verifies, so
// that no home is ever known of them: they stay with the first route found.
func (w *managerWalk) unverified(vh *routev3.VirtualHost, s scope) *requests.Formula {
	if w.token == nil || w.resolves {
		return w.None
	}
	a := &anonymousWalk{managerWalk: w, unverified: w.None}
	w.Anonymous = true
	defer func() { w.Anonymous = false }()
	a.list(s, vh.GetRoutes())
	w.matcher(vh.GetMatcher(), s, a.list)
	return w.And(a.unverified, w.anyPath())
}

// anyPath is the condition of a path as every request but OPTIONS * has it.
func (k *checker) anyPath() *requests.Formula { return k.InLanguage(k.Compile(`/.*`, true)) }

func (a *anonymousWalk) list(s scope, routes []*routev3.Route) {
	rest, covered := s.f, false
	for _, r := range routes {
		c := a.Route(s.where, r.GetMatch())
		covered = covered || c.F == a.Whole || c.F == a.anyPath()
		in := routeIn{s, r}
		in.configs = append(slices.Clone(s.configs), r.GetTypedPerFilterConfig())
		if !a.inForce(a.token, in) {
			a.unverified = a.Or(a.unverified, a.And(rest, c.F))
			continue
		}
		a.verifies = true
		rest = a.And(rest, a.Not(c.F))
	}
	// Where no route is found the token filter runs.
	a.verifies = a.verifies || !covered
}

// branch visits a branch and tells whether what it takes is kept from those
// after it. It errs towards no, so that nothing that can happen is left out. The
// anonymous walk errs towards yes, but for branches that verify no token: their
// requests are counted already.
func (w *managerWalk) branch(c conditions.Condition, on *xdsmatcherv3.Matcher_OnMatch, s scope, visit visitor) (excludes bool) {
	before := w.verifies
	w.verifies = false
	w.onMatch(on, s, visit)
	verifies := w.verifies
	w.verifies = before || verifies
	if w.Anonymous {
		return verifies
	}
	return c.Plain() && !on.GetKeepMatching() && facts.Total(on)
}

// scope is what is known of the requests that come to one place in a route table.
type scope struct {
	where string
	conditions.Identity
	verified   bool // somebody's token or pin was
	f          *requests.Formula
	configs    []map[string]*anypb.Any // per-filter configuration, outermost first
	mirrors    []*routev3.RouteAction_RequestMirrorPolicy
	unverified *requests.Formula // of these requests no home is ever known
}

// routeIn is a route and where it stands.
type routeIn struct {
	scope
	*routev3.Route
}

func (k *checker) manager(where string, m *hcmv3.HttpConnectionManager, role managerRole) *managerWalk {
	w := &managerWalk{checker: k, where: where, role: role, hcm: m, comes: k.Whole, notes: map[string]conditions.Note{}}
	k.Known(where, m)
	k.loggers(where, m.GetAccessLog())
	for _, u := range m.GetUpgradeConfigs() {
		if len(u.GetFilters()) > 0 {
			k.Unjudged(where, "upgrade %s has filters of its own", u.GetUpgradeType())
		}
	}
	w.filters()
	switch r := m.GetRouteSpecifier().(type) {
	case *hcmv3.HttpConnectionManager_RouteConfig:
		w.tables = []*routev3.RouteConfiguration{r.RouteConfig}
	case *hcmv3.HttpConnectionManager_Rds:
		if !sources.Control(r.Rds.GetConfigSource()) {
			k.Unjudged(where, "routes that do not come from the control plane")
		}
		w.tables = k.Routes[r.Rds.GetRouteConfigName()]
	default:
		k.Unjudged(where, "routes that are chosen while a request runs")
	}
	return w
}

// prove follows every route of the manager, then judges the headers on which
// the routes rest.
func (w *managerWalk) prove() {
	for _, rc := range w.tables {
		w.table(rc, w.proveList)
	}
	for _, s := range w.here {
		s.forwards, s.callers = w.forwards, w.callers
	}
	if w.forwards && !w.resolves { // which is reached past one that scrubs
		w.scrubbed()
	}
	if w.callers {
		w.verified()
	}
}

type visitor func(s scope, routes []*routev3.Route)

// enter judges what a route itself says and returns it with all that governs it.
func (w *managerWalk) enter(s scope, i int, r *routev3.Route) routeIn {
	in := routeIn{s, r}
	in.where = routeName(s.where, i, r)
	in.configs = append(slices.Clone(s.configs), r.GetTypedPerFilterConfig())
	w.Known(in.where, r)
	overrides.Judge(w.List, in.where, r.GetTypedPerFilterConfig())
	mutations.Added(w.List, in.where, r.GetRequestHeadersToAdd())
	return in
}

// table visits every list of routes of a route table.
func (w *managerWalk) table(rc *routev3.RouteConfiguration, visit visitor) {
	outer := w.Notes
	w.Notes = w.notes
	defer func() { w.Notes = outer }()
	where := join(w.where, named("route_config", rc.GetName()))
	w.Known(where, rc)
	for _, vh := range rc.GetVirtualHosts() {
		w.Known(join(where, named("virtual_host", vh.GetName())), vh)
		s := scope{
			where:   join(where, named("virtual_host", vh.GetName())),
			f:       w.And(w.comes, w.Domains(vh.GetDomains())),
			configs: []map[string]*anypb.Any{rc.GetTypedPerFilterConfig(), vh.GetTypedPerFilterConfig()},
			mirrors: slices.Concat(rc.GetRequestMirrorPolicies(), vh.GetRequestMirrorPolicies()),
		}
		mutations.Added(w.List, where, rc.GetRequestHeadersToAdd())
		mutations.Added(w.List, s.where, vh.GetRequestHeadersToAdd())
		overrides.Judge(w.List, where, rc.GetTypedPerFilterConfig())
		overrides.Judge(w.List, s.where, vh.GetTypedPerFilterConfig())
		s.unverified = w.unverified(vh, s)
		w.credentials(vh, s)
		visit(s, vh.GetRoutes())
		w.matcher(vh.GetMatcher(), s, visit)
	}
}

func (s scope) narrow(k *checker, label string, c conditions.Condition) scope {
	both := k.All(conditions.Condition{F: s.f, Identity: s.Identity}, c)
	s.f, s.Identity, s.verified = both.F, both.Identity, s.verified || c.Verified
	s.where = join(s.where, label)
	return s
}

// matcher visits the lists of routes of a matcher tree.
func (w *managerWalk) matcher(m *xdsmatcherv3.Matcher, s scope, visit visitor) {
	switch t := m.GetMatcherType().(type) {
	case *xdsmatcherv3.Matcher_MatcherList_:
		for i, fm := range t.MatcherList.GetMatchers() {
			c := w.Predicate(fm.GetPredicate())
			if w.branch(c, fm.GetOnMatch(), s.narrow(w.checker, fmt.Sprintf("branch %d", i+1), c), visit) {
				s.f = w.And(s.f, w.Not(c.F))
				s.Homeless = s.Homeless || c.Homed && !w.Anonymous
			}
		}
	case *xdsmatcherv3.Matcher_MatcherTree_:
		s = w.tree(t.MatcherTree, s, visit)
	}
	if m.GetOnNoMatch() == nil {
		w.verifies = true // where no route is found the token filter runs
		return
	}
	s.where = join(s.where, "otherwise")
	w.onMatch(m.GetOnNoMatch(), s, visit)
}

// tree visits a map and returns the scope of what it does not hold.
func (w *managerWalk) tree(t *xdsmatcherv3.Matcher_MatcherTree, s scope, visit visitor) scope {
	kindOf, entries := "exact", t.GetExactMatchMap().GetMap()
	if t.GetPrefixMatchMap() != nil {
		kindOf, entries = "prefix", t.GetPrefixMatchMap().GetMap()
	}
	if t.GetCustomMatch() != nil {
		w.Unjudged(s.where, "a matcher of type %s", t.GetCustomMatch().GetTypedConfig().GetTypeUrl())
	}
	name, rest := w.HeaderInput(t.GetInput()), s
	if w.Anonymous && trusted.FromToken(name) {
		return s
	}
	var byHome *site
	if kindOf == "exact" && (strings.EqualFold(name, trusted.Home) || strings.EqualFold(name, trusted.PinHome)) {
		byHome = w.site(t, name, s)
	}
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		if byHome != nil && key != "" { // it keeps nothing from those after it
			w.home(key, entries[key], byHome)
			continue
		}
		c := conditions.Condition{F: w.Unknown}
		if name != "" {
			exact := ""
			if kindOf == "exact" {
				exact = key
			}
			c = w.Header(name, patterns.Text(kindOf, key, false), exact)
		}
		if w.branch(c, entries[key], s.narrow(w.checker, trusted.Label(name, key), c), visit) {
			rest.f = w.And(rest.f, w.Not(c.F))
		}
	}
	return rest
}

func (w *managerWalk) onMatch(on *xdsmatcherv3.Matcher_OnMatch, s scope, visit visitor) {
	if m := on.GetMatcher(); m != nil {
		w.matcher(m, s, visit)
		return
	}
	if on.GetAction() == nil {
		return
	}
	switch a := w.decode(on.GetAction()).(type) {
	case *routev3.Route:
		visit(s, []*routev3.Route{a})
	case *routev3.RouteList:
		visit(s, a.GetRoutes())
	default:
		w.Unjudged(s.where, "an action of type %s", on.GetAction().GetTypedConfig().GetTypeUrl())
	}
}

// decode unpacks an action once: many branches share one.
func (k *checker) decode(a *xdscorev3.TypedExtensionConfig) proto.Message {
	key := a.GetTypedConfig().GetTypeUrl() + "\x00" + string(a.GetTypedConfig().GetValue())
	if m, ok := k.decoded[key]; ok {
		return m
	}
	m, err := a.GetTypedConfig().UnmarshalNew()
	if err != nil {
		m = nil
	}
	k.decoded[key] = m
	return m
}

func routeName(where string, i int, r *routev3.Route) string {
	if r.GetName() != "" {
		return join(where, "route "+r.GetName())
	}
	return join(where, fmt.Sprintf("route %d", i+1))
}
