package leakcheck

import (
	"slices"
	"strings"

	setstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_filter_state/v3"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	grpclogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	headermutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	healthcheckv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/health_check/v3"
	jwtauthnv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	earlymutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/facts"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/mutations"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/overrides"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/places"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/tokens"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/trusted"
	"github.com/domicile-dev/domicile/pkg/topology"
)

const (
	typePrefix = "type.googleapis.com/"
	tokenType  = typePrefix + "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"
)

// slot is one HTTP filter of a chain, with everything that it can turn out to be.
type slot struct {
	name     string
	at       int
	disabled bool
	tokens   bool                         // it verifies tokens, or is there to do so
	asks     bool                         // it asks the agent
	lenient  map[string][]topology.Issuer // by requirement, see tokens.Judge
	chooses  bool                         // the agent's answer chooses the route
}

// filters judges the chain of HTTP filters and remembers the two that matter.
func (w *managerWalk) filters() {
	routed := false
	for i, f := range w.hcm.GetHttpFilters() {
		s := w.slot(i, f)
		if routed {
			continue // after the router nothing runs
		}
		_, routed = w.unpack(f.GetTypedConfig()).(*routerv3.Router)
		if f.GetIsOptional() && (s.tokens || s.asks) {
			w.Unjudged(w.where, "filter %s is optional: an Envoy without it skips it", s.name)
		}
		if s.tokens && s.disabled {
			w.Report(Finding{Code: TokenUnproved, Where: join(w.where, "filter "+s.name), Message: "the filter that verifies tokens is off"})
		}
		if s.tokens && w.token == nil {
			w.token = s
		}
		// An agent that is asked before the token is verified knows no caller.
		if s.asks && w.agent == nil && (w.token != nil || w.role == innerManager) {
			w.agent = s
		}
	}
}

func (k *checker) unpack(a *anypb.Any) proto.Message {
	m, err := a.UnmarshalNew()
	if err != nil {
		return nil
	}
	return m
}

// slot judges every configuration that a filter can have.
func (w *managerWalk) slot(i int, f *hcmv3.HttpFilter) *slot {
	s := &slot{name: f.GetName(), at: i, disabled: f.GetDisabled()}
	variants := []*anypb.Any{f.GetTypedConfig()}
	if d := f.GetConfigDiscovery(); d != nil {
		variants = nil
		w.delivered(join(w.where, "filter "+s.name), d)
		s.tokens = slices.Contains(d.GetTypeUrls(), tokenType)
		if d.GetDefaultConfig() != nil {
			variants = append(variants, d.GetDefaultConfig())
		}
		for _, e := range w.Extensions[f.GetName()] {
			variants = append(variants, e.GetTypedConfig())
		}
	}
	for _, v := range variants {
		s.tokens = s.tokens || v.GetTypeUrl() == tokenType
	}
	for _, v := range variants {
		w.filter(s, v)
	}
	return s
}

func (w *managerWalk) filter(s *slot, a *anypb.Any) {
	where := join(w.where, "filter "+s.name)
	switch cfg := w.unpack(a).(type) {
	case *jwtauthnv3.JwtAuthentication:
		s.lenient = tokens.Judge(w.List, where, cfg, tokens.Seat{Topology: w.top, Own: w.own, Peer: w.role == peerGateway})
	case *httprbacv3.RBAC:
		if s.tokens && !facts.DeniesAll(cfg) {
			w.Report(Finding{Code: TokenUnproved, Where: where, Message: "until tokens can be verified, requests are let through"})
		}
	case *extauthzv3.ExtAuthz:
		s.asks, s.chooses = true, s.chooses || cfg.GetClearRouteCache()
		if s.chooses && w.role != innerManager {
			w.Unjudged(where, "the agent's answer chooses the route among those for verified tokens")
		}
		w.agentFilter(where, cfg)
	case *setstatev3.Config:
		w.State(where, cfg, w.notes)
	case *routerv3.Router:
		w.Known(where, cfg)
		w.loggers(where, cfg.GetUpstreamLog())
	case *healthcheckv3.HealthCheck:
	case *headermutationv3.HeaderMutation:
		mutations.Judge(w.Reader, where, cfg.GetMutations().GetRequestMutations(), w.role == peerGateway)
	default:
		w.Unjudged(where, "a filter of type %s may send or change anything", a.GetTypeUrl())
	}
}

