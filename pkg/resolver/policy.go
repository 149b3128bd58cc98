package resolver

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/token"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// Policy is what a resolver needs of the policy in force.
type Policy struct {
	Table    *residency.Table
	Topology *topology.Topology
	// PinKeys are the public keys of the region's pins; nil where there are none.
	PinKeys *token.Keys

	issuers []issuer
	sources []topology.TokenSource // of all issuers
}

type issuer struct {
	topology.Issuer
	keys *token.Keys // nil: nothing of this issuer verifies here
}

// opaque tells whether only a server can read the issuer's tokens.
func (i *issuer) opaque() bool { return i.Introspection != nil || i.Whoami != nil }

// NewPolicy prepares a table and topology for the agents of a region. Secrets holds
// the symmetric keys that are on this machine, by issuer. What is not there, or not
// for this region, verifies nothing; the error says so, and the Policy is good for
// everything else.
func NewPolicy(t *residency.Table, top *topology.Topology, region string, secrets map[string][]byte) (*Policy, error) {
	p := &Policy{Table: t, Topology: top}
	var wrong []error
	for _, i := range top.Issuers {
		one := issuer{Issuer: i}
		var err error
		switch {
		case i.Secret != nil && slices.Contains(i.Secret.Regions, region):
			one.keys, err = token.ParseSecret(secrets[i.Issuer])
		case i.Secret == nil && i.JWKS != "":
			one.keys, err = token.ParseKeys([]byte(i.JWKS))
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("issuer %s: %w", i.Issuer, err))
		}
		p.issuers = append(p.issuers, one)
		for _, s := range sourcesOf(i) {
			if !slices.Contains(p.sources, s) {
				p.sources = append(p.sources, s)
			}
		}
	}
	if r, ok := top.Region(region); ok && r.PinKeys != "" {
		var err error
		if p.PinKeys, err = token.ParseKeys([]byte(r.PinKeys)); err != nil {
			wrong = append(wrong, fmt.Errorf("pin keys of %s: %w", region, err))
		}
	}
	return p, errors.Join(wrong...)
}

// Longest is how long a token or pin that names one of the homes can still be
// accepted: after that nobody need remember that its user has moved or is erased.
func (p *Policy) Longest(homes ...string) time.Duration {
	longest := 2 * time.Hour // a pin, and clocks
	for _, i := range p.issuers {
		entitled := func(h string) bool {
			_, why := p.Table.Home(i.Issuer.Issuer, h)
			return why == ""
		}
		if len(homes) > 0 && !slices.ContainsFunc(homes, entitled) {
			continue
		}
		life, skew := i.MaxLifetime, i.Skew
		if life == 0 {
			life = token.DefaultLifetime
		}
		if skew == 0 {
			skew = token.DefaultSkew
		}
		longest = max(longest, life+skew)
	}
	return longest
}

// account is who a token belongs to, as far as it says so.
type account struct {
	issuer         string
	user           string
	home, declared string
	expires        time.Time // zero where it is not known
}

// known is what Policy.read finds.
type known struct {
	account
	presented
	// ask is set where only a server can tell whose the token is.
	ask *issuer
}

// read finds out whose token a request presents, as far as that can be told without
// asking anybody.
func (p *Policy) read(r Request, now time.Time) (known, residency.Reason) {
	at, why := present(r, p.sources)
	if why != "" {
		return known{}, why
	}
	k := known{presented: at}
	switch claims, err := token.Peek(at.token); {
	case r.Headers[headerIssuer] != "":
		if err != nil {
			return known{}, residency.BadToken
		}
		k.account, why = p.verified(r, claims)
	case err != nil:
		k.ask, why = p.unreadable(at)
	default:
		k.account, k.ask, why = p.verify(at, claims, now)
	}
	return k, why
}

