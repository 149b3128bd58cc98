package jwks

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/domicile-dev/domicile/pkg/topology"
)

// key is a new public key in a set, by its kid.
func key(t testing.TB, kid string) string {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := k.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	return fmt.Sprintf(`{"kty": "EC", "crv": "P-256", "kid": %q, "x": %q, "y": %q}`, kid, b64(raw[1:33]), b64(raw[33:]))
}

func keys(list ...string) string { return `{"keys": [` + strings.Join(list, ", ") + `]}` }

// issuer is a server of a key set that can be told to misbehave.
type issuer struct {
	*httptest.Server
	answer atomic.Pointer[http.HandlerFunc]
	asked  atomic.Int64
}

func newIssuer(t testing.TB) *issuer {
	i := &issuer{}
	i.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.asked.Add(1)
		(*i.answer.Load())(w, r)
	}))
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) says(f http.HandlerFunc) { i.answer.Store(&f) }

func (i *issuer) serves(set string) {
	i.says(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, set) })
}

const name = "https://id.example.com"

func (i *issuer) remote(every, keep time.Duration) []topology.Issuer {
	return []topology.Issuer{{Issuer: name, Remote: &topology.RemoteKeys{URL: i.URL, Every: every, Keep: keep}}}
}

func poller(t testing.TB, cfg Config) *Poller {
	t.Helper()
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	return p
}

// until waits for a change after which the keys hold, or do not hold, a kid.
func until(t testing.TB, p *Poller, kid string, want bool) {
	t.Helper()
	late := time.After(5 * time.Second)
	for strings.Contains(p.Keys()[name], `"`+kid+`"`) != want {
		select {
		case <-p.Changed():
		case <-late:
			t.Fatalf("key %s: want %v, have %s; %+v", kid, want, p.Keys()[name], p.Status())
		}
	}
}

func TestT06_KeysFollowTheirIssuer(t *testing.T) {
	i := newIssuer(t)
	a, b := key(t, "a"), key(t, "b")
	i.serves(keys(a))
	p := poller(t, Config{Client: i.Client()})
	p.Follow(i.remote(20*time.Millisecond, time.Hour))
	until(t, p, "a", true)
	i.serves(keys(a, b))
	until(t, p, "b", true)
	i.serves(keys(b))
	until(t, p, "a", false)
	before := p.Keys()[name]
	// The same keys in other words are no change.
	i.serves(`{"other": 1, "keys": [` + strings.TrimSuffix(b, "}") + `, "x5u": "https://evil.example"}]}`)
	asked := i.asked.Load()
	for i.asked.Load() < asked+3 {
		time.Sleep(time.Millisecond)
	}
	if got := p.Keys()[name]; got != before {
		t.Errorf("the same keys became\n%s\nand were\n%s", got, before)
	}
	select {
	case <-p.Changed():
		t.Error("the same keys count as a change")
	default:
	}
	p.Follow(nil)
	if got := p.Keys(); len(got) != 0 {
		t.Errorf("nobody is followed, and there are keys: %v", got)
	}
}

// Whatever an issuer answers instead of keys, the last good ones count, and the reason
// is told.
func TestT06_WhatIsNoKeySetChangesNothing(t *testing.T) {
	i := newIssuer(t)
	good := keys(key(t, "a"))
	i.serves(good)
	p := poller(t, Config{Client: i.Client()})
	p.Follow(i.remote(10*time.Millisecond, time.Hour))
	until(t, p, "a", true)
	private := strings.TrimSuffix(key(t, "b"), "}") + `, "d": "` + strings.Repeat("A", 43) + `"}`
	for what, f := range map[string]http.HandlerFunc{
		"Internal Server Error": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"not a JSON Web Key":    func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
		"no key in it":          func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, keys()) },
		"is private":            func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, keys(private)) },
		"is symmetric": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, keys(`{"kty": "oct", "k": "`+strings.Repeat("A", 43)+`"}`))
		},
		"larger than": func(w http.ResponseWriter, r *http.Request) {
			for n := 0; n < 100 && r.Context().Err() == nil; n++ {
				if _, err := w.Write(make([]byte, 1<<20)); err != nil {
					return
				}
			}
		},
		"redirect is not followed": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
	} {
		i.says(f)
		late := time.Now().Add(5 * time.Second)
		for !strings.Contains(p.Status()[0].Error, what) {
			if time.Now().After(late) {
				t.Fatalf("%s: the status says %q", what, p.Status()[0].Error)
			}
			time.Sleep(time.Millisecond)
		}
		if !strings.Contains(p.Keys()[name], `"a"`) || strings.Contains(p.Keys()[name], `"b"`) {
			t.Errorf("%s: keys became %s", what, p.Keys()[name])
		}
		i.serves(good)
		for p.Status()[0].Error != "" && time.Now().Before(late) {
			time.Sleep(time.Millisecond)
		}
	}
}

