package policy

import (
	"fmt"
	"slices"

	"github.com/domicile-dev/domicile/pkg/policy/internal/codes"
	"github.com/domicile-dev/domicile/pkg/policy/internal/form"
	"github.com/domicile-dev/domicile/pkg/policy/internal/place"
	"github.com/domicile-dev/domicile/pkg/policy/internal/yamlpos"
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
		x := Problem{Pos: r.pos(f.At), Code: f.Code, Severity: Error, Message: f.Message, Why: f.Why, Fix: f.Fix}
		if f.Warning {
			x.Severity = Warning
		}
		p.add(x)
	}, Example: func(in, field string) string { return example(doc, in, field) }}
	return r
}

func (r *reader) pos(n *node) Pos { return r.Pos(n) }

// where prints a place. It is no method of Pos, because Problem embeds Pos and
// would print as its place alone.
func where(p Pos) string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column) }

func (r *reader) texts(in []form.Text) []Text { return r.Placed(in) }

// code returns a reader of codes for a use.
func (r *reader) code(u place.Use) func(n *node, what string) (string, bool) {
	return r.p.known.Code(r.Reader, u)
}

// header checks apiVersion and kind.
func (r *reader) header(o *object) bool {
	ok := true
	if v := o.Need("apiVersion"); v == nil {
		ok = false
	} else if v.Value != APIVersion {
		r.Fail(v, codes.APIVersion, "write "+APIVersion, "apiVersion is %s; this version reads %s", form.Describe(v), APIVersion)
		ok = false
	}
	v := o.Need("kind")
	if v == nil || v.Value == r.doc.kind {
		return ok && v != nil
	}
	kinds := []string{kindLaw, kindGroups, kindDeployment, kindJurisdiction, kindTest}
	if slices.Contains(kinds, v.Value) {
		r.Fail(v, codes.Kind, "move the file: "+kindPlace[v.Value], "kind is %s, but %s", v.Value, kindPlace[r.doc.kind])
		return false
	}
	r.Fail(v, codes.Kind, form.Suggest(v.Value, kinds, "write "+r.doc.kind), "kind is %s; %s", form.Describe(v), kindPlace[r.doc.kind])
	return false
}

var kindPlace = map[string]string{
	kindLaw:          "law/*.yaml holds files of kind Law",
	kindGroups:       "groups.yaml holds kind Groups",
	kindDeployment:   "deployment.yaml holds kind Deployment",
	kindJurisdiction: "jurisdictions/*.yaml holds files of kind Jurisdiction",
	kindTest:         "*_test.yaml holds files of kind PolicyTest",
}
