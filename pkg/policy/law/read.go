package law

import (
	"slices"

	"golang.org/x/text/language"

	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy/internal/codes"
	"github.com/domicile-dev/domicile/pkg/policy/internal/form"
	"github.com/domicile-dev/domicile/pkg/policy/internal/place"
	"github.com/domicile-dev/domicile/pkg/policy/internal/yamlpos"
	"github.com/domicile-dev/domicile/pkg/policy/source"
)

var (
	duties     = []string{"required", "conditional", "recommended", "none", "unclear"}
	keeps      = []string{"copy", "only"}
	classes    = []string{"message", "metadata", "profile", "relation", "contacts", "payment", "biometric", "minors"}
	statuses   = []string{"in_force", "not_law"}
	verified   = []string{"published_page", "mixed", "knowledge"}
	confidence = []string{"high", "medium", "low"}
)

// Read reads one law/*.yaml, whose header has been read. Where the file does not
// say which law it holds, Code is empty and the law is not to be used; else Pos is
// the place of the code.
func Read(r *form.Reader, root *form.Object, known place.Known) *Law {
	l := &Law{Pos: r.Pos(root.Node), Articles: map[string]Article{}}
	reader{r, known}.law(l, root)
	return l
}

// reader reads one file.
type reader struct {
	*form.Reader
	known place.Known
}

