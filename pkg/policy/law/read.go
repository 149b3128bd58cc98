package law

import (
	"slices"

	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy/internal/codes"
	"github.com/domicile-dev/domicile/pkg/policy/internal/form"
	"github.com/domicile-dev/domicile/pkg/policy/internal/place"
	"github.com/domicile-dev/domicile/pkg/policy/internal/yamlpos"
)

var (
	duties     = []string{"required", "conditional", "recommended", "none", "unclear"}
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
		Condition: o.Text("condition", false), Verified: o.Choice("verified", true, verified...),
	}
	m.Destinations = r.Placed(o.Texts("destinations", false, true, r.code(place.Any)))
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
