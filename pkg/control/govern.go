package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/domicile-dev/domicile/pkg/approval"
	"github.com/domicile-dev/domicile/pkg/bundle"
	"github.com/domicile-dev/domicile/pkg/plan"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/release"
	"github.com/domicile-dev/domicile/pkg/store"
)

// Unapproved is the error for a change that the present deployment does not let
// those who signed it make. Nothing was changed.
type Unapproved struct {
	// Missing lists, for each signature that lacks, the roles of which one must
	// sign; empty when what was signed is another change.
	Missing [][]string
	Loosens bool // something is let out that was not before, or other people decide
	Cause   error
}

// Error says what lacks.
func (u *Unapproved) Error() string {
	if u.Cause != nil {
		return fmt.Sprintf("not approved: %v", u.Cause)
	}
	var roles []string
	for _, r := range u.Missing {
		roles = append(roles, strings.Join(r, " or "))
	}
	why := "every change needs it"
	if u.Loosens {
		why = "it loosens the policy"
	}
	return fmt.Sprintf("not approved: the signature of %s is missing (%s)", strings.Join(roles, ", and of "), why)
}

// Unwrap returns the cause.
func (u *Unapproved) Unwrap() error { return u.Cause }

// ErrBrake means that a change was asked for as an emergency denial, and lets
// something out.
var ErrBrake = errors.New("an emergency denial may tighten only")

// verdict is what a change does and who approved it.
type verdict struct {
	loosened, tightened int
	approvedBy          string
	governance          bool // other people decide from here on
}

// step of a policy to its successor: what is judged.
type succession struct {
	before *compiled // nil before the first policy
	head   store.Record
	after  *compiled
	record store.Record // of the successor; Sequence may still be 0
	action approval.Action
	at     time.Time // the statement must not have expired by then
	trust  approval.Trust
}

// judge says whether a successor is approved by what is in force. The first policy
// needs the signatures of those who are trusted from the start, where there are any;
// where no signers are listed, none is needed.
func judge(ctx context.Context, s succession) (verdict, error) {
	var v verdict
	if s.before == nil {
		v.approvedBy = s.trust.String()
		return v, s.trusted(ctx)
	}
	report := plan.Compare(s.before.table, s.after.table)
	v.loosened, v.tightened = report.Count(plan.Loosens), report.Count(plan.Tightens)
	v.governance = !approval.Governed(s.before.deployment, s.after.deployment)
	loosens := report.Loosens() || v.governance || approval.Widens(s.before.deployment, s.after.deployment) || !s.holds() || !s.lawful()
	if s.action == approval.Deny && (loosens || !s.brakesOnly()) {
		return v, ErrBrake
	}
	d := s.before.deployment
	needed := approval.Needed(d, s.action, loosens)
	if d == nil || len(d.Signers) == 0 {
		return v, nil
	}
	var who []approval.Approval
	if s.record.Envelope != "" {
		statement, signed, err := approval.Verify(ctx, []byte(s.record.Envelope), d.Signers)
		if err == nil {
			err = s.matches(statement)
		}
		if err != nil {
			return v, &Unapproved{Loosens: loosens, Cause: err}
		}
		who = signed
	}
	if missing := approval.Missing(needed, who); len(missing) > 0 {
		return v, &Unapproved{Missing: missing, Loosens: loosens}
	}
	var names []string
	for _, a := range who {
		names = append(names, a.Signer+" ("+strings.Join(a.Roles, ", ")+")")
	}
	v.approvedBy = strings.Join(names, ", ")
	return v, nil
}

// trusted says whether everybody who is trusted from the start signed this step.
func (s succession) trusted(ctx context.Context) error {
	if len(s.trust) == 0 {
		return nil
	}
	statement, err := s.trust.Verify(ctx, []byte(s.record.Envelope))
	if err == nil {
		err = s.matches(statement)
	}
	if err != nil {
		return &Unapproved{Loosens: true, Cause: err}
	}
	return nil
}

// holds tells whether every denial still stands, also one that changes nothing now.
func (s succession) holds() bool {
	return !slices.ContainsFunc(s.before.denials, func(d policy.Denial) bool { return !release.Denied(s.after.denials, d) })
}

