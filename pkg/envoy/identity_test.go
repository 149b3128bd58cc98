package envoy_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/domicile-dev/domicile/pkg/residency"
)

// wantOutcome is what a request must come to: a region's backend, or a reason.
type wantOutcome struct {
	region string
	status int
	reason residency.Reason
	asked  string
}

func served(region string) wantOutcome { return wantOutcome{region: region, status: 200} }

func denied(why residency.Reason) wantOutcome {
	return wantOutcome{status: why.Status(), reason: why}
}

func (w wantOutcome) by(asked string) wantOutcome { w.asked = asked; return w }

func (w wantOutcome) check(t *testing.T, name string, o outcome) {
	t.Helper()
	if o.status != w.status || o.reason != string(w.reason) || o.region != w.region || o.asked != w.asked {
		t.Errorf("%s: got %s, want %+v", name, o, w)
	}
}

const upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eA==\r\nSec-WebSocket-Version: 13"

func TestT05_TokensWhereverClientsPutThem(t *testing.T) {
	r := newReal(t, nil)
	sa, de := r.token(homely, map[string]any{"home": "SA"}), r.token(homely, map[string]any{"home": "DE"})
	auth := "Authorization: Bearer "
	for _, c := range []struct {
		name, path string
		lines      []string
		want       wantOutcome
	}{
		{"header", "/v1/messages", []string{auth + de}, served("eu")},
		{"header, far home", "/v1/messages", []string{auth + sa}, served("sa")},
		{"cookie", "/v1/messages", []string{"Cookie: a=b; session=" + sa}, served("sa")},
		{"query", "/v1/messages?access_token=" + sa + "&x=1", nil, served("sa")},
		{"query in the middle", "/v1/messages?x=1&access_token=" + de + "&y", nil, served("eu")},
		{"subprotocol", "/ws", []string{upgrade, "Sec-WebSocket-Protocol: xmpp, bearer." + sa}, wantOutcome{region: "sa", status: 101}},
		{"subprotocol, the only one", "/ws", []string{upgrade, "Sec-WebSocket-Protocol: bearer." + de}, wantOutcome{region: "eu", status: 101}},
		// Envoy reads on to the next space.
		{"subprotocol, not the last", "/ws", []string{upgrade, "Sec-WebSocket-Protocol: bearer." + de + ", xmpp"}, denied(residency.BadToken)},
		{"query of a WebSocket", "/ws?access_token=" + sa, []string{upgrade}, wantOutcome{region: "sa", status: 101}},

		{"two headers", "/v1/messages", []string{auth + sa, auth + de}, denied(residency.TwoIdentities)},
		{"two queries", "/v1/messages?access_token=" + sa + "&access_token=" + de, nil, denied(residency.TwoIdentities)},
		{"two queries, one escaped", "/v1/messages?access_token=" + sa + "&acces%73_token=" + de, nil, denied(residency.TwoIdentities)},
		{"two queries, the first empty", "/v1/messages?access_token=&access_token=" + de, nil, denied(residency.TwoIdentities)},
		{"two queries, the first bare", "/v1/messages?access_token&access_token=" + de, nil, denied(residency.TwoIdentities)},
		{"two cookies", "/v1/messages", []string{"Cookie: session=" + sa + "; session=" + de}, denied(residency.TwoIdentities)},
		{"two cookie headers", "/v1/messages", []string{"Cookie: session=" + sa, "Cookie: session=" + de}, denied(residency.TwoIdentities)},
		{"two subprotocols", "/ws", []string{upgrade, "Sec-WebSocket-Protocol: bearer." + sa + ", bearer." + de}, denied(residency.TwoIdentities)},
		{"header and query", "/v1/messages?access_token=" + de, []string{auth + sa}, denied(residency.TwoIdentities)},
		{"header and cookie", "/v1/messages", []string{auth + sa, "Cookie: session=" + de}, denied(residency.TwoIdentities)},
		{"cookie and query", "/v1/messages?access_token=" + de, []string{"Cookie: session=" + sa}, denied(residency.TwoIdentities)},
		{"header and subprotocol", "/ws", []string{upgrade, auth + sa, "Sec-WebSocket-Protocol: bearer." + de}, denied(residency.TwoIdentities)},
		{"Basic beside a query", "/v1/messages?access_token=" + de, []string{"Authorization: Basic Zm9v"}, denied(residency.TwoIdentities)},
		{"header and an unknown query", "/v1/messages?jwt=" + de, []string{auth + sa}, denied(residency.TwoIdentities)},
		{"header and an unknown cookie", "/v1/messages", []string{auth + sa, "Cookie: sessions=" + de}, denied(residency.TwoIdentities)},
		{"query and an unknown query", "/v1/messages?access_token=" + sa + "&t=" + de, nil, denied(residency.TwoIdentities)},
		{"?v= and a header", "/v1/messages?v=e30", []string{auth + sa}, denied(residency.TwoIdentities)},

		{"an unknown query only", "/v1/messages?jwt=" + sa, nil, denied(residency.NoIdentity)},
		{"nothing", "/v1/messages", nil, denied(residency.NoIdentity)},
		{"Basic", "/v1/messages", []string{"Authorization: Basic Zm9v"}, denied(residency.NoIdentity)},
		{"bad signature in a cookie", "/v1/messages", []string{"Cookie: session=" + sa[:len(sa)-6] + "AAAAAA"}, denied(residency.BadToken)},
		{"rubbish in the query", "/v1/messages?access_token=abc", nil, denied(residency.BadToken)},
	} {
		c.want.check(t, c.name, r.ask(t, "eu", c.path, c.lines...))
	}
}

