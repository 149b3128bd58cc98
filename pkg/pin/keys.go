package pin

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"

	"github.com/domicile-dev/domicile/pkg/token"
)

// settled is how long a public key must have been in the policy in force before a
// pin is signed with it, where another can be used: by then every Envoy has it.
const settled = 30 * time.Second

// maxKeys bounds the private keys of one file.
const maxKeys = 8

// Keys are the private keys of a region, the preferred one first.
type Keys struct{ list []private }

type private struct {
	kid    string
	alg    jwa.SignatureAlgorithm
	raw    crypto.Signer
	public jwk.Key
}

// String keeps the keys out of logs.
func (*Keys) String() string { return "Keys(redacted)" }

// ParseKeys reads private keys: a JSON Web Key, or a set of them (RFC 7517), each
// Ed25519 or P-256 and with a kid of its own. Errors hold nothing of a key but its
// kid.
func ParseKeys(data []byte) (*Keys, error) {
	if len(data) > token.MaxKeySet {
		return nil, fmt.Errorf("read pin keys: larger than %d bytes", token.MaxKeySet)
	}
	set, err := jwk.Parse(data)
	if err != nil {
		return nil, errors.New("read pin keys: not a JSON Web Key or a set of them")
	}
	if set.Len() == 0 || set.Len() > maxKeys {
		return nil, fmt.Errorf("read pin keys: %d keys, not 1 to %d", set.Len(), maxKeys)
	}
	out := &Keys{}
	for i := range set.Len() {
		k, _ := set.Key(i)
		p, err := privateOf(k)
		if err != nil {
			return nil, fmt.Errorf("read pin keys: %w", err)
		}
		if slices.ContainsFunc(out.list, func(o private) bool { return o.kid == p.kid }) {
			return nil, fmt.Errorf("read pin keys: kid %q stands twice", p.kid)
		}
		out.list = append(out.list, p)
	}
	return out, nil
}

func privateOf(k jwk.Key) (private, error) {
	kid, ok := k.KeyID()
	if !ok || kid == "" {
		return private{}, errors.New("a key has no kid")
	}
	var raw any
	if err := jwk.Export(k, &raw); err != nil {
		return private{}, fmt.Errorf("key %q cannot be used", kid)
	}
	p := private{kid: kid}
	switch r := raw.(type) {
	case ed25519.PrivateKey:
		p.raw, p.alg = r, jwa.EdDSA()
	case *ecdsa.PrivateKey:
		if r.Curve != elliptic.P256() {
			return private{}, fmt.Errorf("key %q is not on P-256", kid)
		}
		p.raw, p.alg = r, jwa.ES256()
	default:
		return private{}, fmt.Errorf("key %q is no private key for Ed25519 or P-256", kid)
	}
	if alg, ok := k.Algorithm(); ok && alg.String() != p.alg.String() {
		return private{}, fmt.Errorf("key %q is for %s", kid, alg)
	}
	var err error
	if p.public, err = jwk.PublicKeyOf(p.raw.Public()); err != nil {
		return private{}, fmt.Errorf("key %q cannot be used", kid)
	}
	for name, v := range map[string]any{jwk.KeyIDKey: kid, jwk.AlgorithmKey: p.alg, jwk.KeyUsageKey: "sig"} {
		if err := p.public.Set(name, v); err != nil {
			return private{}, fmt.Errorf("key %q: %w", kid, err)
		}
	}
	return p, nil
}

// NewKey makes a private key: Ed25519, or P-256 where alg is "ES256". It returns the
// file that ParseKeys reads.
func NewKey(kid, alg string) ([]byte, error) {
	var raw any
	var err error
	if alg == "ES256" {
		raw, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	} else {
		_, raw, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		return nil, fmt.Errorf("make pin key: %w", err)
	}
	k, err := jwk.Import(raw)
	if err != nil {
		return nil, fmt.Errorf("make pin key: %w", err)
	}
	if err := k.Set(jwk.KeyIDKey, kid); err != nil {
		return nil, fmt.Errorf("make pin key: %w", err)
	}
	data, err := json.Marshal(k)
	if err != nil {
		return nil, fmt.Errorf("make pin key: %w", err)
	}
	if _, err := ParseKeys(data); err != nil {
		return nil, err
	}
	return data, nil
}

// Public returns the set of the public halves, as it stands in a policy.
func (k *Keys) Public() ([]byte, error) {
	set := jwk.NewSet()
	for _, p := range k.list {
		if err := set.AddKey(p.public); err != nil {
			return nil, fmt.Errorf("write public pin keys: %w", err)
		}
	}
	return json.Marshal(set)
}

// Signer signs with one key.
type Signer struct{ key private }

// Kid names the key.
func (s *Signer) Kid() string { return s.key.kid }

// Sign makes a pin.
func (s *Signer) Sign(c Claims) (string, error) {
	payload, err := c.payload()
	if err != nil {
		return "", fmt.Errorf("sign pin: %w", err)
	}
	return s.sign(payload)
}

func (s *Signer) sign(payload []byte) (string, error) {
	h := jws.NewHeaders()
	for name, v := range map[string]any{jws.KeyIDKey: s.key.kid, jws.TypeKey: "JWT"} {
		if err := h.Set(name, v); err != nil {
			return "", fmt.Errorf("sign pin: %w", err)
		}
	}
	out, err := jws.Sign(payload, jws.WithKey(s.key.alg, s.key.raw, jws.WithProtectedHeaders(h)))
	if err != nil {
		return "", fmt.Errorf("sign pin: %w", err)
	}
	return string(out), nil
}

// Since remembers since when which kid has been in the policy in force.
type Since map[string]time.Time

// See returns what is known after the policy in force has these keys.
func (s Since) See(mine *Keys, inForce *token.Keys, now time.Time) Since {
	out := Since{}
	for _, p := range mine.all() {
		if !inForce.Has(p.kid, p.raw.Public()) {
			continue
		}
		if out[p.kid] = now; s[p.kid] != (time.Time{}) {
			out[p.kid] = s[p.kid]
		}
	}
	return out
}

// Choose returns the signer to use now: the first key that has been in force long
// enough for every Envoy to have it; until one has, the last one that is in force,
// which is the oldest. Nil where none is in force. So a key is changed without a
// gap: publish the new one beside the old, put it first in the file, and remove the
// old one from the policy ten minutes later.
func (k *Keys) Choose(in Since, now time.Time) *Signer {
	var last *Signer
	for _, p := range k.all() {
		since, ok := in[p.kid]
		if !ok {
			continue
		}
		last = &Signer{p}
		if now.Sub(since) >= settled {
			return last
		}
	}
	return last
}

func (k *Keys) all() []private {
	if k == nil {
		return nil
	}
	return k.list
}
