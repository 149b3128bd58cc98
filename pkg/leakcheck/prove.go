package leakcheck

import (
	"fmt"
	"slices"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/conditions"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/mutations"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/places"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/requests"
	"github.com/domicile-dev/domicile/pkg/residency"
)

// proveList proves one list of routes, of which the first that matches is taken.
func (w *managerWalk) proveList(s scope, routes []*routev3.Route) {
	asked := make([]*requests.Formula, len(routes))
	ins := make([]routeIn, len(routes))
	hits := make([][]places.Hit, len(routes))
	any := false
	for i, r := range routes {
		ins[i] = w.enter(s, i, r)
		c := w.Route(ins[i].where, r.GetMatch())
		if !c.Plain() {
			w.walking.IsOdd()
		}
		both := w.All(conditions.Condition{F: w.Whole, Identity: s.Identity}, c)
		asked[i] = both.F
		if c.Verified && !s.verified {
			asked[i] = w.And(both.F, w.Not(s.unverified))
		}
		ins[i].Identity = both.Identity
		hits[i] = w.actionHits(ins[i].where, ins[i])
		any = any || len(hits[i]) > 0
	}
	if !any {
		return
	}
	w.forwards = true
	s.f = w.known(s)
	for i, list := range w.Decide(s.f, asked, w.classes) {
		here := w.resolved(ins[i], hits[i], w.And(s.f, asked[i]))
		if len(here) == 0 || len(list) == 0 {
			continue
		}
		w.provePlaces(ins[i], here)
		for _, p := range list {
			w.proveClass(ins[i], here, p)
		}
	}
}

// actionHits is what a route's action reaches, mirrors included.
func (w *managerWalk) actionHits(where string, r routeIn) []places.Hit {
	a := r.GetRoute()
	if a == nil {
		if r.GetFilterAction() != nil {
			w.Unjudged(where, "the action is left to a filter")
		}
		return nil
	}
	w.Known(where, a)
	if p := a.GetRetryPolicy(); p != nil {
		w.Known(where, p)
	}
	for _, u := range a.GetUpgradeConfigs() {
		if u.GetConnectConfig() != nil {
			w.Unjudged(where, "upgrade %s opens a raw tunnel", u.GetUpgradeType())
		}
	}
	var out []places.Hit
	switch c := a.GetClusterSpecifier().(type) {
	case *routev3.RouteAction_Cluster:
		out = append(out, w.leadsTo(c.Cluster)...)
	case *routev3.RouteAction_WeightedClusters:
		w.walking.IsOdd()
		for _, m := range c.WeightedClusters.GetClusters() {
			w.Known(where, m)
			mutations.Added(w.List, where, m.GetRequestHeadersToAdd())
			out = append(out, w.leadsTo(m.GetName())...)
		}
	default:
		w.walking.IsOdd()
		w.Unjudged(where, "the cluster is chosen while a request runs")
		out = append(out, places.Hit{Endpoint: "any"})
	}
	for _, m := range slices.Concat(r.mirrors, a.GetRequestMirrorPolicies()) {
		if m.GetClusterHeader() != "" {
			w.Unjudged(where, "requests are mirrored to where a header says")
		}
		out = append(out, w.leadsTo(m.GetCluster())...)
	}
	return out
}

// mostOpen is how long a stream may last that no listener's removal can end.
const mostOpen = time.Minute

// provePlaces judges where a route leads, whoever's request it is.
func (w *managerWalk) provePlaces(r routeIn, hits []places.Hit) {
	if age := r.GetRoute().GetMaxStreamDuration().GetMaxStreamDuration().AsDuration(); (age <= 0 || age > mostOpen) && !w.Closable(r.GetRoute().GetCluster()) {
		w.Report(Finding{
			Code: Endless, Where: r.where, Home: r.caller(), Region: hits[0].Region, Cluster: hits[0].Cluster, Endpoint: hits[0].Endpoint,
			Message: "a stream may last for ever here, and no internal listener of its own stands behind it to be removed",
		})
	}
	for _, h := range hits {
		if h.Today == "" { // else it depends on whose request it is
			w.provePlace(r, h)
		}
	}
}

// proveToday judges today's backends as what they are to all requests that no
// observation passes.
func (w *managerWalk) proveToday(r routeIn, hits []places.Hit) {
	for _, h := range hits {
		if h.Today != "" {
			w.provePlace(r, h)
		}
	}
}

func (w *managerWalk) provePlace(r routeIn, h places.Hit) {
	f := Finding{Where: r.where, Home: r.caller(), Region: h.Region, Cluster: h.Cluster, Endpoint: h.Endpoint}
	switch {
	case h.Kind == places.Unknown && h.Today != "":
		f.Code, f.Message = NotObserved, fmt.Sprintf("today's backend %s is reached by requests that no observation passes", h.Endpoint)
	case h.Kind == places.Ended:
		f.Code, f.Message = UnknownEndpoint, "a listener where connections end is no place for requests"
	case h.Kind == places.Unknown:
		f.Code, f.Message = UnknownEndpoint, fmt.Sprintf("%s is no place that the deployment knows", h.Endpoint)
	case h.Kind == places.Backend && h.Region != w.own.Name:
		f.Code, f.Message = AroundPeer, fmt.Sprintf("a backend of %s is reached around its peer gateway, which would check again", h.Region)
	case h.Kind == places.Peer && w.role == peerGateway:
		f.Code, f.Message = Onward, fmt.Sprintf("a peer forwards to local backends only, and this leads to %s", h.Region)
	default:
		return
	}
	w.Report(f)
}

