package control

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/domicile-dev/domicile/pkg/bundle"
	"github.com/domicile-dev/domicile/pkg/control/clock"
	"github.com/domicile-dev/domicile/pkg/store"
)

// Everything that can happen in the loop:
//
//	store: a new head          fetch its bundle; onHead
//	store: lost                note it, keep the policy in force; onLost
//	store: back                as a head; the same head changes nothing
//	store: went back, corrupt  refuse to follow, keep the policy in force
//	store: watch ended         as lost; watch again after a pause
//	a fetch ended well         compile, check, publish or refuse; onBundle
//	a fetch ended badly        refuse, fetch again after a pause
//	a lapse comes near         compile the bundle in force for it; onWake
//	the clock reached a lapse  publish that; onWake
//	an issuer's keys changed   compile the bundle in force with them; onKeys
//	shutdown                   stop; what was published stays with the proxies
//
// Apply and Rollback are not in the list: they write to the store, and the loop
// hears of them as of any other replica's change, by a new head.

const (
	// fetchTime bounds one try to read a bundle from the store.
	fetchTime = 10 * time.Second
	// retryFirst and retryMost bound the pause before a failed fetch, a lost
	// watch or a failed recompile is tried again.
	retryFirst = 250 * time.Millisecond
	retryMost  = 15 * time.Second
	// longestSleep bounds how long the loop trusts its timer: after a suspended
	// machine or a stepped clock the wall clock is read again this soon.
	longestSleep = clock.LongestSilence
	// readiness is how long before a lapse its policy is made, so that the
	// publication is not late by the time that takes.
	readiness = 30 * time.Second
)

// loop is the state that Run's goroutine owns.
type loop struct {
	*Controller

	head     store.Record       // the newest head that was accepted; zero: none yet
	good     *inForce           // what is published; nil before the first
	fetching context.CancelFunc // nil while no fetch runs
	try      int                // number of the newest fetch; older ones do not count
	fetched  chan fetched
	fetches  sync.WaitGroup

	events <-chan store.Event // nil while no watch runs
	wake   *time.Timer

	compiledAt time.Time // the latest instant that a policy was compiled for
	failures   int       // fetches or watches that failed in a row
	late       bool      // head says that it was applied long before it was announced here
	wentBack   bool      // the store shows something older than head, or nothing of use

	// What the clock will bring; zero: nothing.
	watchAt time.Time // watch the store again
	fetchAt time.Time // fetch head again
	readyAt time.Time // compile the policy in force for lapseAt
	lapseAt time.Time // compile the policy in force again, and publish
}

// inForce is the policy that the proxies are given.
type inForce struct {
	record store.Record
	bundle *bundle.Bundle
	policy *compiled
	since  time.Time
}

type fetched struct {
	try    int
	record store.Record
	bundle *bundle.Bundle
	err    error
}

// Run follows the store until ctx ends; then it returns nil. It must be called
// once. It never gives up: whatever fails is tried again.
func (c *Controller) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	l := &loop{Controller: c, fetched: make(chan fetched), wake: time.NewTimer(longestSleep), head: c.mark.Last()}
	defer func() {
		cancel()
		l.wake.Stop()
		l.fetches.Wait()
	}()
	l.events = c.store.Watch(ctx)
	l.takeKeys()
	for {
		select {
		case <-ctx.Done():
			return nil
		case ev, ok := <-l.events:
			switch {
			case ctx.Err() != nil:
				return nil
			case ok:
				l.onStore(ctx, ev)
			default:
				l.events = nil
				l.onLost(errWatchEnded)
				l.watchAt = l.later()
			}
		case f := <-l.fetched:
			l.onBundle(ctx, f)
		case <-l.keysChanged():
			l.onKeys(ctx)
		case <-l.wake.C:
			l.onWake(ctx)
		}
		l.sleep()
	}
}

var errWatchEnded = errors.New("the watch on the store ended")

func (l *loop) onStore(ctx context.Context, ev store.Event) {
	l.clock.Turned(l.now())
	var back *store.WentBackError
	switch {
	case !ev.Connected:
		l.onLost(ev.Err)
	case ev.Err == nil:
		l.onConnected(ev.Head.Sequence)
		l.onHead(ctx, ev.Head)
	case errors.As(ev.Err, &back):
		l.onConnected(back.Seen.Sequence)
		l.refuseBackward(back.Seen, ev.Err.Error())
	case errors.Is(ev.Err, store.ErrEmpty):
		l.onConnected(0)
		if l.head.Sequence != 0 {
			l.refuseBackward(store.Record{}, fmt.Sprintf("the store went back: it is empty, and held sequence %d", l.head.Sequence))
		}
	default: // store.ErrCorrupt
		l.onConnected(0)
		l.refuseBackward(store.Record{}, ev.Err.Error())
	}
}

