package policy

import (
	"slices"

	"github.com/domicile-dev/domicile/pkg/residency"

	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy/internal/codes"
	"github.com/domicile-dev/domicile/pkg/policy/internal/form"
	"github.com/domicile-dev/domicile/pkg/policy/internal/place"
	"github.com/domicile-dev/domicile/pkg/policy/shape"
)

// test reads one *_test.yaml.
func (r *reader) test(root *object) {
	t := &PolicyTest{Pos: r.pos(root.Node)}
	if meta := root.Object("metadata", true); meta != nil {
		t.Name = meta.Text("name", true)
		meta.Done()
	}
	names := map[string]Pos{}
	for _, n := range root.Items("cases", true, false) {
		c, ok := r.testCase(n)
		if !ok {
			continue
		}
		if first, found := names[c.Name]; found && c.Name != "" {
			r.twice(n.Get("name"), lang.T("case %q", c.Name), first)
		}
		names[c.Name] = c.Pos
		t.Cases = append(t.Cases, c)
	}
	root.Done()
	r.p.set.Tests = append(r.p.set.Tests, t)
}

func (r *reader) testCase(n *node) (c TestCase, ok bool) {
	o := r.Object(n, "case")
	if o == nil {
		return c, false
	}
	c.Pos = r.pos(n)
	c.Name = o.Text("name", true)
	if v := o.Need("home"); v != nil {
		c.Home, _ = r.code(place.Home)(v, "home")
	}
	c.Class = o.Name("class", true)
	c.Entry = o.Name("entry", true)
	c.Down = form.Values(o.Texts("down", false, true, r.Name))
	if e := o.Object("expect", true); e != nil {
		r.expect(&c, e)
	}
	o.Done()
	if c.Class != "" && c.DenyReason != string(residency.NoClass) {
		at := o.Node.Get("class")
		r.p.uses = append(r.p.uses, classUse{Text{Value: c.Class, Pos: r.pos(at)}, lang.T("the case")})
	}
	return c, true
}

func (r *reader) expect(c *TestCase, e *object) {
	var reasons []string
	for _, x := range residency.Reasons() {
		reasons = append(reasons, string(x))
	}
	c.AllowRegion = e.Name("allow", false)
	if v := e.Get("deny"); v != nil {
		s, ok := r.Text(v, "deny")
		if r.Note(v, shape.Shape{Type: shape.Choice, Set: reasons}) {
			s = reasons[0]
		}
		switch {
		case !ok:
		case !slices.Contains(reasons, s):
			r.Fail(v, codes.DenyReason, form.Suggest(s, reasons, lang.T("write a deny reason, as in region-unavailable, forbidden, entry-not-allowed or no-rule")), lang.T("%q is no deny reason", s))
		default:
			c.DenyReason = s
		}
	}
	switch allow, deny := e.Has("allow"), e.Has("deny"); {
	case allow && deny:
		r.Fail(e.Node, codes.Expectation, lang.T("keep one of them"), lang.T("expect has both allow and deny"))
	case !allow && !deny:
		r.Fail(e.Node, codes.Expectation, lang.T("write {allow: region} or {deny: reason}"), lang.T("expect has neither allow nor deny"))
	}
	e.Done()
}
