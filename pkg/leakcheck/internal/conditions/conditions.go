// Package conditions reads what a configuration asks of a request before it takes a
// way: matches of routes and predicates of matcher trees, as conditions of package
// requests. It is pure; a Reader must not be used concurrently.
package conditions

import (
	"regexp"
	"strings"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	networkinputsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/network/v3"
	uritemplatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/match/uri_template/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/findings"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/patterns"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/requests"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/trusted"
	"github.com/domicile-dev/domicile/pkg/residency"
)

// Reader reads conditions and reports what it cannot judge.
type Reader struct {
	*requests.Algebra
	*findings.List
	// Anonymous: what is read now is asked of a request without a verified token.
	Anonymous bool
	// Notes are those of filters, by the name of the filter state.
	Notes map[string]Note
}

// Identity is what the trusted headers must say of the caller; what is empty was
// not asked.
type Identity struct {
	// Home and Issuer are those of a verified token, or of the agent's answer.
	Home, Issuer string
	// PinHome, PinEpoch and PinIssuer are those of a verified pin.
	PinHome, PinEpoch, PinIssuer string
	// Bound are the headers, between spaces, of which one must end with the credential
	// that the pin was issued for.
	Bound string
	// Homeless: no token says a home.
	Homeless bool
}

// Condition is what a match asks.
type Condition struct {
	F *requests.Formula
	Identity
	// Homed holds of every request whose token says a home, whichever it is.
	Homed bool
	// Verified: it holds of no request of which nobody has verified anything.
	Verified bool
}

// Plain tells whether the condition asks nothing of the caller.
func (c Condition) Plain() bool { return c.Identity == Identity{} }

// All holds where every one of a list holds.
func (r *Reader) All(list ...Condition) Condition {
	out := Condition{F: r.Whole}
	for _, c := range list {
		out.F = r.And(out.F, c.F)
		out.Homeless, out.Verified = out.Homeless || c.Homeless, out.Verified || c.Verified
		for _, v := range []struct {
			to   *string
			from string
		}{
			{&out.Home, c.Home}, {&out.Issuer, c.Issuer},
			{&out.PinHome, c.PinHome}, {&out.PinEpoch, c.PinEpoch}, {&out.PinIssuer, c.PinIssuer}, {&out.Bound, c.Bound},
		} {
			switch {
			case *v.to == "":
				*v.to = v.from
			case v.from != "" && v.from != *v.to && v.to != &out.Bound: // two different values: never
				out.F = r.None
			}
		}
	}
	return out
}

// Header is a condition on one header's value. exact is set where the value
// must be equal to it.
func (r *Reader) Header(name, expr, exact string) Condition {
	if r.Anonymous && trusted.FromToken(name) {
		return Condition{F: r.None}
	}
	if expr == "" {
		return Condition{F: r.Unknown, Verified: trusted.FromToken(name)}
	}
	switch strings.ToLower(name) {
	case ":path":
		return Condition{F: r.InLanguage(r.Compile(expr, false))}
	case ":method":
		return Condition{F: r.InSet(requests.Method, r.Membership(requests.Method, r.Compile(expr, false)))}
	case ":authority", "host":
		return Condition{F: r.InSet(requests.Host, r.Membership(requests.Host, r.Compile(expr, false)))}
	case trusted.Entry:
		return Condition{F: r.InSet(requests.Entry, r.Membership(requests.Entry, r.Compile(expr, false)))}
	case "content-type":
		l, want := r.Compile(expr, false), r.AtomLanguages[requests.GRPC][0]
		if l != nil && !requests.Exceeds(l, want) && !requests.Exceeds(want, l) {
			return Condition{F: r.InSet(requests.GRPC, []requests.Truth{requests.Yes, requests.No})}
		}
	}
	c := Condition{F: r.Unknown, Verified: trusted.FromToken(name)}
	switch strings.ToLower(name) {
	case trusted.Home:
		c.Home = exact
		l := r.Compile(expr, false)
		c.Homed = l != nil && !r.Exceeds(r.Compile(`.+`, false), l)
	case trusted.Issuer:
		c.Issuer = exact
	case trusted.PinHome:
		c.PinHome = exact
	case trusted.PinEpoch:
		c.PinEpoch = exact
	case trusted.PinIssuer:
		c.PinIssuer = exact
	}
	return c
}

