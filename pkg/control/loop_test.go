package control

import (
	"context"
	"testing"
	"time"

	"github.com/domicile-dev/domicile/pkg/bundle"
	"github.com/domicile-dev/domicile/pkg/store"
)

// scripted is a store that says what a test makes it say, true or not. Each
// Watch takes its channel from watches.
type scripted struct {
	store.Store
	watches chan chan store.Event
	bundles map[string]*bundle.Bundle
	slow    string        // the digest of a bundle that is read only when nobody wants it any more
	dropped chan struct{} // closed then
}

func (s *scripted) Watch(context.Context) <-chan store.Event { return <-s.watches }

// History has one bundle for every sequence: no policy here asks for signatures.
func (s *scripted) History(context.Context, int) ([]store.Record, error) {
	var out []store.Record
	for n := uint64(1); n <= 10; n++ {
		for digest := range s.bundles {
			if digest != s.slow {
				out = append(out, store.Record{Sequence: n, Bundle: digest})
				break
			}
		}
	}
	return out, nil
}

func (s *scripted) Bundle(ctx context.Context, digest string) ([]byte, error) {
	if digest == s.slow {
		<-ctx.Done()
		close(s.dropped)
	}
	if b := s.bundles[digest]; b != nil {
		return b.Archive(), nil
	}
	return nil, store.ErrNotFound
}

// head makes an event of a policy that the store holds.
func (s *scripted) head(t *testing.T, sequence uint64, lines ...string) store.Event {
	b := bundleOf(t, lines...)
	s.bundles[b.Digest()] = b
	return store.Event{Connected: true, Head: store.Record{Sequence: sequence, Bundle: b.Digest()}}
}

// script runs f with a Controller that watches a scripted store.
func script(t *testing.T, f func(t *testing.T, s *stand, store *scripted)) {
	t.Helper()
	said := &scripted{bundles: map[string]*bundle.Bundle{}}
	inBubble := func(t *testing.T, s *stand) {
		said.watches = make(chan chan store.Event, 10)
		s.Controller.store = said
	}
	runWith(t, buildText, inBubble, func(t *testing.T, s *stand) { f(t, s, said) })
}

// watch gives the next Watch its channel.
func (s *scripted) watch() chan store.Event {
	c := make(chan store.Event)
	s.watches <- c
	return c
}

func (s *stand) say(c chan<- store.Event, e store.Event) {
	c <- e
	s.settle()
}

func TestT17NoStoreCanTakeTheLoopBack(t *testing.T) {
	script(t, func(t *testing.T, s *stand, said *scripted) {
		c := said.watch()
		s.settle()
		s.say(c, said.head(t, 5, "serve SA sa"))
		s.wantInForce(5, "serve SA sa")
		s.say(c, said.head(t, 4, "serve SA eu"))
		s.wantRefused(4, "went back")
		s.wantInForce(5, "serve SA sa")
		s.say(c, said.head(t, 5, "serve SA eu"))
		s.wantRefused(5, "rewritten")
		s.say(c, store.Event{Connected: true, Err: store.ErrCorrupt})
		s.wantRefused(0, "corrupt")
		s.say(c, store.Event{Connected: true, Err: store.ErrEmpty})
		s.wantRefused(0, "empty")
		s.wantInForce(5, "serve SA sa")
		s.say(c, said.head(t, 5, "serve SA sa"))
		s.wantRefused(0, "")
		if s.out.count() != 1 {
			t.Errorf("published %d times", s.out.count())
		}
	})
}

func TestARefusedHeadStaysRefusedWhenTheStoreIsItselfAgain(t *testing.T) {
	script(t, func(t *testing.T, s *stand, said *scripted) {
		c := said.watch()
		s.settle()
		s.say(c, said.head(t, 1, "serve SA sa"))
		s.say(c, said.head(t, 2, "error bad"))
		s.say(c, said.head(t, 1, "serve SA sa"))
		s.wantRefused(1, "went back")
		s.say(c, said.head(t, 2, "error bad"))
		s.wantRefused(2, "bad")
		s.wantInForce(1, "serve SA sa")
	})
}

func TestAWatchThatEndsIsBegunAgain(t *testing.T) {
	script(t, func(t *testing.T, s *stand, said *scripted) {
		c := said.watch()
		s.settle()
		s.say(c, said.head(t, 1, "serve SA sa"))
		close(c)
		s.settle()
		if st := s.Status().Store; st.Connected || st.Error == "" {
			t.Errorf("%+v", st)
		}
		c = said.watch()
		s.pass(retryMost)
		s.say(c, said.head(t, 2, "serve SA eu"))
		s.wantInForce(2, "serve SA eu")
		if !s.Status().Store.Connected {
			t.Error("not connected")
		}
	})
}

func TestANewerHeadDoesNotWaitForASlowBundle(t *testing.T) {
	script(t, func(t *testing.T, s *stand, said *scripted) {
		c := said.watch()
		s.settle()
		slow := said.head(t, 1, "serve SA sa")
		said.slow, said.dropped = slow.Head.Bundle, make(chan struct{})
		s.say(c, slow)
		start := time.Now()
		s.say(c, said.head(t, 2, "serve SA eu"))
		s.wantInForce(2, "serve SA eu")
		<-said.dropped
		s.settle()
		if d := time.Since(start); d > 0 {
			t.Errorf("the slow bundle was waited for %v more", d)
		}
		s.wantInForce(2, "serve SA eu")
		s.wantRefused(0, "")
		if s.out.count() != 1 {
			t.Errorf("published %d times", s.out.count())
		}
	})
}

func TestRecentIsNoTimeMachine(t *testing.T) {
	at := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	var r recent
	p := &compiled{next: at.Add(time.Hour)}
	r.put("sha256:a", at, false, p)
	for _, c := range []struct {
		bundle string
		at     time.Time
		strict bool
		want   bool
	}{
		{"sha256:a", at, false, true},
		{"sha256:a", at.Add(time.Hour - 1), false, true},
		{"sha256:a", at.Add(time.Hour), false, false},
		{"sha256:a", at.Add(-1), false, false},
		{"sha256:a", at, true, false},
		{"sha256:b", at, false, false},
	} {
		if got := r.get(c.bundle, c.at, c.strict, nil) != nil; got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
