package control

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/domicile-dev/domicile/pkg/bundle"
	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/store"
	"github.com/domicile-dev/domicile/pkg/xds"
)

func (s *stand) apply(base *uint64, lines ...string) (Outcome, error) {
	out, err := s.Apply(s.t.Context(), Change{
		By: By{Author: "ana", Message: "why", GitCommit: "c0ffee"}, Archive: bundleOf(s.t, lines...).Archive(), Base: base,
	})
	s.settle()
	return out, err
}

// records returns the history's sequences, newest first, with what they hold.
func (s *stand) records() map[uint64]string {
	s.t.Helper()
	list, err := s.Memory().History(s.t.Context(), 0)
	if err != nil {
		s.t.Fatal(err)
	}
	out := map[uint64]string{}
	for _, r := range list {
		out[r.Sequence] = r.Bundle
	}
	return out
}

func (s *stand) Memory() *store.Memory { return s.store.Memory }

func TestApplyReachesTheProxiesByWayOfTheStore(t *testing.T) {
	run(t, func(t *testing.T, s *stand) {
		out, err := s.apply(nil, "serve SA sa")
		if err != nil {
			t.Fatal(err)
		}
		want := store.Record{
			Sequence: 1, Bundle: bundleOf(t, "serve SA sa").Digest(), Table: tableOf(t, s.now(), "serve SA sa").Digest(),
			At: s.now().UTC(), Author: "ana", Message: "why", GitCommit: "c0ffee",
		}
		if d := cmp.Diff(Outcome{Record: want}, out); d != "" {
			t.Error(d)
		}
		s.wantInForce(1, "serve SA sa")
	})
}

func TestApplyRefusesAndChangesNothing(t *testing.T) {
	past := "until SA 1999-12-31T00:00:00Z"
	good := func(t *testing.T) []byte { return bundleOf(t, "serve SA eu").Archive() }
	zero, one := uint64(0), uint64(1)
	for name, c := range map[string]struct {
		change func(t *testing.T) Change
		check  func(error) bool
	}{
		"policy with an error": {
			func(t *testing.T) Change { return Change{Archive: bundleOf(t, "error bad").Archive()} },
			func(err error) bool { r, ok := errors.AsType[*Rejected](err); return ok && len(r.Problems) == 1 },
		},
		"policy with a leak": {
			func(t *testing.T) Change { return Change{Archive: bundleOf(t, "leak").Archive()} },
			func(err error) bool { r, ok := errors.AsType[*Rejected](err); return ok && len(r.Leaks) == 1 },
		},
		"policy that trips a bug": {
			func(t *testing.T) Change { return Change{Archive: bundleOf(t, "panic").Archive()} },
			func(err error) bool { r, ok := errors.AsType[*Rejected](err); return ok && r.Cause != "" },
		},
		"policy that has lapsed": {
			func(t *testing.T) Change { return Change{Archive: bundleOf(t, "serve SA eu", past).Archive()} },
			func(err error) bool { r, ok := errors.AsType[*Rejected](err); return ok && len(r.Problems) == 1 },
		},
		"stale base": {
			func(t *testing.T) Change { return Change{Archive: good(t), Base: &zero} },
			func(err error) bool { return errors.Is(err, store.ErrStale) },
		},
		"another digest": {
			func(t *testing.T) Change {
				return Change{Archive: good(t), Digest: bundleOf(t, "serve SA sa").Digest(), Base: &one}
			},
			func(err error) bool { return errors.Is(err, ErrBundle) && errors.Is(err, bundle.ErrDigest) },
		},
		"no archive": {
			func(*testing.T) Change { return Change{Archive: []byte("kind: Law")} },
			func(err error) bool { return errors.Is(err, ErrBundle) },
		},
		"trailing data": {
			func(t *testing.T) Change { return Change{Archive: append(good(t), 0)} },
			func(err error) bool { return errors.Is(err, ErrBundle) },
		},
		"nothing": {
			func(*testing.T) Change { return Change{} },
			func(err error) bool { return errors.Is(err, ErrBundle) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, s *stand) {
				s.put("serve SA sa")
				before := s.records()
				if _, err := s.Apply(t.Context(), c.change(t)); !c.check(err) {
					t.Errorf("got %v", err)
				}
				s.settle()
				if d := cmp.Diff(before, s.records()); d != "" {
					t.Error(d)
				}
				s.wantInForce(1, "serve SA sa")
				s.wantRefused(0, "")
			})
		})
	}
}

