package follow_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/domicile-dev/domicile/pkg/bundle"
	"github.com/domicile-dev/domicile/pkg/follow"
	"github.com/domicile-dev/domicile/pkg/release"
	"github.com/domicile-dev/domicile/pkg/topology"
	"github.com/domicile-dev/domicile/policies"
)

// today is when the shipped policies are valid.
var today = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// site is the bundle of the shipped policies; edit changes their files.
func site(t testing.TB, edit func(name, text string) string) *bundle.Bundle {
	t.Helper()
	fsys := fstest.MapFS{}
	library := policies.Library()
	err := fs.WalkDir(library, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(library, path)
		if err != nil {
			return err
		}
		if edit != nil {
			data = []byte(edit(path, string(data)))
		}
		fsys[path] = &fstest.MapFile{Data: data}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	b, problems, err := release.Pack(fsys)
	if err != nil || b == nil {
		t.Fatalf("%v %v", problems, err)
	}
	return b
}

// second is another policy.
func second(t testing.TB) *bundle.Bundle {
	return site(t, func(name, text string) string {
		if name == "jurisdictions/tr.yaml" {
			return strings.Replace(text, "maxAge: 24h", "maxAge: 23h", 1)
		}
		return text
	})
}

func table(t testing.TB, b *bundle.Bundle, at time.Time) string {
	t.Helper()
	in := release.Of(b)
	in.At, in.TableOnly = at, true
	r := release.Build(in)
	if r.Result == nil {
		t.Fatal(r.Problems)
	}
	return r.Table.Digest()
}

// plane is a control plane in memory.
type plane struct {
	mu      sync.Mutex
	now     release.Published
	changed chan struct{}
	bundles map[string][]byte
	down    bool
	fetched int
	asked   int
}

func newPlane() *plane { return &plane{bundles: map[string][]byte{}} }

// change changes what the control plane says.
func (p *plane) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	if p.changed != nil {
		close(p.changed)
	}
	p.changed = make(chan struct{})
}

// put puts a policy in force.
func (p *plane) put(t testing.TB, sequence uint64, b *bundle.Bundle, o *topology.Overlay) {
	t.Helper()
	digest := table(t, b, time.Now())
	p.change(func() {
		p.now = release.Published{Sequence: sequence, Bundle: b.Digest(), Table: digest, Overlay: o}
		p.bundles[b.Digest()] = b.Archive()
	})
}

func (p *plane) setDown(down bool) { p.change(func() { p.down = down }) }

var errDown = errors.New("down")

func (p *plane) Published(ctx context.Context, after string, wait time.Duration) (release.Published, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		p.mu.Lock()
		p.asked++
		now, changed, down := p.now, p.changed, p.down
		p.mu.Unlock()
		state, err := now.State()
		if down || err != nil {
			return release.Published{}, errDown
		}
		if state != after && now.Bundle != "" {
			return now, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if now.Bundle == "" {
				return now, errDown
			}
			return now, nil
		}
	}
}

func (p *plane) Bundle(_ context.Context, digest string) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fetched++
	if b := p.bundles[digest]; b != nil && !p.down {
		return b, nil
	}
	return nil, errDown
}

type stand struct {
	*follow.Follower
	t       *testing.T
	plane   *plane
	changes int
	log     bytes.Buffer
}

// with runs f with a follower, in a bubble that begins today.
func with(t *testing.T, state string, p *plane, f func(*stand)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(today))
		p.changed = make(chan struct{})
		s := &stand{t: t, plane: p}
		s.Follower = follow.New(follow.Config{
			Control: p, State: state, Log: slog.New(slog.NewTextHandler(&s.log, nil)), Metrics: prometheus.NewRegistry(), Now: time.Now,
			Changed: func() { s.changes++ },
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		defer func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}()
		synctest.Wait()
		f(s)
	})
}

// pass lets time go by, on the bubble's clock.
func (s *stand) pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func (s *stand) want(sequence uint64, behind string) {
	s.t.Helper()
	st := s.Status()
	if st.Sequence != sequence || (st.Behind == "") != (behind == "") || !strings.Contains(st.Behind, behind) {
		s.t.Fatalf("%+v, want sequence %d, behind %q\n%s", st, sequence, behind, s.log.String())
	}
	if p := s.Policy(); (p == nil) != (sequence == 0) || p != nil && p.Published.Sequence != sequence {
		s.t.Fatalf("policy: %+v", p)
	}
}

