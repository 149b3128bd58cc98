package e2e_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// claims of a valid token; a test spoils one of them.
func goodClaims() map[string]any {
	now := time.Now().Unix()
	return map[string]any{"iss": "https://id.example.com", "aud": "im", "sub": "mallory", "home": "SA", "iat": now, "exp": now + 600}
}

func b64(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

// forge signs claims with the demo issuer's key under any header.
func (l *lab) forge(t testing.TB, header, claims map[string]any) string {
	t.Helper()
	input := encode(t, header) + "." + encode(t, claims)
	sum := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, l.key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	sig := make([]byte, 64)
	r.FillBytes(sig[:32])
	s.FillBytes(sig[32:])
	return input + "." + b64(sig)
}

func encode(t testing.TB, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b64(data)
}

func (l *lab) es256() map[string]any { return map[string]any{"alg": "ES256", "kid": l.kid} }

// raw sends bytes as they are and reads one response; a connection closed
// without an answer is status 0.
func raw(t testing.TB, url, request string) answer {
	t.Helper()
	c, err := net.DialTimeout("tcp", strings.TrimPrefix(url, "http://"), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, request); err != nil {
		return answer{}
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return answer{}
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(body)}
}

// backendHeaders returns the headers as the backend saw them.
func (a answer) backendHeaders(t testing.TB) map[string]string {
	t.Helper()
	var m struct{ Headers map[string]string }
	if err := json.Unmarshal([]byte(a.body), &m); err != nil {
		t.Fatalf("backend answer: %v: %s", err, a)
	}
	return m.Headers
}

func TestT01_ClientsHeadersAreScrubbed(t *testing.T) {
	l := shared(t)
	token := l.token(t, "amal", "SA")
	for door, url := range l.doors() {
		for _, c := range []string{
			"x-domicile-home: TR", "X-DomiCile-HOME: TR", "x-domicile-home: TR\r\nx-domicile-home: DE", "x-domicile-home: SA, TR",
			"x-domicile-home: \xa0TR", "Connection: x-domicile-home", "x-domicile-home: TR\r\nConnection: close, x-domicile-home",
			"x-domicile-issuer: https://evil", "x-domicile-user: root", "x-domicile-entry: spiffe://x", "x-domicile-anything: 1",
		} {
			before := l.counted(t)
			a := raw(t, url, "GET /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer "+token+"\r\n"+c+"\r\n\r\n")
			got := l.reached(t, before)
			if a.status == 400 { // refused as ambiguous is as good
				only(t, got, "")
				continue
			}
			if a.status != 200 {
				t.Errorf("%q through %s: %s", c, door, a)
				continue
			}
			only(t, got, "me-riyadh")
			h := a.backendHeaders(t)
			for name, want := range map[string]string{"x-domicile-home": "SA", "x-domicile-user": "amal", "x-domicile-issuer": "https://id.example.com"} {
				if h[name] != want {
					t.Errorf("%q through %s: the backend saw %s %q", c, door, name, h[name])
				}
			}
			for _, name := range []string{"x-domicile-anything", "x-domicile-entry", "authorization"} {
				if v, there := h[name]; there {
					t.Errorf("%q through %s: the backend saw %s %q", c, door, name, v)
				}
			}
		}
		before := l.counted(t)
		if a := raw(t, url, "GET /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer "+token+"\r\nX_Domicile_Home: TR\r\n\r\n"); a.status != 400 || a.reason() != "bad-request" {
			t.Errorf("underscores through %s: %s", door, a)
		}
		only(t, l.reached(t, before), "")
	}
}

func TestT01_ScrubbedWhereNoTokenIsNeeded(t *testing.T) {
	l := shared(t)
	for door, url := range l.doors() {
		a := get(t, h1, url+"/healthz", l.token(t, "amal", "SA"), "x-domicile-home", "TR", "x-domicile-user", "root", "Cookie", "session=1")
		// What concerns nobody is served where it came in, and carries nobody's credentials.
		if a.status != 200 || !strings.HasPrefix(door, a.header.Get("x-backend-region")) {
			t.Errorf("health through %s: %s", door, a)
			continue
		}
		for name, v := range a.backendHeaders(t) {
			if strings.HasPrefix(name, "x-domicile-") || name == "authorization" || name == "cookie" {
				t.Errorf("health through %s: the backend saw %s %q", door, name, v)
			}
		}
		before := l.counted(t)
		if a := send(t, h1, http.MethodOptions, url+"/v1/messages", "", "", "x-domicile-home", "SA", "Origin", "https://evil", "Access-Control-Request-Method", "GET"); a.status != 401 {
			t.Errorf("preflight through %s: %s", door, a)
		}
		only(t, l.reached(t, before), "")
	}
}

func TestT01_TrailersDoNotDecide(t *testing.T) {
	l := shared(t)
	token := l.token(t, "amal", "SA")
	for door, url := range l.doors() {
		before := l.counted(t)
		a := raw(t, url, "POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer "+token+
			"\r\nTransfer-Encoding: chunked\r\nTrailer: x-domicile-home\r\n\r\n2\r\nhi\r\n0\r\nx-domicile-home: TR\r\n\r\n")
		if a.status != 200 || strings.Contains(a.body, `"TR"`) {
			t.Errorf("trailer through %s: %s", door, a)
		}
		only(t, l.reached(t, before), "me-riyadh")
	}
}

func TestT02_ForgedSignatures(t *testing.T) {
	l := shared(t)
	good := goodClaims()
	public := append(l.key.X.FillBytes(make([]byte, 32)), l.key.Y.FillBytes(make([]byte, 32))...)
	hs := func(header map[string]any) string {
		input := encode(t, header) + "." + encode(t, good)
		mac := hmac.New(sha256.New, public)
		mac.Write([]byte(input))
		return input + "." + b64(mac.Sum(nil))
	}
	// A listener that a key URL in the token would be fetched from.
	trap, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer trap.Close()
	fetched := make(chan struct{}, 1)
	go func() {
		if c, err := trap.Accept(); err == nil {
			c.Close()
			fetched <- struct{}{}
		}
	}()
	jku := "http://" + trap.Addr().String() + "/jwks.json"
	signed := l.forge(t, l.es256(), good)
	parts := strings.Split(signed, ".")
	tokens := map[string]string{
		"alg none":             encode(t, map[string]any{"alg": "none"}) + "." + encode(t, good) + ".",
		"alg None":             encode(t, map[string]any{"alg": "None", "kid": l.kid}) + "." + encode(t, good) + ".",
		"empty signature":      parts[0] + "." + parts[1] + ".",
		"no signature part":    parts[0] + "." + parts[1],
		"HS256, public as key": hs(map[string]any{"alg": "HS256", "kid": l.kid}),
		"ES384 header":         l.forge(t, map[string]any{"alg": "ES384", "kid": l.kid}, good),
		"jku, foreign kid":     l.forge(t, map[string]any{"alg": "ES256", "kid": "evil", "jku": jku, "x5u": jku}, good),
		"other claims":         parts[0] + "." + encode(t, map[string]any{"iss": good["iss"], "aud": "im", "home": "TR", "exp": good["exp"]}) + "." + parts[2],
		"flipped bit":          parts[0] + "." + parts[1] + "." + flip(parts[2]),
		"zero signature":       parts[0] + "." + parts[1] + "." + b64(make([]byte, 64)),
	}
	for name, token := range tokens {
		for door, url := range l.doors() {
			before := l.counted(t)
			if a := get(t, h1, url+"/v1/messages", token); a.status != 401 || a.reason() != "bad-token" {
				t.Errorf("%s through %s: %s", name, door, a)
			}
			only(t, l.reached(t, before), "")
		}
	}
	select {
	case <-fetched:
		t.Error("a key was fetched from a URL that a token named")
	default:
	}
}

func flip(s string) string {
	data, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		panic(err)
	}
	data[7] ^= 1
	return b64(data)
}

