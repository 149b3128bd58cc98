package envoy

import (
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/domicile-dev/domicile/pkg/envoy/internal/inner"
	"github.com/domicile-dev/domicile/pkg/envoy/internal/match"
	"github.com/domicile-dev/domicile/pkg/envoy/internal/pattern"
	"github.com/domicile-dev/domicile/pkg/envoy/internal/wellknown"
	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// hostHeader tells, beside wrong-host, which host is the right one.
const hostHeader = "x-domicile-host"

// wrongHost tells a client that may not come in here by which host it may, where it
// came by the public name of another region than the one that serves its home first.
// Else the entry alone is wrong, and nothing in the request could say so better.
func (v view) wrongHost(m *routev3.RouteMatch, r residency.Route, home string, why residency.Reason, rule *residency.Rule) []*routev3.Route {
	if home == "" || why != residency.EntryNotAllowed || rule == nil {
		return nil
	}
	right, _ := v.Topology.Region(rule.Serve[0])
	var others []string
	for _, region := range v.Topology.Regions {
		if region.Host != "" && region.Host != right.Host {
			others = append(others, region.Host)
		}
	}
	if right.Host == "" || len(others) == 0 {
		return nil
	}
	from := cloneMatch(m)
	from.Headers = append(from.Headers, match.HeaderIs(":authority", pattern.Host(others...)))
	route := v.deny(from, residency.WrongHost, r.Class, subjectHome(r, home))
	route.ResponseHeadersToAdd = []*corev3.HeaderValueOption{setHeader(hostHeader, right.Host)}
	return []*routev3.Route{route}
}

// tellsHosts tells whether clients are told the hosts of homes.
func (t *translation) tellsHosts() bool {
	return slices.ContainsFunc(t.Topology.Regions, func(r topology.Region) bool { return r.Host != "" })
}

// addHosts adds what knows the hosts of homes. It stands apart so that the answer has
// the form that clients want and not that of a refusal.
func (t *translation) addHosts() {
	if !t.tellsHosts() {
		return
	}
	t.addCluster(inner.Cluster(t.Packer, wellknown.Name, false))
	t.inner[wellknown.Name] = inner.Listener(wellknown.Name, "http", t.Pack(wellknown.Manager(fromADS(), t.router())))
	hosts, err := t.Memory.hosts.Table(t.Table, t.Topology)
	if err != nil {
		t.Fail(err)
	}
	t.out.Routes = append(t.out.Routes, hosts)
}

// askedByNobody is the branch of those who ask for the hosts and do not say who they
// are. All others are found out about first.
func (v view) askedByNobody() []match.Branch {
	if v.peer || !v.tellsHosts() {
		return nil
	}
	asked := match.And(wellknown.Asked(v.Tree), match.Not(v.creds.Any()))
	return []match.Branch{match.When(asked, v.TakeRoute(v.withoutToken(wellknown.Ask(match.AnyPath(), ""))))}
}

// withHosts puts the route of the hosts into a home's list, before the first class
// that would take it.
func (v view) withHosts(home string, routes []*routev3.Route, at int) []*routev3.Route {
	if v.peer || !v.tellsHosts() {
		return routes
	}
	return slices.Insert(routes, at, wellknown.Ask(wellknown.Route(), wellknown.HostOf(home, v.Table, v.Topology)))
}
