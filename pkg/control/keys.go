package control

import (
	"context"

	"github.com/domicile-dev/domicile/pkg/topology"
)

// keysChanged gets a value when a fetched key set has become another.
func (l *loop) keysChanged() <-chan struct{} {
	if l.keys == nil {
		return nil
	}
	return l.keys.Changed()
}

// takeKeys lays the key sets that count over the stand-ins.
func (l *loop) takeKeys() {
	if l.keys == nil {
		return
	}
	next := topology.Overlay{}
	if old := l.overlay.Load(); old != nil {
		next = *old
	}
	next.Keys = l.keys.Keys()
	l.overlay.Store(&next)
}

// onKeys publishes the policy in force with the keys that count now. What loses its
// key is refused by the next request that carries it; open streams stay.
func (l *loop) onKeys(ctx context.Context) {
	l.takeKeys()
	if l.good != nil && l.again(ctx) {
		l.log.Info("key sets of issuers changed", "sequence", l.good.record.Sequence)
	}
}

// followKeys says whose keys the policy in force needs. Nobody's are fetched where a
// stand-in replaces them all.
func (l *loop) followKeys() {
	if l.keys == nil {
		return
	}
	if o := l.overlay.Load(); o != nil && o.JWKS != "" {
		l.keys.Follow(nil)
		return
	}
	l.keys.Follow(l.good.policy.topology.Issuers)
}
