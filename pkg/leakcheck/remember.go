package leakcheck

import (
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"

	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/conditions"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/patterns"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/places"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/proofs"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/trusted"
)

// leadsTo is reach for a route's own cluster.
func (k *checker) leadsTo(cluster string) []places.Hit {
	k.walking.Leads(cluster)
	return k.reach(cluster)
}

// home walks the branch of one home, unless an equal one was proved. It is for
// proveList only.
func (w *managerWalk) home(home string, on *xdsmatcherv3.Matcher_OnMatch, at *site) {
	visit := func() {
		ofHomes := w.checker.table.OfHomes
		w.onMatch(on, at.scope.narrow(w.checker, trusted.Label(at.header, home), w.Header(at.header, patterns.Text("exact", home, false), home)), w.proveList)
		w.checker.table.OfHomes = ofHomes
	}
	m := w.remembered
	c := m.Branch(on)
	if c == nil || c.Odd {
		visit()
		return
	}
	if c.Walked {
		if p, ok := m.Proof(w.question(c, home, at)); ok {
			w.askedBy(c, at)
			w.forwards, w.callers = w.forwards || p.Forwards, w.callers || p.Callers
			return
		}
	}
	forwards, callers, reported := w.forwards, w.callers, w.Reported()
	w.forwards, w.callers, w.walking = false, false, &proofs.Walk{}
	visit()
	c.Walk, c.Walked, w.walking = *w.walking, true, nil
	if !c.Odd && w.Reported() == reported {
		m.Keep(w.question(c, home, at), proofs.Proof{Forwards: w.forwards, Callers: w.callers})
	}
	w.forwards, w.callers = w.forwards || forwards, w.callers || callers
}

// askedBy notes which listeners a branch leads to where the agent says whose data it is.
func (w *managerWalk) askedBy(c *proofs.Content, at *site) {
	for _, name := range c.Clusters {
		for _, h := range w.reach(name) {
			if h.Kind == places.Resolver {
				w.leadsToResolver(h, w.known(at.scope))
			}
		}
	}
}

// question names everything that the proof of a home's branch depends on.
func (w *managerWalk) question(c *proofs.Content, home string, at *site) proofs.Question {
	for _, name := range c.Clusters {
		w.meaningOf(name)
	}
	q, _ := at.question(w.remembered, c, home, w.meanings)
	return q
}

// meaningOf is all that a proof reads of where a cluster leads.
func (k *checker) meaningOf(cluster string) int {
	hits := k.reach(cluster)
	if id, ok := k.meanings[cluster]; ok {
		return id
	}
	b := proofs.Bit(k.scratch[:0], k.Closable(cluster))
	for _, h := range hits {
		b = proofs.Text(proofs.Text(proofs.Number(b, int(h.Kind)), h.Region), h.Today)
		b = proofs.Bit(proofs.Bit(b, h.Guarded), h.Region == k.own.Name)
	}
	k.scratch = b
	id := k.remembered.ID(b)
	k.meanings[cluster] = id
	return id
}

// rememberable: the scope is one in which all that governs a home's branch is in
// the question.
func (w *managerWalk) rememberable(s scope) bool {
	plain := true
	for _, configs := range s.configs {
		plain = plain && len(configs) == 0
	}
	return plain && w.remembered != nil && w.walking == nil && !w.Anonymous && w.role != innerManager &&
		s.Identity == (conditions.Identity{Bound: s.Bound, Homeless: s.Homeless}) && len(s.mirrors) == 0 && s.unverified != nil
}