// A secret that signs is used in its own regions only, and only for tokens that name
// its issuer; nothing else's token is made by knowing a public key.
func TestT02_SharedSecretsStayInTheirRegions(t *testing.T) {
	r := newReal(t, nil)
	good := hs256(r.secret, claims(shared, map[string]any{"home": "SA"}))
	bearer := "Authorization: Bearer "
	served("sa").check(t, "in its region", r.ask(t, "sa", "/v1/messages", bearer+good))
	denied(residency.BadToken).check(t, "elsewhere", r.ask(t, "eu", "/v1/messages", bearer+good))
	for name, token := range map[string]string{
		"another issuer's name": hs256(r.secret, claims(homely, map[string]any{"home": "SA"})),
		"another secret":        hs256([]byte("another secret of thirty-two byte"), claims(shared, map[string]any{"home": "SA"})),
		"public key as secret":  hs256([]byte(r.issuer.jwks()), claims(homely, map[string]any{"home": "SA"})),
		"signed by the issuer":  r.token(shared, map[string]any{"home": "SA"}),
		"expired":               hs256(r.secret, claims(shared, map[string]any{"home": "SA", "exp": 1})),
	} {
		denied(residency.BadToken).check(t, name, r.ask(t, "sa", "/v1/messages", bearer+token))
	}
	denied(residency.IssuerNotEntitled).check(t, "a home that is not its own", r.ask(t, "sa", "/v1/messages",
		bearer+hs256(r.secret, claims(shared, map[string]any{"home": "DE"}))))
}

func TestT03_LifetimesOfAnIssuer(t *testing.T) {
	r := newReal(t, nil)
	now := time.Now().Unix()
	for name, c := range map[string]struct {
		issuer string
		exp    any
		want   wantOutcome
	}{
		"within an hour":                      {silent, now + 3000, denied(residency.NoHome).by("eu")},
		"longer than this issuer's":           {silent, now + 2*3600, denied(residency.BadToken)},
		"beyond this issuer's skew":           {silent, now - 20, denied(residency.BadToken)},
		"another issuer's hour may be longer": {homely, now + 2*3600, served("eu")},
		"and its skew":                        {homely, now - 20, served("eu")},
		"no exp":                              {silent, nil, denied(residency.BadToken)},
	} {
		c.want.check(t, name, r.ask(t, "eu", "/v1/messages", "Authorization: Bearer "+r.token(c.issuer, map[string]any{"exp": c.exp, "home": "DE"})))
	}
}

