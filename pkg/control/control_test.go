package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/store"
	"github.com/domicile-dev/domicile/pkg/xds"
)

// recorder is a Publisher that remembers.
type recorder struct {
	mu        sync.Mutex
	published []map[xds.Group]*xds.Target
	proxies   []xds.Proxy
}

func (r *recorder) Publish(m map[xds.Group]*xds.Target) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.published = append(r.published, m)
}

func (r *recorder) Proxies() []xds.Proxy {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.proxies
}

func (r *recorder) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.published)
}

// last returns what was published last to a gateway.
func (r *recorder) last(region string) *xds.Target {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.published) == 0 {
		return nil
	}
	return r.published[len(r.published)-1][gateway(region)]
}

// stand is a Controller under test, in a synctest bubble.
type stand struct {
	*Controller
	t     *testing.T
	store *faulty
	out   *recorder
	reg   *prometheus.Registry
	skew  atomic.Int64 // of the clock, in nanoseconds
}

// faulty is a Memory store whose bundles can be spoiled.
type faulty struct {
	*store.Memory
	mu    sync.Mutex
	spoil func([]byte) ([]byte, error)
}

func (f *faulty) Bundle(ctx context.Context, digest string) ([]byte, error) {
	f.mu.Lock()
	spoil := f.spoil
	f.mu.Unlock()
	b, err := f.Memory.Bundle(ctx, digest)
	if err == nil && spoil != nil {
		return spoil(b)
	}
	return b, err
}

