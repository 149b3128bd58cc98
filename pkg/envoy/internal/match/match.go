// Package match writes down which requests a route, or a branch of the decision
// tree, takes.
package match

import (
	"regexp"
	"strings"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	networkinputsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/network/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/domicile-dev/domicile/pkg/envoy/internal/packing"
	"github.com/domicile-dev/domicile/pkg/envoy/internal/pattern"
	"github.com/domicile-dev/domicile/pkg/residency"
)

// Tree makes the parts of a decision tree. Errors stay in its Packer.
type Tree struct{ *packing.Packer }

// Predicate is a condition on a request.
type Predicate = xdsmatcherv3.Matcher_MatcherList_Predicate

// Route is the match of a class route inside a list of routes.
func Route(m residency.Match) *routev3.RouteMatch {
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
		out.Headers = append(out.Headers, HeaderIs(":method", regexp.QuoteMeta(m.Method)))
	}
	if m.Host != "" {
		out.Headers = append(out.Headers, HeaderIs(":authority", pattern.Host(m.Host)))
	}
	return out
}

// AnyPath matches every request; the tree around it has decided already.
func AnyPath() *routev3.RouteMatch {
	return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}}
}

// HeaderIs asks that the whole value of a header matches a regular expression.
func HeaderIs(name, regex string) *routev3.HeaderMatcher {
	return &routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{
		StringMatch: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{
			SafeRegex: &matcherv3.RegexMatcher{Regex: regex},
		}},
	}}
}

// Class is Route for the matcher tree, where :path still has its query.
func (t Tree) Class(m residency.Match) *Predicate {
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
	all := []*Predicate{t.Header(":path", path)}
	if m.GRPCService != "" {
		all = append(all, t.Header("content-type", `application/grpc(?:\+.*)?`))
	}
	if m.Method != "" {
		all = append(all, t.Header(":method", regexp.QuoteMeta(m.Method)))
	}
	if m.Host != "" {
		all = append(all, t.Header(":authority", pattern.Host(m.Host)))
	}
	return And(all...)
}

// StrayUpgrade is true for an upgrade that is not to a long-lived class: it would
// not run where it can be closed. A route's own setting does not do it, since the
// first walk's route decides about upgrades.
func (t Tree) StrayUpgrade(routes []residency.Route) *Predicate {
	var short, long []*Predicate
	for _, r := range routes {
		switch p := t.Class(r.Match); {
		case !r.LongLived:
			short = append(short, p)
		case len(short) > 0:
			long = append(long, And(p, Not(Or(short...))))
		default:
			long = append(long, p)
		}
	}
	upgrade := t.Header("upgrade", ".+")
	if len(long) == 0 {
		return upgrade
	}
	return And(upgrade, Not(Or(long...)))
}

// Contains is true when a header has a part; for several values of one name,
// Envoy joins them by commas.
func (t Tree) Contains(name, part string) *Predicate {
	return t.value(name, &xdsmatcherv3.StringMatcher{MatchPattern: &xdsmatcherv3.StringMatcher_Contains{Contains: part}})
}

// Header is true when the whole value of a header matches a regular expression;
// a header that is absent never matches.
func (t Tree) Header(name, regex string) *Predicate { return t.value(name, whole(regex)) }

func (t Tree) value(name string, m *xdsmatcherv3.StringMatcher) *Predicate {
	return single(t.headerInput(name), m)
}

func single(input *xdscorev3.TypedExtensionConfig, m *xdsmatcherv3.StringMatcher) *Predicate {
	return &Predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_{
		SinglePredicate: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate{
			Input:   input,
			Matcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_ValueMatch{ValueMatch: m},
		},
	}}
}

// State is true when a filter has left this value in the filter state.
func (t Tree) State(key, value string) *Predicate {
	return single(t.stateInput(key), &xdsmatcherv3.StringMatcher{MatchPattern: &xdsmatcherv3.StringMatcher_Exact{Exact: value}})
}

