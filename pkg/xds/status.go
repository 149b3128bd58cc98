package xds

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"time"
)

// State is how a proxy stands to its target.
type State string

const (
	Synced       State = "synced"       // it has ACKed exactly its target
	Pending      State = "pending"      // a roll-out is under way
	Rejected     State = "rejected"     // it has NACKed; it keeps its last good configuration
	Silent       State = "silent"       // it did not answer and was disconnected
	Disconnected State = "disconnected" // it is gone, for reasons of its own
)

var states = []State{Synced, Pending, Rejected, Silent, Disconnected}

// Proxy is the status of one proxy.
type Proxy struct {
	ID             string     `json:"id"` // REGION/ROLE/NAME
	Region         string     `json:"region"`
	Role           string     `json:"role"`
	Name           string     `json:"name"`
	State          State      `json:"state"`
	Table          string     `json:"table"`  // digest of the table that it last ran completely; empty: not known
	Target         string     `json:"target"` // digest of the table that it should run; empty: none was published
	Since          time.Time  `json:"since"`  // of State
	Step           string     `json:"step,omitempty"`
	Error          *Rejection `json:"error,omitempty"`
	ConnectedSince time.Time  `json:"connectedSince,omitzero"` // zero when it is not connected
	EnvoyVersion   string     `json:"envoyVersion,omitempty"`
}

// Rejection is why a proxy refused a response.
type Rejection struct {
	Type     string    `json:"type"`    // type URL
	Detail   string    `json:"detail"`  // the proxy's words, at most 1 KiB; not to be trusted
	Version  string    `json:"version"` // NAME@VERSION of the first resource of the response
	Since    time.Time `json:"since"`   // of the first time
	Attempts int       `json:"attempts"`
}

// Proxies lists all proxies that are connected, or were within Config.Remember,
// sorted by ID.
func (s *Server) Proxies() []Proxy {
	s.mu.Lock()
	s.purged = time.Time{}
	s.purge(time.Now())
	records := make([]*record, 0, len(s.proxies))
	for _, rec := range s.proxies {
		records = append(records, rec)
	}
	s.mu.Unlock()
	list := make([]Proxy, 0, len(records))
	for _, rec := range records {
		rec.mu.Lock()
		list = append(list, rec.proxy)
		rec.mu.Unlock()
	}
	slices.SortFunc(list, func(a, b Proxy) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// purge forgets proxies that are long gone; s.mu is held. It walks all of them
// only now and then, so that a storm of connections does not pay for it.
func (s *Server) purge(now time.Time) {
	if now.Sub(s.purged) < s.config.Remember/4 {
		return
	}
	s.purged = now
	for id, rec := range s.proxies {
		rec.mu.Lock()
		if rec.stream == nil && now.Sub(rec.proxy.Since) >= s.config.Remember {
			delete(s.proxies, id)
		}
		rec.mu.Unlock()
	}
}

// record is what the server knows about a proxy, also while it is away.
type record struct {
	mu     sync.Mutex
	stream *stream // nil when it is not connected
	proxy  Proxy
	bound  string // rollout.bound of the last stream
}

// enter makes st the proxy's stream, ends an older one, and returns the bound
// that is remembered. Server.mu is held, so that the record is not purged.
func (rec *record) enter(st *stream, now time.Time) string {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.stream != nil {
		close(rec.stream.replaced)
	}
	rec.stream = st
	rec.proxy = Proxy{
		ID: st.id, Region: st.node.Region, Role: st.node.Role, Name: st.node.Name,
		State: Pending, Since: now, ConnectedSince: now, EnvoyVersion: st.version,
	}
	return rec.bound
}

// update shows the state of st's roll-out.
func (rec *record) update(st *stream, now time.Time) {
	r := st.rollout
	state, rejection := Pending, r.rejection()
	switch {
	case rejection != nil:
		state = Rejected
	case r.synced:
		state = Synced
	}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.stream != st {
		return
	}
	p := &rec.proxy
	if p.State != state {
		p.State, p.Since = state, now
	}
	p.Step, p.Table, p.Error = r.step, r.table, rejection
	if r.plan != nil {
		p.Target = r.plan.final.table
	}
	if r.bound != "" {
		rec.bound = r.bound
	}
}

func (rec *record) leave(st *stream, err error, now time.Time) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.stream != st {
		return
	}
	rec.stream = nil
	rec.proxy.State, rec.proxy.Since, rec.proxy.ConnectedSince = Disconnected, now, time.Time{}
	if errors.Is(err, errSilent) {
		rec.proxy.State = Silent
	}
}
