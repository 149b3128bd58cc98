package e2e_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jws"
)

const (
	homeless = "https://login.example.com" // tokens without a home; they may say the country declared at sign-up
	nameless = "https://openim.example.com"
)

// firstContacts are the shipped policies with issuers whose tokens name no home.
func firstContacts(t testing.TB, secret string, edits ...[3]string) string {
	t.Helper()
	issuers := fmt.Sprintf(`
  pins: {}
  issuers:
    - {issuer: %q, jwks: {file: jwks.json}, audiences: [im], countryClaim: country, homes: ["SA", "TR", "DE", "FR"]}
    - {issuer: %q, nameless: true, userClaim: UserID, homes: ["SA"], from: [{query: token}, {query: v, json: token}], secret: {file: %q, regions: [me-riyadh]}}`,
		homeless, nameless, secret)
	return policies(t, append(edits, [3]string{"deployment.yaml", "\n  issuers:", issuers})...)
}

// homelessToken makes a token that names no home; home is the directory's, "" for
// none.
func (l *lab) homelessToken(t testing.TB, user, home string, claims ...string) string {
	t.Helper()
	args := []string{"demo", "token", "--user", user, "--dir", l.dir, "--claim", "iss=" + homeless, "--claim", "home:=null"}
	if home != "" {
		args = append(args, "--home", home)
	}
	for _, c := range claims {
		args = append(args, "--claim", c)
	}
	out, errs, code := run(t, args...)
	if code != 0 {
		t.Fatalf("demo token: exit %d: %s", code, errs)
	}
	return strings.TrimSpace(out)
}

// resolved counts the first contacts that a region's agent has answered.
func (l *lab) resolved(t testing.TB, region string) (n int) {
	t.Helper()
	for line := range strings.Lines(get(t, h1, l.ready.Regions[region].Agent+"/metrics", "").body) {
		if rest, ok := strings.CutPrefix(line, "domicile_agent_resolutions_total{"); ok {
			_, count, _ := strings.Cut(strings.TrimSpace(rest), "} ")
			i, err := strconv.Atoi(count)
			if err != nil {
				t.Fatal(err)
			}
			n += i
		}
	}
	return n
}

// secretFile writes a symmetric key as OpenIM's would be.
func secretFile(t testing.TB) (path string, key []byte) {
	t.Helper()
	key = []byte(strings.Repeat("openIM", 6))
	path = filepath.Join(t.TempDir(), "openim.json")
	data := fmt.Sprintf(`{"keys":[{"kty":"oct","alg":"HS256","k":%q}]}`, base64.RawURLEncoding.EncodeToString(key))
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, key
}

