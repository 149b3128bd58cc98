// Package jwks fetches the key sets of token issuers (RFC 7517) for the control plane,
// which publishes them to every Envoy as it publishes a policy. No Envoy fetches keys:
// an unknown kid, or ten thousand of them, asks nobody for anything, and a request never
// waits for an issuer.
//
// What it guarantees:
//   - A set counts only if it was read whole from the issuer's own https URL, without a
//     redirect, and holds nothing but public keys, at least one of which can verify.
//   - While an issuer does not answer, or answers something else, its last good set
//     counts until it is older than the issuer's keep; then no token of it verifies.
//   - The same keys are the same bytes, however they are written: a set that is merely
//     written anew changes no Envoy.
//   - What was fetched is remembered over a restart, with its age, so that a restart
//     during an issuer's outage logs nobody out.
//
// A Poller is safe for concurrent use; Run owns its goroutines.
package jwks

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/domicile-dev/domicile/pkg/topology"
)

// Config of a Poller; the zero Config works.
type Config struct {
	// Client asks the issuers; default: one with the system's roots. Its time-out and
	// its rule for redirects are the Poller's own.
	Client *http.Client
	// File remembers what was fetched over a restart; empty for none.
	File    string
	Log     *slog.Logger          // default: slog.Default()
	Metrics prometheus.Registerer // default: none
	Now     func() time.Time      // default: time.Now
}

// Status tells how it stands with one issuer's keys.
type Status struct {
	Issuer string `json:"issuer"`
	URL    string `json:"url"`
	// Fetched is when the set was last seen to be the issuer's; zero: never.
	Fetched time.Time `json:"fetched,omitzero"`
	// Until is when it stops to count unless it is seen again; zero where there is none.
	Until time.Time `json:"until,omitzero"`
	// Error says why the newest look failed; empty when it did not.
	Error string    `json:"error,omitempty"`
	Since time.Time `json:"since"` // of Error, or of its absence
}

// Poller looks at key sets again and again.
type Poller struct {
	cfg     Config
	client  *http.Client
	changed chan struct{}

	mu       sync.Mutex
	running  context.Context // nil until Run
	group    sync.WaitGroup
	sets     map[string]*set   // by issuer
	recalled map[string]record // from File, until somebody follows its issuer
	keys     map[string]string // by issuer; replaced, never changed
}

// set is one issuer's keys and the goroutine that looks after them.
type set struct {
	status Status
	remote topology.RemoteKeys
	keys   string // "" for none that count
	etag   string
	stop   context.CancelFunc // nil until it is started
}

// New returns a Poller with what File remembers. The error is that of a file that is
// there and cannot be read; a damaged one is left aside, and told.
func New(cfg Config) (*Poller, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	p := &Poller{cfg: cfg, client: clientOf(cfg.Client), changed: make(chan struct{}, 1), sets: map[string]*set{}, keys: map[string]string{}}
	var err error
	if p.recalled, err = recall(cfg.File, cfg.Log); err != nil {
		return nil, err
	}
	if p.recalled == nil {
		p.recalled = map[string]record{}
	}
	// They count from the first publication on, before anybody says whom to follow: a
	// restart must not publish a policy without keys first.
	for name, r := range p.recalled {
		if counts(r.At, r.Until.Sub(r.At), cfg.Now()) {
			p.keys[name] = r.Keys
		}
	}
	if cfg.Metrics != nil {
		cfg.Metrics.MustRegister(collector{p})
	}
	return p, nil
}

// Follow says which issuers' keys are wanted from now on: those with a Remote. Others
// are given up and forgotten. One whose URL is new starts without keys; one that is only
// to be looked at otherwise keeps what was seen there last.
func (p *Poller) Follow(issuers []topology.Issuer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	wanted, gone := map[string]bool{}, len(p.recalled) > 0
	for _, i := range issuers {
		if i.Remote == nil {
			continue
		}
		wanted[i.Issuer] = true
		if s := p.sets[i.Issuer]; s != nil {
			if s.remote == *i.Remote {
				continue
			}
			p.drop(i.Issuer, s)
			gone = true
			p.recalled[i.Issuer] = record{s.remote.URL, s.keys, s.status.Fetched, s.status.Until}
		}
		s := &set{remote: *i.Remote, status: Status{Issuer: i.Issuer, URL: i.Remote.URL, Since: p.cfg.Now()}}
		if r := p.recalled[i.Issuer]; r.Keys != "" && r.URL == i.Remote.URL && counts(r.At, i.Remote.Keep, p.cfg.Now()) {
			s.keys, s.status.Fetched, s.status.Until = r.Keys, r.At, r.At.Add(i.Remote.Keep)
		}
		p.sets[i.Issuer] = s
		p.start(s)
	}
	for name, s := range p.sets {
		if !wanted[name] {
			p.drop(name, s)
			gone = true
		}
	}
	// What was recalled has had its turn: keys that are older than those fetched since
	// must not come back with an issuer.
	p.recalled = map[string]record{}
	p.publish()
	if gone {
		p.remember() // what is given up must not count at the next start
	}
}

