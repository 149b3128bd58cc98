package xds

import (
	"fmt"
	"log/slog"
	"slices"
	"sync"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// kind numbers the served types.
type kind int

const (
	clusters kind = iota
	listeners
	routes
	extensions
	kinds
)

var typeURLs = [kinds]string{ClusterType, ListenerType, RouteType, ExtensionType}

// unknown stands for a version that has to be sent whatever it is: the proxy
// asked (again), or answered out of order. No content hash looks like it.
const unknown = "?"

// set is the resources of one type, immutable and shared by all proxies of a
// group. A nil set is empty.
type set struct {
	names  []string // sorted
	byName map[string]*discoveryv3.Resource
}

func (s *set) get(name string) *discoveryv3.Resource {
	if s == nil {
		return nil
	}
	return s.byName[name]
}

// version is empty for a resource that is not there.
func (s *set) version(name string) string { return s.get(name).GetVersion() }

// newSet returns prev itself when nothing differs: two sets at one address are
// known to be equal without looking into them.
func newSet(resources []Resource, prev *set) (*set, error) {
	s := &set{byName: make(map[string]*discoveryv3.Resource, len(resources))}
	same := prev != nil && len(prev.names) == len(resources)
	for _, r := range resources {
		if r.Name == "" || r.Version == "" || r.Version == unknown || r.Body == nil {
			return nil, fmt.Errorf("resource %q: name, version and body are needed", r.Name)
		}
		if s.byName[r.Name] != nil {
			return nil, fmt.Errorf("resource %q: twice in one snapshot", r.Name)
		}
		old := prev.get(r.Name)
		if old.GetVersion() != r.Version {
			old, same = &discoveryv3.Resource{Name: r.Name, Version: r.Version, Resource: r.Body}, false
		}
		s.byName[r.Name] = old
		s.names = append(s.names, r.Name)
	}
	if same {
		return prev, nil
	}
	slices.Sort(s.names)
	return s, nil
}

// prepared is a snapshot, indexed.
type prepared struct {
	table string
	sets  [kinds]*set
}

// prepare indexes s and shares with prev what is equal in both.
func prepare(s *Snapshot, prev *prepared) (*prepared, error) {
	p := &prepared{table: s.Table}
	for typeURL := range s.Resources {
		if !slices.Contains(typeURLs[:], typeURL) {
			return nil, fmt.Errorf("type %q is not served", typeURL)
		}
	}
	for k, typeURL := range typeURLs {
		var old *set
		if prev != nil {
			old = prev.sets[k]
		}
		var err error
		if p.sets[k], err = newSet(s.Resources[typeURL], old); err != nil {
			return nil, fmt.Errorf("%s: %w", typeURL, err)
		}
	}
	return p, nil
}

// plan is a target of one group, with what all its proxies would otherwise
// compute each for itself.
type plan struct {
	log    *slog.Logger // names the group
	final  *prepared
	revoke func(string) *Snapshot
	known  []*prepared // recent targets, this one included, newest first

	midsMu sync.Mutex
	mids   map[string]func() *prepared

	diffsMu sync.Mutex
	diffs   map[[2]*set][]string
}

func newPlan(t *Target, final *prepared, known []*prepared, log *slog.Logger) *plan {
	return &plan{
		log: log, final: final, revoke: t.Revoke, known: known,
		mids: map[string]func() *prepared{}, diffs: map[[2]*set][]string{},
	}
}

// mid is the revocation for proxies that run table from; nil when not known. It
// is made once, and only those that need it wait: to translate and prove a step
// takes its time, which proxies that run another table must not share.
func (p *plan) mid(from string) *prepared {
	if p.revoke == nil || from == "" {
		return nil
	}
	p.midsMu.Lock()
	do := p.mids[from]
	if do == nil {
		do = sync.OnceValue(func() *prepared { return p.makeMid(from) })
		p.mids[from] = do
	}
	p.midsMu.Unlock()
	return do()
}

// makeMid takes a snapshot that cannot be indexed for one that is not known.
func (p *plan) makeMid(from string) *prepared {
	s := p.revoke(from)
	if s == nil {
		return nil
	}
	mid, err := prepare(s, p.final)
	if err != nil {
		p.log.Error("a revoke step cannot be served; proxies get the new routes at once",
			"from", from, "to", p.final.table, "err", err)
		return nil
	}
	return mid
}

// diff names what differs between two sets, sorted. Most proxies of a group go
// the same way, so the walk over all resources is done once for all of them.
func (p *plan) diff(from, to *set) []string {
	if from == to {
		return nil
	}
	p.diffsMu.Lock()
	defer p.diffsMu.Unlock()
	key := [2]*set{from, to}
	if names, ok := p.diffs[key]; ok {
		return names
	}
	names := []string{}
	for _, name := range to.names {
		if from.version(name) != to.version(name) {
			names = append(names, name)
		}
	}
	if from != nil {
		for _, name := range from.names {
			if to.get(name) == nil {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	p.diffs[key] = names
	return names
}
