// Package memo remembers answers of slow sources for a short time, and lets many
// who ask the same at once share one question.
//
// The guarantees:
//
// Age. An answer is given for at most its time to live, counted from the instant
// before the question was asked, on a clock that never jumps. What is older is never
// served, least of all when the source is down. Errors are not remembered: everybody
// who shared a failed question gets its error, and the next one asks again.
//
// Bounds. At most Max answers are kept; which ones are dropped first is decided by
// how often and how recently they were asked for, so that a flood of names that
// nobody has drives out itself. At most Flights questions are under way; who comes
// then waits for a place until the time-out.
//
// Forget. What Get returns to a call that began after Forget was asked after Forget.
//
// A question outlives the caller who asked it first, by at most the time-out: others
// may have joined. A question that panics is an error.
//
// All methods may be called by many goroutines at once.
package memo

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/sync/singleflight"
)

// ErrPanic is what callers get of a question that panicked.
var ErrPanic = errors.New("the question panicked")

// Config of a Memo. Zero fields take the defaults.
type Config struct {
	Max     int           // answers kept; 0: 100,000
	Flights int           // questions under way at once; 0: 256
	Timeout time.Duration // of one question, waiting for a place included; 0: 1 s
	// Clock counts from any fixed instant and never jumps; nil is the process's
	// monotonic clock.
	Clock func() time.Duration
}

// Memo remembers answers of type V.
type Memo[V any] struct {
	Config
	kept    *otter.Cache[string, answer[V]]
	flights singleflight.Group
	places  chan struct{}

	mu     sync.Mutex // held while an answer is kept or forgotten
	forgot uint64     // counts Forget
	hits   atomic.Uint64
	misses atomic.Uint64
}

type answer[V any] struct {
	value V
	until time.Duration // on Clock
}

// Ask asks the source. Its context ends with the time-out, not with any caller. The
// answer is remembered for ttl; not at all if that is 0 or less.
type Ask[V any] func(context.Context) (value V, ttl time.Duration, err error)

// New returns an empty Memo.
func New[V any](c Config) *Memo[V] {
	if c.Max <= 0 {
		c.Max = 100_000
	}
	if c.Flights <= 0 {
		c.Flights = 256
	}
	if c.Timeout <= 0 {
		c.Timeout = time.Second
	}
	if c.Clock == nil {
		start := time.Now()
		c.Clock = func() time.Duration { return time.Since(start) }
	}
	return &Memo[V]{
		Config: c,
		kept:   otter.Must(&otter.Options[string, answer[V]]{MaximumSize: c.Max}),
		places: make(chan struct{}, c.Flights),
	}
}

// Get returns the remembered answer, or asks. An error of the context is returned as
// it is.
func (m *Memo[V]) Get(ctx context.Context, key string, ask Ask[V]) (V, error) {
	var none V
	if err := ctx.Err(); err != nil {
		return none, err
	}
	if a, ok := m.kept.GetIfPresent(key); ok && m.Clock() < a.until {
		m.hits.Add(1)
		return a.value, nil
	}
	m.misses.Add(1)
	flight := m.flights.DoChan(key, func() (any, error) { return m.fly(context.WithoutCancel(ctx), key, ask) })
	select {
	case <-ctx.Done():
		return none, ctx.Err()
	case r := <-flight:
		if r.Err != nil {
			return none, r.Err
		}
		v, ok := r.Val.(V)
		if !ok { // V is an interface, and its value nil
			return none, nil
		}
		return v, nil
	}
}

// fly asks for all who share the question.
func (m *Memo[V]) fly(ctx context.Context, key string, ask Ask[V]) (v V, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", ErrPanic, p)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, m.Timeout)
	defer cancel()
	select {
	case m.places <- struct{}{}:
		defer func() { <-m.places }()
	case <-ctx.Done():
	}
	if err := ctx.Err(); err != nil {
		return v, fmt.Errorf("wait while %d questions are under way: %w", m.Flights, err)
	}
	m.mu.Lock()
	forgot, began := m.forgot, m.Clock()
	m.mu.Unlock()
	v, ttl, err := ask(ctx)
	if err != nil || ttl <= 0 {
		return v, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	// Forget may have been for another key; then this answer is asked for once more
	// than it had to be.
	if forgot == m.forgot {
		m.kept.Set(key, answer[V]{v, began + ttl})
	}
	return v, nil
}

// Forget drops what is remembered, and what is being asked now, of a key.
func (m *Memo[V]) Forget(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forgot++
	m.flights.Forget(key)
	m.kept.Invalidate(key)
}

// Len is about how many answers are kept, aged ones included.
func (m *Memo[V]) Len() int { return m.kept.EstimatedSize() }

// Counts says how many calls of Get were answered from memory, and how many asked.
func (m *Memo[V]) Counts() (hits, misses uint64) { return m.hits.Load(), m.misses.Load() }
