package leakcheck

import (
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	aggregatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/aggregate/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	internalupstreamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/internal_upstream/v3"
	rawbufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	upstreamhttpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/certificates"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/facts"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/places"
)

// reach returns every endpoint that a cluster can ever send to. A cluster that
// does not exist reaches nothing.
func (k *checker) reach(name string) []places.Hit {
	if out, done := k.reached[name]; done {
		return out
	}
	if k.open[name] {
		return nil // a cycle: what it reaches is being collected already
	}
	k.open[name] = true
	var out []places.Hit
	for _, c := range k.Clusters[name] {
		for _, h := range k.clusterHits(c) {
			if !slices.Contains(out, h) {
				out = append(out, h)
			}
		}
	}
	delete(k.open, name)
	if len(k.open) == 0 { // inside a cycle the answer may be partial
		k.reached[name] = out
	}
	return out
}

func (k *checker) clusterHits(c *clusterv3.Cluster) []places.Hit {
	where := named("cluster", c.GetName())
	k.Known(where, c)
	k.protocolOptions(where, c)
	var out []places.Hit
	switch d := c.GetClusterDiscoveryType().(type) {
	case *clusterv3.Cluster_ClusterType:
		var a aggregatev3.ClusterConfig
		if d.ClusterType.GetTypedConfig().UnmarshalTo(&a) != nil {
			k.Unjudged(where, "cluster type %s may reach anything", d.ClusterType.GetName())
			return []places.Hit{{Cluster: c.GetName(), Endpoint: "any"}}
		}
		for _, member := range a.GetClusters() {
			out = append(out, k.reach(member)...)
		}
		return out
	case nil: // STATIC is the default
		out = k.assigned(where, c, c.GetLoadAssignment())
	case *clusterv3.Cluster_Type:
		switch d.Type {
		case clusterv3.Cluster_STATIC, clusterv3.Cluster_STRICT_DNS, clusterv3.Cluster_LOGICAL_DNS:
			out = k.assigned(where, c, c.GetLoadAssignment())
		case clusterv3.Cluster_EDS:
			name := c.GetEdsClusterConfig().GetServiceName()
			if name == "" {
				name = c.GetName()
			}
			for _, e := range k.Endpoints[name] {
				out = append(out, k.assigned(where, c, e)...)
			}
		default:
			k.Unjudged(where, "cluster type %s sends where the request says", d.Type)
			return []places.Hit{{Cluster: c.GetName(), Endpoint: "any"}}
		}
	}
	k.transport(where, c, out)
	return out
}

func (k *checker) assigned(where string, c *clusterv3.Cluster, la *endpointv3.ClusterLoadAssignment) []places.Hit {
	k.Known(where, la)
	var out []places.Hit
	for _, group := range la.GetEndpoints() {
		k.Known(where, group)
		for _, e := range group.GetLbEndpoints() {
			k.Known(where, e)
			if e.GetEndpoint() == nil {
				k.Unjudged(where, "an endpoint without an address")
				continue
			}
			k.Known(where, e.GetEndpoint())
			addresses := []*corev3.Address{e.GetEndpoint().GetAddress()}
			for _, more := range e.GetEndpoint().GetAdditionalAddresses() {
				addresses = append(addresses, more.GetAddress())
			}
			for _, a := range addresses {
				out = append(out, k.addressHits(c.GetName(), a)...)
			}
		}
	}
	return out
}

func (k *checker) addressHits(cluster string, a *corev3.Address) []places.Hit {
	if i := a.GetEnvoyInternalAddress(); i != nil {
		var out []places.Hit
		for _, l := range k.Internal[i.GetServerListenerName()] {
			out = append(out, k.internalHits(l)...)
		}
		return out
	}
	return k.places.At(cluster, facts.AddressText(a))
}

