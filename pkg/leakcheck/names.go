package leakcheck

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/facts"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/names"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/places"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// byName judges a chain in which the server name chooses the cluster: everything that
// any name can choose, for it is the client who says it.
func (k *checker) byName(where string, l *listenerv3.Listener, prefix string) {
	stream, streams := names.Stream(k.top, k.own, facts.AddressText(l.GetAddress()))
	for _, cluster := range slices.Sorted(maps.Keys(k.Clusters)) {
		name, ok := strings.CutPrefix(cluster, prefix)
		if !ok {
			continue
		}
		where := join(where, "server name "+name)
		if slices.ContainsFunc(k.Clusters[cluster], func(c *clusterv3.Cluster) bool { return !facts.Inside(c) }) {
			k.Report(Finding{
				Code: Endless, Where: where, Cluster: cluster,
				Message: "connections may last for ever here, and no internal listener of their own stands behind them to be removed",
			})
		}
		k.addresses(where, cluster)
		for _, h := range k.reach(cluster) {
			switch {
			case streams:
				k.streamEnds(where, name, h, stream)
			case h.Kind == places.Ended:
				k.decrypted(where, name)
			default:
				k.passedOn(where, name, h)
			}
		}
	}
}

// addresses: a listener that believes the client's address where it stands before the
// first byte must be told it by Envoy, or clients tell it themselves.
func (k *checker) addresses(where, cluster string) {
	for _, c := range k.Clusters[cluster] {
		for _, name := range facts.InternalListeners(c) {
			for _, l := range k.Internal[name] {
				if facts.BelievesAddress(l) && !facts.WritesAddress(c.GetTransportSocket()) {
					k.Report(Finding{Code: HeaderTrust, Where: where, Cluster: cluster, Message: "clients may write the address that they come from themselves"})
				}
			}
		}
	}
}

// passedOn: a connection goes undecrypted to the gateway of the region whose host it
// names, and nowhere else.
func (k *checker) passedOn(where, name string, h places.Hit) {
	for _, r := range names.Regions(k.top, name) {
		if r.Name != k.own.Name && names.At(h.Endpoint, r.TLS) {
			return
		}
	}
	k.Report(Finding{
		Code: RegionNotAllowed, Where: where, Region: h.Region, Cluster: h.Cluster, Endpoint: h.Endpoint,
		Message: fmt.Sprintf("connections to %s are passed on to %s, which is not the gateway of that name", name, h.Endpoint),
	})
}

// streamEnds: a stream ends at the backends of the region that its name says, which
// are reached here, or through that region's gateway.
func (k *checker) streamEnds(where, name string, h places.Hit, s topology.Stream) {
	f := Finding{Code: RegionNotAllowed, Where: where, Class: s.Class, Region: h.Region, Cluster: h.Cluster, Endpoint: h.Endpoint}
	for _, r := range names.Regions(k.top, name) {
		here := r.Name == k.own.Name && names.At(h.Endpoint, r.Backends[s.Service]...)
		there := r.Name != k.own.Name && names.At(h.Endpoint, names.Door(r, s))
		if !here && !there {
			continue
		}
		d := k.table.Ends(r.Name, s.Class)
		if d.Allowed() {
			return
		}
		f.Code, f.Region, f.Message = Denied, r.Name, fmt.Sprintf("the table refuses %s by the name %s (%s), the stream is passed on", s.Class, name, d.Reason)
		k.Report(f)
		return
	}
	f.Message = fmt.Sprintf("stream %s to %s is passed on to %s, where that name's does not end", s.Name, name, h.Endpoint)
	if h.Kind == places.Ended {
		f.Message = fmt.Sprintf("stream %s to %s is decrypted here", s.Name, name)
	}
	k.Report(f)
}

// decrypted: connections to a name end here, in clear.
func (k *checker) decrypted(where, name string) {
	if name == names.None || slices.Contains(names.Own(k.own), name) {
		return
	}
	regions := names.Regions(k.top, name)
	if len(regions) == 0 {
		k.Report(Finding{Code: Decrypted, Where: where, Message: fmt.Sprintf("connections to %s are decrypted, and no region has that name", name)})
	}
	for _, r := range regions {
		if !k.table.MayDecrypt(r.Name, k.own.Name) {
			k.Report(Finding{
				Code: Decrypted, Where: where, Region: r.Name,
				Message: fmt.Sprintf("connections to %s are decrypted, and a home of that name keeps them from %s", name, k.own.Name),
			})
		}
	}
}

// terminates judges a chain that ends TLS where connections come in. Where nobody
// can pass them on, they end where they come in.
func (k *checker) terminates(where string, chain *listenerv3.FilterChain) {
	if !slices.ContainsFunc(k.top.Regions, func(r topology.Region) bool { return r.TLS != "" }) {
		return
	}
	listed := chain.GetFilterChainMatch().GetServerNames()
	for _, name := range listed {
		if strings.Contains(name, "*") {
			k.Unjudged(where, "server name %s", name)
		}
		k.decrypted(where, name)
	}
	if len(listed) > 0 {
		return
	}
	for _, r := range k.top.Regions { // a name that no other chain lists comes here
		if r.Host != "" && r.Name != k.own.Name {
			k.decrypted(where, strings.ToLower(r.Host))
		}
	}
}

// ended: an internal listener whose chain ends TLS takes connections, not requests.
// What comes out of them is anybody's.
func (k *checker) ended(where string, chain *listenerv3.FilterChain) (ends bool) {
	var tls tlsv3.DownstreamTlsContext
	if chain.GetTransportSocket().GetTypedConfig().UnmarshalTo(&tls) != nil {
		return false
	}
	if k.downstream(where, chain.GetTransportSocket()) {
		k.Unjudged(where, "peers come through an internal listener")
	}
	for _, f := range chain.GetFilters() {
		m, err := f.GetTypedConfig().UnmarshalNew()
		cfg, ok := m.(*hcmv3.HttpConnectionManager)
		if !ok {
			k.unjudgedFilter(where, f.GetName(), f.GetTypedConfig(), err)
			continue
		}
		if k.firstTime(gateway, f) {
			k.inside = append(k.inside, k.manager(where, cfg, gateway))
		}
	}
	return true
}

// firstTime tells whether a connection manager with these bytes has not been proved
// for this role: the same one may stand in many listeners.
func (k *checker) firstTime(role managerRole, f *listenerv3.Filter) bool {
	key := fmt.Sprintf("%d %s", role, f.GetTypedConfig().GetValue())
	first := !k.managed[key]
	k.managed[key] = true
	return first
}
