// Package tokens judges the filter that verifies tokens and pins: who may say
// whose data it is, from which place of the request, by which keys, and into which
// headers it is written. It is pure.
package tokens

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	jwtauthnv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"

	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/facts"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/findings"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/trusted"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// Seat is where a filter stands.
type Seat struct {
	Topology *topology.Topology
	Own      topology.Region
	// Peer is set where other regions' Envoys call, with pins of theirs.
	Peer bool
}

// Judge reports what is wrong with a filter that verifies tokens. It returns the
// issuers whose tokens may fail, by the name of a requirement that routes can choose:
// it is for requests that have no such token.
func Judge(found *findings.List, where string, j *jwtauthnv3.JwtAuthentication, seat Seat) (lenient map[string][]topology.Issuer) {
	w := &judge{List: found, Seat: seat, issuers: map[string]topology.Issuer{}, pins: map[string]bool{}}
	w.Known(where, j)
	for _, name := range slices.Sorted(maps.Keys(j.GetProviders())) {
		w.provider(where+" › provider "+name, name, j.GetProviders()[name])
	}
	for _, r := range j.GetRules() {
		w.requirement(where, r.GetRequires())
	}
	lenient = map[string][]topology.Issuer{}
	for name, r := range j.GetRequirementMap() {
		w.parts(where, r)
		lenient[name] = w.failing(r)
	}
	for _, r := range j.GetRules() {
		if name := r.GetRequirementName(); name != "" {
			w.requirement(where, j.GetRequirementMap()[name])
		}
	}
	return lenient
}

type judge struct {
	*findings.List
	Seat
	issuers map[string]topology.Issuer // by the name of the provider
	pins    map[string]bool            // providers of pins
}

// bounds are the limits of Envoy's and Domicile's defaults.
const (
	longestPin   = 10 * time.Minute
	longestToken = 90 * 24 * time.Hour
	usualSkew    = time.Minute // Envoy's own where none is written
)

// Sources are the places of an issuer's tokens, whoever reads them.
func Sources(i topology.Issuer) []topology.TokenSource {
	if len(i.Sources) == 0 {
		return i.EnvoySources()
	}
	return i.Sources
}

// verified is what a provider must be.
type verified struct {
	audiences []string // at most these; none: any
	keys      string
	secret    *topology.Secret
	longest   time.Duration
	skew      time.Duration
	sources   []topology.TokenSource
	claims    map[string]string // by trusted header
	required  []string          // headers that must be written
}

func (w *judge) provider(where, name string, p *jwtauthnv3.JwtProvider) {
	w.Known(where, p)
	want, ok := w.pinOf(where, name, p)
	if !ok {
		want, ok = w.tokenOf(name, p)
	}
	if !ok {
		w.unproved(where, "issuer %q is not in the deployment", p.GetIssuer())
		return
	}
	w.keys(where, p, want)
	w.lifetime(where, p, want)
	if len(want.audiences) > 0 && !within(p.GetAudiences(), want.audiences) {
		w.unproved(where, "audiences %v are taken, the deployment names %v", p.GetAudiences(), want.audiences)
	}
	w.places(where, p, want.sources)
	w.claims(where, p, want)
}

// within: not empty, which would be all, and of the list only.
func within(some, list []string) bool {
	return len(some) > 0 && !slices.ContainsFunc(some, func(s string) bool { return !slices.Contains(list, s) })
}

// tokenOf is what the topology says of an issuer.
func (w *judge) tokenOf(name string, p *jwtauthnv3.JwtProvider) (verified, bool) {
	at := slices.IndexFunc(w.Topology.Issuers, func(i topology.Issuer) bool { return i.Issuer == p.GetIssuer() })
	if p.GetIssuer() == "" || at < 0 || !w.Topology.Issuers[at].InEnvoy() {
		return verified{}, false
	}
	i := w.Topology.Issuers[at]
	w.issuers[name] = i
	v := verified{
		audiences: i.Audiences, keys: i.JWKS, secret: i.Secret,
		longest: cmp.Or(i.MaxLifetime, longestToken), skew: cmp.Or(i.Skew, usualSkew),
		sources:  i.EnvoySources(),
		claims:   map[string]string{trusted.Issuer: "iss", trusted.User: i.User()},
		required: []string{trusted.Issuer, trusted.User},
	}
	if i.HomeClaim != "" {
		v.claims[trusted.Home] = i.HomeClaim
		v.required = append(v.required, trusted.Home)
	}
	return v, true
}