// scrubbed: what clients send in the trusted headers must be gone before the
// first route is chosen.
func (w *managerWalk) scrubbed() {
	if !w.early() {
		w.Report(Finding{Code: HeaderTrust, Where: w.where, Message: "a client's own " + trusted.Prefix + " headers are not removed"})
	}
}

// early judges what is changed before the first route is chosen, and tells whether
// clients' trusted headers are gone then.
func (w *managerWalk) early() (scrubs bool) {
	for _, e := range w.hcm.GetEarlyHeaderMutationExtensions() {
		m, ok := w.unpack(e.GetTypedConfig()).(*earlymutationv3.HeaderMutation)
		if !ok {
			w.Unjudged(w.where, "an early header mutation of type %s", e.GetTypedConfig().GetTypeUrl())
			continue
		}
		scrubs = mutations.Judge(w.Reader, join(w.where, "early header mutation"), m.GetMutations(), w.role == peerGateway) || scrubs
	}
	return scrubs
}

// verified: the caller's home must come from a verified token, or from the agent.
func (w *managerWalk) verified() {
	if w.token == nil && !w.resolves {
		w.Report(Finding{Code: TokenUnproved, Where: w.where, Message: "no filter before the router verifies tokens"})
	}
}

func (w *managerWalk) agentFilter(where string, a *extauthzv3.ExtAuthz) {
	w.Known(where, a)
	if a.GetFailureModeAllow() {
		w.Report(Finding{Code: AgentBypassed, Where: where, Message: "requests pass when the agent does not answer"})
	}
	cluster := a.GetGrpcService().GetEnvoyGrpc().GetClusterName()
	if a.GetHttpService() != nil {
		cluster = a.GetHttpService().GetServerUri().GetCluster()
	}
	if cluster == "" {
		w.Unjudged(where, "the service that is asked is no cluster")
	}
	for _, h := range w.reach(cluster) {
		if h.Kind != places.Agent {
			w.Report(Finding{
				Code: AgentBypassed, Where: where, Region: h.Region, Cluster: h.Cluster, Endpoint: h.Endpoint,
				Message: "requests are shown to something that is not this region's agent",
			})
		}
	}
}

// inForce tells whether a filter runs on a route.
func (w *managerWalk) inForce(s *slot, r routeIn) bool {
	return overrides.InForce(s.name, s.disabled, r.configs)
}

// agentLog: what is logged by gRPC goes to this region's agent.
func (k *checker) agentLog(where string, l *accesslogv3.AccessLog) {
	cfg, ok := k.unpack(l.GetTypedConfig()).(*grpclogv3.HttpGrpcAccessLogConfig)
	cluster := cfg.GetCommonConfig().GetGrpcService().GetEnvoyGrpc().GetClusterName()
	if !ok || cluster == "" {
		k.Unjudged(where, "access log %s goes to no cluster", l.GetName())
		return
	}
	k.Known(where, cfg)
	k.Known(where, cfg.GetCommonConfig())
	for _, h := range k.reach(cluster) {
		if h.Kind != places.Agent {
			k.Report(Finding{
				Code: AgentBypassed, Where: where, Region: h.Region, Cluster: h.Cluster, Endpoint: h.Endpoint,
				Message: "requests are logged to something that is not this region's agent",
			})
		}
	}
}

// loggers: what is logged stays on this machine.
func (k *checker) loggers(where string, list []*accesslogv3.AccessLog) {
	for _, l := range list {
		switch strings.TrimPrefix(l.GetTypedConfig().GetTypeUrl(), typePrefix) {
		case "envoy.extensions.access_loggers.file.v3.FileAccessLog",
			"envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
			"envoy.extensions.access_loggers.stream.v3.StderrAccessLog":
		case "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig":
			k.agentLog(where, l)
		default:
			k.Unjudged(where, "access log %s may send requests elsewhere", l.GetName())
		}
	}
}
