// Package resolver finds out where a user is at home when no token says so in a way
// that Envoy can read: the first contacts. Its answer stands for the verified home
// until a pin does.
//
// The sources, in order: the token, the directory, the country that was declared at
// sign-up, and the address (GeoIP), which only proposes: it never makes a home and
// never overrides one. Sources that contradict each other, and silence, are
// refusals. A home counts only where the issuer that vouches for the user may name
// it. Nothing that a client can send by itself makes a home.
//
// Decide, Policy and what reads requests are pure; Resolver adds the questions to
// the directory and to the servers that alone can read opaque tokens. Everything
// fails closed: a source that does not answer is not-decidable, a token that is odd
// in any way is bad-token, and two that differ are two-identities. User ids, tokens
// and paths stand in answers only, never in errors, logs or metrics.
//
// A Policy never changes. A Resolver may be used by many goroutines at once.
package resolver

import (
	"cmp"

	"github.com/domicile-dev/domicile/pkg/residency"
)

// Source says what made a home.
type Source string

// The sources.
const (
	SourceToken     Source = "token"
	SourceDirectory Source = "directory"
	SourceDeclared  Source = "declared"
)

// Finding is what the directory said. The zero Finding is silence: there is no
// directory, or it does not know the user.
type Finding struct {
	Home   string
	Failed bool // it could not be asked
}

// Evidence is everything that is known about one user.
type Evidence struct {
	Issuer    string // who vouches for the user; "" for nobody
	User      string
	Token     string // the home that the token, or the issuer's server, names
	Directory Finding
	Declared  string // the country declared at sign-up
	Proposed  string // the country of the client's address
}

// Verdict is a home, or why there is none.
type Verdict struct {
	Home   string
	Source Source
	// Reason is empty where Home is not.
	Reason residency.Reason
	// Proposal is a home for a user who has none, for a person to confirm.
	Proposal string
}

// Decide judges the evidence. The zero Evidence is refused, and so is everything by
// a nil table.
func Decide(t *residency.Table, e Evidence) Verdict {
	switch {
	case t == nil:
		return Verdict{Reason: residency.NotDecidable}
	case e.Issuer == "":
		return Verdict{Reason: residency.NoIdentity}
	case e.User == "":
		return Verdict{Reason: residency.BadToken}
	}
	// An issuer that may not name this home is no witness, whatever others say.
	if _, why := t.Home(e.Issuer, e.Token); why != "" && why != residency.NoHome {
		return Verdict{Reason: why}
	}
	switch {
	case e.Directory.Failed:
		return Verdict{Reason: residency.NotDecidable}
	case e.Token != "" && e.Directory.Home != "" && e.Token != e.Directory.Home:
		return Verdict{Reason: residency.NoHome}
	}
	home, why := t.Home(e.Issuer, cmp.Or(e.Token, e.Directory.Home, e.Declared))
	switch {
	case why == residency.NoHome:
		proposal, _ := t.Home(e.Issuer, e.Proposed)
		return Verdict{Reason: why, Proposal: proposal}
	case why != "":
		return Verdict{Reason: why}
	}
	v := Verdict{Home: home, Source: SourceDeclared}
	switch {
	case e.Token != "":
		v.Source = SourceToken
	case e.Directory.Home != "":
		v.Source = SourceDirectory
	}
	return v
}
