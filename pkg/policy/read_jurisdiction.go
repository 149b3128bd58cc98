package policy

import (
	"slices"

	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy/internal/codes"
	"github.com/domicile-dev/domicile/pkg/policy/internal/place"
	"github.com/domicile-dev/domicile/pkg/policy/internal/yamlpos"
	"github.com/domicile-dev/domicile/pkg/policy/law"
)

// Purposes returns what a transfer may be for.
func Purposes() []string { return slices.Clone(purposes) }

var purposes = []string{"serve", "entry", "cache", "directory", "deliver"}

// jurisdiction reads one jurisdictions/*.yaml.
func (r *reader) jurisdiction(root *object) {
	j := &Jurisdiction{Pos: r.pos(root.Node), Enforcement: "enforce", Rules: map[string]*Rule{}}
	if meta := root.Object("metadata", true); meta != nil {
		if v := meta.Need("name"); v != nil {
			if j.Code, _ = r.code(place.Home)(v, "home"); j.Code != "" {
				j.Pos = r.pos(v)
			}
		}
		j.Owner = meta.Text("owner", false)
		meta.Done()
	}
	spec := root.Object("spec", true)
	root.Done()
	if spec == nil {
		return
	}
	j.Laws = r.texts(spec.Texts("law", true, false, r.code(place.Law)))
	r.enforcement(j, spec)
	if v := spec.Object("review", false); v != nil {
		j.ReviewPos = r.pos(v.Node)
		j.ReviewEvery = v.Duration("every", true)
		j.ReviewLast = v.Date("last", true)
		v.Done()
	}
	r.rules(j, spec)
	if v := spec.Object("pins", false); v != nil {
		j.PinEpoch = uint64(v.Number("epoch", 999_999_999))
		v.Done()
	}
	ids := map[string]Pos{}
	for _, n := range spec.Items("transfers", false, true) {
		if t := r.transfer(n); t != nil {
			if first, found := ids[t.ID]; found {
				r.twice(n.Get("id"), lang.T("transfer %q", t.ID), first)
				continue
			}
			ids[t.ID] = t.Pos
			j.Transfers = append(j.Transfers, t)
		}
	}
	spec.Done()
	r.keep(j)
}

// keep enters a jurisdiction unless another file has its home already.
func (r *reader) keep(j *Jurisdiction) {
	if j.Code == "" {
		return
	}
	if first, found := r.p.homes[j.Code]; found {
		r.p.add(Problem{Pos: j.Pos, Code: codes.HomeTwice, Message: lang.T("home %q has rules in two files: here and at %s", j.Code, where(first)),
			Why: firstAt(first), Fix: lang.T("move all of its rules into one file")})
		return
	}
	r.p.homes[j.Code] = j.Pos
	r.p.set.Jurisdictions[j.Code] = j
}

func (r *reader) enforcement(j *Jurisdiction, spec *object) {
	if e := spec.Choice("enforcement", false, "enforce", "observe"); e != "" {
		j.Enforcement = e
	}
	observed := j.Enforcement == "observe"
	until := spec.Date("observeUntil", observed)
	switch at := spec.Node.Get("observeUntil"); {
	case observed:
		j.ObserveUntil = until
	case at != nil:
		r.Fail(at, codes.Observe, lang.T("remove it, or write enforcement: observe"),
			lang.T("observeUntil goes with enforcement: observe, and this policy is enforced"))
	}
}

// draft is what defaults or a class say of a rule, before they are merged.
type draft struct {
	serve, entry, basis []Text // nil: not said
	rule                Rule
}

func (r *reader) draft(o *object) draft {
	var d draft
	d.serve = r.texts(o.Texts("serve", false, true, r.Name))
	d.entry = r.texts(o.Texts("entry", false, false, r.Name))
	d.basis = r.texts(o.Texts("basis", false, false, r.Ident))
	if s := o.Object("session", false); s != nil {
		d.rule.MaxAge = s.Duration("maxAge", true)
		s.Done()
	}
	return d
}