// internalHits is what an internal listener passes on, whatever comes in.
func (k *checker) internalHits(l *listenerv3.Listener) []places.Hit {
	where := named("listener", l.GetName())
	k.listenerFields(where, l)
	first := !k.entered[l]
	k.entered[l] = true
	var out []places.Hit
	for _, chain := range facts.Chains(l) {
		k.Known(where, chain)
		if k.ended(where, chain) {
			out = append(out, places.Hit{Place: places.Place{Kind: places.Ended, Region: k.own.Name}, Endpoint: where})
			continue
		}
		for _, f := range chain.GetFilters() {
			m, err := f.GetTypedConfig().UnmarshalNew()
			switch cfg := m.(type) {
			case *tcpproxyv3.TcpProxy:
				out = append(out, k.tcpHits(where, cfg)...)
			case *hcmv3.HttpConnectionManager:
				out = append(out, k.managerHits(where, cfg, first)...)
			default:
				k.unjudgedFilter(where, f.GetName(), f.GetTypedConfig(), err)
			}
		}
	}
	return out
}

func (k *checker) tcpHits(where string, p *tcpproxyv3.TcpProxy) []places.Hit {
	k.Known(where, p)
	k.loggers(where, p.GetAccessLog())
	out := slices.Clone(k.reach(p.GetCluster()))
	for _, w := range p.GetWeightedClusters().GetClusters() {
		out = append(out, k.reach(w.GetName())...)
	}
	return out
}

// managerHits is everything that the routes of an inner connection manager lead
// to: who can reach the listener is not known there, so no route is excused. But
// where the agent says whose data it is, it is known again, and proved apart.
func (k *checker) managerHits(where string, m *hcmv3.HttpConnectionManager, first bool) []places.Hit {
	w := k.manager(where, m, innerManager)
	w.early()
	if w.agent != nil && w.agent.chooses {
		if first {
			k.resolvers[where] = append(k.resolvers[where], m)
		}
		return []places.Hit{{Place: places.Place{Kind: places.Resolver, Region: k.own.Name}, Endpoint: where}}
	}
	var out []places.Hit
	for _, rc := range w.tables {
		w.table(rc, func(s scope, routes []*routev3.Route) {
			for i, r := range routes {
				in := w.enter(s, i, r)
				for _, h := range w.actionHits(in.where, in) {
					h.Guarded = h.Guarded || w.agent != nil && w.inForce(w.agent, in)
					out = append(out, h)
				}
			}
		})
	}
	return out
}

func (k *checker) unjudgedFilter(where, name string, cfg *anypb.Any, err error) {
	if err != nil {
		k.Unjudged(where, "filter %s of type %s: %v", name, cfg.GetTypeUrl(), err)
		return
	}
	k.Unjudged(where, "filter %s of type %s is none that keeps requests where they belong", name, cfg.GetTypeUrl())
}

func (k *checker) protocolOptions(where string, c *clusterv3.Cluster) {
	for name, any := range c.GetTypedExtensionProtocolOptions() {
		var o upstreamhttpv3.HttpProtocolOptions
		if err := any.UnmarshalTo(&o); err != nil {
			k.Unjudged(where, "protocol options %s of type %s", name, any.GetTypeUrl())
			continue
		}
		k.Known(where, &o)
	}
}

// transport judges how a cluster speaks to its endpoints: a peer must prove its
// region by its certificate.
func (k *checker) transport(where string, c *clusterv3.Cluster, hits []places.Hit) {
	ts := c.GetTransportSocket()
	m, err := ts.GetTypedConfig().UnmarshalNew()
	var proved func(region string) bool
	switch cfg := m.(type) {
	case *tlsv3.UpstreamTlsContext:
		proved = func(region string) bool { return certificates.Proves(k.Algebra, cfg.GetCommonTlsContext(), region) }
	case *rawbufferv3.RawBuffer, *internalupstreamv3.InternalUpstreamTransport:
		proved = func(string) bool { return false }
	default:
		if (ts.GetTypedConfig() != nil || ts.GetName() != "") && !facts.WritesAddress(ts) {
			k.Unjudged(where, "transport socket %s of type %s (%v)", ts.GetName(), ts.GetTypedConfig().GetTypeUrl(), err)
		}
		proved = func(string) bool { return false }
	}
	for _, h := range hits {
		if h.Kind == places.Peer && h.Cluster == c.GetName() && !proved(h.Region) {
			k.Report(Finding{
				Code: PeerUnproved, Where: where, Region: h.Region, Cluster: c.GetName(), Endpoint: h.Endpoint,
				Message: "the peer gateway of " + h.Region + " is not made to prove its region by a certificate",
			})
		}
	}
}