// brakesOnly tells whether nothing but the denials differs.
func (s succession) brakesOnly() bool {
	if s.before.bundle == nil || s.after.bundle == nil {
		return s.before.bundle == s.after.bundle
	}
	a, err := release.WithDenials(s.before.bundle, nil)
	b, err2 := release.WithDenials(s.after.bundle, nil)
	return err == nil && err2 == nil && a.Digest() == b.Digest()
}

// lawful tells whether the law in a bundle is what was in force or what ships with
// this version: another one could say later what it does not say now.
func (s succession) lawful() bool {
	return s.after.bundle == nil || release.Lawful(s.after.bundle, s.before.bundle)
}

// matches tells whether a statement is about this very step.
func (s succession) matches(st approval.Statement) error {
	deciding := s.before
	if deciding == nil {
		deciding = s.after
	}
	for _, x := range []struct {
		what      string
		got, want any
	}{
		{"deployment", st.Deployment, deciding.deployment.Name},
		{"sequence", st.Sequence, s.head.Sequence + 1},
		{"replaced bundle", st.Previous, s.head.Bundle},
		{"bundle", st.Bundle, s.record.Bundle},
		{"action", st.Action, s.action},
	} {
		if x.got != x.want {
			return fmt.Errorf("the signatures are for another change: its %s is %v, not %v", x.what, x.got, x.want)
		}
	}
	if !st.Expires.IsZero() && !s.at.Before(st.Expires) {
		return fmt.Errorf("the signatures expired at %s", st.Expires.UTC().Format(time.RFC3339))
	}
	return nil
}

// actionOf is what a record says that it did.
func actionOf(r store.Record) approval.Action {
	switch {
	case r.RollbackOf != 0:
		return approval.Rollback
	case r.Denial:
		return approval.Deny
	}
	return approval.Apply
}

// governing compiles what a record put in force, to judge its successor by it;
// nil for the zero record. A bundle that no longer compiles still says who may
// replace it: then everything that its successor allows counts as loosened.
// Asking bounds what is read from the store, ctx the compiling.
func (c *Controller) governing(ctx, asking context.Context, r store.Record, at time.Time) (*compiled, error) {
	if r.Sequence == 0 {
		return nil, nil
	}
	var b *bundle.Bundle
	if now := c.current.Load(); now != nil && now.record.Bundle == r.Bundle {
		b = now.bundle
	} else {
		var err error
		if b, err = c.open(asking, r.Bundle); err != nil {
			return nil, err
		}
	}
	return c.governedBy(ctx, b, r, at)
}

// governedBy is governing with the bundle that the record names.
func (c *Controller) governedBy(ctx context.Context, b *bundle.Bundle, r store.Record, at time.Time) (*compiled, error) {
	if p, _ := c.compile(ctx, b, at, false); p != nil {
		return p, nil
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnchecked, ctx.Err())
	}
	in := release.Of(b)
	in.At, in.TableOnly = at, true
	set := release.Build(in).Set
	if set.Deployment == nil {
		return nil, fmt.Errorf("sequence %d holds no deployment that says who may replace it", r.Sequence)
	}
	return &compiled{bundle: b, deployment: set.Deployment, denials: set.Denials}, nil
}

// carried adds to b the denials in force that it lacks: the emergency brake holds
// until somebody lifts it. Where changes are signed the bundle is left as it is:
// to lift a denial is to loosen, and whoever signed it had to be allowed to.
func (c *Controller) carried(ctx context.Context, b *bundle.Bundle, before *compiled, lift bool) (*bundle.Bundle, error) {
	if before == nil || lift || !unsigned(before.deployment) || len(before.denials) == 0 {
		return b, nil
	}
	in := release.Of(b)
	in.TableOnly = true
	in.Stop = func() bool { return ctx.Err() != nil }
	read := release.Build(in)
	if read.Stopped {
		return nil, fmt.Errorf("%w: %w", ErrUnchecked, ctx.Err())
	}
	set := read.Set
	if set == nil {
		return b, nil
	}
	all := release.Union(set.Denials, before.denials)
	if len(all) == len(set.Denials) {
		return b, nil
	}
	c.log.Info("denials in force are carried over", "denials", len(all)-len(set.Denials))
	return release.WithDenials(b, all)
}