func TestT15ChangesWithoutAStoreAreUnavailable(t *testing.T) {
	run(t, func(t *testing.T, s *stand) {
		s.put("serve SA sa")
		s.put("serve SA eu")
		s.Memory().SetAvailable(false)
		if _, err := s.apply(nil, "serve SA sa eu"); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("apply: %v", err)
		}
		if _, err := s.Rollback(t.Context(), 1, By{}); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("rollback: %v", err)
		}
		s.Memory().SetAvailable(true)
		s.settle()
		if n := len(s.records()); n != 2 {
			t.Errorf("%d records", n)
		}
		s.wantInForce(2, "serve SA eu")
	})
}

// hanging is a store that never answers, as a partitioned etcd would.
type hanging struct{ store.Store }

func (hanging) Head(ctx context.Context) (store.Record, error) {
	<-ctx.Done()
	return store.Record{}, store.ErrUnavailable
}

func TestT15AStoreThatHangsIsReportedWithin5s(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t)
		s.Controller.store = hanging{}
		start := time.Now()
		_, err := s.Apply(t.Context(), Change{Archive: bundleOf(t, "serve SA sa").Archive()})
		if took := time.Since(start); !errors.Is(err, store.ErrUnavailable) || took > 5*time.Second {
			t.Errorf("%v after %v", err, took)
		}
	})
}

// slow is a store that answers every question at the last moment, and never
// takes a write.
type slow struct{ store.Store }

const nearly = storeTime - 100*time.Millisecond

func (s slow) Head(ctx context.Context) (store.Record, error) {
	return late(ctx, func() (store.Record, error) { return s.Store.Head(ctx) })
}

func (s slow) History(ctx context.Context, limit int) ([]store.Record, error) {
	return late(ctx, func() ([]store.Record, error) { return s.Store.History(ctx, limit) })
}

func (s slow) Bundle(ctx context.Context, digest string) ([]byte, error) {
	return late(ctx, func() ([]byte, error) { return s.Store.Bundle(ctx, digest) })
}

func (slow) Publish(ctx context.Context, _ uint64, _ []byte, _ store.Record) (store.Record, error) {
	<-ctx.Done()
	return store.Record{}, store.ErrUnavailable
}

func late[T any](ctx context.Context, answer func() (T, error)) (out T, err error) {
	select {
	case <-time.After(nearly):
		return answer()
	case <-ctx.Done():
		return out, store.ErrUnavailable
	}
}

func TestT15ASlowStoreIsReportedWithin5s(t *testing.T) {
	for name, change := range map[string]func(*stand) error{
		"apply": func(s *stand) error {
			_, err := s.Apply(s.t.Context(), Change{Archive: bundleOf(s.t, "serve SA sa eu").Archive()})
			return err
		},
		"rollback": rollback,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStand(t)
				s.put("serve SA sa")
				s.put("serve SA eu")
				s.Controller.store = slow{s.Controller.store}
				start := time.Now()
				if err := change(s); !errors.Is(err, store.ErrUnavailable) || time.Since(start) > storeTime+publishTime {
					t.Errorf("%v after %v", err, time.Since(start))
				}
			})
		})
	}
}

func TestTheSameBundleIsRecordedOnce(t *testing.T) {
	run(t, func(t *testing.T, s *stand) {
		first, err := s.apply(nil, "serve SA sa")
		if err != nil {
			t.Fatal(err)
		}
		zero := uint64(0)
		for _, base := range []*uint64{nil, &zero, &first.Sequence} {
			again, err := s.apply(base, "serve SA sa")
			if err != nil || !again.Unchanged || again.Record != first.Record {
				t.Errorf("again: %+v, %v", again, err)
			}
		}
		if s.out.count() != 1 || len(s.records()) != 1 {
			t.Errorf("published %d times, %d records", s.out.count(), len(s.records()))
		}
		// Other bytes of the same meaning are news for the history only.
		other, err := s.apply(&first.Sequence, "serve SA sa", "")
		if err != nil || other.Unchanged || other.Sequence != 2 || other.Table != first.Table {
			t.Errorf("other bytes: %+v, %v", other, err)
		}
		if got := s.Status().Policy; got.Sequence != 2 || got.Table != first.Table {
			t.Errorf("in force: %+v", got)
		}
	})
}

