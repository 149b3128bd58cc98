package policy

import (
	"bytes"
	"fmt"
	"reflect"
)

var (
	duties     = []string{"required", "conditional", "recommended", "none", "unclear"}
	verified   = []string{"published_page", "mixed", "knowledge"}
	confidence = []string{"high", "medium", "low"}
)

// law reads one law/*.yaml.
func (r *reader) law(root *object) {
	l := &Law{Pos: r.pos(root.node), Articles: map[string]Article{}}
	var name *node
	if meta := root.object("metadata", true); meta != nil {
		if name = meta.need("name"); name != nil {
			l.Code, _ = r.code(useLaw)(name, "law")
			l.Pos = r.pos(name)
		}
		meta.done()
	}
	spec := root.object("spec", true)
	root.done()
	if spec == nil {
		return
	}
	l.Title, l.TitleZh = spec.text("title", true), spec.text("titleZh", false)
	l.Status, l.Citation, l.Effective = spec.text("status", false), spec.text("citation", false), spec.text("effective", false)
	r.territory(l, spec)
	if o := spec.object("localisation", true); o != nil {
		l.Localisation = Localisation{
			Duty: o.choice("duty", true, duties...), Scope: o.text("scope", false), Trigger: o.text("trigger", false),
			Citation: o.text("citation", false), Verified: o.choice("verified", false, verified...),
		}
		l.Duty = l.Localisation.Duty
		o.done()
	}
	for _, n := range spec.items("articles", false, true) {
		r.article(l, n)
	}
	for _, n := range spec.items("mechanisms", false, true) {
		r.mechanism(l, n)
	}
	r.deadlines(l, spec)
	l.Retention, l.LawfulAccess = r.fact(spec, "retention", "duty"), r.fact(spec, "lawfulAccess", "text")
	l.Notes, l.Pending, l.Unverified = r.lines(spec, "notes"), r.lines(spec, "pending"), r.lines(spec, "unverified")
	l.Confidence = spec.choice("confidence", false, confidence...)
	l.ReviewBy = spec.date("reviewBy", true)
	if o := spec.object("sources", false); o != nil {
		l.SourcesOfficial, l.SourcesPublished = r.lines(o, "official"), r.lines(o, "published")
		o.done()
	}
	spec.done()
	r.keepLaw(l, name)
}

func (r *reader) territory(l *Law, spec *object) {
	if v := spec.get("country"); v != nil {
		l.Country, _ = r.code(useCountry)(v, "country")
	}
	l.SeparateTerritory = spec.flag("separateTerritory")
	if v := spec.get("adds"); v != nil {
		l.Adds, _ = r.code(useLaw)(v, "adds")
	}
	if isSpecial(l.Code) && l.Country == "" && !spec.has("country") {
		l.Country = l.Code[:2]
	}
}

func (r *reader) lines(o *object, field string) []string {
	return values(o.texts(field, false, true, r.text))
}

func (r *reader) article(l *Law, n *node) {
	o := r.object(n, "article")
	if o == nil {
		return
	}
	a := Article{
		ID: o.ident("id", true), Citation: o.text("citation", true), Says: o.text("says", true),
		Source: o.text("source", false), Verified: o.choice("verified", true, verified...),
	}
	o.done()
	if _, found := l.Articles[a.ID]; found && a.ID != "" {
		r.twice(n.Get("id"), fmt.Sprintf("article %q", a.ID), l.Pos)
		return
	}
	if a.ID == "chosen" {
		r.fail(n.Get("id"), CodeWord, "give the article another id", `"chosen" is the basis of an operator's own choice, and no id of an article`)
		return
	}
	l.Articles[a.ID] = a
}

func (r *reader) mechanism(l *Law, n *node) {
	o := r.object(n, "mechanism")
	if o == nil {
		return
	}
	m := MechanismFact{
		Mechanism: o.choice("mechanism", true, mechanisms...), Citation: o.text("citation", true),
		Condition: o.text("condition", false), Verified: o.choice("verified", true, verified...),
	}
	m.Destinations = o.texts("destinations", false, true, r.code(usePlace))
	o.done()
	if m.Mechanism == "" {
		return
	}
	l.MechanismFacts = append(l.MechanismFacts, m)
	l.Mechanisms = appendNew(l.Mechanisms, m.Mechanism)
	if m.Mechanism == "adequacy" {
		l.Adequate = appendNew(l.Adequate, values(m.Destinations)...)
	}
}

