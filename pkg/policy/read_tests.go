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
	r.question(&c, o)
	o.Done()
	if c.Class != "" && c.DenyReason != string(residency.NoClass) {
		at := o.Node.Get("class")
		r.p.uses = append(r.p.uses, classUse{Text{Value: c.Class, Pos: r.pos(at)}, lang.T("the case")})
	}
	return c, true
}

// question reads what a case asks, and with it what may be expected.
func (r *reader) question(c *TestCase, o *object) {
	var asked []string
	for _, q := range []string{"entry", "edge", "to"} {
		if o.Has(q) {
			asked = append(asked, q)
		}
	}
	if r.Recording() {
		asked = []string{"entry", "edge", "to"}
	}
	ask := func(q string) bool { return slices.Contains(asked, q) }
	only := func(field, q string) {
		if v := o.Get(field); v != nil {
			r.Fail(v, codes.Misplaced, lang.T("remove it"), lang.T("%s says nothing without %s", field, q))
		}
	}
	if ask("entry") {
		c.Entry = o.Name("entry", false)
		c.Down = form.Values(o.Texts("down", false, true, r.Name))
	} else {
		only("down", "entry")
	}
	if ask("edge") {
		c.Edge = o.Name("edge", false)
		c.Field = o.Ident("field", !r.Recording())
	} else {
		only("field", "edge")
	}
	if ask("to") {
		if v := o.Get("to"); v != nil {
			c.To, _ = r.code(place.Country)(v, "to")
		}
		c.For = o.Choice("for", !r.Recording(), purposes...)
	} else {
		only("for", "to")
	}
	switch len(asked) {
	case 0:
		r.Fail(o.Node, codes.Expectation, lang.T("ask where it is served (entry: me-riyadh), whether an edge may hold a field (edge: eu-frankfurt, field: displayName), or which transfer covers a crossing (to: \"DE\", for: cache)"),
			lang.T("the case asks nothing: it has no entry, no edge and no to"))
	case 1:
	default:
		if !r.Recording() {
			r.Fail(o.Get(asked[1]), codes.Expectation, lang.T("write two cases"), lang.T("a case asks one question, and this one has %s and %s", asked[0], asked[1]))
			asked = nil // whatever it expects, it cannot be judged
		}
	}
	if e := o.Object("expect", true); e != nil {
		r.expect(c, e, asked)
	}
}

// answers lists what may be expected of each question.
var answers = map[string][]string{"entry": {"allow", "deny"}, "edge": {"cache"}, "to": {"transfer", "deny"}}

func (r *reader) expect(c *TestCase, e *object, asked []string) {
	c.AllowRegion = e.Name("allow", false)
	if v := e.Get("deny"); v != nil {
		c.DenyReason = r.denyReason(v)
	}
	if v := e.Get("cache"); v != nil {
		r.cacheTime(c, v)
	}
	c.Transfer = e.Ident("transfer", false)
	e.Done()
	if r.Recording() || len(asked) != 1 {
		return
	}
	may := answers[asked[0]]
	var got []string
	for _, a := range []string{"allow", "deny", "cache", "transfer"} {
		switch {
		case !e.Has(a):
		case !slices.Contains(may, a):
			r.Fail(e.Get(a), codes.Expectation, lang.T("expect %s", forms(may)), lang.T("a case with %s cannot expect %s", asked[0], a))
			return
		default:
			got = append(got, a)
		}
	}
	switch len(got) {
	case 0:
		r.Fail(e.Node, codes.Expectation, lang.T("write %s", forms(may)), lang.T("expect says nothing: it needs %s", orList(may)))
	case 1:
	default:
		r.Fail(e.Node, codes.Expectation, lang.T("keep one of them"), lang.T("expect has both %s and %s", got[0], got[1]))
	}
}

// forms shows how expectations are written.
func forms(of []string) lang.Text {
	shown := map[string]string{"allow": "{allow: region}", "deny": "{deny: reason}", "cache": "{cache: 10m}, {cache: none}", "transfer": "{transfer: id}"}
	var out []lang.Text
	for _, a := range of {
		out = append(out, lang.Same(shown[a]))
	}
	return lang.Join(out, lang.T(" or "))
}

func orList(words []string) lang.Text {
	var out []lang.Text
	for _, w := range words {
		out = append(out, lang.Same(w))
	}
	return lang.Join(out, lang.T(" or "))
}

func (r *reader) denyReason(v *node) string {
	var reasons []string
	for _, x := range residency.Reasons() {
		reasons = append(reasons, string(x))
	}
	if r.Note(v, shape.Shape{Type: shape.Choice, Set: reasons}) {
		return reasons[0]
	}
	s, ok := r.Text(v, "deny")
	if ok && !slices.Contains(reasons, s) {
		r.Fail(v, codes.DenyReason, form.Suggest(s, reasons, lang.T("write a deny reason, as in region-unavailable, forbidden, entry-not-allowed or no-rule")), lang.T("%q is no deny reason", s))
		return ""
	}
	return s
}

// cacheTime reads how long an edge may hold a field: a duration, or none.
func (r *reader) cacheTime(c *TestCase, v *node) {
	if r.Note(v, shape.Shape{Type: shape.Word}) {
		return
	}
	s, ok := r.Text(v, "cache")
	if !ok {
		return
	}
	if c.CacheNone = s == "none"; c.CacheNone {
		return
	}
	d, err := form.ParseDuration(s)
	if err != nil {
		r.Fail(v, codes.Duration, lang.T("write none, or a whole number above zero and one unit: 30s, 10m, 24h"), lang.T("cache is %q, which is neither none nor a duration", s))
	}
	c.CacheTTL = d
}
