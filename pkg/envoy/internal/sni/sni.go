// Package sni makes what a gateway does by the server name that TLS shows in clear:
// connections to another region's host are passed on undecrypted where the policy
// keeps them from being decrypted here, and streams over TCP reach the region that
// their name says. It is pure.
//
// The listeners hold nothing of the policy. Their chain makes a cluster's name of the
// server name, and only CDS says which names there are: a name that is taken away
// has no cluster, and its connections are reset. It must not fall through to a chain
// that decrypts, as it would where chains list the names of others.
//
// Every way leads through an internal listener of its own, named by its destination,
// so that removing it closes exactly the connections that lost their permission.
package sni

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	statev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	proxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/proxy_protocol/v3"
	inspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	setv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/set_filter_state/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	writev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/proxy_protocol/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/domicile-dev/domicile/pkg/envoy/internal/address"
	"github.com/domicile-dev/domicile/pkg/envoy/internal/inner"
	"github.com/domicile-dev/domicile/pkg/envoy/internal/packing"
	"github.com/domicile-dev/domicile/pkg/envoy/internal/upstream"
	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/topology"
)

const (
	// passing begins the names of the clusters that a gateway's server names choose.
	// A client says the rest of it, so nothing else may be named like that.
	passing = "sni/"
	// nameless is what Envoy writes for a connection that shows no server name.
	nameless = "-"
	nowhere  = "sni" // a cluster that does not exist
	idle     = time.Hour
)

// Gateway is one region's, with all that decides where a server name leads.
type Gateway struct {
	*packing.Packer
	// Tables are those in force and, during a roll-out, on their way: a connection is
	// decrypted here, or a stream passed on, only where all of them allow it.
	Tables   []*residency.Table
	Topology *topology.Topology
	Region   topology.Region
}

// Ways are the clusters that server names choose, and the internal listeners behind
// them.
type Ways struct {
	Clusters  []*clusterv3.Cluster
	Listeners []*listenerv3.Listener
}

// Passes tells whether the gateways of a deployment pass connections on: where none
// has an address for it, every connection ends where it comes in.
func (g Gateway) Passes() bool {
	return slices.ContainsFunc(g.Topology.Regions, func(r topology.Region) bool { return r.TLS != "" })
}

// Listen makes a listener that ends TLS do so for this region's own names only, and
// pass on all others.
func (g Gateway) Listen(l *listenerv3.Listener) {
	l.ListenerFilters = []*listenerv3.ListenerFilter{g.inspector()}
	l.DefaultFilterChain = g.byName(passing, "sni")
	if own := g.ownNames(); len(own) > 0 {
		l.FilterChains[0].FilterChainMatch = &listenerv3.FilterChainMatch{ServerNames: own}
	} else {
		l.FilterChains = nil
	}
}

// ownNames are those that can stand in a server name: no addresses.
func (g Gateway) ownNames() []string {
	var out []string
	for _, name := range append([]string{g.Region.Host}, g.Region.Aliases...) {
		if _, err := netip.ParseAddr(name); err != nil && name != "" && !strings.ContainsAny(name, ":*") {
			out = append(out, strings.ToLower(name))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (g Gateway) inspector() *listenerv3.ListenerFilter {
	return &listenerv3.ListenerFilter{Name: "envoy.filters.listener.tls_inspector", ConfigType: &listenerv3.ListenerFilter_TypedConfig{
		TypedConfig: g.Pack(&inspectorv3.TlsInspector{}),
	}}
}

// byName passes a connection to the cluster that its server name completes.
func (g Gateway) byName(prefix, stat string) *listenerv3.FilterChain {
	choose := &setv3.Config{OnNewConnection: []*statev3.FilterStateValue{{
		Key: &statev3.FilterStateValue_ObjectKey{ObjectKey: "envoy.tcp_proxy.cluster"},
		Value: &statev3.FilterStateValue_FormatString{FormatString: &corev3.SubstitutionFormatString{
			Format: &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: &corev3.DataSource{
				Specifier: &corev3.DataSource_InlineString{InlineString: prefix + "%REQUESTED_SERVER_NAME%"},
			}},
		}},
	}}}
	return &listenerv3.FilterChain{Name: "elsewhere", Filters: []*listenerv3.Filter{
		g.filter("name", choose), g.filter("tcp", g.pass(stat, nowhere)),
	}}
}

func (g Gateway) filter(name string, config proto.Message) *listenerv3.Filter {
	return &listenerv3.Filter{Name: name, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: g.Pack(config)}}
}

func (g Gateway) pass(stat, cluster string) *tcpproxyv3.TcpProxy {
	return &tcpproxyv3.TcpProxy{
		StatPrefix: stat, ClusterSpecifier: &tcpproxyv3.TcpProxy_Cluster{Cluster: cluster}, IdleTimeout: durationpb.New(idle),
	}
}

// Connections are the ways of the connections that Listen's listener passes on. Those
// that may be decrypted here end at terminate, a chain that ends TLS.
func (g Gateway) Connections(terminate *listenerv3.FilterChain) Ways {
	var w Ways
	w.here(g, nameless, terminate)
	for _, r := range g.Topology.Regions {
		host := strings.ToLower(r.Host)
		switch {
		case host == "" || r.Name == g.Region.Name || slices.Contains(g.ownNames(), host):
		case g.mayDecrypt(r.Name):
			w.here(g, host, terminate)
		case r.TLS != "":
			w.away(g, passing+host, "pass/"+host, r, r.TLS)
		}
	}
	return w
}

func (g Gateway) mayDecrypt(host string) bool {
	return !slices.ContainsFunc(g.Tables, func(t *residency.Table) bool { return !t.MayDecrypt(host, g.Region.Name) })
}

// here ends the connections of a name in an internal listener of their own. The
// client's address travels before the first byte: the listener would not know it.
func (w *Ways) here(g Gateway, name string, terminate *listenerv3.FilterChain) {
	l := inner.Chain("entry/"+name, proto.Clone(terminate).(*listenerv3.FilterChain))
	l.ListenerFilters = []*listenerv3.ListenerFilter{{
		Name: "envoy.filters.listener.proxy_protocol", ConfigType: &listenerv3.ListenerFilter_TypedConfig{
			TypedConfig: g.Pack(&proxyv3.ProxyProtocol{}),
		},
	}}
	c := inner.Stream(g.Packer, passing+name, l.GetName())
	c.TransportSocket = &corev3.TransportSocket{
		Name: "envoy.transport_sockets.upstream_proxy_protocol",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: g.Pack(&writev3.ProxyProtocolUpstreamTransport{
			Config:          &corev3.ProxyProtocolConfig{Version: corev3.ProxyProtocolConfig_V2},
			TransportSocket: c.GetTransportSocket(),
		})},
	}
	w.Clusters, w.Listeners = append(w.Clusters, c), append(w.Listeners, l)
}

