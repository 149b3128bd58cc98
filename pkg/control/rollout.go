package control

import (
	"log/slog"
	"reflect"
	"slices"
	"sync"

	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/xds"
)

// knownTables is how many tables are remembered, the steps between two policies
// included. A proxy that runs an older one gets the final routes at once.
const knownTables = 16

// rollouts remembers the tables that proxies may run and makes each policy's
// targets. It is safe for concurrent use, as the Revoke functions are that it
// hands out.
type rollouts struct {
	log *slog.Logger

	mu     sync.Mutex
	tables []known // the longest unused first
}

// known is a table that a proxy may run, and the policy that it belongs to; nil
// for a step between two policies.
type known struct {
	table  *residency.Table
	policy *compiled
}

// targets returns what to publish for p.
func (r *rollouts) targets(p *compiled) map[xds.Group]*xds.Target {
	r.remember(known{p.table, p})
	s := &steps{rollouts: r, policy: p, meets: map[string]func() stay{}}
	out := make(map[xds.Group]*xds.Target, len(p.final))
	for g, snapshot := range p.final {
		out[g] = &xds.Target{Final: snapshot, Revoke: func(from string) *xds.Snapshot { return s.revoke(g, from) }}
	}
	return out
}

func (r *rollouts) remember(k known) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tables = slices.DeleteFunc(r.tables, func(o known) bool { return o.table.Digest() == k.table.Digest() })
	r.tables = append(r.tables, k)
	if n := len(r.tables) - knownTables; n > 0 {
		r.tables = slices.Delete(r.tables, 0, n)
	}
}

func (r *rollouts) find(digest string) (k known, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.tables, func(o known) bool { return o.table.Digest() == digest })
	if i < 0 {
		return known{}, false
	}
	k = r.tables[i]
	r.tables = append(slices.Delete(r.tables, i, i+1), k)
	return k, true
}

// steps are the revoke steps towards one policy. The tables are made once for
// all groups; that a group's snapshot is asked for once is the publisher's care.
type steps struct {
	*rollouts
	policy *compiled

	mu    sync.Mutex
	meets map[string]func() stay // by the digest of the table before
}

// stay is what a proxy keeps on its way from one table to another.
type stay struct {
	meet *residency.Table // nil: nothing to do first
	// old is the policy before, where nothing is taken from it: its routes stay as
	// they are until the new ones may follow.
	old *compiled
}

// revoke returns the snapshot that allows a proxy of group g only what both its
// table and the new one allow; nil where there is nothing to do first (the
// tables agree, or the new one only takes away) and where from is not known.
func (s *steps) revoke(g xds.Group, from string) (out *xds.Snapshot) {
	defer func() {
		if v := recover(); v != nil {
			s.log.Error("bug: a revoke step panicked; proxies get the new routes at once", "group", g, "from", from, "panic", v)
			out = nil
		}
	}()
	if from == s.policy.table.Digest() {
		return nil
	}
	keep := s.from(from)
	if keep.old != nil {
		return keep.old.final[g]
	}
	if keep.meet == nil {
		return nil
	}
	out, err := s.policy.step(g, keep.meet)
	if err != nil {
		s.log.Error("no revoke step; proxies get the new routes at once", "group", g, "table", keep.meet.Digest(), "error", err)
		return nil
	}
	return out
}

func (s *steps) from(digest string) stay {
	s.mu.Lock()
	f := s.meets[digest]
	if f == nil {
		old, ok := s.find(digest)
		if !ok {
			s.mu.Unlock()
			return stay{}
		}
		f = sync.OnceValue(func() stay { return s.meet(old) })
		s.meets[digest] = f
	}
	s.mu.Unlock()
	return f()
}

func (s *steps) meet(from known) stay {
	m, err := residency.Meet(from.table, s.policy.table)
	if err != nil {
		s.log.Error("no revoke step; proxies get the new routes at once", "from", from.table.Digest(), "to", s.policy.table.Digest(), "error", err)
		return stay{}
	}
	if m.Digest() == s.policy.table.Digest() {
		return stay{}
	}
	if from.policy != nil && m.Keeps(from.table) && reflect.DeepEqual(from.policy.topology, s.policy.topology) {
		return stay{old: from.policy}
	}
	s.remember(known{table: m}) // a newer policy may find proxies at this step
	return stay{meet: m}
}
