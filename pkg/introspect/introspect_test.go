package introspect_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/domicile-dev/domicile/pkg/introspect"
	"github.com/domicile-dev/domicile/pkg/resolver"
	"github.com/domicile-dev/domicile/pkg/topology"
)

const (
	issuer = "https://sso.example.com"
	token  = "mat_kJ8s0pXc4nQvT2" // what no message may show
)

// server answers with a body that tests set, and keeps what it was asked.
type server struct {
	*httptest.Server
	asked  atomic.Int64
	mu     sync.Mutex
	answer http.HandlerFunc
	last   http.Header
	form   map[string][]string
	path   string
}

func start(t *testing.T) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		r.ParseForm()
		s.mu.Lock()
		s.last, s.form, s.path = r.Header.Clone(), r.PostForm, r.Method+" "+r.URL.RequestURI()
		answer := s.answer
		s.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) says(status int, body string) {
	s.does(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		io.WriteString(w, body)
	})
}

func (s *server) does(f http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = f
}

func (s *server) host() string { return s.Listener.Addr().String() }

var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func client(t *testing.T, backends ...string) *introspect.Client {
	t.Helper()
	c := introspect.New(introspect.Config{
		Backends: func(service string) []string {
			if service != "message" {
				return nil
			}
			return backends
		},
		Now: func() time.Time { return now },
	})
	t.Cleanup(c.Close)
	return c
}

func oauth(s *server) topology.Issuer {
	return topology.Issuer{Issuer: issuer, Introspection: &topology.Introspection{URL: s.URL + "/introspect"}}
}

func whoami() topology.Issuer {
	return topology.Issuer{Issuer: issuer, Whoami: &topology.Whoami{Service: "message", Path: "/_matrix/client/v3/account/whoami", Member: "user_id"}}
}

// quiet fails the test where an error shows the token.
func quiet(t *testing.T, err error) {
	t.Helper()
	if err != nil && strings.Contains(err.Error(), token) {
		t.Errorf("the error shows the token: %v", err)
	}
}