// proveClass judges the requests of one class that a route can take.
func (w *managerWalk) proveClass(r routeIn, hits []places.Hit, p requests.Possibility) {
	if p.Class == requests.Unclassed {
		w.Report(Finding{
			Code: NoClass, Where: r.where, Home: r.caller(), Cluster: hits[0].Cluster, Endpoint: hits[0].Endpoint, Region: hits[0].Region,
			Message: "requests that no class covers are forwarded",
		})
		return
	}
	entries := []string{w.own.Name}
	if w.role == peerGateway {
		entries = p.Entries
	}
	switch route := w.checker.table.Routes()[p.Class]; route.Subject {
	case residency.SubjectNone:
		w.proveToday(r, hits)
		w.allow(r, hits, p.Class, "", "", route.Serve)
	case residency.SubjectHost:
		w.walking.IsOdd()
		w.proveToday(r, hits)
		w.proveHost(r, hits, p, entries)
	default:
		w.proveCaller(r, hits, p.Class, entries)
	}
}

// proveHost: the homes of the host name govern. A host that names no region
// says nothing, so it must be right for every region's.
func (w *managerWalk) proveHost(r routeIn, hits []places.Hit, p requests.Possibility, entries []string) {
	for _, h := range p.Hosts {
		for _, region := range requests.RegionsOf(w.top, w.own, h) {
			for _, e := range entries {
				d := w.checker.table.DecideHost(p.Class, region, e)
				if !d.Allowed() {
					w.deny(r, hits, p.Class, e, fmt.Sprintf("the host of %s has no home that may: %s", region, d.Reason))
					continue
				}
				w.allow(r, hits, p.Class, "", e, d.Serve)
			}
		}
	}
}

// proveCaller: the home of the caller governs.
func (w *managerWalk) proveCaller(r routeIn, hits []places.Hit, class int, entries []string) {
	w.callers = true
	route, home := w.checker.table.Routes()[class], r.caller()
	f := Finding{Where: r.where, Home: home, Class: route.Class, Region: hits[0].Region, Cluster: hits[0].Cluster, Endpoint: hits[0].Endpoint}
	if home == "" {
		f.Code, f.Message = NoHome, "the route forwards, and nothing before it says whose data it is"
		w.Report(f)
		return
	}
	if r.Home == "" {
		w.provePin(r, f)
	} else {
		w.proveIssuer(r.Issuer, home, f)
	}
	if w.token != nil && !w.resolves && !w.inForce(w.token, r) {
		f.Code, f.Message = TokenUnproved, "the token is not verified on this route"
		w.Report(f)
	}
	// A resolver's agent has said who calls, and judged nothing.
	if route.Subject == residency.SubjectUser && (w.resolves || w.agent == nil || !w.inForce(w.agent, r)) && !places.Guarded(hits) {
		f.Code, f.Message = AgentBypassed, "the subject is the user in the path, and the agent is not asked"
		w.Report(f)
	}
	for _, e := range entries {
		d := w.checker.table.DecideRoute(class, residency.Query{Home: home, Entry: e})
		if d.Passes() && w.role == gateway && places.ServedToday(hits, route.Service) {
			continue
		}
		w.proveToday(r, hits)
		if !d.Allowed() {
			w.deny(r, hits, class, e, string(d.Reason))
			continue
		}
		w.allow(r, hits, class, home, e, d.Serve)
	}
}

func (w *managerWalk) proveIssuer(issuer, named string, f Finding) {
	f.Code = NotEntitled
	switch home, why := w.checker.table.Home(issuer, named); {
	case issuer == "":
		f.Message = "the route forwards whichever issuer named the home"
		w.Report(f)
	case home != named:
		f.Message = fmt.Sprintf("issuer %s may not name this home: %s", issuer, why)
		w.Report(f)
	}
}

// allow reports every region that is reached and not in the list.
func (w *managerWalk) allow(r routeIn, hits []places.Hit, class int, home, at string, serve []string) {
	for _, h := range hits {
		if h.Kind == places.Unknown || h.Kind == places.Agent || slices.Contains(serve, h.Region) {
			continue
		}
		w.Report(Finding{
			Code: RegionNotAllowed, Where: r.where, Home: home, Class: w.checker.table.Routes()[class].Class, Entry: w.shownEntry(at),
			Region: h.Region, Cluster: h.Cluster, Endpoint: h.Endpoint,
			Message: fmt.Sprintf("%s%s reaches %s, allowed are %v", w.checker.table.Routes()[class].Class, w.entering(at), h.Region, serve),
		})
	}
}

// deny reports that anything is reached at all.
func (w *managerWalk) deny(r routeIn, hits []places.Hit, class int, at, why string) {
	w.Report(Finding{
		Code: Denied, Where: r.where, Home: r.caller(), Class: w.checker.table.Routes()[class].Class, Entry: w.shownEntry(at),
		Region: hits[0].Region, Cluster: hits[0].Cluster, Endpoint: hits[0].Endpoint,
		Message: fmt.Sprintf("the table refuses %s%s (%s), the route forwards", w.checker.table.Routes()[class].Class, w.entering(at), why),
	})
}

func (w *managerWalk) shownEntry(e string) string {
	if w.role == peerGateway {
		return e
	}
	return ""
}

// entering is the part of a message that names the entry, where it is not this region.
func (w *managerWalk) entering(e string) string {
	if e = w.shownEntry(e); e != "" {
		return " entering in " + e
	}
	return ""
}