func (f *faulty) setSpoil(s func([]byte) ([]byte, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.spoil = s
}

// run runs f with a Controller that is running.
func run(t *testing.T, f func(*testing.T, *stand)) {
	t.Helper()
	runWith(t, buildText, f)
}

// runWith runs the last of f with a Controller that is running, and the others
// before it does.
func runWith(t *testing.T, build buildFunc, f ...func(*testing.T, *stand)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t)
		s.build = build
		for _, prepare := range f[:len(f)-1] {
			prepare(t, s)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		s.settle()
		f[len(f)-1](t, s)
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func newStand(t *testing.T) *stand {
	s := &stand{t: t, store: &faulty{Memory: store.NewMemory()}, out: &recorder{}, reg: prometheus.NewPedanticRegistry()}
	var err error
	s.Controller, err = New(Config{
		Store: s.store, Publisher: s.out, Log: slog.New(slog.DiscardHandler), Metrics: s.reg,
		Now: func() time.Time { return time.Now().Add(time.Duration(s.skew.Load())) },
	})
	if err != nil {
		t.Fatal(err)
	}
	s.build = buildText
	return s
}

func (s *stand) settle() { synctest.Wait() }

// pass lets time go by.
func (s *stand) pass(d time.Duration) {
	<-time.After(d)
	s.settle()
}

// put publishes without the checks of Apply, as another replica with other
// opinions might.
func (s *stand) put(lines ...string) store.Record {
	s.t.Helper()
	head, err := s.store.Head(s.t.Context())
	if err != nil && !errors.Is(err, store.ErrEmpty) {
		s.t.Fatal(err)
	}
	b := bundleOf(s.t, lines...)
	r, err := s.store.Publish(s.t.Context(), head.Sequence, b.Archive(), store.Record{At: s.now(), Author: "somebody"})
	if err != nil {
		s.t.Fatal(err)
	}
	s.settle()
	return r
}

// wantInForce checks that a policy is what the proxies get and the status says.
func (s *stand) wantInForce(sequence uint64, lines ...string) {
	s.t.Helper()
	st := s.Status()
	if st.Policy == nil || st.Policy.Sequence != sequence {
		s.t.Fatalf("in force: %+v, want sequence %d; refused: %+v", st.Policy, sequence, st.Refused)
	}
	want := tableOf(s.t, s.now(), lines...).Digest()
	if st.Policy.Table != want || s.out.last("eu").Final.Table != want {
		s.t.Fatalf("table in status %s, published %s, want %s", st.Policy.Table, s.out.last("eu").Final.Table, want)
	}
}

func (s *stand) wantRefused(sequence uint64, text string) {
	s.t.Helper()
	r := s.Status().Refused
	switch {
	case r == nil && text == "":
	case r == nil:
		s.t.Fatalf("nothing is refused, want %q", text)
	case text == "":
		s.t.Fatalf("refused: %+v", r)
	case r.Sequence != sequence || !strings.Contains(r.Error+cmp.Diff(nil, r.Problems)+cmp.Diff(nil, r.Leaks), text):
		s.t.Fatalf("refused %+v, want sequence %d because of %q", r, sequence, text)
	}
}

// gather returns the value of each metric that is no histogram.
func (s *stand) gather() map[string]float64 {
	s.t.Helper()
	families, err := s.reg.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		out[f.GetName()] = f.GetMetric()[0].GetGauge().GetValue() + f.GetMetric()[0].GetCounter().GetValue()
	}
	return out
}

func TestNothingIsPublishedBeforeTheFirstPolicy(t *testing.T) {
	run(t, func(t *testing.T, s *stand) {
		if st := s.Status(); s.out.count() != 0 || s.Ready() || st.Policy != nil || !st.Store.Connected {
			t.Errorf("published %d, ready %v, status %+v", s.out.count(), s.Ready(), st)
		}
		s.put("serve SA sa")
		if !s.Ready() {
			t.Error("not ready with a policy")
		}
		s.wantInForce(1, "serve SA sa")
	})
}

func TestABadFirstBundlePublishesNothing(t *testing.T) {
	run(t, func(t *testing.T, s *stand) {
		s.put("error no such region")
		s.wantRefused(1, "no such region")
		if s.out.count() != 0 || s.Ready() {
			t.Errorf("published %d, ready %v", s.out.count(), s.Ready())
		}
	})
}

func TestABadBundleKeepsTheLastGood(t *testing.T) {
	for bad, why := range map[string]string{"error no such region": "no such region", "leak": "leak", "panic": "internal error"} {
		t.Run(bad, func(t *testing.T) {
			run(t, func(t *testing.T, s *stand) {
				s.put("serve SA sa")
				s.put("serve SA eu", bad)
				s.wantRefused(2, why)
				s.wantInForce(1, "serve SA sa")
				if n := s.gather()["domicile_policy_refused_total"]; n != 1 {
					t.Errorf("refused_total %v", n)
				}
				s.pass(time.Hour)
				if s.out.count() != 1 {
					t.Errorf("published %d times", s.out.count())
				}
				s.put("serve SA eu")
				s.wantInForce(3, "serve SA eu")
				s.wantRefused(0, "")
			})
		})
	}
}

func TestT18SpoiledBundlesAreNotRead(t *testing.T) {
	run(t, func(t *testing.T, s *stand) {
		s.put("serve SA sa")
		s.store.setSpoil(func(b []byte) ([]byte, error) {
			b[600] ^= 1 // in the content of the first file
			return b, nil
		})
		s.put("serve SA eu")
		s.wantRefused(2, "digest")
		s.wantInForce(1, "serve SA sa")
		s.store.setSpoil(nil)
		s.pass(retryMost)
		s.wantInForce(2, "serve SA eu")
		s.wantRefused(0, "")
	})
}

func TestAFetchThatFailsIsTriedAgain(t *testing.T) {
	run(t, func(t *testing.T, s *stand) {
		s.put("serve SA sa")
		tries := 0
		s.store.setSpoil(func(b []byte) ([]byte, error) { tries++; return nil, errTest })
		s.put("serve SA eu")
		s.pass(time.Minute)
		if tries < 4 || tries > 20 {
			t.Errorf("%d tries in a minute", tries)
		}
		s.wantRefused(2, errTest.Error())
		if n := s.gather()["domicile_policy_refused_total"]; n != 1 {
			t.Errorf("refused_total %v for one head", n)
		}
		// A newer head does not wait for the pause to end.
		s.store.setSpoil(nil)
		s.put("serve SA sa eu")
		s.wantInForce(3, "serve SA sa eu")
	})
}

func TestT15AStoreThatIsLostChangesNothing(t *testing.T) {
	run(t, func(t *testing.T, s *stand) {
		s.put("serve SA sa")
		since := s.Status().Store.Since
		s.pass(time.Hour)
		s.store.SetAvailable(false)
		s.settle()
		st := s.Status().Store
		if st.Connected || st.Error == "" || !st.Since.After(since) || st.Sequence != 1 {
			t.Errorf("lost: %+v", st)
		}
		lost := st.Since
		s.pass(time.Hour)
		if st := s.Status().Store; !st.Since.Equal(lost) {
			t.Errorf("since moved from %v to %v", lost, st.Since)
		}
		s.wantInForce(1, "serve SA sa")
		s.store.SetAvailable(true)
		s.settle()
		if st := s.Status().Store; !st.Connected || st.Error != "" || !st.Since.After(lost) {
			t.Errorf("back: %+v", st)
		}
		s.wantInForce(1, "serve SA sa")
		s.wantRefused(0, "")
		if s.out.count() != 1 {
			t.Errorf("published %d times", s.out.count())
		}
	})
}

func TestT17AHeadThatWentBackIsNotFollowed(t *testing.T) {
	run(t, func(t *testing.T, s *stand) {
		s.put("serve SA eu")
		s.put("serve SA sa")
		s.store.Rewind(1)
		s.settle()
		s.wantRefused(1, "back")
		s.wantInForce(2, "serve SA sa")
		s.store.Rewind(0)
		s.settle()
		s.wantRefused(0, "back")
		// Somebody goes on from the restored store: sequence 2 is another one now.
		s.put("serve SA eu sa")
		s.put("serve SA eu sa", "serve DE eu")
		s.wantRefused(2, "back")
		s.wantInForce(2, "serve SA sa")
		s.put("serve DE eu")
		s.wantInForce(3, "serve DE eu")
		s.wantRefused(0, "")
	})
}

func TestT42ALapseIsPublishedAtItsInstant(t *testing.T) {
	run(t, func(t *testing.T, s *stand) {
		boundary := s.now().Add(90 * time.Minute).Truncate(time.Second)
		lines := []string{"serve SA eu", "until SA " + boundary.Format(time.RFC3339), "serve DE eu"}
		s.put(lines...)
		before := s.Status().Policy
		s.pass(boundary.Sub(s.now()) - time.Millisecond)
		if s.out.count() != 1 {
			t.Fatalf("published %d times before the boundary", s.out.count())
		}
		s.pass(time.Millisecond)
		if s.out.count() != 2 {
			t.Fatalf("published %d times at the boundary", s.out.count())
		}
		after := s.Status().Policy
		if after.Table == before.Table || after.Sequence != 1 || after.Bundle != before.Bundle || after.NextBoundary != nil {
			t.Errorf("before %+v, after %+v", before, after)
		}
		s.wantInForce(1, lines...)
		s.pass(24 * time.Hour)
		if s.out.count() != 2 {
			t.Errorf("published %d times a day later", s.out.count())
		}
	})
}

func TestT42ALapseIsFoundAfterTheClockWasStepped(t *testing.T) {
	run(t, func(t *testing.T, s *stand) {
		boundary := s.now().Add(24 * time.Hour).Truncate(time.Second)
		lines := []string{"serve SA eu", "until SA " + boundary.Format(time.RFC3339)}
		s.put(lines...)
		s.skew.Store(int64(25 * time.Hour)) // a machine that slept
		s.pass(longestSleep)
		s.wantInForce(1, lines...)
		if s.out.count() != 2 {
			t.Fatalf("published %d times", s.out.count())
		}
		// Back again: what lapsed stays lapsed, under this head and the next.
		s.skew.Store(0)
		s.put(append(lines, "serve DE eu")...)
		lapsed := tableOf(t, boundary, append(lines, "serve DE eu")...).Digest()
		if got := s.Status().Policy; got.Sequence != 2 || got.Table != lapsed {
			t.Errorf("in force %+v, want table %s", got, lapsed)
		}
	})
}

func TestALapseWhileTheHeadIsRefusedKeepsTheRefusal(t *testing.T) {
	run(t, func(t *testing.T, s *stand) {
		boundary := s.now().Add(time.Hour).Truncate(time.Second)
		lines := []string{"serve SA eu", "until SA " + boundary.Format(time.RFC3339)}
		s.put(lines...)
		s.put("error bad")
		s.pass(2 * time.Hour)
		s.wantInForce(1, lines...)
		s.wantRefused(2, "bad")
	})
}

func TestT33TheSameMeaningInAnotherOrderIsTheSamePublication(t *testing.T) {
	run(t, func(t *testing.T, s *stand) {
		lines := []string{"serve SA sa", "serve DE eu", "serve TR eu sa", "region fr", "region at"}
		s.put(lines...)
		first := s.out.last("eu").Final
		for i := range 1000 {
			rand.Shuffle(len(lines), func(a, b int) { lines[a], lines[b] = lines[b], lines[a] })
			r := s.put(append(lines, fmt.Sprintf("# %d", i))...)
			if got := s.Status().Policy; got.Sequence != r.Sequence || got.Table != first.Table {
				t.Fatalf("in force %+v, want sequence %d", got, r.Sequence)
			}
			target := s.out.last("eu")
			if !reflect.DeepEqual(target.Final, first) || target.Revoke(first.Table) != nil {
				t.Fatalf("%v became another publication", lines)
			}
		}
		if n := len(s.rollouts.tables); n != 1 {
			t.Errorf("%d tables are remembered", n)
		}
	})
}

func TestEveryRouteToAPolicyEndsInTheSamePublication(t *testing.T) {
	ends := map[string]bool{}
	for _, route := range [][]string{
		{"serve SA eu"},
		{"serve SA sa", "serve SA eu"},
		{"serve SA sa", "error bad", "serve SA eu"},
		{"serve DE eu", "panic", "leak", "serve SA sa", "serve SA eu", "serve SA sa", "serve SA eu"},
	} {
		run(t, func(t *testing.T, s *stand) {
			for _, p := range route {
				s.put(p)
			}
			ends[s.out.last("eu").Final.Table] = true
		})
	}
	if len(ends) != 1 {
		t.Errorf("ends: %v", ends)
	}
}

func TestRevokeMeetsTheTableThatTheProxyRuns(t *testing.T) {
	run(t, func(t *testing.T, s *stand) {
		first, second := []string{"serve SA sa", "serve DE eu"}, []string{"serve SA eu", "serve DE eu", "serve TR eu"}
		s.put(first...)
		s.put(second...)
		old, now := tableOf(t, s.now(), first...), tableOf(t, s.now(), second...)
		target := s.out.last("eu")
		want, err := residency.Meet(old, now)
		if err != nil {
			t.Fatal(err)
		}
		step := target.Revoke(old.Digest())
		if step == nil || step.Table != want.Digest() {
			t.Fatalf("step %+v, want table %s", step, want.Digest())
		}
		for name, from := range map[string]string{"unknown": "sha256:00", "none": "", "same": now.Digest()} {
			if s := target.Revoke(from); s != nil {
				t.Errorf("%s: step to %s", name, s.Table)
			}
		}
		// A proxy that stopped at the step finds its way from there.
		third := []string{"serve SA eu", "serve DE sa", "serve TR eu", "serve FR eu"}
		s.put(third...)
		want2, err := residency.Meet(want, tableOf(t, s.now(), third...))
		if err != nil {
			t.Fatal(err)
		}
		if step := s.out.last("eu").Revoke(want.Digest()); step == nil || step.Table != want2.Digest() {
			t.Errorf("from the step: %+v, want %s", step, want2.Digest())
		}
		// A policy that only takes away needs no step.
		s.put("serve TR eu")
		if step := s.out.last("eu").Revoke(tableOf(t, s.now(), third...).Digest()); step != nil && step.Table == tableOf(t, s.now(), "serve TR eu").Digest() {
			t.Errorf("a step to the policy itself")
		}
	})
}

func TestTheMemoryOfTablesIsBounded(t *testing.T) {
	run(t, func(t *testing.T, s *stand) {
		first := tableOf(t, s.now(), "serve SA sa").Digest()
		s.put("serve SA sa")
		for i := range 3 * knownTables {
			s.put("serve SA sa", "region r"+strings.Repeat("x", i+1))
		}
		if n := len(s.rollouts.tables); n != knownTables {
			t.Errorf("%d tables are known", n)
		}
		if s.out.last("eu").Revoke(first) != nil {
			t.Error("the first table is still known")
		}
	})
}

func TestARegionThatIsGoneHasNoTarget(t *testing.T) {
	run(t, func(t *testing.T, s *stand) {
		s.put("serve SA sa", "region fr")
		if s.out.last("fr") == nil {
			t.Fatal("no target for the region")
		}
		s.put("serve SA sa")
		if got := s.out.last("fr"); got != nil {
			t.Errorf("published to the region that is gone: %+v", got)
		}
	})
}

func TestMetricsFollow(t *testing.T) {
	run(t, func(t *testing.T, s *stand) {
		s.put("serve SA sa")
		s.put("leak")
		s.store.SetAvailable(false)
		s.pass(time.Minute)
		got := s.gather()
		delete(got, "domicile_compile_seconds")
		if now := float64(s.now().Unix()); got["domicile_clock_timestamp_seconds"] != now {
			t.Errorf("the clock says %v, not %v", got["domicile_clock_timestamp_seconds"], now)
		}
		delete(got, "domicile_clock_timestamp_seconds")
		want := map[string]float64{
			"domicile_policy_sequence": 1, "domicile_policy_age_seconds": 60, "domicile_policy_refused_total": 1,
			"domicile_policy_head_refused": 1, "domicile_leaks_found_total": 1, "domicile_observed_homes": 0,
			"domicile_store_connected": 0, "domicile_store_disconnected_seconds": 60,
			"domicile_clock_ahead_seconds": 0,
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	})
}
