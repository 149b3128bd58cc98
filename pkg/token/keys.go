package token

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"
)

// Bounds of a key set.
const (
	// MaxKeySet is the largest document that is read, in bytes.
	MaxKeySet = 1 << 20
	// MaxKeys bounds the keys of a set: a token without kid is tried with each.
	MaxKeys = 64

	minRSA    = 2048 / 8  // bytes (RFC 7518, 3.3)
	maxRSA    = 16384 / 8 // as in Envoy; the time of one verification grows with the square
	minSecret = 256 / 8   // bytes (RFC 7518, 3.2)
)

// Keys is a set of keys that verify. The zero value verifies nothing.
type Keys struct{ list []key }

type key struct {
	kid  string
	raw  any // *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey, []byte
	algs []jwa.SignatureAlgorithm
	only string // the algorithm that the set names for it; "" for none
}

// ParseKeys reads a set of public keys (RFC 7517), or a single one. A private or a
// symmetric key in it is an error: it does not belong where others read it. Keys of
// another use or of a kind that is not known here are left out; none at all is an
// error.
func ParseKeys(data []byte) (*Keys, error) { return parse(data, false) }

// ParseSecret reads a set of symmetric keys (kty "oct") of at least 32 bytes each.
func ParseSecret(data []byte) (*Keys, error) { return parse(data, true) }

func parse(data []byte, symmetric bool) (*Keys, error) {
	if len(data) > MaxKeySet {
		return nil, fmt.Errorf("read key set: larger than %d bytes", MaxKeySet)
	}
	errSet := errors.New("read key set: not a JSON Web Key Set") // the cause may quote it
	set, err := members(data)
	if err != nil {
		return nil, errSet
	}
	if len(set) > MaxKeys {
		return nil, fmt.Errorf("read key set: more than %d keys", MaxKeys)
	}
	out := &Keys{}
	for _, one := range set {
		if known, err := usable(one); err != nil {
			return nil, errSet
		} else if !known {
			continue
		}
		k, err := jwk.ParseKey(one)
		if err != nil {
			return nil, errSet
		}
		kid, _ := k.KeyID()
		secret, err := jwk.IsPrivateKey(k)
		isOct := k.KeyType() == jwa.OctetSeq()
		switch {
		case !symmetric && isOct:
			return nil, fmt.Errorf("read key set: key %q is symmetric", kid)
		case !symmetric && (err != nil || secret):
			return nil, fmt.Errorf("read key set: key %q is private", kid)
		case symmetric && !isOct:
			return nil, fmt.Errorf("read key set: key %q is not symmetric", kid)
		}
		one, ok, err := keyOf(k)
		if err != nil {
			return nil, fmt.Errorf("read key set: key %q: %w", kid, err)
		}
		if ok {
			out.list = append(out.list, one)
		}
	}
	if len(out.list) == 0 {
		return nil, errors.New("read key set: no key in it")
	}
	return out, nil
}

// members returns the keys of a set, or the one key that there is.
func members(data []byte) ([]json.RawMessage, error) {
	set, err := Object(data)
	if err != nil {
		return nil, err
	}
	if set["keys"] == nil {
		return []json.RawMessage{data}, nil
	}
	var list []json.RawMessage
	return list, json.Unmarshal(set["keys"], &list)
}

// curves are those whose signatures are known here, by the kind of key that has them.
var curves = map[string][]string{"EC": {"P-256", "P-384", "P-521"}, "OKP": {"Ed25519"}}

// usable tells whether a key signs, and is of a kind that is known here. What is not is
// passed over (RFC 7517, 5): an issuer that publishes a key of a new kind beside its
// others must not lose them all, and those that it withdraws must go.
func usable(data []byte) (bool, error) {
	k, err := Object(data)
	if err != nil {
		return false, err
	}
	kind, ok := k.String("kty")
	if !ok {
		return false, errors.New("no kind of key")
	}
	if use, ok := k.String("use"); ok && use != "sig" {
		return false, nil
	}
	switch kind {
	case "RSA", "oct":
		return true, nil
	}
	curve, _ := k.String("crv")
	return slices.Contains(curves[kind], curve), nil
}