// The user that a backend reads is the one that the token names and the fence knows:
// HTTP would take the spaces of "amal " on the way.
func TestT04_UserIDsArriveAsTheyAre(t *testing.T) {
	r := newReal(t, nil)
	for user, want := range map[string]wantOutcome{
		"amal": served("eu"), "amal b": served("eu"), "a,b": served("eu"), "\u00e9": served("eu"), "\u00a0amal": served("eu"),
		"amal ": denied(residency.BadToken), " amal": denied(residency.BadToken), "amal\t": denied(residency.BadToken),
		"\tamal": denied(residency.BadToken), " ": denied(residency.BadToken), "am\tal": denied(residency.BadToken),
		"x\r\nx-domicile-user: amal": denied(residency.BadToken), "x\namal ": denied(residency.BadToken), "x\x00": denied(residency.BadToken),
	} {
		o := r.ask(t, "eu", "/v1/messages", "Authorization: Bearer "+r.token(homely, map[string]any{"home": "DE", "sub": user}))
		want.check(t, fmt.Sprintf("%q", user), o)
		if o.region != "" && o.got.Header.Get("x-domicile-user") != user {
			t.Errorf("%q arrives as %q", user, o.got.Header.Get("x-domicile-user"))
		}
	}
}

// Whom nothing names, the fence could not keep out: a token without a user id is none.
func TestT04_ATokenNamesItsUser(t *testing.T) {
	r := newReal(t, nil)
	for name, sub := range map[string]any{"no user": nil, "an empty user": ""} {
		for _, claims := range []map[string]any{{"home": "DE"}, {"home": "SA"}} {
			claims["sub"] = sub
			denied(residency.BadToken).check(t, fmt.Sprintf("%s of %s", name, claims["home"]), r.ask(t, "eu", "/v1/messages", "Authorization: Bearer "+r.token(homely, claims)))
		}
	}
}

