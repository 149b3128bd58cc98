// Package form reads a tree of YAML nodes strictly, by a schema that its caller
// spells out in calls: each field is asked for by name and shape, and Done
// refuses those that nobody asked for. It reports what is wrong and goes on, so
// that all problems of a file come out at once. Messages are in an author's
// words. It is pure and knows nothing of jurisdictions.
package form

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy/internal/codes"
	"github.com/domicile-dev/domicile/pkg/policy/internal/yamlpos"
	"github.com/domicile-dev/domicile/pkg/policy/nearest"
	"github.com/domicile-dev/domicile/pkg/policy/shape"
	"github.com/domicile-dev/domicile/pkg/policy/source"
)

// node is a place in a file together with what stands there.
type node = yamlpos.Node

// Finding is one problem at a node.
type Finding struct {
	At                *node
	Code              string
	Warning           bool
	Message, Why, Fix lang.Text
	Edit              source.Edit // does what Fix says, when a program may
}

// Reader reads one file's tree. Report is called for each finding, in no order.
// Example, which may be nil, gives a value for a required field that is missing:
// in is what the field belongs to, as messages name it; "" when there is none.
type Reader struct {
	File    string
	Report  func(Finding)
	Example func(in, field string) string

	needed map[*node]bool // values of required fields: no fix may remove them
	record *Recorder      // nil unless recording, see Record
}

// Text is a scalar and where it stands.
type Text struct {
	Value string
	At    *node
}

// Fail reports an error at a node.
func (r *Reader) Fail(n *node, code string, fix, message lang.Text) {
	r.Report(Finding{At: n, Code: code, Message: message, Fix: fix})
}

// FailEdit is Fail with what a program may do about it.
func (r *Reader) FailEdit(n *node, code string, edit source.Edit, fix, message lang.Text) {
	r.Report(Finding{At: n, Code: code, Message: message, Fix: fix, Edit: edit})
}

// Replace is the edit of a scalar without quotes, which stands on one line; it is
// none for every other node.
func Replace(n *node, with string) source.Edit {
	if n.Kind != yamlpos.Plain || strings.Contains(n.Value, " ") { // blanks may be line breaks
		return source.Edit{}
	}
	return source.Edit{Line: n.Line, Column: n.Column, EndColumn: n.Column + utf8.RuneCountInString(n.Value), New: with}
}

// Quote is the edit that puts a scalar into quotes.
func Quote(n *node) source.Edit { return Replace(n, `"`+n.Value+`"`) }

// Warn reports a warning at a node.
func (r *Reader) Warn(n *node, code string, fix, message lang.Text) {
	r.Report(Finding{At: n, Code: code, Warning: true, Message: message, Fix: fix})
}

// Suggest answers with "did you mean", where a known word is near, else with fix.
func Suggest(word string, known []string, fix lang.Text) lang.Text {
	if near := nearest.Word(word, known); near != "" {
		return lang.T("did you mean %q?", near)
	}
	return fix
}

// named is what a message calls a thing: the few names that are no field of a
// file are said in both languages.
func named(what string) lang.Text {
	if what == "the file" {
		return lang.T("the file")
	}
	if service, ok := strings.CutPrefix(what, "backend of "); ok {
		return lang.T("backend of %s", service)
	}
	return lang.Same(what)
}

// shapeOf names what stands at a node, in an author's words.
func shapeOf(n *node) lang.Text {
	switch n.Kind {
	case yamlpos.Map:
		return lang.T("a map (key: value)")
	case yamlpos.List:
		return lang.T("a list")
	case yamlpos.Null:
		return lang.T("nothing")
	default:
		return lang.T("a single value")
	}
}

// Object is a map being read: it remembers which fields the schema has, so that
// Done can refuse the others.
type Object struct {
	r    *Reader
	Node *node
	what string // it is: "transfer"
	// known are the fields of the schema; need asked for those that are missing.
	known []string
}

