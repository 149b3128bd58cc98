// Package gitsync makes the control plane follow a git repository: each new
// commit of a branch or tag whose policies pass is applied, as an operator's
// apply would be; one that does not pass changes nothing and is reported with its
// problems, in the status and in metrics, until it is mended.
//
// What it guarantees:
//   - All or nothing: a commit is applied whole, by the same Apply that people
//     use, with its checks, its policy tests and its approvals.
//   - Each commit is applied once. Whoever rolls back, or pulls the emergency
//     brake, is not undone by the next look at the same commit; a restarted or
//     second replica finds the commit in the history and leaves it alone.
//   - It never goes back: a commit that does not descend from the one applied
//     last is refused, so that a rewritten branch cannot bring an old policy back.
//   - Nothing of an unreachable repository, or of an unsigned commit where
//     signatures are asked for, is read as policy.
//
// A Syncer runs in one goroutine; Status may be called from any.
package gitsync

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/domicile-dev/domicile/pkg/control"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/release"
	"github.com/domicile-dev/domicile/pkg/store"
)

// Commit is what the followed branch or tag points to.
type Commit struct {
	Hash    string    `json:"hash"`
	Author  string    `json:"author"` // name only: addresses are personal data
	Subject string    `json:"subject"`
	At      time.Time `json:"at"`
	// Signer is whose key signed it; empty where no signature is asked for.
	Signer string `json:"signer,omitempty"`
}

// Source is a repository. Package gogit has the real one.
type Source interface {
	// Fetch brings the followed branch or tag up to date and returns its commit.
	// ErrUntrusted: the commit is there and its signature is missing or not one
	// of those that count; the Commit is valid.
	Fetch(ctx context.Context) (Commit, error)
	// Descends tells whether a commit has another among its ancestors. False
	// when the other is not known.
	Descends(ctx context.Context, hash, from string) (bool, error)
	// Files returns the policy directory of a commit, bounded in size and number.
	Files(ctx context.Context, hash string) (fs.FS, error)
}

// ErrUntrusted means that a commit is not signed by anybody who counts.
var ErrUntrusted = errors.New("not signed by a key that counts")

// Target takes what passes; *control.Controller is one.
type Target interface {
	Apply(context.Context, control.Change) (control.Outcome, error)
	History(ctx context.Context, limit int) ([]store.Record, error)
}

// State says how it stands with the followed commit.
type State string

// The states.
const (
	Starting    State = "starting"    // nothing was fetched yet
	Applied     State = "applied"     // it is, or was, in force
	Refused     State = "refused"     // its policies do not pass, or it is not to be trusted
	Unreachable State = "unreachable" // the repository cannot be asked
	Waiting     State = "waiting"     // it is being checked, or the store does not take it yet
)

// Status is what authors look at.
type Status struct {
	Repository string    `json:"repository"` // without credentials
	Ref        string    `json:"ref"`
	State      State     `json:"state"`
	Since      time.Time `json:"since"`
	Commit     *Commit   `json:"commit"` // last seen
	// Sequence is the policy head that the commit became; 0 before.
	Sequence uint64    `json:"sequence,omitempty"`
	Fetched  time.Time `json:"fetched"` // when the repository last answered
	// Error and Problems say why not.
	Error    string           `json:"error,omitempty"`
	Problems []policy.Problem `json:"problems,omitempty"`
}

// Config is what a Syncer works with. Source, Target, Repository and Ref are
// required.
type Config struct {
	Source          Source
	Target          Target
	Repository, Ref string        // for the status
	Interval        time.Duration // between looks; default 30 s
	Log             *slog.Logger
	Metrics         prometheus.Registerer
	Now             func() time.Time
}

// Syncer follows one branch or tag of one repository.
type Syncer struct {
	Config
	// settled is the commit that needs nothing more, and head the policy head at
	// that time: what was refused is tried again when the head has moved.
	settled string
	head    uint64

	mu     sync.Mutex
	status Status
}

