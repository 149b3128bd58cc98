package xds

import (
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
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
	pending []*response                             // on the way to the proxy
	have    [kinds]map[string]*discoveryv3.Resource // what it serves
	bound   string                                  // what the server remembers
	added   map[string]bool                         // listeners, on this stream for this target
	between func()                                  // runs between the first requests of a stream
}

func newFakeProxy(t rapid.TB) *fakeProxy {
	p := &fakeProxy{t: t, group: &group{}, now: time.Unix(1_800_000_000, 0)}
	for k := range p.have {
		p.have[k] = map[string]*discoveryv3.Resource{}
	}
	return p
}

func (p *fakeProxy) publish(target *Target) {
	if err := p.group.set(target, slog.New(slog.DiscardHandler)); err != nil {
		p.t.Fatal(err)
	}
	p.added = map[string]bool{}
	p.rollout.retarget(p.group.plan.Load())
	p.pump()
}

func (p *fakeProxy) versions(k kind) map[string]string {
	held := map[string]string{}
	for name, r := range p.have[k] {
		held[name] = r.Version
	}
	return held
}

// connect starts a stream as Envoy does, telling what it holds.
func (p *fakeProxy) connect(remember bool) {
	p.serial++
	p.pending, p.added = nil, map[string]bool{}
	earlier := ""
	if remember {
		earlier = p.bound
	}
	p.rollout = newRollout(fmt.Sprint(p.serial), earlier, time.Minute,
		func(n int) time.Duration { return time.Duration(n) * time.Second })
	p.rollout.retarget(p.group.plan.Load())
	names := [kinds][]string{routes: {"gateway", "peer"}, extensions: {"domicile.jwt"}}
	for k := range kinds {
		p.rollout.subscribe(k, &discoveryv3.DeltaDiscoveryRequest{
			ResourceNamesSubscribe: names[k], InitialResourceVersions: p.versions(k),
		})
		p.pump()
		if p.between != nil {
			p.between()
		}
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
		p.judge(out)
		p.pending = append(p.pending, out)
	}
	p.t.Fatal("the server sends for ever")
}