// pinOf is what a region's pins must be: signed by the region and meant for it.
// Only peers take those of other regions.
func (w *judge) pinOf(where, name string, p *jwtauthnv3.JwtProvider) (verified, bool) {
	at := slices.IndexFunc(w.Topology.Regions, func(r topology.Region) bool { return topology.PinIssuer(r.Name) == p.GetIssuer() })
	if w.Topology.Pins == nil || at < 0 {
		return verified{}, false
	}
	w.pins[name] = true
	r := w.Topology.Regions[at]
	if r.Name != w.Own.Name && !w.Peer {
		w.unproved(where, "pins of %s are taken, whose users entered there", r.Name)
	}
	return verified{
		audiences: []string{r.Name}, keys: r.PinKeys, longest: longestPin, skew: usualSkew,
		sources: []topology.TokenSource{
			{Header: cmp.Or(w.Topology.Pins.Header, topology.PinHeader)}, {Cookie: cmp.Or(w.Topology.Pins.Cookie, topology.PinCookie)},
		},
		claims: map[string]string{
			trusted.PinHome: "home", trusted.PinUser: "sub", trusted.PinEpoch: "epoch", trusted.PinIssuer: "idp", trusted.PinCredential: "cred",
		},
		required: []string{trusted.PinHome, trusted.PinUser, trusted.PinEpoch, trusted.PinIssuer, trusted.PinCredential},
	}, true
}

// keys: those of the deployment, or a file of a secret where it may be.
func (w *judge) keys(where string, p *jwtauthnv3.JwtProvider, want verified) {
	local := p.GetLocalJwks()
	w.Known(where, local)
	switch s := local.GetSpecifier().(type) {
	case *corev3.DataSource_InlineString:
		if !facts.SameKeys(s.InlineString, want.keys) {
			w.unproved(where, "the keys are not those that the deployment names for %s", p.GetIssuer())
		}
	case *corev3.DataSource_Filename:
		switch {
		case want.secret == nil || s.Filename != want.secret.File:
			w.unproved(where, "the keys are in %s, where the deployment names none of %s", s.Filename, p.GetIssuer())
		case !slices.Contains(want.secret.Regions, w.Own.Name):
			w.unproved(where, "the secret key of %s is not for %s: who holds it can make tokens", p.GetIssuer(), w.Own.Name)
		}
	default:
		w.unproved(where, "the keys are neither in the configuration nor in a file")
	}
}

func (w *judge) lifetime(where string, p *jwtauthnv3.JwtProvider, want verified) {
	if longest := p.GetMaxLifetime(); !p.GetRequireExpiration() || longest == nil || longest.AsDuration() > want.longest {
		w.unproved(where, "tokens may be valid for more than %s", want.longest)
	}
	if skew := time.Duration(p.GetClockSkewSeconds()) * time.Second; cmp.Or(skew, usualSkew) > max(want.skew, time.Second) {
		w.unproved(where, "clocks may differ by more than %s", want.skew)
	}
}

// places: Envoy reads a token where it is told, and where it is told nothing from
// the Authorization header and the query parameter access_token.
func (w *judge) places(where string, p *jwtauthnv3.JwtProvider, want []topology.TokenSource) {
	var got []topology.TokenSource
	for _, h := range p.GetFromHeaders() {
		got = append(got, topology.TokenSource{Header: strings.ToLower(h.GetName()), Prefix: h.GetValuePrefix()})
	}
	for _, q := range p.GetFromParams() {
		got = append(got, topology.TokenSource{Query: q})
	}
	for _, c := range p.GetFromCookies() {
		got = append(got, topology.TokenSource{Cookie: c})
	}
	if len(got) == 0 {
		got = []topology.TokenSource{{Header: "authorization", Prefix: "Bearer "}, {Query: "access_token"}}
	}
	for _, s := range got {
		if !slices.ContainsFunc(want, func(t topology.TokenSource) bool { return s == asRead(t) }) {
			w.unproved(where, "a token is read from %s, which the deployment does not name", spell(s))
		}
	}
}

// asRead is a source as Envoy is told of it: a subprotocol stands in a header.
func asRead(s topology.TokenSource) topology.TokenSource {
	if s.Subprotocol != "" {
		return topology.TokenSource{Header: "sec-websocket-protocol", Prefix: s.Subprotocol}
	}
	s.Header = strings.ToLower(s.Header)
	return s
}

func spell(s topology.TokenSource) string {
	switch {
	case s.Query != "":
		return "query parameter " + s.Query
	case s.Cookie != "":
		return "cookie " + s.Cookie
	}
	return fmt.Sprintf("header %s after %q", s.Header, s.Prefix)
}

func (w *judge) claims(where string, p *jwtauthnv3.JwtProvider, want verified) {
	var got []string
	for _, c := range p.GetClaimToHeaders() {
		name := strings.ToLower(c.GetHeaderName())
		if strings.HasPrefix(name, trusted.Prefix) && want.claims[name] != c.GetClaimName() {
			w.untrusted(where, "header %s is written from claim %s", name, c.GetClaimName())
		}
		got = append(got, name)
	}
	for _, name := range want.required {
		if !slices.Contains(got, name) {
			w.unproved(where, "what the token says is not written into %s", name)
		}
	}
	if strings.HasPrefix(strings.ToLower(p.GetForwardPayloadHeader()), trusted.Prefix) {
		w.untrusted(where, "header %s is written from the whole token", p.GetForwardPayloadHeader())
	}
}

func (w *judge) unproved(where, format string, args ...any) {
	w.Report(findings.Finding{Code: findings.TokenUnproved, Where: where, Message: fmt.Sprintf(format, args...)})
}

func (w *judge) untrusted(where, format string, args ...any) {
	w.Report(findings.Finding{Code: findings.HeaderTrust, Where: where, Message: fmt.Sprintf(format, args...)})
}
