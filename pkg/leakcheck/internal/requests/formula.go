// Package requests answers questions about all requests at once: which of a
// list of conditions can be the first to hold for a request of which class? A
// condition is a formula over the path (a regular language), the method, the
// host, the entry and whether it is gRPC; what cannot be known is maybe.
//
// Answers are upper bounds: what is not reported cannot happen. A question that
// grows too large is answered by "everything is possible". The package is pure;
// an Algebra must not be used concurrently.
package requests

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// Truth is three-valued.
type Truth int8

// The truth values. Maybe: it cannot be known, or holds for some only.
const (
	No Truth = iota
	Maybe
	Yes
)

type operator byte

const (
	opConst operator = 'c'
	opAnd   operator = '&'
	opOr    operator = '|'
	opNot   operator = '!'
	opPath  operator = 'p'
	opSet   operator = 's' // of a dimension other than the path
)

// Dimension is a property of a request beside its path. Each has finitely many
// atoms, the last of which stands for everything else.
type Dimension int

// The dimensions. An entry is the region in a client certificate's URI.
const (
	Method Dimension = iota
	Host
	Entry
	GRPC
	dimensions
)

// Formula is a condition on a request. Formulas are interned: equal conditions
// are the same pointer.
type Formula struct {
	id   int
	op   operator
	val  Truth // opConst
	kids []*Formula
	lang *Language // opPath
	dim  Dimension // opSet
	set  []Truth   // opSet: by atom
	uses [dimensions][]*Formula
	path []*Language
}

// ID names the formula among those of its Algebra.
func (f *Formula) ID() int { return f.id }

// Algebra interns formulas and languages and answers questions about them.
type Algebra struct {
	// Atoms names the atoms of each dimension; AtomLanguages is the text that each
	// but the last stands for. Callers must not change them.
	Atoms         [dimensions][]string
	AtomLanguages [dimensions][]*Language
	// The constant conditions.
	Whole, None, Unknown *Formula

	interned  map[string]*Formula
	languages map[string]*Language
	residuals map[residualKey]*Formula
	answers   map[string][]pair
	classSets map[string][]Truth
	exceeding map[[2]*Language]bool
	meeting   map[[2]*Language]bool

	restLang [dimensions]*Language // what the named atoms cover together
}

type residualKey struct {
	id                        int
	method, host, entry, grpc int
}

// cellOf is one atom of each dimension.
type cellOf [dimensions]int

const (
	otherMethod = "(another)"
	otherHost   = "(any other host)"
	otherEntry  = "(any other)"
)

var methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"}

// New makes the algebra for a deployment, seen from the region own.
func New(t *residency.Table, top *topology.Topology, own topology.Region) *Algebra {
	a := &Algebra{
		interned: map[string]*Formula{}, languages: map[string]*Language{},
		residuals: map[residualKey]*Formula{}, answers: map[string][]pair{}, classSets: map[string][]Truth{}, exceeding: map[[2]*Language]bool{}, meeting: map[[2]*Language]bool{},
	}
	a.None, a.Unknown, a.Whole = a.constant(No), a.constant(Maybe), a.constant(Yes)
	a.addAtoms(Method, append(slices.Clone(methods), tableMethods(t)...), otherMethod, regexp.QuoteMeta)
	a.addAtoms(Host, hostNames(t, top, own), otherHost, HostRegex)
	a.addAtoms(Entry, regionNames(top), otherEntry, func(r string) string {
		return `spiffe://` + regexp.QuoteMeta(trustDomain(top)) + `/` + regexp.QuoteMeta(r) + `/.*`
	})
	a.addAtoms(GRPC, []string{"grpc"}, "other content", func(string) string { return `application/grpc(\+.*)?` })
	return a
}

func regionNames(top *topology.Topology) []string {
	var out []string
	for _, r := range top.Regions {
		out = append(out, r.Name)
	}
	return out
}

func trustDomain(top *topology.Topology) string {
	if top.TrustDomain == "" {
		return topology.TrustDomain
	}
	return top.TrustDomain
}

// HostRegex is the regular expression of a host name: a host is the same with a port, and in any case.
func HostRegex(h string) string { return `(?i)` + regexp.QuoteMeta(h) + `(:[0-9]*)?` }

