package law

import (
	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy/internal/codes"
	"github.com/domicile-dev/domicile/pkg/policy/internal/form"
	"github.com/domicile-dev/domicile/pkg/policy/internal/place"
	"github.com/domicile-dev/domicile/pkg/policy/internal/yamlpos"
	"github.com/domicile-dev/domicile/pkg/policy/source"
)

// ReadGroups reads groups.yaml, whose header has been read, and hands each group
// that has a name to keep, with the place of the name.
func ReadGroups(r *form.Reader, root *form.Object, known place.Known, keep func(g *Group, name source.Pos)) {
	if meta := root.Object("metadata", false); meta != nil {
		meta.Text("name", false)
		meta.Done()
	}
	spec := root.Object("spec", true)
	root.Done()
	if spec == nil {
		return
	}
	for _, n := range spec.Items("groups", true, false) {
		if g, name := (reader{r, known}).group(n); g != nil && g.Name != "" {
			keep(g, name)
		}
	}
	spec.Done()
}

func (r reader) group(n *yamlpos.Node) (g *Group, name source.Pos) {
	o := r.Object(n, "group")
	if o == nil {
		return nil, name
	}
	g = &Group{Pos: r.Pos(n)}
	if v := o.Need("name"); v != nil {
		g.Name, name = r.groupName(v), r.Pos(v)
	}
	g.Title = o.Text("title", false)
	g.FreeMovement = o.Flag("freeMovement")
	for _, m := range o.Items("members", true, false) {
		r.member(g, m)
	}
	o.Done()
	return g, name
}

func (r reader) groupName(v *yamlpos.Node) string {
	s, ok := r.Word(v, "group")
	switch {
	case !ok:
		return ""
	case place.IsCountry(s) || place.IsSpecial(s):
		r.Fail(v, codes.Name, lang.T("give the group a name that is no code"), lang.T("group %q has the code of a jurisdiction as its name", s))
		return ""
	case !form.IsIdent(s) || s[0] < 'A' || s[0] > 'Z' || len(s) < 2:
		r.Fail(v, codes.Name, lang.T("use capitals, digits and hyphens, as in EEA"), lang.T("group %q is no name%s", s, form.Odd(s)))
		return ""
	}
	return s
}

func (r reader) member(g *Group, n *yamlpos.Node) {
	o := r.Object(n, "member")
	if o == nil {
		return
	}
	var m GroupMember
	v := o.Need("code")
	if v != nil {
		m.Code, _ = r.code(place.Home)(v, "code")
	}
	m.Since, m.Until = o.Date("since", false), o.Date("until", false)
	m.Source = o.Text("source", false)
	o.Done()
	if m.Code == "" {
		return
	}
	if !m.Until.IsZero() && !m.Since.Before(m.Until) {
		r.Fail(n.Get("until"), codes.Date, lang.T("until must be later than since"), lang.T("member %s ends before it begins", m.Code))
	}
	for _, x := range g.Members {
		if x.Code == m.Code && overlap(x, m) {
			r.Twice(v, lang.T("member %q of %s", m.Code, g.Name), g.Pos)
			return
		}
	}
	g.Members = append(g.Members, m)
}

// overlap tells whether two rows of one member hold at the same time.
func overlap(a, b GroupMember) bool {
	return (a.Until.IsZero() || b.Since.Before(a.Until)) && (b.Until.IsZero() || a.Since.Before(b.Until))
}