func TestOfTwoChangesOnOneBaseOneWins(t *testing.T) {
	run(t, func(t *testing.T, s *stand) {
		s.put("serve SA sa")
		base := uint64(1)
		results := make(chan error)
		for _, lines := range [][]string{{"serve SA eu"}, {"serve SA sa eu"}, {"serve DE eu"}} {
			archive := bundleOf(t, lines...).Archive()
			go func() {
				_, err := s.Apply(context.Background(), Change{Archive: archive, Base: &base})
				results <- err
			}()
		}
		won, stale := 0, 0
		for range 3 {
			switch err := <-results; {
			case err == nil:
				won++
			case errors.Is(err, store.ErrStale):
				stale++
			default:
				t.Error(err)
			}
		}
		if won != 1 || stale != 2 || len(s.records()) != 2 {
			t.Errorf("%d won, %d stale, %d records", won, stale, len(s.records()))
		}
	})
}

func TestRollbackRepeatsOldContentUnderANewSequence(t *testing.T) {
	run(t, func(t *testing.T, s *stand) {
		for _, p := range []string{"serve SA sa", "serve SA eu", "serve SA sa eu"} {
			if _, err := s.apply(nil, p); err != nil {
				t.Fatal(err)
			}
		}
		out, err := s.Rollback(t.Context(), 0, By{Author: "bo", Message: "no"})
		s.settle()
		if err != nil || out.Sequence != 4 || out.RollbackOf != 2 || out.Author != "bo" || out.GitCommit != "c0ffee" {
			t.Errorf("the one before: %+v, %v", out, err)
		}
		s.wantInForce(4, "serve SA eu")
		out, err = s.Rollback(t.Context(), 1, By{})
		s.settle()
		if err != nil || out.Sequence != 5 || out.RollbackOf != 1 {
			t.Errorf("the first: %+v, %v", out, err)
		}
		s.wantInForce(5, "serve SA sa")
		if out, err := s.Rollback(t.Context(), 5, By{}); err != nil || !out.Unchanged {
			t.Errorf("to the head: %+v, %v", out, err)
		}
		if _, err := s.Rollback(t.Context(), 6, By{}); !errors.Is(err, ErrNothingBefore) {
			t.Errorf("to the future: %v", err)
		}
	})
}

func TestRollbackCannotReviveWhatLapsed(t *testing.T) {
	run(t, func(t *testing.T, s *stand) {
		if _, err := s.Rollback(t.Context(), 0, By{}); !errors.Is(err, ErrNothingBefore) {
			t.Errorf("without any policy: %v", err)
		}
		boundary := s.now().Add(time.Hour).Truncate(time.Second)
		if _, err := s.apply(nil, "serve SA eu", "until SA "+boundary.Format(time.RFC3339)); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Rollback(t.Context(), 0, By{}); !errors.Is(err, ErrNothingBefore) {
			t.Errorf("from the first: %v", err)
		}
		if _, err := s.apply(nil, "serve SA sa"); err != nil {
			t.Fatal(err)
		}
		s.pass(2 * time.Hour)
		if _, ok := errors.AsType[*Rejected](rollback(s)); !ok {
			t.Error("rolled back to a lapsed policy")
		}
		s.wantInForce(2, "serve SA sa")
	})
}

func rollback(s *stand) error {
	_, err := s.Rollback(s.t.Context(), 0, By{})
	return err
}

func TestAwaitCountsConnectedProxies(t *testing.T) {
	run(t, func(t *testing.T, s *stand) {
		if _, err := s.apply(nil, "serve SA sa"); err != nil {
			t.Fatal(err)
		}
		table := s.Status().Policy.Table
		up := time.Now()
		set := func(list ...xds.Proxy) {
			s.out.mu.Lock()
			defer s.out.mu.Unlock()
			s.out.proxies = list
		}
		set(
			xds.Proxy{ID: "eu/gateway/a", State: xds.Synced, Target: table, ConnectedSince: up},
			xds.Proxy{ID: "eu/gateway/b", State: xds.Pending, Target: table, ConnectedSince: up},
			xds.Proxy{ID: "us/gateway/emptied", State: xds.Synced, ConnectedSince: up},
			xds.Proxy{ID: "eu/gateway/c", State: xds.Synced, Target: "sha256:old", ConnectedSince: up},
			xds.Proxy{ID: "eu/gateway/d", State: xds.Disconnected},
		)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if got := s.Await(ctx, 1); got != (Spread{Synced: 1, Pending: 2}) || time.Since(up) != time.Second {
			t.Errorf("%+v after %v", got, time.Since(up))
		}
		set(xds.Proxy{ID: "eu/gateway/a", State: xds.Synced, Target: table, ConnectedSince: up})
		if got := s.Await(t.Context(), 1); got != (Spread{Synced: 1}) {
			t.Errorf("%+v", got)
		}
		// A head that is refused is not waited for.
		set(
			xds.Proxy{ID: "eu/gateway/a", State: xds.Synced, Target: table, ConnectedSince: up},
			xds.Proxy{ID: "eu/gateway/d", State: xds.Disconnected},
		)
		s.put("error bad")
		if got := s.Await(t.Context(), 2); got != (Spread{Pending: 1}) {
			t.Errorf("refused: %+v", got)
		}
	})
}

