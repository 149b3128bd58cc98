package envoy

import (
	"regexp"
	"strings"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/domicile-dev/domicile/pkg/envoy/internal/pattern"
	"github.com/domicile-dev/domicile/pkg/residency"
)

// Headers that only Envoy sets. Everything that begins with scrubPrefix is
// removed from what a client sends before any filter sees it.
const (
	scrubPrefix  = "x-domicile-"
	homeHeader   = "x-domicile-home"
	issuerHeader = "x-domicile-issuer"
	userHeader   = "x-domicile-user"
	entryHeader  = "x-domicile-entry" // peer listener: the client certificate's URI
	policyHeader = "x-domicile-policy"
)

type predicate = xdsmatcherv3.Matcher_MatcherList_Predicate

// routeMatch is the match of a class route inside a list of routes.
func routeMatch(m residency.Match) *routev3.RouteMatch {
	out := &routev3.RouteMatch{}
	switch {
	case m.Path != "":
		out.PathSpecifier = &routev3.RouteMatch_Path{Path: m.Path}
	case m.PathTemplate != "":
		out.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: pattern.Template(m.PathTemplate)}}
	case m.GRPCService != "":
		out.PathSpecifier = &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: "/" + m.GRPCService}
		out.Grpc = &routev3.RouteMatch_GrpcRouteMatchOptions{}
	case strings.Trim(m.PathPrefix, "/") == "":
		out.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: "/"}
	default:
		out.PathSpecifier = &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: strings.TrimSuffix(m.PathPrefix, "/")}
	}
	if m.Method != "" {
		out.Headers = append(out.Headers, headerIs(":method", regexp.QuoteMeta(m.Method)))
	}
	if m.Host != "" {
		out.Headers = append(out.Headers, headerIs(":authority", pattern.Host(m.Host)))
	}
	return out
}

// anyPath matches every request; the tree around it has decided already.
func anyPath() *routev3.RouteMatch {
	return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}}
}

func headerIs(name, regex string) *routev3.HeaderMatcher {
	return &routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{
		StringMatch: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{
			SafeRegex: &matcherv3.RegexMatcher{Regex: regex},
		}},
	}}
}

// matchPredicate is routeMatch for the matcher tree, where :path still has its query.
func (t *translation) matchPredicate(m residency.Match) *predicate {
	var path string
	switch {
	case m.Path != "":
		path = regexp.QuoteMeta(m.Path) + `(?:\?.*)?`
	case m.PathTemplate != "":
		path = strings.ReplaceAll(pattern.Template(m.PathTemplate), "[^/]+", "[^/?]+") + `(?:\?.*)?`
	case m.GRPCService != "":
		path = regexp.QuoteMeta("/"+m.GRPCService) + `(?:[/?].*)?`
	default:
		path = regexp.QuoteMeta(strings.TrimSuffix(m.PathPrefix, "/")) + `(?:[/?].*)?`
	}
	all := []*predicate{t.header(":path", path)}
	if m.GRPCService != "" {
		all = append(all, t.header("content-type", `application/grpc(?:\+.*)?`))
	}
	if m.Method != "" {
		all = append(all, t.header(":method", regexp.QuoteMeta(m.Method)))
	}
	if m.Host != "" {
		all = append(all, t.header(":authority", pattern.Host(m.Host)))
	}
	return and(all...)
}

// contains is true when a header has a part; for several values of one name,
// Envoy joins them by commas.
func (t *translation) contains(name, part string) *predicate {
	return t.value(name, &xdsmatcherv3.StringMatcher{MatchPattern: &xdsmatcherv3.StringMatcher_Contains{Contains: part}})
}

// header is true when the whole value of a header matches a regular expression;
// a header that is absent never matches.
func (t *translation) header(name, regex string) *predicate {
	return t.value(name, &xdsmatcherv3.StringMatcher{MatchPattern: &xdsmatcherv3.StringMatcher_SafeRegex{
		SafeRegex: &xdsmatcherv3.RegexMatcher{
			EngineType: &xdsmatcherv3.RegexMatcher_GoogleRe2{GoogleRe2: &xdsmatcherv3.RegexMatcher_GoogleRE2{}},
			Regex:      regex,
		},
	}})
}

