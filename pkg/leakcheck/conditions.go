package leakcheck

import (
	"regexp"
	"strings"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	uritemplatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/match/uri_template/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

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

// condition is what a match asks. Home and issuer, where set, are values that
// the trusted headers must have.
type condition struct {
	f            *formula
	home, issuer string
}

func (k *checker) all(list ...condition) condition {
	out := condition{f: k.whole}
	for _, c := range list {
		out.f = k.and(out.f, c.f)
		for _, v := range []struct {
			to   *string
			from string
		}{{&out.home, c.home}, {&out.issuer, c.issuer}} {
			switch {
			case *v.to == "":
				*v.to = v.from
			case v.from != "" && v.from != *v.to: // two different values: never
				out.f = k.none
			}
		}
	}
	return out
}

// text is a string matcher as a regular expression; "" when it is of a kind
// that cannot be read.
func text(kind, value string, fold bool) string {
	expr := ""
	switch kind {
	case "exact":
		expr = regexp.QuoteMeta(value)
	case "prefix":
		expr = regexp.QuoteMeta(value) + `.*`
	case "suffix":
		expr = `.*` + regexp.QuoteMeta(value)
	case "contains":
		expr = `.*` + regexp.QuoteMeta(value) + `.*`
	case "regex":
		return `(?:` + value + `)`
	}
	if fold {
		expr = `(?i)` + expr
	}
	return expr
}

func envoyText(m *matcherv3.StringMatcher) string {
	switch p := m.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		return text("exact", p.Exact, m.GetIgnoreCase())
	case *matcherv3.StringMatcher_Prefix:
		return text("prefix", p.Prefix, m.GetIgnoreCase())
	case *matcherv3.StringMatcher_Suffix:
		return text("suffix", p.Suffix, m.GetIgnoreCase())
	case *matcherv3.StringMatcher_Contains:
		return text("contains", p.Contains, m.GetIgnoreCase())
	case *matcherv3.StringMatcher_SafeRegex:
		return text("regex", p.SafeRegex.GetRegex(), false)
	}
	return ""
}

func xdsText(m *xdsmatcherv3.StringMatcher) (expr, exact string) {
	switch p := m.GetMatchPattern().(type) {
	case *xdsmatcherv3.StringMatcher_Exact:
		if !m.GetIgnoreCase() {
			exact = p.Exact
		}
		return text("exact", p.Exact, m.GetIgnoreCase()), exact
	case *xdsmatcherv3.StringMatcher_Prefix:
		return text("prefix", p.Prefix, m.GetIgnoreCase()), ""
	case *xdsmatcherv3.StringMatcher_Suffix:
		return text("suffix", p.Suffix, m.GetIgnoreCase()), ""
	case *xdsmatcherv3.StringMatcher_Contains:
		return text("contains", p.Contains, m.GetIgnoreCase()), ""
	case *xdsmatcherv3.StringMatcher_SafeRegex:
		return text("regex", p.SafeRegex.GetRegex(), false), ""
	}
	return "", ""
}

// header is a condition on one header's value. exact is set where the value
// must be equal to it.
func (k *checker) header(name, expr, exact string) condition {
	if expr == "" {
		return condition{f: k.unknown}
	}
	switch strings.ToLower(name) {
	case ":path":
		return condition{f: k.inLanguage(k.language(expr, false))}
	case ":method":
		return condition{f: k.inSet(method, k.membership(method, k.language(expr, false)))}
	case ":authority", "host":
		return condition{f: k.inSet(host, k.membership(host, k.language(expr, false)))}
	case entryHeader:
		return condition{f: k.inSet(entry, k.membership(entry, k.language(expr, false)))}
	case "content-type":
		l, want := k.language(expr, false), k.atomLangs[grpc][0]
		if l != nil && !exceeds(l, want) && !exceeds(want, l) {
			return condition{f: k.inSet(grpc, []truth{yes, no})}
		}
	case homeHeader:
		return condition{f: k.unknown, home: exact}
	case issuerHeader:
		return condition{f: k.unknown, issuer: exact}
	}
	return condition{f: k.unknown}
}

// segments is the language of a prefix that ends where a segment ends.
func segments(prefix string) string {
	return regexp.QuoteMeta(strings.TrimSuffix(prefix, "/")) + `(?:/.*)?`
}

// template is the language of a path template.
func template(t, segment string) string {
	var out []string
	for _, s := range strings.Split(t, "/") {
		if strings.HasPrefix(s, "{") && strings.HasSuffix(s, "}") {
			out = append(out, segment)
		} else {
			out = append(out, regexp.QuoteMeta(s))
		}
	}
	return strings.Join(out, "/")
}

