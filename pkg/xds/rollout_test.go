package xds

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	rpc "google.golang.org/genproto/googleapis/rpc/status"
	"pgregory.net/rapid"
)

// fakeProxy is the other end of a rollout, without gRPC: it applies responses
// and breaks the test when it is led somewhere it must not be.
type fakeProxy struct {
	t       rapid.TB
	group   *group
	now     time.Time
	serial  int
	rollout *rollout
	pending []*response                           // on the way to the proxy
	have    [kinds]map[string]*discovery.Resource // what it serves
	bound   string                                // what the server remembers
}

func newFakeProxy(t rapid.TB) *fakeProxy {
	p := &fakeProxy{t: t, group: &group{}, now: time.Unix(1_800_000_000, 0)}
	for k := range p.have {
		p.have[k] = map[string]*discovery.Resource{}
	}
	return p
}

func (p *fakeProxy) publish(target *Target) {
	if err := p.group.set(target); err != nil {
		p.t.Fatal(err)
	}
	p.rollout.retarget(p.group.plan.Load())
	p.pump()
}

// connect starts a stream as Envoy does, telling what it holds.
func (p *fakeProxy) connect(remember bool) {
	p.serial++
	p.pending = nil
	earlier := ""
	if remember {
		earlier = p.bound
	}
	p.rollout = newRollout(fmt.Sprint(p.serial), earlier, time.Minute,
		func(n int) time.Duration { return time.Duration(n) * time.Second })
	p.rollout.retarget(p.group.plan.Load())
	names := [kinds][]string{routes: {"gateway", "peer"}, extensions: {"domicile.jwt"}}
	for k := range kinds {
		held := map[string]string{}
		for name, r := range p.have[k] {
			held[name] = r.Version
		}
		p.rollout.subscribe(k, &discovery.DeltaDiscoveryRequest{
			ResourceNamesSubscribe: names[k], InitialResourceVersions: held,
		})
		p.pump()
	}
}

// pump takes all that the server would send now, and judges it.
func (p *fakeProxy) pump() {
	for range 100 {
		out := p.rollout.next(p.now)
		if p.rollout.bound != "" {
			p.bound = p.rollout.bound
		}
		if out == nil {
			return
		}
		if debug {
			fmt.Printf("stream %d send %s step %s bound %q %v\n", p.serial, typeURLs[out.kind], p.rollout.step, p.rollout.bound, out.changes)
		}
		p.judge(out)
		p.pending = append(p.pending, out)
	}
	p.t.Fatal("the server sends for ever")
}

// judge checks what is sent against the newest target.
func (p *fakeProxy) judge(out *response) {
	final := p.group.plan.Load().final
	permitted := allows(final.sets[routes].get("gateway").GetResource().GetValue())
	beyond := func(r *discovery.Resource) bool {
		return slices.ContainsFunc(allows(r.GetResource().GetValue()), func(cell string) bool {
			return !slices.Contains(permitted, cell)
		})
	}
	for _, c := range out.changes {
		adds := c.to != nil && (out.kind == clusters || out.kind == listeners)
		switch {
		case out.kind == routes && beyond(c.to):
			p.t.Fatalf("routes were sent that the newest target denies: %s", c.to.GetResource().GetValue())
		case adds && p.rollout.kinds[routes].started && slices.ContainsFunc(slices.Collect(maps.Values(p.have[routes])), beyond):
			p.t.Fatalf("%s %s is added while the proxy still allows what the target denies", typeURLs[out.kind], c.name)
		}
	}
}

// step lets the proxy read one response and answer it.
func (p *fakeProxy) step(accept bool) {
	if len(p.pending) == 0 {
		return
	}
	out := p.pending[0]
	p.pending = p.pending[1:]
	req := &discovery.DeltaDiscoveryRequest{ResponseNonce: out.nonce}
	if !accept {
		req.ErrorDetail = &rpc.Status{Message: "no"}
	} else {
		p.apply(out)
	}
	p.rollout.answer(out.kind, req, p.now)
	p.rollout.subscribe(out.kind, req)
	p.pump()
}

func (p *fakeProxy) apply(out *response) {
	for _, c := range out.changes {
		if c.to == nil {
			delete(p.have[out.kind], c.name)
		} else {
			p.have[out.kind][c.name] = c.to
		}
	}
	for name, r := range p.have[routes] {
		for _, cluster := range used(r.GetResource().GetValue()) {
			if p.have[clusters][cluster] == nil {
				p.t.Fatalf("route %s uses cluster %s, which the proxy does not have (step %s)", name, cluster, p.rollout.step)
			}
		}
	}
}