func (l *loop) onLost(err error) {
	l.clock.Lost()
	if l.status.lost(err, l.now()) {
		l.log.Warn("store lost; the policy in force stays", "error", err)
	}
}

func (l *loop) onConnected(sequence uint64) {
	l.failures = 0
	if l.status.connected(sequence, l.now()) {
		l.log.Info("store connected", "sequence", sequence)
	}
}

// onHead starts to fetch a head that is news. A head lower than the newest one,
// or another record under its number, is not followed: someone restored or
// rewrote the store.
func (l *loop) onHead(ctx context.Context, r store.Record) {
	switch {
	case r.Sequence < l.head.Sequence:
		l.refuseBackward(r, fmt.Sprintf("the store went back: its head is sequence %d, and was %d", r.Sequence, l.head.Sequence))
	case r.Sequence == l.head.Sequence && r.Bundle != l.head.Bundle:
		l.refuseBackward(r, fmt.Sprintf("the store was rewritten: sequence %d holds another bundle than before", r.Sequence))
	case r.Sequence == l.head.Sequence && !l.wentBack && l.fetchAt.IsZero() && l.try > 0:
		// In force, refused for good, or being fetched.
	case r.Sequence == l.head.Sequence && l.good != nil && l.good.record.Sequence == r.Sequence:
		l.wentBack = false // the store is itself again
		l.report()
	default:
		next := l.head.Sequence != 0 && r.Sequence == l.head.Sequence+1
		if ahead, ok := l.clock.Heard(r, next, l.now()); ok && ahead.Abs() > clock.Wrong {
			l.log.Error("this clock or that of who published the policy is wrong; nobody's is followed", "sequence", r.Sequence, "author", r.Author, "ahead", ahead)
		}
		l.head, l.wentBack, l.late = r, false, l.tooLate(r)
		l.fetch(ctx)
	}
}

// lateness is how much later than its own time a record may be announced to a
// replica that was connected all the while: more is no skew of clocks.
const lateness = 15 * time.Minute

// tooLate tells whether a record claims a time at which this replica would have
// seen it: whoever writes to the store chooses that time, and with it whether
// signatures had expired.
func (l *loop) tooLate(r store.Record) bool {
	_, s, _ := l.status.read()
	return s.Connected && s.Since.Before(r.At) && l.now().Sub(r.At) > lateness
}

func (l *loop) refuseBackward(r store.Record, why string) {
	l.wentBack = true
	l.refuse(r, Refusal{Error: why})
}

// fetch reads the head's bundle in a goroutine of its own, so that neither a
// lapse nor a newer head waits for a slow store. A fetch under way is dropped.
func (l *loop) fetch(ctx context.Context) {
	if l.fetching != nil {
		l.fetching()
	}
	l.fetchAt = time.Time{}
	l.try++
	try, r, good, seen, late := l.try, l.head, l.good, l.mark.Last(), l.late
	fctx, cancel := context.WithTimeout(ctx, fetchTime)
	l.fetching = cancel
	l.fetches.Go(func() {
		defer cancel()
		b, err := l.open(fctx, r.Bundle)
		if err == nil {
			err = l.verifyChain(fctx, good, seen, r, late)
		}
		select {
		case l.fetched <- fetched{try, r, b, err}:
		case <-ctx.Done():
		}
	})
}

// onBundle compiles and publishes what a fetch brought.
func (l *loop) onBundle(ctx context.Context, f fetched) {
	if f.try != l.try {
		return
	}
	l.fetching = nil
	if f.err != nil {
		l.fetchAt = l.later()
		l.refuse(f.record, Refusal{Error: f.err.Error()})
		return
	}
	l.failures = 0
	at := l.instant()
	p, why := l.compile(ctx, f.bundle, at, false)
	if why != nil && ctx.Err() != nil {
		return // shutdown
	}
	if why != nil {
		l.refuse(f.record, *why)
		return
	}
	l.compiledAt = at
	l.lapsesAt(p.next)
	l.good = &inForce{record: f.record, bundle: f.bundle, policy: p, since: l.now()}
	l.publish()
	if err := l.mark.Put(f.record); err != nil {
		l.log.Error("the policy in force cannot be remembered for the next start", "error", err)
	}
	l.log.Info("policy in force", "sequence", f.record.Sequence, "bundle", f.record.Bundle, "table", p.table.Digest(), "next_boundary", p.next)
}