// HasState is true when a filter has left something there.
func (t Tree) HasState(key string) *Predicate { return single(t.stateInput(key), whole(".+")) }

func (t Tree) stateInput(key string) *xdscorev3.TypedExtensionConfig {
	return &xdscorev3.TypedExtensionConfig{Name: key, TypedConfig: t.Pack(&networkinputsv3.FilterStateInput{Key: key})}
}

func whole(regex string) *xdsmatcherv3.StringMatcher {
	return &xdsmatcherv3.StringMatcher{MatchPattern: &xdsmatcherv3.StringMatcher_SafeRegex{
		SafeRegex: &xdsmatcherv3.RegexMatcher{
			EngineType: &xdsmatcherv3.RegexMatcher_GoogleRe2{GoogleRe2: &xdsmatcherv3.RegexMatcher_GoogleRE2{}},
			Regex:      regex,
		},
	}}
}

func (t Tree) headerInput(name string) *xdscorev3.TypedExtensionConfig {
	return &xdscorev3.TypedExtensionConfig{
		Name: name, TypedConfig: t.Pack(&matcherv3.HttpRequestHeaderMatchInput{HeaderName: name}),
	}
}

// And is true when all are.
func And(list ...*Predicate) *Predicate {
	if len(list) == 1 {
		return list[0]
	}
	return &Predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_AndMatcher{
		AndMatcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_PredicateList{Predicate: list},
	}}
}

// Or is true when one is.
func Or(list ...*Predicate) *Predicate {
	if len(list) == 1 {
		return list[0]
	}
	return &Predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_OrMatcher{
		OrMatcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_PredicateList{Predicate: list},
	}}
}

// Not is true when p is not.
func Not(p *Predicate) *Predicate {
	return &Predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_NotMatcher{NotMatcher: p}}
}

// Exact is a map on one header; what it does not hold goes to miss.
func (t Tree) Exact(name string, m map[string]*xdsmatcherv3.Matcher_OnMatch, miss *xdsmatcherv3.Matcher_OnMatch) *xdsmatcherv3.Matcher {
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

// Branch is taken when its condition holds.
type Branch struct {
	when *Predicate
	then *xdsmatcherv3.Matcher_OnMatch
}

// When takes a way if a condition holds.
func When(p *Predicate, then *xdsmatcherv3.Matcher_OnMatch) Branch { return Branch{p, then} }

// First takes the first branch whose predicate holds.
func First(branches []Branch, miss *xdsmatcherv3.Matcher_OnMatch) *xdsmatcherv3.Matcher {
	if len(branches) == 0 {
		return &xdsmatcherv3.Matcher{OnNoMatch: miss}
	}
	list := &xdsmatcherv3.Matcher_MatcherList{}
	for _, b := range branches {
		list.Matchers = append(list.Matchers, &xdsmatcherv3.Matcher_MatcherList_FieldMatcher{Predicate: b.when, OnMatch: b.then})
	}
	return &xdsmatcherv3.Matcher{MatcherType: &xdsmatcherv3.Matcher_MatcherList_{MatcherList: list}, OnNoMatch: miss}
}

// Nested goes on in another matcher.
func Nested(m *xdsmatcherv3.Matcher) *xdsmatcherv3.Matcher_OnMatch {
	return &xdsmatcherv3.Matcher_OnMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Matcher{Matcher: m}}
}

func (t Tree) TakeRoute(r *routev3.Route) *xdsmatcherv3.Matcher_OnMatch {
	return &xdsmatcherv3.Matcher_OnMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Action{Action: &xdscorev3.TypedExtensionConfig{
		Name: "route", TypedConfig: t.Pack(r),
	}}}
}

func (t Tree) TakeList(routes []*routev3.Route) *xdsmatcherv3.Matcher_OnMatch {
	return &xdsmatcherv3.Matcher_OnMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Action{Action: &xdscorev3.TypedExtensionConfig{
		Name: "routes", TypedConfig: t.Pack(&routev3.RouteList{Routes: routes}),
	}}}
}
