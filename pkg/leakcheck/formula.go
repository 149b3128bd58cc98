package leakcheck

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// truth is three-valued: what cannot be known is maybe.
type truth int8

const (
	no truth = iota
	maybe
	yes
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

// The dimensions of a request beside its path. Each has finitely many atoms,
// the last of which stands for everything else.
type dimension int

const (
	method dimension = iota
	host
	entry
	grpc
	dimensions
)

// formula is a condition on a request. Formulas are interned: equal conditions
// are the same pointer.
type formula struct {
	id   int
	op   operator
	val  truth // opConst
	kids []*formula
	lang *language // opPath
	dim  dimension // opSet
	set  []truth   // opSet: by atom
	uses [dimensions][]*formula
	path []*language
}

// algebra interns formulas and languages and answers questions about them.
type algebra struct {
	interned  map[string]*formula
	languages map[string]*language
	residuals map[residualKey]*formula
	answers   map[string][]pair
	classSets map[string][]truth

	atoms     [dimensions][]string
	atomLangs [dimensions][]*language
	restLang  [dimensions]*language // what the named atoms cover together

	whole, none, unknown *formula
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

func newAlgebra(t *residency.Table, top *topology.Topology, own topology.Region) *algebra {
	a := &algebra{
		interned: map[string]*formula{}, languages: map[string]*language{},
		residuals: map[residualKey]*formula{}, answers: map[string][]pair{}, classSets: map[string][]truth{},
	}
	a.none, a.unknown, a.whole = a.constant(no), a.constant(maybe), a.constant(yes)
	a.addAtoms(method, append(slices.Clone(methods), tableMethods(t)...), otherMethod, regexp.QuoteMeta)
	a.addAtoms(host, hostNames(t, top, own), otherHost, hostRegex)
	var regions []string
	for _, r := range top.Regions {
		regions = append(regions, r.Name)
	}
	a.addAtoms(entry, regions, otherEntry, func(r string) string {
		return `spiffe://` + regexp.QuoteMeta(trustDomain(top)) + `/` + regexp.QuoteMeta(r) + `/.*`
	})
	a.addAtoms(grpc, []string{"grpc"}, "other content", func(string) string { return `application/grpc(\+.*)?` })
	return a
}

func trustDomain(top *topology.Topology) string {
	if top.TrustDomain == "" {
		return topology.TrustDomain
	}
	return top.TrustDomain
}

// hostRegex: a host is the same with a port, and in any case.
func hostRegex(h string) string { return `(?i)` + regexp.QuoteMeta(h) + `(:[0-9]*)?` }

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

func (a *algebra) addAtoms(d dimension, names []string, other string, expr func(string) string) {
	slices.Sort(names)
	names = slices.Compact(names)
	var all []string
	for _, n := range names {
		a.atomLangs[d] = append(a.atomLangs[d], a.language(expr(n), false))
		all = append(all, `(?:`+expr(n)+`)`)
	}
	if len(all) == 0 {
		all = []string{`[^\x00-\x{10FFFF}]`}
	}
	a.restLang[d] = a.language(strings.Join(all, "|"), false)
	a.atoms[d] = append(slices.Clone(names), other)
}

// language compiles once; nil for what cannot be read.
func (a *algebra) language(expr string, pathOnly bool) *language {
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

func (a *algebra) intern(key string, f formula) *formula {
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
		out.uses[f.dim] = []*formula{out}
	}
	if f.op == opPath {
		out.path = []*language{f.lang}
	}
	a.interned[key] = out
	return out
}

func (a *algebra) constant(v truth) *formula {
	return a.intern(fmt.Sprint("c", v), formula{op: opConst, val: v})
}

// inLanguage asks whether the path (with its query) is in l.
func (a *algebra) inLanguage(l *language) *formula {
	if l == nil {
		return a.unknown
	}
	return a.intern(fmt.Sprint("p", l.id), formula{op: opPath, lang: l})
}

func (a *algebra) inSet(d dimension, set []truth) *formula {
	if !slices.ContainsFunc(set, func(v truth) bool { return v != set[0] }) {
		return a.constant(set[0])
	}
	return a.intern(fmt.Sprint("s", d, set), formula{op: opSet, dim: d, set: set})
}

func (a *algebra) not(f *formula) *formula {
	switch f.op {
	case opConst:
		return a.constant(yes - f.val)
	case opNot:
		return f.kids[0]
	}
	return a.intern(fmt.Sprint("!", f.id), formula{op: opNot, kids: []*formula{f}})
}

func (a *algebra) and(list ...*formula) *formula { return a.junction(opAnd, no, list) }
func (a *algebra) or(list ...*formula) *formula  { return a.junction(opOr, yes, list) }

// junction is a conjunction or disjunction; absorb is the value that decides it.
func (a *algebra) junction(op operator, absorb truth, list []*formula) *formula {
	var kids []*formula
	for _, f := range list {
		switch {
		case f.op == opConst && f.val == absorb:
			return f
		case f.op == opConst && f.val == yes-absorb || slices.Contains(kids, f):
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
		return a.constant(yes - absorb)
	case 1:
		return kids[0]
	}
	var key strings.Builder
	key.WriteByte(byte(op))
	for _, kid := range kids {
		fmt.Fprint(&key, ",", kid.id)
	}
	return a.intern(key.String(), formula{op: op, kids: kids})
}

// residual is what f still asks of the path in one cell.
func (a *algebra) residual(f *formula, c cellOf) *formula {
	if f.op == opConst || f.op == opPath {
		return f
	}
	key := residualKey{f.id, -1, -1, -1, -1}
	for d, at := range map[dimension]*int{method: &key.method, host: &key.host, entry: &key.entry, grpc: &key.grpc} {
		if len(f.uses[d]) > 0 {
			*at = c[d]
		}
	}
	if out := a.residuals[key]; out != nil {
		return out
	}
	var out *formula
	switch f.op {
	case opSet:
		out = a.constant(f.set[c[f.dim]])
	case opNot:
		out = a.not(a.residual(f.kids[0], c))
	default:
		kids := make([]*formula, len(f.kids))
		for i, kid := range f.kids {
			kids[i] = a.residual(kid, c)
		}
		if f.op == opAnd {
			out = a.and(kids...)
		} else {
			out = a.or(kids...)
		}
	}
	a.residuals[key] = out
	return out
}

// eval is the truth of a residual where the languages answer as told.
func (f *formula) eval(answer map[*language]truth) truth {
	switch f.op {
	case opConst:
		return f.val
	case opPath:
		return answer[f.lang]
	case opNot:
		return yes - f.kids[0].eval(answer)
	case opAnd:
		out := yes
		for _, kid := range f.kids {
			out = min(out, kid.eval(answer))
		}
		return out
	case opOr:
		out := no
		for _, kid := range f.kids {
			out = max(out, kid.eval(answer))
		}
		return out
	}
	return maybe
}

// membership is the truth, for each atom of a dimension, of "the text is in l".
func (a *algebra) membership(d dimension, l *language) []truth {
	out := make([]truth, len(a.atoms[d]))
	if l == nil {
		for i := range out {
			out[i] = maybe
		}
		return out
	}
	key := fmt.Sprint(d, ":", l.id)
	if set := a.classSets[key]; set != nil {
		return set
	}
	for i, atom := range a.atomLangs[d] {
		switch {
		case !overlap(l, atom):
		case l.exact && !exceeds(atom, l):
			out[i] = yes
		default:
			out[i] = maybe
		}
	}
	if exceeds(l, a.restLang[d]) {
		out[len(out)-1] = maybe
	}
	a.classSets[key] = out
	return out
}
