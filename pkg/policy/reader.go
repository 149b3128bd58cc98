package policy

import (
	"slices"
	"strings"

	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy/internal/codes"
	"github.com/domicile-dev/domicile/pkg/policy/internal/example"
	"github.com/domicile-dev/domicile/pkg/policy/internal/form"
	"github.com/domicile-dev/domicile/pkg/policy/internal/place"
	"github.com/domicile-dev/domicile/pkg/policy/internal/yamlpos"
	"github.com/domicile-dev/domicile/pkg/policy/shape"
)

// CodeInfo explains a code.
type CodeInfo = codes.Info

// Codes returns all codes that Parse may report, sorted.
func Codes() []CodeInfo { return codes.All() }

// ExplainCode returns what is to be known about a code that Parse may report.
func ExplainCode(code string) (CodeInfo, bool) { return codes.Explain(code) }

// node is a place in a file together with what stands there.
type node = yamlpos.Node

// object is a map that is being read.
type object = form.Object

// reader turns one file's tree into the model.
type reader struct {
	*form.Reader
	p   *parser
	doc document
}

func newReader(p *parser, doc document) *reader {
	r := &reader{p: p, doc: doc}
	r.Reader = &form.Reader{File: doc.file, Report: func(f form.Finding) {
		x := Problem{Pos: r.pos(f.At), Code: f.Code, Severity: Error, Message: f.Message, Why: f.Why, Fix: f.Fix, Edit: f.Edit}
		if f.Warning {
			x.Severity = Warning
		}
		p.add(x)
	}, Example: func(in, field string) string { return example.Of(doc.kind, doc.root, in, field) }}
	return r
}

func (r *reader) pos(n *node) Pos { return r.Pos(n) }

func (r *reader) texts(in []form.Text) []Text { return r.Placed(in) }

// code returns a reader of codes for a use.
func (r *reader) code(u place.Use) func(n *node, what string) (string, bool) {
	return r.p.known.Code(r.Reader, u)
}

// header checks apiVersion and kind.
func (r *reader) header(o *object) bool {
	if r.Recording() {
		r.Note(o.Need("apiVersion"), shape.Shape{Type: shape.Choice, Set: []string{APIVersion}})
		r.Note(o.Need("kind"), shape.Shape{Type: shape.Choice, Set: []string{r.doc.kind}})
		return true
	}
	ok := true
	if v := o.Need("apiVersion"); v == nil {
		ok = false
	} else if v.Value != APIVersion {
		r.Fail(v, codes.APIVersion, lang.T("write %s", APIVersion), lang.T("apiVersion is %s; this version reads %s", form.Describe(v), APIVersion))
		ok = false
	}
	v := o.Need("kind")
	if v == nil || v.Value == r.doc.kind {
		return ok && v != nil
	}
	if slices.Contains(kinds, v.Value) {
		r.Fail(v, codes.Kind, lang.T("move the file: %s", kindPlace(v.Value)), lang.T("kind is %s, but %s", v.Value, kindPlace(r.doc.kind)))
		return false
	}
	r.Fail(v, codes.Kind, form.Suggest(v.Value, kinds, lang.T("write %s", r.doc.kind)), lang.T("kind is %s; %s", form.Describe(v), kindPlace(r.doc.kind)))
	return false
}

// kindPlace says where files of a kind lie.
func kindPlace(kind string) lang.Text {
	switch kind {
	case kindGroups, kindDeployment, kindDenials:
		return lang.T("%s.yaml holds kind %s", strings.ToLower(kind), kind)
	case kindTest:
		return lang.T("%s holds files of kind %s", "*_test.yaml", kind)
	case kindLaw:
		return lang.T("%s holds files of kind %s", "law/*.yaml", kind)
	default:
		return lang.T("%s holds files of kind %s", strings.ToLower(kind)+"s/*.yaml", kind)
	}
}
