package resolver

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/domicile-dev/domicile/pkg/identity"
	"github.com/domicile-dev/domicile/pkg/pin"
	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// ErrRefused means that the server which can read a token does not accept it.
var ErrRefused = errors.New("the token is not accepted")

// Account is who an opaque token belongs to. What the server does not say is empty.
type Account struct {
	User           string
	Home, Declared string
	Expires        time.Time
}

// Directory finds homes by identity.UserHash; package directory has them.
type Directory interface {
	Lookup(ctx context.Context, hash string) (home string, found bool, err error)
}

// Server reads the tokens that only a server can read. ErrRefused says that it does
// not accept the token; any other error that it could not be asked.
type Server interface {
	Ask(ctx context.Context, i topology.Issuer, token string) (Account, error)
}

// Fence knows the users who moved or were erased.
type Fence interface {
	// Erased tells whether a user was erased, and Moved whether a home is one that
	// the user has left.
	Erased(issuer, user string) bool
	Moved(issuer, user, home string) bool
}

// Config of a Resolver. Region, Policy and Now are required.
type Config struct {
	Region string
	// Policy returns the policy in force; nil before the first, and then everything
	// is not-decidable.
	Policy func() *Policy
	// HashKey is that of identity.UserHash, shared by all agents of a deployment.
	// Without it nobody can be looked up or get a pin: everything is not-decidable.
	HashKey []byte
	// Directory returns the directory; it, or what it returns, is nil where there is
	// none.
	Directory func() Directory
	// Server reads opaque tokens; nil refuses them.
	Server Server
	// Fence is nil where nobody has moved.
	Fence Fence
	// Propose returns the country of the client's address, "" for none; nil where
	// addresses propose nothing.
	Propose func(Request, topology.GeoIP) string
	// Signer returns what pins are signed with now. It, or what it returns, is nil
	// where none are.
	Signer func() *pin.Signer
	Now    func() time.Time
}

// The bounds of a Resolver: calls under way, and the time of each.
const (
	atOnce  = 1024
	timeout = 2 * time.Second
)

// Resolver answers first contacts.
type Resolver struct {
	Config
	places chan struct{}
}

// New returns a Resolver.
func New(c Config) *Resolver { return &Resolver{c, make(chan struct{}, atOnce)} }

// Answer is what Envoy is told.
type Answer struct {
	Verdict
	Issuer, User string
	// Pin goes with the request, so that the next region can check what was found
	// here; "" where there is none.
	Pin string
	// Keep is how long the client may keep the pin; 0 where it gets none, because
	// nothing of its requests binds one.
	Keep time.Duration
	// Names say where pins stand.
	Names topology.Pins
	// Cookie replaces the request's Cookie header where StalePin is set: a pin in it
	// would stand beside the new one.
	Cookie   string
	StalePin bool
	// Err says what a source that could not be asked had; nothing in it is personal.
	Err error
}

func refuse(why residency.Reason) Answer { return Answer{Verdict: Verdict{Reason: why}} }

// Resolve finds the home of the user of one request. It never waits for long, and
// what it cannot find out in time is not-decidable.
func (r *Resolver) Resolve(ctx context.Context, q Request) Answer {
	p := r.Policy()
	if p == nil || len(r.HashKey) == 0 {
		return refuse(residency.NotDecidable)
	}
	select {
	case r.places <- struct{}{}:
		defer func() { <-r.places }()
	default:
		return refuse(residency.NotDecidable)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	k, why := p.read(q, r.Now())
	if why == "" && k.ask != nil {
		k.account, why = r.ask(ctx, k)
	}
	if why != "" {
		return refuse(why)
	}
	if r.Fence != nil && r.Fence.Erased(k.issuer, k.user) {
		return refuse(residency.Erased)
	}
	hash := identity.UserHash(r.HashKey, k.user)
	e := Evidence{Issuer: k.issuer, User: k.user, Token: k.home, Declared: k.declared}
	var err error
	e.Directory, err = r.lookUp(ctx, hash)
	if g := p.Topology.GeoIP; g != nil && r.Propose != nil {
		e.Proposed = r.Propose(q, *g)
	}
	a := Answer{Verdict: Decide(p.Table, e), Issuer: k.issuer, User: k.user, Err: err}
	if a.Home != "" && r.Fence != nil && r.Fence.Moved(k.issuer, k.user, a.Home) {
		a.Verdict = Verdict{Reason: residency.BadToken}
		if e.Token == "" { // the token is good; the directory does not know yet
			a.Reason = residency.NotDecidable
		}
	}
	if a.Reason != "" {
		a.Issuer, a.User = "", ""
		return a
	}
	r.pin(p, &a, k, hash, q)
	return a
}

// ask asks the one server that can read a token.
func (r *Resolver) ask(ctx context.Context, k known) (account, residency.Reason) {
	if r.Server == nil {
		return account{}, residency.NotDecidable
	}
	got, err := r.Server.Ask(ctx, k.ask.Issuer, k.token)
	switch {
	case errors.Is(err, ErrRefused):
		return account{}, residency.BadToken
	case err != nil:
		return account{}, residency.NotDecidable
	case !validUser(got.User):
		return account{}, residency.BadToken
	case !got.Expires.IsZero() && !r.Now().Before(got.Expires):
		return account{}, residency.BadToken
	}
	return account{k.ask.Issuer.Issuer, got.User, got.Home, got.Declared, got.Expires}, ""
}

func (r *Resolver) lookUp(ctx context.Context, hash string) (Finding, error) {
	if r.Directory == nil {
		return Finding{}, nil
	}
	d := r.Directory()
	if d == nil {
		return Finding{}, nil
	}
	home, found, err := d.Lookup(ctx, hash)
	switch {
	case err != nil:
		return Finding{Failed: true}, err
	case !found:
		return Finding{}, nil
	}
	return Finding{Home: home, Failed: home == ""}, nil
}

// shortest is how long a pin lives at least: longer than the request takes.
const shortest = 10 * time.Second

// pin makes the pin of an answer. Without a key there is none, and each request
// asks again.
func (r *Resolver) pin(p *Policy, a *Answer, k known, hash string, q Request) {
	if p.Topology.Pins == nil {
		return
	}
	a.Names = *p.Topology.Pins
	if a.Names.Cookie == "" && a.Names.Header == "" {
		a.Names.Cookie, a.Names.Header = topology.PinCookie, topology.PinHeader
	}
	if a.Names.Cookie != "" {
		a.Cookie, a.StalePin = withoutCookie(q.Headers[headerCookie], a.Names.Cookie)
	}
	var s *pin.Signer
	if r.Signer != nil {
		s = r.Signer()
	}
	if s == nil {
		return
	}
	now := r.Now()
	life := cmp.Or(max(a.Names.TTL, 0), pin.MaxLifetime)
	if !k.expires.IsZero() {
		life = min(life, k.expires.Sub(now))
	}
	life = min(max(life, shortest), pin.MaxLifetime)
	bound := cmp.Or(k.value, k.token)
	signed, err := s.Sign(pin.Claims{
		Region: r.Region, User: hash, Home: a.Home, Epoch: p.Table.Epoch(a.Home), Issuer: a.Issuer,
		Credential: pin.Credential(bound), Issued: now, Expires: now.Add(life),
	})
	if err != nil {
		a.Err = err
		return
	}
	a.Pin = signed
	if k.value != "" && pin.Binds(k.value) {
		a.Keep = life.Truncate(time.Second)
	}
}
