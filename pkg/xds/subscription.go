package xds

import (
	"maps"
	"slices"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// change is one resource to send; without a resource, one to remove.
type change struct {
	name string
	to   *discoveryv3.Resource
}

func (c change) version() string { return c.to.GetVersion() }

// flight is a response that the proxy has not answered.
type flight struct {
	nonce   string
	sent    time.Time
	content map[string]string // name to version, empty for removed
}

// subscription is what one proxy wants and holds of one type.
//
// A proxy in sync holds base, which all proxies share; only what differs from
// it is kept for the proxy itself, so neither memory nor the work of an update
// grows with the resources that do not change.
type subscription struct {
	started  bool // a first request has come
	wildcard bool
	greet    bool // an empty answer is owed: a fresh wildcard waits for one
	names    map[string]struct{}

	base     *set
	over     map[string]string // ACKed, where it differs from base
	flights  []flight          // oldest first
	rejected *rejection
}

// acked is the version that the proxy has told us it holds.
func (s *subscription) acked(name string) string {
	if v, ok := s.over[name]; ok {
		return v
	}
	return s.base.version(name)
}

// sent is the version that it holds once it has accepted all that is on its way.
func (s *subscription) sent(name string) string {
	for _, f := range slices.Backward(s.flights) {
		if v, ok := f.content[name]; ok {
			return v
		}
	}
	return s.acked(name)
}

func (s *subscription) put(name, version string) {
	if s.base.version(name) == version {
		delete(s.over, name)
		return
	}
	if s.over == nil {
		s.over = map[string]string{}
	}
	s.over[name] = version
}

func (s *subscription) wants(name string) bool {
	_, named := s.names[name]
	return named || s.wildcard
}

// forget makes the server believe nothing about a name, not even what is on
// its way.
func (s *subscription) forget(name, version string) {
	for _, f := range s.flights {
		delete(f.content, name)
	}
	s.put(name, version)
}

// changes lists what leads from what was sent to want, sorted by name.
func (s *subscription) changes(p *plan, want *set) []change {
	if !s.started {
		return nil
	}
	var names []string
	if s.wildcard {
		names = p.diff(s.base, want)
	}
	if len(s.over)+len(s.flights)+len(s.names) > 0 {
		names = slices.Clone(names)
		names = slices.AppendSeq(names, maps.Keys(s.over))
		names = slices.AppendSeq(names, maps.Keys(s.names))
		for _, f := range s.flights {
			names = slices.AppendSeq(names, maps.Keys(f.content))
		}
		slices.Sort(names)
		names = slices.Compact(names)
	}
	var list []change
	for _, name := range names {
		if s.wants(name) && s.sent(name) != want.version(name) {
			list = append(list, change{name, want.get(name)})
		}
	}
	return list
}

// adopt ends a roll-out: the proxy holds exactly final, so it may share it.
func (s *subscription) adopt(final *set) {
	s.rejected = nil
	if s.wildcard {
		s.base, s.over = final, nil
	}
}

// begin reads the first request of a type on a stream. It reports whether the
// proxy came with resources of an earlier stream.
func (s *subscription) begin(k kind, req *discoveryv3.DeltaDiscoveryRequest) (resumed bool) {
	s.started = true
	s.names = map[string]struct{}{}
	held := req.GetInitialResourceVersions()
	subscribe := req.GetResourceNamesSubscribe()
	// Only clusters and listeners know the wildcard of an empty list.
	s.wildcard = slices.Contains(subscribe, "*") ||
		len(subscribe) == 0 && (k == clusters || k == listeners)
	s.greet = s.wildcard && len(held) == 0
	for name, version := range held {
		if s.wildcard || slices.Contains(subscribe, name) {
			s.put(name, version)
		}
	}
	for _, name := range subscribe {
		if name == "*" {
			continue
		}
		s.names[name] = struct{}{}
		if _, ok := held[name]; !ok {
			s.put(name, unknown)
		}
	}
	return len(held) > 0
}

// follow reads the subscriptions of a later request. A name that is subscribed
// to is sent even when the proxy seems to have it: it has just forgotten it.
func (s *subscription) follow(req *discoveryv3.DeltaDiscoveryRequest) {
	for _, name := range req.GetResourceNamesSubscribe() {
		if name == "*" {
			s.greet = s.greet || !s.wildcard
			s.wildcard = true
			continue
		}
		s.names[name] = struct{}{}
		s.forget(name, unknown)
	}
	for _, name := range req.GetResourceNamesUnsubscribe() {
		if name == "*" {
			s.narrow()
			continue
		}
		delete(s.names, name)
		if s.wildcard {
			// The protocol: what the wildcard still covers is sent once more.
			s.forget(name, unknown)
		} else {
			s.forget(name, "")
		}
	}
}

// narrow leaves the wildcard: only named resources are kept.
func (s *subscription) narrow() {
	over := map[string]string{}
	for name := range s.names {
		over[name] = s.acked(name)
	}
	for _, f := range s.flights {
		maps.DeleteFunc(f.content, func(name, _ string) bool {
			_, named := s.names[name]
			return !named
		})
	}
	s.wildcard, s.base, s.over = false, nil, over
}

// take removes the flight of a nonce, and those before it, from the way. Envoy
// answers in order; where a client skips an answer, what it skipped is sent
// again.
func (s *subscription) take(nonce string) (flight, bool) {
	i := slices.IndexFunc(s.flights, func(f flight) bool { return f.nonce == nonce })
	if i < 0 {
		return flight{}, false
	}
	f := s.flights[i]
	for _, skipped := range s.flights[:i] {
		for name := range skipped.content {
			s.put(name, unknown)
		}
	}
	s.flights = slices.Clone(s.flights[i+1:])
	return f, true
}

// accept records that the proxy holds what a response contained, and no more.
func (s *subscription) accept(f flight) {
	for name, version := range f.content {
		s.put(name, version)
		if s.rejected != nil {
			if _, ok := s.rejected.content[name]; ok {
				s.rejected = nil
			}
		}
	}
}
