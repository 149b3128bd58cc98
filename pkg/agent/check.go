package agent

import (
	"context"
	"encoding/json"
	"log/slog"
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"

	"github.com/domicile-dev/domicile/pkg/residency"
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
)

// retryAfter is the Retry-After of a refusal, in seconds.
const retryAfter = 30

// checker answers ext_authz calls.
type checker struct {
	authv3.UnimplementedAuthorizationServer
	decisions *prometheus.CounterVec
	log       *slog.Logger
}

func newChecker(reg prometheus.Registerer, log *slog.Logger) *checker {
	c := &checker{log: log, decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "domicile_agent_decisions_total",
		Help: "Answers to Envoy's ext_authz calls.",
	}, []string{"class", "verdict", "reason"})}
	reg.MustRegister(c.decisions)
	return c
}

// Check answers one call. It never returns an error: a refusal is an answer,
// and Envoy shows the client an answer's reason but not an error's.
func (c *checker) Check(_ context.Context, r *authv3.CheckRequest) (out *authv3.CheckResponse, _ error) {
	var q question
	defer func() {
		if e := recover(); e != nil {
			c.log.Error("check panicked", "class", q.class, "panic", e)
			out = c.refuse(q)
		}
	}()
	q = read(r)
	if !decide(q) {
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
	return question{
		class: ext[ContextClass], template: ext[ContextTemplate], policy: h.GetHeaders()[HeaderPolicy],
		home: h.GetHeaders()[HeaderHome], user: h.GetHeaders()[HeaderUser], path: h.GetPath(),
	}
}

// refuse is the not-decidable answer. It has no home: the caller is not the
// subject, and must not learn where the subject is at home.
func (c *checker) refuse(q question) *authv3.CheckResponse {
	const why = residency.NotDecidable
	c.decisions.WithLabelValues(q.class, "deny", string(why)).Inc()
	body, err := json.Marshal(struct {
		Title  string `json:"title"`
		Status int    `json:"status"`
		Reason string `json:"reason"`
		Class  string `json:"class,omitempty"`
		Policy string `json:"policy,omitempty"`
	}{why.Title(), why.Status(), string(why), q.class, q.policy})
	if err != nil {
		body = nil // the status still refuses
	}
	return &authv3.CheckResponse{
		Status: &status.Status{Code: int32(codes.PermissionDenied)},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status: &typev3.HttpStatus{Code: typev3.StatusCode(why.Status())},
			Headers: []*corev3.HeaderValueOption{
				header("content-type", "application/problem+json"),
				header("retry-after", strconv.Itoa(retryAfter)),
				header(HeaderReason, string(why)),
			},
			Body: string(body),
		}},
	}
}

func header(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, Value: value},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}
