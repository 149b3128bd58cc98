// Package store keeps published bundles and says which one is in force.
//
// A Store is a list of records, numbered from 1 without gaps, whose last one is
// the head, and a set of archives named by their digests. It only grows. The
// guarantees, for every implementation (package storetest checks them):
//
// Consistency. Head, History and Publish are linearizable: what one call
// returned, every later call anywhere sees. Of all Publish calls with one base
// exactly one can succeed. A record in the history never changes.
//
// Atomicity. Publish writes the archive first, then head and history in one
// step. A reader who sees a record can read its archive; an archive without a
// record is invisible and harmless, whoever died in between.
//
// Durability. What Publish returned survives the loss of every process, and of
// any minority of the store's members. (Memory survives nothing.)
//
// Failure. A store that cannot be asked answers ErrUnavailable within the
// context's deadline, or within a few seconds without one; it never answers
// from what it remembers. The caller keeps its own last good state. Only an
// expired deadline is ErrUnavailable: a cancelled call returns context.Canceled.
//
// Retries. Reads are repeated inside. Publish is not once its last step has
// been sent, see there.
//
// Integrity. Bundle returns bytes that have the digest, or an error. Nothing
// here parses an archive or checks a signature: that is up to the reader.
//
// All methods may be called by many goroutines at once.
package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/domicile-dev/domicile/pkg/bundle"
)

var (
	// ErrEmpty means that nothing was ever published. Publish with base 0, or
	// wait on Watch.
	ErrEmpty = errors.New("nothing published yet")
	// ErrNotFound means that no archive has this digest. Asking again helps only
	// if somebody publishes it.
	ErrNotFound = errors.New("not found")
	// ErrStale means that somebody else published since the caller read the
	// head. Read Head, judge the change against it, publish again with its
	// Sequence as base. Nothing was changed.
	ErrStale = errors.New("the head has moved")
	// ErrUnavailable means that the store could not be asked in time. Keep the
	// last good state and try again later. After Publish it may also mean that
	// the outcome is not known, see there.
	ErrUnavailable = errors.New("store is unavailable")
	// ErrWentBack comes from Watch only: the store now holds an older or another
	// past than it did. Keep the last good state and alarm a person: somebody
	// restored a backup or deleted keys. See WentBackError.
	ErrWentBack = errors.New("the head went back")
	// ErrCorrupt means that the store holds something that Publish did not
	// write. Keep the last good state and alarm a person. An archive is healed
	// by publishing it again.
	ErrCorrupt = errors.New("stored data is corrupt")
)

// Record says what was published, by whom and why.
type Record struct {
	Sequence   uint64    `json:"sequence"` // from 1, without gaps
	Bundle     string    `json:"bundle"`   // digest of the archive
	Table      string    `json:"table"`    // digest of the residency table
	At         time.Time `json:"at"`       // the publisher's clock, UTC
	Author     string    `json:"author"`
	Message    string    `json:"message,omitempty"`
	GitCommit  string    `json:"gitCommit,omitempty"`
	RollbackOf uint64    `json:"rollbackOf,omitempty"` // Sequence whose content this repeats
	// Denial says that the emergency brake was pulled.
	Denial bool `json:"denial,omitempty"`
	// Envelope holds the signatures (DSSE, JSON) where the deployment before asked
	// for them, and ApprovedBy who signed in which roles.
	Envelope   string `json:"envelope,omitempty"`
	ApprovedBy string `json:"approvedBy,omitempty"`
	// Governance says that from here on other people, or in another way, decide.
	Governance bool `json:"governance,omitempty"`
	// Loosened and Tightened count the combinations that changed.
	Loosened  int `json:"loosened,omitempty"`
	Tightened int `json:"tightened,omitempty"`
}

// Event is what a watcher learns.
type Event struct {
	Head      Record // in force; valid when Err is nil
	Connected bool   // whether the store answers
	// Err is nil; ErrEmpty (Connected); ErrUnavailable (not Connected: the head
	// last delivered is the newest that is known); ErrWentBack or ErrCorrupt
	// (Connected, but the head cannot be used). It may wrap more detail.
	Err error
}

