package envoy

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	aggregatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/aggregate/v3"
	internalupstreamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/internal_upstream/v3"
	rawv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	upstreamhttpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/domicile-dev/domicile/pkg/envoy/internal/address"
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
	connectTimeout = 2 * time.Second
	// healthPath is where a peer answers whether a service has a live backend in
	// its region. It is not reachable by users.
	healthPath = "/.domicile/health/"
)

// Secrets of the bootstrap: certificates never travel by xDS.
const (
	nodeSecret   = "domicile_node"   // this Envoy's own identity
	caSecret     = "domicile_ca"     // who may be a peer
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
		ConnectTimeout: durationpb.New(connectTimeout),
		LbPolicy:       clusterv3.Cluster_CLUSTER_PROVIDED,
		ClusterDiscoveryType: &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{
			Name:        "envoy.clusters.aggregate",
			TypedConfig: t.pack(&aggregatev3.ClusterConfig{Clusters: members}),
		}},
	})
	return name
}

// localCluster holds this region's backends of a service. Checked clusters are
// members of a list: only there is somewhere else to go.
func (t *translation) localCluster(service string, p protocol, checked bool) string {
	c := &clusterv3.Cluster{
		Name:           service + "@" + t.region.Name + string(p),
		ConnectTimeout: durationpb.New(connectTimeout),
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
		ConnectTimeout: durationpb.New(connectTimeout),
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
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: t.pack(&tlsv3.UpstreamTlsContext{
			Sni:              address.Host(to.Peer),
			CommonTlsContext: t.mutualTLS([]string{alpn}, t.sanOf(regexp.QuoteMeta(region), Gateway, Peer)),
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
		ConnectTimeout:                durationpb.New(connectTimeout),
		ClusterDiscoveryType:          &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		TypedExtensionProtocolOptions: t.protocolOptions(http2, false),
		LoadAssignment: upstream.Assignment(agentName, &corev3.Address{Address: &corev3.Address_Pipe{
			Pipe: &corev3.Pipe{Path: t.region.Agent},
		}}),
	}
}

// internalCluster leads to an internal listener of the same name.
func (t *translation) internalCluster(name string, p protocol) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                          name,
		ConnectTimeout:                durationpb.New(connectTimeout),
		ClusterDiscoveryType:          &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		TypedExtensionProtocolOptions: t.protocolOptions(p, false),
		LoadAssignment: upstream.Assignment(name, &corev3.Address{Address: &corev3.Address_EnvoyInternalAddress{
			EnvoyInternalAddress: &corev3.EnvoyInternalAddress{
				AddressNameSpecifier: &corev3.EnvoyInternalAddress_ServerListenerName{ServerListenerName: name},
			},
		}}),
		TransportSocket: &corev3.TransportSocket{
			Name: "envoy.transport_sockets.internal_upstream",
			ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: t.pack(&internalupstreamv3.InternalUpstreamTransport{
				TransportSocket: &corev3.TransportSocket{
					Name:       "envoy.transport_sockets.raw_buffer",
					ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: t.pack(&rawv3.RawBuffer{})},
				},
			})},
		},
	}
}

func (t *translation) protocolOptions(p protocol, connect bool) map[string]*anypb.Any {
	explicit := &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig{}
	if p == http2 {
		o := &corev3.Http2ProtocolOptions{AllowConnect: connect}
		if connect {
			o.ConnectionKeepalive = &corev3.KeepaliveSettings{
				Interval: durationpb.New(10 * time.Second), Timeout: durationpb.New(5 * time.Second),
			}
		}
		explicit.ProtocolConfig = &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: o}
	} else {
		explicit.ProtocolConfig = &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{
			HttpProtocolOptions: &corev3.Http1ProtocolOptions{},
		}
	}
	return map[string]*anypb.Any{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": t.pack(&upstreamhttpv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: explicit},
	})}
}

// mutualTLS presents this Envoy's identity and accepts the SANs given.
func (t *translation) mutualTLS(alpn []string, san *tlsv3.SubjectAltNameMatcher) *tlsv3.CommonTlsContext {
	return &tlsv3.CommonTlsContext{
		AlpnProtocols:                  alpn,
		TlsParams:                      &tlsv3.TlsParameters{TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_3, TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3},
		TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{{Name: nodeSecret}},
		ValidationContextType: &tlsv3.CommonTlsContext_CombinedValidationContext{
			CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
				DefaultValidationContext: &tlsv3.CertificateValidationContext{
					MatchTypedSubjectAltNames: []*tlsv3.SubjectAltNameMatcher{san},
				},
				ValidationContextSdsSecretConfig: &tlsv3.SdsSecretConfig{Name: caSecret},
			},
		},
	}
}

// sanOf accepts the SPIFFE identities of the given roles in the regions that
// the regular expression names.
func (t *translation) sanOf(regions string, roles ...string) *tlsv3.SubjectAltNameMatcher {
	return &tlsv3.SubjectAltNameMatcher{
		SanType: tlsv3.SubjectAltNameMatcher_URI,
		Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{
			Regex: t.sanRegex(regions, roles...),
		}}},
	}
}

func (t *translation) sanRegex(regions string, roles ...string) string {
	return fmt.Sprintf("spiffe://%s/%s/(?:%s)/[^/]+", regexp.QuoteMeta(t.Topology.TrustDomain), regions, strings.Join(roles, "|"))
}

func (t *translation) setEndpoints(c *clusterv3.Cluster, hostPorts []string) {
	if err := upstream.SetEndpoints(c, hostPorts); err != nil {
		t.fail(fmt.Errorf("cluster %s: %w", c.GetName(), err))
	}
}
