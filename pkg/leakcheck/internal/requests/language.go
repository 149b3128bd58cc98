package requests

import (
	"encoding/binary"
	"regexp/syntax"
	"slices"
)

// The alphabet: tab, the printable ASCII characters, and one symbol for
// everything above. Other control characters cannot occur in a header.
const (
	symbols  = 97
	above    = 96 // the symbol for every rune from DEL on
	question = 1 + '?' - ' '
)

func symbolRange(s int) (lo, hi rune) {
	switch s {
	case 0:
		return '\t', '\t'
	case above:
		return 0x7f, 0x10ffff
	}
	return rune(' ' + s - 1), rune(' ' + s - 1)
}

// Language is a regular language as a deterministic automaton that is built as
// far as it is walked. It is total: state dead accepts nothing.
type Language struct {
	id    int
	prog  *syntax.Prog
	exact bool // false: an upper bound only, because of an odd assertion
	// pathOnly: the language speaks of the path; a query may follow.
	pathOnly bool
	classOf  [symbols]uint8 // symbols that no transition tells apart
	ids      map[string]int32
	states   [][]uint32
	accepts  []bool
	next     [][]int32 // by state and symbol class; -1 where not yet known
	first    []int     // one symbol of each class
}

const (
	dead  int32 = 0 // accepts nothing, for ever
	whole int32 = 1 // accepts everything
)

// compile reads a regular expression that must match the whole text, as Envoy
// does. It returns nil for one that it cannot read.
func compile(expr string, pathOnly bool) *Language {
	re, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil
	}
	prog, err := syntax.Compile(trimAnchors(re).Simplify())
	if err != nil {
		return nil
	}
	l := &Language{prog: prog, pathOnly: pathOnly, exact: true, ids: map[string]int32{}}
	for _, in := range prog.Inst {
		if in.Op == syntax.InstEmptyWidth {
			l.exact = false
		}
	}
	l.partition()
	l.add("d", nil, false)
	l.add("w", nil, true)
	l.state(l.closure([]uint32{uint32(prog.Start)}))
	return l
}

// trimAnchors drops ^ and $ at the very ends, where they say nothing new.
func trimAnchors(re *syntax.Regexp) *syntax.Regexp {
	if re.Op != syntax.OpConcat {
		return re
	}
	sub := re.Sub
	if len(sub) > 1 && (sub[0].Op == syntax.OpBeginText || sub[0].Op == syntax.OpBeginLine) {
		sub = sub[1:]
	}
	if n := len(sub); n > 1 && (sub[n-1].Op == syntax.OpEndText || sub[n-1].Op == syntax.OpEndLine) {
		sub = sub[:n-1]
	}
	out := *re
	out.Sub = slices.Clone(sub)
	return &out
}

const initial int32 = 2 // the state of the empty text

func (l *Language) add(key string, pcs []uint32, accept bool) int32 {
	id := int32(len(l.states))
	l.ids[key] = id
	row := make([]int32, len(l.first))
	for i := range row {
		row[i] = -1
	}
	l.states, l.accepts, l.next = append(l.states, pcs), append(l.accepts, accept), append(l.next, row)
	return id
}

// closure follows everything that reads no character. An assertion in the
// middle is followed too: that can only widen the language, see exact.
func (l *Language) closure(pcs []uint32) []uint32 {
	var out []uint32
	done := map[uint32]bool{}
	for len(pcs) > 0 {
		pc := pcs[len(pcs)-1]
		pcs = pcs[:len(pcs)-1]
		if done[pc] {
			continue
		}
		done[pc] = true
		switch in := l.prog.Inst[pc]; in.Op {
		case syntax.InstAlt, syntax.InstAltMatch:
			pcs = append(pcs, in.Out, in.Arg)
		case syntax.InstCapture, syntax.InstNop, syntax.InstEmptyWidth:
			pcs = append(pcs, in.Out)
		case syntax.InstFail:
		default:
			out = append(out, pc)
		}
	}
	slices.Sort(out)
	return out
}

// state returns the number of a closed set of program counters.
func (l *Language) state(pcs []uint32) int32 {
	if len(pcs) == 0 && len(l.states) > int(initial) {
		return dead
	}
	key := make([]byte, 0, 4*len(pcs))
	accept := false
	for _, pc := range pcs {
		key = binary.BigEndian.AppendUint32(key, pc)
		accept = accept || l.prog.Inst[pc].Op == syntax.InstMatch
	}
	if id, ok := l.ids[string(key)]; ok && len(l.states) > int(initial) {
		return id
	}
	return l.add(string(key), pcs, accept)
}

func (l *Language) step(s int32, symbol int) int32 {
	if s == dead || s == whole {
		return s
	}
	if l.pathOnly && symbol == question {
		if l.accepts[s] {
			return whole
		}
		return dead
	}
	c := l.classOf[symbol]
	if n := l.next[s][c]; n >= 0 {
		return n
	}
	var out []uint32
	for _, pc := range l.states[s] {
		if in := &l.prog.Inst[pc]; reads(in, l.first[c]) {
			out = append(out, in.Out)
		}
	}
	n := l.state(l.closure(out))
	l.next[s][c] = n
	return n
}

// reads tells whether an instruction takes the symbol.
func reads(in *syntax.Inst, symbol int) bool {
	lo, hi := symbolRange(symbol)
	switch in.Op {
	case syntax.InstRune, syntax.InstRune1, syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
	default:
		return false
	}
	if symbol != above {
		return in.MatchRune(lo)
	}
	if in.Op == syntax.InstRuneAny || in.Op == syntax.InstRuneAnyNotNL {
		return true
	}
	if len(in.Rune) == 1 {
		return in.Rune[0] >= lo
	}
	for i := 0; i+1 < len(in.Rune); i += 2 {
		if in.Rune[i+1] >= lo && in.Rune[i] <= hi {
			return true
		}
	}
	return false
}

