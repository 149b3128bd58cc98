package etcd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/domicile-dev/domicile/pkg/bundle"
	"github.com/domicile-dev/domicile/pkg/store"
	"github.com/domicile-dev/domicile/pkg/store/etcd/embedded"
	"github.com/domicile-dev/domicile/pkg/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// member is a real etcd that can be stopped and started on its data.
type member struct {
	*embedded.Server
	dir, url string
}

func newMember(t testing.TB) *member {
	t.Helper()
	m := &member{dir: filepath.Join(t.TempDir(), "data")}
	m.Start(t)
	t.Cleanup(func() { m.Close() })
	return m
}

func (m *member) Start(t testing.TB) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	s, err := embedded.Start(ctx, embedded.Config{Dir: m.dir, ClientURL: m.url})
	if err != nil {
		t.Fatal(err)
	}
	m.Server, m.url = s, s.Endpoints()[0]
}

func (m *member) Stop(testing.TB) { m.Close() }

func open(t testing.TB, cfg Config) *Store {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// start returns a store on an etcd of its own.
func start(t testing.TB) (*Store, *member) {
	t.Helper()
	m := newMember(t)
	return open(t, Config{Endpoints: m.Endpoints()}), m
}

func TestStore(t *testing.T) {
	m := newMember(t)
	n := 0
	storetest.Run(t, func(*testing.T) storetest.Target {
		n++
		cfg := Config{Endpoints: m.Endpoints(), Prefix: fmt.Sprintf("/test/%d", n)}
		return storetest.Target{
			Open:  func(t *testing.T) store.Store { return open(t, cfg) },
			Stop:  func(t *testing.T) { m.Stop(t) },
			Start: func(t *testing.T) { m.Start(t) },
		}
	})
}

func TestNewNeedsNoServer(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("no endpoints: accepted")
	}
	s := open(t, Config{Endpoints: []string{"http://127.0.0.1:1"}, Timeout: 300 * time.Millisecond})
	if _, err := s.Head(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("head: %v, want ErrUnavailable", err)
	}
	storetest.UntilLost(t, s.Watch(t.Context()))
}

func TestCloseEndsWatches(t *testing.T) {
	s, _ := start(t)
	first, second := s.Watch(t.Context()), s.Watch(t.Context())
	head := storetest.Publish(t, s, 0, 1)
	storetest.UntilHead(t, first, head)
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, events := range []<-chan store.Event{first, second, s.Watch(t.Context())} {
		for e := range events {
			if !e.Connected {
				t.Errorf("event %+v after Close", e)
			}
		}
	}
	if _, err := s.Head(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("head after Close: %v, want ErrUnavailable", err)
	}
}

// keys lists what lies below the prefix.
func keys(t *testing.T, s *Store) string {
	t.Helper()
	r, err := s.client.Get(t.Context(), s.prefix, prefixed, keysOnly)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, kv := range r.Kvs {
		out = append(out, strings.TrimPrefix(string(kv.Key), s.prefix))
	}
	return strings.Join(out, "\n")
}

func put(t *testing.T, s *Store, key, value string) {
	t.Helper()
	if _, err := s.client.Put(t.Context(), key, value); err != nil {
		t.Fatal(err)
	}
}

func del(t *testing.T, s *Store, key string) {
	t.Helper()
	if r, err := s.client.Delete(t.Context(), key); err != nil || r.Deleted != 1 {
		t.Fatalf("delete %s: %v, %v", key, r, err)
	}
}

func TestLayout(t *testing.T) {
	s, _ := start(t)
	if s.prefix != DefaultPrefix {
		t.Errorf("prefix %q", s.prefix)
	}
	archive := make([]byte, 2*chunkSize+1)
	r, err := s.Publish(t.Context(), 0, archive, storetest.Record(1))
	if err != nil {
		t.Fatal(err)
	}
	d := "bundles/" + r.Bundle
	want := strings.Join([]string{d + "/000000", d + "/000001", d + "/000002", d + "/manifest", "head", "history/00000000000000000001"}, "\n")
	if got := keys(t, s); got != want {
		t.Errorf("keys:\n%s\nwant:\n%s", got, want)
	}
}

