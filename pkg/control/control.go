package control

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/domicile-dev/domicile/pkg/approval"
	"github.com/domicile-dev/domicile/pkg/bundle"
	"github.com/domicile-dev/domicile/pkg/control/clock"
	"github.com/domicile-dev/domicile/pkg/control/mark"
	"github.com/domicile-dev/domicile/pkg/store"
	"github.com/domicile-dev/domicile/pkg/topology"
	"github.com/domicile-dev/domicile/pkg/xds"
)

// Publisher takes what the proxies are to run; *xds.Server is one. Publish must
// not block on any proxy, and empties the proxies of a group that is missing.
// The map and what it holds are not changed afterwards.
type Publisher interface {
	Publish(map[xds.Group]*xds.Target)
	Proxies() []xds.Proxy
}

// Keys fetches key sets that stand in no bundle; *jwks.Poller is one.
type Keys interface {
	// Follow says which issuers' keys are wanted from now on: those with a Remote.
	Follow([]topology.Issuer)
	// Keys are the sets that count, by issuer; they must not be changed.
	Keys() map[string]string
	// Changed gets a value when Keys has become another.
	Changed() <-chan struct{}
}

// Config is what a Controller works with. Store and Publisher are required.
type Config struct {
	Store     store.Store
	Publisher Publisher
	// Overlay holds local stand-ins, applied after a bundle was verified.
	Overlay *topology.Overlay
	// Keys fetches the key sets of issuers; nil for none.
	Keys    Keys
	Log     *slog.Logger          // default: slog.Default()
	Metrics prometheus.Registerer // default: a registry of its own
	Now     func() time.Time      // default: time.Now
	// State is the file that remembers the newest policy of this replica over its
	// restarts; empty for none.
	State string
	// Trust, where it is not empty, are those who must have signed the first policy:
	// what stands in the store is believed from there on only.
	Trust approval.Trust
}

// Controller follows the store and carries out changes.
type Controller struct {
	store     store.Store
	publisher Publisher
	log       *slog.Logger
	now       func() time.Time
	build     buildFunc
	metrics   *metrics
	rollouts  *rollouts
	mark      *mark.Mark // of the loop
	trust     approval.Trust
	recent    recent
	current   atomic.Pointer[inForce] // what the loop published last
	bell      bell                    // of current
	status    board
	clock     clock.Clock
	keys      Keys
	overlay   atomic.Pointer[topology.Overlay] // with the keys that count; replaced when those change
	changing  chan struct{}                    // holds one token for each change being checked
}

// buildFunc compiles and checks a bundle for an instant. A result
// with errors or leaks is a Refusal and nothing else. Strict refuses transfers
// that have lapsed already and runs the policy tests. Where ctx ends the work is
// given up; the Refusal then says nothing of the bundle.
type buildFunc func(ctx context.Context, b *bundle.Bundle, at time.Time, strict bool) (*compiled, *Refusal)

// changesAtOnce bounds how many bundles of operators are checked at once: the
// loop must get its share of the machine.
const changesAtOnce = 2

// New returns a Controller; Run starts it. The error is that of State.
func New(cfg Config) (*Controller, error) {
	seen, err := mark.Open(cfg.State)
	if err != nil {
		return nil, err
	}
	c := &Controller{
		store: cfg.Store, publisher: cfg.Publisher, log: cfg.Log, now: cfg.Now, keys: cfg.Keys,
		changing: make(chan struct{}, changesAtOnce), mark: seen, trust: cfg.Trust,
	}
	c.overlay.Store(cfg.Overlay)
	c.build = releaseBuilder(c.overlay.Load)
	if c.log == nil {
		c.log = slog.Default()
	}
	if c.now == nil {
		c.now = time.Now
	}
	if cfg.Metrics == nil {
		cfg.Metrics = prometheus.NewRegistry()
	}
	c.rollouts = &rollouts{log: c.log}
	c.status.store = StoreStatus{Since: c.now()}
	c.metrics = newMetrics(cfg.Metrics, c)
	return c, nil
}

// Status tells what this replica runs.
func (c *Controller) Status() Status {
	p, s, r := c.status.read()
	out := Status{Policy: p, Store: s, Refused: r, Proxies: c.publisher.Proxies(), Clock: c.clock.Read()}
	if out.Proxies == nil {
		out.Proxies = []xds.Proxy{}
	}
	return out
}

// Ready tells whether a policy is in force here.
func (c *Controller) Ready() bool {
	p, _, _ := c.status.read()
	return p != nil
}

// History returns the newest records first.
func (c *Controller) History(ctx context.Context, limit int) ([]store.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	return c.store.History(ctx, limit)
}

// Bundle returns the archive of that digest; store.ErrNotFound when there is none.
func (c *Controller) Bundle(ctx context.Context, digest string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	return c.store.Bundle(ctx, digest)
}

// open reads a bundle from the store and verifies it.
func (c *Controller) open(ctx context.Context, digest string) (*bundle.Bundle, error) {
	archive, err := c.store.Bundle(ctx, digest)
	if err != nil {
		return nil, fmt.Errorf("read bundle %s: %w", digest, err)
	}
	b, err := bundle.Open(archive, digest)
	if err != nil {
		return nil, fmt.Errorf("verify bundle %s: %w", digest, err)
	}
	return b, nil
}

// compile returns what b says at an instant, from memory where that cannot have
// changed. Strict is for new work, see buildFunc. A Refusal counts only where ctx
// has not ended.
func (c *Controller) compile(ctx context.Context, b *bundle.Bundle, at time.Time, strict bool) (*compiled, *Refusal) {
	if p := c.recent.get(b.Digest(), at, strict, c.overlay.Load()); p != nil {
		return p, nil
	}
	p, why := c.measure(ctx, b, at, strict)
	if why == nil {
		p.bundle = b
		c.recent.put(b.Digest(), at, strict, p)
	}
	return p, why
}

// measure runs build, and turns a panic in it into a refusal: a bundle that
// trips a bug must not take the control plane down on every restart.
func (c *Controller) measure(ctx context.Context, b *bundle.Bundle, at time.Time, strict bool) (p *compiled, why *Refusal) {
	start := time.Now()
	defer func() {
		c.metrics.compile.Observe(time.Since(start).Seconds())
		if v := recover(); v != nil {
			c.log.Error("bug: compiling a bundle panicked", "panic", v)
			p, why = nil, &Refusal{Error: fmt.Sprintf("compile bundle: internal error: %v", v)}
		}
	}()
	return c.build(ctx, b, at, strict)
}
