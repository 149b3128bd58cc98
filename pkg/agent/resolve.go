package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"

	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/resolver"
)

// ModeResolve is the value of ContextMode on the routes where the agent finds the
// home of a first contact.
const (
	ContextMode = "mode"
	ModeResolve = "resolve"
)

// resolve answers a first contact. Policy is the digest of the table that the route
// comes from, or of the one in force here.
func (c *checker) resolve(ctx context.Context, r *authv3.CheckRequest) *authv3.CheckResponse {
	h := r.GetAttributes().GetRequest().GetHttp()
	a := resolver.Answer{Verdict: resolver.Verdict{Reason: residency.NotDecidable}}
	policy := h.GetHeaders()[HeaderPolicy]
	if c.resolver != nil {
		began := time.Now()
		a = c.resolver.Resolve(ctx, resolver.Request{Headers: h.GetHeaders(), Path: h.GetPath()})
		c.took.Observe(time.Since(began).Seconds())
		if p := c.resolver.Policy(); policy == "" && p != nil {
			policy = p.Table.Digest()
		}
	}
	c.resolutions.WithLabelValues(string(a.Source), string(a.Reason)).Inc()
	if a.Err != nil {
		c.quarrel.say(func() { c.log.Warn("a source of homes cannot be asked", "error", a.Err) })
	}
	if a.Reason != "" {
		return c.unresolved(a, policy)
	}
	return resolved(a)
}

// resolved sets the headers by which Envoy goes on, over whatever stands there.
func resolved(a resolver.Answer) *authv3.CheckResponse {
	ok := &authv3.OkHttpResponse{Headers: []*corev3.HeaderValueOption{
		header(HeaderHome, a.Home), header(HeaderIssuer, a.Issuer), header(HeaderUser, a.User),
	}}
	switch {
	case a.Names.Header == "":
	case a.Pin == "":
		ok.HeadersToRemove = append(ok.HeadersToRemove, a.Names.Header)
	default:
		ok.Headers = append(ok.Headers, header(a.Names.Header, a.Pin))
	}
	switch {
	case !a.StalePin:
	case a.Cookie == "":
		ok.HeadersToRemove = append(ok.HeadersToRemove, "cookie")
	default:
		ok.Headers = append(ok.Headers, header("cookie", a.Cookie))
	}
	if a.Keep > 0 && a.Pin != "" {
		if a.Names.Header != "" {
			ok.ResponseHeadersToAdd = append(ok.ResponseHeadersToAdd, header(a.Names.Header, a.Pin))
		}
		if a.Names.Cookie != "" {
			cookie := header("set-cookie", fmt.Sprintf("%s=%s; Path=/; Max-Age=%d; HttpOnly; Secure; SameSite=Lax", a.Names.Cookie, a.Pin, int(a.Keep.Seconds())))
			cookie.AppendAction = corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD // beside the backend's own
			ok.ResponseHeadersToAdd = append(ok.ResponseHeadersToAdd, cookie)
		}
	}
	return &authv3.CheckResponse{
		Status:       &status.Status{Code: int32(codes.OK)},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: ok},
	}
}

// unresolved refuses. A proposal is for the user's own client: a sign-up page can
// offer it.
func (c *checker) unresolved(a resolver.Answer, policy string) *authv3.CheckResponse {
	return denied(a.Reason, struct {
		Title    string `json:"title"`
		Status   int    `json:"status"`
		Reason   string `json:"reason"`
		Policy   string `json:"policy,omitempty"`
		Proposed string `json:"proposed,omitempty"`
	}{a.Reason.Title(), a.Reason.Status(), string(a.Reason), policy, a.Proposal})
}

// denied is a refusal with a problem as its body.
func denied(why residency.Reason, problem any) *authv3.CheckResponse {
	body, err := json.Marshal(problem)
	if err != nil {
		body = nil // the status still refuses
	}
	headers := []*corev3.HeaderValueOption{header("content-type", "application/problem+json"), header(HeaderReason, string(why))}
	if why.Status() == 503 {
		headers = append(headers, header("retry-after", strconv.Itoa(retryAfter)))
	}
	return &authv3.CheckResponse{
		Status: &status.Status{Code: int32(codes.PermissionDenied)},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status: &typev3.HttpStatus{Code: typev3.StatusCode(why.Status())}, Headers: headers, Body: string(body),
		}},
	}
}
