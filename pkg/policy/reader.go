package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/agext/levenshtein"

	"github.com/domicile-dev/domicile/pkg/policy/internal/yamlpos"
)

// node is a place in a file together with what stands there.
type node = yamlpos.Node

// reader turns one file's tree into the model. Its methods report what is wrong
// and go on, so that all problems come out at once.
type reader struct {
	p   *parser
	doc document
}

func (r *reader) pos(n *node) Pos { return Pos{r.doc.file, n.Line, n.Column} }

// where prints a place. It is no method of Pos, because Problem embeds Pos and
// would print as its place alone.
func where(p Pos) string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column) }

// fail reports an error at a node.
func (r *reader) fail(n *node, code, fix, format string, args ...any) {
	r.p.add(Problem{Pos: r.pos(n), Code: code, Severity: Error, Message: fmt.Sprintf(format, args...), Fix: fix})
}

// warn reports a warning at a node.
func (r *reader) warn(n *node, code, fix, format string, args ...any) {
	r.p.add(Problem{Pos: r.pos(n), Code: code, Severity: Warning, Message: fmt.Sprintf(format, args...), Fix: fix})
}

// suggest answers with "did you mean", where a known word is near, else with fix.
func suggest(word string, known []string, fix string) string {
	best, near := "", 0.0
	for _, k := range known {
		if s := levenshtein.Similarity(strings.ToLower(word), strings.ToLower(k), nil); s > near || s == near && k < best {
			best, near = k, s
		}
	}
	if near >= 0.6 {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return fix
}

// shape names what stands at a node, in an author's words.
func shape(n *node) string {
	switch n.Kind {
	case yamlpos.Map:
		return "a map (key: value)"
	case yamlpos.List:
		return "a list"
	case yamlpos.Null:
		return "nothing"
	}
	return "a single value"
}

// object is a map being read: it remembers which fields the schema has, so that
// done can refuse the others.
type object struct {
	r    *reader
	node *node
	what string // it is: "transfer"
	// known are the fields of the schema; need asked for those that are missing.
	known []string
}

// object starts to read a map; nil when it is none, which is reported.
func (r *reader) object(n *node, name string) *object {
	if n.Kind != yamlpos.Map {
		r.fail(n, CodeShape, "write fields as key: value", "%s should be a map of fields, and is %s", name, shape(n))
		return nil
	}
	return &object{r: r, node: n, what: name}
}

// get returns a field, or nil when it is absent. A field without a value is
// reported and counts as absent.
func (o *object) get(field string) *node {
	o.known = append(o.known, field)
	for _, f := range o.node.Fields {
		if f.Key.Value != field {
			continue
		}
		if f.Value.Kind == yamlpos.Null {
			o.r.fail(f.Key, CodeNoValue, "give it a value, or remove the line", "%s of %s has no value", field, o.what)
			return nil
		}
		return f.Value
	}
	return nil
}

// has tells whether a field is written at all, even without a value.
func (o *object) has(field string) bool {
	return slices.ContainsFunc(o.node.Fields, func(f yamlpos.Field) bool { return f.Key.Value == field })
}

// need is get for a required field.
func (o *object) need(field string) *node {
	v := o.get(field)
	if v == nil && !o.has(field) {
		o.r.fail(o.node, CodeMissing, fmt.Sprintf("add %s:", field), "%s has no %s", o.what, field)
	}
	return v
}

func (o *object) find(field string, required bool) *node {
	if required {
		return o.need(field)
	}
	return o.get(field)
}

// object reads a field that is a map; nil when absent or wrong.
func (o *object) object(field string, required bool) *object {
	v := o.find(field, required)
	if v == nil {
		return nil
	}
	return o.r.object(v, field)
}

// done refuses fields that the schema does not have.
func (o *object) done() {
	for _, f := range o.node.Fields {
		if !slices.Contains(o.known, f.Key.Value) {
			o.r.fail(f.Key, CodeUnknownField, suggest(f.Key.Value, o.known, "remove it; known here: "+strings.Join(o.known, ", ")),
				"unknown field %q in %s", f.Key.Value, o.what)
		}
	}
}

// items returns the elements of a field that is a list.
func (o *object) items(field string, required, emptyAllowed bool) []*node {
	v := o.find(field, required)
	if v == nil {
		return nil
	}
	return o.r.items(v, field, emptyAllowed)
}

func (r *reader) items(v *node, field string, emptyAllowed bool) []*node {
	if v.Kind != yamlpos.List {
		fix := "write a list: [...]"
		if v.Kind == yamlpos.Plain || v.Kind == yamlpos.Quoted {
			fix = fmt.Sprintf("write [%s]", quoteLike(v))
		}
		r.fail(v, CodeShape, fix, "%s should be a list, and is %s", field, shape(v))
		return nil
	}
	if len(v.Items) == 0 && !emptyAllowed {
		r.fail(v, CodeEmpty, "name at least one, or remove the field", "%s is an empty list", field)
	}
	return v.Items
}

func quoteLike(n *node) string {
	if n.Kind == yamlpos.Quoted {
		return fmt.Sprintf("%q", n.Value)
	}
	return n.Value
}

// texts reads a list of scalars with the reader of one, and refuses repeats. It
// is nil when the field is absent, and not nil when it is empty.
func (o *object) texts(field string, required, emptyAllowed bool, one func(n *node, what string) (string, bool)) []Text {
	v := o.find(field, required)
	if v == nil {
		return nil
	}
	return o.r.texts(v, field, emptyAllowed, one)
}

func (r *reader) texts(v *node, field string, emptyAllowed bool, one func(n *node, what string) (string, bool)) []Text {
	out := []Text{}
	seen := map[string]*node{}
	for _, n := range r.items(v, field, emptyAllowed) {
		s, ok := one(n, field)
		if !ok {
			continue
		}
		if first := seen[s]; first != nil {
			r.p.add(Problem{Pos: r.pos(n), Code: CodeTwice, Message: fmt.Sprintf("%s names %q twice", field, s),
				Why: fmt.Sprintf("first at %s:%d:%d", r.doc.file, first.Line, first.Column), Fix: "remove one"})
			continue
		}
		seen[s] = n
		out = append(out, Text{s, r.pos(n)})
	}
	return out
}

func values(texts []Text) []string {
	var out []string
	for _, t := range texts {
		out = append(out, t.Value)
	}
	return out
}

// text reads free text: any scalar that is not empty.
func (r *reader) text(n *node, what string) (string, bool) {
	if n.Kind != yamlpos.Plain && n.Kind != yamlpos.Quoted {
		r.fail(n, CodeShape, "write one text", "%s should be text, and is %s", what, shape(n))
		return "", false
	}
	s := strings.TrimSpace(n.Value)
	if s == "" {
		r.fail(n, CodeEmpty, "write it, or remove the field", "%s is empty", what)
		return "", false
	}
	return s, true
}

func (o *object) text(field string, required bool) string {
	v := o.find(field, required)
	if v == nil {
		return ""
	}
	s, _ := o.r.text(v, field)
	return s
}

// name reads an identifier: a region, class, service or role.
func (r *reader) name(n *node, what string) (string, bool) {
	s, ok := r.word(n, what)
	if !ok {
		return "", false
	}
	if !isName(s) {
		r.fail(n, CodeName, "use lower-case letters a-z, digits and hyphens, at most 63, starting with a letter", "%s %q is no name%s", what, s, odd(s))
		return "", false
	}
	return s, true
}

// ident reads an identifier that may hold capitals, dots and underscores: the
// id of an article or transfer, a field of a profile, a claim.
func (r *reader) ident(n *node, what string) (string, bool) {
	s, ok := r.word(n, what)
	if !ok {
		return "", false
	}
	if !isIdent(s) {
		r.fail(n, CodeName, "use letters A-Z a-z, digits, hyphens, dots and underscores, at most 128", "%s %q is no name%s", what, s, odd(s))
		return "", false
	}
	return s, true
}

// word reads a scalar that another YAML reader would not take for a truth value.
func (r *reader) word(n *node, what string) (string, bool) {
	s, ok := r.text(n, what)
	if ok && n.Kind == yamlpos.Plain && isBoolLike(s) {
		r.fail(n, CodeBoolLike, fmt.Sprintf("write %q", s), "%s %s is unquoted; some YAML readers turn it into true or false", what, s)
		return "", false
	}
	return s, ok
}

func (o *object) name(field string, required bool) string {
	v := o.find(field, required)
	if v == nil {
		return ""
	}
	s, _ := o.r.name(v, field)
	return s
}

func (o *object) ident(field string, required bool) string {
	v := o.find(field, required)
	if v == nil {
		return ""
	}
	s, _ := o.r.ident(v, field)
	return s
}

// choice reads a word of a closed set.
func (o *object) choice(field string, required bool, set ...string) string {
	v := o.find(field, required)
	if v == nil {
		return ""
	}
	s, _ := o.r.choice(v, field, set...)
	return s
}

func (r *reader) choice(n *node, what string, set ...string) (string, bool) {
	s, ok := r.text(n, what)
	if !ok {
		return "", false
	}
	if !slices.Contains(set, s) {
		r.fail(n, CodeWord, suggest(s, set, "write one of: "+strings.Join(set, ", ")), "%s is %q, which is none of: %s", what, s, strings.Join(set, ", "))
		return "", false
	}
	return s, true
}

// flag reads true or false.
func (o *object) flag(field string) bool {
	v := o.get(field)
	if v == nil {
		return false
	}
	if v.Kind == yamlpos.Plain && (v.Value == "true" || v.Value == "false") {
		return v.Value == "true"
	}
	o.r.fail(v, CodeShape, "write true or false, without quotes", "%s should be true or false, and is %s", field, describe(v))
	return false
}

func describe(n *node) string {
	if n.Kind == yamlpos.Plain || n.Kind == yamlpos.Quoted {
		return fmt.Sprintf("%q", n.Value)
	}
	return shape(n)
}

// number reads a whole number from 0 to max; null counts as absent.
func (o *object) number(field string, max int) int {
	o.known = append(o.known, field)
	v := o.node.Get(field)
	if v == nil || v.Kind == yamlpos.Null {
		return 0
	}
	if v.Kind == yamlpos.Plain {
		if n, ok := wholeNumber(v.Value, max); ok {
			return n
		}
	}
	o.r.fail(v, CodeNumber, fmt.Sprintf("write a whole number from 0 to %d, without quotes", max), "%s should be a whole number, and is %s", field, describe(v))
	return 0
}

// header checks apiVersion and kind.
func (r *reader) header(o *object) bool {
	ok := true
	if v := o.need("apiVersion"); v == nil {
		ok = false
	} else if v.Value != APIVersion {
		r.fail(v, CodeAPIVersion, "write "+APIVersion, "apiVersion is %s; this version reads %s", describe(v), APIVersion)
		ok = false
	}
	v := o.need("kind")
	if v == nil || v.Value == r.doc.kind {
		return ok && v != nil
	}
	kinds := []string{kindLaw, kindGroups, kindDeployment, kindJurisdiction, kindTest}
	if slices.Contains(kinds, v.Value) {
		r.fail(v, CodeKind, "move the file: "+kindPlace[v.Value], "kind is %s, but %s", v.Value, kindPlace[r.doc.kind])
		return false
	}
	r.fail(v, CodeKind, suggest(v.Value, kinds, "write "+r.doc.kind), "kind is %s; %s", describe(v), kindPlace[r.doc.kind])
	return false
}

var kindPlace = map[string]string{
	kindLaw:          "law/*.yaml holds files of kind Law",
	kindGroups:       "groups.yaml holds kind Groups",
	kindDeployment:   "deployment.yaml holds kind Deployment",
	kindJurisdiction: "jurisdictions/*.yaml holds files of kind Jurisdiction",
	kindTest:         "*_test.yaml holds files of kind PolicyTest",
}
