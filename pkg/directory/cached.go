package directory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/domicile-dev/domicile/pkg/identity"
	"github.com/domicile-dev/domicile/pkg/memo"
)

// How long Cached believes an answer unless told otherwise.
const (
	DefaultPositive = 60 * time.Second
	DefaultNegative = 5 * time.Second
	DefaultTimeout  = 100 * time.Millisecond
)

// CacheConfig bounds what Cached remembers. Zero fields take the defaults.
type CacheConfig struct {
	Positive, Negative time.Duration // how long a home, and that there is none, is believed
	// Timeout bounds one question to the source, which callers share.
	Timeout time.Duration
	Max     int // users remembered; 0: 100,000, of about 300 bytes each
	Flights int // questions under way at once; 0: 256
	// Clock counts from any fixed instant and never jumps; nil is the process's
	// monotonic clock.
	Clock func() time.Duration
}

// Cached is a Directory that remembers the answers of another for a short time, lets
// those who ask for one user at once share a question, and remembers no error. It is
// as fresh as Positive and Negative say, also when the source is down: what is older
// is never served. A move is seen after Positive, or at once by Forget.
type Cached struct {
	source             Directory
	positive, negative time.Duration
	known              *memo.Memo[cachedHome]
}

type cachedHome struct {
	home  string
	found bool
}

// NewCached returns a Cached that has asked nothing yet.
func NewCached(source Directory, c CacheConfig) *Cached {
	return &Cached{
		source:   source,
		positive: cmp.Or(c.Positive, DefaultPositive), negative: cmp.Or(c.Negative, DefaultNegative),
		known: memo.New[cachedHome](memo.Config{Max: c.Max, Flights: c.Flights, Timeout: cmp.Or(c.Timeout, DefaultTimeout), Clock: c.Clock}),
	}
}

// Lookup finds a home.
func (c *Cached) Lookup(ctx context.Context, hash string) (home string, found bool, err error) {
	if !identity.IsUserHash(hash) { // it must not take a place
		return "", false, fmt.Errorf("look up home: %w", ErrBadHash)
	}
	a, err := c.known.Get(ctx, hash, func(ctx context.Context) (cachedHome, time.Duration, error) {
		home, found, err := c.source.Lookup(ctx, hash)
		if err != nil {
			return cachedHome{}, 0, err
		}
		if !found {
			return cachedHome{}, c.negative, nil
		}
		return cachedHome{home, true}, c.positive, nil
	})
	switch {
	case err == nil:
		return a.home, a.found, nil
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded), errors.Is(err, memo.ErrPanic):
		return "", false, fmt.Errorf("look up home: %w: %w", ErrUnavailable, err)
	}
	return "", false, err
}

// Forget makes the next Lookup of a user ask the source.
func (c *Cached) Forget(hash string) { c.known.Forget(hash) }

// Counts says how many lookups were answered from memory, and how many asked.
func (c *Cached) Counts() (hits, misses uint64) { return c.known.Counts() }