func TestIntrospection(t *testing.T) {
	s := start(t)
	full := oauth(s)
	full.Audiences, full.UserClaim, full.HomeClaim, full.CountryClaim = []string{"im", "chat"}, "username", "home", "country"
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	const refused, down = "refused", "down"
	for name, c := range map[string]struct {
		i    topology.Issuer
		body string
		want any // resolver.Account, refused or down
	}{
		"active":             {oauth(s), `{"active": true, "sub": "amal"}`, resolver.Account{User: "amal"}},
		"with expiry":        {oauth(s), fmt.Sprintf(`{"active": true, "sub": "amal", "exp": %d}`, at(time.Minute)), resolver.Account{User: "amal", Expires: time.Unix(at(time.Minute), 0)}},
		"issuer":             {oauth(s), `{"active": true, "sub": "amal", "iss": "` + issuer + `"}`, resolver.Account{User: "amal"}},
		"everything":         {full, `{"active": true, "sub": "x", "username": "amal", "home": "SA", "country": "TR", "aud": ["a", "chat"]}`, resolver.Account{User: "amal", Home: "SA", Declared: "TR"}},
		"one audience":       {full, `{"active": true, "username": "amal", "aud": "im"}`, resolver.Account{User: "amal"}},
		"home is null":       {full, `{"active": true, "username": "amal", "aud": "im", "home": null}`, resolver.Account{User: "amal"}},
		"begins in the skew": {oauth(s), fmt.Sprintf(`{"active": true, "sub": "amal", "nbf": %d}`, at(59*time.Second)), resolver.Account{User: "amal"}},

		"not active":       {oauth(s), `{"active": false}`, refused},
		"not active, amal": {oauth(s), `{"active": false, "sub": "amal"}`, refused},
		"another issuer":   {oauth(s), `{"active": true, "sub": "amal", "iss": "https://evil.example"}`, refused},
		"expired":          {oauth(s), fmt.Sprintf(`{"active": true, "sub": "amal", "exp": %d}`, at(0)), refused},
		"not begun":        {oauth(s), fmt.Sprintf(`{"active": true, "sub": "amal", "nbf": %d}`, at(61*time.Second)), refused},
		"other audience":   {full, `{"active": true, "username": "amal", "aud": ["x"]}`, refused},
		"no audience":      {full, `{"active": true, "username": "amal"}`, refused},

		"not said":             {oauth(s), `{"sub": "amal"}`, down},
		"said as text":         {oauth(s), `{"active": "true", "sub": "amal"}`, down},
		"said as number":       {oauth(s), `{"active": 1, "sub": "amal"}`, down},
		"said as null":         {oauth(s), `{"active": null, "sub": "amal"}`, down},
		"nobody":               {oauth(s), `{"active": true}`, down},
		"user is null":         {oauth(s), `{"active": true, "sub": null}`, down},
		"user is empty":        {oauth(s), `{"active": true, "sub": ""}`, down},
		"user is a number":     {oauth(s), `{"active": true, "sub": 7}`, down},
		"home is a list":       {full, `{"active": true, "username": "amal", "aud": "im", "home": ["SA"]}`, down},
		"country is a number":  {full, `{"active": true, "username": "amal", "aud": "im", "country": 90}`, down},
		"expiry is text":       {oauth(s), `{"active": true, "sub": "amal", "exp": "2027"}`, down},
		"expiry is absurd":     {oauth(s), `{"active": true, "sub": "amal", "exp": 1e300}`, down},
		"audience is a number": {full, `{"active": true, "username": "amal", "aud": 1}`, down},
		"a list":               {oauth(s), `[true]`, down},
		"null":                 {oauth(s), `null`, down},
		"nothing":              {oauth(s), ``, down},
		"half":                 {oauth(s), `{"active": true, "sub": "am`, down},
		"too long":             {oauth(s), `{"active": true, "sub": "amal", "x": "` + strings.Repeat("x", 64<<10) + `"}`, down},
	} {
		t.Run(name, func(t *testing.T) {
			s.says(200, c.body)
			got, err := client(t).Ask(t.Context(), c.i, token)
			quiet(t, err)
			switch c.want {
			case refused:
				if !errors.Is(err, resolver.ErrRefused) {
					t.Errorf("%+v, %v", got, err)
				}
			case down:
				if err == nil || errors.Is(err, resolver.ErrRefused) {
					t.Errorf("%+v, %v", got, err)
				}
			default:
				if diff := cmp.Diff(c.want, any(got)); diff != "" || err != nil {
					t.Errorf("%v\n%s", err, diff)
				}
			}
			if err != nil && got != (resolver.Account{}) {
				t.Errorf("an error, and yet %+v", got)
			}
		})
	}
}

// TestStatus: only 200 says something of a token, and only to whom may ask.
func TestStatus(t *testing.T) {
	s := start(t)
	for _, status := range []int{201, 204, 301, 302, 307, 400, 401, 403, 404, 429, 500, 503} {
		s.does(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", s.URL+"/other")
			w.WriteHeader(status)
			if status != 204 {
				io.WriteString(w, `{"active": true, "sub": "amal", "user_id": "@amal:example.com"}`)
			}
		})
		before := s.asked.Load()
		_, err := client(t).Ask(t.Context(), oauth(s), token)
		quiet(t, err)
		if err == nil || errors.Is(err, resolver.ErrRefused) || s.asked.Load() != before+1 {
			t.Errorf("introspection, %d: %v, asked %d times", status, err, s.asked.Load()-before)
		}
		_, err = client(t, s.host()).Ask(t.Context(), whoami(), token)
		quiet(t, err)
		if wantRefused := status == 401 || status == 403; err == nil || errors.Is(err, resolver.ErrRefused) != wantRefused || s.asked.Load() != before+2 {
			t.Errorf("whoami, %d: %v, asked %d times", status, err, s.asked.Load()-before-1)
		}
	}
}

