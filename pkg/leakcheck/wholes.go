package leakcheck

import (
	"maps"
	"slices"
	"strings"

	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"

	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/proofs"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/requests"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/trusted"
	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// whole is a configuration of which everything was proved but the branches of
// homes, see proofs.Book.Whole.
type whole struct {
	sites    [][]*site // by the maps that were left out
	asked    map[proofs.Ask]proofs.Answer
	meanings map[string]int // by name, of clusters that nothing was found in
}

// site is a map of homes, as one connection manager comes to it: all that the walk
// of a branch needs to begin there.
type site struct {
	walk   managerWalk // what the manager is; it has no checker
	scope  scope
	header string // as the map spells it
	pins   bool   // the homes are those that pins say
	frame  int    // names what governs every branch here
	entry  int    // among the algebra's; -1 for all of them
	// Whether the manager was proved as one that forwards, and knows callers.
	forwards, callers bool
}

// site notes where the walk comes to a map of homes; nil for one whose branches
// cannot be remembered.
func (w *managerWalk) site(t *xdsmatcherv3.Matcher_MatcherTree, header string, s scope) *site {
	if !w.rememberable(s) {
		w.odd = w.odd || len(t.GetExactMatchMap().GetMap()) > 0
		return nil
	}
	out := &site{scope: s, header: header, entry: -1, pins: strings.EqualFold(header, trusted.PinHome)}
	out.walk = managerWalk{where: w.where, role: w.role, resolves: w.resolves, comes: w.comes, notes: w.notes, token: w.token, agent: w.agent}
	if w.role != peerGateway {
		out.entry = slices.Index(w.Atoms[requests.Entry], w.own.Name)
	}
	var b []byte
	for _, n := range []int{int(w.role), w.remembered.Algebra(), w.remembered.Routes(), s.f.ID(), s.unverified.ID()} {
		b = proofs.Number(b, n)
	}
	b = proofs.Text(b, s.Bound)
	for _, is := range []bool{s.Homeless, s.verified, w.resolves, out.pins} {
		b = proofs.Bit(b, is)
	}
	if out.pins {
		b = proofs.Number(b, w.remembered.Topology())
	}
	for _, f := range []*slot{w.token, w.agent} {
		if f == nil {
			b = append(b, '-')
			continue
		}
		b = proofs.Text(proofs.Bit(append(b, '+'), f.disabled), f.name)
	}
	out.frame = w.remembered.ID(b)
	w.sites[t] = append(w.sites[t], out)
	w.here = append(w.here, out)
	return out
}

// question names the proof of a home's branch here. It is false where a cluster has
// no meaning.
func (at *site) question(m *proofs.Book, c *proofs.Content, home string, meanings map[string]int) (q proofs.Question, ok bool) {
	v := m.Of(home)
	q = proofs.Question{Content: c.ID, Frame: at.frame, From: v.From, Says: v.All}
	if at.pins {
		q.From = m.Pair(v.From, v.Epoch)
	}
	if at.entry >= 0 {
		q.Says = v.At[at.entry]
	}
	for i, name := range c.Clusters {
		meaning, known := meanings[name]
		if !known {
			return q, false
		}
		if i == 0 {
			q.Leads = meaning
		} else {
			q.Leads = m.Pair(q.Leads, meaning)
		}
	}
	return q, true
}

// recall proves a configuration of which all but the branches of homes was proved
// before, and these where they are new. It is false where it cannot.
func (p *Prover) recall(name []byte, trees []*xdsmatcherv3.Matcher_MatcherTree, begin func() *checker) bool {
	known := p.wholes[string(name)]
	if known == nil || !p.branches.Stands(known.asked) {
		return false
	}
	var k *checker
	for i, t := range trees {
		for _, at := range known.sites[i] {
			for home, on := range t.GetExactMatchMap().GetMap() {
				if p.proved(at, home, on, known.meanings) {
					continue
				}
				if k == nil {
					k = begin()
				}
				if !k.proves(at, home, on) || len(k.inside)+len(k.pending) > 0 {
					return false
				}
			}
		}
	}
	if k != nil {
		maps.Copy(known.meanings, k.meanings)
	}
	return true
}

// proved tells whether the branch of a home was proved before.
func (p *Prover) proved(at *site, home string, on *xdsmatcherv3.Matcher_OnMatch, meanings map[string]int) bool {
	c := p.branches.Branch(on)
	if c == nil || !c.Walked || c.Odd {
		return false
	}
	q, ok := at.question(&p.branches, c, home, meanings)
	if !ok {
		return false
	}
	proof, ok := p.branches.Proof(q)
	return ok && at.holds(proof)
}

// holds tells whether the manager was proved for what a branch makes of it.
func (at *site) holds(p proofs.Proof) bool {
	return (at.forwards || !p.Forwards) && (at.callers || !p.Callers)
}

// proves walks the branch of one home.
func (k *checker) proves(at *site, home string, on *xdsmatcherv3.Matcher_OnMatch) bool {
	w := at.walk
	w.checker = k
	w.home(home, on, at)
	return k.Reported() == 0 && at.holds(proofs.Proof{Forwards: w.forwards, Callers: w.callers})
}

// keep remembers what a walk without any finding has shown of everything but the
// branches of homes.
func (p *Prover) keep(name []byte, trees []*xdsmatcherv3.Matcher_MatcherTree, k *checker) {
	if k.odd || k.table.OfHomes {
		return
	}
	for t := range k.sites {
		if !slices.Contains(trees, t) {
			return // the name holds its branches, and not what the table says of them
		}
	}
	w := &whole{asked: k.table.Asked, meanings: k.meanings}
	for _, t := range trees {
		var here []*site
		for _, s := range k.sites[t] {
			i := slices.IndexFunc(here, func(x *site) bool { return x.frame == s.frame })
			if i < 0 {
				here = append(here, s)
				continue
			}
			here[i].forwards, here[i].callers = here[i].forwards && s.forwards, here[i].callers && s.callers
		}
		w.sites = append(w.sites, here)
	}
	p.wholes[string(name)] = w
	p.branches.Hold(len(name) + 64*(len(w.asked)+len(w.meanings)))
}

// begin opens the memory for one check.
func (p *Prover) begin(t *residency.Table, top *topology.Topology, a *requests.Algebra) {
	if p.branches.Begin(t, top, a) || p.wholes == nil {
		p.wholes = map[string]*whole{}
	}
}
