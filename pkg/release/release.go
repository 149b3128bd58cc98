// Package release runs the whole pure pipeline over one set of policy files:
// read, compile, translate for every node, and check each translation for
// leaks. The command line and the control plane both run it, so that what an
// author sees offline is what will be published, or refused.
//
// All or nothing: a Release that is not Publishable holds no table and no
// configuration. The package is pure; the instant and the overlay are inputs.
package release

import (
	"errors"
	"io/fs"
	"reflect"
	"slices"
	"time"

	"github.com/domicile-dev/domicile/pkg/compile"
	"github.com/domicile-dev/domicile/pkg/envoy"
	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/leakcheck"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/policy/suppress"
	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/topology"
	"github.com/domicile-dev/domicile/policies"
)

// Input is what a release is made from.
type Input struct {
	// FS holds the operator's policy directory; the law library is added.
	FS fs.FS
	// Library holds law files and groups: those that a bundle was packed with, see
	// Of. Nil means the shipped ones.
	Library fs.FS
	// At is the instant at which transfers are judged.
	At time.Time
	// Overlay holds local stand-ins; nil for none.
	Overlay *topology.Overlay
	// Last is an earlier release with the same Overlay, or nil. Where table and
	// topology come out the same, its configuration and its proof are taken over.
	Last *Release
	// Memory is what earlier builds of nearly the same files worked out; nil for
	// none. It must not be in use elsewhere. The result is the same without it.
	Memory *Memory
	// Trees remembers the files of the run before, so that those that did not change
	// are not taken apart again; nil for none. It must not be in use elsewhere.
	Trees *policy.Trees
	// Stop is asked between files and between nodes; where it is true, the work is
	// given up, and it must stay true. Nil means never. It is asked by one goroutine at
	// a time.
	Stop func() bool
	// Strict makes a lapsed transfer an error, as for new work. Recompiling what
	// is in force is never blocked by a date.
	Strict bool
	// TableOnly ends the work at the table, for those who ask what is decided: there
	// are neither Nodes nor Leaks then, and nothing to publish.
	TableOnly bool
}

// Memory lets builds share what is equal in them: see envoy.Memory and
// leakcheck.Prover. Releases made with one share messages, which must not be
// changed. It is bounded; the zero Memory is ready.
type Memory struct {
	translations envoy.Memory
	proofs       leakcheck.Prover
}

// Release is the result: problems, or everything that one bundle publishes.
type Release struct {
	Set      *policy.Set
	Problems []policy.Problem
	// Suppressed are the warnings that comments in the files hide; they are not in
	// Problems.
	Suppressed []suppress.Suppressed
	// Leaks holds what the leak check found; any of them stops the release.
	Leaks []leakcheck.Finding
	// The rest is nil unless Publishable; with Input.TableOnly Result alone is set
	// where there is no error.
	*compile.Result
	Nodes map[envoy.Node]*envoy.Resources
	// Unchanged tells that Nodes are those of Input.Last.
	Unchanged bool
	// Stopped tells that Input.Stop ended the work: nothing is known of the policy,
	// neither that it is good nor that it is bad. Set is empty or without errors.
	Stopped bool
}

// Publishable tells whether nothing stands against publishing.
func (r *Release) Publishable() bool { return r.Nodes != nil }