// RegionsOf are the regions that a host name speaks for, seen from the region own: all
// of them where it names none.
func RegionsOf(top *topology.Topology, own topology.Region, name string) []string {
	if slices.ContainsFunc(own.Aliases, func(a string) bool { return HostRegex(a) == HostRegex(name) }) {
		return []string{own.Name}
	}
	var out []string
	for _, r := range top.Regions {
		if r.Host != "" && HostRegex(r.Host) == HostRegex(name) {
			out = append(out, r.Name)
		}
	}
	if len(out) > 0 {
		return out
	}
	return regionNames(top)
}

func tableMethods(t *residency.Table) []string {
	var out []string
	for _, r := range t.Routes() {
		if r.Match.Method != "" && !slices.Contains(methods, r.Match.Method) {
			out = append(out, r.Match.Method)
		}
	}
	return out
}

// hostNames are the names that say something: every region's public host, this
// region's aliases, and hosts that class routes name.
func hostNames(t *residency.Table, top *topology.Topology, own topology.Region) []string {
	names := slices.Clone(own.Aliases)
	for _, r := range top.Regions {
		names = append(names, r.Host)
	}
	for _, r := range t.Routes() {
		names = append(names, r.Match.Host)
	}
	for i := range names {
		names[i] = strings.ToLower(names[i])
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(s string) bool { return s == "" })
}

func (a *Algebra) addAtoms(d Dimension, names []string, other string, expr func(string) string) {
	slices.Sort(names)
	names = slices.Compact(names)
	var all []string
	for _, n := range names {
		a.AtomLanguages[d] = append(a.AtomLanguages[d], a.Compile(expr(n), false))
		all = append(all, `(?:`+expr(n)+`)`)
	}
	if len(all) == 0 {
		all = []string{`[^\x00-\x{10FFFF}]`}
	}
	a.restLang[d] = a.Compile(strings.Join(all, "|"), false)
	a.Atoms[d] = append(slices.Clone(names), other)
}

// Exceeds is the function Exceeds for two languages of this algebra, worked out once.
func (a *Algebra) Exceeds(l, other *Language) bool {
	k := [2]*Language{l, other}
	out, ok := a.exceeding[k]
	if !ok {
		out = Exceeds(l, other)
		a.exceeding[k] = out
	}
	return out
}

// Overlaps tells whether some text may be in both of two languages of this algebra,
// worked out once.
func (a *Algebra) Overlaps(l, other *Language) bool {
	k := [2]*Language{l, other}
	out, ok := a.meeting[k]
	if !ok {
		out = overlap(l, other)
		a.meeting[k] = out
	}
	return out
}

// Compile reads a regular expression that must match the whole text, once; nil for what cannot be read.
func (a *Algebra) Compile(expr string, pathOnly bool) *Language {
	key := fmt.Sprint(pathOnly, expr)
	if l, ok := a.languages[key]; ok {
		return l
	}
	l := compile(expr, pathOnly)
	if l != nil {
		l.id = len(a.languages)
	}
	a.languages[key] = l
	return l
}

func (a *Algebra) intern(key string, f Formula) *Formula {
	if old := a.interned[key]; old != nil {
		return old
	}
	f.id = len(a.interned)
	for _, kid := range f.kids {
		for d := range kid.uses {
			for _, u := range kid.uses[d] {
				if !slices.Contains(f.uses[d], u) {
					f.uses[d] = append(f.uses[d], u)
				}
			}
		}
		for _, l := range kid.path {
			if !slices.Contains(f.path, l) {
				f.path = append(f.path, l)
			}
		}
	}
	out := &f
	if f.op == opSet {
		out.uses[f.dim] = []*Formula{out}
	}
	if f.op == opPath {
		out.path = []*Language{f.lang}
	}
	a.interned[key] = out
	return out
}

func (a *Algebra) constant(v Truth) *Formula {
	return a.intern(fmt.Sprint("c", v), Formula{op: opConst, val: v})
}

// InLanguage asks whether the path (with its query) is in l.
func (a *Algebra) InLanguage(l *Language) *Formula {
	if l == nil {
		return a.Unknown
	}
	return a.intern(fmt.Sprint("p", l.id), Formula{op: opPath, lang: l})
}

