package xds

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// The steps of a roll-out, as status shows them.
const (
	StepRevoke    = "revoke"    // routes, filters and listeners that take away; nothing is added yet
	StepClusters  = "clusters"  // the clusters of both, so that nothing in use goes away
	StepListeners = "listeners" // new and changed listeners
	StepRoutes    = "routes"    // the final routes: from its ACK the proxy runs the target's table
	StepRemovals  = "removals"  // what nothing uses any more
	StepSubscribe = "subscribe" // all is answered, the proxy has not asked for every type yet
	StepTarget    = "target"    // nothing was published yet
)

const (
	// maxFlights bounds the unanswered responses of one type, and with it what
	// is kept for a proxy that reads and never answers.
	maxFlights = 4
	// maxResponse keeps responses below the 4 MiB that gRPC clients accept by
	// default. Larger changes go in several responses.
	maxResponse = 2 << 20
)

// response is what the stream should send next.
type response struct {
	kind    kind
	nonce   string
	version string // digest of the table that the proxy is led to
	changes []change
}

// answer tells the stream what a request meant.
type answer int

const (
	answerNone answer = iota // only subscriptions
	answerAck
	answerNack
	answerStale // a nonce that is not on its way: ignored
)

// rollout leads one proxy to its plan. It is a plain state machine: what
// happens comes in by subscribe, answer and retarget, what to send goes out by
// next, and time comes as an argument.
//
// Safety does not depend on what we believe about the proxy: whatever it runs,
// the first routes that it is sent for a new target allow nothing that the
// target denies. What we know only decides how much stays open meanwhile.
// bound is the last table whose clusters the proxy has ACKed, all of them. None
// is removed before the proxy has ACKed the routes of a later table, so
// Revoke(bound) never names a cluster that the proxy lacks, even when a newer
// target arrives half-way to another one that is then never reached. (The
// listeners of an abandoned revocation may be gone: 503 until they are back.)
type rollout struct {
	serial  string // makes nonces differ between streams
	nonces  uint64
	backoff func(attempt int) time.Duration
	patient time.Duration // an answer later than that is none
	kinds   [kinds]subscription

	plan    *plan
	mid     *prepared // what the revocation leads to; plan.final when bound is not known
	resumed bool      // the proxy came with resources of an earlier stream
	placed  bool      // bound was found on this stream, not on an earlier one
	revoked bool      // the revocation was ACKed, additions have begun
	opened  bool      // the final routes may be sent
	synced  bool
	step    string
	earlier string // bound, as remembered from an earlier stream
	bound   string
	table   string // the last table that the proxy ran completely
}

func newRollout(serial, earlier string, patient time.Duration, backoff func(int) time.Duration) *rollout {
	return &rollout{serial: serial, earlier: earlier, patient: patient, backoff: backoff, step: StepTarget}
}

// retarget starts again at the revocation, towards p.
func (r *rollout) retarget(p *plan) {
	if p == nil || p == r.plan {
		return
	}
	r.plan = p
	r.revoked, r.opened, r.synced = false, false, false
	r.aim()
}

// aim chooses what the revocation leads to. Where no route changes there is
// nothing to revoke, and no use in leading the proxy there and back.
func (r *rollout) aim() {
	if r.resumed && !r.placed {
		r.recognise()
	}
	r.mid = r.plan.final
	s := &r.kinds[routes]
	for _, c := range s.changes(r.plan, r.plan.final.sets[routes]) {
		if held(s.sent(c.name)) {
			if mid := r.plan.mid(r.bound); mid != nil {
				r.mid = mid
			}
			return
		}
	}
}

func held(version string) bool { return version != "" && version != unknown }

// recognise finds the table of a proxy that comes from elsewhere: from another
// replica, or from before a restart. A table counts only when the proxy holds
// its clusters; that its routes are the proxy's is better than our memory.
func (r *rollout) recognise() {
	r.bound = ""
	for _, old := range r.plan.known {
		if !r.hasClusters(old) {
			continue
		}
		if r.runs(old) {
			r.bound, r.table = old.table, old.table
			return
		}
		if old.table == r.earlier {
			r.bound = r.earlier
		}
	}
}

// hasClusters reports whether the proxy has ACKed every cluster of p, by name.
func (r *rollout) hasClusters(p *prepared) bool {
	for _, name := range p.sets[clusters].names {
		if !held(r.kinds[clusters].acked(name)) {
			return false
		}
	}
	return true
}

// runs reports whether the routes that the proxy holds are those of p.
func (r *rollout) runs(p *prepared) bool {
	s := &r.kinds[routes]
	for name, version := range s.over {
		if held(version) && version != p.sets[routes].version(name) {
			return false
		}
	}
	return s.started
}

