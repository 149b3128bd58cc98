package control

import (
	"context"
	"log/slog"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/store"
)

// replicas runs one Controller for each skew of its clock, all on one store.
func replicas(t *testing.T, f func(t *testing.T, all []*stand), skews ...time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		shared := &faulty{Memory: store.NewMemory()}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, len(skews))
		var all []*stand
		for _, skew := range skews {
			s := &stand{t: t, store: shared, out: &recorder{}, reg: prometheus.NewPedanticRegistry()}
			s.skew.Store(int64(skew))
			var err error
			s.Controller, err = New(Config{
				Store: s.store, Publisher: s.out, Log: slog.New(slog.DiscardHandler), Metrics: s.reg,
				Now: func() time.Time { return time.Now().Add(time.Duration(s.skew.Load())) },
			})
			if err != nil {
				t.Fatal(err)
			}
			s.build = buildText
			go func() { ended <- s.Run(ctx) }()
			all = append(all, s)
		}
		synctest.Wait()
		f(t, all)
		stop()
		for range all {
			if err := <-ended; err != nil {
				t.Errorf("Run: %v", err)
			}
		}
	})
}

func (s *stand) decides(home string) residency.Decision {
	s.t.Helper()
	now := s.current.Load()
	if now == nil {
		s.t.Fatal("nothing is in force")
	}
	return now.policy.table.Decide(residency.Query{Home: home, Class: "message", Entry: "eu"})
}

func (s *stand) mustApply(lines ...string) {
	s.t.Helper()
	if _, err := s.apply(nil, lines...); err != nil {
		s.t.Fatal(err)
	}
	s.settle()
}

// T42: until passes at the same instant on all replicas, of which none writes
// anything for it; the reason is lapsed; the next boundary is announced from the
// start.
func TestT42AllReplicasLapseAtOneInstant(t *testing.T) {
	replicas(t, func(t *testing.T, all []*stand) {
		boundary := time.Now().Add(29 * 24 * time.Hour).Truncate(time.Second)
		all[0].mustApply("serve SA eu", "until SA "+boundary.Format(time.RFC3339))
		for i, s := range all {
			if p := s.Status().Policy; p == nil || p.NextBoundary == nil || !p.NextBoundary.Equal(boundary) {
				t.Errorf("replica %d announces %+v", i, p)
			}
		}
		all[0].pass(time.Until(boundary) - time.Millisecond)
		for i, s := range all {
			if d := s.decides("SA"); !d.Allowed() {
				t.Errorf("replica %d refuses a millisecond early: %+v", i, d)
			}
		}
		all[0].pass(time.Millisecond)
		table := all[0].Status().Policy.Table
		for i, s := range all {
			if d := s.decides("SA"); d.Allowed() || d.Reason != residency.Lapsed {
				t.Errorf("replica %d at the instant: %+v", i, d)
			}
			if got := s.Status().Policy; got.Table != table || got.Sequence != 1 || s.out.last("eu").Final.Table != table {
				t.Errorf("replica %d runs %+v", i, got)
			}
		}
		if h, err := all[0].History(t.Context(), 0); err != nil || len(h) != 1 {
			t.Errorf("the lapse was written: %+v, %v", h, err)
		}
	}, 0, 0, 0)
}

// T42: a replica whose clock is a day ahead refuses a day early, for its own
// proxies; the others do not follow it, and do not take its word for the time of
// what it publishes. All sides see that a clock is wrong.
func TestT42AWrongClockIsNoticedAndNotFollowed(t *testing.T) {
	const day = 24 * time.Hour
	ahead := func(s *stand) float64 { return s.gather()["domicile_clock_ahead_seconds"] }
	near := func(got float64, want time.Duration) bool { return math.Abs(got-want.Seconds()) < 1 }
	replicas(t, func(t *testing.T, all []*stand) {
		right, fast, slow := all[0], all[1], all[2]
		boundary := time.Now().Add(3 * day).Truncate(time.Second)
		lines := []string{"serve SA eu", "until SA " + boundary.Format(time.RFC3339)}
		right.mustApply(lines...)
		right.pass(time.Second)
		right.mustApply(append(lines, "serve DE eu")...)
		if got := []float64{ahead(right), ahead(fast), ahead(slow)}; got[0] != 0 || !near(got[1], day) || !near(got[2], -day) {
			t.Errorf("after a change by a right clock: %v", got)
		}
		if c := right.Status().Clock; c != nil {
			t.Errorf("the right clock was measured by itself: %+v", c)
		}
		if c := fast.Status().Clock; c == nil || c.Sequence != 2 {
			t.Errorf("the fast clock: %+v", c)
		}

		right.pass(2*day - time.Second)
		if d := fast.decides("SA"); d.Allowed() || d.Reason != residency.Lapsed {
			t.Errorf("a clock ahead fails closed: %+v", d)
		}
		if right.Status().Policy.Sequence != 2 || !right.decides("SA").Allowed() || !slow.decides("SA").Allowed() {
			t.Error("the early lapse was followed")
		}

		// What the fast one publishes is from the others' future.
		fast.mustApply("serve SA eu", "until SA "+boundary.Add(day).Format(time.RFC3339))
		if got := []float64{ahead(right), ahead(fast), ahead(slow)}; !near(got[0], -day) || !near(got[1], day) || !near(got[2], -2*day) {
			t.Errorf("after a change by the fast clock: %v", got)
		}
		right.pass(time.Until(boundary))
		if !right.decides("SA").Allowed() {
			t.Error("the instant of a record was taken for the time")
		}
	}, 0, day, -day)
}

// A record that was written while this replica was not looking, or asleep, is
// old; it says nothing about the clock. One from the future always does.
func TestT42AnOldRecordIsNoWrongClock(t *testing.T) {
	script(t, func(t *testing.T, s *stand, said *scripted) {
		record := func(n uint64, at time.Time) store.Event {
			e := said.head(t, n, "serve SA sa")
			e.Head.At = at
			return e
		}
		measured := func(what string, want uint64) {
			t.Helper()
			got := uint64(0)
			if c := s.Status().Clock; c != nil {
				got = c.Sequence
			}
			if got != want {
				t.Errorf("%s: measured by %d, want %d", what, got, want)
			}
		}
		c := said.watch()
		s.settle()
		s.say(c, record(1, s.now().Add(-time.Hour)))
		measured("the first", 0)
		s.say(c, record(2, s.now()))
		measured("the next", 2)
		s.say(c, record(5, s.now().Add(-time.Hour)))
		measured("three later", 2)
		s.say(c, store.Event{Err: store.ErrUnavailable})
		s.say(c, record(6, s.now().Add(-time.Hour)))
		measured("after the store was lost", 2)
		s.skew.Add(int64(time.Hour)) // asleep
		s.say(c, record(7, s.now().Add(-time.Hour)))
		measured("after a sleep", 2)
		s.say(c, record(8, s.now().Add(-time.Second)))
		measured("live again", 8)
		s.say(c, store.Event{Err: store.ErrUnavailable})
		s.say(c, record(9, s.now().Add(time.Hour)))
		measured("from the future", 9)
	})
}
