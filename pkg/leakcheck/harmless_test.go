package leakcheck

import (
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	jwtauthnv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	rawbufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// TestHarmless: what cannot move a request, or only closes, is no finding.
func TestHarmless(t *testing.T) {
	share := func(r *routev3.Route) *routev3.Route {
		r.Match.RuntimeFraction = &corev3.RuntimeFractionalPercent{DefaultValue: &typev3.FractionalPercent{Numerator: 50}}
		return r
	}
	for _, c := range []struct {
		name string
		plan plan
	}{
		{"missing cluster", saAction(func(a *routev3.RouteAction) {
			a.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: "nobody"}
		})},
		{"missing internal listener", inConfig(func(c *Config) { c.Listeners = c.Listeners[:2] })},
		{"missing route tables", inConfig(func(c *Config) { c.Routes = nil })},
		{"missing extension", inConfig(func(c *Config) { c.Extensions = nil })},
		{"extension denies everything", inConfig(func(c *Config) {
			m := plan{}.manager("gateway")
			deny := discovery(m).DefaultConfig
			c.Extensions[0] = &corev3.TypedExtensionConfig{Name: "jwt", TypedConfig: deny}
		})},
		{"no default for the extension", inManager(func(m *hcmv3.HttpConnectionManager) { discovery(m).DefaultConfig = nil })},
		{"token filter inline", inManager(func(m *hcmv3.HttpConnectionManager) {
			m.HttpFilters[0] = httpFilter("jwt", plan{}.tokenFilter())
		})},
		{"keys in another order of fields", inToken(func(j *jwtauthnv3.JwtAuthentication) {
			j.Providers["all"].GetLocalJwks().Specifier = &corev3.DataSource_InlineString{InlineString: ` {"keys": [{"kid":"1", "kty":"EC"}]}`}
		})},
		{"no keys at all", inToken(func(j *jwtauthnv3.JwtAuthentication) {
			j.Providers["all"].GetLocalJwks().Specifier = &corev3.DataSource_InlineString{InlineString: `{"keys":[]}`}
		})},
		{"RBAC beside the token filter", filterFirst(httpFilter("rbac", &httprbacv3.RBAC{}))},
		{"unused cluster elsewhere", inConfig(func(c *Config) { c.Clusters = append(c.Clusters, cluster("unused", "10.66.0.1:80")) })},
		{"cluster by EDS", inCluster("message@eu", func(c *clusterv3.Cluster) {
			c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS}
		})},
		{"aggregate in a circle", inConfig(func(c *Config) {
			c.Clusters = append(c.Clusters, aggregate("message@tr>eu", "message@tr>eu"))
		})},
		{"half of the streams on another route", inList("gateway", "SA", before(share(to(isSocket(), "live/SA"))))},
		{"agent asked behind an inner listener", plan{
			list: func(table, home string, r []*routev3.Route) []*routev3.Route {
				if home == "DE" {
					r[3] = to(isProfile(), "guard")
					if table == "peer" {
						from(r[3], eu, tr)
					}
				}
				return r
			},
			config: func(c *Config) { addGuard(c, false) },
		}},
		{"home map before the open branches", plan{vh: homesFirst, list: func(table, home string, r []*routev3.Route) []*routev3.Route {
			if table == "gateway" && home == "DE" { // takes the open paths as well, but they never get here
				return append(r[:5:5], to(below("/v1/login"), "peer@me-riyadh"), r[5])
			}
			return r
		}, open: func(_ string, b []branch) []branch {
			login := b[2].then.GetMatcher()
			d := deny(prefix("/"))
			d.TypedPerFilterConfig = map[string]*anypb.Any{"jwt": tokenless()}
			login.OnNoMatch, b[0].then = act(d), act(d)
			return b
		}}},
		{"redirect", inList("gateway", "SA", before(&routev3.Route{
			Match: below("/old"), Action: &routev3.Route_Redirect{Redirect: &routev3.RedirectAction{}},
		}))},
		{"denial first", inList("gateway", "SA", before(deny(prefix("/"))))},
		{"route that nothing reaches", inList("gateway", "SA", func(r []*routev3.Route) []*routev3.Route {
			return append(r, to(prefix("/"), "message@eu"))
		})},
		{"plain transport to a local backend", inCluster("message@eu", func(c *clusterv3.Cluster) {
			c.TransportSocket = socket(&rawbufferv3.RawBuffer{})
		})},
		{"gateway with TLS", inConfig(func(c *Config) { chainOf(c, "gateway").TransportSocket = socket(&tlsv3.DownstreamTlsContext{}) })},
		{"gateway on a second port", inConfig(func(c *Config) {
			c.Listeners[0].AdditionalAddresses = []*listenerv3.AdditionalAddress{{Address: address("0.0.0.0:81")}}
		})},
		{"draining endpoint weights", inCluster("message@eu", func(c *clusterv3.Cluster) {
			c.LoadAssignment.Endpoints[0].LoadBalancingWeight = wrapperspb.UInt32(1)
			c.LoadAssignment.Policy = &endpointv3.ClusterLoadAssignment_Policy{}
		})},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, f := range check(t, c.plan.build()) {
				t.Error(f)
			}
		})
	}
}

// TestNothingToJudgeBy: without a table, or for a region that is not there,
// nothing is proved.
func TestNothingToJudgeBy(t *testing.T) {
	table, err := residency.New(worldSpec())
	if err != nil {
		t.Fatal(err)
	}
	for name, found := range map[string][]Finding{
		"no table":  Check(Config{}, nil, worldTopology(), eu),
		"no region": Check(Config{}, table, worldTopology(), "mars"),
		"nowhere":   Check(Config{}, table, nil, eu),
		"no world":  Check(Config{}, table, &topology.Topology{}, eu),
	} {
		if len(found) != 1 || found[0].Code != NotJudged {
			t.Errorf("%s: %v", name, found)
		}
	}
	empty, err := residency.New(residency.Spec{})
	if err != nil {
		t.Fatal(err)
	}
	if found := Check(plan{}.build(), empty, worldTopology(), eu); len(found) == 0 {
		t.Error("the empty table allows something")
	}
	if found := Check(Config{}, table, worldTopology(), eu); len(found) != 0 {
		t.Errorf("an Envoy without configuration reaches something: %v", found)
	}
}

// TestFindingsAreDeterministic: maps and all.
func TestFindingsAreDeterministic(t *testing.T) {
	p := inConfig(func(c *Config) {
		i := 5 // message@tr>eu and everything else that can go wrong at once
		c.Clusters[i].TransportSocket = nil
		clusterNamed(c, "message@eu").LoadAssignment.Endpoints = []*endpointv3.LocalityLbEndpoints{endpoint(address("10.66.0.1:1"))}
	})
	want := check(t, p.build())
	for range 5 {
		got := check(t, p.build())
		if len(got) != len(want) {
			t.Fatalf("%d findings, then %d", len(want), len(got))
		}
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("finding %d: %v, then %v", i, want[i], got[i])
			}
		}
	}
}
