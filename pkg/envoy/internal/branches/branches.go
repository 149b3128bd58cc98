// Package branches lets Envoys share the branches of homes. What a branch holds
// hangs on few things: the table's verdicts on the home, and where its region is
// not among those that serve, not even on the region. A Memory names a branch by
// all of them, so that one is made once for all Envoys that it is equal for, and
// again for the next table only where a verdict on the home is another.
//
// A Memory holds the branches of the present and of the last table; it must not
// be used concurrently.
package branches

import (
	"encoding/binary"
	"reflect"
	"slices"

	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// Branch is what one home's requests go through, with the clusters and internal
// listeners that it needs. It must not be changed.
type Branch struct {
	Match *xdsmatcherv3.Matcher_OnMatch
	// Pinned is the same for requests whose home a pin names; nil where there are none.
	Pinned   *xdsmatcherv3.Matcher_OnMatch
	Clusters map[string]*clusterv3.Cluster
	Inner    map[string]*listenerv3.Listener
}

// Memory holds branches. The zero Memory is ready for Begin.
type Memory struct {
	table       *residency.Table
	topology    *topology.Topology
	homes       []string
	made, older map[string]*slot                  // by name
	issuers     map[string][]string               // by home
	verdicts    map[string][][]residency.Decision // by home: by class route and region
	listed      map[[2]string]bool                // service and region, where a rule names it as one of several
	places      map[string]int                    // of regions in the topology
	slots       map[string]*slots                 // by home
}

// slot is the place of one branch, nil until it is made.
type slot struct {
	name   string
	branch *Branch
}

// slots are those of a home's branches, by region in the topology's order.
type slots struct{ users, peers []*slot }

// Begin turns to a table and its places; everything else means them.
func (m *Memory) Begin(t *residency.Table, top *topology.Topology) {
	if m.table == t && m.topology == top {
		return
	}
	last := *m
	*m = Memory{
		table: t, topology: top, homes: t.Homes(), made: map[string]*slot{},
		issuers: map[string][]string{}, verdicts: map[string][][]residency.Decision{}, listed: map[[2]string]bool{},
		places: map[string]int{}, slots: map[string]*slots{},
	}
	for i, r := range top.Regions {
		m.places[r.Name] = i
	}
	for _, i := range t.Issuers() {
		for _, home := range i.Homes {
			m.issuers[home] = append(m.issuers[home], i.Issuer)
		}
	}
	for i, r := range t.Routes() {
		m.list(r.Service, r.Serve)
		for _, home := range m.homes {
			if rule := t.DecideRoute(i, residency.Query{Home: home}).Rule; rule != nil {
				m.list(r.Service, rule.Serve)
			}
		}
	}
	if last.table != nil && reflect.DeepEqual(last.topology, top) && reflect.DeepEqual(last.table.Routes(), t.Routes()) {
		m.older = last.made
		m.follow(last)
	}
}

// follow takes over what a home's branches are called where the tables say the
// same of it: a name holds no more, but for a digest.
func (m *Memory) follow(last Memory) {
	differ, ok := residency.Differ(last.table, m.table)
	if !ok || tellsDigest(m.table) {
		return
	}
	for home, s := range last.slots {
		if differ[home] {
			continue
		}
		m.slots[home] = s
		var before *slot
		for _, list := range [][]*slot{s.users, s.peers} {
			for _, x := range list {
				if x != before { // most regions share one
					m.made[x.name] = x
				}
				before = x
			}
		}
	}
}

func (m *Memory) list(service string, serve []string) {
	if len(serve) > 1 {
		for _, region := range serve {
			m.listed[[2]string{service, region}] = true
		}
	}
}

// Homes are the table's.
func (m *Memory) Homes() []string { return m.homes }

// Issuers may name the home, in the table's order.
func (m *Memory) Issuers(home string) []string { return m.issuers[home] }

// Listed tells whether some rule serves the service from the region as one of several.
func (m *Memory) Listed(service, region string) bool { return m.listed[[2]string{service, region}] }

// Verdicts are those of one class route on a home, by entry, in the order of the
// topology's regions.
func (m *Memory) Verdicts(home string, route int) []residency.Decision {
	of := m.verdicts[home]
	if of == nil {
		of = make([][]residency.Decision, len(m.table.Routes()))
		m.verdicts[home] = of
	}
	if of[route] == nil {
		of[route] = make([]residency.Decision, len(m.topology.Regions))
		for i, region := range m.topology.Regions {
			of[route][i] = m.table.DecideRoute(route, residency.Query{Home: home, Entry: region.Name})
		}
	}
	return of[route]
}

// Share returns the branch of a home in one region, for its users or for its
// peers, and makes it only where no equal one was made.
func (m *Memory) Share(home string, region topology.Region, peer bool, build func() (*Branch, error)) (*Branch, error) {
	of := m.slots[home]
	if of == nil {
		of = &slots{m.named(m.users(home)), m.named(m.peers(home))}
		m.slots[home] = of
	}
	s := of.users[m.places[region.Name]]
	if peer {
		s = of.peers[m.places[region.Name]]
	}
	if s.branch == nil {
		b, err := build()
		if err != nil {
			return nil, err
		}
		s.branch = b
	}
	return s.branch, nil
}

// named returns the slots with these names, one for equal names.
func (m *Memory) named(list []string) []*slot {
	out := make([]*slot, len(list))
	for i, name := range list {
		s := m.made[name]
		if s == nil {
			if s = m.older[name]; s == nil {
				s = &slot{name: name}
			}
			m.made[name] = s
		}
		out[i] = s
	}
	return out
}

// start begins a name: the role, the home and who may name it, and the table's
// digest where a route tells it.
func (m *Memory) start(role byte, home string) []byte {
	b := texts(text([]byte{role}, home), m.issuers[home])
	if tellsDigest(m.table) {
		return text(b, m.table.Digest())
	}
	return b
}

// tellsDigest tells whether a home's routes show the table's digest.
func tellsDigest(t *residency.Table) bool {
	return slices.ContainsFunc(t.Routes(), func(r residency.Route) bool { return r.Subject == residency.SubjectUser })
}

// users names the branches for those who enter in each region.
func (m *Memory) users(home string) []string {
	start, out := m.start('u', home), make([]string, len(m.topology.Regions))
	var b []byte
	for at, region := range m.topology.Regions {
		near := false
		b = append(b[:0], start...)
		for i := range m.table.Routes() {
			d := m.Verdicts(home, i)[at]
			b = texts(verdict(b, d), d.Serve)
			// With several regions a response tells this one's name.
			near = near || len(d.Serve) > 1 || slices.Contains(d.Serve, region.Name)
		}
		if near {
			b = text(b, region.Name)
		}
		out[at] = string(b)
	}
	return out
}

// peers names the branches for those who entered elsewhere. Each verdict is told
// to the regions that it lets serve.
func (m *Memory) peers(home string) []string {
	start, near := m.start('p', home), make([]bool, len(m.topology.Regions))
	all := make([][]byte, len(near))
	for at := range all {
		all[at] = slices.Clone(start)
	}
	for i := range m.table.Routes() {
		verdicts := m.Verdicts(home, i)
		for at := range all {
			all[at] = verdict(all[at], verdicts[at])
		}
		for n, d := range verdicts {
			if !d.Allowed() {
				continue
			}
			for _, region := range d.Serve {
				if at, ok := m.places[region]; ok {
					all[at], near[at] = verdict(number(all[at], n), d), true
				}
			}
		}
		for at := range all {
			all[at] = number(all[at], -1)
		}
	}
	out := make([]string, len(all))
	for at, b := range all {
		if near[at] {
			b = text(b, m.topology.Regions[at].Name)
		}
		out[at] = string(b)
	}
	return out
}

func verdict(b []byte, d residency.Decision) []byte {
	flags, age, first := 0, -1, ""
	if d.Allowed() {
		flags |= 1
	}
	if d.Passes() {
		flags |= 2
	}
	if d.Rule != nil {
		age = int(d.Rule.MaxAge)
		if len(d.Rule.Serve) > 0 && !d.Allowed() { // a refusal may say whose host is right
			first = d.Rule.Serve[0]
		}
	}
	return text(number(text(number(b, flags), string(d.Reason)), age), first)
}

func number(b []byte, n int) []byte { return binary.AppendVarint(b, int64(n)) }

func text(b []byte, s string) []byte { return append(number(b, len(s)), s...) }

func texts(b []byte, list []string) []byte {
	b = number(b, len(list))
	for _, s := range list {
		b = text(b, s)
	}
	return b
}
