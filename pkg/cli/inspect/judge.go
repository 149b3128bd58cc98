package inspect

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/domicile-dev/domicile/pkg/pin"
	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/token"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// The kinds of tokens.
const (
	kindSigned = "token"
	kindPin    = "pin"
	kindOpaque = "opaque"
)

// check is one thing that was looked at. OK is nil where it cannot be told here.
type check struct {
	Name   string `json:"name"`
	OK     *bool  `json:"ok"`
	Detail string `json:"detail"`
}

// inspection is what can be said of a token without asking anybody.
type inspection struct {
	Kind   string       `json:"kind"`
	Alg    string       `json:"alg"`
	Kid    string       `json:"kid"`
	Claims token.Claims `json:"claims"`
	// Issuer is the one of the policy that the token is of.
	Issuer string  `json:"issuer"`
	Checks []check `json:"checks"`
	Home   string  `json:"home"`
	// Reason is why a request with this token would be refused whatever its class.
	Reason residency.Reason `json:"reason"`
}

// judge looks at a token as the Envoys and agents of a deployment do.
type judge struct {
	table    *residency.Table
	topology *topology.Topology
	now      time.Time
	inspection
}

func (j *judge) note(name string, ok bool, format string, args ...any) {
	j.Checks = append(j.Checks, check{name, &ok, fmt.Sprintf(format, args...)})
}

func (j *judge) unknown(name, format string, args ...any) {
	j.Checks = append(j.Checks, check{name, nil, fmt.Sprintf(format, args...)})
}

// refuse notes the first reason; later ones do not count.
func (j *judge) refuse(why residency.Reason) {
	if j.Reason == "" {
		j.Reason = why
	}
}

func (j *judge) look(s string) {
	j.Checks = []check{}
	claims, err := token.Peek(s)
	if err != nil { // as agents have it: only a server can tell
		j.Kind = kindOpaque
		j.opaque()
		return
	}
	j.Kind, j.Claims = kindSigned, claims
	if head, err := header(s); err == nil {
		j.Alg, _ = head.String("alg")
		j.Kid, _ = head.String("kid")
	}
	iss, named := claims.String("iss")
	switch region, isPin := strings.CutPrefix(iss, topology.PinIssuer("")); {
	case isPin:
		j.pin(s, region)
	case named:
		j.named(s, iss)
	default:
		j.nameless(s)
	}
}

// header reads the protected header.
func header(s string) (token.Claims, error) {
	first, _, _ := strings.Cut(s, ".")
	data, err := base64.RawURLEncoding.DecodeString(first)
	if err != nil {
		return nil, err
	}
	return token.Object(data)
}

// opaque names the issuers whose servers can read such a token.
func (j *judge) opaque() {
	for _, i := range j.topology.Issuers {
		switch {
		case i.Introspection != nil:
			j.unknown("signature", "it is no signed token: issuer %s reads it, by introspection", i.Issuer)
		case i.Whoami != nil:
			j.unknown("signature", "it is no signed token: the IM servers of issuer %s read it (%s)", i.Issuer, i.Whoami.Path)
		}
	}
	if len(j.Checks) == 0 {
		j.note("form", false, "it is no signed token, and no issuer of the policy has others")
		j.refuse(residency.BadToken)
	}
}

// named judges a token that names its issuer.
func (j *judge) named(s, iss string) {
	n := slices.IndexFunc(j.topology.Issuers, func(i topology.Issuer) bool { return i.Issuer == iss && !i.Nameless })
	if n < 0 {
		j.note("issuer", false, "the policy knows no issuer %q", iss)
		j.refuse(residency.BadToken)
		return
	}
	j.of(s, j.topology.Issuers[n])
}

// nameless judges a token without issuer: it is of the one whose keys fit.
func (j *judge) nameless(s string) {
	var candidates []topology.Issuer
	for _, i := range j.topology.Issuers {
		if keys, _ := keysOf(i); i.Nameless {
			if _, err := keys.Verify(s); err == nil {
				j.of(s, i)
				return
			}
			candidates = append(candidates, i)
		}
	}
	switch len(candidates) {
	case 0:
		j.note("issuer", false, "it names none, and the policy has no issuer whose tokens do not")
		j.refuse(residency.BadToken)
	case 1:
		j.of(s, candidates[0])
	default:
		j.unknown("issuer", "it names none, and several issuers of the policy have such tokens")
	}
}