func TestT03_TimesOfTokens(t *testing.T) {
	l := shared(t)
	now := time.Now().Unix()
	url := l.ready.Regions["eu-frankfurt"].Gateway + "/v1/messages"
	for _, c := range []struct {
		name  string
		set   map[string]any
		allow bool
	}{
		{"valid", nil, true},
		{"expired inside the skew of 60 s", map[string]any{"exp": now - 20}, true},
		{"expired beyond the skew", map[string]any{"exp": now - 100}, false},
		{"not yet valid, inside the skew", map[string]any{"nbf": now + 20}, true},
		{"not yet valid", map[string]any{"nbf": now + 200}, false},
		{"no exp", map[string]any{"exp": nil}, false},
		{"ten years", map[string]any{"exp": now + 10*365*86400}, false},
		{"exp as text", map[string]any{"exp": "tomorrow"}, false},
		{"negative exp", map[string]any{"exp": -1}, false},
	} {
		claims := goodClaims()
		for k, v := range c.set {
			if claims[k] = v; v == nil {
				delete(claims, k)
			}
		}
		before := l.counted(t)
		a := get(t, h1, url, l.forge(t, l.es256(), claims))
		if c.allow {
			if a.status != 200 {
				t.Errorf("%s: %s", c.name, a)
			}
			only(t, l.reached(t, before), "me-riyadh")
			continue
		}
		if a.status != 401 || a.reason() != "bad-token" {
			t.Errorf("%s: %s", c.name, a)
		}
		only(t, l.reached(t, before), "")
	}
}

