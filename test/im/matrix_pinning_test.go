package im_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"
)

// matrixUser is a user of Matrix at one entry.
type matrixUser struct {
	client          *http.Client
	host, id, token string
	since           string // where the next sync goes on
}

// matrix logs a user in, through the gateway of an entry.
func (l *lab) matrix(t testing.TB, entry, host, name string) *matrixUser {
	t.Helper()
	u := &matrixUser{client: l.client(entry), host: host}
	got := u.call(t, http.MethodPost, "/_matrix/client/v3/login", map[string]any{
		"type": "m.login.password", "identifier": map[string]any{"type": "m.id.user", "user": name}, "password": password,
	})
	u.id, u.token = got["user_id"].(string), got["access_token"].(string)
	return u
}

func (u *matrixUser) call(t testing.TB, method, path string, body any) map[string]any {
	t.Helper()
	got, err := matrixCall(u.client, "http://"+u.host, u.token, method, path, body)
	if err != nil {
		t.Fatalf("%s %s as %s: %v", method, path, u.id, err)
	}
	return got
}

// sync asks for news as clients do: the server holds the request until there are
// some, or the time in ms has passed.
func (u *matrixUser) sync(t testing.TB, ms int) map[string]any {
	t.Helper()
	q := url.Values{"timeout": {fmt.Sprint(ms)}}
	if u.since != "" {
		q.Set("since", u.since)
	}
	got := u.call(t, http.MethodGet, "/_matrix/client/v3/sync?"+q.Encode(), nil)
	u.since = got["next_batch"].(string)
	return got
}

// dig goes down a path of objects; nil where it ends.
func dig(v any, path ...string) any {
	for _, p := range path {
		m, _ := v.(map[string]any)
		v = m[p]
	}
	return v
}

// hear syncs until a text comes in a room.
func (u *matrixUser) hear(t testing.TB, room, from, text string) {
	t.Helper()
	for range 10 {
		events, _ := dig(u.sync(t, 10_000), "rooms", "join", room, "timeline", "events").([]any)
		for _, e := range events {
			if dig(e, "content", "body") == text && dig(e, "sender") == from {
				return
			}
		}
	}
	t.Fatalf("%s does not hear %q", u.id, text)
}

// Two users of one home over Matrix, at two entries: login, whoami, profile, a
// room, messages by long-polling sync; the other regions' servers see nothing.
func TestMatrixStaysAtHome(t *testing.T) {
	f := sharedMatrix(t)
	l := start(t, f.backends())
	for i, home := range regions {
		t.Run(home, func(t *testing.T) {
			host := hostOf[home]
			f[home].register(t, "amal", false)
			f[home].register(t, "badr", false)
			before := f.settled(t)
			alice, bob := l.matrix(t, regions[(i+1)%3], host, "amal"), l.matrix(t, regions[(i+2)%3], host, "badr")
			if who := alice.call(t, http.MethodGet, "/_matrix/client/v3/account/whoami", nil); who["user_id"] != "@amal:"+host {
				t.Errorf("whoami: %v", who)
			}

			alice.call(t, http.MethodPut, "/_matrix/client/v3/profile/"+alice.id+"/displayname", map[string]any{"displayname": "Amal A."})
			if p := bob.call(t, http.MethodGet, "/_matrix/client/v3/profile/"+alice.id, nil); p["displayname"] != "Amal A." {
				t.Errorf("profile: %v", p)
			}

			room := alice.call(t, http.MethodPost, "/_matrix/client/v3/createRoom", map[string]any{"is_direct": true, "invite": []string{bob.id}})["room_id"].(string)
			if dig(bob.sync(t, 10_000), "rooms", "invite", room) == nil {
				t.Errorf("%s is not invited", bob.id)
			}
			bob.call(t, http.MethodPost, "/_matrix/client/v3/join/"+url.PathEscape(room), map[string]any{})
			alice.call(t, http.MethodPut, "/_matrix/client/v3/rooms/"+url.PathEscape(room)+"/send/m.room.message/1", map[string]any{"msgtype": "m.text", "body": "hello"})
			bob.hear(t, room, alice.id, "hello")

			// A message that comes while the other one's sync is held.
			alice.sync(t, 0)
			heard := make(chan struct{})
			go func() { defer close(heard); alice.hear(t, room, bob.id, "good day") }()
			bob.call(t, http.MethodPut, "/_matrix/client/v3/rooms/"+url.PathEscape(room)+"/send/m.room.message/2", map[string]any{"msgtype": "m.text", "body": "good day"})
			<-heard
			f.only(t, before, home)

			// The token of one home's server is worth nothing at another's, and the
			// path that names a user does not decide: the host name does.
			other := hostOf[regions[(i+1)%3]]
			_, err := matrixCall(l.client(home), "http://"+other, alice.token, http.MethodGet, "/_matrix/client/v3/account/whoami", nil)
			var refusal *matrixError
			if !errors.As(err, &refusal) || refusal.status != http.StatusUnauthorized || refusal.reason != "" {
				t.Errorf("a token of %s at %s: %v", host, other, err)
			}
		})
	}
	l.silent(t, "amal", "badr", "Amal", "syt_")
}

// A sync that the server holds for as long as clients ask for, 30 s, and a bit,
// is not cut off on the way.
func TestMatrixSyncIsHeldForThirtySeconds(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes 30 s")
	}
	f := sharedMatrix(t)
	l := start(t, f.backends())
	f["me-riyadh"].register(t, "patient", false)
	u := l.matrix(t, "eu-frankfurt", hostOf["me-riyadh"], "patient")
	u.sync(t, 0)
	began := time.Now()
	u.sync(t, 31_000)
	if held := time.Since(began); held < 30*time.Second {
		t.Errorf("the sync ended after %s", held)
	}
}
