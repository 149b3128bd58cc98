package control

import (
	"log/slog"
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
	tables []*residency.Table // the longest unused first
}

// targets returns what to publish for p.
func (r *rollouts) targets(p *compiled) map[xds.Group]*xds.Target {
	r.remember(p.table)
	s := &steps{rollouts: r, policy: p, meets: map[string]func() *residency.Table{}}
	out := make(map[xds.Group]*xds.Target, len(p.final))
	for g, snapshot := range p.final {
		out[g] = &xds.Target{Final: snapshot, Revoke: func(from string) *xds.Snapshot { return s.revoke(g, from) }}
	}
	return out
}

func (r *rollouts) remember(t *residency.Table) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tables = slices.DeleteFunc(r.tables, func(o *residency.Table) bool { return o.Digest() == t.Digest() })
	r.tables = append(r.tables, t)
	if n := len(r.tables) - knownTables; n > 0 {
		r.tables = slices.Delete(r.tables, 0, n)
	}
}

func (r *rollouts) table(digest string) *residency.Table {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.tables, func(t *residency.Table) bool { return t.Digest() == digest })
	if i < 0 {
		return nil
	}
	t := r.tables[i]
	r.tables = append(slices.Delete(r.tables, i, i+1), t)
	return t
}

// steps are the revoke steps towards one policy. The tables are made once for
// all groups; that a group's snapshot is asked for once is the publisher's care.
type steps struct {
	*rollouts
	policy *compiled

	mu    sync.Mutex
	meets map[string]func() *residency.Table // by the digest of the table before
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
	meet := s.meetFrom(from)
	if meet == nil {
		return nil
	}
	out, err := s.policy.step(g, meet)
	if err != nil {
		s.log.Error("no revoke step; proxies get the new routes at once", "group", g, "table", meet.Digest(), "error", err)
		return nil
	}
	return out
}

func (s *steps) meetFrom(from string) *residency.Table {
	s.mu.Lock()
	f := s.meets[from]
	if f == nil {
		old := s.table(from)
		if old == nil {
			s.mu.Unlock()
			return nil
		}
		f = sync.OnceValue(func() *residency.Table { return s.meet(old) })
		s.meets[from] = f
	}
	s.mu.Unlock()
	return f()
}

func (s *steps) meet(from *residency.Table) *residency.Table {
	m, err := residency.Meet(from, s.policy.table)
	if err != nil {
		s.log.Error("no revoke step; proxies get the new routes at once", "from", from.Digest(), "to", s.policy.table.Digest(), "error", err)
		return nil
	}
	if m.Digest() == s.policy.table.Digest() {
		return nil
	}
	s.remember(m) // a newer policy may find proxies at this step
	return m
}