// An outage ends the keys at their keep, not before, and a restart during it neither
// ends nor lengthens them.
func TestT06_KeepIsTheEnd(t *testing.T) {
	i := newIssuer(t)
	i.serves(keys(key(t, "a")))
	file := filepath.Join(t.TempDir(), "jwks")
	var shift atomic.Int64
	cfg := Config{Client: i.Client(), File: file, Now: func() time.Time { return time.Now().Add(time.Duration(shift.Load())) }}
	p := poller(t, cfg)
	p.Follow(i.remote(10*time.Millisecond, time.Hour))
	until(t, p, "a", true)
	i.says(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
	late := time.Now().Add(5 * time.Second)
	for p.Status()[0].Error == "" && time.Now().Before(late) {
		time.Sleep(time.Millisecond)
	}

	again := poller(t, cfg)
	if got := again.Keys()[name]; !strings.Contains(got, `"a"`) {
		t.Errorf("a restart during an outage begins with %q", got)
	}
	again.Follow(i.remote(10*time.Millisecond, time.Hour))
	until(t, again, "a", true)
	shift.Store(int64(time.Hour + time.Minute))
	until(t, p, "a", false)
	until(t, again, "a", false)
	third, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if got := third.Keys(); len(got) != 0 {
		t.Errorf("keys that are too old came back with a restart: %v", got)
	}
	shift.Store(-int64(time.Minute))
	fourth, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if got := fourth.Keys(); len(got) != 0 {
		t.Errorf("keys that were seen in the future count: %v", got)
	}
}

// A policy that only looks at the keys otherwise changes nothing about which count: a key
// that was withdrawn since the start does not come back with it, and one that counts does
// not go, whether or not the issuer answers.
func TestT06_LookedAtOtherwise(t *testing.T) {
	i := newIssuer(t)
	i.serves(keys(key(t, "a")))
	cfg := Config{Client: i.Client(), File: filepath.Join(t.TempDir(), "jwks")}
	p := poller(t, cfg)
	p.Follow(i.remote(10*time.Millisecond, time.Hour))
	until(t, p, "a", true)

	again := poller(t, cfg) // which recalls a
	i.serves(keys(key(t, "b")))
	again.Follow(i.remote(10*time.Millisecond, time.Hour))
	until(t, again, "b", true)
	i.says(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
	again.Follow(i.remote(time.Minute, time.Hour))
	if got := again.Keys()[name]; strings.Contains(got, `"a"`) || !strings.Contains(got, `"b"`) {
		t.Errorf("after a change of every: %s", got)
	}
	again.Follow(i.remote(time.Minute, time.Nanosecond))
	if got := again.Keys(); len(got) > 0 {
		t.Errorf("older than keep, and they count: %v", got)
	}
}

// Keys of an issuer that is given up, or is somewhere else, are gone from the disk too.
func TestT06_WhatIsGivenUpIsNotRecalled(t *testing.T) {
	for what, next := range map[string][]topology.Issuer{
		"given up":       nil,
		"somewhere else": {{Issuer: name, Remote: &topology.RemoteKeys{URL: "https://127.0.0.1:1/", Every: time.Hour, Keep: time.Hour}}},
	} {
		i := newIssuer(t)
		i.serves(keys(key(t, "a")))
		cfg := Config{Client: i.Client(), File: filepath.Join(t.TempDir(), "jwks")}
		p := poller(t, cfg)
		p.Follow(i.remote(time.Hour, time.Hour))
		until(t, p, "a", true)
		p.Follow(next)
		again, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if got := again.Keys(); len(got) > 0 {
			t.Errorf("%s: a restart begins with %v", what, got)
		}
	}
}

func TestADamagedFileIsLeftAside(t *testing.T) {
	file := filepath.Join(t.TempDir(), "jwks")
	for _, content := range []string{"", "{", `{"x": {"keys": "{}"}}`, `[]`} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		p, err := New(Config{File: file})
		if err != nil || len(p.Keys()) != 0 {
			t.Errorf("%q: %v, %v", content, p, err)
		}
	}
	if _, err := New(Config{File: t.TempDir()}); err == nil {
		t.Error("a directory was read as a file")
	}
}

func TestOnlyHTTPS(t *testing.T) {
	if _, _, err := fetch(t.Context(), clientOf(nil), "http://127.0.0.1:1/", ""); err == nil || !strings.Contains(err.Error(), "https") {
		t.Errorf("an http URL: %v", err)
	}
}
