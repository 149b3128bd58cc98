package envoy

import (
	"fmt"
	"regexp"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	aggregatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/aggregate/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/domicile-dev/domicile/pkg/envoy/internal/address"
	"github.com/domicile-dev/domicile/pkg/envoy/internal/mutual"
	"github.com/domicile-dev/domicile/pkg/envoy/internal/upstream"
)

// protocol is what is spoken towards a backend, and along the whole way of a
// long-lived stream: HTTP/1.1 for WebSocket and the like, HTTP/2 for gRPC.
type protocol string

const (
	http1 protocol = ""
	http2 protocol = "+h2"
)

const (
	// healthPath is where a peer answers whether a service has a live backend in
	// its region. It is not reachable by users.
	healthPath = "/.domicile/health/"
)

// Secrets of the bootstrap: certificates never travel by xDS.
const (
	publicSecret = "domicile_public" // what users see
)

// destination is where a rule sends: a service, in the first region of an
// ordered list that can serve.
type destination struct {
	service string
	regions []string
	today   bool // to where the service was served before Domicile, not to any region
	proto   protocol
	counted string // name under which what gets there counts; "" for none
}

// name is the cluster's name and the identity of the destination:
// SERVICE@REGION, SERVICE@A>B for a list, or today/SERVICE.
func (d destination) name() string {
	if d.today {
		return "today/" + d.service + string(d.proto)
	}
	return d.service + "@" + strings.Join(d.regions, ">") + string(d.proto)
}

// route asks for the cluster that a route of short requests uses and returns
// its name. Everything towards another region goes to its peer, over HTTP/2.
func (t *translation) routeCluster(d destination) string {
	if d.today {
		return t.todayCluster(d)
	}
	if len(d.regions) == 1 {
		if d.regions[0] == t.region.Name {
			return t.localCluster(d.service, d.proto, false)
		}
		return t.peerCluster(d.regions[0], "", http2)
	}
	return t.listCluster(d, http2)
}

// streamCluster asks for the cluster behind an internal listener: the bytes of
// one protocol pass to a backend or a peer as they are.
func (t *translation) streamCluster(d destination) string {
	if d.today {
		return t.todayCluster(d)
	}
	if len(d.regions) == 1 {
		if d.regions[0] == t.region.Name {
			return t.localCluster(d.service, d.proto, false)
		}
		return t.peerCluster(d.regions[0], "", d.proto)
	}
	return t.listCluster(d, d.proto)
}

// listCluster is one cluster per service and ordered list of regions: an
// aggregate, whose members are health-checked, first healthy one in order.
func (t *translation) listCluster(d destination, peerProto protocol) string {
	name := d.name()
	if peerProto == http1 {
		name += "+h1"
	}
	if t.has(name) {
		return name
	}
	var members []string
	for _, r := range d.regions {
		if r == t.region.Name {
			members = append(members, t.localCluster(d.service, d.proto, true))
		} else {
			members = append(members, t.peerCluster(r, d.service, peerProto))
		}
	}
	t.addCluster(&clusterv3.Cluster{
		Name:           name,
		ConnectTimeout: durationpb.New(upstream.ConnectTimeout),
		LbPolicy:       clusterv3.Cluster_CLUSTER_PROVIDED,
		ClusterDiscoveryType: &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{
			Name:        "envoy.clusters.aggregate",
			TypedConfig: t.Pack(&aggregatev3.ClusterConfig{Clusters: members}),
		}},
	})
	return name
}

// localCluster holds this region's backends of a service. Checked clusters are
// members of a list: only there is somewhere else to go.
func (t *translation) localCluster(service string, p protocol, checked bool) string {
	c := &clusterv3.Cluster{
		Name:           service + "@" + t.region.Name + string(p),
		ConnectTimeout: durationpb.New(upstream.ConnectTimeout),
		LbPolicy:       clusterv3.Cluster_LEAST_REQUEST,
	}
	if checked {
		c.Name += "?checked"
		c.HealthChecks = []*corev3.HealthCheck{upstream.TCPCheck()}
	}
	if t.has(c.Name) {
		return c.Name
	}
	if p == http2 {
		c.TypedExtensionProtocolOptions = t.protocolOptions(http2, false)
	}
	t.setEndpoints(c, t.region.Backends[service])
	t.addCluster(c)
	return c.Name
}

// peerCluster leads to another region's peer gateway: mTLS, and only that
// region's certificate will do. A service makes it a health-checked member of a
// list for that service.
func (t *translation) peerCluster(region, service string, p protocol) string {
	to, _ := t.Topology.Region(region)
	c := &clusterv3.Cluster{
		Name:           "peer@" + region,
		ConnectTimeout: durationpb.New(upstream.ConnectTimeout),
		LbPolicy:       clusterv3.Cluster_LEAST_REQUEST,
	}
	alpn := "h2"
	if p == http1 {
		c.Name += "+h1"
		alpn = "http/1.1"
	}
	if service != "" {
		c.Name += "?" + service
		c.HealthChecks = []*corev3.HealthCheck{upstream.HTTPCheck("peer", healthPath+service, p == http2)}
	}
	if t.has(c.Name) {
		return c.Name
	}
	c.TypedExtensionProtocolOptions = t.protocolOptions(p, true)
	c.TransportSocket = &corev3.TransportSocket{
		Name: "envoy.transport_sockets.tls",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: t.Pack(&tlsv3.UpstreamTlsContext{
			Sni:              address.Host(to.Peer),
			CommonTlsContext: mutual.TLS([]string{alpn}, t.sanOf(regexp.QuoteMeta(region), Gateway, Peer)),
		})},
	}
	t.setEndpoints(c, []string{to.Peer})
	t.addCluster(c)
	return c.Name
}

// agentName is the cluster of the agent beside this Envoy.
const agentName = "agent"

// agentCluster is the agent beside this Envoy.
func (t *translation) agentCluster() *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                          agentName,
		ConnectTimeout:                durationpb.New(upstream.ConnectTimeout),
		ClusterDiscoveryType:          &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		TypedExtensionProtocolOptions: t.protocolOptions(http2, false),
		LoadAssignment: upstream.Assignment(agentName, &corev3.Address{Address: &corev3.Address_Pipe{
			Pipe: &corev3.Pipe{Path: t.region.Agent},
		}}),
	}
}

func (t *translation) protocolOptions(p protocol, connect bool) map[string]*anypb.Any {
	return upstream.Options(t.Packer, p == http2, connect)
}

// sanOf accepts the SPIFFE identities of the given roles in the regions that
// the regular expression names.
func (t *translation) sanOf(regions string, roles ...string) *tlsv3.SubjectAltNameMatcher {
	return mutual.SAN(t.sanRegex(regions, roles...))
}

func (t *translation) sanRegex(regions string, roles ...string) string {
	return mutual.Regex(t.Topology.TrustDomain, regions, roles...)
}

func (t *translation) setEndpoints(c *clusterv3.Cluster, hostPorts []string) {
	if err := upstream.SetEndpoints(c, hostPorts); err != nil {
		t.Fail(fmt.Errorf("cluster %s: %w", c.GetName(), err))
	}
}
