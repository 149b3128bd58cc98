package proofs

import (
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/requests"
	"github.com/domicile-dev/domicile/pkg/residency"
)

// Book is a Memory that is open at one table. The zero Book is ready for Begin.
type Book struct {
	Memory
	algebras map[*requests.Algebra]int
	// What the table says, by home.
	table   *residency.Table
	algebra *requests.Algebra
	routes  int
	homes   map[string]Verdicts
}

// Verdicts are all that a table says of a home, as IDs: at each entry of the
// algebra, at all of them together, and of the issuers that may name it.
type Verdicts struct {
	At        []int
	All, From int
}

// Begin opens the book for one check.
func (m *Book) Begin(t *residency.Table, a *requests.Algebra) {
	if m.Memory.begin() {
		*m = Book{Memory: m.Memory, algebras: map[*requests.Algebra]int{}}
	}
	if _, ok := m.algebras[a]; !ok {
		m.algebras[a] = len(m.algebras)
	}
	if m.table == t && m.algebra == a {
		return
	}
	m.table, m.algebra, m.homes = t, a, map[string]Verdicts{}
	var b []byte
	for _, r := range t.Routes() {
		b = texts(Text(Text(b, string(r.Subject)), r.Service), r.Serve)
	}
	m.routes = m.ID(b)
}

// Algebra names the algebra in which the formulas of this check are.
func (m *Book) Algebra() int { return m.algebras[m.algebra] }

// Routes names what the class routes say whoever calls.
func (m *Book) Routes() int { return m.routes }

// Of asks the table everything that it can be asked about callers of a home.
func (m *Book) Of(home string) Verdicts {
	if v, ok := m.homes[home]; ok {
		return v
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
	m.homes[home] = v
	return v
}
