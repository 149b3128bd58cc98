package leakcheck_test

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/domicile-dev/domicile/pkg/envoy"
	"github.com/domicile-dev/domicile/pkg/leakcheck"
	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// TestMemoryNeverChangesTheVerdict: one Prover follows a policy and its places
// through random edits, and judges configurations of the present and of the past
// by the present table. It must say what a Prover without memory says.
func TestMemoryNeverChangesTheVerdict(t *testing.T) {
	proved, leaking := 0, 0
	warm, shared := new(leakcheck.Prover), new(envoy.Memory)
	for seed := range uint64(3) {
		r := rand.New(rand.NewPCG(seed, 11))
		spec, top := randomWorld(t, seed)
		var past []*envoy.Resources
		for range 4 {
			table := tableOf(t, spec)
			for _, node := range envoy.Nodes(top) {
				res := translatedAlike(t, envoy.Input{Table: table, Topology: top, Node: node, Memory: shared})
				past = append(past, res)
				for _, x := range []*envoy.Resources{res, past[r.IntN(len(past))]} {
					c := leakcheck.Config{Listeners: x.Listeners, Clusters: x.Clusters, Routes: x.Routes, Extensions: x.Extensions}
					cold := leakcheck.Check(c, table, top, node.Region)
					if diff := cmp.Diff(cold, warm.Check(c, table, top, node.Region)); diff != "" {
						t.Fatalf("seed %d, %s (-without memory +with):\n%s", seed, node, diff)
					}
					if len(cold) == 0 {
						proved++
					} else {
						leaking++
					}
				}
			}
			spec, top = edited(r, spec, top)
		}
	}
	if proved < 50 || leaking < 10 {
		t.Errorf("%d proved, %d leaking: too little to compare", proved, leaking)
	}
}

// edited changes one rule, and now and then who is observed, who may name a home,
// where a backend stands, or the class routes.
func edited(r *rand.Rand, spec residency.Spec, top *topology.Topology) (residency.Spec, *topology.Topology) {
	if len(spec.Rules) > 0 {
		spec.Rules = slices.Clone(spec.Rules)
		rule := &spec.Rules[r.IntN(len(spec.Rules))]
		if r.IntN(2) == 0 {
			rule.Entry = rule.Entry[:len(rule.Entry)/2]
		} else {
			rule.Serve = []string{spec.Regions[r.IntN(len(spec.Regions))].Name}
		}
	}
	switch r.IntN(6) {
	case 0:
		spec.Observed = spec.Observed[:len(spec.Observed)/2]
	case 1:
		spec.Issuers = slices.Clone(spec.Issuers)
		spec.Issuers[0].Homes = spec.Issuers[0].Homes[:1+r.IntN(len(spec.Issuers[0].Homes))]
	case 2:
		other := *top
		other.Regions = slices.Clone(top.Regions)
		region := &other.Regions[r.IntN(len(other.Regions))]
		region.Backends = map[string][]string{"message": {"10.77.0.1:80"}, "profile": {"10.77.0.2:80"}}
		return spec, &other
	case 3: // which class a request is of
		spec.Routes = slices.Clone(spec.Routes)
		slices.Reverse(spec.Routes)
	case 4: // whose data a class is, and who serves it
		spec.Routes = slices.Clone(spec.Routes)
		route := &spec.Routes[r.IntN(len(spec.Routes))]
		if route.Subject == residency.SubjectCaller && route.Match.PathTemplate == "" {
			route.Match, route.Service = residency.Match{PathPrefix: "/v2"}, "profile"
		}
	}
	return spec, top
}

// translatedAlike translates with the memory and without, which must give the
// same bytes.
func translatedAlike(t *testing.T, in envoy.Input) *envoy.Resources {
	t.Helper()
	var texts [2]string
	var out *envoy.Resources
	for i := range texts {
		res, err := envoy.Translate(in)
		if err != nil {
			t.Fatal(err)
		}
		text, err := envoy.Render(res)
		if err != nil {
			t.Fatal(err)
		}
		texts[i], in.Memory = string(text), nil
		if out == nil {
			out = res
		}
	}
	if diff := cmp.Diff(texts[1], texts[0]); diff != "" {
		t.Fatalf("%s (-without memory +with):\n%s", in.Node, diff)
	}
	return out
}

// TestMemorySeesWhatIsMadeAnew: branches that were proved come again as other
// messages with the contents of other homes', while what they pack lies where it lay.
func TestMemorySeesWhatIsMadeAnew(t *testing.T) {
	result := shippedPolicies(t)
	node := envoy.Node{Region: result.Topology.Regions[0].Name, Role: envoy.Gateway}
	c := translate(t, result.Table, result.Topology, node)
	warm := new(leakcheck.Prover)
	if found := warm.Check(c, result.Table, result.Topology, node.Region); len(found) > 0 {
		t.Fatalf("not proved: %v", found[0])
	}
	at := slices.IndexFunc(c.Routes, func(rc *routev3.RouteConfiguration) bool { return rc.GetName() == envoy.Gateway })
	homesOf := func(rc *routev3.RouteConfiguration) map[string]*xdsmatcherv3.Matcher_OnMatch {
		return rc.GetVirtualHosts()[0].GetMatcher().GetOnNoMatch().GetMatcher().GetMatcherTree().GetExactMatchMap().GetMap()
	}
	good := c.Routes[at]
	var lists []*anypb.Any
	for _, home := range slices.Sorted(maps.Keys(homesOf(good))) {
		for _, on := range homesOf(good)[home].GetMatcher().GetMatcherTree().GetExactMatchMap().GetMap() {
			lists = append(lists, on.GetAction().GetTypedConfig())
		}
	}
	leaking := 0
	for i, list := range lists {
		c.Routes = slices.Clone(c.Routes)
		c.Routes[at] = proto.CloneOf(good)
		for _, branch := range homesOf(c.Routes[at]) {
			for _, on := range branch.GetMatcher().GetMatcherTree().GetExactMatchMap().GetMap() {
				if a := on.GetAction().GetTypedConfig(); proto.Equal(a, list) {
					a.Value = lists[(i+1)%len(lists)].Value
				}
			}
		}
		cold := leakcheck.Check(c, result.Table, result.Topology, node.Region)
		if diff := cmp.Diff(cold, warm.Check(c, result.Table, result.Topology, node.Region)); diff != "" {
			t.Fatalf("list %d (-without memory +with):\n%s", i, diff)
		}
		if len(cold) > 0 {
			leaking++
		}
	}
	if leaking == 0 {
		t.Errorf("none of %d exchanges leaks", len(lists))
	}
}