// counts tells whether what was seen at an instant is believed. What claims to have been
// seen in the future would be believed for too long.
func counts(at time.Time, keep time.Duration, now time.Time) bool {
	return !at.After(now) && now.Before(at.Add(keep))
}

// drop forgets an issuer. It has the lock.
func (p *Poller) drop(name string, s *set) {
	if s.stop != nil {
		s.stop()
	}
	delete(p.sets, name)
}

// start begins to look after a set once there is a Run. It has the lock.
func (p *Poller) start(s *set) {
	if p.running == nil || s.stop != nil {
		return
	}
	ctx, stop := context.WithCancel(p.running)
	s.stop = stop
	p.group.Go(func() { p.look(ctx, s) })
}

// Run looks after the sets until ctx ends. It must be called once.
func (p *Poller) Run(ctx context.Context) error {
	p.mu.Lock()
	p.running = ctx
	for _, s := range p.sets {
		p.start(s)
	}
	p.mu.Unlock()
	<-ctx.Done()
	p.mu.Lock()
	for _, s := range p.sets {
		if s.stop != nil {
			s.stop()
		}
	}
	p.mu.Unlock()
	p.group.Wait()
	return nil
}

// Changed gets a value when Keys has become another; several changes may give one.
func (p *Poller) Changed() <-chan struct{} { return p.changed }

// Keys are the sets that count, by issuer. The caller must not change them.
func (p *Poller) Keys() map[string]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.keys
}

// Status tells how it stands with each issuer, sorted by issuer.
func (p *Poller) Status() []Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]Status, 0, len(p.sets))
	for _, s := range p.sets {
		out = append(out, s.status)
	}
	slices.SortFunc(out, func(a, b Status) int {
		if a.Issuer < b.Issuer {
			return -1
		}
		return 1
	})
	return out
}

// look fetches one set until ctx ends: at once, then every Every, a tenth more or
// less; sooner after a failure.
func (p *Poller) look(ctx context.Context, s *set) {
	const soonest = time.Second
	failures := 0
	for {
		next := s.remote.Every - s.remote.Every/10 + rand.N(s.remote.Every/5+1)
		if err := p.once(ctx, s); ctx.Err() != nil {
			return
		} else if err != nil {
			failures++
			next = min(next, soonest<<min(failures-1, 10))
		} else {
			failures = 0
		}
		if left := p.left(s); left > 0 {
			next = min(next, left)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(next):
			p.expire(s)
		}
	}
}

// left is how long a set counts that is not seen again; 0 where there is none.
func (p *Poller) left(s *set) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.keys == "" {
		return 0
	}
	return max(s.status.Until.Sub(p.cfg.Now()), time.Millisecond)
}

// expire takes away a set that is too old.
func (p *Poller) expire(s *set) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.keys == "" || p.cfg.Now().Before(s.status.Until) {
		return
	}
	p.cfg.Log.Error("the keys of an issuer are too old: no token of it verifies any more", "issuer", s.status.Issuer, "fetched", s.status.Fetched)
	s.keys, s.etag, s.status.Until = "", "", time.Time{}
	p.publish()
}

// once fetches a set.
func (p *Poller) once(ctx context.Context, s *set) error {
	p.mu.Lock()
	etag := s.etag
	p.mu.Unlock()
	keys, etag, err := fetch(ctx, p.client, s.remote.URL, etag)
	if ctx.Err() != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.cfg.Now()
	if err != nil && !errors.Is(err, errSame) {
		if s.status.Error == "" {
			s.status.Since = now
			p.cfg.Log.Warn("the keys of an issuer cannot be fetched; the last good ones count", "issuer", s.status.Issuer, "until", s.status.Until, "error", err)
		}
		s.status.Error = err.Error()
		return err
	}
	if s.status.Error != "" || s.status.Fetched.IsZero() {
		s.status.Since = now
	}
	if err == nil {
		if s.keys != keys {
			p.cfg.Log.Info("the keys of an issuer are new", "issuer", s.status.Issuer)
		}
		s.keys, s.etag = keys, etag
	}
	s.status.Error, s.status.Fetched, s.status.Until = "", now, now.Add(s.remote.Keep)
	p.publish()
	p.remember()
	return nil
}

// publish makes the sets known. It has the lock.
func (p *Poller) publish() {
	next, same := map[string]string{}, true
	for name, s := range p.sets {
		if s.keys != "" {
			next[name] = s.keys
			same = same && p.keys[name] == s.keys
		}
	}
	if same && len(next) == len(p.keys) {
		return
	}
	p.keys = next
	select {
	case p.changed <- struct{}{}:
	default:
	}
}