// Object starts to read a map; nil when it is none, which is reported.
func (r *Reader) Object(n *node, name string) *Object {
	if r.record != nil {
		return r.record.object(r, n, name)
	}
	if n.Kind != yamlpos.Map {
		r.Fail(n, codes.Shape, lang.T("write fields as key: value"), lang.T("%s should be a map of fields, and is %s", named(name), shapeOf(n)))
		return nil
	}
	return &Object{r: r, Node: n, what: name}
}

// Get returns a field, or nil when it is absent. A field without a value is
// reported and counts as absent.
func (o *Object) Get(field string) *node {
	return o.get(field, func() lang.Text { return lang.T("give it a value, or remove the line") })
}

// get is Get with the fix for a field without a value.
func (o *Object) get(field string, fix func() lang.Text) *node {
	if o.r.record != nil {
		return o.r.record.field(o, field, false)
	}
	o.known = append(o.known, field)
	for _, f := range o.Node.Fields {
		if f.Key.Value != field {
			continue
		}
		if f.Value.Kind == yamlpos.Null {
			o.r.Fail(f.Key, codes.NoValue, fix(), lang.T("%s of %s has no value", field, named(o.what)))
			return nil
		}
		return f.Value
	}
	return nil
}

// Has tells whether a field is written at all, even without a value.
func (o *Object) Has(field string) bool {
	if o.r.record != nil {
		return o.r.record.has()
	}
	return slices.ContainsFunc(o.Node.Fields, func(f yamlpos.Field) bool { return f.Key.Value == field })
}

// Need is get for a required field.
func (o *Object) Need(field string) *node {
	if o.r.record != nil {
		return o.r.record.field(o, field, true)
	}
	v := o.get(field, func() lang.Text { return lang.T("give it a value%s", o.example(field)) })
	switch {
	case v != nil:
		if o.r.needed == nil {
			o.r.needed = map[*node]bool{}
		}
		o.r.needed[v] = true
	case !o.Has(field):
		o.r.Fail(o.Node, codes.Missing, lang.T("add %s:%s", field, o.example(field)), lang.T("%s has no %s", named(o.what), field))
	}
	return v
}

// example ends a fix with a value of the field; it is empty where there is none.
func (o *Object) example(field string) lang.Text {
	if o.r.Example == nil {
		return lang.Text{}
	}
	x := o.r.Example(o.what, field)
	if x == "" {
		return lang.Text{}
	}
	return lang.T(", as in %s: %s", field, x)
}

// orRemove adds to a fix that the field may also go, unless it is required.
func (r *Reader) orRemove(n *node, fix lang.Text) lang.Text {
	if r.needed[n] {
		return fix
	}
	return lang.T("%s, or remove the field", fix)
}

func (o *Object) Find(field string, required bool) *node {
	if required {
		return o.Need(field)
	}
	return o.Get(field)
}

// Object reads a field that is a map; nil when absent or wrong.
func (o *Object) Object(field string, required bool) *Object {
	v := o.Find(field, required)
	if v == nil {
		return nil
	}
	return o.r.Object(v, field)
}

// Done refuses fields that the schema does not have.
func (o *Object) Done() {
	if o.r.record != nil {
		return
	}
	for _, f := range o.Node.Fields {
		if !slices.Contains(o.known, f.Key.Value) {
			var edit source.Edit
			if near := nearest.Sure(f.Key.Value, o.known); near != "" && !o.Has(near) {
				edit = Replace(f.Key, near)
			}
			o.r.FailEdit(f.Key, codes.UnknownField, edit, Suggest(f.Key.Value, o.known, lang.T("remove it; known here: %s", strings.Join(o.known, ", "))),
				lang.T("unknown field %q in %s", f.Key.Value, named(o.what)))
		}
	}
}

// Items returns the elements of a field that is a list.
func (o *Object) Items(field string, required, emptyAllowed bool) []*node {
	v := o.Find(field, required)
	if v == nil {
		return nil
	}
	return o.r.Items(v, field, emptyAllowed)
}