// judge checks what is sent against the newest target.
func (p *fakeProxy) judge(out *response) {
	final := p.group.plan.Load().final
	permitted := allows(final.sets[routes].get("gateway").GetResource().GetValue())
	beyond := func(r *discoveryv3.Resource) bool {
		return slices.ContainsFunc(allows(r.GetResource().GetValue()), func(cell string) bool {
			return !slices.Contains(permitted, cell)
		})
	}
	for _, c := range out.changes {
		if out.kind == listeners {
			if c.to == nil && p.added[c.name] {
				p.t.Fatalf("listener %s is added and removed again", c.name)
			}
			p.added[c.name] = c.to != nil
		}
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
	req := &discoveryv3.DeltaDiscoveryRequest{ResponseNonce: out.nonce}
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
		got := p.versions(kind(k))
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
		p.between = func() {
			for range rapid.IntRange(0, 2).Draw(t, "between") {
				p.step(true)
			}
		}
		worlds := []world{drawWorld(t)}
		p.connect(false)
		p.publish(worlds[0].target())
		for range rapid.IntRange(1, 60).Draw(t, "events") {
			switch rapid.SampledFrom([]string{"ack", "ack", "ack", "nack", "publish", "again", "wait", "ask", "lose", "move"}).Draw(t, "event") {
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
			case "ask": // Envoy made a listener anew and has forgotten its routes
				name := rapid.SampledFrom([]string{"gateway", "peer"}).Draw(t, "name")
				delete(p.have[routes], name)
				p.rollout.subscribe(routes, &discoveryv3.DeltaDiscoveryRequest{ResourceNamesSubscribe: []string{name}})
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

// ran makes a proxy that runs w completely.
func ran(t *testing.T, w world) *fakeProxy {
	p := newFakeProxy(t)
	p.connect(false)
	p.publish(w.target())
	p.settle()
	p.mustHave(w)
	return p
}

// tableOf reads which table the routes of a response say.
func tableOf(out *response) string {
	text := string(out.changes[0].to.GetResource().GetValue())
	text, _, _ = strings.Cut(strings.TrimPrefix(text, "table="), "\n")
	return text
}

var (
	before = place("SA", "riyadh", "DE", "frankfurt")
	after  = place("SA", "istanbul", "DE", "frankfurt")
)

// replica makes the group of another replica with these targets.
func replica(t *testing.T, targets ...*Target) *group {
	g := &group{}
	for _, target := range targets {
		if err := g.set(target, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

// firstRoutes moves a proxy to a replica and returns the first routes that it
// is sent there.
func firstRoutes(t *testing.T, p *fakeProxy, g *group) *response {
	p.group = g
	p.connect(false)
	for _, out := range p.pending {
		if out.kind == routes {
			return out
		}
	}
	t.Fatal("no routes were sent")
	return nil
}

// T28: another replica knows the table by the routes that the proxy holds.
func TestRolloutT28OtherReplica(t *testing.T) {
	p := ran(t, before)
	out := firstRoutes(t, p, replica(t, before.target(), after.target(before)))
	if want := "revoke " + before.table() + " for " + after.table(); tableOf(out) != want {
		t.Errorf("first routes are of %q, want %q", tableOf(out), want)
	}
	p.settle()
	p.mustHave(after)
}

// A replica that does not know the proxy's table closes what the target denies
// at once, although its clusters follow only later.
func TestRolloutUnknownTable(t *testing.T) {
	for name, targets := range map[string][]*Target{
		"replica without history": {after.target(before)},
		"nil from Revoke":         {before.target(), {Final: after.final(), Revoke: func(string) *Snapshot { return nil }}},
		"no Revoke":               {before.target(), {Final: after.final()}},
	} {
		t.Run(name, func(t *testing.T) {
			out := firstRoutes(t, ran(t, before), replica(t, targets...))
			if tableOf(out) != after.table() {
				t.Errorf("first routes are of %q, want %q", tableOf(out), after.table())
			}
		})
	}
}

// Routes alone do not make a table: without its clusters, a revocation that
// keeps using them would be wrong.
func TestRolloutRecogniseNeedsClusters(t *testing.T) {
	p := ran(t, before)
	delete(p.have[clusters], "message@frankfurt")
	out := firstRoutes(t, p, replica(t, before.target(), after.target(before)))
	if tableOf(out) != after.table() {
		t.Errorf("first routes are of %q, want %q", tableOf(out), after.table())
	}
}

// A proxy that comes back may run listeners that it has not told yet: no final
// routes before they are known.
func TestRolloutResumedWaitsForListeners(t *testing.T) {
	p := ran(t, before)
	loose := place("SA", "riyadh", "DE", "frankfurt", "TR", "riyadh")
	p.group = replica(t, before.target(), loose.target(before))
	final := p.group.plan.Load().final
	p.have[clusters]["live/TR@riyadh"] = final.sets[clusters].get("live/TR@riyadh")
	r := newRollout("x", "", time.Minute, nil)
	r.retarget(p.group.plan.Load())
	for _, k := range []kind{clusters, routes} {
		req := &discoveryv3.DeltaDiscoveryRequest{InitialResourceVersions: p.versions(k)}
		if k == routes {
			req.ResourceNamesSubscribe = []string{"gateway", "peer"}
		}
		r.subscribe(k, req)
		for out := r.next(p.now); out != nil; out = r.next(p.now) {
			if out.kind != routes || tableOf(out) == loose.table() {
				t.Errorf("%s is sent before the listeners are known", typeURLs[out.kind])
			}
		}
	}
}

// A revocation that says nothing about a route configuration of the target
// leaves it alone until the target itself is due.
func TestRolloutRevokeWithoutRoute(t *testing.T) {
	p := ran(t, before)
	target := after.target(before)
	revoke := target.Revoke
	target.Revoke = func(from string) *Snapshot {
		s := revoke(from)
		s.Resources[RouteType] = slices.DeleteFunc(s.Resources[RouteType], func(r Resource) bool { return r.Name == "peer" })
		return s
	}
	p.publish(target)
	out := p.pending[0]
	if out.kind != routes || len(out.changes) != 1 || out.changes[0].name != "gateway" || out.changes[0].to == nil {
		t.Errorf("the revocation is %v", out.changes)
	}
}

// What is on its way does not answer a subscription that came after it.
func TestSubscriptionAgainInFlight(t *testing.T) {
	p := newFakeProxy(t)
	p.connect(false)
	p.publish(before.target())
	for len(p.pending) > 0 && p.pending[0].kind != routes {
		p.step(true)
	}
	p.rollout.subscribe(routes, &discoveryv3.DeltaDiscoveryRequest{ResourceNamesSubscribe: []string{"peer"}})
	p.pump()
	if n := len(p.pending); n != 2 || len(p.pending[1].changes) != 1 || p.pending[1].changes[0].name != "peer" {
		t.Fatalf("%d responses are on their way", n)
	}
	p.settle()
	p.mustHave(before)
}

// T27: a client that skips an answer is sent again what it skipped.
func TestAnswerT27Skipped(t *testing.T) {
	p := newFakeProxy(t)
	p.connect(false)
	p.publish(place("SA", "riyadh").target())
	p.step(true) // filters
	p.publish(place("DE", "frankfurt").target())
	var last *response
	for _, out := range p.pending {
		if out.kind == clusters {
			last = out
		}
	}
	p.pending = nil
	p.apply(last)
	p.rollout.answer(clusters, &discoveryv3.DeltaDiscoveryRequest{ResponseNonce: last.nonce}, p.now)
	p.pump()
	var removed []string
	for range 20 {
		for _, out := range p.pending {
			for _, c := range out.changes {
				if out.kind == clusters && c.to == nil {
					removed = append(removed, c.name)
				}
			}
		}
		if len(p.pending) == 0 {
			break
		}
		p.step(true)
	}
	if want := []string{"live/SA@riyadh", "message@riyadh"}; !slices.Equal(removed, want) {
		t.Errorf("removed %v, want %v", removed, want)
	}
}