func TestFirstContacts(t *testing.T) {
	secret, key := secretFile(t)
	l := own(t, "--policies", firstContacts(t, secret))
	eu := l.ready.Regions["eu-frankfurt"].Gateway + "/v1/messages"
	amal := l.homelessToken(t, "amal", "SA")

	t.Run("the directory says it, once", func(t *testing.T) {
		before, asked := l.counted(t), l.resolved(t, "eu-frankfurt")
		first := get(t, h1, eu, amal)
		if first.status != 200 || first.header.Get("x-domicile-home") != "SA" {
			t.Fatal(first)
		}
		pin := first.header.Get("domicile-pin")
		if cookie := first.header.Get("set-cookie"); pin == "" || !strings.HasPrefix(cookie, "domicile-pin="+pin+"; Path=/; Max-Age=") {
			t.Fatalf("pin %q, cookie %q", pin, cookie)
		}
		for _, with := range [][]string{{"domicile-pin", pin}, {"cookie", "a=b; domicile-pin=" + pin}} {
			if a := get(t, h1, eu, amal, with...); a.status != 200 || a.header.Get("set-cookie") != "" {
				t.Errorf("%v: %s", with[0], a)
			}
			if a := get(t, h1, strings.TrimSuffix(eu, "messages")+"profiles/amal", amal, with...); a.status != 200 {
				t.Errorf("own profile by %s: %s", with[0], a)
			}
		}
		if n := l.resolved(t, "eu-frankfurt") - asked; n != 1 {
			t.Errorf("the agent was asked %d times for one user with a pin", n)
		}
		only(t, l.reached(t, before), "me-riyadh")
	})
	t.Run("the country declared at sign-up says it", func(t *testing.T) {
		before := l.counted(t)
		if a := get(t, h1, eu, l.homelessToken(t, "new", "", "country=TR")); a.status != 200 {
			t.Error(a)
		}
		only(t, l.reached(t, before), "tr-istanbul")
	})
	t.Run("nobody says it", func(t *testing.T) {
		before := l.counted(t)
		for name, token := range map[string]string{
			"no home": l.homelessToken(t, "nobody", ""), "no home in a token that could name one": l.token(t, "nobody", ""),
		} {
			if a := get(t, h1, eu, token); a.status != 403 || a.reason() != "no-home" || a.field("policy") == "" {
				t.Errorf("%s: %s", name, a)
			}
		}
		if a := get(t, h1, eu, l.homelessToken(t, "nobody", "", "country=QA")); a.reason() != "issuer-not-entitled" {
			t.Errorf("a country of which the issuer may not speak: %s", a)
		}
		if a := get(t, h1, eu, l.homelessToken(t, "nobody", ""), "x-domicile-home", "SA", "x-domicile-pin-home", "SA"); a.reason() != "no-home" {
			t.Errorf("a home that the client claims: %s", a)
		}
		only(t, l.reached(t, before), "")
	})
	t.Run("OpenIM", func(t *testing.T) {
		l.homelessToken(t, "openim-amal", "SA") // enters the directory
		payload := fmt.Sprintf(`{"UserID":"openim-amal","PlatformID":1,"exp":%d}`, time.Now().Add(time.Hour).Unix())
		signed, err := jws.Sign([]byte(payload), jws.WithKey(jwa.HS256(), key))
		if err != nil {
			t.Fatal(err)
		}
		v := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, `{"token":%q,"userID":"openim-amal"}`, signed))
		for where, at := range map[string]string{"token": "?token=" + string(signed), "v": "?v=" + strings.NewReplacer("+", "%2B", "/", "%2F", "=", "%3D").Replace(v)} {
			before := l.counted(t)
			if a := get(t, h1, l.ready.Regions["me-riyadh"].Gateway+"/v1/messages"+at, ""); a.status != 200 || a.header.Get("set-cookie") != "" {
				t.Errorf("%s: %s", where, a)
			}
			only(t, l.reached(t, before), "me-riyadh")
			// Frankfurt does not have the secret: whoever has it can mint tokens.
			before = l.counted(t)
			if a := get(t, h1, eu+at, ""); a.status != 401 || a.reason() != "bad-token" {
				t.Errorf("%s where the secret is not: %s", where, a)
			}
			if a := get(t, h1, l.ready.Regions["me-riyadh"].Gateway+"/v1/messages"+at, amal); a.status != 401 || a.reason() != "two-identities" {
				t.Errorf("%s beside another token: %s", where, a)
			}
			only(t, l.reached(t, before), "")
		}
	})
	t.Run("T07: a pin counts for its own token, here", func(t *testing.T) { l.pinsAreBound(t, eu, amal) })
}

// pinsAreBound uses a good pin in every way that it was not issued for. Whatever
// happens, the pin's home gets nothing of another user.
func (l *lab) pinsAreBound(t *testing.T, eu, amal string) {
	deniz := l.homelessToken(t, "deniz", "TR")
	pin := get(t, h1, eu, amal).header.Get("domicile-pin")
	if pin == "" {
		t.Fatal("no pin")
	}
	broken := func(token string) string {
		i := strings.LastIndex(token, ".") + 1
		return token[:i] + flip(token[i:])
	}
	asked := func() int { return l.resolved(t, "eu-frankfurt") + l.resolved(t, "tr-istanbul") }
	for name, c := range map[string]struct {
		url, token string
		headers    []string
		region     string // "" for nobody
		asks       int
	}{
		"beside another user's token":    {eu, deniz, []string{"domicile-pin", pin}, "tr-istanbul", 1},
		"in a cookie beside another's":   {eu, deniz, []string{"cookie", "domicile-pin=" + pin}, "tr-istanbul", 1},
		"flipped":                        {eu, amal, []string{"domicile-pin", broken(pin)}, "me-riyadh", 1},
		"at another entry":               {l.ready.Regions["tr-istanbul"].Gateway + "/v1/messages", amal, []string{"domicile-pin", pin}, "me-riyadh", 1},
		"without a token":                {eu, "", []string{"domicile-pin", pin}, "", 0},
		"beside a broken token":          {eu, broken(amal), []string{"domicile-pin", pin}, "", 0},
		"beside a token of another home": {eu, l.token(t, "lena", "DE"), []string{"domicile-pin", pin}, "eu-frankfurt", 0},
	} {
		before, n := l.counted(t), asked()
		a := get(t, h1, c.url, c.token, c.headers...)
		if (a.status == 200) != (c.region != "") {
			// A pin that names another home beside a token that names one is two identities.
			if name != "beside a token of another home" || a.reason() != "two-identities" {
				t.Errorf("%s: %s", name, a)
			}
			c.region = ""
		}
		if got := asked() - n; got != c.asks {
			t.Errorf("%s: agents were asked %d times, want %d", name, got, c.asks)
		}
		only(t, l.reached(t, before), c.region)
	}
}

