package sim_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"
	"time"
)

// pool holds the tokens of a run: made once, because signatures cost.
type pool struct {
	valid  []string // one home each, entitled or not
	broken []string
	known  map[string]holder
	// Where homes must be found: tokens that name none, pins, and what the directory
	// knows.
	unsaid    []string
	pins      map[string]stamp
	pinsOf    map[string][]string // by the header value that they are for
	directory map[string]string   // by user
}

// mint makes the tokens with the demo issuer's own key.
func mint(t *testing.T, dir string) *pool {
	t.Helper()
	key, kid := signer(t, filepath.Join(dir, "issuer.jwk"))
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := &pool{known: map[string]holder{}}
	now := time.Now().Unix()
	for _, home := range []string{"SA", "TR", "DE", "FR", "QA", "US", ""} {
		for i := range 30 {
			user := fmt.Sprintf("sim-%s-%d", home, i)
			claims := map[string]any{"iss": issuer, "aud": "im", "sub": user, "home": home, "iat": now, "exp": now + 6*3600}
			if home == "" {
				delete(claims, "home")
			}
			header := map[string]any{"alg": "ES256", "kid": kid}
			h := holder{user: user, home: home, issuer: issuer, good: true}
			tok := sign(t, key, header, claims)
			p.valid, p.known[tok] = append(p.valid, tok), h
			if i >= 4 || home == "" {
				continue
			}
			h.good = false
			for _, tok := range []string{
				sign(t, other, header, claims),
				sign(t, key, map[string]any{"alg": "ES256", "kid": "other"}, claims),
				sign(t, nil, map[string]any{"alg": "none"}, claims),
				sign(t, key, header, with(claims, "exp", now-3600)),
				sign(t, key, header, with(claims, "nbf", now+3*3600)),
				sign(t, key, header, with(claims, "exp", nil)),
				sign(t, key, header, with(claims, "aud", "other")),
				sign(t, key, header, with(claims, "iss", "https://evil.example")),
			} {
				p.broken, p.known[tok] = append(p.broken, tok), h
			}
		}
	}
	return p
}

func with(claims map[string]any, name string, value any) map[string]any {
	out := map[string]any{}
	for k, v := range claims {
		out[k] = v
	}
	if out[name] = value; value == nil {
		delete(out, name)
	}
	return out
}

// sign makes a token; without a key one without a signature.
func sign(t *testing.T, key any, header, claims map[string]any) string {
	t.Helper()
	part := func(v any) string {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(data)
	}
	input := part(header) + "." + part(claims)
	var sig []byte
	switch k := key.(type) {
	case ed25519.PrivateKey:
		sig = ed25519.Sign(k, []byte(input))
	case *ecdsa.PrivateKey:
		sum := sha256.Sum256([]byte(input))
		r, s, err := ecdsa.Sign(rand.Reader, k, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		sig = make([]byte, 64)
		r.FillBytes(sig[:32])
		s.FillBytes(sig[32:])
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(sig)
}