func TestT04_IssuerAudienceAndEntitlement(t *testing.T) {
	l := shared(t)
	url := l.ready.Regions["tr-istanbul"].Gateway + "/v1/messages"
	for _, c := range []struct {
		name, claim string
		value       any
		status      int
	}{
		{"wrong issuer", "iss", "https://evil.example", 401}, {"no issuer", "iss", nil, 401}, {"issuer in another case", "iss", "HTTPS://id.example.com", 401},
		{"wrong audience", "aud", "other", 401}, {"no audience", "aud", nil, 401}, {"audience list without ours", "aud", []string{"a", "b"}, 401},
		{"home not entitled", "home", "US", 403}, {"home in lower case", "home", "sa", 403}, {"two homes", "home", "SA,TR", 403},
		{"home a number", "home", 5, 403}, {"home a list", "home", []string{"SA"}, 403}, {"home an object", "home", map[string]any{"a": 1}, 403},
		{"home null", "home", nil, 403}, {"home empty", "home", "", 403}, {"home with a space", "home", " SA", 403},
		{"home with a line break", "home", "SA\r\nx-domicile-home: TR", 403}, {"home a bool", "home", true, 403}, {"wide letters", "home", "ＳＡ", 403},
	} {
		claims := goodClaims()
		if claims[c.claim] = c.value; c.value == nil {
			delete(claims, c.claim)
		}
		before := l.counted(t)
		if a := get(t, h1, url, l.forge(t, l.es256(), claims)); a.status != c.status || a.reason() == "" {
			t.Errorf("%s: %s", c.name, a)
		}
		only(t, l.reached(t, before), "")
	}
}

func TestT05_TwoIdentities(t *testing.T) {
	l := shared(t)
	sa, tr := l.token(t, "amal", "SA"), l.token(t, "ayse", "TR")
	bearer := func(tok string) string { return "Authorization: Bearer " + tok + "\r\n" }
	for door, url := range l.doors() {
		for name, c := range map[string][2]string{
			"two headers":           {"/v1/messages", bearer(sa) + bearer(tr)},
			"two headers, reversed": {"/v1/messages", bearer(tr) + bearer(sa)},
			"the same twice":        {"/v1/messages", bearer(sa) + bearer(sa)},
			"one header, a comma":   {"/v1/messages", "Authorization: Bearer " + sa + ", Bearer " + tr + "\r\n"},
			"basic beside bearer":   {"/v1/messages", "Authorization: Basic Zm9v\r\n" + bearer(sa)},
			"rubbish beside bearer": {"/v1/messages", bearer("x.y.z") + bearer(sa)},
			"access_token":          {"/v1/messages?access_token=" + tr, bearer(sa)},
			"token, in the middle":  {"/v1/messages?a=1&token=" + tr + "&b=2", bearer(sa)},
			"cookie":                {"/v1/messages", bearer(sa) + "Cookie: session=" + tr + "\r\n"},
			"second cookie":         {"/v1/messages", bearer(sa) + "Cookie: a=b; session=" + tr + "; c=d\r\n"},
			"second cookie header":  {"/v1/messages", bearer(sa) + "Cookie: a=b\r\nCookie: session=" + tr + "\r\n"},
		} {
			before := l.counted(t)
			a := raw(t, url, "GET "+c[0]+" HTTP/1.1\r\nHost: 127.0.0.1\r\n"+c[1]+"\r\n")
			if (a.status != 401 && a.status != 400) || a.reason() == "" {
				t.Errorf("%s through %s: %s", name, door, a)
			}
			only(t, l.reached(t, before), "")
		}
		// A token only where we do not look is no identity.
		for name, c := range map[string][2]string{
			"query only": {"/v1/messages?access_token=" + sa, ""}, "cookie only": {"/v1/messages", "Cookie: token=" + sa + "\r\n"},
		} {
			before := l.counted(t)
			if a := raw(t, url, "GET "+c[0]+" HTTP/1.1\r\nHost: 127.0.0.1\r\n"+c[1]+"\r\n"); a.status != 401 || a.reason() != "no-identity" {
				t.Errorf("%s through %s: %s", name, door, a)
			}
			only(t, l.reached(t, before), "")
		}
	}
}

func TestT35_TheRouteDoesNotKeepTheClientsChoice(t *testing.T) {
	l := shared(t)
	claims := goodClaims()
	delete(claims, "home")
	token := l.forge(t, l.es256(), claims)
	for door, url := range l.doors() {
		for _, home := range []string{"SA", "TR", "DE"} {
			for _, c := range []*http.Client{h1, h2c} {
				before := l.counted(t)
				a := get(t, c, url+"/v1/messages", token, "x-domicile-home", home, "x-domicile-issuer", "https://id.example.com", "x-domicile-user", "mallory")
				if a.status != 403 || a.reason() != "no-home" {
					t.Errorf("home %s through %s: %s", home, door, a)
				}
				only(t, l.reached(t, before), "")
			}
		}
	}
}

// What a token says of the caller stays the caller's: a token never reaches a
// backend, nor the access log of one.
func TestTokensEndAtTheLastHop(t *testing.T) {
	l := shared(t)
	for door, url := range l.doors() {
		for home := range regionOf {
			a := get(t, h1, url+"/v1/messages", l.token(t, "strip", home))
			if v, there := a.backendHeaders(t)["authorization"]; there {
				t.Errorf("%s through %s: the backend saw the token %q", home, door, fmt.Sprintf("%.12s…", v))
			}
		}
	}
}