func TestFollowsWhatIsInForce(t *testing.T) {
	first, next := site(t, nil), second(t)
	keys := func(set string) *topology.Overlay { return &topology.Overlay{JWKS: set} }
	with(t, "", newPlane(), func(s *stand) {
		s.want(0, "")
		s.plane.put(t, 1, first, nil)
		s.pass(20 * time.Second)
		s.want(1, "")
		if got := s.Policy().Table.Digest(); got != s.plane.now.Table || s.changes != 1 {
			t.Errorf("table %s after %d changes", got, s.changes)
		}
		s.plane.put(t, 2, next, keys(`{"keys":[]}`))
		s.pass(time.Millisecond) // a long poll is answered at once
		s.want(2, "")
		if got := s.Policy().Topology.Issuers[0].JWKS; got != `{"keys":[]}` {
			t.Errorf("the overlay is not in force: %q", got)
		}
		// Fetched keys come with the same bundle, which is not fetched again.
		s.plane.put(t, 2, next, keys(`{"keys":[1]}`))
		s.pass(time.Millisecond)
		if got := s.Policy().Topology.Issuers[0].JWKS; got != `{"keys":[1]}` || s.plane.fetched != 2 || s.changes != 3 {
			t.Errorf("%q after %d fetches, %d changes", got, s.plane.fetched, s.changes)
		}
		asked := s.plane.asked
		s.pass(5 * time.Minute)
		if n := s.plane.asked - asked; n > 25 {
			t.Errorf("asked %d times in five quiet minutes", n)
		}
	})
}

func TestT19_WhatIsBadIsNotTaken(t *testing.T) {
	first, next := site(t, nil), second(t)
	broken, err := bundle.New(map[string][]byte{"deployment.yaml": []byte("kind: Deployment\n")})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		spoil  func(*plane)
		behind string
	}{
		"a lower sequence":          {func(p *plane) { p.now.Sequence = 1 }, "went back"},
		"another under that number": {func(p *plane) { p.now.Bundle, p.bundles[next.Digest()] = next.Digest(), next.Archive() }, "rewritten"},
		"no sequence":               {func(p *plane) { p.now.Sequence = 0 }, "no sequence"},
		"no such bundle":            {func(p *plane) { p.now.Sequence, p.now.Bundle = 3, "sha256:"+strings.Repeat("0", 64) }, "fetch bundle"},
		"a flipped bit": {func(p *plane) {
			flipped := bytes.Clone(next.Archive())
			flipped[600] ^= 1
			p.now.Sequence, p.now.Bundle, p.bundles[next.Digest()] = 3, next.Digest(), flipped
		}, "digest does not match"},
		"no policy": {func(p *plane) {
			p.now.Sequence, p.now.Bundle, p.bundles[broken.Digest()] = 3, broken.Digest(), broken.Archive()
		}, "compile bundle"},
		"another table": {func(p *plane) { p.now.Table = "sha256:other" }, "another table"},
	} {
		t.Run(name, func(t *testing.T) {
			with(t, "", newPlane(), func(s *stand) {
				s.plane.put(t, 2, first, nil)
				s.pass(20 * time.Second)
				s.want(2, "")
				s.plane.change(func() { c.spoil(s.plane) })
				asked := s.plane.asked
				s.pass(time.Minute)
				s.want(2, c.behind)
				if got := s.Policy().Table.Digest(); got != table(t, first, time.Now()) {
					t.Error("another table is in force")
				}
				if n := s.plane.asked - asked; n > 30 {
					t.Errorf("asked %d times in a minute", n)
				}
				s.plane.put(t, 4, first, nil)
				s.pass(time.Minute)
				s.want(4, "")
			})
		})
	}
}

func TestControlPlaneAway(t *testing.T) {
	state := filepath.Join(t.TempDir(), "policy.json")
	first := site(t, nil)
	p := newPlane()
	with(t, state, p, func(s *stand) {
		p.put(t, 1, first, nil)
		s.pass(20 * time.Second)
		s.want(1, "")
		p.setDown(true)
		asked := p.asked
		s.pass(time.Hour)
		s.want(1, "")
		if s.Status().Connected {
			t.Error("connected to nobody")
		}
		if n := p.asked - asked; n > 60*60/5 {
			t.Errorf("asked %d times in an hour", n)
		}
		p.setDown(false)
		p.put(t, 2, first, nil)
		s.pass(time.Minute)
		s.want(2, "")
		if !s.Status().Connected {
			t.Error("not connected")
		}
	})
	// A new agent starts with what the old one kept.
	p.down = true
	with(t, state, p, func(s *stand) {
		s.want(2, "")
		if s.changes != 1 || s.Status().Connected {
			t.Errorf("%d changes, %+v", s.changes, s.Status())
		}
	})
	if fi, err := os.Stat(state); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", fi.Mode(), err)
	}
	// And never goes back behind it.
	p.down, p.now.Sequence = false, 1
	with(t, state, p, func(s *stand) {
		s.pass(time.Minute)
		s.want(2, "went back")
	})
}

