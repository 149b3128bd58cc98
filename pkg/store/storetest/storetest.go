// Package storetest is the behaviour suite that every store.Store passes.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/domicile-dev/domicile/pkg/bundle"
	"github.com/domicile-dev/domicile/pkg/store"
)

// Target is a store under test. It starts empty.
type Target struct {
	// Open returns a client of the store; every call another one, if the
	// implementation has clients.
	Open func(t *testing.T) store.Store
	// Stop makes the store unavailable to all clients, Start ends that. Data
	// stays.
	Stop, Start func(t *testing.T)
}

// Promised times, and patience for what has no promised time.
const (
	noticed  = 3 * time.Second // a store that went away is reported
	answered = 5 * time.Second // a call without deadline fails
	patience = 30 * time.Second
)

// Run runs the suite; open is called once for each test in it.
func Run(t *testing.T, open func(t *testing.T) Target) {
	for name, test := range map[string]func(*testing.T, Target){
		"empty":            testEmpty,
		"publish":          testPublish,
		"stale base":       testStale,
		"refused input":    testRefused,
		"race on one base": testRaceOnOneBase,
		"race with retry":  testRaceWithRetry,
		"history":          testHistory,
		"roll-back":        testRollback,
		"sizes":            testSizes,
		"contexts":         testContexts,
		"watch":            testWatch,
		"slow watcher":     testSlowWatcher,
		"lost and back":    testLostAndBack,
		"watch while lost": testWatchWhileLost,
	} {
		t.Run(name, func(t *testing.T) {
			target := open(t)
			// A test that ends while the store is stopped must not fail the others.
			stopped := false
			start, stop := target.Start, target.Stop
			target.Start = func(t *testing.T) { start(t); stopped = false }
			target.Stop = func(t *testing.T) { stop(t); stopped = true }
			defer func() {
				if stopped {
					start(t)
				}
			}()
			test(t, target)
		})
	}
}

// Archive returns bytes that differ for each n.
func Archive(n int) []byte { return fmt.Appendf(nil, "archive %d", n) }

// Record returns a plausible record that differs for each n.
func Record(n int) store.Record {
	return store.Record{
		Table:   bundle.Digest(fmt.Appendf(nil, "table %d", n)),
		At:      time.Date(2026, 11, 24, 12, 0, n, 123456789, time.UTC),
		Author:  "policy@example.com",
		Message: fmt.Sprintf("change %d: 归属法域 <&>", n),
	}
}

// Publish publishes the n-th archive and record, or ends the test.
func Publish(t testing.TB, s store.Store, base uint64, n int) store.Record {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	r, err := s.Publish(ctx, base, Archive(n), Record(n))
	if err != nil {
		t.Fatalf("publish %d on %d: %v", n, base, err)
	}
	return r
}

// Until reads events until one fits, or ends the test when none comes in time.
func Until(t testing.TB, events <-chan store.Event, in time.Duration, what string, fits func(store.Event) bool) store.Event {
	t.Helper()
	late := time.NewTimer(in)
	defer late.Stop()
	var last string
	for {
		select {
		case e, open := <-events:
			if !open {
				t.Fatalf("wait for %s: events ended; the last one: %s", what, last)
			}
			if fits(e) {
				return e
			}
			last = fmt.Sprintf("%+v", e)
		case <-late.C:
			t.Fatalf("wait for %s: none in %v; the last event: %s", what, in, last)
		}
	}
}

// UntilHead reads events until the head is r.
func UntilHead(t testing.TB, events <-chan store.Event, r store.Record) {
	t.Helper()
	Until(t, events, patience, fmt.Sprintf("head %d", r.Sequence), func(e store.Event) bool {
		return e.Err == nil && e.Connected && e.Head == r
	})
}

// UntilLost reads events until the store is reported lost.
func UntilLost(t testing.TB, events <-chan store.Event) {
	t.Helper()
	began := time.Now()
	e := Until(t, events, noticed, "loss of the store", func(e store.Event) bool { return !e.Connected })
	if !errors.Is(e.Err, store.ErrUnavailable) {
		t.Errorf("error of a lost store: %v, want ErrUnavailable", e.Err)
	}
	t.Logf("loss reported after %v: %v", time.Since(began).Round(time.Millisecond), e.Err)
}

