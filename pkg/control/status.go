package control

import (
	"sync"
	"time"

	"github.com/domicile-dev/domicile/pkg/control/clock"
	"github.com/domicile-dev/domicile/pkg/leakcheck"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/policytest"
	"github.com/domicile-dev/domicile/pkg/release"
	"github.com/domicile-dev/domicile/pkg/xds"
)

// Status is what this replica runs and why; it is the body of GET /v1/status.
type Status struct {
	// Policy is in force on this replica; nil before the first.
	Policy *PolicyStatus `json:"policy"`
	Store  StoreStatus   `json:"store"`
	// Refused is the newest head that is not in force, and why; nil when the
	// head is in force.
	Refused *Refusal    `json:"refused"`
	Proxies []xds.Proxy `json:"proxies"`
	// Clock compares this replica's clock with another's; absent until another
	// replica has changed the policy.
	Clock *clock.Status `json:"clock,omitempty"`
}

// PolicyStatus is the policy in force.
type PolicyStatus struct {
	Sequence uint64 `json:"sequence"`
	Bundle   string `json:"bundle"`
	// Table is the digest of the table as compiled now. It differs from the
	// record's when a boundary has passed since.
	Table      string    `json:"table"`
	At         time.Time `json:"at"` // when it was applied
	Author     string    `json:"author"`
	Message    string    `json:"message"`
	RollbackOf uint64    `json:"rollbackOf,omitempty"`
	Since      time.Time `json:"since"` // in force on this replica
	// NextBoundary is the next instant at which the same bundle means something
	// else: a transfer lapses, or a date of a group comes. Nil: none will.
	NextBoundary *time.Time `json:"nextBoundary,omitempty"`
	// NotEnforced lists the homes under observation: what their policies refuse
	// passes to today's backends. Empty where every policy is enforced.
	NotEnforced []NotEnforced `json:"notEnforced,omitempty"`
	// OtherLaw lists the law files in the bundle that are not as they ship with this
	// replica's version: the policy was packed with another version, or with edits.
	OtherLaw []string `json:"otherLaw,omitempty"`
	// Warnings are the problems that do not keep the policy from being in force.
	Warnings []policy.Problem `json:"warnings,omitempty"`
}

// NotEnforced is a home under observation, until an instant.
type NotEnforced struct {
	Home  string    `json:"home"`
	Until time.Time `json:"until"`
}

// StoreStatus tells whether the policy store answers.
type StoreStatus struct {
	Connected bool      `json:"connected"`
	Error     string    `json:"error,omitempty"` // why not
	Since     time.Time `json:"since"`           // of Connected
	Sequence  uint64    `json:"sequence"`        // of the head last seen; 0: none
}

// Refusal says why a policy head is not in force.
type Refusal struct {
	Sequence uint64              `json:"sequence"`
	Bundle   string              `json:"bundle"`
	Problems []policy.Problem    `json:"problems,omitempty"`
	Leaks    []leakcheck.Finding `json:"leaks,omitempty"`
	Error    string              `json:"error,omitempty"`
	Since    time.Time           `json:"since"`

	tests *policytest.Report // of a strict check only
}

// board holds the parts of a Status that the loop writes and everybody reads.
type board struct {
	mu      sync.Mutex
	policy  *PolicyStatus
	store   StoreStatus
	refused *Refusal
}

func (b *board) read() (p *PolicyStatus, s StoreStatus, r *Refusal) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.policy, b.store, b.refused // what the pointers show is never changed
}

// lost tells whether that is news.
func (b *board) lost(err error, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	news := b.store.Connected || b.store.Error == ""
	if news {
		b.store.Since = now
	}
	b.store.Connected, b.store.Error = false, "the store does not answer"
	if err != nil {
		b.store.Error = err.Error()
	}
	return news
}

// connected tells whether that is news.
func (b *board) connected(sequence uint64, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	news := !b.store.Connected
	if news {
		b.store.Since = now
	}
	b.store.Connected, b.store.Error, b.store.Sequence = true, "", sequence
	return news
}

// inForce shows f; isHead tells that nothing newer waits, so nothing is refused.
func (b *board) inForce(f *inForce, isHead bool) {
	p := &PolicyStatus{
		Sequence: f.record.Sequence, Bundle: f.record.Bundle, Table: f.policy.table.Digest(), At: f.record.At,
		Author: f.record.Author, Message: f.record.Message, RollbackOf: f.record.RollbackOf,
		Since: f.since, Warnings: f.policy.warnings,
	}
	if t := f.policy.next; !t.IsZero() {
		p.NextBoundary = &t
	}
	if b := f.policy.bundle; b != nil {
		p.OtherLaw = release.OtherLaw(b, nil)
	}
	for _, home := range f.policy.table.Spec().Observed {
		p.NotEnforced = append(p.NotEnforced, NotEnforced{home, f.policy.table.ObserveEnd(home)})
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.policy = p
	if isHead {
		b.refused = nil
	}
}

// refuse tells whether that is news. A head that stays refused keeps its Since.
func (b *board) refuse(r Refusal) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.refused
	news := old == nil || old.Sequence != r.Sequence || old.Bundle != r.Bundle || old.Error != r.Error
	if old != nil && old.Sequence == r.Sequence && old.Bundle == r.Bundle {
		r.Since = old.Since
	}
	b.refused = &r
	return news
}