// keysOf returns the keys that verify an issuer's tokens, or why they are not here. A
// nil set verifies nothing.
func keysOf(i topology.Issuer) (*token.Keys, error) {
	switch {
	case i.Secret != nil:
		return &token.Keys{}, fmt.Errorf("its key is secret, and only on the machines of %s", strings.Join(i.Secret.Regions, ", "))
	case i.JWKS == "" && i.Remote != nil:
		return &token.Keys{}, fmt.Errorf("its keys are fetched by the control plane from %s; pass them by --overlay", i.Remote.URL)
	case i.JWKS == "":
		return &token.Keys{}, errors.New("the policy has no keys of it")
	}
	return token.ParseKeys([]byte(i.JWKS))
}

// of judges a token of an issuer.
func (j *judge) of(s string, i topology.Issuer) {
	j.Issuer = i.Issuer
	where := "by the agent, at the first contact"
	if i.InEnvoy() {
		where = "in Envoy"
	}
	j.note("issuer", true, "%s; its tokens are verified %s", i.Issuer, where)
	j.signature(s, i)
	err := j.Claims.Check(token.Expect{Issuer: i.Issuer, Nameless: i.Nameless, Audiences: i.Audiences, MaxLifetime: i.MaxLifetime, Skew: i.Skew}, j.now)
	if err != nil {
		j.note("claims", false, "%v", err)
		j.refuse(residency.BadToken)
	} else {
		j.note("claims", true, "issuer, audience, begin and end are right at %s", j.now.UTC().Format(time.RFC3339))
	}
	if _, ok := j.Claims.String(i.User()); !ok {
		j.note("user", false, "claim %s holds no text", i.User())
		j.refuse(residency.BadToken)
	}
	j.home(i)
}

func (j *judge) signature(s string, i topology.Issuer) {
	keys, err := keysOf(i)
	if err != nil {
		j.unknown("signature", "not verified here: %v", err)
		return
	}
	if _, err := keys.Verify(s); err != nil {
		j.note("signature", false, "%v", err)
		j.refuse(residency.BadToken)
		return
	}
	j.note("signature", true, "verified with the keys in the policy")
}

// home finds what makes the home, as far as the token says it.
func (j *judge) home(i topology.Issuer) {
	claim := ""
	if i.HomeClaim != "" {
		claim, _ = j.Claims.String(i.HomeClaim)
	}
	declared := ""
	if i.CountryClaim != "" {
		declared, _ = j.Claims.String(i.CountryClaim)
	}
	switch {
	case claim == "" && j.topology.Directory != nil:
		j.unknown("home", "the token names none: the directory is asked (domicile explain --user)")
		return
	case claim == "" && declared == "":
		j.note("home", false, "the token names none, and there is no directory")
		j.refuse(residency.NoHome)
		return
	case claim == "":
		claim = declared
	}
	home, why := j.table.Home(i.Issuer, claim)
	if why != "" {
		j.note("home", false, "%s: %s", claim, why.Title())
		j.refuse(why)
		return
	}
	j.note("home", true, "%s, which this issuer may name", home)
	j.Home = home
}

// pin judges a pin. It stands beside a token, which is not looked at here.
func (j *judge) pin(s, region string) {
	j.Kind = kindPin
	delete(j.Claims, "cred") // the end of a token's signature
	r, ok := j.topology.Region(region)
	if !ok || r.PinKeys == "" {
		j.note("issuer", false, "the policy has no keys for pins of region %q", region)
		j.refuse(residency.BadToken)
		return
	}
	keys, err := token.ParseKeys([]byte(r.PinKeys))
	if err != nil {
		j.note("signature", false, "%v", err)
		j.refuse(residency.BadToken)
		return
	}
	c, err := pin.Verify(s, keys, region, j.now)
	if err != nil {
		j.note("pin", false, "%v: it counts as none", err)
		j.refuse(residency.BadToken)
		return
	}
	j.Issuer = c.Issuer
	j.note("pin", true, "of region %s, valid at %s", region, j.now.UTC().Format(time.RFC3339))
	if epoch := j.table.Epoch(c.Home); c.Epoch != epoch {
		j.note("epoch", false, "%d, and that of %s is %d: it counts as none", c.Epoch, c.Home, epoch)
		j.refuse(residency.NoHome)
		return
	}
	home, why := j.table.Home(c.Issuer, c.Home)
	if why != "" {
		j.note("home", false, "%s, for a token of %s: %s", c.Home, c.Issuer, why.Title())
		j.refuse(why)
		return
	}
	j.note("home", true, "%s, beside the token of %s that it was issued for", home, c.Issuer)
	j.Home = home
}
