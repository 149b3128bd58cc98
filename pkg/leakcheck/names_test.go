package leakcheck_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	statev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	setv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/set_filter_state/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/domicile-dev/domicile/pkg/envoy"
	"github.com/domicile-dev/domicile/pkg/leakcheck"
	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// named is the shipped deployment where gateways pass connections on, and MQTT is a
// stream: SA's relations keep Frankfurt and Istanbul from decrypting.
func named(t *testing.T) (*residency.Table, *topology.Topology) {
	t.Helper()
	out := shippedPolicies(t)
	top := out.Topology.With(nil)
	for i := range top.Regions {
		top.Regions[i].TLS = fmt.Sprintf("10.0.%d.9:8443", i+1)
	}
	top.Streams = []topology.Stream{{Name: "mqtt", Class: "message", Service: "message", Port: 8883}}
	s := out.Table.Spec()
	s.Rules = slices.Clone(s.Rules)
	for i, r := range s.Rules {
		if r.Home != "SA" {
			s.Rules[i].Entry = []string{"eu-frankfurt", "me-riyadh", "tr-istanbul"}
		}
	}
	table, err := residency.New(s)
	if err != nil {
		t.Fatal(err)
	}
	return table, top
}

func TestTranslationByServerName(t *testing.T) {
	table, top := named(t)
	for _, node := range envoy.Nodes(top) {
		c := translate(t, table, top, node)
		for _, f := range leakcheck.Check(c, table, top, node.Region) {
			t.Errorf("%s: %s", node, f)
		}
		if node.Role != envoy.Gateway {
			continue
		}
		if inner := innerOf(c, "sni/sa.im.example.com"); node.Region != "me-riyadh" && !strings.HasPrefix(inner, "pass/sa.im.example.com/") {
			t.Errorf("%s: connections to SA's host lead to %q", node, inner)
		}
		if inner := innerOf(c, "sni/eu.im.example.com"); node.Region != "eu-frankfurt" && inner != "entry/eu.im.example.com" {
			t.Errorf("%s: connections to Frankfurt's host lead to %q", node, inner)
		}
	}
}

func clusterOf(c leakcheck.Config, name string) *clusterv3.Cluster {
	for _, x := range c.Clusters {
		if x.GetName() == name {
			return x
		}
	}
	return nil
}

func listenerOf(c leakcheck.Config, prefix string) *listenerv3.Listener {
	for _, x := range c.Listeners {
		if strings.HasPrefix(x.GetName(), prefix) {
			return x
		}
	}
	return nil
}

func address(c *clusterv3.Cluster) *corev3.Address {
	return c.GetLoadAssignment().GetEndpoints()[0].GetLbEndpoints()[0].GetEndpoint().GetAddress()
}

// innerOf is the internal listener that a cluster leads to.
func innerOf(c leakcheck.Config, cluster string) string {
	x := clusterOf(c, cluster)
	if x == nil {
		return ""
	}
	return address(x).GetEnvoyInternalAddress().GetServerListenerName()
}

func leadTo(c *clusterv3.Cluster, listener string) {
	address(c).GetEnvoyInternalAddress().AddressNameSpecifier = &corev3.EnvoyInternalAddress_ServerListenerName{ServerListenerName: listener}
}

func connectTo(c *clusterv3.Cluster, host string, port uint32) {
	address(c).Address = &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}
	c.TransportSocket = nil
}

// change unpacks the configuration of a filter, changes it and packs it again.
func change[T proto.Message](t *testing.T, f *listenerv3.Filter, m T, do func(T)) {
	t.Helper()
	if err := f.GetTypedConfig().UnmarshalTo(m); err != nil {
		t.Fatal(err)
	}
	do(m)
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	f.ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: a}
}

