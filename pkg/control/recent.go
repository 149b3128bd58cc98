package control

import (
	"slices"
	"sync"
	"time"

	"github.com/domicile-dev/domicile/pkg/topology"
)

// keep is how many compiled policies are remembered.
const keep = 3

// recent remembers the policies that were compiled last. The replica that checks
// a change need not check it a second time when the store announces it, so that
// the time from commit to proxy is the time of a look-up; and going back to what
// was in force a moment ago is as quick. It is safe for concurrent use.
type recent struct {
	mu   sync.Mutex
	list []remembered // the oldest first
}

type remembered struct {
	bundle string // digest
	at     time.Time
	strict bool
	policy *compiled
}

// get returns the policy of a bundle if it was compiled for an instant from
// which to at nothing lapses, with the same overlay. One that was not checked strictly
// does not count as such.
func (r *recent) get(bundle string, at time.Time, strict bool, overlay *topology.Overlay) *compiled {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range slices.Backward(r.list) {
		next := m.policy.next
		if m.bundle == bundle && m.policy.overlay == overlay && (m.strict || !strict) && !at.Before(m.at) && (next.IsZero() || at.Before(next)) {
			return m.policy
		}
	}
	return nil
}

func (r *recent) put(bundle string, at time.Time, strict bool, p *compiled) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, remembered{bundle, at, strict, p})
	if n := len(r.list) - keep; n > 0 {
		r.list = slices.Delete(r.list, 0, n)
	}
}