func (r *Reader) Items(v *node, field string, emptyAllowed bool) []*node {
	if r.record != nil {
		return r.record.items(v, emptyAllowed)
	}
	if v.Kind != yamlpos.List {
		fix := lang.T("write a list: [...]")
		if v.Kind == yamlpos.Plain || v.Kind == yamlpos.Quoted {
			fix = lang.T("write [%s]", quoteLike(v))
		}
		r.Fail(v, codes.Shape, fix, lang.T("%s should be a list, and is %s", named(field), shapeOf(v)))
		return nil
	}
	if len(v.Items) == 0 && !emptyAllowed {
		r.Fail(v, codes.Empty, r.orRemove(v, lang.T("name at least one")), lang.T("%s is an empty list", named(field)))
	}
	return v.Items
}

func quoteLike(n *node) string {
	if n.Kind == yamlpos.Quoted {
		return fmt.Sprintf("%q", n.Value)
	}
	return n.Value
}

// Texts reads a list of scalars with the reader of one, and refuses repeats. It
// is nil when the field is absent, and not nil when it is empty.
func (o *Object) Texts(field string, required, emptyAllowed bool, one func(n *node, what string) (string, bool)) []Text {
	v := o.Find(field, required)
	if v == nil {
		return nil
	}
	return o.r.Texts(v, field, emptyAllowed, one)
}

func (r *Reader) Texts(v *node, field string, emptyAllowed bool, one func(n *node, what string) (string, bool)) []Text {
	out := []Text{}
	seen := map[string]*node{}
	for _, n := range r.Items(v, field, emptyAllowed) {
		s, ok := one(n, field)
		if !ok {
			continue
		}
		if first := seen[s]; first != nil {
			r.Report(Finding{At: n, Code: codes.Twice, Message: lang.T("%s names %q twice", named(field), s),
				Why: lang.T("first at %s:%d:%d", r.File, first.Line, first.Column), Fix: lang.T("remove one")})
			continue
		}
		seen[s] = n
		out = append(out, Text{s, n})
	}
	return out
}

// Placed gives texts their places; nil stays nil, which means that the field is
// absent.
func (r *Reader) Placed(in []Text) []source.Text {
	if in == nil {
		return nil
	}
	out := make([]source.Text, len(in))
	for i, t := range in {
		out[i] = source.Text{Value: t.Value, Pos: r.Pos(t.At)}
	}
	return out
}

// Pos is where a node stands.
func (r *Reader) Pos(n *node) source.Pos {
	if n == nil { // only while recording
		return source.Pos{File: r.File}
	}
	return source.Pos{File: r.File, Line: n.Line, Column: n.Column}
}

// Twice reports that something was defined before, at first.
func (r *Reader) Twice(n *node, what lang.Text, first source.Pos) {
	r.Report(Finding{At: n, Code: codes.Twice, Message: lang.T("%s is defined twice", what),
		Why: lang.T("first at %s:%d:%d", first.File, first.Line, first.Column), Fix: lang.T("remove one, or rename it")})
}

// Values returns the texts alone.
func Values(texts []Text) []string {
	var out []string
	for _, t := range texts {
		out = append(out, t.Value)
	}
	return out
}

// Text reads free text: any scalar that is not empty.
func (r *Reader) Text(n *node, what string) (string, bool) {
	if r.Note(n, shape.Shape{Type: shape.Text}) {
		return n.Value, true
	}
	if n.Kind != yamlpos.Plain && n.Kind != yamlpos.Quoted {
		r.Fail(n, codes.Shape, lang.T("write one text"), lang.T("%s should be text, and is %s", named(what), shapeOf(n)))
		return "", false
	}
	s := strings.TrimSpace(n.Value)
	if s == "" {
		r.Fail(n, codes.Empty, r.orRemove(n, lang.T("write it")), lang.T("%s is empty", named(what)))
		return "", false
	}
	return s, true
}

func (o *Object) Text(field string, required bool) string {
	v := o.Find(field, required)
	if v == nil {
		return ""
	}
	s, _ := o.r.Text(v, field)
	return s
}

// Name reads an identifier: a region, class, service or role.
func (r *Reader) Name(n *node, what string) (string, bool) {
	if r.Note(n, shape.Shape{Type: shape.Name}) {
		return n.Value, true
	}
	s, ok := r.Word(n, what)
	if !ok {
		return "", false
	}
	if !IsName(s) {
		r.Fail(n, codes.Name, lang.T("use lower-case letters a-z, digits and hyphens, at most 63, starting with a letter"), lang.T("%s %q is no name%s", what, s, Odd(s)))
		return "", false
	}
	return s, true
}

