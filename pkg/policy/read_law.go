package policy

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"

	"github.com/domicile-dev/domicile/pkg/policy/internal/codes"
	"github.com/domicile-dev/domicile/pkg/policy/internal/form"
	"github.com/domicile-dev/domicile/pkg/policy/internal/place"
)

var (
	duties     = []string{"required", "conditional", "recommended", "none", "unclear"}
	verified   = []string{"published_page", "mixed", "knowledge"}
	confidence = []string{"high", "medium", "low"}
)

// law reads one law/*.yaml.
func (r *reader) law(root *object) {
	l := &Law{Pos: r.pos(root.Node), Articles: map[string]Article{}}
	var name *node
	if meta := root.Object("metadata", true); meta != nil {
		if name = meta.Need("name"); name != nil {
			l.Code, _ = r.code(place.Law)(name, "law")
			l.Pos = r.pos(name)
		}
		meta.Done()
	}
	spec := root.Object("spec", true)
	root.Done()
	if spec == nil {
		return
	}
	l.Title, l.TitleZh = spec.Text("title", true), spec.Text("titleZh", false)
	l.Status, l.Citation, l.Effective = spec.Text("status", false), spec.Text("citation", false), spec.Text("effective", false)
	r.territory(l, spec)
	if o := spec.Object("localisation", true); o != nil {
		l.Localisation = Localisation{
			Duty: o.Choice("duty", true, duties...), Scope: o.Text("scope", false), Trigger: o.Text("trigger", false),
			Citation: o.Text("citation", false), Verified: o.Choice("verified", false, verified...),
		}
		l.Duty = l.Localisation.Duty
		o.Done()
	}
	for _, n := range spec.Items("articles", false, true) {
		r.article(l, n)
	}
	for _, n := range spec.Items("mechanisms", false, true) {
		r.mechanism(l, n)
	}
	r.deadlines(l, spec)
	l.Retention, l.LawfulAccess = r.fact(spec, "retention", "duty"), r.fact(spec, "lawfulAccess", "text")
	l.Notes, l.Pending, l.Unverified = r.lines(spec, "notes"), r.lines(spec, "pending"), r.lines(spec, "unverified")
	l.Confidence = spec.Choice("confidence", false, confidence...)
	l.ReviewBy = spec.Date("reviewBy", true)
	if o := spec.Object("sources", false); o != nil {
		l.SourcesOfficial, l.SourcesPublished = r.lines(o, "official"), r.lines(o, "published")
		o.Done()
	}
	spec.Done()
	r.keepLaw(l, name)
}

func (r *reader) territory(l *Law, spec *object) {
	if v := spec.Get("country"); v != nil {
		l.Country, _ = r.code(place.Country)(v, "country")
	}
	l.SeparateTerritory = spec.Flag("separateTerritory")
	if v := spec.Get("adds"); v != nil {
		l.Adds, _ = r.code(place.Law)(v, "adds")
	}
	if place.IsSpecial(l.Code) && l.Country == "" && !spec.Has("country") {
		l.Country = l.Code[:2]
	}
}

func (r *reader) lines(o *object, field string) []string {
	return form.Values(o.Texts(field, false, true, r.Text))
}

func (r *reader) article(l *Law, n *node) {
	o := r.Object(n, "article")
	if o == nil {
		return
	}
	a := Article{
		ID: o.Ident("id", true), Citation: o.Text("citation", true), Says: o.Text("says", true),
		Source: o.Text("source", false), Verified: o.Choice("verified", true, verified...),
	}
	o.Done()
	if _, found := l.Articles[a.ID]; found && a.ID != "" {
		r.twice(n.Get("id"), fmt.Sprintf("article %q", a.ID), l.Pos)
		return
	}
	if a.ID == "chosen" {
		r.Fail(n.Get("id"), codes.Word, "give the article another id", `"chosen" is the basis of an operator's own choice, and no id of an article`)
		return
	}
	l.Articles[a.ID] = a
}

func (r *reader) mechanism(l *Law, n *node) {
	o := r.Object(n, "mechanism")
	if o == nil {
		return
	}
	m := MechanismFact{
		Mechanism: o.Choice("mechanism", true, mechanisms...), Citation: o.Text("citation", true),
		Condition: o.Text("condition", false), Verified: o.Choice("verified", true, verified...),
	}
	m.Destinations = r.texts(o.Texts("destinations", false, true, r.code(place.Any)))
	o.Done()
	if m.Mechanism == "" {
		return
	}
	l.MechanismFacts = append(l.MechanismFacts, m)
	l.Mechanisms = appendNew(l.Mechanisms, m.Mechanism)
	if m.Mechanism == "adequacy" {
		for _, d := range m.Destinations {
			l.Adequate = appendNew(l.Adequate, d.Value)
		}
	}
}

func appendNew(list []string, x string) []string {
	if slices.Contains(list, x) {
		return list
	}
	return append(list, x)
}

