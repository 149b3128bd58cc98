package requests

import (
	"fmt"

	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/topology"
)

const (
	mostAlgebras = 16      // regions whose hosts differ
	fullAlgebra  = 200_000 // conditions and answers
)

// Memory keeps algebras for the next question: the Envoys of a deployment, and
// one policy and the next, mostly ask the same. It is bounded; the zero Memory is
// ready, and must not be used concurrently.
type Memory struct {
	known map[string]*Algebra // by the meaning of their atoms
}

// Algebra is New, remembered.
func (m *Memory) Algebra(t *residency.Table, top *topology.Topology, own topology.Region) *Algebra {
	a := New(t, top, own)
	key := fmt.Sprintf("%q %q", a.Atoms, a.exprs)
	if old := m.known[key]; old != nil && len(old.interned)+len(old.residuals)+len(old.answers) < fullAlgebra {
		return old
	}
	if m.known == nil || len(m.known) >= mostAlgebras {
		m.known = map[string]*Algebra{}
	}
	m.known[key] = a
	return a
}
