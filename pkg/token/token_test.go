package token_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"

	"github.com/domicile-dev/domicile/pkg/token"
)

var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// signers holds one private key of each kind.
func signers(t testing.TB) map[jwa.SignatureAlgorithm]any {
	t.Helper()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	out := map[jwa.SignatureAlgorithm]any{jwa.RS256(): rsaKey, jwa.PS384(): rsaKey}
	for alg, curve := range map[jwa.SignatureAlgorithm]elliptic.Curve{jwa.ES256(): elliptic.P256(), jwa.ES384(): elliptic.P384(), jwa.ES512(): elliptic.P521()} {
		if out[alg], err = ecdsa.GenerateKey(curve, rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	out[jwa.EdDSA()] = ed
	return out
}

// public returns a key set with the public half of a key.
func public(t testing.TB, private any, fields map[string]any) string {
	t.Helper()
	k, err := jwk.PublicKeyOf(private)
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range fields {
		if err := k.Set(name, v); err != nil {
			t.Fatal(err)
		}
	}
	set := jwk.NewSet()
	if err := set.AddKey(k); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func sign(t testing.TB, alg jwa.SignatureAlgorithm, key any, headers map[string]any, payload string) string {
	t.Helper()
	h := jws.NewHeaders()
	for name, v := range headers {
		if err := h.Set(name, v); err != nil {
			t.Fatal(err)
		}
	}
	out, err := jws.Sign([]byte(payload), jws.WithKey(alg, key, jws.WithProtectedHeaders(h)))
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func raw(header, payload, signature string) string {
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(header)) + "." + enc([]byte(payload)) + "." + signature
}

func TestEveryKindOfKeyVerifies(t *testing.T) {
	for alg, private := range signers(t) {
		keys, err := token.ParseKeys([]byte(public(t, private, nil)))
		if err != nil {
			t.Fatalf("%s: %v", alg, err)
		}
		s := sign(t, alg, private, nil, `{"sub":"amal"}`)
		c, err := keys.Verify(s)
		if u, ok := c.String("sub"); err != nil || u != "amal" || !ok {
			t.Errorf("%s: %v %v", alg, c, err)
		}
		for name, bad := range map[string]string{
			"payload":   strings.Replace(s, ".", ".e30", 1),
			"signature": s[:len(s)-5] + "AAAAA",
			"cut":       s[:len(s)-1],
		} {
			if _, err := keys.Verify(bad); err == nil {
				t.Errorf("%s: changed %s verifies", alg, name)
			}
		}
		other, err := token.ParseKeys([]byte(public(t, signers(t)[alg], nil)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := other.Verify(s); !errors.Is(err, token.ErrSignature) {
			t.Errorf("%s: another key: %v", alg, err)
		}
	}
}

func TestT02_AlgorithmsFollowFromTheKey(t *testing.T) {
	all := signers(t)
	rsaKey := all[jwa.RS256()].(*rsa.PrivateKey)
	jwks := public(t, rsaKey, map[string]any{"kid": "a"})
	keys, err := token.ParseKeys([]byte(jwks))
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&rsaKey.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	claims := `{"sub":"amal"}`
	good := sign(t, jwa.RS256(), rsaKey, map[string]any{"kid": "a"}, claims)
	signature := good[strings.LastIndex(good, ".")+1:]
	for name, s := range map[string]string{
		"none":                    raw(`{"alg":"none"}`, claims, "AA"),
		"none, no signature":      raw(`{"alg":"none"}`, claims, ""),
		"no signature":            raw(`{"alg":"RS256"}`, claims, ""),
		"no algorithm":            raw(`{}`, claims, signature),
		"HS256 with the PEM":      sign(t, jwa.HS256(), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil, claims),
		"HS256 with the DER":      sign(t, jwa.HS256(), der, nil, claims),
		"HS256 with the key set":  sign(t, jwa.HS256(), []byte(jwks), nil, claims),
		"a key of its own":        sign(t, jwa.ES256(), all[jwa.ES256()], map[string]any{"jku": "https://evil.example/keys"}, claims),
		"another kid":             sign(t, jwa.RS256(), rsaKey, map[string]any{"kid": "b"}, claims),
		"critical":                raw(`{"alg":"RS256","crit":["x"],"x":1}`, claims, signature),
		"unencoded":               raw(`{"alg":"RS256","b64":false}`, claims, signature),
		"kid is a number":         raw(`{"alg":"RS256","kid":1}`, claims, signature),
		"algorithm twice":         raw(`{"alg":"none","alg":"RS256"}`, claims, signature),
		"claim twice":             sign(t, jwa.RS256(), rsaKey, nil, `{"sub":"a","sub":"b"}`),
		"two objects":             sign(t, jwa.RS256(), rsaKey, nil, `{"sub":"a"}{"sub":"b"}`),
		"a list":                  sign(t, jwa.RS256(), rsaKey, nil, `["a"]`),
		"a text":                  sign(t, jwa.RS256(), rsaKey, nil, `"a"`),
		"no UTF-8":                sign(t, jwa.RS256(), rsaKey, nil, "{\"sub\":\"\xff\"}"),
		"four parts":              good + ".AA",
		"padding":                 strings.Replace(good, ".", "=.", 1),
		"a line break":            good[:10] + "\n" + good[10:],
		"flattened JSON":          `{"payload":"e30","protected":"e30","signature":"AA"}`,
		"empty":                   "",
		"dots":                    "..",
		"longer than anybody's":   good + strings.Repeat("A", token.MaxToken),
		"trailing bits of base64": strings.Replace(good, ".", "B.", 1),
	} {
		if c, err := keys.Verify(s); err == nil {
			t.Errorf("%s verifies: %v", name, c)
		}
	}
	if _, err := keys.Verify(good); err != nil {
		t.Error(err)
	}
	if _, err := (*token.Keys)(nil).Verify(good); !errors.Is(err, token.ErrSignature) {
		t.Errorf("no keys: %v", err)
	}
}

func TestKeySets(t *testing.T) {
	all := signers(t)
	es := all[jwa.ES256()]
	oct := func(n int, kid string) string {
		return fmt.Sprintf(`{"kty":"oct","kid":%q,"k":%q}`, kid, base64.RawURLEncoding.EncodeToString(make([]byte, n)))
	}
	private, err := json.Marshal(must(t, es))
	if err != nil {
		t.Fatal(err)
	}
	small := fmt.Sprintf(`{"kty":"RSA","e":"AQAB","n":%q}`, base64.RawURLEncoding.EncodeToString(append(make([]byte, 0, 128), []byte(strings.Repeat("\xff", 128))...)))
	const newKind, newCurve = `{"kty":"AKP","alg":"ML-DSA-44","pub":"AA"}`, `{"kty":"EC","crv":"secp256k1","x":"AA","y":"AA"}`
	for name, c := range map[string]struct {
		data   string
		secret bool
		want   string // in the error
	}{
		"empty":                {"", false, "not a JSON Web Key Set"},
		"no key":               {`{"keys":[]}`, false, "no key"},
		"encryption only":      {public(t, es, map[string]any{"use": "enc"}), false, "no key"},
		"private":              {string(private), false, "private"},
		"symmetric":            {oct(32, "s"), false, "symmetric"},
		"symmetric in a set":   {`{"keys":[` + oct(32, "s") + `]}`, false, "symmetric"},
		"small RSA":            {small, false, "read key set"},
		"large RSA":            {fmt.Sprintf(`{"kty":"RSA","e":"AQAB","n":%q}`, base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat("\xff", 2049)))), false, "RSA of more than 16384 bits"},
		"public for a secret":  {public(t, es, nil), true, "not symmetric"},
		"short secret":         {oct(31, "s"), true, "32 bytes"},
		"too many":             {`{"keys":[` + strings.TrimSuffix(strings.Repeat(oct(32, "s")+",", 65), ",") + `]}`, true, "more than"},
		"too large":            {strings.Repeat(" ", token.MaxKeySet+1), false, "larger"},
		"for another":          {public(t, es, map[string]any{"alg": "RS256"}), false, "no key"},
		"of new kinds only":    {`{"keys":[` + newKind + `,` + newCurve + `]}`, false, "no key"},
		"a kind that is none":  {`{"keys":[` + newKind + `,{"kty":5}]}`, false, "not a JSON Web Key Set"},
		"broken":               {`{"keys":[` + newKind + `,{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`, false, "not a JSON Web Key Set"},
		"keys twice":           {`{"keys":[],"keys":[` + newKind + `]}`, false, "not a JSON Web Key Set"},
		"good":                 {public(t, es, map[string]any{"use": "sig", "alg": "ES256"}), false, ""},
		"good secret":          {oct(32, "s"), true, ""},
		"good secret in a set": {`{"keys":[` + oct(48, "s") + `]}`, true, ""},
	} {
		parse := token.ParseKeys
		if c.secret {
			parse = token.ParseSecret
		}
		_, err := parse([]byte(c.data))
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	keys, err := token.ParseKeys([]byte(public(t, es, map[string]any{"kid": "a"})))
	if err != nil {
		t.Fatal(err)
	}
	if p := &es.(*ecdsa.PrivateKey).PublicKey; !keys.Has("a", p) || keys.Has("b", p) || keys.Has("", p) {
		t.Error("Has does not go by kid and key")
	}
	if keys.Has("a", &signers(t)[jwa.ES256()].(*ecdsa.PrivateKey).PublicKey) {
		t.Error("Has takes another key of that kid")
	}
	if (*token.Keys)(nil).Has("a", &es.(*ecdsa.PrivateKey).PublicKey) {
		t.Error("no keys have one")
	}
}

// An issuer publishes keys of new kinds beside the old ones long before anybody here can
// use them; what it adds and withdraws beside them still counts.
func TestT06_KeysOfNewKindsArePassedOver(t *testing.T) {
	es := signers(t)[jwa.ES256()]
	old := public(t, es, map[string]any{"kid": "a"})
	for _, other := range []string{
		`{"kty":"AKP","alg":"ML-DSA-44","kid":"pq","pub":"AAAA"}`,
		`{"kty":"OKP","crv":"Ed448","kid":"pq","x":"AAAA"}`,
		`{"kty":"EC","crv":"secp256k1","kid":"k","x":"AAAA","y":"AAAA"}`,
		`{"kty":"RSA","use":"enc","n":"AQAB","e":"AQAB"}`,
	} {
		keys, err := token.ParseKeys([]byte(strings.Replace(old, `"keys":[`, `"keys":[`+other+`,`, 1)))
		if err != nil || !keys.Has("a", &es.(*ecdsa.PrivateKey).PublicKey) {
			t.Errorf("beside %s: %v", other, err)
		}
	}
}

func must(t *testing.T, rawKey any) jwk.Key {
	t.Helper()
	k, err := jwk.Import(rawKey)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestSecretsVerify(t *testing.T) {
	secret := []byte(strings.Repeat("k", 32))
	keys, err := token.ParseSecret(fmt.Appendf(nil, `{"kty":"oct","k":%q}`, base64.RawURLEncoding.EncodeToString(secret)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Verify(sign(t, jwa.HS256(), secret, nil, `{}`)); err != nil {
		t.Error(err)
	}
	if _, err := keys.Verify(sign(t, jwa.HS256(), []byte(strings.Repeat("x", 32)), nil, `{}`)); err == nil {
		t.Error("another secret verifies")
	}
}

func TestT03_T04_Claims(t *testing.T) {
	at := func(d time.Duration) json.RawMessage { return fmt.Appendf(nil, "%d", now.Add(d).Unix()) }
	base := token.Claims{"iss": []byte(`"i"`), "aud": []byte(`["x","im"]`), "exp": at(time.Hour)}
	want := token.Expect{Issuer: "i", Audiences: []string{"im"}, MaxLifetime: 24 * time.Hour, Skew: 30 * time.Second}
	for name, c := range map[string]struct {
		change token.Claims
		ok     bool
	}{
		"good":                     {nil, true},
		"no end":                   {token.Claims{"exp": nil}, false},
		"the end is a text":        {token.Claims{"exp": []byte(`"99999999999"`)}, false},
		"the end is null":          {token.Claims{"exp": []byte(`null`)}, false},
		"the end is huge":          {token.Claims{"exp": []byte(`1e300`)}, false},
		"the end is negative":      {token.Claims{"exp": []byte(`-1`)}, false},
		"ended, within skew":       {token.Claims{"exp": at(-29 * time.Second)}, true},
		"ended, beyond skew":       {token.Claims{"exp": at(-30 * time.Second)}, false},
		"as long as allowed":       {token.Claims{"exp": at(24 * time.Hour)}, true},
		"longer":                   {token.Claims{"exp": at(24*time.Hour + time.Second)}, false},
		"ten years":                {token.Claims{"exp": at(87600 * time.Hour)}, false},
		"begins, within skew":      {token.Claims{"nbf": at(30 * time.Second)}, true},
		"begins, beyond skew":      {token.Claims{"nbf": at(31 * time.Second)}, false},
		"the beginning is a text":  {token.Claims{"nbf": []byte(`"1"`)}, false},
		"another issuer":           {token.Claims{"iss": []byte(`"j"`)}, false},
		"no issuer":                {token.Claims{"iss": nil}, false},
		"the issuer is a number":   {token.Claims{"iss": []byte(`1`)}, false},
		"another audience":         {token.Claims{"aud": []byte(`"x"`)}, false},
		"the audience as a text":   {token.Claims{"aud": []byte(`"im"`)}, true},
		"no audience":              {token.Claims{"aud": nil}, false},
		"the audience is odd":      {token.Claims{"aud": []byte(`{"im":1}`)}, false},
		"an audience is a number":  {token.Claims{"aud": []byte(`["im",1]`)}, false},
		"fractions of a second":    {token.Claims{"exp": fmt.Appendf(nil, "%d.5", now.Unix())}, true},
		"exponents are numbers":    {token.Claims{"exp": fmt.Appendf(nil, "%.6e", float64(now.Unix()))}, true},
		"the end is true":          {token.Claims{"exp": []byte(`true`)}, false},
		"an end in a list":         {token.Claims{"exp": []byte(`[1]`)}, false},
		"an empty issuer":          {token.Claims{"iss": []byte(`""`)}, false},
		"a beginning that is null": {token.Claims{"nbf": []byte(`null`)}, false},
	} {
		claims := maps.Clone(base)
		for k, v := range c.change {
			if claims[k] = v; v == nil {
				delete(claims, k)
			}
		}
		if err := claims.Check(want, now); (err == nil) != c.ok || err != nil && !errors.Is(err, token.ErrClaims) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := base.Check(token.Expect{}, now); err == nil {
		t.Error("no issuer is expected, and one that is named is taken")
	}
	if err := (token.Claims{"exp": at(time.Hour), "iss": []byte(`""`)}).Check(token.Expect{}, now); err == nil {
		t.Error("an empty issuer is one")
	}
	nameless := token.Expect{Nameless: true}
	if err := (token.Claims{"exp": at(time.Hour)}).Check(nameless, now); err != nil {
		t.Error(err)
	}
	for _, iss := range []string{`"i"`, `null`, `""`} {
		if err := (token.Claims{"exp": at(time.Hour), "iss": []byte(iss)}).Check(nameless, now); err == nil {
			t.Errorf("nameless with iss %s", iss)
		}
	}
	// The defaults: 90 days, 60 s.
	for d, ok := range map[time.Duration]bool{90 * 24 * time.Hour: true, 90*24*time.Hour + time.Second: false, -59 * time.Second: true, -time.Minute: false} {
		if err := (token.Claims{"exp": at(d)}).Check(nameless, now); (err == nil) != ok {
			t.Errorf("default, %v: %v", d, err)
		}
	}
}

func TestTexts(t *testing.T) {
	c := token.Claims{
		"s": []byte(`"x"`), "n": []byte(`1`), "b": []byte(`true`), "l": []byte(`["x"]`), "o": []byte(`{"s":"y","t":{"u":"z"},"n":1}`),
		"z": []byte(`null`), "e": []byte(`""`), "o.s": []byte(`"dotted"`), "p": []byte(`{"q":"1","q":"2"}`),
	}
	for name, want := range map[string]string{
		"s": "x", "o.t.u": "z", "o.s": "dotted",
		"n": "", "b": "", "l": "", "o": "", "z": "", "e": "", "none": "", "o.n": "", "o.t": "", "s.x": "", "p.q": "", "": "", ".": "", "o.": "",
	} {
		if got, ok := c.String(name); got != want || ok != (want != "") {
			t.Errorf("%q: %q %v, want %q", name, got, ok, want)
		}
	}
}

func FuzzVerify(f *testing.F) {
	all := signers(f)
	keys, err := token.ParseKeys([]byte(public(f, all[jwa.ES256()], nil)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sign(f, jwa.ES256(), all[jwa.ES256()], nil, `{"sub":"amal","exp":1e9}`))
	f.Add(raw(`{"alg":"none"}`, `{}`, ""))
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, s string) {
		claims, err := token.Peek(s)
		if token.Looks(s) != (err == nil) {
			t.Error("Looks and Peek differ")
		}
		for name := range claims {
			claims.String(name)
			claims.Instant(name)
		}
		_ = claims.Check(token.Expect{Nameless: true}, now)
		if _, err := keys.Verify(s); err != nil && len(s) > 20 && strings.Contains(err.Error(), s) {
			t.Error("the error holds the token")
		}
	})
}

func FuzzParseKeys(f *testing.F) {
	f.Add([]byte(public(f, signers(f)[jwa.RS256()], nil)))
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AA"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if k, err := token.ParseKeys(data); err == nil && k == nil {
			t.Error("neither keys nor an error")
		}
		_, _ = token.ParseSecret(data)
	})
}