func (r *reader) deadlines(l *Law, spec *object) {
	if o := spec.Object("breach", false); o != nil {
		l.Breach = &Breach{
			AuthorityHours: o.Number("authorityHours", 8760), AuthorityText: o.Text("authorityText", false), Users: o.Text("users", false),
			Citation: o.Text("citation", false), Verified: o.Choice("verified", false, verified...),
		}
		o.Done()
	}
	if o := spec.Object("dsr", false); o != nil {
		l.DSR = &DSR{
			AccessDays: o.Number("accessDays", 3650), ErasureDays: o.Number("erasureDays", 3650), Portability: o.Flag("portability"),
			Citation: o.Text("citation", false), Note: o.Text("note", false), Verified: o.Choice("verified", false, verified...),
		}
		o.Done()
	}
	if o := spec.Object("minors", false); o != nil {
		l.Minors = &Minors{
			Age: o.Number("age", 30), Citation: o.Text("citation", false), Note: o.Text("note", false),
			Verified: o.Choice("verified", false, verified...),
		}
		o.Done()
	}
}

func (r *reader) fact(spec *object, field, text string) *Fact {
	o := spec.Object(field, false)
	if o == nil {
		return nil
	}
	f := &Fact{Text: o.Text(text, true), Citation: o.Text("citation", false), Verified: o.Choice("verified", false, verified...)}
	o.Done()
	return f
}

// keepLaw enters a law. The shipped library is read first; an operator's copy of
// one of its files takes its place when it is identical, else it is an error:
// two truths about one law cannot both be cited.
func (r *reader) keepLaw(l *Law, name *node) {
	if l.Code == "" {
		return
	}
	if first, found := r.p.lawFrom[l.Code]; found && !(first.shipped && !r.doc.shipped && bytes.Equal(first.src, r.doc.src)) {
		fix, how := "keep one of the two files", ""
		if first.shipped {
			how = ", and not as in the shipped library"
			fix = "remove this file, or make it identical to the shipped one"
		}
		r.p.add(Problem{Pos: r.pos(name), Code: codes.LawTwice, Message: fmt.Sprintf("law %q is defined twice%s", l.Code, how),
			Why: "first at " + where(r.p.set.Laws[l.Code].Pos), Fix: fix})
		return
	}
	r.p.lawFrom[l.Code] = r.doc
	r.p.set.Laws[l.Code] = l
}

// groups reads groups.yaml.
func (r *reader) groups(root *object) {
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
		r.group(n)
	}
	spec.Done()
}

func (r *reader) group(n *node) {
	o := r.Object(n, "group")
	if o == nil {
		return
	}
	g := &Group{Pos: r.pos(n)}
	v := o.Need("name")
	if v != nil {
		g.Name = r.groupName(v)
	}
	g.Title = o.Text("title", false)
	g.FreeMovement = o.Flag("freeMovement")
	for _, m := range o.Items("members", true, false) {
		r.member(g, m)
	}
	o.Done()
	if g.Name == "" {
		return
	}
	first, found := r.p.set.Groups[g.Name]
	if found {
		from := r.p.groups[g.Name]
		same := *first
		same.Pos = g.Pos
		if !from.shipped || r.doc.shipped || !reflect.DeepEqual(same, *g) {
			r.p.add(Problem{Pos: r.pos(v), Code: codes.GroupTwice, Message: fmt.Sprintf("group %q is defined twice", g.Name),
				Why: "first at " + where(first.Pos), Fix: "remove one, or give it a name of its own"})
			return
		}
	}
	r.p.groups[g.Name] = r.doc
	r.p.set.Groups[g.Name] = g
}

func (r *reader) groupName(v *node) string {
	s, ok := r.Word(v, "group")
	switch {
	case !ok:
		return ""
	case place.IsCountry(s) || place.IsSpecial(s):
		r.Fail(v, codes.Name, "give the group a name that is no code", "group %q has the code of a jurisdiction as its name", s)
		return ""
	case !form.IsIdent(s) || s[0] < 'A' || s[0] > 'Z' || len(s) < 2:
		r.Fail(v, codes.Name, "use capitals, digits and hyphens, as in EEA", "group %q is no name%s", s, form.Odd(s))
		return ""
	}
	return s
}

func (r *reader) member(g *Group, n *node) {
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
		r.Fail(n.Get("until"), codes.Date, "until must be later than since", "member %s ends before it begins", m.Code)
	}
	for _, x := range g.Members {
		if x.Code == m.Code && overlap(x, m) {
			r.twice(v, fmt.Sprintf("member %q of %s", m.Code, g.Name), g.Pos)
			return
		}
	}
	g.Members = append(g.Members, m)
}

// overlap tells whether two rows of one member hold at the same time.
func overlap(a, b GroupMember) bool {
	return (a.Until.IsZero() || b.Since.Before(a.Until)) && (b.Until.IsZero() || a.Since.Before(b.Until))
}