func TestT07_PinsEndWithTheEpochAndTheFence(t *testing.T) {
	secret, _ := secretFile(t)
	l := own(t, "--policies", firstContacts(t, secret))
	eu := l.ready.Regions["eu-frankfurt"].Gateway + "/v1/messages"
	amal, oldSA := l.homelessToken(t, "amal", "SA"), l.token(t, "mona", "SA")
	pin := get(t, h1, eu, amal).header.Get("domicile-pin")
	asked := l.resolved(t, "eu-frankfurt")
	if a := get(t, h1, eu, amal, "domicile-pin", pin); a.status != 200 || l.resolved(t, "eu-frankfurt") != asked {
		t.Fatalf("the pin does not count: %s", a)
	}
	l.apply(t, firstContacts(t, secret, [3]string{"jurisdictions/sa.yaml", "\nspec:\n", "\nspec:\n  pins: {epoch: 1}\n"}))
	var renewed string
	eventually(t, 10*time.Second, func() error { // the agent may follow a moment later
		a := get(t, h1, eu, amal, "domicile-pin", pin)
		if renewed = a.header.Get("domicile-pin"); a.status != 200 || renewed == "" || renewed == pin {
			return fmt.Errorf("a pin of the old epoch: %s", a)
		}
		if a := get(t, h1, eu, amal, "domicile-pin", renewed); a.status != 200 || a.header.Get("domicile-pin") != "" {
			return fmt.Errorf("a pin of the new epoch: %s", a)
		}
		return nil
	})

	before := l.counted(t)
	l.users(t, "eu-frankfurt", "move", `{"user":"amal","from":["SA"],"to":"TR"}`)
	l.users(t, "eu-frankfurt", "move", `{"user":"mona","from":["SA"],"to":"TR"}`)
	if a := get(t, h1, eu, amal, "domicile-pin", renewed); a.status != 401 || a.reason() != "bad-token" {
		t.Errorf("moved, by pin: %s", a)
	}
	if a := get(t, h1, eu, amal); a.status != 503 || a.reason() != "not-decidable" {
		t.Errorf("moved, and the directory does not know: %s", a)
	}
	if a := get(t, h1, eu, oldSA); a.status != 401 || a.reason() != "bad-token" {
		t.Errorf("moved, by a token that names the old home: %s", a)
	}
	only(t, l.reached(t, before), "")
	before = l.counted(t)
	for name, token := range map[string]string{"in the directory": l.homelessToken(t, "amal", "TR"), "by a new token": l.token(t, "mona", "TR")} {
		if a := get(t, h1, eu, token); a.status != 200 {
			t.Errorf("moved, %s: %s", name, a)
		}
	}
	only(t, l.reached(t, before), "tr-istanbul")

	before = l.counted(t)
	l.users(t, "eu-frankfurt", "erase", `{"user":"mona"}`)
	kill(t, l.ready.Regions["eu-frankfurt"].PIDs.Agent, syscall.SIGKILL)
	kill(t, l.ready.PIDs.Control, syscall.SIGKILL)
	if a := get(t, h1, eu, l.token(t, "mona", "TR")); a.status != 410 || a.reason() != "erased" {
		t.Errorf("erased, and the agent is dead: %s", a)
	}
	if a := get(t, h1, eu, amal); a.status != 503 || a.reason() != "not-decidable" {
		t.Errorf("a first contact without an agent: %s", a)
	}
	only(t, l.reached(t, before), "")
}

// users tells a region's agent who moved or was erased.
func (l *lab) users(t testing.TB, region, what, body string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "operator")
	if out, errs, code := run(t, "demo", "cert", "--node", "-/operator/test", "--out", dir, "--dir", l.dir); code != 0 {
		t.Fatalf("demo cert: exit %d: %s%s", code, out, errs)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	c := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool, ServerName: "localhost"},
	}}
	resp, err := c.Post("https://"+l.ready.Regions[region].AgentPeer+"/v1/users/"+what+"?wait=5s", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var out bytes.Buffer
	if _, err := out.ReadFrom(resp.Body); err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(out.String(), `"connected":2,"current":2`) {
		t.Fatalf("%s: %d %s %v", what, resp.StatusCode, out.String(), err)
	}
}