// Build runs the pipeline.
func Build(in Input) *Release {
	if in.Library == nil {
		in.Library = policies.Shipped()
	}
	set, problems, done := policy.Reading{Trees: in.Trees, Stop: in.Stop}.Parse(in.FS, in.Library)
	r := &Release{Set: set, Problems: problems}
	if !done || in.stopped() {
		return &Release{Set: set, Stopped: true}
	}
	if policy.HasErrors(problems) {
		r.suppress(in.At)
		return r
	}
	result, more := compile.Compile(set, in.At)
	if in.Strict {
		more = compile.Refuse(more)
	}
	r.Problems = policy.Sort(append(problems, more...))
	r.suppress(in.At)
	if result == nil || policy.HasErrors(r.Problems) {
		return r
	}
	result.Topology = result.Topology.With(in.Overlay)
	if in.TableOnly {
		r.Result = result
		return r
	}
	if l := in.Last; l != nil && l.Publishable() && l.Table.Digest() == result.Table.Digest() && reflect.DeepEqual(l.Topology, result.Topology) {
		r.Result, r.Nodes, r.Unchanged = result, l.Nodes, true
		return r
	}
	if in.Memory == nil {
		in.Memory = new(Memory)
	}
	nodes, leaks, err := in.translate(result.Table, result.Topology)
	switch {
	case errors.Is(err, errStopped):
		return &Release{Set: set, Stopped: true}
	case err != nil:
		r.Problems = append(r.Problems, internal(err))
	case len(leaks) > 0:
		r.Leaks = leaks
	default:
		r.Result, r.Nodes = result, nodes
	}
	return r
}

// suppress hides what comments in the files hide. It is the only place that does,
// so that the command line and the control plane show the same.
func (r *Release) suppress(at time.Time) {
	codes := suppress.Codes{Loud: compile.Loud()}
	for _, c := range slices.Concat(policy.Codes(), compile.Codes(), suppress.CodeInfos()) {
		codes.Known = append(codes.Known, c.Code)
	}
	r.Problems, r.Suppressed = suppress.Apply(r.Set.Files, codes, at, r.Problems)
}

// errStopped means that Input.Stop ended the work.
var errStopped = errors.New("stopped")

func (in Input) stopped() bool { return in.Stop != nil && in.Stop() }

type made struct {
	node envoy.Node
	*envoy.Resources
}

// translate makes the configuration of every node and checks each for leaks: one
// is checked while the next is made.
func (in Input) translate(table *residency.Table, top *topology.Topology) (map[envoy.Node]*envoy.Resources, []leakcheck.Finding, error) {
	queue, failed, gone := make(chan made, 4), make(chan error, 1), make(chan struct{})
	var bug any
	go func() {
		defer close(queue)
		defer func() { bug = recover() }()
		for _, n := range envoy.Nodes(top) {
			if in.stopped() {
				failed <- errStopped
				return
			}
			res, err := envoy.Translate(envoy.Input{Table: table, Topology: top, Node: n, Memory: &in.Memory.translations})
			if err != nil {
				failed <- err
				return
			}
			select {
			case queue <- made{n, res}:
			case <-gone:
				return
			}
		}
	}()
	defer func() { // also where a check panics: the memory must not stay in use
		close(gone)
		for range queue {
		}
	}()
	nodes := map[envoy.Node]*envoy.Resources{}
	var leaks []leakcheck.Finding
	for x := range queue {
		nodes[x.node] = x.Resources
		leaks = append(leaks, Prove(&in.Memory.proofs, x.Resources, table, top, x.node.Region)...)
	}
	if bug != nil {
		panic(bug) // where the caller can recover it
	}
	select {
	case err := <-failed:
		return nil, nil, err
	default:
	}
	if in.stopped() {
		return nil, nil, errStopped
	}
	return nodes, leaks, nil
}

// Prove checks one Envoy's configuration for leaks.
func Prove(p *leakcheck.Prover, res *envoy.Resources, table *residency.Table, top *topology.Topology, region string) []leakcheck.Finding {
	return p.Check(leakcheck.Config{
		Listeners: res.Listeners, Clusters: res.Clusters, Routes: res.Routes, Extensions: res.Extensions,
	}, table, top, region)
}

// internal is a problem that no author can mend.
func internal(err error) policy.Problem {
	return policy.Problem{
		Pos: policy.Pos{File: "deployment.yaml", Line: 1, Column: 1}, Code: "DP9001", Severity: policy.Error,
		Message: lang.T("this policy cannot be turned into Envoy configuration: %v", err),
		Fix:     lang.T("this is a bug in Domicile unless the message names an address of yours; please report it"),
	}
}