// expect checks head and history as seen by a client.
func expect(t *testing.T, s store.Store, newestFirst ...store.Record) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	head, err := s.Head(ctx)
	switch {
	case len(newestFirst) == 0 && !errors.Is(err, store.ErrEmpty):
		t.Errorf("head %+v, %v, want ErrEmpty", head, err)
	case len(newestFirst) > 0 && (err != nil || head != newestFirst[0]):
		t.Errorf("head: %v (-want +got):\n%s", err, cmp.Diff(newestFirst[0], head))
	}
	history, err := s.History(ctx, 0)
	if err != nil || len(history) != len(newestFirst) {
		t.Errorf("history has %d records, %v; want %d", len(history), err, len(newestFirst))
		return
	}
	for i, r := range newestFirst {
		if history[i] != r {
			t.Errorf("history, record %d (-want +got):\n%s", i, cmp.Diff(r, history[i]))
		}
	}
}

func testEmpty(t *testing.T, target Target) {
	s := target.Open(t)
	expect(t, s)
	for _, digest := range []string{bundle.Digest(nil), "", "head", "sha256:../../head"} {
		if b, err := s.Bundle(t.Context(), digest); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("bundle %q: %q, %v, want ErrNotFound", digest, b, err)
		}
	}
	e := Until(t, s.Watch(t.Context()), patience, "first event", func(store.Event) bool { return true })
	if !e.Connected || !errors.Is(e.Err, store.ErrEmpty) {
		t.Errorf("first event %+v, want ErrEmpty, connected", e)
	}
}

func testPublish(t *testing.T, target Target) {
	writer, reader := target.Open(t), target.Open(t)
	in := Record(1)
	in.At = time.Now().In(time.FixedZone("far", 7*3600)) // with a monotonic reading
	in.GitCommit = "0123abc"
	in.RollbackOf = 7
	archive := Archive(1)
	got, err := writer.Publish(t.Context(), 0, archive, in)
	if err != nil {
		t.Fatal(err)
	}
	clear(archive) // the store must not have kept the caller's bytes
	want := in
	want.Sequence, want.Bundle, want.At = 1, bundle.Digest(Archive(1)), in.At.Round(0).UTC()
	if got != want {
		t.Errorf("returned record (-want +got):\n%s", cmp.Diff(want, got))
	}
	expect(t, writer, want)
	expect(t, reader, want)
	for range 2 {
		b, err := reader.Bundle(t.Context(), want.Bundle)
		if err != nil || !bytes.Equal(b, Archive(1)) {
			t.Fatalf("bundle %q, %v", b, err)
		}
		clear(b) // nor hand out its own
	}
}

func testStale(t *testing.T, target Target) {
	s := target.Open(t)
	stale := func(base uint64) {
		t.Helper()
		if r, err := s.Publish(t.Context(), base, Archive(9), Record(9)); !errors.Is(err, store.ErrStale) {
			t.Errorf("publish on %d: %+v, %v, want ErrStale", base, r, err)
		}
	}
	stale(1)
	expect(t, s)
	first := Publish(t, s, 0, 1)
	second := Publish(t, s, 1, 2)
	for _, base := range []uint64{0, 1, 3, 1 << 40} {
		stale(base)
	}
	expect(t, s, second, first)
	if b, err := s.Bundle(t.Context(), bundle.Digest(Archive(9))); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("archive of a stale publish: %q, %v, want ErrNotFound", b, err)
	}
}

func testRefused(t *testing.T, target Target) {
	s := target.Open(t)
	for name, c := range map[string]struct {
		base    uint64
		archive []byte
		change  func(*store.Record)
	}{
		"no archive":    {0, nil, func(*store.Record) {}},
		"large archive": {0, make([]byte, bundle.MaxArchive+1), func(*store.Record) {}},
		"last base":     {1<<64 - 1, Archive(1), func(*store.Record) {}},
		"other digest":  {0, Archive(1), func(r *store.Record) { r.Bundle = bundle.Digest(Archive(2)) }},
		"long text":     {0, Archive(1), func(r *store.Record) { r.Message = strings.Repeat("界", store.MaxText) }},
		"not UTF-8":     {0, Archive(1), func(r *store.Record) { r.Author = "\xff" }},
		"far year":      {0, Archive(1), func(r *store.Record) { r.At = r.At.AddDate(9000, 0, 0) }},
	} {
		r := Record(1)
		c.change(&r)
		_, err := s.Publish(t.Context(), c.base, c.archive, r)
		if err == nil || errors.Is(err, store.ErrStale) || errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: %v, want an error about the input", name, err)
		}
	}
	expect(t, s)
}

