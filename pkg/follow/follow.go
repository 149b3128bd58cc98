// Package follow keeps the policy of an agent: it asks the control plane which
// bundle is in force, fetches it, verifies its digest, and compiles it here. It believes
// the control plane, which it knows by mTLS, about which bundle that is and about the
// overlay; the bundle's own approvals are not verified again.
//
// What it guarantees:
//   - All or nothing. What does not verify or compile is not taken; the last good
//     policy stays, and Status says why.
//   - It never goes back: neither to a lower sequence, nor to another bundle under a
//     known one, nor to an earlier instant, so a lapsed transfer is not revived.
//   - The last good policy is on the disk before it counts as taken, and is what an
//     agent starts with when the control plane cannot be asked. A file that is broken
//     in any way is no policy.
//   - The table's digest is compared with the control plane's. Where they differ the
//     agent is behind, and says so: another version of Domicile, or another clock.
//
// When the control plane does not answer, the policy in force stays, without limit.
//
// A Follower may be used by many goroutines; Run is called once and owns the work.
package follow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/domicile-dev/domicile/pkg/bundle"
	"github.com/domicile-dev/domicile/pkg/compile"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/release"
)

// Control is what is asked of the control plane.
type Control interface {
	// Published returns what is in force once its state is another than after, or as
	// it is when wait has passed.
	Published(ctx context.Context, after string, wait time.Duration) (release.Published, error)
	// Bundle returns an archive, not verified.
	Bundle(ctx context.Context, digest string) ([]byte, error)
}

// Config of a Follower. Control, Log, Metrics and Now are required.
type Config struct {
	Control Control
	// State is the file of the last good policy; empty for none.
	State   string
	Log     *slog.Logger
	Metrics prometheus.Registerer
	Now     func() time.Time
	// Changed is called after the policy in force has changed, from Run's goroutine.
	Changed func()
}

// Policy is one that was verified and compiled here. It is not changed.
type Policy struct {
	Published release.Published
	*compile.Result
}

// Status tells how following stands.
type Status struct {
	// Sequence, Bundle and Table are of the policy in force here; zero: there is none.
	Sequence uint64 `json:"sequence"`
	Bundle   string `json:"bundle,omitempty"`
	Table    string `json:"table,omitempty"`
	// Connected tells whether the control plane answers, Since since when.
	Connected bool      `json:"connected"`
	Since     time.Time `json:"since"`
	// Behind says why the policy in force is not the one that the control plane has;
	// empty where it is, as far as is known.
	Behind string `json:"behind,omitempty"`
}

// How long one question may take beyond its wait, and the waits themselves.
const (
	longPoll   = 30 * time.Second
	answerTime = 10 * time.Second
	fetchTime  = time.Minute
)

// Follower follows a control plane.
type Follower struct {
	Config
	pause *backoff.ExponentialBackOff

	mu     sync.Mutex
	policy *Policy
	bundle *bundle.Bundle // of policy
	status Status
	at     time.Time // the latest instant that was compiled for
	state  string    // of the newest answer that was dealt with
}

// New returns a Follower with the last good policy, if there is one on the disk.
func New(c Config) *Follower {
	f := &Follower{Config: c, pause: backoff.NewExponentialBackOff()}
	f.pause.InitialInterval, f.pause.MaxInterval = 250*time.Millisecond, 15*time.Second
	f.status.Since = c.Now()
	f.measure()
	if c.State == "" {
		return f
	}
	kept, err := load(c.State)
	if err == nil && kept != nil {
		f.at = kept.at
		err = f.take(kept.published, kept.bundle)
	}
	if err != nil {
		f.Log.Warn("the last good policy cannot be used; nothing is decided until the control plane answers", "error", err)
	}
	return f
}

// Policy returns the policy in force; nil before the first.
func (f *Follower) Policy() *Policy {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.policy
}

// Status tells how following stands.
func (f *Follower) Status() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

// Run follows until ctx ends; then it returns nil.
func (f *Follower) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		wait := min(longPoll, f.untilBoundary())
		asking, cancel := context.WithTimeout(ctx, wait+answerTime)
		p, err := f.Control.Published(asking, f.newest(), wait)
		cancel()
		switch {
		case ctx.Err() != nil:
		case err != nil:
			f.disconnected(err)
			sleep(ctx, min(f.pause.NextBackOff(), f.untilBoundary()))
		default:
			f.connected()
			f.heard(ctx, p)
		}
		f.boundary()
	}
	return nil
}

// newest is the state that the control plane need not tell again. While something is
// wrong there is none: the answer comes at once then, and heard waits.
func (f *Follower) newest() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state
}

// heard takes what is in force, or says why not.
func (f *Follower) heard(ctx context.Context, p release.Published) {
	state, err := p.State()
	if err == nil && state == f.newest() {
		return
	}
	if err == nil {
		err = f.follow(ctx, p)
	}
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		f.behind(err.Error())
		sleep(ctx, f.pause.NextBackOff())
		return
	}
	f.pause.Reset()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state = state
}

