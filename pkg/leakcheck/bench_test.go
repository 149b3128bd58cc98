package leakcheck

import (
	"fmt"
	"math/rand/v2"
	"testing"

	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// large is a good configuration of 250 homes × 50 regions × 6 classes for the
// gateway (and peer) of the first region.
func large(tb testing.TB, homes, regions int) (Config, *residency.Table, *topology.Topology) {
	tb.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	spec, top := residency.Spec{Routes: worldSpec().Routes[2:]}, &topology.Topology{TrustDomain: "d.test"}
	spec.Routes = append(spec.Routes, residency.Route{
		Class: "media", Match: residency.Match{PathPrefix: "/v1/media"}, Subject: residency.SubjectCaller, Service: "message",
	})
	name := func(i int) string { return fmt.Sprintf("region-%02d", i) }
	c := Config{}
	base := plan{}.build()
	c.Listeners, c.Extensions = base.Listeners[:2], base.Extensions
	c.Clusters = []*clusterv3.Cluster{clusterNamed(&base, "agent"), cluster("message@0", "10.0.1.1:8080"), cluster("profile@0", "10.0.1.1:8081")}
	for i := range regions {
		spec.Regions = append(spec.Regions, residency.Region{Name: name(i), Country: "XX"})
		r := topology.Region{
			Name: name(i), Host: fmt.Sprintf("h%d.example.com", i), Peer: fmt.Sprintf("10.%d.0.1:8443", i), Agent: topology.DefaultAgent,
			Backends: map[string][]string{
				"message": {fmt.Sprintf("10.%d.1.1:8080", i)}, "profile": {fmt.Sprintf("10.%d.1.1:8081", i)},
			},
		}
		top.Regions = append(top.Regions, r)
		c.Clusters = append(c.Clusters, peerCluster("peer@"+name(i), name(i), r.Peer))
	}
	issuer := residency.Issuer{Issuer: idAll}
	trees := map[string]map[string]*xdsmatcherv3.Matcher_OnMatch{"gateway": {}, "peer": {}}
	for h := range homes {
		home := fmt.Sprintf("H%03d", h)
		issuer.Homes = append(issuer.Homes, home)
		serve := random.IntN(regions)
		entries := []string{name(0)}
		for i := 1; i < regions; i++ {
			if random.IntN(3) == 0 {
				entries = append(entries, name(i))
			}
		}
		for _, class := range []string{"message", "profile", "relation", "media"} {
			spec.Rules = append(spec.Rules, residency.Rule{Home: home, Class: class, Serve: []string{name(serve)}, Entry: entries})
		}
		for table, homes := range trees {
			message, profile := "peer@"+name(serve), "peer@"+name(serve)
			if serve == 0 {
				message, profile = "message@0", "profile@0"
			} else if table == "peer" {
				message, profile = "", ""
			}
			list := classes(message, message, message, profile, profile)
			if message != "" {
				list = append(list[:5:5], to(below("/v1/media"), message), list[5])
				if table == "peer" {
					for _, r := range list {
						from(r, entries...)
					}
				}
			}
			homes[home] = inner(exactMap("x-domicile-issuer", map[string]*xdsmatcherv3.Matcher_OnMatch{idAll: act(&routev3.RouteList{Routes: list})}))
		}
	}
	spec.Issuers = []residency.Issuer{issuer}
	top.Issuers = []topology.Issuer{{Issuer: idAll, HomeClaim: "home", JWKS: keys}, {Issuer: idDE, HomeClaim: "home", JWKS: keys}}
	for table, tree := range trees {
		c.Routes = append(c.Routes, &routev3.RouteConfiguration{Name: table, VirtualHosts: []*routev3.VirtualHost{{
			Name: "v", Domains: []string{"*"}, Matcher: exactMap("x-domicile-home", tree),
		}}})
	}
	t, err := residency.New(spec)
	if err != nil {
		tb.Fatal(err)
	}
	return c, t, top
}

func TestLargeConfigurationIsProved(t *testing.T) {
	c, table, top := large(t, 40, 12)
	for _, f := range Check(c, table, top, "region-00") {
		t.Error(f)
	}
}

// BenchmarkCheck is the leak check of GOALS P17 for one node.
func BenchmarkCheck(b *testing.B) {
	c, table, top := large(b, 250, 50)
	for b.Loop() {
		if found := Check(c, table, top, "region-00"); len(found) > 0 {
			b.Fatal(found[0])
		}
	}
}
