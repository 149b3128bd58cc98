package leakcheck

import (
	"slices"

	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"

	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/conditions"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/places"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/proofs"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/requests"
)

// leadsTo is reach for a route's own cluster.
func (k *checker) leadsTo(cluster string) []places.Hit {
	k.walking.Leads(cluster)
	return k.reach(cluster)
}

// home walks the branch of one home, unless an equal one was proved. It is for
// proveList only.
func (w *managerWalk) home(home string, on *xdsmatcherv3.Matcher_OnMatch, s scope, visit func()) {
	m := w.remembered
	meaning, ok := m.Meaning(w.buffer[:0], on)
	w.buffer = meaning
	if !ok {
		visit()
		return
	}
	c := m.Content(meaning)
	if c.Odd {
		visit()
		return
	}
	if c.Walked {
		if p, ok := m.Proof(w.question(c, home, s)); ok {
			w.forwards, w.callers = w.forwards || p.Forwards, w.callers || p.Callers
			return
		}
	}
	forwards, callers, reported := w.forwards, w.callers, w.Reported()
	w.forwards, w.callers, w.walking = false, false, &proofs.Walk{}
	visit()
	c.Walk, c.Walked, w.walking = *w.walking, true, nil
	if !c.Odd && w.Reported() == reported {
		m.Keep(w.question(c, home, s), proofs.Proof{Forwards: w.forwards, Callers: w.callers})
	}
	w.forwards, w.callers = w.forwards || forwards, w.callers || callers
}

// question names everything that the proof of a home's branch depends on.
func (w *managerWalk) question(c *proofs.Content, home string, s scope) []byte {
	m, b := w.remembered, w.asked[:0]
	v := m.Of(home)
	for _, n := range []int{c.ID, int(w.role), m.Algebra(), m.Routes(), v.From, s.f.ID(), s.unverified.ID()} {
		b = proofs.Number(b, n)
	}
	for _, f := range w.classes {
		b = proofs.Number(b, f.ID())
	}
	if w.role != peerGateway {
		b = proofs.Number(b, v.At[slices.Index(w.Atoms[requests.Entry], w.own.Name)])
	} else {
		b = proofs.Number(b, v.All)
	}
	for _, f := range []*slot{w.token, w.agent} {
		if f == nil {
			b = append(b, '-')
			continue
		}
		b = proofs.Text(proofs.Bit(append(b, '+'), f.disabled), f.name)
	}
	for _, name := range c.Clusters {
		b = proofs.Number(b, w.meaningOf(name))
	}
	w.asked = b
	return b
}

// meaningOf is all that a proof reads of where a cluster leads.
func (k *checker) meaningOf(cluster string) int {
	hits := k.reach(cluster)
	if id, ok := k.meanings[cluster]; ok {
		return id
	}
	b := proofs.Bit(k.scratch[:0], k.closable(cluster))
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
		s.Identity == (conditions.Identity{}) && len(s.mirrors) == 0 && s.unverified != nil
}
