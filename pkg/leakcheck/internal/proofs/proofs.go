// Package proofs remembers what was proved, so that equal questions are answered
// once. A question is named by everything that its answer depends on; questions
// are compared whole, never by a hash of them alone. Its memory is bounded. The
// package is pure; a Memory must not be used concurrently.
package proofs

import (
	"encoding/binary"
	"maps"
	"slices"

	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// most is how many bytes of questions a Memory holds when a new check begins.
const most = 32 << 20

// Content is one branch of a decision tree, whoever it is taken by.
type Content struct {
	ID int
	Walk
	Walked bool // whether Walk is known
}

// Walk notes, of a branch that is walked, what a question about it must name.
type Walk struct {
	// Clusters are those that its routes lead to, each once.
	Clusters []string
	// Odd tells that what it leads to depends on more than a question can name, so
	// that it must be walked each time.
	Odd bool
}

// Leads notes a cluster; a nil Walk notes nothing.
func (w *Walk) Leads(cluster string) {
	if w != nil && !slices.Contains(w.Clusters, cluster) {
		w.Clusters = append(w.Clusters, cluster)
	}
}

// IsOdd notes that the branch is odd.
func (w *Walk) IsOdd() {
	if w != nil {
		w.Odd = true
	}
}

// Proof is what a walk without any finding has shown.
type Proof struct{ Forwards, Callers bool }

// Question names everything that the proof of a home's branch depends on, by IDs:
// the branch; where it hangs; who may name the home; what the table says of the
// home; where the clusters of the branch lead, see Pair.
type Question struct{ Content, Frame, From, Says, Leads int }

// Memory holds branches and proofs. The zero Memory is ready.
type Memory struct {
	ids      map[string]int
	pairs    map[[2]int]int
	contents map[string]*Content
	proofs   map[Question]Proof
	values   map[*byte]value // by where they lie
	held     int
	next     int
	scratch  []byte
	// Messages by where they lie: those of the present table, and of the last.
	lying, lain       map[proto.Message]int
	branches, earlier map[*xdsmatcherv3.Matcher_OnMatch]*Content
}

// value is what lies at a place.
type value struct{ length, id int }

// begin makes room; it must be called when no ID of this Memory is in use, and
// tells whether all were forgotten.
func (m *Memory) begin() (forgotten bool) {
	if m.ids != nil && m.held < most {
		return false
	}
	*m = Memory{
		ids: map[string]int{}, pairs: map[[2]int]int{}, contents: map[string]*Content{}, proofs: map[Question]Proof{}, values: map[*byte]value{},
		lying: map[proto.Message]int{}, branches: map[*xdsmatcherv3.Matcher_OnMatch]*Content{},
	}
	return true
}

// turn lets go of the messages that the last table did not use.
func (m *Memory) turn() {
	m.lain, m.lying = m.lying, map[proto.Message]int{}
	m.earlier, m.branches = m.branches, map[*xdsmatcherv3.Matcher_OnMatch]*Content{}
}

// ID is a number for a text: the same for the same text until all is forgotten.
func (m *Memory) ID(text []byte) int {
	if id, ok := m.ids[string(text)]; ok {
		return id
	}
	m.next++
	m.ids[string(text)] = m.next
	m.held += len(text)
	return m.next
}

// Pair is a number for two, as ID is for a text.
func (m *Memory) Pair(a, b int) int {
	k := [2]int{a, b}
	id, ok := m.pairs[k]
	if !ok {
		m.next++
		id = m.next
		m.pairs[k] = id
		m.held += 16
	}
	return id
}

// Branch is what a branch consists of; nil for shapes that Meaning does not know.
// One that lies where it lay is not read again.
func (m *Memory) Branch(on *xdsmatcherv3.Matcher_OnMatch) *Content {
	c, known := m.branches[on]
	if known {
		return c
	}
	if c, known = m.earlier[on]; !known {
		meaning, ok := m.Meaning(m.scratch[:0], on)
		m.scratch = meaning
		if ok {
			c = m.content(meaning)
		}
	}
	m.branches[on] = c
	return c
}

// content is the branch with this meaning, see Meaning.
func (m *Memory) content(meaning []byte) *Content {
	if c, ok := m.contents[string(meaning)]; ok {
		return c
	}
	m.next++
	c := &Content{ID: m.next}
	m.contents[string(meaning)] = c
	m.held += len(meaning)
	return c
}

// Proof returns what was proved for a question.
func (m *Memory) Proof(q Question) (Proof, bool) {
	p, ok := m.proofs[q]
	return p, ok
}

// Keep remembers a proof.
func (m *Memory) Keep(q Question, p Proof) {
	m.proofs[q] = p
	m.held += 40
}

// Hold counts bytes that are held elsewhere until all is forgotten.
func (m *Memory) Hold(bytes int) { m.held += bytes }

// Number appends a number to a question, Text a text: no two sequences of them
// give the same bytes.
func Number(b []byte, n int) []byte { return binary.AppendVarint(b, int64(n)) }

// Text appends a text.
func Text(b []byte, s string) []byte { return append(Number(b, len(s)), s...) }

// Bit appends a truth.
func Bit(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

func texts(b []byte, list []string) []byte {
	b = Number(b, len(list))
	for _, s := range list {
		b = Text(b, s)
	}
	return b
}

// Meaning appends everything that a walk of a branch reads of it. It is false for
// shapes that it does not know. Packed messages stand for their bytes by an ID.
func (m *Memory) Meaning(b []byte, on *xdsmatcherv3.Matcher_OnMatch) ([]byte, bool) {
	if on.GetKeepMatching() {
		return b, false
	}
	switch {
	case on.GetMatcher() != nil:
		return m.tree(append(b, 'm'), on.GetMatcher())
	case on.GetAction() != nil:
		return m.message(append(b, 'a'), on.GetAction().GetTypedConfig()), true
	}
	return append(b, '-'), true
}

func (m *Memory) tree(b []byte, x *xdsmatcherv3.Matcher) ([]byte, bool) {
	switch t := x.GetMatcherType().(type) {
	case nil:
		b = append(b, '-')
	case *xdsmatcherv3.Matcher_MatcherTree_:
		if t.MatcherTree.GetExactMatchMap() == nil {
			return b, false
		}
		entries := t.MatcherTree.GetExactMatchMap().GetMap()
		b = Number(m.message(append(b, 't'), t.MatcherTree.GetInput().GetTypedConfig()), len(entries))
		for _, key := range slices.Sorted(maps.Keys(entries)) {
			var ok bool
			if b, ok = m.Meaning(Text(b, key), entries[key]); !ok {
				return b, false
			}
		}
	case *xdsmatcherv3.Matcher_MatcherList_:
		b = Number(append(b, 'l'), len(t.MatcherList.GetMatchers()))
		for _, f := range t.MatcherList.GetMatchers() {
			var ok bool
			if b, ok = m.predicate(b, f.GetPredicate()); !ok {
				return b, false
			}
			if b, ok = m.Meaning(b, f.GetOnMatch()); !ok {
				return b, false
			}
		}
	default:
		return b, false
	}
	if x.GetOnNoMatch() == nil {
		return append(b, '-'), true
	}
	return m.Meaning(append(b, '+'), x.GetOnNoMatch())
}

// predicate appends what a walk reads of one. It knows those on headers: what others
// mean may depend on more than their bytes.
func (m *Memory) predicate(b []byte, p *xdsmatcherv3.Matcher_MatcherList_Predicate) ([]byte, bool) {
	var list []*xdsmatcherv3.Matcher_MatcherList_Predicate
	switch t := p.GetMatchType().(type) {
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_:
		in := t.SinglePredicate.GetInput().GetTypedConfig()
		text, err := proto.MarshalOptions{Deterministic: true}.Marshal(t.SinglePredicate.GetValueMatch())
		if err != nil || in.GetTypeUrl() != headerInput || t.SinglePredicate.GetCustomMatch() != nil {
			return b, false
		}
		return Text(m.message(append(b, 's'), in), string(text)), true
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_AndMatcher:
		b, list = append(b, '&'), t.AndMatcher.GetPredicate()
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_OrMatcher:
		b, list = append(b, '|'), t.OrMatcher.GetPredicate()
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_NotMatcher:
		b, list = append(b, '!'), []*xdsmatcherv3.Matcher_MatcherList_Predicate{t.NotMatcher}
	default:
		return b, false
	}
	b = Number(b, len(list))
	for _, q := range list {
		var ok bool
		if b, ok = m.predicate(b, q); !ok {
			return b, false
		}
	}
	return b, true
}

const headerInput = "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput"

func (m *Memory) message(b []byte, a *anypb.Any) []byte {
	return Number(Text(b, a.GetTypeUrl()), m.packed(a.GetValue()))
}

// packed is ID for the bytes of a packed message. Bytes that lie where they lay
// are not read again: a message that changes is packed anew, and what lies here
// is held, so that nothing else can come to lie in its place.
func (m *Memory) packed(b []byte) int {
	if len(b) == 0 {
		return m.ID(b)
	}
	v, ok := m.values[&b[0]]
	if !ok || v.length != len(b) {
		v = value{len(b), m.ID(b)}
		m.values[&b[0]] = v
		m.held += cap(b)
	}
	return v.id
}