func TestT18_BrokenFileIsNoPolicy(t *testing.T) {
	state := filepath.Join(t.TempDir(), "policy.json")
	p := newPlane()
	with(t, state, p, func(s *stand) {
		p.put(t, 1, site(t, nil), nil)
		s.pass(20 * time.Second)
		s.want(1, "")
	})
	good, err := os.ReadFile(state)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(good, &fields); err != nil {
		t.Fatal(err)
	}
	archive := fields["archive"]
	p.down = true
	for name, data := range map[string][]byte{
		"empty": {}, "half": good[:len(good)/2], "not JSON": []byte("x"), "null": []byte("null"),
		"no sequence":     bytes.Replace(good, []byte(`"sequence":1`), []byte(`"sequence":0`), 1),
		"another archive": bytes.Replace(good, archive[1:9], []byte("AAAAAAAA"), 1),
	} {
		if bytes.Equal(data, good) {
			t.Fatalf("%s: nothing is broken", name)
		}
		if err := os.WriteFile(state, data, 0o600); err != nil {
			t.Fatal(err)
		}
		with(t, state, p, func(s *stand) { s.want(0, "") })
	}
	if err := os.WriteFile(state, good, 0o600); err != nil {
		t.Fatal(err)
	}
	with(t, state, p, func(s *stand) { s.want(1, "") })
}

var (
	untilDate  = regexp.MustCompile(`until: \d{4}-\d\d-\d\d`)
	reviewDate = regexp.MustCompile(`reviewBy: \d{4}-\d\d-\d\d`)
)

// At a boundary the same bundle means something else, whether the control plane
// answers or not; a clock that was later does not count as earlier after a restart.
func TestBoundaries(t *testing.T) {
	state := filepath.Join(t.TempDir(), "policy.json")
	lapsing := site(t, func(name, text string) string {
		if name != "jurisdictions/sa.yaml" {
			return text
		}
		return reviewDate.ReplaceAllString(untilDate.ReplaceAllString(text, "until: 2026-11-26"), "reviewBy: 2026-11-25")
	})
	p := newPlane()
	var after string
	with(t, state, p, func(s *stand) {
		p.put(t, 1, lapsing, nil)
		s.pass(20 * time.Second)
		s.want(1, "")
		before := s.Policy()
		if left := time.Until(before.NextBoundary); left <= 0 || left > 72*time.Hour {
			t.Fatalf("the next boundary is in %v", left)
		}
		p.setDown(true)
		s.pass(time.Until(before.NextBoundary) + 30*time.Second)
		after = s.Policy().Table.Digest()
		if after == before.Table.Digest() || after != table(t, lapsing, time.Now()) {
			t.Errorf("table %s, was %s, want %s", after, before.Table.Digest(), table(t, lapsing, time.Now()))
		}
		s.want(1, "another table") // until the control plane says that it is there too
		p.setDown(false)
		p.put(t, 1, lapsing, nil)
		s.pass(time.Minute)
		s.want(1, "")
	})
	p.down = true
	with(t, state, p, func(s *stand) { // two days earlier again
		if got := s.Policy().Table.Digest(); got != after {
			t.Errorf("what had lapsed is back: %s", got)
		}
	})
}

func TestRemote(t *testing.T) {
	b := site(t, nil)
	var asked []string
	good := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.String())
		switch {
		case r.URL.Path == "/v1/bundle" && r.URL.Query().Get("after") == "broken":
			w.Write([]byte("{"))
		case r.URL.Path == "/v1/bundle":
			w.Write([]byte(`{"sequence":3,"bundle":"` + b.Digest() + `","table":"t"}`))
		case r.URL.Path == "/v1/bundle/"+b.Digest():
			w.Write(b.Archive())
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer good.Close()
	bad := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
	defer bad.Close()
	huge := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for range 9 {
			w.Write(make([]byte, 1<<20))
		}
	}))
	defer huge.Close()
	r, err := follow.NewRemote([]string{bad.URL, huge.URL, good.URL + "/"}, http.DefaultClient)
	if err != nil {
		t.Fatal(err)
	}
	p, err := r.Published(t.Context(), "x", 5*time.Second)
	if err != nil || p.Sequence != 3 || asked[0] != "/v1/bundle?after=x&wait=5s" {
		t.Errorf("%+v %v %v", p, err, asked)
	}
	archive, err := r.Bundle(t.Context(), b.Digest())
	if err != nil || !bytes.Equal(archive, b.Archive()) {
		t.Errorf("%d bytes, %v", len(archive), err)
	}
	if _, err := r.Published(t.Context(), "broken", 0); err == nil {
		t.Error("a broken answer is taken")
	}
	if _, err := r.Bundle(t.Context(), "../status"); err == nil || len(asked) > 4 {
		t.Errorf("asked for something that is no digest: %v", asked)
	}
	for _, urls := range [][]string{nil, {"control:15012"}, {"ftp://x"}, {"%"}} {
		if _, err := follow.NewRemote(urls, http.DefaultClient); err == nil {
			t.Errorf("%v is taken", urls)
		}
	}
	if r, err = follow.NewRemote([]string{bad.URL, huge.URL}, http.DefaultClient); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Published(t.Context(), "", 0); err == nil {
		t.Error("nobody answered")
	}
}