func TestT18HalfWrittenBundleIsInvisible(t *testing.T) {
	s, _ := start(t)
	archive := make([]byte, 3*chunkSize)
	digest := bundle.Digest(archive)
	unseen := func(when string) {
		t.Helper()
		if b, err := s.Bundle(t.Context(), digest); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: bundle of %d bytes, %v, want ErrNotFound", when, len(b), err)
		}
		if r, err := s.Head(t.Context()); !errors.Is(err, store.ErrEmpty) {
			t.Errorf("%s: head %+v, %v, want ErrEmpty", when, r, err)
		}
	}
	for i := range 3 {
		put(t, s, s.chunkKey(digest, i), string(archive[:chunkSize]))
		unseen(fmt.Sprintf("%d chunks", i+1))
	}
	// The remains of a publisher with more chunks than belong there.
	put(t, s, s.chunkKey(digest, 3), "x")
	if _, err := s.Publish(t.Context(), 0, archive, storetest.Record(1)); err != nil {
		t.Fatal(err)
	}
	if b, err := s.Bundle(t.Context(), digest); err != nil || string(b) != string(archive) {
		t.Errorf("published over the remains: %d bytes, %v", len(b), err)
	}
}

func TestT18DamagedBundle(t *testing.T) {
	s, _ := start(t)
	archive := []byte(strings.Repeat("x", 2*chunkSize+7))
	r, err := s.Publish(t.Context(), 0, archive, storetest.Record(1))
	if err != nil {
		t.Fatal(err)
	}
	last := s.chunkKey(r.Bundle, 2)
	for name, damage := range map[string]func(){
		"bit flip":       func() { put(t, s, last, "xxxXxxx") },
		"cut":            func() { put(t, s, last, "xxx") },
		"longer":         func() { put(t, s, last, "xxxxxxxx") },
		"chunk lost":     func() { del(t, s, s.chunkKey(r.Bundle, 1)) },
		"last lost":      func() { del(t, s, last) },
		"chunk added":    func() { put(t, s, s.chunkKey(r.Bundle, 3), "x") },
		"alien key":      func() { put(t, s, s.bundleKeys(r.Bundle)+"0000020", "x") },
		"manifest":       func() { put(t, s, s.manifestKey(r.Bundle), "{") },
		"manifest lies":  func() { put(t, s, s.manifestKey(r.Bundle), `{"chunks":3,"size":1}`) },
		"manifest empty": func() { put(t, s, s.manifestKey(r.Bundle), "") },
	} {
		damage()
		b, err := s.Bundle(t.Context(), r.Bundle)
		if b != nil || !errors.Is(err, store.ErrCorrupt) || errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: %d bytes, %v, want ErrCorrupt", name, len(b), err)
		}
		if name == "bit flip" && !errors.Is(err, bundle.ErrDigest) {
			t.Errorf("%s: %v, want ErrDigest", name, err)
		}
		if name == "alien key" {
			del(t, s, s.bundleKeys(r.Bundle)+"0000020")
		}
		// Publishing the archive again heals it, and rewrites history by nothing.
		if r, err = s.Publish(t.Context(), r.Sequence, archive, storetest.Record(2)); err != nil {
			t.Fatalf("%s: publish again: %v", name, err)
		}
		if b, err := s.Bundle(t.Context(), r.Bundle); err != nil || string(b) != string(archive) {
			t.Fatalf("%s: healed: %d bytes, %v", name, len(b), err)
		}
	}
}