// follow fetches, verifies, compiles and keeps.
func (f *Follower) follow(ctx context.Context, p release.Published) error {
	f.mu.Lock()
	now, b := f.policy, f.bundle
	f.mu.Unlock()
	switch {
	case p.Sequence == 0:
		return errors.New("the control plane names no sequence")
	case now == nil:
	case p.Sequence < now.Published.Sequence:
		return fmt.Errorf("the control plane went back: it has sequence %d, and had %d", p.Sequence, now.Published.Sequence)
	case p.Sequence == now.Published.Sequence && p.Bundle != now.Published.Bundle:
		return fmt.Errorf("the control plane was rewritten: sequence %d holds another bundle than before", p.Sequence)
	}
	if b == nil || b.Digest() != p.Bundle {
		fetching, cancel := context.WithTimeout(ctx, fetchTime)
		defer cancel()
		archive, err := f.Control.Bundle(fetching, p.Bundle)
		if err != nil {
			return fmt.Errorf("fetch bundle %s: %w", p.Bundle, err)
		}
		if b, err = bundle.Open(archive, p.Bundle); err != nil {
			return err
		}
	}
	return f.take(p, b)
}

// take puts a bundle in force.
func (f *Follower) take(p release.Published, b *bundle.Bundle) error {
	at := f.instant()
	result, err := build(p, b, at)
	if err != nil {
		return err
	}
	if f.State != "" {
		if err := save(f.State, kept{published: p, bundle: b, at: at}); err != nil {
			// It counts all the same: denying what was just allowed helps nobody, and
			// the disk's last good policy is an older one, not a wrong one.
			f.Log.Error("the policy in force cannot be kept for the next start", "error", err)
		}
	}
	f.mu.Lock()
	f.policy, f.bundle = &Policy{p, result}, b
	f.status.Sequence, f.status.Bundle, f.status.Table = p.Sequence, p.Bundle, result.Table.Digest()
	f.compare()
	f.mu.Unlock()
	f.Log.Info("policy in force", "sequence", p.Sequence, "bundle", p.Bundle, "table", result.Table.Digest(), "next_boundary", result.NextBoundary)
	if f.Changed != nil {
		f.Changed()
	}
	return nil
}

// compare says whether the table here is the control plane's.
func (f *Follower) compare() {
	f.status.Behind = ""
	if f.policy.Table.Digest() != f.policy.Published.Table {
		f.status.Behind = fmt.Sprintf("the same bundle gives another table here than at the control plane (%s): another version of Domicile, or another clock", f.policy.Published.Table)
	}
}

// build compiles a bundle for an instant. A panic in it is an error: a bundle that
// trips a bug must not take the agent down on every start.
func build(p release.Published, b *bundle.Bundle, at time.Time) (_ *compile.Result, err error) {
	defer func() {
		if e := recover(); e != nil {
			err = fmt.Errorf("compile bundle: internal error: %v", e)
		}
	}()
	in := release.Of(b)
	in.At, in.Overlay, in.TableOnly = at, p.Overlay, true
	r := release.Build(in)
	if r.Result == nil {
		for _, problem := range r.Problems {
			if problem.Severity == policy.Error {
				return nil, fmt.Errorf("compile bundle: %s:%d: %s", problem.File, problem.Line, problem.Message.En)
			}
		}
		return nil, errors.New("compile bundle: it has no table")
	}
	return r.Result, nil
}

// instant is the time to compile for, which never goes back.
func (f *Follower) instant() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := f.Now(); now.After(f.at) {
		f.at = now
	}
	return f.at
}

// untilBoundary is how long the policy in force means what it does.
func (f *Follower) untilBoundary() time.Duration {
	p := f.Policy()
	if p == nil || p.NextBoundary.IsZero() {
		return longPoll
	}
	return max(p.NextBoundary.Sub(f.Now()), 0)
}

// boundary compiles again where a date has come.
func (f *Follower) boundary() {
	p := f.Policy()
	if p == nil || p.NextBoundary.IsZero() || f.Now().Before(p.NextBoundary) {
		return
	}
	f.mu.Lock()
	b := f.bundle
	f.state = "" // what the control plane says of the table may be news
	f.mu.Unlock()
	if err := f.take(p.Published, b); err != nil {
		f.behind(err.Error())
	}
}

func (f *Follower) behind(why string) {
	f.mu.Lock()
	news := f.status.Behind != why
	f.status.Behind, f.state = why, ""
	f.mu.Unlock()
	if news {
		f.Log.Error("policy not taken; the policy in force stays", "error", why)
	}
}

func (f *Follower) connected() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.status.Connected {
		f.status.Connected, f.status.Since = true, f.Now()
		f.Log.Info("control plane answers")
	}
}

func (f *Follower) disconnected(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.status.Connected {
		f.status.Connected, f.status.Since = false, f.Now()
		f.Log.Warn("control plane does not answer; the policy in force stays", "error", err)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// measure registers the metrics.
func (f *Follower) measure() {
	gauge := func(name, help string, value func(Status) float64) {
		f.Metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return value(f.Status()) }))
	}
	truth := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	gauge("domicile_agent_policy_sequence", "Sequence of the policy in force at this agent; 0 for none.", func(s Status) float64 { return float64(s.Sequence) })
	gauge("domicile_agent_policy_behind", "1 where the control plane has a policy, or a table, that this agent has not.", func(s Status) float64 { return truth(s.Behind != "" || s.Sequence == 0) })
	gauge("domicile_agent_control_connected", "1 while the control plane answers.", func(s Status) float64 { return truth(s.Connected) })
}
