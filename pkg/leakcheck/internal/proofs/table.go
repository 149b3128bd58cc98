package proofs

import (
	"slices"

	"github.com/domicile-dev/domicile/pkg/residency"
)

// Table is all of a table that a check may read, and notes what it read. A proof
// outlives its table: whoever adds a method says here on what its answer hangs.
type Table struct {
	table *residency.Table
	// Asked are the questions about host names, with their answers.
	Asked map[Ask]Answer
	// OfHomes tells that something was asked that hangs on a home.
	OfHomes bool
}

// NewTable is a table of which nothing was asked.
func NewTable(t *residency.Table) *Table { return &Table{table: t, Asked: map[Ask]Answer{}} }

// Ask is a question about the host name of a region.
type Ask struct {
	What          question
	Route         int
	Region, Other string
}

type question int

const (
	decideHost question = iota
	mayDecrypt
	ends
)

// Answer is what a table says.
type Answer struct {
	residency.Decision
	yes bool
}

// same tells whether nothing that is proved by one answer falls by the other.
func (a Answer) same(b Answer) bool {
	return a.yes == b.yes && a.Allowed() == b.Allowed() && slices.Equal(a.Serve, b.Serve)
}

func (q Ask) of(t *residency.Table) Answer {
	switch q.What {
	case decideHost:
		return Answer{Decision: t.DecideHost(q.Route, q.Region, q.Other)}
	case mayDecrypt:
		return Answer{yes: t.MayDecrypt(q.Region, q.Other)}
	}
	return Answer{Decision: t.Ends(q.Region, q.Other)}
}

func (t *Table) ask(q Ask) Answer {
	a, ok := t.Asked[q]
	if !ok {
		a = q.of(t.table)
		t.Asked[q] = a
	}
	return a
}

// DecideHost is residency's, as are all of these.
func (t *Table) DecideHost(route int, region, entry string) residency.Decision {
	return t.ask(Ask{decideHost, route, region, entry}).Decision
}

// MayDecrypt tells whether an entry may end the TLS of connections to a host name.
func (t *Table) MayDecrypt(region, entry string) bool {
	return t.ask(Ask{mayDecrypt, 0, region, entry}).yes
}

// Ends tells where a stream ends whose TLS no gateway ends.
func (t *Table) Ends(region, class string) residency.Decision {
	return t.ask(Ask{ends, 0, region, class}).Decision
}

// Routes are the class routes: they are in the name of every proof.
func (t *Table) Routes() []residency.Route { return t.table.Routes() }

// DecideRoute judges a class route for a home.
func (t *Table) DecideRoute(i int, q residency.Query) residency.Decision {
	t.OfHomes = true
	return t.table.DecideRoute(i, q)
}

// Home tells whether an issuer may name a home.
func (t *Table) Home(issuer, claim string) (home string, why residency.Reason) {
	t.OfHomes = true
	return t.table.Home(issuer, claim)
}

// Epoch is that of a home's pins.
func (t *Table) Epoch(home string) uint64 {
	t.OfHomes = true
	return t.table.Epoch(home)
}

// Stands tells whether the table of the book gives the same answers.
func (m *Book) Stands(asked map[Ask]Answer) bool {
	for q, was := range asked {
		is, ok := m.answers[q]
		if !ok {
			is = q.of(m.table)
			m.answers[q] = is
		}
		if !is.same(was) {
			return false
		}
	}
	return true
}
