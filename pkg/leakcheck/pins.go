package leakcheck

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/places"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// caller is the home that governs: the token's, or where it names none, the pin's.
func (s scope) caller() string { return cmp.Or(s.Home, s.PinHome) }

// provePin: a pin says a home only where no token does, for the token beside it,
// until its home's epoch changes, and if its issuer may.
func (w *managerWalk) provePin(r routeIn, f Finding) {
	w.proveIssuer(r.PinIssuer, r.PinHome, f)
	f.Code = PinUnproved
	want := strconv.FormatUint(w.checker.table.Epoch(r.PinHome), 10)
	bound := slices.ContainsFunc(w.top.Issuers, func(i topology.Issuer) bool {
		return i.Issuer == r.PinIssuer && slices.ContainsFunc(i.EnvoySources(), func(s topology.TokenSource) bool { return s.Header != "" && s.Header == r.Bound })
	})
	for _, no := range []struct {
		wrong   bool
		message string
	}{
		{w.top.Pins == nil, "the deployment has no pins"},
		{r.PinEpoch != want, fmt.Sprintf("pins of epoch %q count, the home's is %s", r.PinEpoch, want)},
		{!bound, "a pin counts beside another token than the one that it was issued for"},
		{!r.Homeless, "a pin counts although the token may name another home"},
	} {
		if no.wrong {
			f.Message = no.message
			w.Report(f)
		}
	}
}

// resolved takes out what is proved in the listener where the agent says whose
// data it is.
func (w *managerWalk) resolved(r routeIn, hits []places.Hit) []places.Hit {
	var out []places.Hit
	for _, h := range hits {
		switch {
		case h.Kind != places.Resolver:
			out = append(out, h)
		case w.role == peerGateway:
			w.Report(Finding{
				Code: Onward, Where: r.where, Region: h.Region, Cluster: h.Cluster, Endpoint: h.Endpoint,
				Message: "a peer serves those whose home is known, and asks nobody",
			})
		}
	}
	if len(out) > 0 && w.role == resolver && (w.agent == nil || !w.inForce(w.agent, r)) {
		w.Report(Finding{
			Code: AgentBypassed, Where: r.where, Region: out[0].Region, Cluster: out[0].Cluster, Endpoint: out[0].Endpoint,
			Message: "the agent says whose data it is, and is not asked on this route",
		})
	}
	return out
}

// fromControl tells whether a source is the stream of the control plane, or a file
// of this machine: what comes from there is judged where it has come.
func fromControl(s *corev3.ConfigSource) bool {
	return s == nil || s.GetAds() != nil || s.GetPathConfigSource() != nil
}

// delivered judges where a filter's configuration comes from. What the control
// plane sends is judged as it is. The agent may send what can only refuse.
func (w *managerWalk) delivered(where string, d *corev3.ExtensionConfigSource) {
	s := d.GetConfigSource()
	if fromControl(s) {
		return
	}
	if slices.ContainsFunc(d.GetTypeUrls(), func(u string) bool { return u != refusalType }) || len(d.GetTypeUrls()) == 0 {
		w.Unjudged(where, "what is not from the control plane may do more than refuse: it may be of types %v", d.GetTypeUrls())
	}
	services := s.GetApiConfigSource().GetGrpcServices()
	if len(services) == 0 || s.GetApiConfigSource().GetClusterNames() != nil {
		w.Unjudged(where, "its configuration comes from no cluster")
	}
	for _, g := range services {
		cluster := g.GetEnvoyGrpc().GetClusterName()
		if cluster == "" {
			w.Unjudged(where, "its configuration comes from no cluster")
		}
		for _, h := range w.reach(cluster) {
			if h.Kind != places.Agent {
				w.Report(Finding{
					Code: AgentBypassed, Where: where, Region: h.Region, Cluster: h.Cluster, Endpoint: h.Endpoint,
					Message: "who is refused is said by something that is not this region's agent",
				})
			}
		}
	}
}
