package inspect

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"

	"github.com/domicile-dev/domicile/pkg/cli/session"
	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/pin"
	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/token"
	"github.com/domicile-dev/domicile/pkg/topology"
)

const (
	idp      = "https://id.example.com"
	openIM   = "https://openim.example.com"
	nameless = "https://nameless.example.com"
	matrix   = "https://matrix.example.org"
)

var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// maker signs tokens of idp and nameless.
type maker struct {
	key  jwk.Key
	jwks string
}

func newMaker(t *testing.T) maker {
	t.Helper()
	raw, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := jwk.Import(raw)
	if err != nil {
		t.Fatal(err)
	}
	if err := key.Set(jwk.KeyIDKey, "k1"); err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(map[string]any{"keys": []any{public}})
	if err != nil {
		t.Fatal(err)
	}
	return maker{key, string(data)}
}

func (m maker) sign(t *testing.T, more map[string]any) string {
	t.Helper()
	claims := map[string]any{"iss": idp, "aud": "im", "sub": "amal", "home": "SA", "exp": now.Add(time.Hour).Unix()}
	maps.Copy(claims, more)
	for name, v := range claims {
		if v == nil {
			delete(claims, name)
		}
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	out, err := jws.Sign(payload, jws.WithKey(jwa.ES256(), m.key))
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func inspected(t *testing.T, m maker, pins string, s string) inspection {
	t.Helper()
	table, err := residency.New(residency.Spec{
		Issuers: []residency.Issuer{{Issuer: idp, Homes: []string{"SA", "TR"}}, {Issuer: nameless, Homes: []string{"SA"}}},
		Epochs:  map[string]uint64{"SA": 2},
	})
	if err != nil {
		t.Fatal(err)
	}
	j := judge{table: table, now: now, topology: &topology.Topology{
		Regions: []topology.Region{{Name: "me-riyadh", PinKeys: pins}},
		Issuers: []topology.Issuer{
			{Issuer: idp, JWKS: m.jwks, Audiences: []string{"im"}, HomeClaim: "home", CountryClaim: "country"},
			{Issuer: matrix, Whoami: &topology.Whoami{Service: "message", Path: "/whoami", Member: "user_id"}},
			{Issuer: nameless, Nameless: true, JWKS: m.jwks, CountryClaim: "country"},
			{Issuer: openIM, Secret: &topology.Secret{File: "/key", Regions: []string{"me-riyadh"}}, HomeClaim: "home"},
		},
	}}
	j.look(s)
	return j.inspection
}

// TestLook: each kind of token leads to its issuer, its home or the reason why not.
func TestLook(t *testing.T) {
	m, another := newMaker(t), newMaker(t)
	none := map[string]any{"iss": nil}
	with := func(more map[string]any) map[string]any {
		out := maps.Clone(none)
		maps.Copy(out, more)
		return out
	}
	for name, c := range map[string]struct {
		token              string
		kind, issuer, home string
		reason             residency.Reason
		says               string // in a check
	}{
		"good":             {m.sign(t, nil), kindSigned, idp, "SA", "", "verified with the keys"},
		"another key":      {another.sign(t, nil), kindSigned, idp, "SA", residency.BadToken, ""},
		"expired":          {m.sign(t, map[string]any{"exp": now.Add(-time.Hour).Unix()}), kindSigned, idp, "SA", residency.BadToken, "expired"},
		"ten years":        {m.sign(t, map[string]any{"exp": now.Add(87600 * time.Hour).Unix()}), kindSigned, idp, "SA", residency.BadToken, "too long"},
		"no end":           {m.sign(t, map[string]any{"exp": nil}), kindSigned, idp, "SA", residency.BadToken, "no end"},
		"audience":         {m.sign(t, map[string]any{"aud": "x"}), kindSigned, idp, "SA", residency.BadToken, "audience"},
		"not entitled":     {m.sign(t, map[string]any{"home": "DE"}), kindSigned, idp, "", residency.IssuerNotEntitled, "DE"},
		"unknown issuer":   {m.sign(t, map[string]any{"iss": "https://evil.example"}), kindSigned, "", "", residency.BadToken, "evil"},
		"no user":          {m.sign(t, map[string]any{"sub": 7}), kindSigned, idp, "SA", residency.BadToken, "sub"},
		"declared":         {m.sign(t, map[string]any{"home": nil, "country": "TR"}), kindSigned, idp, "TR", "", ""},
		"silent":           {m.sign(t, map[string]any{"home": nil}), kindSigned, idp, "", residency.NoHome, "no directory"},
		"nameless":         {m.sign(t, with(map[string]any{"country": "SA"})), kindSigned, nameless, "SA", "", "by the agent"},
		"nameless, forged": {another.sign(t, none), kindSigned, nameless, "", residency.BadToken, ""},
		"secret":           {another.sign(t, map[string]any{"iss": openIM}), kindSigned, openIM, "", residency.IssuerNotEntitled, "only on the machines of me-riyadh"},
		"opaque":           {"syt_abcdef", kindOpaque, "", "", "", "/whoami"},
		"broken":           {"eyJh.b.c", kindOpaque, "", "", "", "/whoami"},
	} {
		t.Run(name, func(t *testing.T) {
			got := inspected(t, m, "", c.token)
			if got.Kind != c.kind || got.Issuer != c.issuer || got.Home != c.home || got.Reason != c.reason {
				t.Errorf("%+v", got)
			}
			if all := fmt.Sprintf("%+v", got.Checks); !strings.Contains(all, c.says) {
				t.Errorf("no check says %q: %s", c.says, all)
			}
		})
	}
}

// TestPin: pins are judged by the keys of their region and the epoch of their home.
func TestPin(t *testing.T) {
	private, err := pin.NewKey("p1", "")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := pin.ParseKeys(private)
	if err != nil {
		t.Fatal(err)
	}
	public, err := keys.Public()
	if err != nil {
		t.Fatal(err)
	}
	claims := pin.Claims{
		Region: "me-riyadh", User: strings.Repeat("a", 64), Home: "SA", Epoch: 2, Issuer: idp, Credential: strings.Repeat("c", pin.CredentialLength),
		Issued: now, Expires: now.Add(5 * time.Minute),
	}
	m := newMaker(t)
	set := func(f func(*pin.Claims)) string {
		c := claims
		f(&c)
		s, err := signer(t, keys, public).Sign(c)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for name, c := range map[string]struct {
		token, home string
		reason      residency.Reason
	}{
		"good":         {set(func(*pin.Claims) {}), "SA", ""},
		"old epoch":    {set(func(c *pin.Claims) { c.Epoch = 1 }), "", residency.NoHome},
		"not entitled": {set(func(c *pin.Claims) { c.Home = "DE"; c.Epoch = 0 }), "", residency.IssuerNotEntitled},
		"expired":      {set(func(c *pin.Claims) { c.Issued, c.Expires = now.Add(-time.Hour), now.Add(-55*time.Minute) }), "", residency.BadToken},
		"other region": {set(func(c *pin.Claims) { c.Region = "tr-istanbul" }), "", residency.BadToken},
	} {
		got := inspected(t, m, string(public), c.token)
		if got.Kind != kindPin || got.Home != c.home || got.Reason != c.reason {
			t.Errorf("%s: %+v", name, got)
		}
		if _, shown := got.Claims["cred"]; shown {
			t.Errorf("%s: the end of a token's signature is shown", name)
		}
	}
}

func signer(t *testing.T, keys *pin.Keys, public []byte) *pin.Signer {
	t.Helper()
	inForce, err := token.ParseKeys(public)
	if err != nil {
		t.Fatal(err)
	}
	return keys.Choose(pin.Since(nil).See(keys, inForce, now), now)
}

// TestTheSignatureIsNeverPrinted, in no form of output.
func TestTheSignatureIsNeverPrinted(t *testing.T) {
	m := newMaker(t)
	for _, s := range []string{m.sign(t, nil), newMaker(t).sign(t, nil), m.sign(t, map[string]any{"iss": "x"}), "opaque_" + strings.Repeat("x", 40)} {
		r := result{session.V1(), inspected(t, m, "", s), []decision{}}
		var out bytes.Buffer
		r.text(&out, lang.Chinese, now)
		data, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		secret := s[strings.LastIndexByte(s, '.')+1:]
		if all := out.String() + string(data); strings.Contains(all, secret) || strings.Contains(all, secret[:20]) {
			t.Errorf("the signature of %s is shown:\n%s", s, all)
		}
	}
}