// settle answers everything and lets pauses pass, until nothing moves.
func (p *fakeProxy) settle() {
	for range 1000 {
		switch at := p.rollout.wake(p.now); {
		case len(p.pending) > 0:
			p.step(true)
		case !at.IsZero():
			p.now = at
			p.pump()
		default:
			return
		}
	}
	p.t.Fatal("the roll-out does not end")
}

// mustHave checks that the proxy holds exactly the target.
func (p *fakeProxy) mustHave(w world) {
	want := w.final()
	for k, typeURL := range typeURLs {
		got := map[string]string{}
		for name, r := range p.have[k] {
			got[name] = r.Version
		}
		expect := map[string]string{}
		for _, r := range want.Resources[typeURL] {
			expect[r.Name] = r.Version
		}
		if !maps.Equal(got, expect) {
			p.t.Fatalf("%s: have %v, want %v", typeURL, got, expect)
		}
	}
	if !p.rollout.synced || p.rollout.table != w.table() || p.rollout.rejection() != nil {
		p.t.Fatalf("synced %v, step %q, table %q, rejection %v", p.rollout.synced, p.rollout.step, p.rollout.table, p.rollout.rejection())
	}
	for k := range p.rollout.kinds {
		if s := &p.rollout.kinds[k]; s.wildcard && len(s.over) > 0 {
			p.t.Fatalf("%s: a synced proxy costs %d entries of its own", typeURLs[k], len(s.over))
		}
	}
}

func drawWorld(t *rapid.T) world {
	w := world{
		cells:     map[string]string{},
		endpoints: rapid.IntRange(0, 2).Draw(t, "endpoints"),
		keys:      rapid.IntRange(0, 2).Draw(t, "keys"),
	}
	for _, home := range []string{"SA", "TR", "DE"} {
		if region := rapid.SampledFrom([]string{"", "riyadh", "istanbul", "frankfurt"}).Draw(t, home); region != "" {
			w.cells[home] = region
		}
	}
	return w
}

// T27, T28, T29: whatever happens on the way, each proxy ends with exactly the
// last target, never routes to a cluster that it lacks, and is never sent, for
// a new target, anything before what the target takes away.
func TestRolloutT28RandomSequences(t *testing.T) {
	checks := flag.Lookup("rapid.checks")
	if checks.Value.String() == checks.DefValue {
		if err := checks.Value.Set("1000"); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = checks.Value.Set(checks.DefValue) }()
	}
	rapid.Check(t, func(t *rapid.T) {
		p := newFakeProxy(t)
		worlds := []world{drawWorld(t)}
		p.connect(false)
		p.publish(worlds[0].target())
		for range rapid.IntRange(1, 60).Draw(t, "events") {
			switch rapid.SampledFrom([]string{"ack", "ack", "ack", "nack", "publish", "again", "wait", "lose", "move"}).Draw(t, "event") {
			case "ack":
				p.step(true)
			case "nack":
				p.step(false)
			case "publish":
				// The server recognises the proxies of as many tables, no more.
				if len(worlds) < maxKnown {
					next := drawWorld(t)
					p.publish(next.target(worlds...))
					worlds = append(worlds, next)
				}
			case "again":
				last := worlds[len(worlds)-1]
				p.publish(last.target(worlds...))
			case "wait":
				p.now = p.now.Add(3 * time.Second)
				p.pump()
			case "lose": // an answer may be lost on the way: the proxy has applied it
				if len(p.pending) > 0 && rapid.Bool().Draw(t, "applied") {
					p.apply(p.pending[0])
				}
				p.connect(true)
			case "move": // Envoy itself starts anew
				for k := range p.have {
					clear(p.have[k])
				}
				p.connect(rapid.Bool().Draw(t, "remember"))
			}
		}
		p.settle()
		last := worlds[len(worlds)-1]
		p.mustHave(last)

		p.connect(false)
		for _, out := range p.pending {
			// One that holds nothing of a type cannot say so: it is told again.
			if len(out.changes) > 0 {
				t.Fatalf("a proxy that has everything is sent %v", out.changes)
			}
		}
		p.settle()
		p.mustHave(last)
	})
}

const debug = false