// Domains is the condition on the host that chooses a virtual host. That a more
// specific one takes a request away is not used: it only widens.
func (r *Reader) Domains(list []string) *requests.Formula {
	var out []*requests.Formula
	for _, d := range list {
		expr := ""
		switch {
		case d == "*":
			return r.Whole
		case d[:min(1, len(d))] == "*":
			expr = patterns.Text("suffix", d[1:], true)
		case d[max(0, len(d)-1):] == "*":
			expr = patterns.Text("prefix", d[:len(d)-1], true)
		default:
			expr = requests.HostRegex(d)
		}
		out = append(out, r.InSet(requests.Host, r.Membership(requests.Host, r.Compile(expr, false))))
	}
	return r.Or(out...)
}

// Class is the condition of a class route of the table. A gRPC service
// is called by gRPC requests only; others on its path are of another class, or
// of none.
func (r *Reader) Class(m residency.Match) *requests.Formula {
	expr, is := "", r.Whole
	switch {
	case m.Path != "":
		expr = regexp.QuoteMeta(m.Path)
	case m.PathTemplate != "":
		expr = patterns.Template(m.PathTemplate, `[^/]+`)
	case m.GRPCService != "":
		expr = patterns.Segments("/" + m.GRPCService)
		is = r.InSet(requests.GRPC, []requests.Truth{requests.Yes, requests.No})
	case strings.Trim(m.PathPrefix, "/") == "":
		expr = `.*`
	default:
		expr = patterns.Segments(m.PathPrefix)
	}
	f := r.And(r.InLanguage(r.Compile(expr, true)), is)
	if m.Method != "" {
		f = r.And(f, r.InSet(requests.Method, r.Membership(requests.Method, r.Compile(regexp.QuoteMeta(m.Method), false))))
	}
	if m.Host != "" {
		f = r.And(f, r.InSet(requests.Host, r.Membership(requests.Host, r.Compile(requests.HostRegex(m.Host), false))))
	}
	return f
}

// Route is the condition of a route's match.
func (r *Reader) Route(where string, m *routev3.RouteMatch) Condition {
	r.Known(where, m)
	list := []Condition{{F: r.pathMatch(m)}}
	for _, h := range m.GetHeaders() {
		list = append(list, r.headerMatch(h))
	}
	if m.GetGrpc() != nil {
		list = append(list, Condition{F: r.InSet(requests.GRPC, []requests.Truth{requests.Yes, requests.No})})
	}
	if m.GetRuntimeFraction() != nil || m.GetTlsContext() != nil ||
		len(m.GetQueryParameters())+len(m.GetCookies())+len(m.GetDynamicMetadata())+len(m.GetFilterState()) > 0 {
		list = append(list, Condition{F: r.Unknown})
	}
	return r.All(list...)
}

func (r *Reader) pathMatch(m *routev3.RouteMatch) *requests.Formula {
	expr := ""
	switch p := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		expr = regexp.QuoteMeta(p.Prefix) + `.*`
	case *routev3.RouteMatch_Path:
		expr = regexp.QuoteMeta(p.Path)
	case *routev3.RouteMatch_PathSeparatedPrefix:
		expr = regexp.QuoteMeta(p.PathSeparatedPrefix) + `(?:/.*)?`
	case *routev3.RouteMatch_SafeRegex:
		return r.InLanguage(r.Compile(`(?:`+p.SafeRegex.GetRegex()+`)`, true))
	case *routev3.RouteMatch_PathMatchPolicy:
		var t uritemplatev3.UriTemplateMatchConfig
		if p.PathMatchPolicy.GetTypedConfig().UnmarshalTo(&t) != nil || strings.ContainsAny(t.GetPathTemplate(), "*=") {
			return r.Unknown
		}
		// Envoy's variable takes fewer characters than a segment may have.
		return r.And(r.Unknown, r.InLanguage(r.Compile(patterns.Template(t.GetPathTemplate(), `[^/]+`), true)))
	default:
		return r.Unknown
	}
	if m.GetCaseSensitive() != nil && !m.GetCaseSensitive().GetValue() {
		expr = `(?i)` + expr
	}
	return r.InLanguage(r.Compile(expr, true))
}

