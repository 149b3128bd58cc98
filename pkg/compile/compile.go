package compile

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// Result is a compiled policy.
type Result struct {
	Table    *residency.Table
	Topology *topology.Topology
	// NextBoundary is the next instant at which the same set would compile to
	// another table: a transfer, an observation or a waiver ends, or a group that a
	// border or a transfer depends on gains or loses a member. Zero: none.
	NextBoundary time.Time
	// Places holds where each rule stands, by {home, class}. It explains; it is
	// no part of any digest.
	Places map[[2]string]policy.Pos
}

// builder is the state that the passes share.
type builder struct {
	set      *policy.Set
	at       time.Time
	problems []policy.Problem
	boundary time.Time

	regions  map[string]policy.Region
	routes   []residency.Route
	classes  map[string]bool // every class of the route table, carried ones included
	subjects map[string]bool // those of them that have a subject, so need a rule
	homes    map[string]bool // homes that some issuer may name
	// transfers holds, by jurisdiction, what its transfers reach.
	transfers map[string][]*crossing
	gaps      map[gap]*concerned // uncovered crossings
	spec      residency.Spec
	topo      topology.Topology
	places    map[[2]string]policy.Pos
	waived    map[string]bool     // ids of waivers that a finding asked for
	free      map[[2]string]cover // by home and country: every rule asks again, see freedom
}

// Compile judges the set as of at and compiles it. The problems are sorted; the
// Result is nil when any of them is an error.
//
// A rule without an entry list may be entered at its serving regions only.
func Compile(set *policy.Set, at time.Time) (*Result, []policy.Problem) {
	if set == nil || set.Deployment == nil {
		return nil, []policy.Problem{{
			Code: CodeNoDeployment, Severity: policy.Error, Message: lang.T("there is no deployment"),
			Fix: lang.T("add a file with kind: Deployment"),
		}}
	}
	b := &builder{
		set: set, at: at,
		regions: map[string]policy.Region{}, classes: map[string]bool{}, subjects: map[string]bool{},
		homes: map[string]bool{}, transfers: map[string][]*crossing{}, gaps: map[gap]*concerned{},
		places: map[[2]string]policy.Pos{}, waived: map[string]bool{}, free: map[[2]string]cover{},
	}
	for _, pass := range []func(){
		b.checkGroups,
		b.compileRegions,
		b.compileRoutes,
		b.compileIssuers,
		b.compileContacts,
		b.compileToday,
		b.checkAddresses,
		b.checkShadows,
		b.checkUnreachable,
		b.checkDenials,
		func() { b.eachJurisdiction(b.checkLaws) },
		func() { b.eachJurisdiction(b.compileTransfers) },
		func() { b.eachJurisdiction(b.compileRules) },
		func() { b.eachJurisdiction(b.checkDuties) },
		b.brake,
		func() { b.eachJurisdiction(b.observe) },
		b.checkStreams,
		b.checkSecrets,
		b.checkDirectory,
		b.reportGaps,
		b.reportUnused,
		func() { b.eachJurisdiction(b.checkReach) },
		func() { b.eachJurisdiction(b.checkReviews) },
		b.checkLawFiles,
		b.checkBackends,
		b.checkWaivers,
	} {
		pass()
	}
	return b.finish()
}

func (b *builder) finish() (*Result, []policy.Problem) {
	var table *residency.Table
	if !b.failed() {
		b.spec.Routes = b.routes
		t, err := residency.New(b.spec)
		if err != nil {
			b.add(policy.Problem{Pos: b.set.Deployment.Pos, Code: CodeInternal, Severity: policy.Error, Message: lang.T("build table: %s", err.Error())})
		} else {
			table = t
			b.checkHosts(t)
		}
	}
	slices.SortStableFunc(b.problems, compareProblems)
	b.problems = slices.Compact(b.problems)
	if table == nil || b.failed() {
		return nil, b.problems
	}
	return &Result{Table: table, Topology: &b.topo, NextBoundary: b.boundary, Places: b.places}, b.problems
}

func compareProblems(x, y policy.Problem) int {
	return cmp.Or(
		cmp.Compare(x.File, y.File), cmp.Compare(x.Line, y.Line), cmp.Compare(x.Column, y.Column),
		cmp.Compare(x.Code, y.Code), cmp.Compare(x.Message.En, y.Message.En),
	)
}

func (b *builder) add(p policy.Problem) { b.problems = append(b.problems, p) }

func (b *builder) failed() bool {
	return slices.ContainsFunc(b.problems, func(p policy.Problem) bool { return p.Severity == policy.Error })
}

// eachJurisdiction calls f for every jurisdiction, in the order of codes.
func (b *builder) eachJurisdiction(f func(code string, j *policy.Jurisdiction)) {
	for _, code := range slices.Sorted(maps.Keys(b.set.Jurisdictions)) {
		if j := b.set.Jurisdictions[code]; j != nil {
			f(code, j)
		}
	}
}

// note remembers an instant after which the set means something else.
func (b *builder) note(t time.Time) {
	if t.After(b.at) && (b.boundary.IsZero() || t.Before(b.boundary)) {
		b.boundary = t
	}
}
