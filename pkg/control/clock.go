package control

import (
	"sync"
	"time"

	"github.com/domicile-dev/domicile/pkg/store"
)

// WrongClock is from where on two clocks count as different: what a record takes
// to arrive is far below.
const WrongClock = time.Minute

// asleep is how long the loop may be silent before what it hears next says
// nothing about the clock: the machine may have been suspended.
const asleep = longestSleep + WrongClock

// ClockStatus compares this replica's clock with that of who published a policy
// elsewhere. It says that one of the two is wrong, not which; nobody's clock is
// followed.
type ClockStatus struct {
	// AheadSeconds is how far this clock was ahead when the record arrived;
	// negative: behind.
	AheadSeconds float64 `json:"aheadSeconds"`
	Sequence     uint64  `json:"sequence"` // of the record that it was measured by
}

// clock measures by records. etcd tells no time, so that the instant which each
// publisher writes into its record is all that replicas learn of each other's
// clocks. A record from the future proves a difference at any time. One from the
// past proves it only if it was heard of when it was written.
type clock struct {
	mu    sync.Mutex
	mine  store.Record // published here last: it says nothing about others
	found *ClockStatus // nil: nothing was measured yet

	turn time.Time // when the loop heard of anything last; the loop's own
	live bool      // the head is followed as it moves; the loop's own
}

// publishing tells of a record that this replica is about to write.
func (k *clock) publishing(r store.Record) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mine = r
}

func (k *clock) read() *ClockStatus {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.found
}

// turned is told of each turn of the loop.
func (k *clock) turned(now time.Time) {
	if now.Sub(k.turn) > asleep {
		k.live = false
	}
	k.turn = now
}

// heard measures by a record that is news, the next one or not. It returns how far
// this clock is ahead, and whether that was measured.
func (k *clock) heard(r store.Record, next bool, now time.Time) (time.Duration, bool) {
	ahead, live := now.Sub(r.At), k.live
	k.live = true
	k.mu.Lock()
	defer k.mu.Unlock()
	own := k.mine.Bundle == r.Bundle && k.mine.At.Equal(r.At)
	if own || r.At.IsZero() || ahead >= 0 && !(live && next) {
		return 0, false
	}
	k.found = &ClockStatus{AheadSeconds: ahead.Seconds(), Sequence: r.Sequence}
	return ahead, true
}