func (r *Reader) headerMatch(h *routev3.HeaderMatcher) Condition {
	c := Condition{F: r.Unknown}
	switch s := h.GetHeaderMatchSpecifier().(type) {
	case *routev3.HeaderMatcher_StringMatch:
		exact := ""
		if !s.StringMatch.GetIgnoreCase() {
			exact = s.StringMatch.GetExact()
		}
		c = r.Header(h.GetName(), patterns.Envoy(s.StringMatch), exact)
	case *routev3.HeaderMatcher_ExactMatch: //nolint:staticcheck // deprecated, but Envoy still obeys it
		c = r.Header(h.GetName(), patterns.Text("exact", s.ExactMatch, false), s.ExactMatch)
	}
	if h.GetTreatMissingHeaderAsEmpty() {
		return Condition{F: r.Or(c.F, r.Unknown)}
	}
	if h.GetInvertMatch() {
		return Condition{F: r.Not(c.F)}
	}
	return c
}

// Predicate is the condition of a predicate in a matcher tree.
func (r *Reader) Predicate(p *xdsmatcherv3.Matcher_MatcherList_Predicate) Condition {
	switch t := p.GetMatchType().(type) {
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_:
		name := r.HeaderInput(t.SinglePredicate.GetInput())
		if v := t.SinglePredicate.GetValueMatch(); v != nil && name != "" {
			expr, exact := patterns.XDS(v)
			return r.Header(name, expr, exact)
		}
		if v := t.SinglePredicate.GetValueMatch(); v.GetExact() == "true" && !v.GetIgnoreCase() {
			return r.noted(t.SinglePredicate.GetInput())
		}
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_AndMatcher:
		var list []Condition
		for _, q := range t.AndMatcher.GetPredicate() {
			list = append(list, r.Predicate(q))
		}
		return r.All(list...)
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_OrMatcher:
		var list []*requests.Formula
		for _, q := range t.OrMatcher.GetPredicate() {
			list = append(list, r.Predicate(q).F)
		}
		return Condition{F: r.Or(list...)}
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_NotMatcher:
		c := r.Predicate(t.NotMatcher)
		return Condition{F: r.Not(c.F), Identity: Identity{Homeless: c.Homed}}
	}
	return Condition{F: r.Unknown}
}

// noted is the condition that a filter state is "true".
func (r *Reader) noted(in *xdscorev3.TypedExtensionConfig) Condition {
	var state networkinputsv3.FilterStateInput
	c := Condition{F: r.Unknown}
	if in.GetTypedConfig().UnmarshalTo(&state) != nil {
		return c
	}
	switch n := r.Notes[state.GetKey()]; {
	case n.Never, len(n.Headers) > 0 && r.Anonymous:
		c.F = r.None
	case len(n.Headers) > 0:
		c.Verified, c.Bound = true, strings.Join(n.Headers, " ")
	}
	return c
}

// HeaderInput is the name of the header that an input reads, "" for others.
func (r *Reader) HeaderInput(in *xdscorev3.TypedExtensionConfig) string {
	var h matcherv3.HttpRequestHeaderMatchInput
	if in.GetTypedConfig().UnmarshalTo(&h) != nil {
		return ""
	}
	return h.GetHeaderName()
}
