package explain

import (
	"cmp"
	"fmt"
	"io"

	"github.com/domicile-dev/domicile/pkg/cli/show"
	"github.com/domicile-dev/domicile/pkg/residency"
)

// User is what the directory and the policy say of one user. It holds the keyed hash
// and never the id.
type User struct {
	FormatVersion string         `json:"formatVersion"`
	Hash          string         `json:"hash"`
	Found         bool           `json:"found"`
	Home          string         `json:"home"`
	Directory     string         `json:"directory"` // its kind
	Issuers       []string       `json:"issuers"`   // that may name this home
	Classes       []*Explanation `json:"classes"`
}

// ExplainUser explains every class, or one, for a user whose home was looked up.
func ExplainUser(p Policy, u User, q residency.Query, classes []string) *User {
	u.Issuers, u.Classes = []string{}, []*Explanation{}
	if !u.Found {
		return &u
	}
	for _, i := range p.Table.Issuers() {
		if _, why := p.Table.Home(i.Issuer, u.Home); why == "" {
			u.Issuers = append(u.Issuers, i.Issuer)
		}
	}
	for _, c := range classes {
		q.Home, q.Class = u.Home, c
		u.Classes = append(u.Classes, Explain(p, q, u.FormatVersion))
	}
	return &u
}

// Text writes it for people.
func (u *User) Text(w io.Writer) {
	short := u.Hash[:min(12, len(u.Hash))]
	switch {
	case !u.Found:
		fmt.Fprintf(w, "NOT LISTED  the directory (%s) lists no user %s….\n\n", u.Directory, short)
		fmt.Fprintf(w, "  Unless the user's token names a home, or the country declared at sign-up, everything\n  that asks who is calling is refused with %d %s: %s.\n",
			residency.NoHome.Status(), residency.NoHome, residency.NoHome.Title())
		return
	case len(u.Issuers) == 0:
		fmt.Fprintf(w, "User %s… is at home in %s (%s directory), and no issuer may name that home: refused with %d %s.\n\n",
			short, show.Line(u.Home), u.Directory, residency.IssuerNotEntitled.Status(), residency.IssuerNotEntitled)
	default:
		fmt.Fprintf(w, "User %s… is at home in %s (%s directory).\n\n", short, show.Line(u.Home), u.Directory)
	}
	if len(u.Classes) == 1 {
		u.Classes[0].Text(w)
		return
	}
	t := show.NewTable("CLASS", "DECISION", "SERVED BY", "THROUGH", "RULE")
	for _, e := range u.Classes {
		decision, rule := "allowed", "-"
		if !e.Allowed {
			decision = e.Reason
		}
		if e.NotEnforced != nil {
			decision += " (not enforced)"
		}
		if e.Rule != nil {
			rule = fmt.Sprintf("%s:%d", e.Rule.File, e.Rule.Line)
		}
		t.Row(e.Class, decision, cmp.Or(e.Region, "-"), cmp.Or(e.Entry, "-"), rule)
	}
	t.Write(w)
	fmt.Fprintln(w, "\nA token that names another home, a move that has just been made and an erasure come first.")
}
