package control

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/domicile-dev/domicile/pkg/bundle"
	"github.com/domicile-dev/domicile/pkg/envoy"
	"github.com/domicile-dev/domicile/pkg/leakcheck"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/release"
	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/topology"
	"github.com/domicile-dev/domicile/pkg/xds"
)

// compiled is a policy that passed every check, ready to publish. It is not
// changed after it was made.
type compiled struct {
	table    *residency.Table
	topology *topology.Topology
	overlay  *topology.Overlay // that topology was made with
	next     time.Time         // the next boundary: a lapse, an end of observation or a group's date; zero: none
	warnings []policy.Problem
	// bundle, deployment and denials judge the successor.
	bundle     *bundle.Bundle
	deployment *policy.Deployment
	denials    []policy.Denial
	final      map[xds.Group]*xds.Snapshot
	// step makes the snapshot of one group for the table of a revoke step.
	step stepFunc
}

// releaseBuilder is the buildFunc that runs package release, as the offline
// commands do. It remembers what it made last: files of the same meaning are
// neither proved nor encoded again.
func releaseBuilder(standIns func() *topology.Overlay) buildFunc {
	var mu sync.Mutex
	var last *release.Release
	var made *compiled
	var earlier shelf
	return func(ctx context.Context, b *bundle.Bundle, at time.Time, strict bool) (*compiled, *Refusal) {
		overlay := standIns()
		mu.Lock()
		before, same := last, made
		mu.Unlock()
		learned := earlier.take()
		defer earlier.put(learned)
		in := release.Of(b)
		in.At, in.Overlay, in.Strict, in.Last, in.Memory, in.Trees = at, overlay, strict, before, &learned.memory, &learned.trees
		in.Stop = func() bool { return ctx.Err() != nil }
		r := release.Build(in)
		if r.Stopped {
			return nil, &Refusal{Error: fmt.Sprintf("compile bundle: given up: %v", ctx.Err())}
		}
		if !r.Publishable() {
			return nil, &Refusal{Problems: r.Problems, Leaks: r.Leaks}
		}
		if strict {
			if report := release.Tests(r, at); !report.OK() {
				return nil, &Refusal{Problems: r.Problems, tests: &report}
			}
		}
		if r.Unchanged {
			return &compiled{table: r.Table, topology: r.Topology, overlay: overlay, next: r.NextBoundary, warnings: r.Problems, deployment: r.Set.Deployment, denials: r.Set.Denials, final: same.final, step: same.step}, nil
		}
		p := &compiled{table: r.Table, topology: r.Topology, overlay: overlay, next: r.NextBoundary, warnings: r.Problems, deployment: r.Set.Deployment, denials: r.Set.Denials, final: make(map[xds.Group]*xds.Snapshot, len(r.Nodes))}
		for n, res := range r.Nodes {
			s, err := snapshot(r.Table, res)
			if err != nil {
				return nil, &Refusal{Error: fmt.Sprintf("encode %s: %v", n, err)}
			}
			p.final[xds.Group{Region: n.Region, Role: n.Role}] = s
		}
		opening, top := r.Table, r.Topology
		p.step = once(knownTables*len(p.final), func(g xds.Group, meet *residency.Table) (*xds.Snapshot, error) {
			return step(envoy.Input{Table: meet, Opening: opening, Topology: top, Node: envoy.Node{Region: g.Region, Role: g.Role}})
		})
		mu.Lock()
		last, made = r, p
		mu.Unlock()
		return p, nil
	}
}

// provers remember what earlier leak checks worked out; one serves one check at
// a time.
var provers = sync.Pool{New: func() any { return new(leakcheck.Prover) }}

// lessons are what builds remember.
type lessons struct {
	trees  policy.Trees
	memory release.Memory
}

// shelf holds what builds remember, for one run each. A pool would lose it to
// the garbage collector between two changes. It is safe for concurrent use.
type shelf struct {
	mu   sync.Mutex
	free []*lessons
}

// take returns what was put back last, which is nearest to what comes next.
func (s *shelf) take() *lessons {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.free); n > 0 {
		t := s.free[n-1]
		s.free = s.free[:n-1]
		return t
	}
	return new(lessons)
}

func (s *shelf) put(t *lessons) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.free) < changesAtOnce {
		s.free = append(s.free, t)
	}
}

type stepFunc func(xds.Group, *residency.Table) (*xds.Snapshot, error)

// once makes each step of f once and remembers at most that many.
func once(most int, f stepFunc) stepFunc {
	type key struct {
		group xds.Group
		table string
	}
	var mu sync.Mutex
	made := map[key]func() (*xds.Snapshot, error){}
	return func(g xds.Group, meet *residency.Table) (*xds.Snapshot, error) {
		mu.Lock()
		k := key{g, meet.Digest()}
		do := made[k]
		if do == nil {
			if len(made) >= most {
				clear(made)
			}
			do = sync.OnceValues(func() (*xds.Snapshot, error) { return f(g, meet) })
			made[k] = do
		}
		mu.Unlock()
		return do()
	}
}

// step translates a step of a roll-out and proves that it leaks nothing, as the
// policy itself was proved.
func step(in envoy.Input) (*xds.Snapshot, error) {
	res, err := envoy.Translate(in)
	if err != nil {
		return nil, err
	}
	prover := provers.Get().(*leakcheck.Prover)
	defer provers.Put(prover)
	leaks := release.Prove(prover, res, in.Table, in.Topology, in.Node.Region)
	if len(leaks) > 0 {
		return nil, fmt.Errorf("the step leaks: %s", leaks[0])
	}
	return snapshot(in.Table, res)
}

func snapshot(t *residency.Table, res *envoy.Resources) (*xds.Snapshot, error) {
	byType, err := res.ByType()
	if err != nil {
		return nil, err
	}
	out := &xds.Snapshot{Table: t.Digest(), Resources: make(map[string][]xds.Resource, len(byType))}
	for url, list := range byType {
		resources := make([]xds.Resource, len(list))
		for i, x := range list {
			resources[i] = xds.Resource{Name: x.Name, Version: x.Version, Body: x.Body}
		}
		out.Resources[url] = resources
	}
	return out, nil
}