func TestT18DamagedHeadAndHistory(t *testing.T) {
	s, _ := start(t)
	storetest.Publish(t, s, 0, 1)
	second := storetest.Publish(t, s, 1, 2)
	events := s.Watch(t.Context())
	storetest.UntilHead(t, events, second)
	r, err := s.client.Get(t.Context(), s.headKey())
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "{", "{}", "null", `{"sequence":3,"bundle":"x"}`, `{"sequence":-1}`} {
		put(t, s, s.headKey(), bad)
		storetest.Until(t, events, time.Minute, "ErrCorrupt", func(e store.Event) bool { return e.Connected && errors.Is(e.Err, store.ErrCorrupt) })
		if _, err := s.Head(t.Context()); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("head %q: %v, want ErrCorrupt", bad, err)
		}
		for _, base := range []uint64{0, 2} {
			if _, err := s.Publish(t.Context(), base, storetest.Archive(3), storetest.Record(3)); !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("publish on head %q: %v, want ErrCorrupt", bad, err)
			}
		}
		put(t, s, s.headKey(), string(r.Kvs[0].Value))
		storetest.UntilHead(t, events, second)
	}

	for _, damage := range []func(){
		func() { put(t, s, s.historyKey(1), "{") },
		func() { put(t, s, s.historyKey(1), string(r.Kvs[0].Value)) },
		func() { del(t, s, s.historyKey(1)) },
	} {
		damage()
		if h, err := s.History(t.Context(), 0); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("history %+v, %v, want ErrCorrupt", h, err)
		}
		if h, err := s.History(t.Context(), 1); err != nil || len(h) != 1 {
			t.Errorf("history up to the damage: %+v, %v", h, err)
		}
	}
}

// The backup is a copy of the data directory of a stopped member.
func TestT17RestoredFromOlderBackup(t *testing.T) {
	s, m := start(t)
	first := storetest.Publish(t, s, 0, 1)
	m.Stop(t)
	backup := filepath.Join(t.TempDir(), "backup")
	if err := os.CopyFS(backup, os.DirFS(m.dir)); err != nil {
		t.Fatal(err)
	}
	m.Start(t)
	events := s.Watch(t.Context())
	second := storetest.Publish(t, s, 1, 2)
	storetest.UntilHead(t, events, second)
	m.Stop(t)
	m.dir = backup
	m.Start(t)

	isBack := func(e store.Event) bool {
		if e.Err == nil {
			t.Errorf("head %d delivered after %d", e.Head.Sequence, second.Sequence)
		}
		return errors.Is(e.Err, store.ErrWentBack)
	}
	e := storetest.Until(t, events, time.Minute, "ErrWentBack", isBack)
	var back *store.WentBackError
	if !errors.As(e.Err, &back) || !e.Connected || back.Seen != first || back.Last != second {
		t.Errorf("event %+v, want ErrWentBack from %+v to %+v", e, second, first)
	}
	storetest.UntilHead(t, s.Watch(t.Context()), first)

	other := storetest.Publish(t, s, 1, 3)
	e = storetest.Until(t, events, time.Minute, "ErrWentBack for another past", isBack)
	if !errors.As(e.Err, &back) || back.Seen != other {
		t.Errorf("event %+v, want ErrWentBack to %+v", e, other)
	}
	storetest.UntilHead(t, events, storetest.Publish(t, s, 2, 4))
}

func TestT17HeadDeleted(t *testing.T) {
	s, _ := start(t)
	events := s.Watch(t.Context())
	head := storetest.Publish(t, s, 0, 1)
	storetest.UntilHead(t, events, head)
	del(t, s, s.headKey())
	e := storetest.Until(t, events, time.Minute, "ErrWentBack", func(e store.Event) bool { return errors.Is(e.Err, store.ErrWentBack) })
	var back *store.WentBackError
	if !errors.As(e.Err, &back) || back.Seen != (store.Record{}) || back.Last != head {
		t.Errorf("event %+v, want ErrWentBack from %+v to nothing", e, head)
	}
}
