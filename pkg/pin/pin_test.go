package pin_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/domicile-dev/domicile/pkg/identity"
	"github.com/domicile-dev/domicile/pkg/pin"
	"github.com/domicile-dev/domicile/pkg/token"
)

var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

const region = "me-riyadh"

func claims() pin.Claims {
	return pin.Claims{
		Region: region, User: identity.UserHash([]byte("k"), "amal"), Home: "SA", Epoch: 2, Issuer: "https://id.example.com",
		Credential: pin.Credential("Bearer " + strings.Repeat("x", 50)), Issued: now, Expires: now.Add(10 * time.Minute),
	}
}

// newKeys makes private keys, and the set of their public halves.
func newKeys(t testing.TB, names ...string) (*pin.Keys, *token.Keys) {
	t.Helper()
	var list []json.RawMessage
	for i, name := range names {
		k, err := pin.NewKey(name, []string{"ES256", "EdDSA"}[i%2])
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, k)
	}
	data, err := json.Marshal(map[string]any{"keys": list})
	if err != nil {
		t.Fatal(err)
	}
	private, err := pin.ParseKeys(data)
	if err != nil {
		t.Fatal(err)
	}
	jwks, err := private.Public()
	if err != nil {
		t.Fatal(err)
	}
	public, err := token.ParseKeys(jwks)
	if err != nil {
		t.Fatalf("%v: %s", err, jwks)
	}
	return private, public
}

func signer(t testing.TB, private *pin.Keys, public *token.Keys) *pin.Signer {
	t.Helper()
	s := private.Choose(pin.Since(nil).See(private, public, now), now)
	if s == nil {
		t.Fatal("no key to sign with")
	}
	return s
}

func TestBothKindsOfKeySign(t *testing.T) {
	for _, names := range [][]string{{"es"}, {"x", "ed"}} { // the last key, which is the oldest
		private, public := newKeys(t, names...)
		s, err := signer(t, private, public).Sign(claims())
		if err != nil {
			t.Fatal(err)
		}
		got, err := pin.Verify(s, public, region, now)
		if err != nil {
			t.Fatal(err)
		}
		got.Issued, got.Expires = got.Issued.UTC(), got.Expires.UTC()
		if d := cmp.Diff(claims(), got); d != "" {
			t.Errorf("%v (-want +got):\n%s", names, d)
		}
	}
}

func TestT07_PinIsBound(t *testing.T) {
	private, public := newKeys(t, "a")
	_, others := newKeys(t, "a")
	signed, err := signer(t, private, public).Sign(claims())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		keys   *token.Keys
		region string
		now    time.Time
		ok     bool
	}{
		"good":                 {public, region, now, true},
		"to the end, and skew": {public, region, now.Add(10*time.Minute + 29*time.Second), true},
		"after the end":        {public, region, now.Add(10*time.Minute + 30*time.Second), false},
		"a clock behind":       {public, region, now.Add(-30 * time.Second), true},
		"before its time":      {public, region, now.Add(-31 * time.Second), false},
		"another region":       {public, "eu-frankfurt", now, false},
		"another key":          {others, region, now, false},
		"no keys":              {nil, region, now, false},
	} {
		if _, err := pin.Verify(signed, c.keys, c.region, c.now); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	parts := strings.Split(signed, ".")
	for p, part := range parts[:2] {
		plain, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil {
			t.Fatal(err)
		}
		for bit := range len(plain) * 8 {
			plain[bit/8] ^= 1 << (bit % 8)
			flipped := strings.Join([]string{
				map[bool]string{true: base64.RawURLEncoding.EncodeToString(plain), false: parts[0]}[p == 0],
				map[bool]string{true: base64.RawURLEncoding.EncodeToString(plain), false: parts[1]}[p == 1], parts[2],
			}, ".")
			plain[bit/8] ^= 1 << (bit % 8)
			if _, err := pin.Verify(flipped, public, region, now); err == nil {
				t.Fatalf("part %d, bit %d flipped: verifies", p, bit)
			}
		}
	}
}