// TestWhoAsks: by client id and secret, form-encoded as RFC 6749 has it, or by a bearer
// token.
func TestWhoAsks(t *testing.T) {
	s := start(t)
	s.says(200, `{"active": true, "sub": "amal"}`)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("s:3/cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		id, file, want string
	}{
		"nobody":        {"", "", ""},
		"id and secret": {"do:mi", secret, "Basic " + base64.StdEncoding.EncodeToString([]byte("do%3Ami:s%3A3%2Fcret"))},
		"bearer":        {"", secret, "Bearer s:3/cret"},
	} {
		i := oauth(s)
		i.Introspection.ClientID, i.Introspection.SecretFile = c.id, c.file
		if _, err := client(t).Ask(t.Context(), i, token+"+&="); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := s.last.Get("Authorization"); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if diff := cmp.Diff(map[string][]string{"token": {token + "+&="}, "token_type_hint": {"access_token"}}, s.form); diff != "" || s.path != "POST /introspect" {
			t.Errorf("%s: %s %s", name, s.path, diff)
		}
	}
	i := oauth(s)
	i.Introspection.SecretFile = secret + ".missing"
	asked := s.asked.Load()
	if _, err := client(t).Ask(t.Context(), i, token); err == nil || s.asked.Load() != asked {
		t.Errorf("without the secret: %v", err)
	}
	i.Introspection = &topology.Introspection{URL: "http://sso.example.com/introspect"}
	if _, err := client(t).Ask(t.Context(), i, token); err == nil || !strings.Contains(err.Error(), "https") {
		t.Errorf("plain HTTP: %v", err)
	}
}

func TestWhoami(t *testing.T) {
	s := start(t)
	for body, want := range map[string]string{
		`{"user_id": "@amal:example.com", "device_id": "D", "is_guest": false}`: "@amal:example.com",
		`{"user_id": 1234}`:                  "1234",
		`{"user_id": 12.5}`:                  "",
		`{"user_id": -1}`:                    "",
		`{"user_id": null}`:                  "",
		`{"user_id": ""}`:                    "",
		`{"user_id": ["@amal:example.com"]}`: "",
		`{"User_ID": "@amal:example.com"}`:   "",
		`{"user_id": 123456789012345678901}`: "",
		`{"errcode": "M_UNKNOWN_TOKEN"}`:     "",
		`<html>`:                             "",
	} {
		s.says(200, body)
		got, err := client(t, s.host()).Ask(t.Context(), whoami(), token)
		quiet(t, err)
		if got.User != want || (err == nil) != (want != "") || errors.Is(err, resolver.ErrRefused) {
			t.Errorf("%s: %+v, %v", body, got, err)
		}
	}
	if s.path != "GET /_matrix/client/v3/account/whoami" || s.last.Get("Authorization") != "Bearer "+token {
		t.Errorf("%s, %q", s.path, s.last.Get("Authorization"))
	}
}