func appendNew(list []string, more ...string) []string {
next:
	for _, x := range more {
		for _, y := range list {
			if x == y {
				continue next
			}
		}
		list = append(list, x)
	}
	return list
}

func (r *reader) deadlines(l *Law, spec *object) {
	if o := spec.object("breach", false); o != nil {
		l.Breach = &Breach{
			AuthorityHours: o.number("authorityHours", 8760), AuthorityText: o.text("authorityText", false), Users: o.text("users", false),
			Citation: o.text("citation", false), Verified: o.choice("verified", false, verified...),
		}
		o.done()
	}
	if o := spec.object("dsr", false); o != nil {
		l.DSR = &DSR{
			AccessDays: o.number("accessDays", 3650), ErasureDays: o.number("erasureDays", 3650), Portability: o.flag("portability"),
			Citation: o.text("citation", false), Note: o.text("note", false), Verified: o.choice("verified", false, verified...),
		}
		o.done()
	}
	if o := spec.object("minors", false); o != nil {
		l.Minors = &Minors{
			Age: o.number("age", 30), Citation: o.text("citation", false), Note: o.text("note", false),
			Verified: o.choice("verified", false, verified...),
		}
		o.done()
	}
}

func (r *reader) fact(spec *object, field, text string) *Fact {
	o := spec.object(field, false)
	if o == nil {
		return nil
	}
	f := &Fact{Text: o.text(text, true), Citation: o.text("citation", false), Verified: o.choice("verified", false, verified...)}
	o.done()
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
		r.p.add(Problem{Pos: r.pos(name), Code: CodeLawTwice, Message: fmt.Sprintf("law %q is defined twice%s", l.Code, how),
			Why: "first at " + where(r.p.set.Laws[l.Code].Pos), Fix: fix})
		return
	}
	r.p.lawFrom[l.Code] = r.doc
	r.p.set.Laws[l.Code] = l
}

// groups reads groups.yaml.
func (r *reader) groups(root *object) {
	if meta := root.object("metadata", false); meta != nil {
		meta.name("name", false)
		meta.done()
	}
	spec := root.object("spec", true)
	root.done()
	if spec == nil {
		return
	}
	for _, n := range spec.items("groups", true, false) {
		r.group(n)
	}
	spec.done()
}

func (r *reader) group(n *node) {
	o := r.object(n, "group")
	if o == nil {
		return
	}
	g := &Group{Pos: r.pos(n)}
	v := o.need("name")
	if v != nil {
		g.Name = r.groupName(v)
	}
	g.Title = o.text("title", false)
	g.FreeMovement = o.flag("freeMovement")
	for _, m := range o.items("members", true, false) {
		r.member(g, m)
	}
	o.done()
	if g.Name == "" {
		return
	}
	first, found := r.p.set.Groups[g.Name]
	if found {
		from := r.p.groups[g.Name]
		same := *first
		same.Pos = g.Pos
		if !from.shipped || r.doc.shipped || !reflect.DeepEqual(same, *g) {
			r.p.add(Problem{Pos: r.pos(v), Code: CodeGroupTwice, Message: fmt.Sprintf("group %q is defined twice", g.Name),
				Why: "first at " + where(first.Pos), Fix: "remove one, or give it a name of its own"})
			return
		}
	}
	r.p.groups[g.Name] = r.doc
	r.p.set.Groups[g.Name] = g
}

func (r *reader) groupName(v *node) string {
	s, ok := r.word(v, "group")
	switch {
	case !ok:
		return ""
	case countries[s] != "" || isSpecial(s):
		r.fail(v, CodeName, "give the group a name that is no code", "group %q has the code of a jurisdiction as its name", s)
		return ""
	case !isIdent(s) || s[0] < 'A' || s[0] > 'Z' || len(s) < 2:
		r.fail(v, CodeName, "use capitals, digits and hyphens, as in EEA", "group %q is no name%s", s, odd(s))
		return ""
	}
	return s
}

func (r *reader) member(g *Group, n *node) {
	o := r.object(n, "member")
	if o == nil {
		return
	}
	var m GroupMember
	v := o.need("code")
	if v != nil {
		m.Code, _ = r.code(useHome)(v, "code")
	}
	m.Since, m.Until = o.date("since", false), o.date("until", false)
	m.Source = o.text("source", false)
	o.done()
	if m.Code == "" {
		return
	}
	if !m.Until.IsZero() && !m.Since.Before(m.Until) {
		r.fail(n.Get("until"), CodeDate, "until must be later than since", "member %s ends before it begins", m.Code)
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