// TestLeaksByServerName plants one way out at a time into the configuration of
// Frankfurt's gateway. Each must be found, by its own code.
func TestLeaksByServerName(t *testing.T) {
	const sa, stream = "sni/sa.im.example.com", "stream/mqtt/sa.im.example.com"
	elsewhere := func(t *testing.T, c leakcheck.Config, do func(*setv3.Config)) {
		change(t, listenerOf(c, "gateway_tls").GetDefaultFilterChain().GetFilters()[0], &setv3.Config{}, do)
	}
	terminating := func(c leakcheck.Config) *listenerv3.FilterChain {
		return listenerOf(c, "gateway_tls").GetFilterChains()[0]
	}
	for name, l := range map[string]struct {
		code  string
		plant func(*testing.T, *leakcheck.Config)
	}{
		"passed on to another region's gateway": {leakcheck.RegionNotAllowed, func(_ *testing.T, c *leakcheck.Config) {
			connectTo(clusterOf(*c, "to/"+innerOf(*c, sa)), "10.0.3.9", 8443)
		}},
		"passed on to itself, for ever": {leakcheck.RegionNotAllowed, func(_ *testing.T, c *leakcheck.Config) {
			leadTo(clusterOf(*c, "sni/tr.im.example.com"), innerOf(*c, sa))
			connectTo(clusterOf(*c, "to/"+innerOf(*c, sa)), "10.0.1.9", 8443)
		}},
		"passed on to a backend": {leakcheck.RegionNotAllowed, func(_ *testing.T, c *leakcheck.Config) {
			connectTo(clusterOf(*c, "to/"+innerOf(*c, sa)), "10.1.1.1", 8080)
		}},
		"decrypted like a name that may be": {leakcheck.Decrypted, func(_ *testing.T, c *leakcheck.Config) {
			leadTo(clusterOf(*c, sa), "entry/-")
		}},
		"no internal listener to be removed": {leakcheck.Endless, func(_ *testing.T, c *leakcheck.Config) {
			connectTo(clusterOf(*c, sa), "10.0.2.9", 8443)
		}},
		"a name that no region has is passed on": {leakcheck.RegionNotAllowed, func(_ *testing.T, c *leakcheck.Config) {
			x := proto.Clone(clusterOf(*c, sa)).(*clusterv3.Cluster)
			x.Name = "sni/sa.im.example.com."
			c.Clusters = append(c.Clusters, x)
		}},
		"a name that no region has is decrypted": {leakcheck.Decrypted, func(_ *testing.T, c *leakcheck.Config) {
			x := proto.Clone(clusterOf(*c, "sni/-")).(*clusterv3.Cluster)
			x.Name = "sni/sa.im.example.com."
			c.Clusters = append(c.Clusters, x)
		}},
		"SA's name among one's own": {leakcheck.Decrypted, func(_ *testing.T, c *leakcheck.Config) {
			m := terminating(*c).GetFilterChainMatch()
			m.ServerNames = append(m.ServerNames, "sa.im.example.com")
		}},
		"a name with a dot among one's own": {leakcheck.Decrypted, func(_ *testing.T, c *leakcheck.Config) {
			m := terminating(*c).GetFilterChainMatch()
			m.ServerNames = append(m.ServerNames, "sa.im.example.com.")
		}},
		"all names": {leakcheck.Decrypted, func(_ *testing.T, c *leakcheck.Config) {
			terminating(*c).FilterChainMatch = nil
		}},
		"names by a pattern": {leakcheck.NotJudged, func(_ *testing.T, c *leakcheck.Config) {
			terminating(*c).GetFilterChainMatch().ServerNames = []string{"*.im.example.com"}
		}},
		"chains by a matcher": {leakcheck.NotJudged, func(_ *testing.T, c *leakcheck.Config) {
			listenerOf(*c, "gateway_tls").FilterChainMatcher = &xdsmatcherv3.Matcher{}
		}},
		"clusters of any name": {leakcheck.NotJudged, func(t *testing.T, c *leakcheck.Config) {
			elsewhere(t, *c, func(s *setv3.Config) {
				s.GetOnNewConnection()[0].GetFormatString().GetTextFormatSource().Specifier = &corev3.DataSource_InlineString{InlineString: "%REQUESTED_SERVER_NAME%"}
			})
		}},
		"a name that says something else": {leakcheck.NotJudged, func(t *testing.T, c *leakcheck.Config) {
			elsewhere(t, *c, func(s *setv3.Config) {
				s.GetOnNewConnection()[0].GetFormatString().GetTextFormatSource().Specifier = &corev3.DataSource_InlineString{InlineString: "sni/%DOWNSTREAM_REMOTE_ADDRESS%"}
			})
		}},
		"the choice is shared with the inner listener": {leakcheck.NotJudged, func(t *testing.T, c *leakcheck.Config) {
			elsewhere(t, *c, func(s *setv3.Config) {
				s.GetOnNewConnection()[0].SharedWithUpstream = statev3.FilterStateValue_ONCE
			})
		}},
		"a choice after the handshake": {leakcheck.NotJudged, func(t *testing.T, c *leakcheck.Config) {
			elsewhere(t, *c, func(s *setv3.Config) { s.OnDownstreamTlsHandshake = s.GetOnNewConnection() })
		}},
		"a cluster for those whom no name helps": {leakcheck.NoHome, func(t *testing.T, c *leakcheck.Config) {
			change(t, listenerOf(*c, "gateway_tls").GetDefaultFilterChain().GetFilters()[1], &tcpproxyv3.TcpProxy{}, func(p *tcpproxyv3.TcpProxy) {
				p.ClusterSpecifier = &tcpproxyv3.TcpProxy_Cluster{Cluster: sa}
			})
		}},
		"requests without a token, behind a name": {leakcheck.TokenUnproved, func(t *testing.T, c *leakcheck.Config) {
			change(t, listenerOf(*c, "entry/tr").GetFilterChains()[0].GetFilters()[0], &hcmv3.HttpConnectionManager{}, func(m *hcmv3.HttpConnectionManager) {
				m.HttpFilters = m.GetHttpFilters()[1:]
			})
		}},
		"decrypted, and passed on as bytes": {leakcheck.NotJudged, func(_ *testing.T, c *leakcheck.Config) {
			listenerOf(*c, "entry/tr").GetFilterChains()[0].Filters = listenerOf(*c, "pass/sa").GetFilterChains()[0].GetFilters()
		}},
		"clients write their own address": {leakcheck.HeaderTrust, func(_ *testing.T, c *leakcheck.Config) {
			clusterOf(*c, "sni/tr.im.example.com").TransportSocket = clusterOf(*c, sa).GetTransportSocket()
		}},
		"a stream to another region's backends": {leakcheck.RegionNotAllowed, func(_ *testing.T, c *leakcheck.Config) {
			connectTo(clusterOf(*c, "to/"+innerOf(*c, stream)), "10.2.1.1", 8080)
		}},
		"a stream to one's own backends": {leakcheck.RegionNotAllowed, func(_ *testing.T, c *leakcheck.Config) {
			leadTo(clusterOf(*c, stream), innerOf(*c, "stream/mqtt/eu.im.example.com"))
		}},
		"a stream to a door for connections": {leakcheck.RegionNotAllowed, func(_ *testing.T, c *leakcheck.Config) {
			connectTo(clusterOf(*c, "to/"+innerOf(*c, stream)), "10.0.2.9", 8443)
		}},
		"a stream that is decrypted": {leakcheck.RegionNotAllowed, func(_ *testing.T, c *leakcheck.Config) {
			leadTo(clusterOf(*c, "stream/mqtt/eu.im.example.com"), "entry/-")
		}},
		"a stream without a name": {leakcheck.RegionNotAllowed, func(_ *testing.T, c *leakcheck.Config) {
			x := proto.Clone(clusterOf(*c, "stream/mqtt/eu.im.example.com")).(*clusterv3.Cluster)
			x.Name = "stream/mqtt/-"
			c.Clusters = append(c.Clusters, x)
		}},
		"a stream that nothing can end": {leakcheck.Endless, func(_ *testing.T, c *leakcheck.Config) {
			connectTo(clusterOf(*c, stream), "10.0.2.9", 8883)
		}},
		"connections go where streams go": {leakcheck.RegionNotAllowed, func(_ *testing.T, c *leakcheck.Config) {
			leadTo(clusterOf(*c, sa), innerOf(*c, stream))
		}},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			table, top := named(t)
			c := translate(t, table, top, envoy.Node{Region: "eu-frankfurt", Role: envoy.Gateway})
			l.plant(t, &c)
			found := leakcheck.Check(c, table, top, "eu-frankfurt")
			if !slices.ContainsFunc(found, func(f leakcheck.Finding) bool { return f.Code == l.code }) {
				t.Errorf("no finding %s: %v", l.code, found)
			}
		})
	}
}

