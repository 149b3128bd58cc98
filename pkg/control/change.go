package control

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/domicile-dev/domicile/pkg/bundle"
	"github.com/domicile-dev/domicile/pkg/leakcheck"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/policytest"
	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/store"
	"github.com/domicile-dev/domicile/pkg/xds"
)

const (
	// storeTime bounds a question to the store, and all that a change asks before
	// its check together. With publishTime it makes 4 s, so that an unavailable
	// store is reported within 5 s. The check's own time is bounded by the caller's
	// context alone: a large policy on a slow machine must still be accepted.
	storeTime = 2 * time.Second
	// publishTime bounds the write of a change.
	publishTime = 2 * time.Second
)

var (
	// ErrBundle means that what was sent is no bundle: another digest than was
	// named, or not the canonical form. Make the bundle again.
	ErrBundle = errors.New("not a bundle")
	// ErrNothingBefore means that there is no older policy to go back to.
	ErrNothingBefore = errors.New("no such older policy")
	// ErrUnchecked means that whoever asked went away, or ran out of time, before
	// the check was done. Nothing was found, and nothing changed.
	ErrUnchecked = errors.New("the check of the policy was given up")
)

// By says who changes the policy and why.
type By struct {
	Author, Message, GitCommit string
	// Envelope holds signatures (package approval); empty for none.
	Envelope string
}

// Change asks for a bundle to become the policy head.
type Change struct {
	By
	Archive []byte
	// Digest is the bundle's; "" means whatever Archive has.
	Digest string
	// Base is the sequence that the author saw as head; the change is refused
	// with store.ErrStale when the head is another. Nil means the present head.
	Base *uint64
	// Denial: this pulls the emergency brake. It is refused where it lets anything
	// out.
	Denial bool
	// Lift: denials in force that the bundle lacks are lifted. Without it, and
	// without signatures, they are carried over.
	Lift bool
}

// Outcome is what became of a change.
type Outcome struct {
	store.Record
	// Unchanged says that the head held that very bundle already: Record is the
	// existing one and nothing was written.
	Unchanged bool `json:"unchanged,omitempty"`
	// Warnings are the problems that did not stop the change.
	Warnings []policy.Problem `json:"warnings,omitempty"`
}

// Rejected is the error for a bundle that was checked and found wanting. At
// least one field is set; nothing was changed.
type Rejected struct {
	Problems []policy.Problem    `json:"problems,omitempty"`
	Leaks    []leakcheck.Finding `json:"leaks,omitempty"`
	Tests    *policytest.Report  `json:"tests,omitempty"` // of tests that failed
	Cause    string              `json:"error,omitempty"`
}

// Error counts what was found.
func (r *Rejected) Error() string {
	s := fmt.Sprintf("policy rejected: %d problems, %d leaks", len(r.Problems), len(r.Leaks))
	if r.Tests != nil {
		s += ", policy tests fail"
	}
	if r.Cause != "" {
		s += ": " + r.Cause
	}
	return s
}

