package control

import (
	"context"
	"sync"

	"github.com/domicile-dev/domicile/pkg/release"
)

// bell rings when the policy in force has changed. The zero bell is ready, and safe
// for concurrent use.
type bell struct {
	mu   sync.Mutex
	next chan struct{}
}

// heard returns a channel that is closed by the next ring.
func (b *bell) heard() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next == nil {
		b.next = make(chan struct{})
	}
	return b.next
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next != nil {
		close(b.next)
		b.next = nil
	}
}

// Published returns the policy in force once its State is another than after, or as
// it is when ctx ends; false where there is none by then.
func (c *Controller) Published(ctx context.Context, after string) (release.Published, bool) {
	for {
		changed := c.bell.heard()
		now := c.current.Load()
		var p release.Published
		if now != nil {
			p = release.Published{
				Sequence: now.record.Sequence, Bundle: now.record.Bundle, Table: now.policy.table.Digest(), Overlay: now.policy.overlay,
			}
			if state, err := p.State(); err != nil || state != after {
				return p, true
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return p, now != nil
		}
	}
}