func (r reader) law(l *Law, root *form.Object) {
	if meta := root.Object("metadata", true); meta != nil {
		if name := meta.Need("name"); name != nil {
			l.Code, _ = r.code(place.Law)(name, "law")
			l.Pos = r.Pos(name)
		}
		meta.Done()
	}
	spec := root.Object("spec", true)
	root.Done()
	if spec == nil {
		return
	}
	l.Title, l.TitleZh = spec.Text("title", true), spec.Text("titleZh", false)
	r.titles(l, spec)
	l.NotLaw = spec.Choice("status", false, statuses...) == "not_law"
	l.Citation, l.Effective = spec.Text("citation", false), spec.Text("effective", false)
	r.territory(l, spec)
	r.localisation(l, spec)
	for _, n := range spec.Items("articles", false, true) {
		r.article(l, n)
	}
	for _, n := range spec.Items("mechanisms", false, true) {
		r.mechanism(l, n)
	}
	l.FreeFlow = r.fact(spec, "freeFlow", "text")
	for _, n := range spec.Items("exportLimits", false, true) {
		r.exportLimit(l, n)
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
}

// titles reads the titles in languages other than English and simplified Chinese,
// which have fields of their own.
func (r reader) titles(l *Law, spec *form.Object) {
	seen := map[string]source.Pos{}
	for _, n := range spec.Items("titlesLocal", false, true) {
		o := r.Object(n, "local title")
		if o == nil {
			continue
		}
		v := o.Need("lang")
		t := LocalTitle{Title: o.Text("title", true)}
		o.Done()
		if v == nil {
			continue
		}
		if t.Lang = r.language(v); t.Lang == "" {
			continue
		}
		if first, found := seen[t.Lang]; found {
			r.Twice(v, lang.T("the title in %q", t.Lang), first)
			continue
		}
		seen[t.Lang] = r.Pos(v)
		l.TitlesLocal = append(l.TitlesLocal, t)
	}
}

func (r reader) language(n *yamlpos.Node) string {
	s, ok := r.Word(n, "lang")
	if !ok {
		return ""
	}
	tag, err := language.Parse(s)
	if err != nil || tag.String() != s {
		fix := lang.T("write a tag of BCP 47, as in ar, pt-BR, zh-Hant")
		if err == nil {
			fix = lang.T("write %q", tag)
		}
		r.Fail(n, codes.Word, fix, lang.T("lang is %q, which is no language tag in its canonical form", s))
		return ""
	}
	base, _ := tag.Base()
	script, _ := tag.Script()
	if base.String() == "en" || base.String() == "zh" && script.String() != "Hant" {
		r.Fail(n, codes.Misplaced, lang.T("write the title into title or titleZh"), lang.T("lang is %q, whose title has a field of its own", s))
		return ""
	}
	return s
}

func (r reader) localisation(l *Law, spec *form.Object) {
	o := spec.Object("localisation", true)
	if o == nil {
		return
	}
	x := Localisation{
		Duty: o.Choice("duty", true, duties...), Keeps: r.keeps(o), Scope: o.Text("scope", false), Trigger: o.Text("trigger", false),
	}
	if c := o.Object("classes", false); c != nil {
		x.Classes = map[string]string{}
		for _, name := range classes {
			if level := c.Choice(name, false, duties...); level != "" {
				x.Classes[name] = level
			}
		}
		c.Done()
	}
	for _, n := range o.Items("variants", false, true) {
		if v := r.Object(n, "variant"); v != nil {
			x.Variants = append(x.Variants, Variant{
				AppliesTo: v.Text("appliesTo", true), Duty: v.Choice("duty", true, duties...), Keeps: r.keeps(v),
				Trigger: v.Text("trigger", false), Citation: v.Text("citation", true),
			})
			v.Done()
		}
	}
	x.Citation, x.Verified = o.Text("citation", false), o.Choice("verified", false, verified...)
	o.Done()
	l.Localisation, l.Duty = x, x.Duty
}

// keeps reads what must be in the country; without a duty nothing must.
func (r reader) keeps(o *form.Object) string {
	s := o.Choice("keeps", false, keeps...)
	if duty := o.Node.Get("duty"); s != "" && duty != nil && duty.Value != "required" && duty.Value != "conditional" {
		r.Fail(o.Node.Get("keeps"), codes.Misplaced, lang.T("remove it, or write the duty that the law imposes"),
			lang.T("keeps is %q, but the duty is %q: nothing must be kept in the country", s, duty.Value))
	}
	return s
}

func (r reader) territory(l *Law, spec *form.Object) {
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

func (r reader) lines(o *form.Object, field string) []string {
	return form.Values(o.Texts(field, false, true, r.Text))
}

func (r reader) article(l *Law, n *yamlpos.Node) {
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
		r.Twice(n.Get("id"), lang.T("article %q", a.ID), l.Pos)
		return
	}
	if a.ID == "chosen" {
		r.Fail(n.Get("id"), codes.Word, lang.T("give the article another id"), lang.T(`"chosen" is the basis of an operator's own choice, and no id of an article`))
		return
	}
	l.Articles[a.ID] = a
}

func (r reader) mechanism(l *Law, n *yamlpos.Node) {
	o := r.Object(n, "mechanism")
	if o == nil {
		return
	}
	m := MechanismFact{
		Mechanism: o.Choice("mechanism", true, Mechanisms...), Citation: o.Text("citation", true),
		Condition:    o.Text("condition", false),
		Destinations: r.Placed(o.Texts("destinations", false, true, r.code(place.Any))), Verified: o.Choice("verified", true, verified...),
	}
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

func (r reader) exportLimit(l *Law, n *yamlpos.Node) {
	o := r.Object(n, "export limit")
	if o == nil {
		return
	}
	x := ExportLimit{
		Citation: o.Text("citation", true), Condition: o.Text("condition", true),
		Destinations: r.Placed(o.Texts("destinations", true, false, r.code(place.Any))), Verified: o.Choice("verified", true, verified...),
	}
	o.Done()
	l.ExportLimits = append(l.ExportLimits, x)
}

func appendNew(list []string, x string) []string {
	if slices.Contains(list, x) {
		return list
	}
	return append(list, x)
}

func (r reader) deadlines(l *Law, spec *form.Object) {
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

func (r reader) fact(spec *form.Object, field, text string) *Fact {
	o := spec.Object(field, false)
	if o == nil {
		return nil
	}
	f := &Fact{Text: o.Text(text, true), Citation: o.Text("citation", false), Verified: o.Choice("verified", false, verified...)}
	o.Done()
	return f
}

func (r reader) code(u place.Use) func(n *yamlpos.Node, what string) (string, bool) {
	return r.known.Code(r.Reader, u)
}