func TestT07_PinsCountForTheirTokenOnly(t *testing.T) {
	r := newReal(t, nil)
	now := time.Now().Unix()
	mine, other := "Bearer "+r.token(silent, nil), "Bearer "+r.token(silent, map[string]any{"jti": "2"})
	secret := "Bearer syt_YW1hbA_abcdefghijklmnopqrst_1a2b3c"
	named := "Bearer " + r.token(homely, map[string]any{"home": "DE"})
	unknown := "Bearer " + r.token(homely, map[string]any{"home": "US"})
	expired := "Bearer " + r.token(silent, map[string]any{"exp": now - 600})
	auth := func(v string) string { return "Authorization: " + v }
	pin := func(v string) string { return "Domicile-Pin: " + v }
	cookie := func(v string) string { return "Cookie: a=b; domicile-pin=" + v + "; c=d" }
	good, goodOpaque := r.pin("eu", "DE", silent, mine, nil), r.pin("eu", "DE", opaque, secret, nil)
	asked := denied(residency.NoHome).by("eu")
	flipped := good[:len(good)-8] + map[bool]string{true: "B", false: "A"}[good[len(good)-8] == 'A'] + good[len(good)-7:]
	for _, c := range []struct {
		name  string
		lines []string
		want  wantOutcome
	}{
		{"no pin", []string{auth(mine)}, asked},
		{"in its header", []string{auth(mine), pin(good)}, served("eu")},
		{"in its cookie", []string{auth(mine), cookie(good)}, served("eu")},
		{"for an opaque token", []string{auth(secret), pin(goodOpaque)}, served("eu")},
		{"to a far home", []string{auth(mine), pin(r.pin("eu", "SA", silent, mine, nil))}, served("sa")},
		{"to a far home, opaque", []string{auth(secret), cookie(r.pin("eu", "SA", opaque, secret, nil))}, served("sa")},

		{"of another token", []string{auth(other), pin(good)}, asked},
		{"of another token, opaque", []string{auth(secret), pin(good)}, asked},
		{"of a token that ends alike", []string{auth("Bearer x" + secret[7:]), pin(r.pin("eu", "DE", opaque, "Bearer st", map[string]any{"cred": "Bearer 1a2b3c"}))}, asked},
		{"expired", []string{auth(mine), pin(r.pin("eu", "DE", silent, mine, map[string]any{"exp": now - 30}))}, asked},
		{"without an end", []string{auth(mine), pin(r.pin("eu", "DE", silent, mine, map[string]any{"exp": nil}))}, asked},
		{"for an hour", []string{auth(mine), pin(r.pin("eu", "DE", silent, mine, map[string]any{"exp": now + 3600}))}, asked},
		{"of another region", []string{auth(mine), pin(r.pin("sa", "DE", silent, mine, nil))}, asked},
		{"for another region", []string{auth(mine), pin(r.pin("eu", "DE", silent, mine, map[string]any{"aud": "sa"}))}, asked},
		{"without an audience", []string{auth(mine), pin(r.pin("eu", "DE", silent, mine, map[string]any{"aud": nil}))}, asked},
		{"of an earlier epoch", []string{auth(mine), pin(r.pin("eu", "DE", silent, mine, map[string]any{"epoch": "2"}))}, asked},
		{"without an epoch", []string{auth(mine), pin(r.pin("eu", "DE", silent, mine, map[string]any{"epoch": nil}))}, asked},
		{"flipped", []string{auth(mine), pin(flipped)}, asked},
		{"without a credential", []string{auth(mine), pin(r.pin("eu", "DE", silent, mine, map[string]any{"cred": nil}))}, asked},
		{"with an empty credential", []string{auth(mine), pin(r.pin("eu", "DE", silent, mine, map[string]any{"cred": ""}))}, asked},
		{"signed by the issuer", []string{auth(mine), pin(r.issuer.sign(claims("urn:domicile:pin:eu", map[string]any{"aud": "eu", "home": "DE", "epoch": "3", "idp": silent, "cred": mine[len(mine)-43:]})))}, asked},
		{"to an unknown home", []string{auth(mine), pin(r.pin("eu", "QA", silent, mine, nil))}, asked},
		{"rubbish", []string{auth(mine), pin("x.y.z")}, asked},
		{"of a token that reads like one, as token", []string{auth("Bearer " + good)}, denied(residency.BadToken)},

		{"of an issuer that is not entitled", []string{auth(mine), pin(r.pin("eu", "DE", "https://evil", mine, nil))}, denied(residency.IssuerNotEntitled)},
		{"beside an expired token", []string{auth(expired), pin(good)}, denied(residency.BadToken)},
		{"of the expired token itself", []string{auth(expired), pin(r.pin("eu", "DE", silent, expired, nil))}, denied(residency.BadToken)},
		{"of a token with a broken signature", []string{auth(mine[:len(mine)-6] + "AAAAAA"), pin(r.pin("eu", "DE", silent, mine[:len(mine)-6]+"AAAAAA", nil))}, denied(residency.BadToken)},
		{"bad, beside a token with a home", []string{auth(named), pin("x.y.z")}, served("eu")},
		{"of the same home, beside a token with a home", []string{auth(named), pin(r.pin("eu", "DE", homely, named, nil))}, served("eu")},
		{"of another home, beside a token with a home", []string{auth(named), pin(r.pin("eu", "SA", homely, named, nil))}, denied(residency.TwoIdentities)},
		{"of another home and token, beside a token with a home", []string{auth(named), pin(r.pin("eu", "SA", silent, mine, nil))}, denied(residency.TwoIdentities)},
		{"beside a token with an unknown home", []string{auth(unknown), pin(r.pin("eu", "DE", homely, unknown, nil))}, denied(residency.IssuerNotEntitled)},
		{"alone", []string{pin(good)}, denied(residency.NoIdentity)},
		{"alone, in a cookie", []string{cookie(good)}, denied(residency.NoIdentity)},
		{"two, in one header", []string{auth(mine), pin(good), pin(r.pin("eu", "SA", silent, mine, nil))}, denied(residency.TwoIdentities)},
		{"two, in header and cookie", []string{auth(mine), pin(good), cookie(good)}, denied(residency.TwoIdentities)},
		{"two, in cookies", []string{auth(mine), "Cookie: domicile-pin=" + good + "; domicile-pin=" + good}, denied(residency.TwoIdentities)},
		{"beside headers that only we set", []string{auth(mine), "x-domicile-pin-home: SA", "x-domicile-pin-epoch: 0", "x-domicile-pin-issuer: " + silent, "x-domicile-pin-credential: " + mine[len(mine)-43:]}, asked},
	} {
		c.want.check(t, c.name, r.ask(t, "eu", "/v1/messages", c.lines...))
	}
	// A pin stands for tokens in headers only: elsewhere it is not looked at.
	denied(residency.NoHome).by("eu").check(t, "for a token in ?v=", r.ask(t, "eu", "/v1/messages?v=e30", pin(r.pin("eu", "DE", packed, "e30", nil))))
}