// onWake does what its time has come for.
func (l *loop) onWake(ctx context.Context) {
	l.clock.Turned(l.now())
	if l.due(l.watchAt) {
		l.watchAt = time.Time{}
		l.events = l.store.Watch(ctx)
	}
	if l.due(l.fetchAt) {
		l.fetch(ctx)
	}
	switch {
	case l.due(l.lapseAt):
		l.onLapse(ctx)
	case l.due(l.readyAt):
		l.readyAt = time.Time{}
		if p, _ := l.compile(ctx, l.good.bundle, l.lapseAt, false); p != nil { // if not, onLapse will say why
			l.warm(p)
		}
	}
}

func (l *loop) lapsesAt(t time.Time) {
	l.lapseAt, l.readyAt = t, time.Time{}
	if !t.IsZero() {
		l.readyAt = t.Add(-readiness)
	}
}

func (l *loop) due(t time.Time) bool { return !t.IsZero() && !l.now().Before(t) }

// onLapse compiles the bundle in force for the present instant.
func (l *loop) onLapse(ctx context.Context) {
	was := l.good.policy.table.Digest()
	if !l.again(ctx) {
		return
	}
	l.log.Warn("a boundary passed (a transfer lapsed, or a date of a group came); the same bundle was compiled again",
		"sequence", l.good.record.Sequence, "table", l.good.policy.table.Digest(), "was", was, "next_boundary", l.good.policy.next)
}

// again compiles the bundle in force anew, and publishes it.
func (l *loop) again(ctx context.Context) bool {
	at := l.instant()
	p, why := l.compile(ctx, l.good.bundle, at, false)
	if why != nil && ctx.Err() != nil {
		return false // shutdown
	}
	if why != nil {
		// Nothing better is known than what is in force; say so, and try again.
		l.lapseAt = l.now().Add(retryMost)
		l.refuse(l.good.record, *why)
		return false
	}
	l.compiledAt = at
	l.lapsesAt(p.next)
	next := *l.good
	next.policy = p
	l.good = &next
	l.publish()
	return true
}

// instant is the time to compile for: now, but never earlier than what was
// compiled for already. A clock that steps back must not revive what lapsed.
func (l *loop) instant() time.Time {
	now := l.now()
	if now.Before(l.compiledAt) {
		l.log.Warn("the clock went back; compiling for the later instant", "now", now, "instant", l.compiledAt)
		return l.compiledAt
	}
	return now
}

func (l *loop) publish() {
	l.publisher.Publish(l.rollouts.targets(l.good.policy))
	l.followKeys()
	l.current.Store(l.good)
	l.bell.ring()
	l.report()
}

// report shows what is in force. A refusal is over when that is the head.
func (l *loop) report() {
	l.status.inForce(l.good, !l.wentBack && l.good.record.Sequence == l.head.Sequence)
}

func (l *loop) refuse(r store.Record, why Refusal) {
	why.Sequence, why.Bundle, why.Since = r.Sequence, r.Bundle, l.now()
	if l.status.refuse(why) {
		l.metrics.refused.Inc()
		l.metrics.leaks.Add(float64(len(why.Leaks)))
		l.log.Error("policy refused; the policy in force stays", "sequence", r.Sequence, "bundle", r.Bundle,
			"problems", len(why.Problems), "leaks", len(why.Leaks), "error", why.Error)
	}
}

// sleep sets the timer to the next thing that the clock brings.
func (l *loop) sleep() {
	d := longestSleep
	for _, t := range []time.Time{l.watchAt, l.fetchAt, l.readyAt, l.lapseAt} {
		if !t.IsZero() {
			d = min(d, t.Sub(l.now()))
		}
	}
	l.wake.Reset(max(d, 0))
}

// later counts a failure and returns when to try again.
func (l *loop) later() time.Time {
	l.failures++
	return l.now().Add(pause(l.failures))
}

// pause is how long to wait after n failures in a row.
func pause(n int) time.Duration {
	d := retryFirst
	for ; n > 1 && d < retryMost; n-- {
		d *= 2
	}
	return min(d, retryMost)
}