// subscribe takes the subscriptions of a request.
func (r *rollout) subscribe(k kind, req *discoveryv3.DeltaDiscoveryRequest) {
	s := &r.kinds[k]
	if s.started {
		s.follow(req)
		return
	}
	resumed := s.begin(k, req)
	r.resumed = r.resumed || resumed
	if r.resumed && r.plan != nil && !r.opened {
		r.aim()
	}
}

// answer takes the ACK or NACK of a response, and how long the proxy took.
func (r *rollout) answer(k kind, req *discoveryv3.DeltaDiscoveryRequest, now time.Time) (answer, time.Duration) {
	if req.GetResponseNonce() == "" {
		return answerNone, 0
	}
	s := &r.kinds[k]
	f, ok := s.take(req.GetResponseNonce())
	if !ok {
		return answerStale, 0
	}
	if req.GetErrorDetail() == nil {
		s.accept(f)
		return answerAck, now.Sub(f.sent)
	}
	attempts, since := 1, now
	if s.rejected != nil && maps.Equal(s.rejected.content, f.content) {
		attempts, since = s.rejected.attempts+1, s.rejected.public.Since
	}
	s.rejected = &rejection{
		content:  f.content,
		attempts: attempts,
		retry:    now.Add(r.backoff(attempts)),
		public: Rejection{
			Type: typeURLs[k], Detail: clip(req.GetErrorDetail().GetMessage()),
			Version: label(f.content), Since: since, Attempts: attempts,
		},
	}
	return answerNack, now.Sub(f.sent)
}

// part is a piece of a step: the changes of one type.
type part struct {
	kind    kind
	changes []change
	greet   bool // an answer is owed even without changes
}

// next is the response to send now; nil when there is none. The caller sends
// it before it asks again.
func (r *rollout) next(now time.Time) *response {
	r.synced = false
	if r.plan == nil {
		return nil
	}
	// First what takes away. It is tried at every turn, whatever else waits.
	first, waits := r.offer(now, r.first()...)
	if first != nil || waits && !r.opened {
		r.step = StepRevoke
		if r.opened {
			r.step = StepRoutes
		}
		return first
	}
	r.revoked = true
	for _, add := range []struct {
		kind kind
		step string
	}{{clusters, StepClusters}, {listeners, StepListeners}} {
		if out, waits := r.offer(now, r.additions(add.kind)); out != nil || waits {
			r.step = add.step
			return out
		}
	}
	if !r.opened {
		// A proxy that comes back may run routes that it has not told us yet.
		if r.resumed && !(r.kinds[clusters].started && r.kinds[listeners].started) {
			r.step = StepSubscribe
			return nil
		}
		r.opened, r.placed, r.bound = true, true, r.plan.final.table
		return r.next(now)
	}
	if waits {
		r.step = StepRoutes
		return nil
	}
	return r.finish(now)
}

// finish removes what the final routes, ACKed by now, no longer use.
func (r *rollout) finish(now time.Time) *response {
	complete := r.complete()
	if complete {
		r.table = r.plan.final.table
	} else if r.resumed {
		r.step = StepSubscribe
		return nil
	}
	out, waits := r.offer(now, r.removals(listeners), r.removals(clusters), r.removals(extensions))
	switch {
	case out != nil || waits:
		r.step = StepRemovals
		return out
	case !complete:
		r.step = StepSubscribe
		return nil
	}
	for k := range r.kinds {
		r.kinds[k].adopt(r.plan.final.sets[k])
	}
	r.synced, r.step = true, ""
	return nil
}

// complete reports whether the proxy has asked for every type that it should.
func (r *rollout) complete() bool {
	for k, want := range r.plan.final.sets {
		s := &r.kinds[k]
		if len(want.names) > 0 && !s.wildcard && len(s.names) == 0 {
			return false
		}
	}
	return true
}

// first lists what is sent before everything else: routes, and before the
// final ones may be sent, those of the revocation and the end of listeners.
// Filters (who is let in at all) never wait.
func (r *rollout) first() []part {
	final := r.plan.final
	if r.opened {
		return []part{
			{kind: routes, changes: r.kinds[routes].changes(r.plan, final.sets[routes])},
			r.additions(extensions),
		}
	}
	revoke := r.kinds[routes].changes(r.plan, r.mid.sets[routes])
	revoke = slices.DeleteFunc(revoke, func(c change) bool {
		if r.mid == final {
			// Nothing runs under a name that the proxy does not hold: it can
			// wait for its clusters.
			return !held(r.kinds[routes].sent(c.name))
		}
		return c.to == nil && final.sets[routes].get(c.name) != nil
	})
	parts := []part{{kind: routes, changes: revoke}, r.additions(extensions)}
	end := r.mid.sets[listeners]
	switch {
	case r.resumed && !r.placed:
		// Listeners are told before routes, so mid may still change: what Final
		// has stays, or it would be added and removed again.
		end = final.sets[listeners]
	case r.revoked:
		return parts // what was added since is not to be taken away again
	}
	gone := r.kinds[listeners].changes(r.plan, end)
	gone = slices.DeleteFunc(gone, func(c change) bool {
		return c.to != nil || !held(r.kinds[listeners].sent(c.name))
	})
	return append(parts, part{kind: listeners, changes: gone})
}

