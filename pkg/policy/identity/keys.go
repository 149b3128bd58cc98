package identity

import (
	"crypto/ecdh"
	"encoding/base64"
	"encoding/json"

	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy/internal/codes"
	"github.com/domicile-dev/domicile/pkg/policy/internal/form"
	"github.com/domicile-dev/domicile/pkg/policy/internal/yamlpos"
)

// keyFile reads a file of public keys; nil when there is no such file, with which no
// token verifies.
func (r *Reader) keyFile(name string, at *yamlpos.Node) []byte {
	if r.Recording() {
		return nil
	}
	if !r.files.Has(name) {
		r.Warn(at, codes.NoKeys, lang.T("put the issuer's public keys (RFC 7517) there"), lang.T("%s does not exist: no token of this issuer will verify", name))
		return nil
	}
	src, found := r.files.Read(name, at)
	if !found {
		return nil
	}
	return r.keySet(name, src, at)
}

type key = map[string]json.RawMessage

// member is a text member of a key; "" where there is none.
func member(k key, name string) string {
	var s string
	if json.Unmarshal(k[name], &s) != nil {
		return ""
	}
	return s
}

// keySet returns a key set as it stands; nil where it is none, or holds a secret.
func (r *Reader) keySet(name string, src []byte, at *yamlpos.Node) []byte {
	if r.keyList(name, src, at) == nil {
		return nil
	}
	return src
}

// keyList takes a set of public keys apart; nil where it is none.
func (r *Reader) keyList(name string, src []byte, at *yamlpos.Node) []key {
	var set struct {
		Keys []key `json:"keys"`
	}
	if err := json.Unmarshal(src, &set); err != nil || set.Keys == nil {
		r.Fail(at, codes.BadKeys, lang.T(`write {"keys": [...]} as in RFC 7517`), lang.T("%s is no key set: it should be a JSON object with a list of keys", name))
		return nil
	}
	for i, k := range set.Keys {
		kind := member(k, "kty")
		if kind == "" {
			r.Fail(at, codes.BadKeys, lang.T("give each key its kty, as in RFC 7517"), lang.T("key %d of %s has no kty", i+1, name))
			return nil
		}
		for _, secret := range []string{"d", "k", "p", "q", "dp", "dq", "qi", "oth", "priv"} {
			if _, found := k[secret]; found || kind == "oct" {
				r.Fail(at, codes.PrivateKey, lang.T("keep public members only; a secret that stood in a file is to be replaced"),
					lang.T("key %d of %s is a secret: who reads the policy could make tokens of any home", i+1, name))
				return nil
			}
		}
	}
	return set.Keys
}

// maxPinKeys is how many keys a region may have at once: the one that signs, and
// those that are coming and going.
const maxPinKeys = 8

// Region reads pins of a region: the public keys that its pins are signed with.
func (r *Reader) Region(region *form.Object) PinKeys {
	var x PinKeys
	o := region.Object("pins", false)
	if o == nil {
		return x
	}
	if k := o.Object("jwks", true); k != nil {
		var at *yamlpos.Node
		if x.File, at = k.File("file", true); at != nil && !r.Recording() {
			x.JWKS = r.pinKeys(x.File, at)
		}
		k.Done()
	}
	o.Done()
	return x
}

func (r *Reader) pinKeys(name string, at *yamlpos.Node) []byte {
	if !r.files.Has(name) {
		r.Warn(at, codes.NoPinKeys, lang.T("put the region's public pin keys (RFC 7517) there"), lang.T("%s does not exist: no pin of this region will verify", name))
		return nil
	}
	src, found := r.files.Read(name, at)
	if !found {
		return nil
	}
	keys := r.keyList(name, src, at)
	if keys == nil {
		return nil
	}
	if len(keys) == 0 || len(keys) > maxPinKeys {
		r.Fail(at, codes.PinKey, lang.T("keep the key that signs, and those that are coming or going"), lang.T("%s has %d keys; a region's pins have from 1 to %d", name, len(keys), maxPinKeys))
		return nil
	}
	for i, k := range keys {
		kid := member(k, "kid")
		switch first, twice := r.kids[kid]; {
		case kid == "":
			r.Fail(at, codes.PinKey, lang.T("give each key a kid of its own"), lang.T("key %d of %s has no kid", i+1, name))
			return nil
		case twice:
			r.Twice(at, lang.T("pin key %q", kid), first)
			return nil
		}
		if !signsPins(k) {
			r.Fail(at, codes.PinKey, lang.T("make an Ed25519 or P-256 key"), lang.T("key %d of %s is no public key of Ed25519 (OKP) or P-256 (EC)", i+1, name))
			return nil
		}
		r.kids[kid] = r.Pos(at)
	}
	return src
}

// signsPins tells whether k is an Ed25519 or P-256 public key, and whether its alg,
// where it has one, is of that kind.
func signsPins(k key) bool {
	x, errX := base64.RawURLEncoding.DecodeString(member(k, "x"))
	alg := member(k, "alg")
	switch {
	case errX != nil || len(x) != 32:
		return false
	case member(k, "kty") == "OKP" && member(k, "crv") == "Ed25519":
		return alg == "" || alg == "EdDSA" || alg == "Ed25519"
	case member(k, "kty") == "EC" && member(k, "crv") == "P-256":
		y, errY := base64.RawURLEncoding.DecodeString(member(k, "y"))
		if errY != nil || len(y) != 32 || alg != "" && alg != "ES256" {
			return false
		}
		_, err := ecdh.P256().NewPublicKey(append(append([]byte{4}, x...), y...))
		return err == nil
	}
	return false
}
