package policy

import (
	"fmt"
	"slices"

	"github.com/domicile-dev/domicile/pkg/policy/internal/yamlpos"
)

var (
	mechanisms = []string{"adequacy", "scc", "bcr", "certification", "consent", "approval", "derogation"}
	purposes   = []string{"serve", "entry", "cache", "directory", "deliver"}
)

// jurisdiction reads one jurisdictions/*.yaml.
func (r *reader) jurisdiction(root *object) {
	j := &Jurisdiction{Pos: r.pos(root.node), Enforcement: "enforce", Rules: map[string]*Rule{}}
	if meta := root.object("metadata", true); meta != nil {
		if v := meta.need("name"); v != nil {
			if j.Code, _ = r.code(useHome)(v, "home"); j.Code != "" {
				j.Pos = r.pos(v)
			}
		}
		j.Owner = meta.text("owner", false)
		meta.done()
	}
	spec := root.object("spec", true)
	root.done()
	if spec == nil {
		return
	}
	j.Laws = spec.texts("law", true, false, r.code(useLaw))
	r.enforcement(j, spec)
	if v := spec.object("review", false); v != nil {
		j.ReviewEvery = v.duration("every", true)
		j.ReviewLast = v.date("last", true)
		v.done()
	}
	r.rules(j, spec)
	ids := map[string]Pos{}
	for _, n := range spec.items("transfers", false, true) {
		if t := r.transfer(n); t != nil {
			if first, found := ids[t.ID]; found {
				r.twice(n.Get("id"), fmt.Sprintf("transfer %q", t.ID), first)
				continue
			}
			ids[t.ID] = t.Pos
			j.Transfers = append(j.Transfers, t)
		}
	}
	spec.done()
	r.keep(j)
}

// keep enters a jurisdiction unless another file has its home already.
func (r *reader) keep(j *Jurisdiction) {
	if j.Code == "" {
		return
	}
	if first, found := r.p.homes[j.Code]; found {
		r.p.add(Problem{Pos: j.Pos, Code: CodeHomeTwice, Message: fmt.Sprintf("home %q has rules in two files: here and at %s", j.Code, where(first)),
			Why: "first at " + where(first), Fix: "move all of its rules into one file"})
		return
	}
	r.p.homes[j.Code] = j.Pos
	r.p.set.Jurisdictions[j.Code] = j
}

func (r *reader) enforcement(j *Jurisdiction, spec *object) {
	if e := spec.choice("enforcement", false, "enforce", "observe"); e != "" {
		j.Enforcement = e
	}
	j.ObserveUntil = spec.date("observeUntil", false)
	if j.Enforcement == "observe" {
		r.fail(spec.node.Get("enforcement"), CodeObserve, "write enforce, or leave the jurisdiction out until it is to be enforced",
			"observe is not available yet in this version: policies are always enforced")
	}
}

// draft is what defaults or a class say of a rule, before they are merged.
type draft struct {
	serve, entry, basis []Text // nil: not said
	rule                Rule
}

func (r *reader) draft(o *object) draft {
	var d draft
	d.serve = o.texts("serve", false, true, r.name)
	d.entry = o.texts("entry", false, false, r.name)
	d.basis = o.texts("basis", false, false, r.ident)
	if s := o.object("session", false); s != nil {
		d.rule.MaxAge = s.duration("maxAge", true)
		s.done()
	}
	return d
}

// rules reads defaults and classes, and merges the first into the second.
func (r *reader) rules(j *Jurisdiction, spec *object) {
	var def draft
	if o := spec.object("defaults", false); o != nil {
		def = r.draft(o)
		if v := o.get("cache"); v != nil {
			r.fail(v, CodeMisplaced, "move it to the class that may be cached", "defaults open no cache: each class says so itself")
		}
		o.done()
	}
	classes := spec.object("classes", true)
	if classes == nil {
		return
	}
	if len(classes.node.Fields) == 0 {
		r.fail(classes.node, CodeEmpty, "name a class, or remove the file: a home without rules is refused", "classes is empty")
	}
	for _, f := range classes.node.Fields {
		name, ok := r.name(f.Key, "class")
		if !ok {
			continue
		}
		if f.Value.Kind == yamlpos.Null {
			r.fail(f.Key, CodeNoValue, fmt.Sprintf("write %s: {} to take the defaults", name), "class %s has no value", name)
			continue
		}
		o := r.object(f.Value, "class "+name)
		if o == nil {
			continue
		}
		at := Text{name, r.pos(f.Key)}
		r.p.uses = append(r.p.uses, classUse{at, "the rule"})
		if rule := r.rule(o, at, f.Key, def); rule != nil {
			j.Rules[name] = rule
		}
	}
}

// rule merges the defaults into what a class says.
func (r *reader) rule(o *object, at Text, key *node, def draft) *Rule {
	own := r.draft(o)
	x := &Rule{Class: at.Value, Pos: at.Pos, MaxAge: own.rule.MaxAge, Serve: own.serve, Entry: own.entry, Basis: own.basis}
	if !o.has("serve") {
		x.Serve = slices.Clone(def.serve)
	}
	if !o.has("entry") {
		x.Entry = slices.Clone(def.entry)
	}
	if !o.has("basis") {
		x.Basis = slices.Clone(def.basis)
	}
	if !o.has("session") {
		x.MaxAge = def.rule.MaxAge
	}
	if c := o.object("cache", false); c != nil {
		x.Cache = &Cache{Pos: r.pos(c.node)}
		x.Cache.Edges = c.texts("edges", true, false, r.name)
		x.Cache.Fields = c.texts("fields", true, false, r.ident)
		x.Cache.TTL = c.duration("ttl", true)
		c.done()
	}
	o.done()
	if x.Serve == nil && !o.has("serve") {
		r.fail(key, CodeMissing, "add serve: [region] to the class or to defaults; serve: [] forbids the class", "class %s has no serve, and neither have the defaults", at.Value)
	}
	if x.Entry == nil && !o.has("entry") && len(x.Serve) > 0 {
		r.fail(key, CodeMissing, "add entry: [region] to the class or to defaults", "class %s has no entry, and neither have the defaults", at.Value)
	}
	return x
}

func (r *reader) transfer(n *node) *Transfer {
	o := r.object(n, "transfer")
	if o == nil {
		return nil
	}
	t := &Transfer{Pos: r.pos(n)}
	t.ID = o.ident("id", true)
	t.To = o.texts("to", true, false, r.code(usePlace))
	t.Classes = o.texts("classes", true, false, r.name)
	for _, c := range t.Classes {
		r.p.uses = append(r.p.uses, classUse{c, "transfer " + t.ID})
	}
	t.For = o.texts("for", true, false, func(n *node, what string) (string, bool) { return r.choice(n, what, purposes...) })
	t.Mechanism = o.choice("mechanism", true, mechanisms...)
	t.Reference = o.text("reference", t.Mechanism != "adequacy")
	t.ReviewBy = o.date("reviewBy", false)
	t.Until = o.date("until", false)
	o.done()
	if !t.Until.IsZero() && t.ReviewBy.After(t.Until) {
		r.warn(o.node.Get("reviewBy"), CodeReviewAfterEnd, "review it before it ends", "transfer %s is to be reviewed after it has ended", t.ID)
	}
	return t
}
