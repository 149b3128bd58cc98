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
	known map[string]*Algebra // by what New makes them of
}

// Algebra is New, remembered.
func (m *Memory) Algebra(t *residency.Table, top *topology.Topology, own topology.Region) *Algebra {
	key := fmt.Sprintf("%q %q %q %q", tableMethods(t), hostNames(t, top, own), regionNames(top), trustDomain(top))
	if old := m.known[key]; old != nil && len(old.interned)+len(old.residuals)+len(old.answers)+len(old.exceeding)+len(old.meeting) < fullAlgebra {
		return old
	}
	if m.known == nil || len(m.known) >= mostAlgebras {
		m.known = map[string]*Algebra{}
	}
	a := New(t, top, own)
	m.known[key] = a
	return a
}
