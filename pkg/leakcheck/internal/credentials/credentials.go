// Package credentials judges which requests a filter verifies, by where tokens stand in
// them: those with two tokens are nobody's, and a requirement that is content with a
// pin is not for tokens that could be verified. It looks at the first walk through a
// route table, before anything is verified: what is found there says what is asked.
//
// A request is in one of few situations: it has a signed token in one of the places that
// the deployment names and nothing in the others, or something in any two of them. What
// a situation does not say may be anything. The package is pure.
package credentials

import (
	"fmt"
	"slices"
	"strings"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	jwtauthnv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/conditions"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/facts"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/findings"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/overrides"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/patterns"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/requests"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/trusted"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// Filter is the filter that verifies tokens.
type Filter struct {
	Name     string
	Disabled bool
	// Lenient are the issuers whose tokens may fail, by the name of a requirement.
	Lenient map[string][]topology.Issuer
}

// Several tells whether tokens may stand in more places than one, or pins beside them.
func Several(top *topology.Topology) bool {
	return top.Pins != nil || slices.ContainsFunc(top.Issuers, func(i topology.Issuer) bool { return len(i.Sources) > 0 })
}

type configs = []map[string]*anypb.Any

// Judge reports what is wrong with the first walk through a virtual host. Outer is
// what governs all of it.
func Judge(r *conditions.Reader, where string, f Filter, top *topology.Topology, vh *routev3.VirtualHost, outer configs) {
	w := &walk{Reader: r, Filter: f, where: where, truths: map[truthOf]requests.Truth{}}
	w.list(vh.GetRoutes(), nil, outer)
	w.matcher(vh.GetMatcher(), nil, outer)
	for n, s := range situations(r, top) {
		w.judge(n, s)
	}
}

// walk is one first walk. Its ends are the routes that it may find.
type walk struct {
	*conditions.Reader
	Filter
	where  string
	ends   []end
	truths map[truthOf]requests.Truth
}

// end is a route that the first walk may find, and what must hold on the way there.
type end struct {
	asked   []literal
	asksFor string // the name of the requirement; "" for the rules of the filter
}

type literal struct {
	predicate *xdsmatcherv3.Matcher_MatcherList_Predicate
	holds     bool
}

type truthOf struct {
	situation int
	predicate *xdsmatcherv3.Matcher_MatcherList_Predicate
}

func (w *walk) matcher(m *xdsmatcherv3.Matcher, asked []literal, c configs) {
	switch t := m.GetMatcherType().(type) {
	case *xdsmatcherv3.Matcher_MatcherList_:
		for _, f := range t.MatcherList.GetMatchers() {
			w.onMatch(f.GetOnMatch(), with(asked, literal{f.GetPredicate(), true}), c)
			if !f.GetOnMatch().GetKeepMatching() && facts.Total(f.GetOnMatch()) {
				asked = with(asked, literal{f.GetPredicate(), false})
			}
		}
	case *xdsmatcherv3.Matcher_MatcherTree_:
		if trusted.FromToken(w.HeaderInput(t.MatcherTree.GetInput())) {
			break // nobody is verified yet
		}
		for _, list := range []map[string]*xdsmatcherv3.Matcher_OnMatch{t.MatcherTree.GetExactMatchMap().GetMap(), t.MatcherTree.GetPrefixMatchMap().GetMap()} {
			for _, on := range list {
				w.onMatch(on, asked, c)
			}
		}
	}
	w.onMatch(m.GetOnNoMatch(), asked, c)
}

func with(list []literal, l literal) []literal { return append(slices.Clip(list), l) }

func (w *walk) onMatch(on *xdsmatcherv3.Matcher_OnMatch, asked []literal, c configs) {
	if on.GetMatcher() != nil {
		w.matcher(on.GetMatcher(), asked, c)
		return
	}
	switch a := unpack(on.GetAction()).(type) {
	case *routev3.Route:
		w.list([]*routev3.Route{a}, asked, c)
	case *routev3.RouteList:
		w.list(a.GetRoutes(), asked, c)
	}
}

func unpack(a *xdscorev3.TypedExtensionConfig) proto.Message {
	m, err := a.GetTypedConfig().UnmarshalNew()
	if a == nil || err != nil {
		return nil // the walk of package leakcheck says so
	}
	return m
}

// list: any of the routes may be the one.
func (w *walk) list(routes []*routev3.Route, asked []literal, c configs) {
	for _, r := range routes {
		all := append(slices.Clip(c), r.GetTypedPerFilterConfig())
		e := end{asked: asked}
		for _, x := range all {
			var own jwtauthnv3.PerRouteConfig
			if a := x[w.Name]; a != nil && a.UnmarshalTo(&own) == nil && own.GetRequirementName() != "" {
				e.asksFor = own.GetRequirementName()
			}
		}
		if overrides.InForce(w.Name, w.Disabled, all) { // else nobody gets a home
			w.ends = append(w.ends, e)
		}
	}
}

// judge looks for ends that a request in a situation may come to and must not.
func (w *walk) judge(n int, s situation) {
	for _, e := range w.ends {
		wrong := ""
		switch {
		case s.two != "":
			wrong = fmt.Sprintf("a request with %s and %s may get its home from one of them", s.one, s.two)
		case slices.ContainsFunc(w.Lenient[e.asksFor], func(i topology.Issuer) bool { return slices.Contains(s.issuers, i.Issuer) }):
			wrong = fmt.Sprintf("a token of %v in %s passes where it does not verify, with a pin", s.issuers, s.one)
		}
		if wrong != "" && !slices.ContainsFunc(e.asked, func(l literal) bool {
			is := w.truth(n, s, l.predicate)
			return l.holds && is == requests.No || !l.holds && is == requests.Yes
		}) {
			w.Report(findings.Finding{Code: findings.TokenUnproved, Where: w.where, Message: wrong})
			return
		}
	}
}

// truth is that of a predicate in a situation.
func (w *walk) truth(n int, s situation, p *xdsmatcherv3.Matcher_MatcherList_Predicate) requests.Truth {
	key := truthOf{n, p}
	if known, ok := w.truths[key]; ok {
		return known
	}
	out := requests.Maybe
	switch t := p.GetMatchType().(type) {
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_:
		out = w.single(s, t.SinglePredicate)
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_AndMatcher:
		out = requests.Yes
		for _, q := range t.AndMatcher.GetPredicate() {
			out = min(out, w.truth(n, s, q))
		}
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_OrMatcher:
		out = requests.No
		for _, q := range t.OrMatcher.GetPredicate() {
			out = max(out, w.truth(n, s, q))
		}
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_NotMatcher:
		out = requests.Yes - w.truth(n, s, t.NotMatcher)
	}
	w.truths[key] = out
	return out
}

func (w *walk) single(s situation, p *xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate) requests.Truth {
	name := strings.ToLower(w.HeaderInput(p.GetInput()))
	if trusted.FromToken(name) || slices.Contains(s.absent, name) {
		return requests.No // nobody is verified yet
	}
	if name == "" || p.GetValueMatch() == nil {
		return requests.Maybe
	}
	expr, _ := patterns.XDS(p.GetValueMatch())
	l := w.Compile(expr, false)
	if expr == "" || l == nil {
		return requests.Maybe
	}
	for _, x := range s.lacks[name] {
		if !w.Exceeds(l, x) {
			return requests.No
		}
	}
	switch says := s.says[name]; {
	case says == nil:
		return requests.Maybe
	case !w.Overlaps(says, l):
		return requests.No
	case !w.Exceeds(says, l):
		return requests.Yes
	}
	return requests.Maybe
}