// keyOf says which algorithms a key verifies; none for a kind that is not known.
func keyOf(k jwk.Key) (key, bool, error) {
	var raw any
	if err := jwk.Export(k, &raw); err != nil {
		return key{}, false, errors.New("it cannot be used")
	}
	out := key{raw: raw}
	out.kid, _ = k.KeyID()
	switch r := raw.(type) {
	case *rsa.PublicKey:
		if r.Size() < minRSA {
			return key{}, false, fmt.Errorf("RSA of fewer than %d bits", minRSA*8)
		}
		if r.Size() > maxRSA {
			return key{}, false, fmt.Errorf("RSA of more than %d bits", maxRSA*8)
		}
		out.algs = []jwa.SignatureAlgorithm{jwa.RS256(), jwa.RS384(), jwa.RS512(), jwa.PS256(), jwa.PS384(), jwa.PS512()}
	case *ecdsa.PublicKey:
		switch r.Curve.Params().BitSize {
		case 256:
			out.algs = []jwa.SignatureAlgorithm{jwa.ES256()}
		case 384:
			out.algs = []jwa.SignatureAlgorithm{jwa.ES384()}
		case 521:
			out.algs = []jwa.SignatureAlgorithm{jwa.ES512()}
		}
	case ed25519.PublicKey:
		out.algs = []jwa.SignatureAlgorithm{jwa.EdDSA()}
	case []byte:
		if len(r) < minSecret {
			return key{}, false, fmt.Errorf("a secret of fewer than %d bytes", minSecret)
		}
		out.algs = []jwa.SignatureAlgorithm{jwa.HS256(), jwa.HS384(), jwa.HS512()}
	}
	if alg, ok := k.Algorithm(); ok {
		out.only = alg.String()
		out.algs = slices.DeleteFunc(out.algs, func(a jwa.SignatureAlgorithm) bool { return a.String() != alg.String() })
	}
	return out, len(out.algs) > 0, nil
}

// Verify checks the signature and returns the claims, of which nothing has been
// judged yet. The error is ErrForm or ErrSignature.
func (k *Keys) Verify(s string) (Claims, error) {
	h, claims, err := split(s)
	if err != nil {
		return nil, err
	}
	if k == nil {
		return nil, ErrSignature
	}
	for _, one := range k.list {
		if h.kid != "" && one.kid != "" && h.kid != one.kid {
			continue
		}
		for _, alg := range one.algs {
			if alg.String() != h.alg {
				continue
			}
			if _, err := jws.Verify([]byte(s), jws.WithKey(alg, one.raw), jws.WithCompact()); err == nil {
				return claims, nil
			}
		}
	}
	return nil, ErrSignature
}

// Document returns a set of public keys in one form (RFC 7517): the public members
// only, in an order of its own, so that the same keys give the same bytes however their
// publisher writes them. Secrets have no document; the error then says so.
func (k *Keys) Document() (string, error) {
	set := struct {
		Keys []json.RawMessage `json:"keys"`
	}{}
	for _, one := range k.list {
		if _, secret := one.raw.([]byte); secret {
			return "", errors.New("write key set: a secret is not written")
		}
		out, err := jwk.Import(one.raw)
		if err != nil {
			return "", fmt.Errorf("write key set: key %q: %w", one.kid, err)
		}
		for name, value := range map[string]string{jwk.KeyIDKey: one.kid, jwk.AlgorithmKey: one.only} {
			if value != "" {
				if err := out.Set(name, value); err != nil {
					return "", fmt.Errorf("write key set: key %q: %w", one.kid, err)
				}
			}
		}
		data, err := json.Marshal(out) // jwx writes members in the order of their names
		if err != nil {
			return "", fmt.Errorf("write key set: key %q: %w", one.kid, err)
		}
		set.Keys = append(set.Keys, data)
	}
	slices.SortFunc(set.Keys, func(a, b json.RawMessage) int { return bytes.Compare(a, b) })
	data, err := json.Marshal(set)
	return string(data), err
}

// Has tells whether a public key stands in the set under that kid.
func (k *Keys) Has(kid string, public crypto.PublicKey) bool {
	if k == nil || kid == "" {
		return false
	}
	p, ok := public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && slices.ContainsFunc(k.list, func(one key) bool { return one.kid == kid && p.Equal(one.raw) })
}