// WentBackError is an ErrWentBack with what was seen.
type WentBackError struct {
	Seen Record // the head now; zero when there is none
	Last Record // the newest head that this watch had delivered
}

func (e *WentBackError) Error() string {
	return fmt.Sprintf("%v: sequence %d (bundle %q) after sequence %d (bundle %q)", ErrWentBack, e.Seen.Sequence, e.Seen.Bundle, e.Last.Sequence, e.Last.Bundle)
}

// Unwrap makes errors.Is find ErrWentBack.
func (e *WentBackError) Unwrap() error { return ErrWentBack }

// Store is the port. The package comment holds what applies to all methods.
type Store interface {
	// Head returns the record in force. ErrEmpty before the first one.
	Head(ctx context.Context) (Record, error)

	// Bundle returns the archive with this digest, verified. The caller owns the
	// bytes. ErrNotFound, ErrCorrupt.
	Bundle(ctx context.Context, digest string) ([]byte, error)

	// Publish makes the archive the head if the head still has Sequence base (0:
	// nothing published), and returns the record as stored: Sequence is base+1,
	// Bundle the archive's digest (r.Bundle is empty or the same), At in UTC.
	//
	// ErrStale: the head has another Sequence; nothing was changed.
	// ErrUnavailable, or the context's error: whether it was published is not
	// known, though Publish tried to find out. Publishing again with the same
	// base is always safe, since only one can succeed; where that answers
	// ErrStale, compare the head with what was meant to be published.
	// Any other error: nothing was changed.
	Publish(ctx context.Context, base uint64, archive []byte, r Record) (Record, error)

	// History returns the newest records, newest first, at most limit and at
	// most MaxHistory (also for a limit of 0 or less). Empty when nothing was
	// published.
	History(ctx context.Context, limit int) ([]Record, error)

	// Watch reports the head now, or why there is none, and then every change
	// of head or connection until ctx ends or the store is closed; then it
	// closes the channel. It never gives up and never blocks the store: a slow
	// reader finds the newest head only, and after it whether the connection was
	// lost since. Every reconnection reports the head again, so a state that
	// lasts is never missed. A head that lies before one that this watch has
	// reported comes as ErrWentBack, not as a head, until the store is ahead
	// again; a new Watch knows nothing of the past and accepts what it finds.
	Watch(ctx context.Context) <-chan Event
}

// MaxHistory is the most records that one History call returns.
const MaxHistory = 1000

// MaxText is the size limit of each text field of a Record in bytes.
const MaxText = 64 << 10

// Prepare checks what Publish was given and completes the record. Every
// implementation calls it before it changes anything.
func Prepare(base uint64, archive []byte, r Record) (Record, error) {
	if len(archive) == 0 || len(archive) > bundle.MaxArchive {
		return Record{}, fmt.Errorf("archive has %d bytes, want 1 to %d", len(archive), bundle.MaxArchive)
	}
	digest := bundle.Digest(archive)
	if r.Bundle != "" && r.Bundle != digest {
		return Record{}, fmt.Errorf("record names bundle %q: %w: the archive is %s", r.Bundle, bundle.ErrDigest, digest)
	}
	if base+1 == 0 {
		return Record{}, fmt.Errorf("base %d has no successor", base)
	}
	if y := r.At.UTC().Year(); y < 0 || y > 9999 {
		return Record{}, fmt.Errorf("time in year %d cannot be written down", y)
	}
	for _, s := range []string{r.Table, r.Author, r.Message, r.GitCommit, r.Envelope, r.ApprovedBy} {
		if len(s) > MaxText {
			return Record{}, fmt.Errorf("text %q… has %d bytes, more than %d", strings.ToValidUTF8(s[:32], ""), len(s), MaxText)
		}
		if !utf8.ValidString(s) {
			return Record{}, fmt.Errorf("text %q is not UTF-8", s)
		}
	}
	r.Sequence, r.Bundle = base+1, digest
	// Without the monotonic reading, so that a record equals itself when read.
	r.At = r.At.Round(0).UTC()
	return r, nil
}

// Stale is the ErrStale that Publish answers. head is zero when the store is
// empty.
func Stale(base uint64, head Record) error {
	return fmt.Errorf("publish on sequence %d: %w to sequence %d", base, ErrStale, head.Sequence)
}
