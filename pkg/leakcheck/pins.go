package leakcheck

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/conditions"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/credentials"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/places"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/requests"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/sources"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/tokens"
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
	for _, no := range []struct {
		wrong   bool
		message string
	}{
		{w.top.Pins == nil, "the deployment has no pins"},
		{r.PinEpoch != want, fmt.Sprintf("pins of epoch %q count, the home's is %s", r.PinEpoch, want)},
		{!w.bound(r.Identity), "a pin counts beside another token than the one that it was issued for"},
		{!r.Homeless, "a pin counts although the token may name another home"},
	} {
		if no.wrong {
			f.Message = no.message
			w.Report(f)
		}
	}
}

// bound tells whether a pin counts beside its token only: the headers that may end
// with its credential are places of tokens.
func (k *checker) bound(i conditions.Identity) bool {
	headers := strings.Fields(i.Bound)
	return len(headers) > 0 && !slices.ContainsFunc(headers, func(h string) bool {
		return !slices.ContainsFunc(k.top.Issuers, func(x topology.Issuer) bool {
			return slices.ContainsFunc(tokens.Sources(x), func(s topology.TokenSource) bool { return s.Header != "" && strings.EqualFold(s.Header, h) })
		})
	})
}

// known is the condition of what comes to a scope. Where something was verified,
// nothing comes of which nothing is.
func (w *managerWalk) known(s scope) *requests.Formula {
	if !s.verified {
		return s.f
	}
	return w.And(s.f, w.Not(s.unverified))
}

// resolved takes out what is proved in the listener where the agent says whose
// data it is, and notes that it must be, for requests of the condition f.
func (w *managerWalk) resolved(r routeIn, hits []places.Hit, f *requests.Formula) []places.Hit {
	var out []places.Hit
	for _, h := range hits {
		if h.Kind != places.Resolver {
			out = append(out, h)
			continue
		}
		w.leadsToResolver(h, f)
	}
	if len(out) > 0 && w.resolves && (w.agent == nil || !w.inForce(w.agent, r)) {
		w.Report(Finding{
			Code: AgentBypassed, Where: r.where, Region: out[0].Region, Cluster: out[0].Cluster, Endpoint: out[0].Endpoint,
			Message: "the agent says whose data it is, and is not asked on this route",
		})
	}
	return out
}

// resolution is a listener where the agent says whose data it is, and who leads there.
type resolution struct {
	listener string
	role     managerRole
}

// leadsToResolver queues a listener where the agent says whose data it is: what is
// allowed there depends on who leads to it, and with which requests.
func (w *managerWalk) leadsToResolver(h places.Hit, f *requests.Formula) {
	to := resolution{h.Endpoint, w.role}
	w.odd = true // who leads there is in no name of a whole configuration
	if before := w.leads[to]; before != nil {
		f = w.Or(before, f)
	}
	if f == w.leads[to] {
		return
	}
	w.leads[to] = f
	if !slices.Contains(w.pending, to) {
		w.pending = append(w.pending, to)
	}
}

// proveResolvers proves the listeners where the agent says whose data it is. Proving one
// may lead to another; one that has been proved takes everything the next time.
func (k *checker) proveResolvers() {
	done := map[resolution]bool{}
	for len(k.pending) > 0 {
		to := k.pending[0]
		k.pending = k.pending[1:]
		if done[to] {
			k.leads[to] = k.Whole
		}
		done[to] = true
		for _, m := range k.resolvers[to.listener] {
			w := k.manager(to.listener, m, innerManager)
			w.role, w.resolves, w.comes = to.role, true, k.leads[to]
			w.prove()
		}
	}
}

// delivered judges where a filter's configuration comes from.
func (w *managerWalk) delivered(where string, d *corev3.ExtensionConfigSource) {
	for _, cluster := range sources.Filter(w.List, where, d) {
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

// credentials judges what the first walk asks of requests.
func (w *managerWalk) credentials(vh *routev3.VirtualHost, s scope) {
	if w.token != nil && !w.resolves && credentials.Several(w.top) {
		credentials.Judge(w.Reader, s.where, credentials.Filter{Name: w.token.name, Disabled: w.token.disabled, Lenient: w.token.lenient}, w.top, vh, s.configs)
	}
}
