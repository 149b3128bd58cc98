package im_test

import (
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"
)

// server is one real server of one region.
type server interface {
	// serves maps services of testdata/policies to host:port.
	serves() map[string]string
	// seen tells what reached the server so far.
	seen(t testing.TB) seen
	// stop ends it, as a host that goes down.
	stop()
}

// seen is what reached one region's server.
type seen struct {
	connections, bytes int64 // counted before it
	sessions, users    int64 // as it says itself
}

// passed is what passed some relays.
func passed(relays ...*relay) seen {
	var s seen
	for _, r := range relays {
		s.connections += r.connections.Load()
		s.bytes += r.bytes.Load()
	}
	return s
}

// fleet is one server of a kind in each region.
type fleet[S server] map[string]S

// startFleet starts a server for the host name of each region.
func startFleet[S server](t testing.TB, start func(t testing.TB, host string) S) fleet[S] {
	t.Helper()
	out := fleet[S]{}
	for _, region := range regions {
		out[region] = start(t, hostOf[region])
	}
	return out
}

// once starts one fleet for all tests that stop none of it.
type once[S server] struct {
	sync.Once
	fleet fleet[S]
}

func (o *once[S]) get(t testing.TB, start func(t testing.TB, host string) S) fleet[S] {
	t.Helper()
	o.Do(func() { o.fleet = startFleet(t, start) })
	if o.fleet == nil {
		absent(t, "the servers did not start: see the first test that needed them")
	}
	return o.fleet
}

var (
	ejabberds once[*ejabberd]
	synapses  once[*synapse]
)

func shared(t testing.TB) fleet[*ejabberd] { t.Helper(); return ejabberds.get(t, startEjabberd) }

func sharedMatrix(t testing.TB) fleet[*synapse] { t.Helper(); return synapses.get(t, startSynapse) }

func (f fleet[S]) stop() {
	for _, s := range f {
		s.stop()
	}
}

// backends is what `domicile demo --backend` is told.
func (f fleet[S]) backends() map[string]string {
	out := map[string]string{}
	for region, s := range f {
		for service, addr := range s.serves() {
			out[region+"/"+service] = addr
		}
	}
	return out
}

func (f fleet[S]) seen(t testing.TB) map[string]seen {
	t.Helper()
	out := map[string]seen{}
	for region, s := range f {
		out[region] = s.seen(t)
	}
	return out
}

// settled is what was seen when nothing moves any more: the last bytes of earlier
// connections have arrived, and the servers have noticed who is gone.
func (f fleet[S]) settled(t testing.TB) map[string]seen {
	t.Helper()
	last, same := f.seen(t), 0
	eventually(t, 10*time.Second, func() error {
		now := f.seen(t)
		if same++; !maps.Equal(now, last) {
			last, same = now, 0
		}
		if same < 5 {
			return fmt.Errorf("the servers still see something: %v", now)
		}
		return nil
	})
	return last
}

// only fails unless one region's server alone saw anything since before; "" means
// none did.
func (f fleet[S]) only(t testing.TB, before map[string]seen, region string) {
	t.Helper()
	for r, now := range f.seen(t) {
		switch {
		case r == region && now.bytes == before[r].bytes:
			t.Errorf("the server of %s saw nothing", r)
		case r != region && now != before[r]:
			t.Errorf("LEAK: the server of %s saw %+v, before it was %+v", r, now, before[r])
		}
	}
}