// Equal records too: nobody may take another's success for his own.
func testRaceOnOneBase(t *testing.T, target Target) {
	const n = 50
	clients := []store.Store{target.Open(t), target.Open(t), target.Open(t)}
	first := Publish(t, clients[0], 0, 0)
	won := make(chan store.Record, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			r, err := clients[i%len(clients)].Publish(t.Context(), 1, Archive(1+i%2), Record(1+i%2))
			switch {
			case err == nil:
				won <- r
			case !errors.Is(err, store.ErrStale):
				t.Errorf("publisher %d: %v, want nil or ErrStale", i, err)
			}
		})
	}
	all.Wait()
	if len(won) != 1 {
		t.Fatalf("%d publishers won, want 1", len(won))
	}
	expect(t, clients[1], <-won, first)
}

func testRaceWithRetry(t *testing.T, target Target) {
	const n = 8
	ctx, stop := context.WithTimeout(t.Context(), 2*patience)
	defer stop()
	clients := []store.Store{target.Open(t), target.Open(t)}
	got := make([]store.Record, n+1) // by sequence
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			s := clients[i%len(clients)]
			for {
				head, err := s.Head(ctx)
				if err != nil && !errors.Is(err, store.ErrEmpty) {
					t.Errorf("publisher %d: %v", i, err)
					return
				}
				r, err := s.Publish(ctx, head.Sequence, Archive(i), Record(i))
				if errors.Is(err, store.ErrStale) {
					continue
				}
				if err != nil || r.Sequence < 1 || r.Sequence > n {
					t.Errorf("publisher %d: sequence %d, %v", i, r.Sequence, err)
					return
				}
				got[r.Sequence] = r // a race, and found as one, if two win one sequence
				return
			}
		})
	}
	all.Wait()
	var want []store.Record
	for i := n; i > 0; i-- {
		want = append(want, got[i])
	}
	expect(t, clients[0], want...)
}

func testHistory(t *testing.T, target Target) {
	s := target.Open(t)
	const n = 12 // two digits: records must not sort as words
	var newestFirst []store.Record
	for i := range n {
		newestFirst = append([]store.Record{Publish(t, s, uint64(i), i)}, newestFirst...)
	}
	expect(t, s, newestFirst...)
	for _, c := range []struct{ limit, want int }{{1, 1}, {5, 5}, {n, n}, {n + 1, n}, {0, n}, {-1, n}, {1 << 40, n}} {
		got, err := s.History(t.Context(), c.limit)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(newestFirst[:c.want], got); d != "" {
			t.Errorf("limit %d (-want +got):\n%s", c.limit, d)
		}
	}
}

func testRollback(t *testing.T, target Target) {
	s := target.Open(t)
	old := Publish(t, s, 0, 1)
	mid := Publish(t, s, 1, 2)
	back := Publish(t, s, 2, 1)
	if back.Bundle != old.Bundle {
		t.Errorf("bundle %s, want %s", back.Bundle, old.Bundle)
	}
	expect(t, s, back, mid, old)
}

func testSizes(t *testing.T, target Target) {
	writer, reader := target.Open(t), target.Open(t)
	random := rand.New(rand.NewSource(1))
	for i, size := range []int{1, 512 << 10, 512<<10 + 1, 5 << 20, 5_000_001} {
		archive := make([]byte, size)
		random.Read(archive)
		ctx, stop := context.WithTimeout(t.Context(), patience)
		defer stop()
		r, err := writer.Publish(ctx, uint64(i), archive, Record(i))
		if err != nil {
			t.Fatalf("publish %d bytes: %v", size, err)
		}
		got, err := reader.Bundle(ctx, r.Bundle)
		if err != nil || !bytes.Equal(got, archive) {
			t.Errorf("read %d bytes: %d bytes, %v", size, len(got), err)
		}
	}
}

