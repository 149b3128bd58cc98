package policy

import (
	"fmt"
	"slices"
	"strings"

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

func (r *reader) pos(n *node) Pos { return Pos{r.doc.file, n.Line, n.Column} }

// where prints a place. It is no method of Pos, because Problem embeds Pos and
// would print as its place alone.
func where(p Pos) string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column) }

// texts gives texts their places; nil stays nil, which means that the field is
// absent.
func (r *reader) texts(in []form.Text) []Text {
	if in == nil {
		return nil
	}
	out := make([]Text, len(in))
	for i, t := range in {
		out[i] = Text{t.Value, r.pos(t.At)}
	}
	return out
}

// code returns a reader of codes for a use.
func (r *reader) code(u place.Use) func(n *node, what string) (string, bool) {
	return func(n *node, what string) (string, bool) {
		if n.Kind == yamlpos.Null {
			r.Fail(n, codes.NoValue, `write a code in quotes, as in "SA"`, "%s has no value", what)
			return "", false
		}
		s, ok := r.Text(n, what)
		if !ok {
			return "", false
		}
		if n.Kind == yamlpos.Plain && form.IsBoolLike(s) {
			fix := `write a code of ISO 3166-1 in quotes, as in "SA"`
			if up := strings.ToUpper(s); place.IsCountry(up) {
				fix = fmt.Sprintf("write %q", up)
			}
			r.Fail(n, codes.BoolLike, fix, "country code %s is unquoted; some YAML readers turn it into %s", s, boolOf(s))
			return "", false
		}
		if why, fix := r.p.known.Fault(n.Value, u); why != "" {
			r.Fail(n, codes.Code, fix, "%s %s", what, why)
			return "", false
		}
		if n.Kind == yamlpos.Plain && r.p.known.Groups[s] == nil {
			r.Warn(n, codes.Unquoted, fmt.Sprintf("write %q", s), "code %s is unquoted; quote every code, because some YAML readers turn NO into false", s)
		}
		return s, true
	}
}

func boolOf(s string) string {
	switch strings.ToLower(s) {
	case "y", "yes", "on", "true":
		return "true"
	}
	return "false"
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