func (t *translation) value(name string, m *xdsmatcherv3.StringMatcher) *predicate {
	return &predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_{
		SinglePredicate: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate{
			Input:   t.headerInput(name),
			Matcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_ValueMatch{ValueMatch: m},
		},
	}}
}

func (t *translation) headerInput(name string) *xdscorev3.TypedExtensionConfig {
	return &xdscorev3.TypedExtensionConfig{
		Name: name, TypedConfig: t.pack(&matcherv3.HttpRequestHeaderMatchInput{HeaderName: name}),
	}
}

func and(list ...*predicate) *predicate {
	if len(list) == 1 {
		return list[0]
	}
	return &predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_AndMatcher{
		AndMatcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_PredicateList{Predicate: list},
	}}
}

func or(list ...*predicate) *predicate {
	if len(list) == 1 {
		return list[0]
	}
	return &predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_OrMatcher{
		OrMatcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_PredicateList{Predicate: list},
	}}
}

func not(p *predicate) *predicate {
	return &predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_NotMatcher{NotMatcher: p}}
}

// exact is a map on one header; what it does not hold goes to miss.
func (t *translation) exact(name string, m map[string]*xdsmatcherv3.Matcher_OnMatch, miss *xdsmatcherv3.Matcher_OnMatch) *xdsmatcherv3.Matcher {
	if len(m) == 0 { // Envoy refuses an empty map
		return &xdsmatcherv3.Matcher{OnNoMatch: miss}
	}
	return &xdsmatcherv3.Matcher{
		MatcherType: &xdsmatcherv3.Matcher_MatcherTree_{MatcherTree: &xdsmatcherv3.Matcher_MatcherTree{
			Input: t.headerInput(name),
			TreeType: &xdsmatcherv3.Matcher_MatcherTree_ExactMatchMap{
				ExactMatchMap: &xdsmatcherv3.Matcher_MatcherTree_MatchMap{Map: m},
			},
		}},
		OnNoMatch: miss,
	}
}

type branch struct {
	when *predicate
	then *xdsmatcherv3.Matcher_OnMatch
}

// first takes the first branch whose predicate holds.
func first(branches []branch, miss *xdsmatcherv3.Matcher_OnMatch) *xdsmatcherv3.Matcher {
	if len(branches) == 0 {
		return &xdsmatcherv3.Matcher{OnNoMatch: miss}
	}
	list := &xdsmatcherv3.Matcher_MatcherList{}
	for _, b := range branches {
		list.Matchers = append(list.Matchers, &xdsmatcherv3.Matcher_MatcherList_FieldMatcher{Predicate: b.when, OnMatch: b.then})
	}
	return &xdsmatcherv3.Matcher{MatcherType: &xdsmatcherv3.Matcher_MatcherList_{MatcherList: list}, OnNoMatch: miss}
}

func nested(m *xdsmatcherv3.Matcher) *xdsmatcherv3.Matcher_OnMatch {
	return &xdsmatcherv3.Matcher_OnMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Matcher{Matcher: m}}
}

func (t *translation) takeRoute(r *routev3.Route) *xdsmatcherv3.Matcher_OnMatch {
	return &xdsmatcherv3.Matcher_OnMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Action{Action: &xdscorev3.TypedExtensionConfig{
		Name: "route", TypedConfig: t.pack(r),
	}}}
}

func (t *translation) takeList(routes []*routev3.Route) *xdsmatcherv3.Matcher_OnMatch {
	return &xdsmatcherv3.Matcher_OnMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Action{Action: &xdscorev3.TypedExtensionConfig{
		Name: "routes", TypedConfig: t.pack(&routev3.RouteList{Routes: routes}),
	}}}
}
