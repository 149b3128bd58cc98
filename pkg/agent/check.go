package agent

import (
	"context"
	"log/slog"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"

	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/resolver"
)

// The keys of Envoy's context extensions, set on the route by the control plane.
const (
	ContextClass    = "class"
	ContextTemplate = "template" // path template, such as /v1/profiles/{user}
)

// The headers that Envoy sets: from a verified token, and HeaderPolicy from the
// route, the digest of the table that it comes from.
const (
	HeaderHome   = "x-domicile-home"
	HeaderUser   = "x-domicile-user"
	HeaderPolicy = "x-domicile-policy"
	HeaderReason = "x-domicile-reason"
	HeaderIssuer = "x-domicile-issuer"
	// Where a pin says who calls, and the route has honoured it, it names the home and
	// the user's hash. Beside a home of the token's it was compared with no token, and
	// may be anybody's.
	HeaderPinHome = "x-domicile-pin-home"
	HeaderPinUser = "x-domicile-pin-user"
)

// retryAfter is the Retry-After of a refusal, in seconds.
const retryAfter = 30

// checker answers ext_authz calls.
type checker struct {
	authv3.UnimplementedAuthorizationServer
	resolver    *resolver.Resolver // nil: nothing is found here
	hashKey     []byte
	decisions   *prometheus.CounterVec
	resolutions *prometheus.CounterVec
	took        prometheus.Histogram
	quarrel     seldom
	log         *slog.Logger
}

func newChecker(cfg Config, reg prometheus.Registerer) *checker {
	c := &checker{
		log: cfg.Log, resolver: cfg.Resolver, hashKey: cfg.HashKey,
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "domicile_agent_decisions_total",
			Help: "Answers to Envoy's ext_authz calls about the user whom a path names.",
		}, []string{"class", "verdict", "reason"}),
		resolutions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "domicile_agent_resolutions_total",
			Help: "First contacts, by what made the home, or by the reason for which there is none.",
		}, []string{"source", "reason"}),
		took: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "domicile_agent_resolution_seconds", Help: "How long first contacts took in the agent.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2},
		}),
	}
	reg.MustRegister(c.decisions, c.resolutions, c.took)
	return c
}

// seldom lets something be said once in a while.
type seldom struct {
	mu   sync.Mutex
	last time.Time
}

func (s *seldom) say(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.Sub(s.last) >= 10*time.Second {
		s.last = now
		f()
	}
}

// Check answers one call. It never returns an error: a refusal is an answer,
// and Envoy shows the client an answer's reason but not an error's.
func (c *checker) Check(ctx context.Context, r *authv3.CheckRequest) (out *authv3.CheckResponse, _ error) {
	var q question
	defer func() {
		if e := recover(); e != nil {
			c.log.Error("check panicked", "class", q.class, "panic", e)
			out = c.refuse(q)
		}
	}()
	if r.GetAttributes().GetContextExtensions()[ContextMode] == ModeResolve {
		return c.resolve(ctx, r), nil
	}
	q = read(r)
	if !decide(q, c.hashKey) {
		return c.refuse(q), nil
	}
	c.decisions.WithLabelValues(q.class, "allow", "").Inc()
	return &authv3.CheckResponse{
		Status:       &status.Status{Code: int32(codes.OK)},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}},
	}, nil
}

// read turns the call into plain input. The getters of a nil message give zero
// values, and those are refused.
func read(r *authv3.CheckRequest) question {
	ext := r.GetAttributes().GetContextExtensions()
	h := r.GetAttributes().GetRequest().GetHttp()
	q := question{
		class: ext[ContextClass], template: ext[ContextTemplate], policy: h.GetHeaders()[HeaderPolicy],
		home: h.GetHeaders()[HeaderHome], user: h.GetHeaders()[HeaderUser], path: h.GetPath(),
	}
	if q.home == "" {
		q.home, q.hash = h.GetHeaders()[HeaderPinHome], h.GetHeaders()[HeaderPinUser]
	}
	return q
}

// refuse is the not-decidable answer. It has no home: the caller is not the
// subject, and must not learn where the subject is at home.
func (c *checker) refuse(q question) *authv3.CheckResponse {
	const why = residency.NotDecidable
	c.decisions.WithLabelValues(q.class, "deny", string(why)).Inc()
	return denied(why, struct {
		Title  string `json:"title"`
		Status int    `json:"status"`
		Reason string `json:"reason"`
		Class  string `json:"class,omitempty"`
		Policy string `json:"policy,omitempty"`
	}{why.Title(), why.Status(), string(why), q.class, q.policy})
}

func header(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, Value: value},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}