func TestBundlesAndHistoryComeFromTheStore(t *testing.T) {
	run(t, func(t *testing.T, s *stand) {
		s.put("serve SA sa")
		s.put("serve SA eu")
		list, err := s.History(t.Context(), 1)
		if err != nil || len(list) != 1 || list[0].Sequence != 2 {
			t.Errorf("history: %+v, %v", list, err)
		}
		b := bundleOf(t, "serve SA sa")
		if got, err := s.Bundle(t.Context(), b.Digest()); err != nil || !bytes.Equal(got, b.Archive()) {
			t.Errorf("bundle: %d bytes, %v", len(got), err)
		}
		if _, err := s.Bundle(t.Context(), bundleOf(t, "x").Digest()); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("no such bundle: %v", err)
		}
	})
}

func TestAPolicyIsCompiledOnceUntilItLapses(t *testing.T) {
	var builds, last atomic.Int64
	build := func(ctx context.Context, b *bundle.Bundle, at time.Time, strict bool) (*compiled, *Refusal) {
		builds.Add(1)
		last.Store(time.Now().UnixNano())
		return buildText(ctx, b, at, strict)
	}
	runWith(t, build, func(t *testing.T, s *stand) {
		boundary := s.now().Add(time.Hour).Truncate(time.Second)
		lines := []string{"serve SA eu", "until SA " + boundary.Format(time.RFC3339)}
		if _, err := s.apply(nil, lines...); err != nil {
			t.Fatal(err)
		}
		s.wantInForce(1, lines...)
		if n := builds.Load(); n != 1 {
			t.Errorf("%d builds for one change", n)
		}
		s.pass(2 * time.Hour)
		s.wantInForce(1, lines...)
		if n := builds.Load(); n != 2 {
			t.Errorf("%d builds after the lapse", n)
		}
		if at := time.Unix(0, last.Load()); !at.Before(boundary) {
			t.Errorf("the lapse was compiled at %v, for %v", at, boundary)
		}
		// What was compiled for the loop was not checked as new work is.
		if _, err := s.apply(nil, "serve SA sa"); err != nil {
			t.Fatal(err)
		}
		if _, ok := errors.AsType[*Rejected](rollback(s)); !ok {
			t.Error("rolled back to a lapsed policy")
		}
		for i := range 4 * keep {
			s.put("serve SA sa", "region r"+strings.Repeat("x", i+1))
		}
		if n := len(s.recent.list); n != keep {
			t.Errorf("%d policies are kept", n)
		}
	})
}

func TestStepsAreMadeBeforeTheChangeIsAnnounced(t *testing.T) {
	steps := map[string]int{} // only the change's goroutine, the test's, makes them
	build := func(ctx context.Context, b *bundle.Bundle, at time.Time, strict bool) (*compiled, *Refusal) {
		p, why := buildText(ctx, b, at, strict)
		if p != nil {
			p.step = once(8, func(g xds.Group, meet *residency.Table) (*xds.Snapshot, error) {
				steps[g.Region]++
				return snapshotOf(meet), nil
			})
		}
		return p, why
	}
	runWith(t, build, func(t *testing.T, s *stand) {
		s.put("serve SA sa", "serve DE eu")
		old := s.Status().Policy.Table
		if _, err := s.apply(nil, "serve SA eu", "serve DE eu", "serve TR eu"); err != nil {
			t.Fatal(err)
		}
		want := map[string]int{"eu": 1, "sa": 1}
		if d := cmp.Diff(want, steps); d != "" {
			t.Errorf("before anybody asked: %s", d)
		}
		if s.out.last("eu").Revoke(old) == nil || steps["eu"] != 1 {
			t.Errorf("after: %v", steps)
		}
	})
}