// classFormula is the condition of a class route of the table. Whether a call
// of a gRPC service that is no gRPC call belongs to the class is left open.
func (k *checker) classFormula(m residency.Match) *formula {
	expr, is := "", k.whole
	switch {
	case m.Path != "":
		expr = regexp.QuoteMeta(m.Path)
	case m.PathTemplate != "":
		expr = template(m.PathTemplate, `[^/]+`)
	case m.GRPCService != "":
		expr = segments("/" + m.GRPCService)
		is = k.inSet(grpc, []truth{yes, maybe})
	case strings.Trim(m.PathPrefix, "/") == "":
		expr = `.*`
	default:
		expr = segments(m.PathPrefix)
	}
	f := k.and(k.inLanguage(k.language(expr, true)), is)
	if m.Method != "" {
		f = k.and(f, k.inSet(method, k.membership(method, k.language(regexp.QuoteMeta(m.Method), false))))
	}
	if m.Host != "" {
		f = k.and(f, k.inSet(host, k.membership(host, k.language(hostRegex(m.Host), false))))
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
		list = append(list, condition{f: k.inSet(grpc, []truth{yes, no})})
	}
	if m.GetRuntimeFraction() != nil || m.GetTlsContext() != nil ||
		len(m.GetQueryParameters())+len(m.GetCookies())+len(m.GetDynamicMetadata())+len(m.GetFilterState()) > 0 {
		list = append(list, condition{f: k.unknown})
	}
	return k.all(list...)
}

func (k *checker) pathMatch(m *routev3.RouteMatch) *formula {
	expr := ""
	switch p := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		expr = regexp.QuoteMeta(p.Prefix) + `.*`
	case *routev3.RouteMatch_Path:
		expr = regexp.QuoteMeta(p.Path)
	case *routev3.RouteMatch_PathSeparatedPrefix:
		expr = regexp.QuoteMeta(p.PathSeparatedPrefix) + `(?:/.*)?`
	case *routev3.RouteMatch_SafeRegex:
		return k.inLanguage(k.language(`(?:`+p.SafeRegex.GetRegex()+`)`, true))
	case *routev3.RouteMatch_PathMatchPolicy:
		var t uritemplatev3.UriTemplateMatchConfig
		if p.PathMatchPolicy.GetTypedConfig().UnmarshalTo(&t) != nil || strings.ContainsAny(t.GetPathTemplate(), "*=") {
			return k.unknown
		}
		// Envoy's variable takes fewer characters than a segment may have.
		return k.and(k.unknown, k.inLanguage(k.language(template(t.GetPathTemplate(), `[^/]+`), true)))
	default:
		return k.unknown
	}
	if m.GetCaseSensitive() != nil && !m.GetCaseSensitive().GetValue() {
		expr = `(?i)` + expr
	}
	return k.inLanguage(k.language(expr, true))
}

func (k *checker) headerMatch(h *routev3.HeaderMatcher) condition {
	c := condition{f: k.unknown}
	switch s := h.GetHeaderMatchSpecifier().(type) {
	case *routev3.HeaderMatcher_StringMatch:
		exact := ""
		if !s.StringMatch.GetIgnoreCase() {
			exact = s.StringMatch.GetExact()
		}
		c = k.header(h.GetName(), envoyText(s.StringMatch), exact)
	case *routev3.HeaderMatcher_ExactMatch: //nolint:staticcheck // deprecated, but Envoy still obeys it
		c = k.header(h.GetName(), text("exact", s.ExactMatch, false), s.ExactMatch)
	}
	if h.GetTreatMissingHeaderAsEmpty() {
		return condition{f: k.or(c.f, k.unknown)}
	}
	if h.GetInvertMatch() {
		return condition{f: k.not(c.f)}
	}
	return c
}

// predicate is the condition of a predicate in a matcher tree.
func (k *checker) predicate(p *xdsmatcherv3.Matcher_MatcherList_Predicate) condition {
	switch t := p.GetMatchType().(type) {
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_:
		name := k.headerInput(t.SinglePredicate.GetInput())
		if v := t.SinglePredicate.GetValueMatch(); v != nil && name != "" {
			expr, exact := xdsText(v)
			return k.header(name, expr, exact)
		}
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_AndMatcher:
		var list []condition
		for _, q := range t.AndMatcher.GetPredicate() {
			list = append(list, k.predicate(q))
		}
		return k.all(list...)
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_OrMatcher:
		var list []*formula
		for _, q := range t.OrMatcher.GetPredicate() {
			list = append(list, k.predicate(q).f)
		}
		return condition{f: k.or(list...)}
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_NotMatcher:
		return condition{f: k.not(k.predicate(t.NotMatcher).f)}
	}
	return condition{f: k.unknown}
}

// headerInput is the name of the header that an input reads, "" for others.
func (k *checker) headerInput(in *xdscorev3.TypedExtensionConfig) string {
	var h matcherv3.HttpRequestHeaderMatchInput
	if in.GetTypedConfig().UnmarshalTo(&h) != nil {
		return ""
	}
	return h.GetHeaderName()
}
