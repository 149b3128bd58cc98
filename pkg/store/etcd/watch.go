package etcd

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/domicile-dev/domicile/pkg/store"
)

// Pauses between two attempts to follow the head.
const (
	shortPause = 20 * time.Millisecond
	longPause  = 500 * time.Millisecond
)

// Watch implements store.Store.
func (s *Store) Watch(ctx context.Context) <-chan store.Event {
	w := &watcher{s: s, feed: store.NewFeed()}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life.Err() != nil {
		w.feed.Close()
		return w.feed.Events()
	}
	s.watches.Go(func() {
		defer w.feed.Close()
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		defer context.AfterFunc(s.life, stop)()
		w.run(ctx)
	})
	return w.feed.Events()
}

// watcher belongs to the goroutine of run.
type watcher struct {
	s       *Store
	feed    *store.Feed
	mark    store.Mark
	handled int // events of the etcd watch
}

func (w *watcher) run(ctx context.Context) {
	for pause := shortPause; ctx.Err() == nil; {
		if w.follow(ctx) {
			pause = shortPause
		} else {
			pause = min(2*pause, longPause)
		}
		select {
		case <-ctx.Done():
		// Jitter, so that all control planes do not come back at once.
		case <-time.After(pause/2 + rand.N(pause)):
		}
	}
}

// follow reports the head, then its changes, until it must start again. It
// returns whether the etcd watch worked, so that starting again is no hurry to
// avoid.
func (w *watcher) follow(ctx context.Context) (worked bool) {
	var helpers sync.WaitGroup
	defer helpers.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()

	start, err := w.look(ctx)
	if err != nil {
		w.lost(ctx, err)
		return false
	}
	w.report(start)
	revision := start.revision
	// Progress notifications move the point from which the client resumes after
	// a broken connection, so that a compaction in between does not reach it.
	// The call waits for the server's word, so it must not hold up the probes: a
	// store that dies between the read above and this would never be missed.
	opened := make(chan clientv3.WatchChan, 1)
	helpers.Go(func() {
		opened <- w.s.client.Watch(clientv3.WithRequireLeader(ctx), w.s.headKey(),
			clientv3.WithRev(start.revision+1), clientv3.WithProgressNotify(), clientv3.WithCreatedNotify())
	})
	var changes clientv3.WatchChan

	type probe struct {
		found
		err     error
		handled int
	}
	probes := make(chan probe, 1) // at most one is under way
	tick := time.NewTimer(w.s.probe)
	defer tick.Stop()
	for {
		select {
		case changes = <-opened:
		case c, open := <-changes:
			if !open || c.Err() != nil {
				return worked
			}
			worked = true
			revision = max(revision, c.Header.Revision)
			if n := len(c.Events); n > 0 {
				w.handled++
				w.report(changed(c.Events[n-1], c.Header.Revision))
			}
		case <-tick.C:
			handled := w.handled
			helpers.Go(func() {
				f, err := w.look(ctx)
				probes <- probe{f, err, handled}
			})
		case p := <-probes:
			if p.err != nil {
				w.lost(ctx, p.err)
				return false
			}
			tick.Reset(w.s.probe)
			if p.handled != w.handled {
				continue // overtaken by the watch: an old head is no news
			}
			// The read came before the watch, or the store has fallen behind what
			// the watch waits for.
			if w.report(p.found) || p.revision < revision {
				return worked
			}
		}
	}
}

// look is bounded so that a store that does not answer is noticed in time.
func (w *watcher) look(ctx context.Context) (found, error) {
	ctx, stop := context.WithTimeout(ctx, w.s.probe)
	defer stop()
	return w.s.look(ctx)
}

func changed(e *clientv3.Event, revision int64) found {
	if e.Type == mvccpb.DELETE {
		return found{err: store.ErrEmpty, revision: revision}
	}
	f := found{written: e.Kv.ModRevision, revision: revision}
	f.entry, f.err = decode(e.Kv)
	return f
}

func (w *watcher) report(f found) (news bool) {
	e, news := w.mark.Found(f.Record, f.written, f.err)
	if news {
		w.feed.Send(e)
	}
	return news
}

func (w *watcher) lost(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return // we are leaving
	}
	if !errors.Is(err, store.ErrUnavailable) {
		err = fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	if e, news := w.mark.Lost(err); news {
		w.feed.Send(e)
	}
}
