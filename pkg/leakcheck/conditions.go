package leakcheck

import (
	"regexp"
	"strings"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	uritemplatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/match/uri_template/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/patterns"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/requests"
	"github.com/domicile-dev/domicile/pkg/residency"
)

// The headers that say who is calling and from where.
const (
	trustedPrefix = "x-domicile-"
	homeHeader    = "x-domicile-home"
	issuerHeader  = "x-domicile-issuer"
	userHeader    = "x-domicile-user"
	entryHeader   = "x-domicile-entry"
)

// fromToken tells of the headers that are absent until a token is verified.
func fromToken(name string) bool {
	name = strings.ToLower(name)
	return strings.HasPrefix(name, trustedPrefix) && name != entryHeader
}

// condition is what a match asks. Home and issuer, where set, are values that
// the trusted headers must have.
type condition struct {
	f            *requests.Formula
	home, issuer string
}

func (k *checker) all(list ...condition) condition {
	out := condition{f: k.Whole}
	for _, c := range list {
		out.f = k.And(out.f, c.f)
		for _, v := range []struct {
			to   *string
			from string
		}{{&out.home, c.home}, {&out.issuer, c.issuer}} {
			switch {
			case *v.to == "":
				*v.to = v.from
			case v.from != "" && v.from != *v.to: // two different values: never
				out.f = k.None
			}
		}
	}
	return out
}

// header is a condition on one header's value. exact is set where the value
// must be equal to it.
func (k *checker) header(name, expr, exact string) condition {
	if k.anonymous && fromToken(name) {
		return condition{f: k.None}
	}
	if expr == "" {
		return condition{f: k.Unknown}
	}
	switch strings.ToLower(name) {
	case ":path":
		return condition{f: k.InLanguage(k.Compile(expr, false))}
	case ":method":
		return condition{f: k.InSet(requests.Method, k.Membership(requests.Method, k.Compile(expr, false)))}
	case ":authority", "host":
		return condition{f: k.InSet(requests.Host, k.Membership(requests.Host, k.Compile(expr, false)))}
	case entryHeader:
		return condition{f: k.InSet(requests.Entry, k.Membership(requests.Entry, k.Compile(expr, false)))}
	case "content-type":
		l, want := k.Compile(expr, false), k.AtomLanguages[requests.GRPC][0]
		if l != nil && !requests.Exceeds(l, want) && !requests.Exceeds(want, l) {
			return condition{f: k.InSet(requests.GRPC, []requests.Truth{requests.Yes, requests.No})}
		}
	case homeHeader:
		return condition{f: k.Unknown, home: exact}
	case issuerHeader:
		return condition{f: k.Unknown, issuer: exact}
	}
	return condition{f: k.Unknown}
}

// classFormula is the condition of a class route of the table. A gRPC service
// is called by gRPC requests only; others on its path are of another class, or
// of none.
func (k *checker) classFormula(m residency.Match) *requests.Formula {
	expr, is := "", k.Whole
	switch {
	case m.Path != "":
		expr = regexp.QuoteMeta(m.Path)
	case m.PathTemplate != "":
		expr = patterns.Template(m.PathTemplate, `[^/]+`)
	case m.GRPCService != "":
		expr = patterns.Segments("/" + m.GRPCService)
		is = k.InSet(requests.GRPC, []requests.Truth{requests.Yes, requests.No})
	case strings.Trim(m.PathPrefix, "/") == "":
		expr = `.*`
	default:
		expr = patterns.Segments(m.PathPrefix)
	}
	f := k.And(k.InLanguage(k.Compile(expr, true)), is)
	if m.Method != "" {
		f = k.And(f, k.InSet(requests.Method, k.Membership(requests.Method, k.Compile(regexp.QuoteMeta(m.Method), false))))
	}
	if m.Host != "" {
		f = k.And(f, k.InSet(requests.Host, k.Membership(requests.Host, k.Compile(requests.HostRegex(m.Host), false))))
	}
	return f
}

