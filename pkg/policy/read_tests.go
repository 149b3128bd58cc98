package policy

import (
	"fmt"
	"slices"

	"github.com/domicile-dev/domicile/pkg/residency"
)

// test reads one *_test.yaml.
func (r *reader) test(root *object) {
	t := &PolicyTest{Pos: r.pos(root.node)}
	if meta := root.object("metadata", true); meta != nil {
		t.Name = meta.text("name", true)
		meta.done()
	}
	names := map[string]Pos{}
	for _, n := range root.items("cases", true, false) {
		c, ok := r.testCase(n)
		if !ok {
			continue
		}
		if first, found := names[c.Name]; found && c.Name != "" {
			r.twice(n.Get("name"), fmt.Sprintf("case %q", c.Name), first)
		}
		names[c.Name] = c.Pos
		t.Cases = append(t.Cases, c)
	}
	root.done()
	r.p.set.Tests = append(r.p.set.Tests, t)
}

func (r *reader) testCase(n *node) (c TestCase, ok bool) {
	o := r.object(n, "case")
	if o == nil {
		return c, false
	}
	c.Pos = r.pos(n)
	c.Name = o.text("name", true)
	if v := o.need("home"); v != nil {
		c.Home, _ = r.code(useHome)(v, "home")
	}
	c.Class = o.name("class", true)
	c.Entry = o.name("entry", true)
	c.Down = values(o.texts("down", false, true, r.name))
	if e := o.object("expect", true); e != nil {
		r.expect(&c, e)
	}
	o.done()
	if c.Class != "" && c.DenyReason != string(residency.NoClass) {
		at := o.node.Get("class")
		r.p.uses = append(r.p.uses, classUse{Text{c.Class, r.pos(at)}, "the case"})
	}
	return c, true
}

func (r *reader) expect(c *TestCase, e *object) {
	var reasons []string
	for _, x := range residency.Reasons() {
		reasons = append(reasons, string(x))
	}
	c.AllowRegion = e.name("allow", false)
	if v := e.get("deny"); v != nil {
		s, ok := r.text(v, "deny")
		switch {
		case !ok:
		case !slices.Contains(reasons, s):
			r.fail(v, CodeDenyReason, suggest(s, reasons, "write a deny reason, as in region-unavailable, forbidden, entry-not-allowed or no-rule"), "%q is no deny reason", s)
		default:
			c.DenyReason = s
		}
	}
	switch allow, deny := e.has("allow"), e.has("deny"); {
	case allow && deny:
		r.fail(e.node, CodeExpectation, "keep one of them", "expect has both allow and deny")
	case !allow && !deny:
		r.fail(e.node, CodeExpectation, "write {allow: region} or {deny: reason}", "expect has neither allow nor deny")
	}
	e.done()
}
