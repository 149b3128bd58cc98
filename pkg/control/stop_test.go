package control

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/domicile-dev/domicile/pkg/bundle"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// endless is a build that ends only with its context, for bundles with this line.
const endless = "serve SA eu sa"

func buildEndless(t testing.TB) buildFunc {
	hostile := bundleOf(t, endless).Digest()
	return func(ctx context.Context, b *bundle.Bundle, at time.Time, strict bool) (*compiled, *Refusal) {
		if b.Digest() == hostile {
			<-ctx.Done()
			return nil, &Refusal{Error: ctx.Err().Error()}
		}
		return buildText(ctx, b, at, strict)
	}
}

// TestAChangeIsGivenUp: whoever asked goes away, and the check ends with that;
// nothing was found, nothing changed, and the next change finds its turn.
func TestAChangeIsGivenUp(t *testing.T) {
	runWith(t, buildEndless(t), func(t *testing.T, s *stand) {
		s.put("serve SA sa")
		for range changesAtOnce + 1 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			_, err := s.Apply(ctx, Change{Archive: bundleOf(t, endless).Archive()})
			cancel()
			var rejected *Rejected
			if !errors.Is(err, ErrUnchecked) || !errors.Is(err, context.DeadlineExceeded) || errors.As(err, &rejected) {
				t.Fatalf("given up: %v", err)
			}
		}
		s.wantInForce(1, "serve SA sa")
		s.wantRefused(0, "")
		if _, err := s.apply(nil, "serve SA eu"); err != nil {
			t.Fatal(err)
		}
		s.wantInForce(2, "serve SA eu")
	})
}

// TestShutdownEndsACheck: Run returns although a check is under way, and what was
// not checked is not called bad.
func TestShutdownEndsACheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t)
		s.build = buildEndless(t)
		s.put(endless)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		s.settle()
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		s.wantRefused(0, "")
	})
}

// TestAnUncheckedPredecessorIsNotJudgedBy: where what is in force was not compiled
// in time, the change is not judged by its deployment alone.
func TestAnUncheckedPredecessorIsNotJudgedBy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t)
		s.build = buildEndless(t)
		s.put(endless)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := s.Apply(ctx, Change{Archive: bundleOf(t, "serve SA sa").Archive()}); !errors.Is(err, ErrUnchecked) {
			t.Errorf("judged by what was not compiled: %v", err)
		}
	})
}

// TestTheRealCheckEnds: the pipeline itself asks.
func TestTheRealCheckEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	build, b, at := releaseBuilder(func() *topology.Overlay { return nil }), packed(t, shipped(t)), time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	cancel()
	if p, why := build(ctx, b, at, true); p != nil || why == nil || len(why.Problems)+len(why.Leaks) > 0 {
		t.Errorf("given up: %v, %+v", p, why)
	}
	if p, why := build(t.Context(), b, at, true); p == nil {
		t.Errorf("after that: %+v", why)
	}
}