// TestWhoamiPassesOverTheDead: and what one backend says counts, whatever others would.
func TestWhoamiPassesOverTheDead(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := l.Addr().String()
	l.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ok, no := start(t), start(t)
	ok.says(200, `{"user_id": "amal"}`)
	no.says(401, `{}`)
	for name, c := range map[string]struct {
		backends []string
		user     string
		refused  bool
	}{
		"none":             {nil, "", false},
		"dead":             {[]string{dead}, "", false},
		"dead first":       {[]string{dead, ok.host()}, "amal", false},
		"silent first":     {[]string{silent.Addr().String(), ok.host()}, "amal", false},
		"refused first":    {[]string{no.host(), ok.host()}, "", true},
		"three are enough": {[]string{dead, dead, dead, ok.host()}, "", false},
	} {
		began := time.Now()
		got, err := client(t, c.backends...).Ask(t.Context(), whoami(), token)
		if got.User != c.user || (err == nil) != (c.user != "") || errors.Is(err, resolver.ErrRefused) != c.refused {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if took := time.Since(began); took > 1500*time.Millisecond {
			t.Errorf("%s: took %v", name, took)
		}
	}
}

// TestNoServer: an issuer whose tokens no server reads, and one with two.
func TestNoServer(t *testing.T) {
	s := start(t)
	both := oauth(s)
	both.Whoami = whoami().Whoami
	for _, i := range []topology.Issuer{{Issuer: issuer}, both} {
		if got, err := client(t, s.host()).Ask(t.Context(), i, token); err == nil || errors.Is(err, resolver.ErrRefused) {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if s.asked.Load() != 0 {
		t.Error("a server was asked")
	}
}

// TestRemembers: as long as it may and no longer, and never an error.
func TestRemembers(t *testing.T) {
	s := start(t)
	for name, c := range map[string]struct {
		status int
		body   string
		keeps  bool
	}{
		"accepted":     {200, `{"active": true, "sub": "amal"}`, true},
		"refused":      {200, `{"active": false}`, true},
		"about to end": {200, fmt.Sprintf(`{"active": true, "sub": "amal", "exp": %d.5}`, now.Unix()+1), true},
		"down":         {500, ``, false},
		"nonsense":     {200, `{}`, false},
	} {
		s.says(c.status, c.body)
		cl, before := client(t), s.asked.Load()
		for range 5 {
			cl.Ask(t.Context(), oauth(s), token)
		}
		want := int64(5)
		if c.keeps {
			want = 1
		}
		if got := s.asked.Load() - before; got != want {
			t.Errorf("%s: asked %d times, want %d", name, got, want)
		}
		cl.Ask(t.Context(), oauth(s), token+"2") // another token is another question
		other := oauth(s)
		other.UserClaim = "username" // and so is another policy
		cl.Ask(t.Context(), other, token)
		if got := s.asked.Load() - before; got != want+2 {
			t.Errorf("%s: asked %d times in all, want %d", name, got, want+2)
		}
	}
}

// TestManyShareOneQuestion: a reconnect storm asks once for each token.
func TestManyShareOneQuestion(t *testing.T) {
	s := start(t)
	gate := make(chan struct{})
	s.does(func(w http.ResponseWriter, _ *http.Request) {
		<-gate
		io.WriteString(w, `{"user_id": "amal"}`)
	})
	c := introspect.New(introspect.Config{Backends: func(string) []string { return []string{s.host()} }, Now: time.Now, Timeout: 20 * time.Second})
	t.Cleanup(c.Close)
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			if a, err := c.Ask(t.Context(), whoami(), token); a.User != "amal" || err != nil {
				t.Errorf("%+v, %v", a, err)
			}
		})
	}
	for s.asked.Load() == 0 {
		time.Sleep(time.Millisecond) // a wait for a condition: the test's own time-out bounds it
	}
	close(gate)
	wg.Wait()
	if n := s.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// TestHowLong: an acceptance counts for a minute and not beyond the token's end, a
// refusal for five seconds.
func TestHowLong(t *testing.T) {
	s := start(t)
	for name, c := range map[string]struct {
		body string
		want time.Duration
	}{
		"accepted":       {`{"active": true, "sub": "amal"}`, time.Minute},
		"ends later":     {fmt.Sprintf(`{"active": true, "sub": "amal", "exp": %d}`, now.Unix()+3600), time.Minute},
		"ends in ten":    {fmt.Sprintf(`{"active": true, "sub": "amal", "exp": %d}`, now.Unix()+10), 10 * time.Second},
		"refused":        {`{"active": false}`, 5 * time.Second},
		"other audience": {`{"active": true, "sub": "amal", "iss": "https://evil.example"}`, 5 * time.Second},
	} {
		var at time.Duration
		cl := introspect.New(introspect.Config{Now: func() time.Time { return now }, Clock: func() time.Duration { return at }})
		s.says(200, c.body)
		before := s.asked.Load()
		asks := func(want int64) {
			t.Helper()
			cl.Ask(t.Context(), oauth(s), token)
			if got := s.asked.Load() - before; got != want {
				t.Errorf("%s: asked %d times after %v, want %d", name, got, at, want)
			}
		}
		asks(1)
		at = c.want - 1
		asks(1)
		at = c.want
		asks(2)
		cl.Close()
	}
}
