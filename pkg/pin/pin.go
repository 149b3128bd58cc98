// Package pin makes and verifies pins: the signed tokens that carry a user's home.
//
// A pin routes, it never authenticates: it stands beside the token that it was
// issued for, and is bound to it (Claims.Credential), to the keyed hash of the user,
// to the entry that issued it, to the home and its epoch, and to ten minutes at
// most. The form is a JWT with exactly the claims of Claims.
//
// The package is pure but for reading a key's randomness; instants are arguments.
// All functions and methods are safe for concurrent use.
package pin

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/domicile-dev/domicile/pkg/token"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// MaxLifetime is the longest that a pin may live.
const MaxLifetime = 10 * time.Minute

// CredentialLength is how many bytes of a token a pin is bound to: as many as the
// shortest signature or hash in base64 has.
const CredentialLength = 43

// Skew is how far the clocks of two machines of ours may differ.
const Skew = 30 * time.Second

// Claims are what a pin says.
type Claims struct {
	Region string // the entry that issued it, for itself
	User   string // keyed hash of the user id, see package identity
	Home   string
	Epoch  uint64 // of the home
	Issuer string // who vouched for the user
	// Credential is the end of the token that it was issued for, see Credential.
	Credential      string
	Issued, Expires time.Time
}

// Credential is what a pin is bound to: the last bytes of the header value in which
// the token stands, all of it where it is shorter.
func Credential(value string) string {
	return value[max(0, len(value)-CredentialLength):]
}

// Binds tells whether a value is long enough for a pin to be bound to it and to no
// other token: who holds a short one can find another token with the same end.
func Binds(value string) bool { return len(value) >= CredentialLength }

// wire is the payload.
type wire struct {
	Issuer     string `json:"iss"`
	Audience   string `json:"aud"`
	Subject    string `json:"sub"`
	Home       string `json:"home"`
	Epoch      string `json:"epoch"`
	IDP        string `json:"idp"`
	Credential string `json:"cred"`
	Issued     int64  `json:"iat"`
	Expires    int64  `json:"exp"`
}

// complete tells what is missing.
func (c Claims) complete() error {
	if c.Region == "" || c.User == "" || c.Home == "" || c.Issuer == "" || c.Credential == "" {
		return errors.New("a claim is empty")
	}
	if len(c.Credential) > CredentialLength {
		return errors.New("the credential is too long")
	}
	if d := c.Expires.Sub(c.Issued); d <= 0 || d > MaxLifetime {
		return fmt.Errorf("it would live for %v, not for up to %v", d, MaxLifetime)
	}
	return nil
}

func (c Claims) payload() ([]byte, error) {
	c.Issued, c.Expires = c.Issued.Truncate(time.Second), c.Expires.Truncate(time.Second)
	if err := c.complete(); err != nil {
		return nil, err
	}
	return json.Marshal(wire{
		topology.PinIssuer(c.Region), c.Region, c.User, c.Home, strconv.FormatUint(c.Epoch, 10), c.Issuer, c.Credential,
		c.Issued.Unix(), c.Expires.Unix(),
	})
}

// Verify reads a pin of a region. Keys are those of the region in the policy in
// force. Epoch, issuer and credential are the caller's to compare.
func Verify(s string, keys *token.Keys, region string, now time.Time) (Claims, error) {
	claims, err := keys.Verify(s)
	if err != nil {
		return Claims{}, fmt.Errorf("verify pin: %w", err)
	}
	err = claims.Check(token.Expect{
		Issuer: topology.PinIssuer(region), Audiences: []string{region}, MaxLifetime: MaxLifetime + Skew, Skew: Skew,
	}, now)
	if err != nil {
		return Claims{}, fmt.Errorf("verify pin: %w", err)
	}
	text := func(name string) string {
		v, _ := claims.String(name)
		return v
	}
	epoch, err := strconv.ParseUint(text("epoch"), 10, 64)
	if err != nil || strconv.FormatUint(epoch, 10) != text("epoch") {
		return Claims{}, fmt.Errorf("verify pin: %w: epoch", token.ErrClaims)
	}
	out := Claims{Region: region, User: text("sub"), Home: text("home"), Epoch: epoch, Issuer: text("idp"), Credential: text("cred")}
	out.Issued, _ = claims.Instant("iat")
	out.Expires, _ = claims.Instant("exp")
	if err := cmp.Or(out.complete(), early(out, now)); err != nil {
		return Claims{}, fmt.Errorf("verify pin: %w: %w", token.ErrClaims, err)
	}
	return out, nil
}

func early(c Claims, now time.Time) error {
	if c.Issued.After(now.Add(Skew)) {
		return errors.New("issued in the future")
	}
	return nil
}