// verified reads a token that Envoy has verified: the one that the headers which it
// made of it belong to, or none.
func (p *Policy) verified(r Request, claims token.Claims) (account, residency.Reason) {
	name := r.Headers[headerIssuer]
	iss, _ := claims.String("iss")
	i := p.issuer(name)
	if i == nil || iss != name || !i.InEnvoy() {
		return account{}, residency.BadToken
	}
	a, why := i.account(claims)
	// A number as a user id gives no header and no text: there is no user then.
	if why != "" || a.user != r.Headers[headerUser] {
		return account{}, residency.BadToken
	}
	if home := r.Headers[headerHome]; home != "" && home != a.home {
		return account{}, residency.TwoIdentities
	}
	return a, ""
}

// verify reads a signed token that Envoy could not: one that names an issuer whose
// tokens stand where Envoy does not look, or one that names none.
func (p *Policy) verify(at presented, claims token.Claims, now time.Time) (account, *issuer, residency.Reason) {
	name, named := claims.String("iss")
	if i := p.issuer(name); named && i != nil {
		switch {
		case !accepts(i.Issuer, at), i.Nameless:
			return account{}, nil, residency.BadToken
		case i.opaque():
			return account{}, i, ""
		}
		a, why := i.verify(at.token, now)
		return a, nil, why
	}
	if claims["iss"] != nil {
		i, why := p.unreadable(at)
		return account{}, i, why
	}
	var found []account
	for n := range p.issuers {
		if i := &p.issuers[n]; i.Nameless && accepts(i.Issuer, at) {
			if a, why := i.verify(at.token, now); why == "" {
				found = append(found, a)
			}
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil, ""
	case 0:
		i, why := p.unreadable(at)
		return account{}, i, why
	}
	return account{}, nil, residency.BadToken // two issuers share a key: nobody can tell whose it is
}

// unreadable finds the issuer whose server can read a token that nobody else can.
// Where there are several, the token is shown to none of them.
func (p *Policy) unreadable(at presented) (*issuer, residency.Reason) {
	var found *issuer
	for n := range p.issuers {
		i := &p.issuers[n]
		if !i.opaque() || !accepts(i.Issuer, at) {
			continue
		}
		if found != nil {
			return nil, residency.BadToken
		}
		found = i
	}
	if found == nil {
		return nil, residency.BadToken
	}
	return found, ""
}

func (p *Policy) issuer(name string) *issuer {
	for n := range p.issuers {
		if p.issuers[n].Issuer.Issuer == name {
			return &p.issuers[n]
		}
	}
	return nil
}

// verify checks a token with the issuer's keys.
func (i *issuer) verify(s string, now time.Time) (account, residency.Reason) {
	if i.keys == nil && i.Remote != nil { // the control plane has not fetched them yet
		return account{}, residency.NotDecidable
	}
	claims, err := i.keys.Verify(s)
	if err != nil {
		return account{}, residency.BadToken
	}
	err = claims.Check(token.Expect{
		Issuer: i.Issuer.Issuer, Nameless: i.Nameless, Audiences: i.Audiences, MaxLifetime: i.MaxLifetime, Skew: i.Skew,
	}, now)
	if err != nil {
		return account{}, residency.BadToken
	}
	return i.account(claims)
}

// account reads what verified claims say.
func (i *issuer) account(c token.Claims) (account, residency.Reason) {
	a := account{issuer: i.Issuer.Issuer}
	a.user, _ = c.String(i.User())
	if !validUser(a.user) {
		return account{}, residency.BadToken
	}
	if i.HomeClaim != "" {
		a.home, _ = c.String(i.HomeClaim)
	}
	if i.CountryClaim != "" {
		a.declared, _ = c.String(i.CountryClaim)
	}
	a.expires, _ = c.Instant("exp")
	return a, ""
}

// maxUser bounds a user id, in bytes.
const maxUser = 512

// validUser tells whether a user id can stand in a header as it is.
func validUser(s string) bool {
	if s == "" || len(s) > maxUser || s[0] == ' ' || s[len(s)-1] == ' ' {
		return false
	}
	for _, r := range s {
		if r < ' ' || r == 0x7f || r == '�' { // the last also stands for broken UTF-8
			return false
		}
	}
	return true
}