// verifyChain judges every step from what is in force here, or was before the
// restart, or is signed by those who are trusted from the start, to a new head: where
// the policy asks for signatures, whoever can write to the store must not thereby
// change it. Without anything to begin with, the last step alone is judged. Where no signers are listed the store is believed.
func (c *Controller) verifyChain(ctx context.Context, good *inForce, seen, head store.Record, late bool) error {
	from := seen
	switch {
	case good != nil:
		if from = good.record; unsigned(good.policy.deployment) {
			return nil
		}
	case seen.Sequence != 0:
		if d, err := c.deployment(ctx, seen); err != nil || unsigned(d) {
			return err
		}
	}
	anchored := from.Sequence == 0 && len(c.trust) > 0
	if head.Sequence <= from.Sequence || head.Sequence <= 1 && !anchored {
		return nil
	}
	first := from.Sequence
	if first == 0 && !anchored { // anchored: as far back as the store goes
		first = head.Sequence - 1
	}
	history, err := c.store.History(ctx, int(min(head.Sequence-first+1, store.MaxHistory)))
	if err != nil {
		return fmt.Errorf("read history: %w", err)
	}
	records := map[uint64]store.Record{}
	for _, r := range history {
		records[r.Sequence] = r
	}
	records[head.Sequence] = head
	if anchored {
		if first, err = c.anchor(ctx, records, head); err != nil {
			return err
		}
	} else if from.Sequence == 0 {
		before, known := records[first]
		if !known {
			return fmt.Errorf("the store's history does not have sequence %d, which says who may replace it", first)
		}
		if d, err := c.deployment(ctx, before); err != nil || unsigned(d) {
			return err
		}
	}
	if late {
		return fmt.Errorf("it says that it was applied at %s, and this replica was connected then and saw nothing", head.At.Format(time.RFC3339))
	}
	for n := first; n < head.Sequence; n++ {
		a, b := records[n], records[n+1]
		if a.Sequence != n || b.Sequence != n+1 || n == from.Sequence && a.Bundle != from.Bundle {
			return fmt.Errorf("the store's history does not lead from the policy in force (sequence %d) to its head: signatures cannot be followed", from.Sequence)
		}
		if err := c.verifyStep(ctx, a, b); err != nil {
			return fmt.Errorf("sequence %d: %w", b.Sequence, err)
		}
	}
	return nil
}

// anchor finds the newest record that everybody signed who is trusted from the start:
// from there on each step says who may make the next.
func (c *Controller) anchor(ctx context.Context, records map[uint64]store.Record, head store.Record) (uint64, error) {
	why := errors.New("the history does not say what it replaced")
	for n := head.Sequence; n > 0; n-- {
		r, known := records[n]
		before, follows := records[n-1]
		if !known || n > 1 && !follows {
			break
		}
		d, err := c.deployment(ctx, r)
		if err != nil {
			return 0, err
		}
		s := succession{head: before, after: &compiled{deployment: d}, record: r, action: actionOf(r), at: r.At, trust: c.trust}
		if why = s.trusted(ctx); why == nil {
			return n, nil
		}
	}
	return 0, fmt.Errorf("no policy in the store's history is signed by everybody in --trust (%s): %w", c.trust, why)
}

func unsigned(d *policy.Deployment) bool { return d == nil || len(d.Signers) == 0 }

// deployment reads who may replace a record. What cannot be read is an error, not
// a deployment without signers.
func (c *Controller) deployment(ctx context.Context, r store.Record) (*policy.Deployment, error) {
	b, err := c.open(ctx, r.Bundle)
	if err != nil {
		return nil, err
	}
	in := release.Of(b)
	if set, _ := policy.Parse(in.FS, in.Library); set.Deployment != nil {
		return set.Deployment, nil
	}
	if p, _ := c.compile(ctx, b, r.At, false); p != nil {
		return p.deployment, nil
	}
	return nil, fmt.Errorf("sequence %d holds no deployment that says who may replace it", r.Sequence)
}

func (c *Controller) verifyStep(ctx context.Context, a, b store.Record) error {
	if b.At.Before(a.At) {
		return fmt.Errorf("it says that it was applied at %s, before the one that it replaces", b.At.Format(time.RFC3339))
	}
	// The time of a fetch is for asking the store: a large policy takes longer.
	whole := context.WithoutCancel(ctx)
	before, err := c.governing(whole, ctx, a, b.At)
	if err != nil {
		return err
	}
	after, err := c.governing(whole, ctx, b, b.At)
	if err != nil {
		return err
	}
	_, err = judge(ctx, succession{before: before, head: a, after: after, record: b, action: actionOf(b), at: b.At})
	return err
}