// partition groups the symbols that every instruction treats alike. A range
// that splits the runes above ASCII makes the language an upper bound.
func (l *Language) partition() {
	signature := make([][]byte, symbols)
	for i := range l.prog.Inst {
		in := &l.prog.Inst[i]
		switch in.Op {
		case syntax.InstRune, syntax.InstRune1, syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
		default:
			continue
		}
		for s := range symbols {
			b := byte(0)
			if reads(in, s) {
				b = 1
			}
			signature[s] = append(signature[s], b)
		}
		if reads(in, above) && !in.MatchRune(0x7f) || reads(in, above) && !in.MatchRune(0x10ffff) {
			l.exact = false
		}
	}
	seen := map[string]uint8{}
	for s := range symbols {
		c, ok := seen[string(signature[s])]
		if !ok {
			c = uint8(len(seen))
			seen[string(signature[s])] = c
			l.first = append(l.first, s)
		}
		l.classOf[s] = c
	}
}

// representatives returns one symbol of each class that some language tells apart.
func representatives(list []*Language) []int {
	seen := map[string]bool{}
	var out []int
	sig := make([]byte, len(list)+1)
	for s := range symbols {
		for i, l := range list {
			sig[i] = l.classOf[s]
		}
		sig[len(list)] = 0
		if s == question {
			sig[len(list)] = 1
		}
		if !seen[string(sig)] {
			seen[string(sig)] = true
			out = append(out, s)
		}
	}
	return out
}

// walkLimit bounds the joint states of one question; what needs more is
// answered by "anything is possible".
const walkLimit = 200_000

// walk visits every combination of answers that some text gets from the
// languages, until visit returns false. It reports whether it saw them all.
// Where the first deciding languages have made up their minds, the others are
// not followed any further and answer maybe.
func walk(list []*Language, deciding int, visit func(answers []Truth) bool) bool {
	w := &jointWalk{list: list, reps: representatives(list), seen: map[string]bool{}, answered: map[string]bool{}}
	w.at, w.next, w.key = make([]int32, len(list)), make([]int32, len(list)), make([]byte, 2*len(list))
	w.answers, w.bits = make([]Truth, len(list)), make([]byte, len(list))
	for i := range w.next {
		w.next[i] = initial
	}
	w.add()
	for head := 0; head < len(w.seen); head++ {
		copy(w.at, w.queue[head*len(list):])
		settled := !slices.ContainsFunc(w.settled(deciding), func(b bool) bool { return !b })
		if w.fresh(settled) && !visit(w.answers) {
			return true
		}
		if !settled && !w.expand() {
			return false
		}
	}
	return true
}

// jointWalk is the state of a walk; its joint states stand one after the other
// in queue.
type jointWalk struct {
	list           []*Language
	reps           []int
	at, next       []int32
	key, bits      []byte
	answers        []Truth
	queue          []int32
	seen, answered map[string]bool
}

// settled tells of each of the first languages whether its answer is final.
func (w *jointWalk) settled(deciding int) []bool {
	out := make([]bool, deciding)
	for i := range out {
		out[i] = w.list[i].sink(w.at[i])
	}
	return out
}

// fresh works out the answers and reports whether they are new.
func (w *jointWalk) fresh(settled bool) bool {
	for i, l := range w.list {
		switch {
		case settled && !l.sink(w.at[i]):
			w.answers[i] = Maybe
		case !l.accepts[w.at[i]]:
			w.answers[i] = No
		case l.exact:
			w.answers[i] = Yes
		default:
			w.answers[i] = Maybe
		}
		w.bits[i] = byte(w.answers[i])
	}
	if w.answered[string(w.bits)] {
		return false
	}
	w.answered[string(w.bits)] = true
	return true
}

// expand queues what one more character leads to; false when there is too much.
func (w *jointWalk) expand() bool {
	for _, s := range w.reps {
		for i, l := range w.list {
			w.next[i] = l.step(w.at[i], s)
			if w.next[i] > maxStates {
				return false
			}
		}
		w.add()
	}
	return len(w.seen) < walkLimit
}

func (w *jointWalk) add() {
	for i, s := range w.next {
		binary.LittleEndian.PutUint16(w.key[2*i:], uint16(s))
	}
	if !w.seen[string(w.key)] {
		w.seen[string(w.key)] = true
		w.queue = append(w.queue, w.next...)
	}
}

// sink tells whether the language stays in a state whatever follows.
func (l *Language) sink(s int32) bool {
	if s == dead || s == whole {
		return true
	}
	if l.pathOnly {
		return false
	}
	for _, symbol := range l.first {
		if l.step(s, symbol) != s {
			return false
		}
	}
	return true
}

// maxStates bounds the states of one language that are told apart.
const maxStates = 1<<16 - 1

// overlap tells whether some text is in a and in b.
func overlap(a, b *Language) bool { return possible(a, b, true) }

// Exceeds tells whether some text is in a and not in b.
func Exceeds(a, b *Language) bool { return !b.exact || possible(a, b, false) }

func possible(a, b *Language, inB bool) bool {
	found := false
	complete := walk([]*Language{a, b}, 2, func(answers []Truth) bool {
		found = answers[0] != No && (answers[1] != No) == inB
		return !found
	})
	return found || !complete
}
