package control

import (
	"context"
	"testing"
	"time"
)

func TestPublishedWaitsForNews(t *testing.T) {
	run(t, func(t *testing.T, s *stand) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		if _, ok := s.Published(ctx, ""); ok || time.Since(began) != time.Minute {
			t.Fatalf("before the first policy: %v after %v", ok, time.Since(began))
		}
		first := s.put("SA a")
		s.settle()
		p, ok := s.Published(t.Context(), "")
		if !ok || p.Sequence != 1 || p.Bundle != first.Bundle || p.Table != tableOf(t, s.now(), "SA a").Digest() {
			t.Fatalf("the first: %+v %v", p, ok)
		}
		state, err := p.State()
		if err != nil {
			t.Fatal(err)
		}
		short, cancelShort := context.WithTimeout(t.Context(), time.Second)
		defer cancelShort()
		began = time.Now()
		if again, ok := s.Published(short, state); !ok || again != p || time.Since(began) != time.Second {
			t.Errorf("no news: %+v %v after %v", again, ok, time.Since(began))
		}
		type answer struct {
			sequence uint64
			ok       bool
		}
		heard := make(chan answer)
		for range 2 {
			go func() {
				p, ok := s.Published(t.Context(), state)
				heard <- answer{p.Sequence, ok}
			}()
		}
		s.settle()
		s.put("SA a", "SA b")
		for range 2 {
			if a := <-heard; a.sequence != 2 || !a.ok {
				t.Errorf("a waiter heard %+v", a)
			}
		}
	})
}