func testContexts(t *testing.T, target Target) {
	s := target.Open(t)
	head := Publish(t, s, 0, 1)
	cancelled, stop := context.WithCancel(t.Context())
	stop()
	expired, stop := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer stop()
	for want, ctx := range map[error]context.Context{context.Canceled: cancelled, store.ErrUnavailable: expired} {
		for name, err := range calls(ctx, s, head) {
			if !errors.Is(err, want) || errors.Is(err, store.ErrUnavailable) != errors.Is(want, store.ErrUnavailable) {
				t.Errorf("%s with a context that ended: %v, want %v", name, err, want)
			}
		}
	}
	expect(t, s, head)
	for range s.Watch(cancelled) { // ends, whatever it still says
	}
	ctx, stop := context.WithCancel(t.Context())
	events := s.Watch(ctx)
	UntilHead(t, events, head)
	stop()
	for range events {
	}
}

// calls makes every call that answers, and returns the errors.
func calls(ctx context.Context, s store.Store, head store.Record) map[string]error {
	errs := map[string]error{}
	_, errs["head"] = s.Head(ctx)
	_, errs["bundle"] = s.Bundle(ctx, head.Bundle)
	_, errs["history"] = s.History(ctx, 1)
	_, errs["publish"] = s.Publish(ctx, head.Sequence, Archive(77), Record(77))
	return errs
}

func testWatch(t *testing.T, target Target) {
	writer, reader := target.Open(t), target.Open(t)
	first, second := reader.Watch(t.Context()), writer.Watch(t.Context())
	for i := range 10 {
		r := Publish(t, writer, uint64(i), i)
		UntilHead(t, first, r)
		UntilHead(t, second, r)
	}
	late := reader.Watch(t.Context())
	head, err := reader.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if e := Until(t, late, patience, "first event", func(store.Event) bool { return true }); e.Head != head || !e.Connected || e.Err != nil {
		t.Errorf("first event of a late watch %+v, want head %+v", e, head)
	}
}

// The reader takes nothing while ten heads pass, then finds the last one; heads
// never come out of order.
func testSlowWatcher(t *testing.T, target Target) {
	writer, reader := target.Open(t), target.Open(t)
	events := reader.Watch(t.Context())
	var head store.Record
	for i := range 10 {
		head = Publish(t, writer, uint64(i), i)
	}
	var seen uint64
	Until(t, events, patience, "the last head", func(e store.Event) bool {
		if e.Err == nil && e.Head.Sequence <= seen {
			t.Errorf("head %d after %d", e.Head.Sequence, seen)
		}
		seen = max(seen, e.Head.Sequence)
		return e.Head == head
	})
}

func testLostAndBack(t *testing.T, target Target) {
	s := target.Open(t)
	head := Publish(t, s, 0, 1)
	events := s.Watch(t.Context())
	UntilHead(t, events, head)
	for round := range 2 {
		target.Stop(t)
		UntilLost(t, events)
		began := time.Now()
		// Without a deadline, and for a publish that would otherwise work.
		if _, err := s.Publish(t.Context(), head.Sequence, Archive(99), Record(99)); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("publish while lost: %v, want ErrUnavailable", err)
		}
		if took := time.Since(began); took > answered {
			t.Errorf("publish while lost took %v, more than %v", took, answered)
		}
		short, stop := context.WithTimeout(t.Context(), 200*time.Millisecond)
		for name, err := range calls(short, s, head) {
			if !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("%s while lost: %v, want ErrUnavailable", name, err)
			}
		}
		stop()
		target.Start(t)
		UntilHead(t, events, head)
		history, err := s.History(t.Context(), 0)
		if err != nil || uint64(len(history)) != head.Sequence || history[0] != head {
			t.Fatalf("history after return: %+v, %v; want %d records", history, err, head.Sequence)
		}
		head = Publish(t, s, head.Sequence, 10+round)
		UntilHead(t, events, head)
	}
}

func testWatchWhileLost(t *testing.T, target Target) {
	s := target.Open(t)
	head := Publish(t, s, 0, 1)
	target.Stop(t)
	events := s.Watch(t.Context())
	e := Until(t, events, noticed, "first event", func(store.Event) bool { return true })
	if e.Connected || !errors.Is(e.Err, store.ErrUnavailable) {
		t.Errorf("first event %+v, want the loss", e)
	}
	target.Start(t)
	UntilHead(t, events, head)
}