func TestSignRefusesWhatIsNoPin(t *testing.T) {
	private, public := newKeys(t, "a")
	s := signer(t, private, public)
	for name, change := range map[string]func(*pin.Claims){
		"no region":         func(c *pin.Claims) { c.Region = "" },
		"no user":           func(c *pin.Claims) { c.User = "" },
		"no home":           func(c *pin.Claims) { c.Home = "" },
		"no issuer":         func(c *pin.Claims) { c.Issuer = "" },
		"no credential":     func(c *pin.Claims) { c.Credential = "" },
		"a whole token":     func(c *pin.Claims) { c.Credential += "x" },
		"eleven minutes":    func(c *pin.Claims) { c.Expires = now.Add(10*time.Minute + time.Second) },
		"no time":           func(c *pin.Claims) { c.Expires = now },
		"less than nothing": func(c *pin.Claims) { c.Expires = now.Add(-time.Minute) },
	} {
		c := claims()
		change(&c)
		if out, err := s.Sign(c); err == nil {
			t.Errorf("%s: signed %s", name, out)
		}
	}
}

// A pin that the key signed and that says something else than a pin does is none:
// nobody but an agent signs, and this is what an agent never does.
func TestVerifyRefusesWhatNoAgentSigns(t *testing.T) {
	private, public := newKeys(t, "a")
	for name, c := range map[string]struct{ change, to string }{
		"good":                  {"", ""},
		"another issuer":        {`"urn:domicile:pin:me-riyadh"`, `"urn:domicile:pin:eu-frankfurt"`},
		"another audience":      {`"aud":"me-riyadh"`, `"aud":"eu-frankfurt"`},
		"an epoch that is none": {`"epoch":"2"`, `"epoch":"02"`},
		"an epoch as a number":  {`"epoch":"2"`, `"epoch":2`},
		"a negative epoch":      {`"epoch":"2"`, `"epoch":"-2"`},
		"no home":               {`"home":"SA"`, `"home":""`},
		"no beginning":          {`"iat":`, `"at":`},
		"a long life":           {fmt.Sprintf(`"exp":%d`, now.Add(10*time.Minute).Unix()), fmt.Sprintf(`"exp":%d`, now.Add(10*time.Minute+20*time.Second).Unix())},
		"a longer life":         {fmt.Sprintf(`"exp":%d`, now.Add(10*time.Minute).Unix()), fmt.Sprintf(`"exp":%d`, now.Add(time.Hour).Unix())},
	} {
		s, err := pin.SignPayload(signer(t, private, public), claims(), func(p string) string {
			out := strings.Replace(p, c.change, c.to, 1)
			if c.change != "" && out == p {
				t.Fatalf("%s: %q is not in %s", name, c.change, p)
			}
			return out
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pin.Verify(s, public, region, now); (err == nil) != (name == "good") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCredentialIsTheEnd(t *testing.T) {
	long := "Bearer " + strings.Repeat("a", 30) + strings.Repeat("b", 43)
	if got := pin.Credential(long); got != strings.Repeat("b", 43) || !pin.Binds(long) {
		t.Errorf("long: %q", got)
	}
	if got := pin.Credential("Bearer abc"); got != "Bearer abc" || pin.Binds("Bearer abc") {
		t.Errorf("short: %q", got)
	}
	if !pin.Binds(strings.Repeat("b", 43)) || pin.Binds(strings.Repeat("b", 42)) {
		t.Error("Binds is off by one")
	}
}

func TestKeysChangeWithoutAGap(t *testing.T) {
	both, inForce := newKeys(t, "new", "old")
	jwks, err := both.Public()
	if err != nil {
		t.Fatal(err)
	}
	only := func(kid string) *token.Keys {
		var set struct {
			Keys []map[string]any `json:"keys"`
		}
		if err := json.Unmarshal(jwks, &set); err != nil {
			t.Fatal(err)
		}
		for _, k := range set.Keys {
			if k["kid"] == kid {
				data, err := json.Marshal(k)
				if err != nil {
					t.Fatal(err)
				}
				out, err := token.ParseKeys(data)
				if err != nil {
					t.Fatal(err)
				}
				return out
			}
		}
		t.Fatalf("no %s in %s", kid, jwks)
		return nil
	}
	kid := func(s *pin.Signer) string {
		if s == nil {
			return ""
		}
		return s.Kid()
	}
	var since pin.Since
	for _, step := range []struct {
		at      time.Duration
		inForce *token.Keys
		want    string
	}{
		{0, nil, ""},
		{0, only("old"), "old"},
		{time.Hour, only("old"), "old"},
		{time.Hour, inForce, "old"}, // not every Envoy may have the new one yet
		{time.Hour + 29*time.Second, inForce, "old"},
		{time.Hour + 30*time.Second, inForce, "new"},
		{time.Hour + time.Minute, only("new"), "new"},
		{2 * time.Hour, only("old"), "old"}, // rolled back
		{2 * time.Hour, inForce, "old"},     // the new one counts from here again
		{3 * time.Hour, nil, ""},
	} {
		at := now.Add(step.at)
		since = since.See(both, step.inForce, at)
		if got := kid(both.Choose(since, at)); got != step.want {
			t.Errorf("%v: signs with %q, want %q", step.at, got, step.want)
		}
	}
	_, foreign := newKeys(t, "old") // the same name, another key
	if s := both.Choose(pin.Since(nil).See(both, foreign, now), now); s != nil {
		t.Error("signs with a key that is not in force")
	}
	if s := (*pin.Keys)(nil).Choose(nil, now); s != nil {
		t.Error("no keys sign")
	}
}

func TestKeyFiles(t *testing.T) {
	es, err := pin.NewKey("a", "ES256")
	if err != nil {
		t.Fatal(err)
	}
	with := func(name, value string) string {
		var m map[string]any
		if err := json.Unmarshal(es, &m); err != nil {
			t.Fatal(err)
		}
		if m[name] = value; value == "" {
			delete(m, name)
		}
		out, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	for name, c := range map[string]struct{ data, want string }{
		"good":         {string(es), ""},
		"no JSON":      {"-----BEGIN PRIVATE KEY-----", "not a JSON Web Key"},
		"empty set":    {`{"keys":[]}`, "0 keys"},
		"public":       {with("d", ""), "no private key"},
		"no kid":       {with("kid", ""), "no kid"},
		"for another":  {with("alg", "ES512"), "for ES512"},
		"twice":        {`{"keys":[` + string(es) + `,` + string(es) + `]}`, "stands twice"},
		"symmetric":    {`{"kty":"oct","kid":"s","k":"` + strings.Repeat("A", 43) + `"}`, "no private key"},
		"too many":     {`{"keys":[` + strings.TrimSuffix(strings.Repeat(string(es)+",", 9), ",") + `]}`, "9 keys"},
		"P-384":        {`{"kty":"EC","kid":"s","crv":"P-384","d":"wouCtU7Nw4E8_7n5C1-xBjB4xqSb_liZhYMsy8MGgxUny6Q8NCoH9xSiviwLFfK_","x":"5LnZ6B5l8gLrlVfXUKHZ-3HjlUcwPkT9S7hfK0s2eSYZ6XIgFjxSLTtYqWx7K2Ih","y":"AA"}`, "read pin keys"},
		"far too long": {strings.Repeat(" ", token.MaxKeySet+1), "larger"},
	} {
		k, err := pin.ParseKeys([]byte(c.data))
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if err == nil && fmt.Sprint(k) != "Keys(redacted)" {
			t.Errorf("%s: a key prints itself", name)
		}
	}
}

func FuzzVerify(f *testing.F) {
	private, public := newKeys(f, "a")
	s, err := signer(f, private, public).Sign(claims())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(s)
	f.Add("e30.e30.AA")
	f.Fuzz(func(t *testing.T, in string) {
		c, err := pin.Verify(in, public, region, now)
		if err == nil && (c.Home != "SA" || c.Region != region) {
			t.Errorf("a pin that nobody signed: %+v", c)
		}
	})
}

func FuzzParseKeys(f *testing.F) {
	k, err := pin.NewKey("a", "EdDSA")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(k)
	f.Fuzz(func(t *testing.T, data []byte) {
		if k, err := pin.ParseKeys(data); err == nil {
			if _, err := k.Public(); err != nil {
				t.Error(err)
			}
		}
	})
}
