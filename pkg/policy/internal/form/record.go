package form

import (
	"slices"

	"github.com/domicile-dev/domicile/pkg/policy/internal/yamlpos"
	"github.com/domicile-dev/domicile/pkg/policy/shape"
)

// Recorder makes a Reader note what it asks for, in place of reading: every field
// is there, every list has one item, and every map one more entry, in case the
// caller reads free keys. What a caller asks for may depend on what it has read;
// so it is run several times, and answered differently each time. Nothing is
// reported while recording.
type Recorder struct {
	Root *shape.Shape

	pass   int
	shapes map[*node]*shape.Shape
	seen   map[*shape.Shape]int            // how often an object was read
	needed map[*shape.Shape]map[string]int // how often a field of it was required
}

// Record runs read as often as it takes, each time on a new Reader of the same
// file, and returns the shape of what it has read. Read is given an object that
// stands for the whole file.
func Record(read func(r *Reader, root *Object)) *shape.Shape {
	const passes = 48 // more than twice the words of the longest closed set
	rec := &Recorder{Root: &shape.Shape{}, seen: map[*shape.Shape]int{}, needed: map[*shape.Shape]map[string]int{}}
	for rec.pass = range passes {
		rec.shapes = map[*node]*shape.Shape{}
		r := &Reader{Report: func(Finding) {}, record: rec}
		read(r, r.Object(rec.node(rec.Root), "the file"))
	}
	rec.finish(rec.Root)
	return rec.Root
}

// node makes a value that stands for s.
func (rec *Recorder) node(s *shape.Shape) *node {
	n := &node{Kind: yamlpos.Plain, Value: "a", Line: 1, Column: 1}
	rec.shapes[n] = s
	return n
}

// finish takes the entries with free keys out of the maps that have none, and
// marks what was always required.
func (rec *Recorder) finish(s *shape.Shape) {
	if s == nil {
		return
	}
	if s.Keys != nil && s.Keys.Type == "" {
		s.Keys, s.Values = nil, nil
	}
	// A field that is looked at and never read is one that is refused.
	s.Fields = slices.DeleteFunc(s.Fields, func(f shape.Field) bool { return f.Shape.Type == "" })
	for i, f := range s.Fields {
		s.Fields[i].Required = rec.needed[s][f.Name] >= rec.seen[s]
		rec.finish(f.Shape)
	}
	rec.finish(s.Values)
	rec.finish(s.Items)
}

func (rec *Recorder) object(r *Reader, n *node, name string) *Object {
	s := rec.shapes[n]
	s.Type = shape.Object
	rec.seen[s]++
	if s.Keys == nil {
		s.Keys, s.Values = &shape.Shape{}, &shape.Shape{}
	}
	n.Kind = yamlpos.Map
	n.Fields = []yamlpos.Field{{Key: rec.node(s.Keys), Value: rec.node(s.Values)}}
	return &Object{r: r, Node: n, what: name}
}

func (rec *Recorder) field(o *Object, name string, required bool) *node {
	s := rec.shapes[o.Node]
	i := s.Index(name)
	if i < 0 {
		i = len(s.Fields)
		s.Fields = append(s.Fields, shape.Field{Name: name, Shape: &shape.Shape{}})
	}
	if required && !slices.Contains(o.known, name) {
		if rec.needed[s] == nil {
			rec.needed[s] = map[string]int{}
		}
		rec.needed[s][name]++
	}
	if !slices.Contains(o.known, name) {
		o.known = append(o.known, name)
	}
	return rec.node(s.Fields[i].Shape)
}

func (rec *Recorder) items(n *node, emptyAllowed bool) []*node {
	s := rec.shapes[n]
	s.Type, s.Empty = shape.List, emptyAllowed
	if s.Items == nil {
		s.Items = &shape.Shape{}
	}
	n.Kind = yamlpos.List
	n.Items = []*node{rec.node(s.Items)}
	return n.Items
}

// has answers Has: in every other run everything is there.
func (rec *Recorder) has() bool { return rec.pass%2 == 1 }

// Note tells a recording that n is what s says; any reader of scalars of another
// package calls it first. It is true, and the reader is to return at once, while
// recording.
func (r *Reader) Note(n *node, s shape.Shape) bool {
	if r.record == nil {
		return false
	}
	if at := r.record.shapes[n]; at != nil {
		*at = s
	}
	return true
}

// Recording tells whether there is no file: what is read stands for every file.
func (r *Reader) Recording() bool { return r.record != nil }

func (r *Reader) choose(n *node, set []string) (string, bool) {
	r.Note(n, shape.Shape{Type: shape.Choice, Set: slices.Clone(set)})
	return set[r.record.pass/2%len(set)], true
}