// Apply checks a bundle as strictly as the offline commands do, policy tests
// included, and makes it the head. Errors: ErrBundle, *Rejected, *Unapproved, ErrUnchecked, ErrBrake, store.ErrStale
// (look at the new head and try again) and store.ErrUnavailable (try again
// later; applying the same bundle twice is safe, see Outcome.Unchanged). A
// change that fails with an error other than ErrUnavailable changed nothing.
func (c *Controller) Apply(ctx context.Context, ch Change) (Outcome, error) {
	if ch.Digest == "" {
		ch.Digest = bundle.Digest(ch.Archive)
	}
	b, err := bundle.Open(ch.Archive, ch.Digest)
	if err != nil {
		return Outcome{}, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	rctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	head, err := c.head(rctx)
	if err != nil {
		return Outcome{}, err
	}
	if ch.Base != nil && *ch.Base != head.Sequence && head.Bundle != b.Digest() {
		return Outcome{}, fmt.Errorf("apply on sequence %d: head is %d: %w", *ch.Base, head.Sequence, store.ErrStale)
	}
	r := store.Record{Author: ch.Author, Message: ch.Message, GitCommit: ch.GitCommit, Envelope: ch.Envelope, Denial: ch.Denial}
	return c.change(ctx, rctx, head, b, r, ch.Lift)
}

// Rollback makes the content of an older sequence the head, under a new
// sequence; 0 means the one before the head. It is checked like any change: what
// has lapsed since cannot come back. Errors are those of Apply, and
// ErrNothingBefore.
func (c *Controller) Rollback(ctx context.Context, to uint64, by By) (Outcome, error) {
	rctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	head, err := c.head(rctx)
	if err != nil {
		return Outcome{}, err
	}
	if to == 0 && head.Sequence > 1 {
		to = head.Sequence - 1
	}
	if to == 0 || to > head.Sequence {
		return Outcome{}, fmt.Errorf("roll back to sequence %d: %w", to, ErrNothingBefore)
	}
	history, err := c.History(rctx, int(min(head.Sequence-to+1, store.MaxHistory)))
	if err != nil {
		return Outcome{}, fmt.Errorf("read history: %w", err)
	}
	for _, r := range history {
		if r.Sequence != to {
			continue
		}
		b, err := c.open(rctx, r.Bundle)
		if err != nil {
			return Outcome{}, err
		}
		return c.change(ctx, rctx, head, b, store.Record{Author: by.Author, Message: by.Message, GitCommit: r.GitCommit, RollbackOf: to, Envelope: by.Envelope}, false)
	}
	return Outcome{}, fmt.Errorf("roll back to sequence %d: %w", to, ErrNothingBefore)
}

// head asks the store for the head; the zero Record before the first.
func (c *Controller) head(ctx context.Context) (store.Record, error) {
	head, err := c.store.Head(ctx)
	if err != nil && !errors.Is(err, store.ErrEmpty) {
		return store.Record{}, fmt.Errorf("read policy head: %w", err)
	}
	return head, nil
}

// change checks b and publishes it on top of head.
// Asking bounds what is read from the store before the check.
func (c *Controller) change(ctx, asking context.Context, head store.Record, b *bundle.Bundle, r store.Record, lift bool) (Outcome, error) {
	heals := false
	if head.Sequence != 0 && head.Bundle == b.Digest() {
		// Where the store has spoiled the archive, this is how it is mended: by a new
		// record, with which the archive is written again.
		_, err := c.store.Bundle(asking, b.Digest())
		if heals = errors.Is(err, store.ErrCorrupt) || errors.Is(err, store.ErrNotFound); !heals {
			return Outcome{Record: head, Unchanged: true}, nil
		}
	}
	r.At = c.now().UTC().Truncate(time.Millisecond)
	var before *compiled
	var err error
	if heals {
		before, err = c.governedBy(ctx, b, head, r.At)
	} else {
		before, err = c.governing(ctx, asking, head, r.At)
	}
	if err != nil {
		return Outcome{}, err
	}
	if b, err = c.carried(ctx, b, before, lift); err != nil {
		return Outcome{}, err
	}
	if !heals && head.Sequence != 0 && head.Bundle == b.Digest() {
		return Outcome{Record: head, Unchanged: true}, nil
	}
	select {
	case c.changing <- struct{}{}:
		defer func() { <-c.changing }()
	case <-ctx.Done():
		return Outcome{}, fmt.Errorf("wait for other changes: %w", ctx.Err())
	}
	// A date that has passed, or a test, must not stand in the way of the brake.
	p, why := c.compile(ctx, b, r.At, !r.Denial)
	if why != nil && ctx.Err() != nil {
		return Outcome{}, fmt.Errorf("%w: %w", ErrUnchecked, ctx.Err())
	}
	if why != nil {
		return Outcome{}, &Rejected{Problems: why.Problems, Leaks: why.Leaks, Tests: why.tests, Cause: why.Error}
	}
	r.Bundle, r.Table = b.Digest(), p.table.Digest()
	v, err := judge(ctx, succession{before: before, head: head, after: p, record: r, action: actionOf(r), at: r.At, trust: c.trust})
	if err != nil {
		return Outcome{}, err
	}
	r.ApprovedBy, r.Governance, r.Loosened, r.Tightened = v.approvedBy, v.governance, v.loosened, v.tightened
	c.warm(p)
	c.clock.Publishing(r)
	pctx, cancel := context.WithTimeout(ctx, publishTime)
	defer cancel()
	out, err := c.store.Publish(pctx, head.Sequence, b.Archive(), r)
	if err != nil {
		return Outcome{}, fmt.Errorf("publish: %w", err)
	}
	c.log.Info("policy published", "sequence", out.Sequence, "bundle", out.Bundle, "table", out.Table, "author", out.Author, "rollback_of", out.RollbackOf)
	return Outcome{Record: out, Warnings: p.warnings}, nil
}

// warm makes the steps that the proxies will take from the policy in force to p
// before p is announced: what p forbids must not wait for them.
func (c *Controller) warm(p *compiled) {
	now := c.current.Load()
	if now == nil {
		return
	}
	meet, err := residency.Meet(now.policy.table, p.table)
	if err != nil || meet.Digest() == p.table.Digest() {
		return // no step, see steps.meet
	}
	for g := range p.final {
		if _, err := p.step(g, meet); err != nil {
			c.log.Warn("a revoke step cannot be made", "group", g, "table", meet.Digest(), "error", err)
		}
	}
}

// Spread counts how far a policy has reached the proxies that are connected here.
type Spread struct {
	Synced  int `json:"synced"`
	Pending int `json:"pending"`
}

// Await waits until every proxy that is connected here runs the policy of that
// sequence, or a newer one, or until ctx ends, and tells how far it got.
func (c *Controller) Await(ctx context.Context, sequence uint64) Spread {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		s, done := c.spread(sequence)
		if done {
			return s
		}
		select {
		case <-ctx.Done():
			return s
		case <-tick.C:
		}
	}
}

func (c *Controller) spread(sequence uint64) (s Spread, done bool) {
	st := c.Status()
	if st.Policy == nil || st.Policy.Sequence < sequence {
		for _, p := range st.Proxies {
			if !p.ConnectedSince.IsZero() {
				s.Pending++
			}
		}
		return s, st.Refused != nil && st.Refused.Sequence >= sequence
	}
	for _, p := range st.Proxies {
		switch {
		case p.ConnectedSince.IsZero():
		case p.State == xds.Synced && p.Target == "": // its region has no place in the policy: it holds nothing
		case p.State == xds.Synced && p.Target == st.Policy.Table:
			s.Synced++
		default:
			s.Pending++
		}
	}
	return s, s.Pending == 0
}
