package im_test

import (
	"errors"
	"net/http"
	"net/url"
	"testing"
)

// opaque are edits with which Matrix's own tokens say whose a request is: the agent
// asks the region's server who the user is, and the directory where he is at home.
var opaque = []edit{
	{"deployment.yaml", `{issuer: "https://id.example.com", jwks: {file: jwks.json}, audiences: [im], homeClaim: home, homes: ["SA", "TR", "DE"]}`,
		`{issuer: "https://matrix.example.com", whoami: {service: matrix, path: /_matrix/client/v3/account/whoami, member: user_id}, homes: ["SA", "TR", "DE"], forward: true}` + "\n  pins: {}"},
	{"deployment.yaml", `{class: message, match: {path: /_matrix/client/v3/sync}, subject: host,`,
		`{class: message, match: {pathPrefix: /_matrix/client/v3/login}, subject: host, service: matrix}` + "\n    - " +
			`{class: message, match: {path: /_matrix/client/v3/sync}, subject: caller,`},
	{"deployment.yaml", `{class: profile, match: {pathPrefix: /_matrix/client/v3/profile}, subject: host,`,
		`{class: profile, match: {pathPrefix: /_matrix/client/v3/profile}, subject: caller,`},
	{"deployment.yaml", `{class: message, match: {pathPrefix: /_matrix/client}, subject: host,`,
		`{class: message, match: {pathPrefix: /_matrix/client}, subject: caller,`},
}

// Matrix's opaque tokens: after a log-in that the host name places, the token alone
// says whose a request is, under whatever name the gateway is called.
func TestMatrixTokensArePinned(t *testing.T) {
	f := sharedMatrix(t)
	l := start(t, f.backends(), opaque...)
	for i, home := range regions {
		host := hostOf[home]
		f[home].register(t, "opaque", false)
		id := "@opaque:" + host
		l.run(t, "demo", "token", "--user", id, "--home", homeOf[home])
		before := f.settled(t)
		u := l.matrix(t, home, host, "opaque")
		u.host = hostOf[regions[(i+1)%3]] // the token counts, not the name
		if who := u.call(t, http.MethodGet, "/_matrix/client/v3/account/whoami", nil); who["user_id"] != id {
			t.Errorf("whoami: %v", who)
		}
		u.call(t, http.MethodPut, "/_matrix/client/v3/profile/"+id+"/displayname", map[string]any{"displayname": "O."})
		if p := u.call(t, http.MethodGet, "/_matrix/client/v3/profile/"+id, nil); p["displayname"] != "O." {
			t.Errorf("profile: %v", p)
		}
		room := u.call(t, http.MethodPost, "/_matrix/client/v3/createRoom", map[string]any{})["room_id"].(string)
		u.call(t, http.MethodPut, "/_matrix/client/v3/rooms/"+url.PathEscape(room)+"/send/m.room.message/1", map[string]any{"msgtype": "m.text", "body": "note"})
		u.hear(t, room, id, "note")
		f.only(t, before, home)

		for token, want := range map[string]string{"": "no-identity", "syt_b3BhcXVl_never_issued": "bad-token", "x": "bad-token"} {
			isDenied(t, l, home, host, token, http.StatusUnauthorized, want)
		}
		// An entry of another region asks its own server, which does not know the token:
		// its users come in at home, or with a token that every region can read.
		before = f.settled(t)
		isDenied(t, l, regions[(i+1)%3], host, u.token, http.StatusUnauthorized, "bad-token")
		if now := f.settled(t)[home]; now != before[home] {
			t.Errorf("the server of %s saw %+v, before it was %+v", home, now, before[home])
		}
	}
}

// isDenied asks who a token belongs to; the gateway must refuse it.
func isDenied(t testing.TB, l *lab, entry, host, token string, status int, reason string) {
	t.Helper()
	_, err := matrixCall(l.client(entry), "http://"+host, token, http.MethodGet, "/_matrix/client/v3/account/whoami", nil)
	var refusal *matrixError
	if !errors.As(err, &refusal) || refusal.status != status || refusal.reason != reason {
		t.Errorf("%q at %s: %v, want %d %s", token, entry, err, status, reason)
	}
}
