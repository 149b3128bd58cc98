package memo_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/domicile-dev/domicile/pkg/memo"
)

// source answers with how often it was asked.
type source struct {
	asked atomic.Int64
	now   atomic.Int64 // questions under way
	most  atomic.Int64
	ttl   time.Duration
	err   error
	gate  chan struct{} // closed: it answers
}

func (s *source) ask(ctx context.Context) (int64, time.Duration, error) {
	n := s.asked.Add(1)
	defer s.now.Add(-1)
	s.most.Store(max(s.most.Load(), s.now.Add(1)))
	if s.gate != nil {
		select {
		case <-s.gate:
		case <-ctx.Done():
			return 0, 0, ctx.Err()
		}
	}
	return n, s.ttl, s.err
}

// TestAge: an answer is served until its time has come, never a moment longer, not
// even when the source is down.
func TestAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := memo.New[int64](memo.Config{}), &source{ttl: 10 * time.Second}
		get := func(want int64, fails bool) {
			t.Helper()
			if v, err := m.Get(t.Context(), "k", s.ask); v != want && !fails || (err != nil) != fails {
				t.Errorf("got %d, %v; want %d", v, err, want)
			}
		}
		get(1, false)
		time.Sleep(10*time.Second - 1)
		get(1, false)
		time.Sleep(time.Nanosecond)
		s.err = errors.New("down")
		get(0, true)
		get(0, true) // errors are not remembered
		s.err = nil
		get(4, false)
		s.ttl = 0
		time.Sleep(10 * time.Second)
		get(5, false)
		get(6, false) // no time to live: not remembered
		if hits, misses := m.Counts(); hits != 1 || misses != 6 {
			t.Errorf("%d hits, %d misses", hits, misses)
		}
	})
}

// TestAgeCountsFromTheQuestion: a slow answer is not younger for it.
func TestAgeCountsFromTheQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memo.New[int](memo.Config{Timeout: time.Minute})
		slow := func(context.Context) (int, time.Duration, error) {
			time.Sleep(9 * time.Second)
			return 1, 10 * time.Second, nil
		}
		fresh := func(context.Context) (int, time.Duration, error) { return 2, time.Second, nil }
		get := func(ask memo.Ask[int]) int {
			v, err := m.Get(t.Context(), "k", ask)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		a := get(slow)
		time.Sleep(time.Second - 1)
		b := get(fresh)
		time.Sleep(time.Nanosecond)
		if diff := cmp.Diff([]int{1, 1, 2}, []int{a, b, get(fresh)}); diff != "" {
			t.Error(diff)
		}
	})
}

func TestManyShareOneQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := memo.New[int64](memo.Config{Timeout: time.Minute}), &source{ttl: time.Second, gate: make(chan struct{})}
		first, leave := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := m.Get(first, "k", s.ask); !errors.Is(err, context.Canceled) {
				t.Errorf("who left got %v", err)
			}
		})
		synctest.Wait()
		for range 1000 {
			wg.Go(func() {
				if v, err := m.Get(t.Context(), "k", s.ask); v != 1 || err != nil {
					t.Errorf("got %d, %v", v, err)
				}
			})
		}
		synctest.Wait()
		leave() // the question goes on for the others
		synctest.Wait()
		close(s.gate)
		wg.Wait()
		if n := s.asked.Load(); n != 1 {
			t.Errorf("asked %d times", n)
		}
	})
}

func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := memo.New[int64](memo.Config{Timeout: 100 * time.Millisecond, Flights: 2}), &source{gate: make(chan struct{})}
		began := time.Now()
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				_, err := m.Get(t.Context(), fmt.Sprint(i), s.ask)
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%d: %v", i, err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(began); took != 100*time.Millisecond {
			t.Errorf("took %v", took)
		}
		if n := s.most.Load(); n != 2 {
			t.Errorf("asked %d at once, want no more than 2", n)
		}
	})
}

func TestForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := memo.New[int64](memo.Config{Timeout: time.Minute}), &source{ttl: time.Hour}
		get := func() int64 {
			v, err := m.Get(t.Context(), "k", s.ask)
			if err != nil {
				t.Error(err)
			}
			return v
		}
		a, b := get(), get()
		m.Forget("k")
		c := get()
		if diff := cmp.Diff([]int64{1, 1, 2}, []int64{a, b, c}); diff != "" {
			t.Error(diff)
		}
		// A question under way when it is forgotten must neither be joined nor kept.
		m.Forget("k")
		s.gate = make(chan struct{})
		old, later := make(chan int64, 1), make(chan int64, 1)
		go func() { old <- get() }()
		synctest.Wait()
		m.Forget("k")
		go func() { later <- get() }()
		synctest.Wait()
		close(s.gate)
		if o, l := <-old, <-later; o != 3 || l != 4 {
			t.Errorf("before %d, after %d", o, l)
		}
		synctest.Wait()
		if v := get(); v != 4 {
			t.Errorf("kept %d", v)
		}
	})
}

func TestPanicAndNil(t *testing.T) {
	m := memo.New[error](memo.Config{})
	_, err := m.Get(t.Context(), "k", func(context.Context) (error, time.Duration, error) { panic("oh") })
	if !errors.Is(err, memo.ErrPanic) || !strings.Contains(err.Error(), "oh") {
		t.Errorf("got %v", err)
	}
	for range 2 {
		if v, err := m.Get(t.Context(), "k", func(context.Context) (error, time.Duration, error) { return nil, time.Hour, nil }); v != nil || err != nil {
			t.Errorf("got %v, %v", v, err)
		}
	}
}

// TestBounded: a flood of names that nobody has neither grows the memo nor drives out
// what is asked for often.
func TestBounded(t *testing.T) {
	m := memo.New[int](memo.Config{Max: 1000})
	ask := func(context.Context) (int, time.Duration, error) { return 1, time.Hour, nil }
	for range 20 {
		for i := range 100 {
			m.Get(t.Context(), fmt.Sprint("often", i), ask)
		}
	}
	for i := range 10_000 {
		m.Get(t.Context(), fmt.Sprint("flood", i), ask)
		m.Get(t.Context(), fmt.Sprint("often", i%100), ask)
	}
	// Eviction runs beside, and lags behind on a busy machine.
	for late := time.Now().Add(10 * time.Second); m.Len() > 1000; time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("%d kept, limit 1000", m.Len())
		}
	}
	before, _ := m.Counts()
	for i := range 100 {
		m.Get(t.Context(), fmt.Sprint("often", i), ask)
	}
	if after, _ := m.Counts(); after-before < 90 {
		t.Errorf("the flood drove out what is asked for often: %d of 100 left", after-before)
	}
}