// away passes bytes to addresses in a region, through an internal listener that is
// named by both.
func (w *Ways) away(g Gateway, cluster, listener string, r topology.Region, addresses ...string) {
	addresses = slices.Sorted(slices.Values(addresses))
	sum := sha256.Sum256([]byte(strings.Join(append([]string{r.Name, r.Country}, addresses...), "\x00")))
	listener += "/" + hex.EncodeToString(sum[:4])
	to := &clusterv3.Cluster{Name: "to/" + listener, ConnectTimeout: durationpb.New(2 * time.Second), LbPolicy: clusterv3.Cluster_LEAST_REQUEST}
	if err := upstream.SetEndpoints(to, addresses); err != nil {
		g.Fail(err)
	}
	w.Clusters = append(w.Clusters, inner.Stream(g.Packer, cluster, listener), to)
	w.Listeners = append(w.Listeners, inner.Listener(listener, "tcp", g.Pack(g.pass("sni", to.GetName()))))
}

// Streams are the services over TCP: a listener each, and a way for each name that a
// home of the stream's class answers to.
func (g Gateway) Streams() Ways {
	var w Ways
	for _, s := range g.Topology.Streams {
		prefix := "stream/" + s.Name + "/"
		a, _, err := address.Socket(g.listen(s))
		if err != nil {
			g.Fail(err)
		}
		w.Listeners = append(w.Listeners, &listenerv3.Listener{
			Name: "stream_" + s.Name, Address: a, ListenerFilters: []*listenerv3.ListenerFilter{g.inspector()},
			FilterChains: []*listenerv3.FilterChain{g.byName(prefix, "stream_"+s.Name)},
		})
		for _, r := range g.Topology.Regions {
			host := strings.ToLower(r.Host)
			if host == "" || !g.ends(r.Name, s.Class) {
				continue
			}
			if at := g.stream(r, s); len(at) > 0 {
				w.away(g, prefix+host, "flow/"+s.Name+"/"+host, r, at...)
			}
		}
	}
	return w
}

func (g Gateway) ends(host, class string) bool {
	return !slices.ContainsFunc(g.Tables, func(t *residency.Table) bool { return !t.Ends(host, class).Allowed() })
}

// listen is where this region's gateway takes a stream.
func (g Gateway) listen(s topology.Stream) string {
	if at := g.Region.Listen.Streams[s.Name]; at != "" {
		return at
	}
	return "0.0.0.0:" + strconv.Itoa(s.Port)
}

// stream is where a stream of a region ends: at its backends here, at its gateway
// elsewhere. None where there is no way.
func (g Gateway) stream(r topology.Region, s topology.Stream) []string {
	switch {
	case r.Name == g.Region.Name:
		return r.Backends[s.Service]
	case r.TLS == "":
		return nil
	}
	if at := r.Listen.Streams[s.Name]; at != "" { // a stand-in
		return []string{at}
	}
	host := r.TLS[:strings.LastIndexByte(r.TLS, ':')+1] // with brackets and colon
	return []string{host + strconv.Itoa(s.Port)}
}