// Ident reads an identifier that may hold capitals, dots and underscores: the
// id of an article or transfer, a field of a profile, a claim.
func (r *Reader) Ident(n *node, what string) (string, bool) {
	if r.Note(n, shape.Shape{Type: shape.Ident}) {
		return n.Value, true
	}
	s, ok := r.Word(n, what)
	if !ok {
		return "", false
	}
	if !IsIdent(s) {
		r.Fail(n, codes.Name, lang.T("use letters A-Z a-z, digits, hyphens, dots and underscores, at most 128"), lang.T("%s %q is no name%s", what, s, Odd(s)))
		return "", false
	}
	return s, true
}

// Word reads a scalar that another YAML reader would not take for a truth value.
func (r *Reader) Word(n *node, what string) (string, bool) {
	if r.Note(n, shape.Shape{Type: shape.Word}) {
		return n.Value, true
	}
	s, ok := r.Text(n, what)
	if ok && n.Kind == yamlpos.Plain && IsBoolLike(s) {
		r.FailEdit(n, codes.BoolLike, Quote(n), lang.T("write %q", s), lang.T("%s %s is unquoted; some YAML readers turn it into true or false", what, s))
		return "", false
	}
	return s, ok
}

func (o *Object) Name(field string, required bool) string {
	v := o.Find(field, required)
	if v == nil {
		return ""
	}
	s, _ := o.r.Name(v, field)
	return s
}

func (o *Object) Ident(field string, required bool) string {
	v := o.Find(field, required)
	if v == nil {
		return ""
	}
	s, _ := o.r.Ident(v, field)
	return s
}

// Choice reads a word of a closed set.
func (o *Object) Choice(field string, required bool, set ...string) string {
	v := o.Find(field, required)
	if v == nil {
		return ""
	}
	s, _ := o.r.Choice(v, field, set...)
	return s
}

func (r *Reader) Choice(n *node, what string, set ...string) (string, bool) {
	if r.record != nil {
		return r.choose(n, set)
	}
	s, ok := r.Text(n, what)
	if !ok {
		return "", false
	}
	if !slices.Contains(set, s) {
		r.Fail(n, codes.Word, Suggest(s, set, lang.T("write one of: %s", strings.Join(set, ", "))), lang.T("%s is %q, which is none of: %s", what, s, strings.Join(set, ", ")))
		return "", false
	}
	return s, true
}

// Flag reads true or false.
func (o *Object) Flag(field string) bool {
	v := o.Get(field)
	if v == nil {
		return false
	}
	if o.r.Note(v, shape.Shape{Type: shape.Flag}) {
		return o.r.record.has()
	}
	if v.Kind == yamlpos.Plain && (v.Value == "true" || v.Value == "false") {
		return v.Value == "true"
	}
	o.r.Fail(v, codes.Shape, lang.T("write true or false, without quotes"), lang.T("%s should be true or false, and is %s", field, Describe(v)))
	return false
}

// Describe names what stands at a node.
func Describe(n *node) lang.Text {
	if n.Kind == yamlpos.Plain || n.Kind == yamlpos.Quoted {
		return lang.Same(fmt.Sprintf("%q", n.Value))
	}
	return shapeOf(n)
}

// Number reads a whole number from 0 to max; null counts as absent.
func (o *Object) Number(field string, max int) int {
	if o.r.record != nil {
		o.r.Note(o.Get(field), shape.Shape{Type: shape.Number, Max: max})
		return 1
	}
	o.known = append(o.known, field)
	v := o.Node.Get(field)
	if v == nil || v.Kind == yamlpos.Null {
		return 0
	}
	if v.Kind == yamlpos.Plain {
		if n, ok := wholeNumber(v.Value, max); ok {
			return n
		}
	}
	o.r.Fail(v, codes.Number, lang.T("write a whole number from 0 to %d, without quotes", max), lang.T("%s should be a whole number, and is %s", field, Describe(v)))
	return 0
}