// routeMatch is the condition of a route's match.
func (k *checker) routeMatch(where string, m *routev3.RouteMatch) condition {
	k.known(where, m)
	list := []condition{{f: k.pathMatch(m)}}
	for _, h := range m.GetHeaders() {
		list = append(list, k.headerMatch(h))
	}
	if m.GetGrpc() != nil {
		list = append(list, condition{f: k.InSet(requests.GRPC, []requests.Truth{requests.Yes, requests.No})})
	}
	if m.GetRuntimeFraction() != nil || m.GetTlsContext() != nil ||
		len(m.GetQueryParameters())+len(m.GetCookies())+len(m.GetDynamicMetadata())+len(m.GetFilterState()) > 0 {
		list = append(list, condition{f: k.Unknown})
	}
	return k.all(list...)
}

func (k *checker) pathMatch(m *routev3.RouteMatch) *requests.Formula {
	expr := ""
	switch p := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		expr = regexp.QuoteMeta(p.Prefix) + `.*`
	case *routev3.RouteMatch_Path:
		expr = regexp.QuoteMeta(p.Path)
	case *routev3.RouteMatch_PathSeparatedPrefix:
		expr = regexp.QuoteMeta(p.PathSeparatedPrefix) + `(?:/.*)?`
	case *routev3.RouteMatch_SafeRegex:
		return k.InLanguage(k.Compile(`(?:`+p.SafeRegex.GetRegex()+`)`, true))
	case *routev3.RouteMatch_PathMatchPolicy:
		var t uritemplatev3.UriTemplateMatchConfig
		if p.PathMatchPolicy.GetTypedConfig().UnmarshalTo(&t) != nil || strings.ContainsAny(t.GetPathTemplate(), "*=") {
			return k.Unknown
		}
		// Envoy's variable takes fewer characters than a segment may have.
		return k.And(k.Unknown, k.InLanguage(k.Compile(patterns.Template(t.GetPathTemplate(), `[^/]+`), true)))
	default:
		return k.Unknown
	}
	if m.GetCaseSensitive() != nil && !m.GetCaseSensitive().GetValue() {
		expr = `(?i)` + expr
	}
	return k.InLanguage(k.Compile(expr, true))
}

func (k *checker) headerMatch(h *routev3.HeaderMatcher) condition {
	c := condition{f: k.Unknown}
	switch s := h.GetHeaderMatchSpecifier().(type) {
	case *routev3.HeaderMatcher_StringMatch:
		exact := ""
		if !s.StringMatch.GetIgnoreCase() {
			exact = s.StringMatch.GetExact()
		}
		c = k.header(h.GetName(), patterns.Envoy(s.StringMatch), exact)
	case *routev3.HeaderMatcher_ExactMatch: //nolint:staticcheck // deprecated, but Envoy still obeys it
		c = k.header(h.GetName(), patterns.Text("exact", s.ExactMatch, false), s.ExactMatch)
	}
	if h.GetTreatMissingHeaderAsEmpty() {
		return condition{f: k.Or(c.f, k.Unknown)}
	}
	if h.GetInvertMatch() {
		return condition{f: k.Not(c.f)}
	}
	return c
}

// predicate is the condition of a predicate in a matcher tree.
func (k *checker) predicate(p *xdsmatcherv3.Matcher_MatcherList_Predicate) condition {
	switch t := p.GetMatchType().(type) {
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_:
		name := k.headerInput(t.SinglePredicate.GetInput())
		if v := t.SinglePredicate.GetValueMatch(); v != nil && name != "" {
			expr, exact := patterns.XDS(v)
			return k.header(name, expr, exact)
		}
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_AndMatcher:
		var list []condition
		for _, q := range t.AndMatcher.GetPredicate() {
			list = append(list, k.predicate(q))
		}
		return k.all(list...)
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_OrMatcher:
		var list []*requests.Formula
		for _, q := range t.OrMatcher.GetPredicate() {
			list = append(list, k.predicate(q).f)
		}
		return condition{f: k.Or(list...)}
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_NotMatcher:
		return condition{f: k.Not(k.predicate(t.NotMatcher).f)}
	}
	return condition{f: k.Unknown}
}

// headerInput is the name of the header that an input reads, "" for others.
func (k *checker) headerInput(in *xdscorev3.TypedExtensionConfig) string {
	var h matcherv3.HttpRequestHeaderMatchInput
	if in.GetTypedConfig().UnmarshalTo(&h) != nil {
		return ""
	}
	return h.GetHeaderName()
}
