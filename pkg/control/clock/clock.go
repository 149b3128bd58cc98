// Package clock compares the clocks of replicas by the records that they publish. It
// says that one of two is wrong, not which; nobody's clock is followed.
package clock

import (
	"sync"
	"time"

	"github.com/domicile-dev/domicile/pkg/store"
)

// Wrong is from where on two clocks count as different: what a record takes
// to arrive is far below.
const Wrong = time.Minute

// LongestSilence is how long may pass between two Turns of a loop that is awake.
const LongestSilence = 30 * time.Second

// asleep is how long the loop may be silent before what it hears next says
// nothing about the clock: the machine may have been suspended.
const asleep = LongestSilence + Wrong

// Status compares this replica's clock with that of who published a policy elsewhere.
type Status struct {
	// AheadSeconds is how far this clock was ahead when the record arrived;
	// negative: behind.
	AheadSeconds float64 `json:"aheadSeconds"`
	Sequence     uint64  `json:"sequence"` // of the record that it was measured by
}

// Clock measures by records. etcd tells no time, so that the instant which each
// publisher writes into its record is all that replicas learn of each other's
// clocks. A record from the future proves a difference at any time. One from the
// past proves it only if it was heard of when it was written. Publishing and Read are
// safe for concurrent use; the others are the loop's own.
type Clock struct {
	mu    sync.Mutex
	mine  store.Record // published here last: it says nothing about others
	found *Status      // nil: nothing was measured yet

	turn time.Time // when the loop heard of anything last; the loop's own
	live bool      // the head is followed as it moves; the loop's own
}

// Publishing tells of a record that this replica is about to write.
func (k *Clock) Publishing(r store.Record) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mine = r
}

// Read returns what was measured last; nil where nothing was.
func (k *Clock) Read() *Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.found
}

// Lost tells that the head is not followed as it moves.
func (k *Clock) Lost() { k.live = false }

// Turned is told of each turn of the loop.
func (k *Clock) Turned(now time.Time) {
	if now.Sub(k.turn) > asleep {
		k.live = false
	}
	k.turn = now
}

// Heard measures by a record that is news, the next one or not. It returns how far
// this clock is ahead, and whether that was measured.
func (k *Clock) Heard(r store.Record, next bool, now time.Time) (time.Duration, bool) {
	ahead, live := now.Sub(r.At), k.live
	k.live = true
	k.mu.Lock()
	defer k.mu.Unlock()
	own := k.mine.Bundle == r.Bundle && k.mine.At.Equal(r.At)
	if own || r.At.IsZero() || ahead >= 0 && !(live && next) {
		return 0, false
	}
	k.found = &Status{AheadSeconds: ahead.Seconds(), Sequence: r.Sequence}
	return ahead, true
}
