package proofs

import (
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/trusted"
)

// Whole names a configuration of the Envoys of a region, at the table and the
// algebra of the book, by everything but what the branches of homes hold, and but
// what cannot move a request: the metadata of virtual hosts and the headers that
// they add to responses. trees are the maps whose branches it leaves out. It is false
// where something has no bytes.
func (m *Book) Whole(region string, listeners []*listenerv3.Listener, clusters []*clusterv3.Cluster, endpoints []*endpointv3.ClusterLoadAssignment,
	routes []*routev3.RouteConfiguration, extensions []*corev3.TypedExtensionConfig,
) (name []byte, trees []*xdsmatcherv3.Matcher_MatcherTree, ok bool) {
	b := Text(nil, region)
	for _, n := range []int{m.places, m.Algebra(), m.routes, len(listeners), len(clusters), len(endpoints), len(routes), len(extensions)} {
		b = Number(b, n)
	}
	ok = true
	add := func(x proto.Message) {
		id, good := m.bytes(x)
		b, ok = Number(b, id), ok && good
	}
	for _, l := range listeners {
		if l.GetInternalListener() == nil {
			add(l) // made anew for each Envoy and table: not worth remembering where it lay
			continue
		}
		id, good := m.shared(l)
		b, ok = Number(b, id), ok && good
	}
	for _, c := range clusters {
		id, good := m.shared(c)
		b, ok = Number(b, id), ok && good
	}
	for _, e := range endpoints {
		add(e)
	}
	for _, x := range extensions {
		add(x)
	}
	for _, rc := range routes {
		rest, cut := m.cut(rc)
		trees = append(trees, cut...)
		add(rest)
	}
	return b, trees, ok
}

// bytes is the ID of a message's bytes.
func (m *Memory) bytes(x proto.Message) (int, bool) {
	b, err := proto.MarshalOptions{Deterministic: true, AllowPartial: true}.MarshalAppend(m.scratch[:0], x)
	m.scratch = b
	return m.ID(b), err == nil
}

// shared is bytes for a message that many configurations hold: one that lies where
// it lay is not read again.
func (m *Memory) shared(x proto.Message) (int, bool) {
	id, known := m.lying[x]
	if !known {
		if id, known = m.lain[x]; !known {
			var ok bool
			if id, ok = m.bytes(x); !ok {
				return 0, false
			}
		}
		m.lying[x] = id
	}
	return id, true
}

// cut returns a route table without the branches of homes, and the maps that held
// them. What it returns shares everything else with rc.
func (m *Book) cut(rc *routev3.RouteConfiguration) (rest *routev3.RouteConfiguration, trees []*xdsmatcherv3.Matcher_MatcherTree) {
	rest = shallow(rc)
	rest.VirtualHosts = nil
	for _, vh := range rc.GetVirtualHosts() {
		v := shallow(vh)
		v.Metadata, v.ResponseHeadersToAdd = nil, nil
		var tree *xdsmatcherv3.Matcher_MatcherTree
		if v.Matcher, tree = m.cutMatcher(vh.GetMatcher()); tree != nil {
			trees = append(trees, tree)
		}
		rest.VirtualHosts = append(rest.VirtualHosts, v)
	}
	return rest, trees
}

// cutMatcher looks for a map of homes among what is asked of every request.
func (m *Book) cutMatcher(x *xdsmatcherv3.Matcher) (*xdsmatcherv3.Matcher, *xdsmatcherv3.Matcher_MatcherTree) {
	if x == nil {
		return nil, nil
	}
	out := shallow(x)
	tree := x.GetMatcherTree()
	if _, empty := tree.GetExactMatchMap().GetMap()[""]; tree.GetExactMatchMap() != nil && !empty && m.ofHomes(tree.GetInput().GetTypedConfig()) {
		t, exact := shallow(tree), shallow(tree.GetExactMatchMap())
		exact.Map = nil
		t.TreeType = &xdsmatcherv3.Matcher_MatcherTree_ExactMatchMap{ExactMatchMap: exact}
		out.MatcherType = &xdsmatcherv3.Matcher_MatcherTree_{MatcherTree: t}
		return out, tree
	}
	next := x.GetOnNoMatch()
	if next.GetMatcher() == nil {
		return out, nil
	}
	inner, tree := m.cutMatcher(next.GetMatcher())
	if tree == nil {
		return x, nil
	}
	on := shallow(next)
	on.OnMatch = &xdsmatcherv3.Matcher_OnMatch_Matcher{Matcher: inner}
	out.OnNoMatch = on
	return out, tree
}

// ofHomes tells whether a map is by home. One that is not stays whole, so it may
// be wrong, but not the other way round.
func (m *Book) ofHomes(input *anypb.Any) bool {
	var h matcherv3.HttpRequestHeaderMatchInput
	return input.UnmarshalTo(&h) == nil && h.GetHeaderName() == trusted.Home
}

// shallow is a message with the same values, which are not copied.
func shallow[T proto.Message](x T) T {
	from := x.ProtoReflect()
	to := from.New()
	from.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		to.Set(f, v)
		return true
	})
	to.SetUnknown(from.GetUnknown())
	return to.Interface().(T)
}
