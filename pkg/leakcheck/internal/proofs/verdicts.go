package proofs

import (
	"reflect"

	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/requests"
	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// Book is a Memory that is open at one table and topology. The zero Book is ready
// for Begin.
type Book struct {
	Memory
	algebras map[*requests.Algebra]int
	algebra  *requests.Algebra
	topology *topology.Topology
	places   int // names the topology
	// What the table says.
	table   *residency.Table
	routes  int
	homes   map[*requests.Algebra]map[string]Verdicts
	answers map[Ask]Answer
}

// Verdicts are all that a table says of a home, as IDs: at each entry of the
// algebra, at all of them together, and of the issuers that may name it.
type Verdicts struct {
	At        []int
	All, From int
	Epoch     int // an ID, too
}

// mostAlgebras is of how many the verdicts are held.
const mostAlgebras = 16

// Begin opens the book for one check, and tells whether all was forgotten.
func (m *Book) Begin(t *residency.Table, top *topology.Topology, a *requests.Algebra) (forgotten bool) {
	if forgotten = m.Memory.begin(); forgotten {
		*m = Book{Memory: m.Memory, algebras: map[*requests.Algebra]int{}}
	}
	if _, ok := m.algebras[a]; !ok {
		m.algebras[a] = len(m.algebras)
	}
	m.algebra = a
	if m.topology != top {
		if m.topology == nil || !reflect.DeepEqual(m.topology, top) {
			m.next++
			m.places = m.next
		}
		m.topology = top
	}
	if m.table != t {
		m.turn()
		m.follow(t)
	}
	return forgotten
}

// follow turns to the next table. What it says of a home is asked anew where it may
// be something else.
func (m *Book) follow(t *residency.Table) {
	differ, ok := residency.Differ(m.table, t)
	if !ok || len(m.homes) > mostAlgebras {
		m.homes = map[*requests.Algebra]map[string]Verdicts{}
	}
	for _, homes := range m.homes {
		for home := range differ {
			delete(homes, home)
		}
	}
	m.table, m.answers = t, map[Ask]Answer{}
	var b []byte
	for _, r := range t.Routes() {
		b = texts(Text(Text(Text(b, r.Class), string(r.Subject)), r.Service), r.Serve)
		b = texts(b, []string{r.Match.Path, r.Match.PathPrefix, r.Match.PathTemplate, r.Match.GRPCService, r.Match.Method, r.Match.Host})
	}
	m.routes = m.ID(b)
}

// Topology names the topology.
func (m *Book) Topology() int { return m.places }

// Algebra names the algebra in which the formulas of this check are.
func (m *Book) Algebra() int { return m.algebras[m.algebra] }

// Routes names the class routes: what is of which class, and what they say whoever
// calls.
func (m *Book) Routes() int { return m.routes }

// Of asks the table everything that it can be asked about callers of a home.
func (m *Book) Of(home string) Verdicts {
	homes := m.homes[m.algebra]
	if v, ok := homes[home]; ok {
		return v
	}
	if homes == nil {
		homes = map[string]Verdicts{}
		m.homes[m.algebra] = homes
	}
	var v Verdicts
	var b, all []byte
	for _, entry := range m.algebra.Atoms[requests.Entry] {
		b = b[:0]
		for i := range m.table.Routes() {
			d := m.table.DecideRoute(i, residency.Query{Home: home, Entry: entry})
			b = texts(Bit(Bit(b, d.Allowed()), d.Passes()), d.Serve)
		}
		v.At = append(v.At, m.ID(b))
		all = Number(all, v.At[len(v.At)-1])
	}
	v.All = m.ID(all)
	b = b[:0]
	for _, i := range m.table.Issuers() {
		got, _ := m.table.Home(i.Issuer, home)
		b = Bit(Text(b, i.Issuer), got == home)
	}
	v.From = m.ID(b)
	v.Epoch = m.ID(Number(append(b[:0], 'e'), int(m.table.Epoch(home))))
	homes[home] = v
	return v
}