// resolver answers for opaque and silent tokens as an agent does.
func resolver(r *real, home string) func(string, *authv3.CheckRequest) *authv3.CheckResponse {
	return func(region string, req *authv3.CheckRequest) *authv3.CheckResponse {
		if req.GetAttributes().GetContextExtensions()["mode"] != "resolve" {
			return refused(residency.Forbidden)
		}
		h := req.GetAttributes().GetRequest().GetHttp().GetHeaders()
		if h["x-domicile-home"] != "" {
			return refused(residency.NotDecidable)
		}
		issuer := opaque
		if h["x-domicile-issuer"] != "" {
			issuer = h["x-domicile-issuer"]
		}
		return resolved(home, issuer, "amal", r.pin(region, home, issuer, h["authorization"], nil))
	}
}

func TestFirstContactsAskTheAgent(t *testing.T) {
	r := newReal(t, nil)
	secret := "Authorization: Bearer syt_YW1hbA_abcdefghijklmnopqrst_1a2b3c"
	noHome := "Authorization: Bearer " + r.token(silent, nil)
	v := base64.StdEncoding.EncodeToString([]byte(`{"token":"x"}`))
	r.answer = resolver(r, "DE")
	for name, c := range map[string]struct {
		path  string
		lines []string
	}{
		"opaque": {"/v1/messages", []string{secret}}, "no home": {"/v1/messages", []string{noHome}}, "?v=": {"/v1/messages?v=" + v, nil},
		"with a home of the client's": {"/v1/messages", []string{secret, "x-domicile-home: SA", "x-domicile-issuer: " + homely}},
	} {
		o := r.ask(t, "eu", c.path, c.lines...)
		served("eu").by("eu").check(t, name, o)
		if o.header.Get("domicile-pin") == "" {
			t.Errorf("%s: the client got no pin", name)
		}
		if o.got == nil {
			continue
		}
		for header, want := range map[string]string{"x-domicile-home": "DE", "x-domicile-user": "amal", "authorization": "", "domicile-pin": "", "x-domicile-pin-credential": ""} {
			if got := o.got.Header.Get(header); got != want {
				t.Errorf("%s: the backend saw %s %q", name, header, got)
			}
		}
		// The pin is good for the next request.
		if pin := o.header.Get("domicile-pin"); !strings.Contains(c.path, "?") {
			served("eu").check(t, name+", again", r.ask(t, "eu", c.path, append(c.lines, "domicile-pin: "+pin)...))
		}
	}
	wantOutcome{region: "eu", status: 101, asked: "eu"}.check(t, "WebSocket", r.ask(t, "eu", "/ws", upgrade, secret))
	wantOutcome{region: "eu", status: 101, asked: "eu"}.check(t, "WebSocket, ?v=", r.ask(t, "eu", "/ws?v="+v, upgrade))
	// Profiles pass the agent as guard as well; this one refuses.
	if o := r.ask(t, "eu", "/v1/profiles/bob", secret); o.region != "" || o.status != http.StatusForbidden {
		t.Errorf("guard: %s", o)
	}
	r.answer = resolver(r, "SA")
	served("sa").by("eu").check(t, "far home", r.ask(t, "eu", "/v1/messages", secret))
	wantOutcome{region: "sa", status: 101, asked: "eu"}.check(t, "far WebSocket", r.ask(t, "eu", "/ws", upgrade, secret))
	served("sa").by("eu sa").check(t, "far home, ?v=", r.ask(t, "eu", "/v1/messages?v="+v))
}