// additions are new and changed resources of the target, and the answer to
// those who ask for a resource that does not exist.
func (r *rollout) additions(k kind) part {
	list := r.kinds[k].changes(r.plan, r.plan.final.sets[k])
	list = slices.DeleteFunc(list, func(c change) bool {
		return c.to == nil && held(r.kinds[k].sent(c.name))
	})
	return part{k, list, r.kinds[k].greet && len(list) == 0}
}

func (r *rollout) removals(k kind) part {
	list := r.kinds[k].changes(r.plan, r.plan.final.sets[k])
	list = slices.DeleteFunc(list, func(c change) bool { return c.to != nil })
	return part{kind: k, changes: list}
}

// offer turns the first part that can be sent into a response, and reports
// whether any part is not ACKed yet. Parts do not wait for each other.
func (r *rollout) offer(now time.Time, parts ...part) (out *response, waits bool) {
	for _, p := range parts {
		s := &r.kinds[p.kind]
		pending := len(p.changes) > 0 || p.greet
		waits = waits || pending || len(s.flights) > 0
		if !pending || len(s.flights) >= maxFlights {
			continue
		}
		changes := cut(p.changes)
		content := make(map[string]string, len(changes))
		for _, c := range changes {
			content[c.name] = c.version()
		}
		if s.rejected != nil && now.Before(s.rejected.retry) && maps.Equal(content, s.rejected.content) {
			continue
		}
		r.nonces++
		nonce := r.serial + "." + strconv.FormatUint(r.nonces, 36)
		s.greet = false
		s.flights = append(s.flights, flight{nonce, now, content})
		return &response{p.kind, nonce, r.plan.final.table, changes}, true
	}
	return nil, waits
}

// cut takes as many changes as fit into one response, at least one.
func cut(changes []change) []change {
	size := 0
	for i, c := range changes {
		size += len(c.name) + len(c.version()) + len(c.to.GetResource().GetValue()) + 128
		if size > maxResponse && i > 0 {
			return changes[:i]
		}
	}
	return changes
}

// wake is when next or silent should be asked again although nothing happened;
// zero for never.
func (r *rollout) wake(now time.Time) time.Time {
	var at time.Time
	earlier := func(t time.Time) {
		if at.IsZero() || t.Before(at) {
			at = t
		}
	}
	for k := range r.kinds {
		s := &r.kinds[k]
		if len(s.flights) > 0 {
			earlier(s.flights[0].sent.Add(r.patient))
		}
		if s.rejected != nil && now.Before(s.rejected.retry) {
			earlier(s.rejected.retry)
		}
	}
	return at
}

// silent names the type whose answer is overdue.
func (r *rollout) silent(now time.Time) (typeURL string, overdue bool) {
	for k := range r.kinds {
		f := r.kinds[k].flights
		if len(f) > 0 && now.Sub(f[0].sent) >= r.patient {
			return typeURLs[k], true
		}
	}
	return "", false
}

// rejection is a NACK that nothing has replaced yet.
type rejection struct {
	content  map[string]string
	attempts int
	retry    time.Time
	public   Rejection
}

// rejection is the first one, in the order of types.
func (r *rollout) rejection() *Rejection {
	for k := range r.kinds {
		if rej := r.kinds[k].rejected; rej != nil {
			public := rej.public
			return &public
		}
	}
	return nil
}

// label names what a rejected response held: one resource, the number of others.
func label(content map[string]string) string {
	if len(content) == 0 {
		return ""
	}
	names := slices.Sorted(maps.Keys(content))
	text := names[0] + "@" + content[names[0]]
	if len(names) > 1 {
		text += fmt.Sprintf(" and %d more", len(names)-1)
	}
	return text
}

// maxDetail bounds what a proxy can put into our memory and status.
const maxDetail = 1 << 10

// clip keeps the first KiB of a message that a proxy sent.
func clip(s string) string {
	if len(s) > maxDetail {
		s = s[:maxDetail]
	}
	return strings.ToValidUTF8(s, "")
}