// TestNamesUnderAnotherPolicy: the same configuration under a policy that takes a
// permission away.
func TestNamesUnderAnotherPolicy(t *testing.T) {
	table, top := named(t)
	c := translate(t, table, top, envoy.Node{Region: "eu-frankfurt", Role: envoy.Gateway})
	warm := new(leakcheck.Prover)
	for name, l := range map[string]struct {
		code string
		turn func(*residency.Rule)
	}{
		"TR keeps one class to itself": {leakcheck.Decrypted, func(r *residency.Rule) {
			if r.Home == "TR" && r.Class == "presence" {
				r.Entry = []string{"tr-istanbul"}
			}
		}},
		"messages of SA are braked": {leakcheck.Denied, func(r *residency.Rule) {
			if r.Home == "SA" && r.Class == "message" {
				r.Stopped, r.Serve, r.Braked = r.Serve, nil, true
			}
		}},
	} {
		s := table.Spec()
		s.Rules = slices.Clone(s.Rules)
		for i := range s.Rules {
			l.turn(&s.Rules[i])
		}
		strict, err := residency.New(s)
		if err != nil {
			t.Fatal(err)
		}
		found := leakcheck.Check(c, strict, top, "eu-frankfurt")
		if good := warm.Check(c, table, top, "eu-frankfurt"); len(good) > 0 {
			t.Fatalf("%s: not good before: %v", name, good[0])
		}
		if diff := cmp.Diff(found, warm.Check(c, strict, top, "eu-frankfurt")); diff != "" {
			t.Errorf("%s (-without memory +with):\n%s", name, diff)
		}
		if !slices.ContainsFunc(found, func(f leakcheck.Finding) bool {
			return f.Code == l.code && strings.Contains(f.Where, "server name")
		}) {
			t.Errorf("%s: no finding %s: %v", name, l.code, found)
		}
	}
}