func TestT35_TheAgentsWordDecides(t *testing.T) {
	r := newReal(t, nil)
	secret := "Authorization: Bearer syt_YW1hbA_abcdefghijklmnopqrst_1a2b3c"
	mine := []string{secret, "x-domicile-home: SA", "x-domicile-pin-home: SA"}
	for name, c := range map[string]struct {
		answer *authv3.CheckResponse
		want   wantOutcome
	}{
		"refusal":              {refused(residency.NoHome), denied(residency.NoHome).by("eu")},
		"a home without rules": {resolved("QA", opaque, "u", "p"), denied(residency.NotDecidable).by("eu")},
		"another issuer":       {resolved("DE", "https://evil", "u", "p"), denied(residency.IssuerNotEntitled).by("eu")},
		"no home":              {resolved("", opaque, "u", "p"), denied(residency.NotDecidable).by("eu")},
		"two homes":            {resolved("DE,SA", opaque, "u", "p"), denied(residency.NotDecidable).by("eu")},
	} {
		r.answer = func(string, *authv3.CheckRequest) *authv3.CheckResponse { return c.answer }
		c.want.check(t, name, r.ask(t, "eu", "/v1/messages", mine...))
	}
}

// A peer takes the pins of the region that sent the request, and looks at them itself.
func TestT07_PeersJudgePinsThemselves(t *testing.T) {
	r := newReal(t, nil)
	secret, other := "Bearer syt_YW1hbA_abcdefghijklmnopqrst_1a2b3c", "Bearer syt_Ym9i_abcdefghijklmnopqrstuvwxyz_9z8y7x"
	mine := "Bearer " + r.token(silent, nil)
	auth := func(v string) string { return "Authorization: " + v }
	pin := func(v string) string { return "domicile-pin: " + v }
	asked := denied(residency.NoHome).by("sa")
	for _, c := range []struct {
		name, from string
		lines      []string
		want       wantOutcome
	}{
		{"of the region that sent it", "eu", []string{auth(secret), pin(r.pin("eu", "SA", opaque, secret, nil))}, served("sa")},
		{"the same beside a token without a home", "eu", []string{auth(mine), pin(r.pin("eu", "SA", silent, mine, nil))}, served("sa")},
		{"the same from another region", "tr", []string{auth(secret), pin(r.pin("tr", "SA", opaque, secret, nil))}, served("sa")},
		{"of another region than the one that sent it", "tr", []string{auth(secret), pin(r.pin("eu", "SA", opaque, secret, nil))}, asked},
		{"of the peer's own region", "eu", []string{auth(secret), pin(r.pin("sa", "SA", opaque, secret, nil))}, asked},
		{"of another token", "eu", []string{auth(other), pin(r.pin("eu", "SA", opaque, secret, nil))}, asked},
		{"to a home that is not served here", "eu", []string{auth(secret), pin(r.pin("eu", "DE", opaque, secret, nil))}, denied(residency.Forbidden)},
		{"headers that only we set", "eu", []string{auth(secret), "x-domicile-pin-home: SA", "x-domicile-home: SA", "x-domicile-issuer: " + opaque}, asked},
		{"an entry of its own making", "tr", []string{auth(secret), "x-domicile-entry: spiffe://td/eu/gateway/x", pin(r.pin("eu", "SA", opaque, secret, nil))}, asked},
		{"a stale one in the cookie", "eu", []string{auth(secret), pin(r.pin("eu", "SA", opaque, secret, nil)), "Cookie: domicile-pin=" + r.pin("eu", "DE", opaque, other, nil)}, asked},
		{"an expired token", "eu", []string{auth("Bearer " + r.token(silent, map[string]any{"exp": 1})), pin(r.pin("eu", "SA", silent, mine, nil))}, denied(residency.BadToken)},
	} {
		c.want.check(t, c.name, r.askAsPeer(t, c.from, "/v1/messages", c.lines...))
	}
	r.answer = resolver(r, "SA")
	served("sa").by("sa").check(t, "its own agent's word", r.askAsPeer(t, "eu", "/v1/messages?v=e30"))
	r.answer = resolver(r, "DE")
	denied(residency.Forbidden).by("sa").check(t, "its own agent's word, of a home that is not served here", r.askAsPeer(t, "eu", "/v1/messages?v=e30"))
}
