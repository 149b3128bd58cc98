package envoy

import (
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/domicile-dev/domicile/pkg/envoy/internal/counted"
	"github.com/domicile-dev/domicile/pkg/envoy/internal/tokens"
	"github.com/domicile-dev/domicile/pkg/envoy/internal/upstream"
	"github.com/domicile-dev/domicile/pkg/residency"
)

// observedHeader tells, where the deployment shows its headers, for what reason
// the request would have been refused. An answer that has x-domicile-reason beside
// it was refused all the same: by the agent, or because today's backend is down.
const observedHeader = "x-domicile-observed"

// observed is the route of a refusal that passes, from this entry straight to
// today's backend. It is nil where the service has none: then the refusal stands.
func (t *translation) observed(m *routev3.RouteMatch, r residency.Route, home string, why residency.Reason) *routev3.Route {
	if len(t.Topology.Today[r.Service]) == 0 {
		return nil
	}
	route := t.way(m, r, home, home, destination{
		service: r.Service, today: true, proto: protocolOf(r), counted: counted.Route(home, r.Class, why),
	})
	if t.Topology.Expose {
		route.ResponseHeadersToAdd = []*corev3.HeaderValueOption{setHeader(observedHeader, string(why)), setHeader(tokens.HomeHeader, home)}
	}
	return route
}

// todayCluster holds the backends of today for one service.
func (t *translation) todayCluster(d destination) string {
	name := d.name()
	if t.has(name) {
		return name
	}
	c := &clusterv3.Cluster{Name: name, ConnectTimeout: durationpb.New(upstream.ConnectTimeout), LbPolicy: clusterv3.Cluster_LEAST_REQUEST}
	if d.proto == http2 {
		c.TypedExtensionProtocolOptions = t.protocolOptions(http2, false)
	}
	t.setEndpoints(c, t.Topology.Today[d.service])
	t.addCluster(c)
	return name
}

// places says, in the identity of a destination's streams, where it leads: the
// country of each region, or the addresses of today's backends.
func (t *translation) places(d destination) map[string]string {
	out := map[string]string{}
	for _, name := range d.regions {
		region, _ := t.Topology.Region(name)
		out[name] = region.Country
	}
	if d.today {
		out["today"] = strings.Join(slices.Sorted(slices.Values(t.Topology.Today[d.service])), " ")
	}
	return out
}