// New returns a Syncer; Run starts it.
func New(cfg Config) *Syncer {
	if cfg.Interval <= 0 {
		cfg.Interval = 30 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Metrics == nil {
		cfg.Metrics = prometheus.NewRegistry()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Syncer{Config: cfg, status: Status{Repository: cfg.Repository, Ref: cfg.Ref, State: Starting, Since: cfg.Now()}}
	s.register()
	return s
}

// Run looks at the repository until ctx ends; then it returns nil. Whatever
// fails is tried again, later and later up to the interval.
func (s *Syncer) Run(ctx context.Context) error {
	retry := backoff.NewExponentialBackOff()
	retry.InitialInterval, retry.MaxInterval = min(time.Second, s.Interval), s.Interval
	for {
		pause := s.Interval
		if err := s.look(ctx); err == nil {
			retry.Reset()
		} else if pause = retry.NextBackOff(); pause == backoff.Stop {
			pause = s.Interval
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// Status tells how it stands.
func (s *Syncer) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// look does one round. Its error means that the round is to be repeated soon.
func (s *Syncer) look(ctx context.Context) error {
	commit, err := s.Source.Fetch(ctx)
	if err != nil && !errors.Is(err, ErrUntrusted) {
		s.report(func(st *Status) { st.State, st.Error = Unreachable, err.Error() })
		return err
	}
	s.report(func(st *Status) {
		if hash(st.Commit) != commit.Hash {
			st.State, st.Sequence, st.Error, st.Problems = Waiting, 0, "", nil
		}
		st.Commit, st.Fetched = &commit, s.Now()
	})
	if err != nil {
		return s.refuse(commit, err, nil)
	}
	history, err := s.Target.History(ctx, store.MaxHistory)
	if err != nil {
		s.report(func(st *Status) { st.State, st.Error = Waiting, err.Error() })
		return err
	}
	head := uint64(0)
	if len(history) > 0 {
		head = history[0].Sequence
	}
	if s.settled == commit.Hash && s.head == head && s.Status().State != Unreachable {
		return nil
	}
	if err := s.follow(ctx, commit, history); err != nil {
		return err
	}
	s.settled, s.head = commit.Hash, head
	return nil
}

// follow applies a commit unless it was applied before or must not be.
func (s *Syncer) follow(ctx context.Context, commit Commit, history []store.Record) error {
	last := ""
	for _, r := range history { // newest first
		if r.GitCommit == commit.Hash {
			s.applied(commit, r.Sequence, false)
			return nil
		}
		if last == "" && r.RollbackOf == 0 {
			last = r.GitCommit
		}
	}
	if last != "" {
		switch ok, err := s.Source.Descends(ctx, commit.Hash, last); {
		case err != nil:
			s.report(func(st *Status) { st.State, st.Error = Unreachable, err.Error() })
			return err
		case !ok:
			return s.refuse(commit, fmt.Errorf("it does not descend from %s, which was applied last: the branch was rewritten, or went back; apply it by hand if that is meant", short(last)), nil)
		}
	}
	fsys, err := s.Source.Files(ctx, commit.Hash)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return s.refuse(commit, err, nil)
	}
	return s.apply(ctx, commit, fsys)
}

func (s *Syncer) apply(ctx context.Context, commit Commit, fsys fs.FS) error {
	packed, problems, err := release.Pack(fsys)
	if err != nil || packed == nil {
		return s.refuse(commit, err, problems)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	out, err := s.Target.Apply(ctx, control.Change{
		Archive: packed.Archive(), Digest: packed.Digest(),
		By: control.By{Author: "git: " + commit.Author, Message: commit.Subject, GitCommit: commit.Hash},
	})
	var rejected *control.Rejected
	switch {
	case err == nil:
		s.applied(commit, out.Sequence, true)
		return nil
	case errors.As(err, &rejected):
		return s.refuse(commit, err, rejected.Problems)
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrStale), ctx.Err() != nil:
		s.report(func(st *Status) { st.State, st.Error = Waiting, err.Error() })
		return err
	default:
		return s.refuse(commit, err, nil)
	}
}

func (s *Syncer) applied(commit Commit, sequence uint64, now bool) {
	if now {
		s.Log.Info("git commit applied", "commit", commit.Hash, "sequence", sequence, "signer", commit.Signer)
	}
	s.report(func(st *Status) {
		st.State, st.Sequence, st.Error, st.Problems = Applied, sequence, "", nil
	})
}

// refuse shows why a commit is not applied. It returns nil: the round is done, and
// only another commit or another policy head can change its result.
func (s *Syncer) refuse(commit Commit, why error, problems []policy.Problem) error {
	text := "its policies have errors"
	if why != nil {
		text = why.Error()
	}
	if st := s.Status(); st.State != Refused || st.Error != text {
		s.Log.Warn("git commit refused", "commit", commit.Hash, "error", text, "problems", len(problems))
	}
	s.report(func(st *Status) {
		st.State, st.Sequence, st.Error, st.Problems = Refused, 0, text, problems
	})
	return nil
}

// report changes the status; Since is when the state, or the commit, last changed.
func (s *Syncer) report(change func(*Status)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.status
	change(&s.status)
	if s.status.State != before.State || hash(s.status.Commit) != hash(before.Commit) {
		s.status.Since = s.Now()
	}
}

func hash(c *Commit) string {
	if c == nil {
		return ""
	}
	return c.Hash
}

// short is a commit as people write it.
func short(hash string) string {
	return hash[:min(len(hash), 12)]
}

// register adds the metrics: each state as 0 or 1, and the age of the last answer.
func (s *Syncer) register() {
	for _, state := range []State{Starting, Applied, Refused, Unreachable, Waiting} {
		s.Metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "domicile_git_state", Help: "1 for the state of the followed git commit, 0 for the others.",
			ConstLabels: prometheus.Labels{"state": string(state)},
		}, func() float64 {
			if s.Status().State == state {
				return 1
			}
			return 0
		}))
	}
	s.Metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "domicile_git_fetch_timestamp_seconds", Help: "When the followed git repository last answered; 0 before.",
	}, func() float64 {
		at := s.Status().Fetched
		if at.IsZero() {
			return 0
		}
		return float64(at.Unix())
	}))
}