// InSet asks whether the atom of d is in a set; set has one truth for each atom.
func (a *Algebra) InSet(d Dimension, set []Truth) *Formula {
	if !slices.ContainsFunc(set, func(v Truth) bool { return v != set[0] }) {
		return a.constant(set[0])
	}
	return a.intern(fmt.Sprint("s", d, set), Formula{op: opSet, dim: d, set: set})
}

// Not negates.
func (a *Algebra) Not(f *Formula) *Formula {
	switch f.op {
	case opConst:
		return a.constant(Yes - f.val)
	case opNot:
		return f.kids[0]
	}
	return a.intern(fmt.Sprint("!", f.id), Formula{op: opNot, kids: []*Formula{f}})
}

// And is the conjunction.
func (a *Algebra) And(list ...*Formula) *Formula { return a.junction(opAnd, No, list) }

// Or is the disjunction.
func (a *Algebra) Or(list ...*Formula) *Formula { return a.junction(opOr, Yes, list) }

// junction is a conjunction or disjunction; absorb is the value that decides it.
func (a *Algebra) junction(op operator, absorb Truth, list []*Formula) *Formula {
	var kids []*Formula
	for _, f := range list {
		switch {
		case f.op == opConst && f.val == absorb:
			return f
		case f.op == opConst && f.val == Yes-absorb || slices.Contains(kids, f):
		case f.op == op:
			for _, kid := range f.kids {
				if !slices.Contains(kids, kid) {
					kids = append(kids, kid)
				}
			}
		default:
			kids = append(kids, f)
		}
	}
	switch len(kids) {
	case 0:
		return a.constant(Yes - absorb)
	case 1:
		return kids[0]
	}
	var key strings.Builder
	key.WriteByte(byte(op))
	for _, kid := range kids {
		fmt.Fprint(&key, ",", kid.id)
	}
	return a.intern(key.String(), Formula{op: op, kids: kids})
}

// residual is what f still asks of the path in one cell.
func (a *Algebra) residual(f *Formula, c cellOf) *Formula {
	if f.op == opConst || f.op == opPath {
		return f
	}
	key := residualKey{f.id, -1, -1, -1, -1}
	for d, at := range map[Dimension]*int{Method: &key.method, Host: &key.host, Entry: &key.entry, GRPC: &key.grpc} {
		if len(f.uses[d]) > 0 {
			*at = c[d]
		}
	}
	if out := a.residuals[key]; out != nil {
		return out
	}
	var out *Formula
	switch f.op {
	case opSet:
		out = a.constant(f.set[c[f.dim]])
	case opNot:
		out = a.Not(a.residual(f.kids[0], c))
	default:
		kids := make([]*Formula, len(f.kids))
		for i, kid := range f.kids {
			kids[i] = a.residual(kid, c)
		}
		if f.op == opAnd {
			out = a.And(kids...)
		} else {
			out = a.Or(kids...)
		}
	}
	a.residuals[key] = out
	return out
}

// eval is the truth of a residual where the languages answer as told.
func (f *Formula) eval(answer map[*Language]Truth) Truth {
	switch f.op {
	case opConst:
		return f.val
	case opPath:
		return answer[f.lang]
	case opNot:
		return Yes - f.kids[0].eval(answer)
	case opAnd:
		out := Yes
		for _, kid := range f.kids {
			out = min(out, kid.eval(answer))
		}
		return out
	case opOr:
		out := No
		for _, kid := range f.kids {
			out = max(out, kid.eval(answer))
		}
		return out
	}
	return Maybe
}

// Membership is the truth, for each atom of a dimension, of "the text is in l".
func (a *Algebra) Membership(d Dimension, l *Language) []Truth {
	out := make([]Truth, len(a.Atoms[d]))
	if l == nil {
		for i := range out {
			out[i] = Maybe
		}
		return out
	}
	key := fmt.Sprint(d, ":", l.id)
	if set := a.classSets[key]; set != nil {
		return set
	}
	for i, atom := range a.AtomLanguages[d] {
		switch {
		case !overlap(l, atom):
		case l.exact && !Exceeds(atom, l):
			out[i] = Yes
		default:
			out[i] = Maybe
		}
	}
	if Exceeds(l, a.restLang[d]) {
		out[len(out)-1] = Maybe
	}
	a.classSets[key] = out
	return out
}