// rules reads defaults and classes, and merges the first into the second.
func (r *reader) rules(j *Jurisdiction, spec *object) {
	var def draft
	if o := spec.Object("defaults", false); o != nil {
		def = r.draft(o)
		if v := o.Get("cache"); v != nil {
			r.Fail(v, codes.Misplaced, lang.T("move it to the class that may be cached"), lang.T("defaults open no cache: each class says so itself"))
		}
		o.Done()
	}
	classes := spec.Object("classes", true)
	if classes == nil {
		return
	}
	if len(classes.Node.Fields) == 0 {
		r.Fail(classes.Node, codes.Empty, lang.T("name a class, or remove the file: a home without rules is refused"), lang.T("classes is empty"))
	}
	for _, f := range classes.Node.Fields {
		name, ok := r.Name(f.Key, "class")
		if !ok {
			continue
		}
		if f.Value.Kind == yamlpos.Null {
			r.Fail(f.Key, codes.NoValue, lang.T("write %s: {} to take the defaults", name), lang.T("class %s has no value", name))
			continue
		}
		o := r.Object(f.Value, "class "+name)
		if o == nil {
			continue
		}
		at := Text{Value: name, Pos: r.pos(f.Key)}
		r.p.uses = append(r.p.uses, classUse{at, lang.T("the rule")})
		if rule := r.rule(o, at, f.Key, def); rule != nil {
			j.Rules[name] = rule
		}
	}
}

// rule merges the defaults into what a class says.
func (r *reader) rule(o *object, at Text, key *node, def draft) *Rule {
	own := r.draft(o)
	x := &Rule{Class: at.Value, Pos: at.Pos, MaxAge: own.rule.MaxAge, Serve: own.serve, Entry: own.entry, Basis: own.basis}
	if !o.Has("serve") {
		x.Serve = slices.Clone(def.serve)
	}
	if !o.Has("entry") {
		x.Entry = slices.Clone(def.entry)
	}
	if !o.Has("basis") {
		x.Basis = slices.Clone(def.basis)
	}
	if !o.Has("session") {
		x.MaxAge = def.rule.MaxAge
	}
	if c := o.Object("cache", false); c != nil {
		x.Cache = &Cache{Pos: r.pos(c.Node)}
		x.Cache.Edges = r.texts(c.Texts("edges", true, false, r.Name))
		x.Cache.Fields = r.texts(c.Texts("fields", true, false, r.Ident))
		x.Cache.TTL = c.Duration("ttl", true)
		c.Done()
	}
	o.Done()
	if x.Serve == nil && !o.Has("serve") {
		r.Fail(key, codes.Missing, lang.T("add serve: [region] to the class or to defaults; serve: [] forbids the class"), lang.T("class %s has no serve, and neither have the defaults", at.Value))
	}
	if x.Entry == nil && !o.Has("entry") && len(x.Serve) > 0 {
		r.Fail(key, codes.Missing, lang.T("add entry: [region] to the class or to defaults"), lang.T("class %s has no entry, and neither have the defaults", at.Value))
	}
	return x
}

func (r *reader) transfer(n *node) *Transfer {
	o := r.Object(n, "transfer")
	if o == nil {
		return nil
	}
	t := &Transfer{Pos: r.pos(n)}
	t.ID = o.Ident("id", true)
	t.To = r.texts(o.Texts("to", true, false, r.code(place.Any)))
	t.Classes = r.texts(o.Texts("classes", true, false, r.Name))
	for _, c := range t.Classes {
		r.p.uses = append(r.p.uses, classUse{c, lang.T("transfer %s", t.ID)})
	}
	t.For = r.texts(o.Texts("for", true, false, func(n *node, what string) (string, bool) { return r.Choice(n, what, purposes...) }))
	t.Mechanism = o.Choice("mechanism", true, law.Mechanisms...)
	t.Reference = o.Text("reference", t.Mechanism != "adequacy")
	t.ReviewBy = o.Date("reviewBy", false)
	t.Until = o.Date("until", false)
	o.Done()
	if !t.Until.IsZero() && t.ReviewBy.After(t.Until) {
		r.Warn(o.Node.Get("reviewBy"), codes.ReviewAfterEnd, lang.T("review it before it ends"), lang.T("transfer %s is to be reviewed after it has ended", t.ID))
	}
	return t
}
