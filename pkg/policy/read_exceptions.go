package policy

import (
	"cmp"
	"slices"
	"time"

	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy/internal/codes"
	"github.com/domicile-dev/domicile/pkg/policy/internal/form"
	"github.com/domicile-dev/domicile/pkg/policy/internal/place"
)

// MaxWaiver is how long a waiver may excuse a finding.
const MaxWaiver = 90 * 24 * time.Hour

// waiver reads one waivers/*.yaml.
func (r *reader) waiver(root *object) {
	w := &Waiver{Pos: r.pos(root.Node)}
	if meta := root.Object("metadata", true); meta != nil {
		if w.ID = meta.Ident("name", true); w.ID != "" {
			w.Pos = r.pos(meta.Node.Get("name"))
		}
		w.Owner = meta.Text("owner", true)
		meta.Done()
	}
	spec := root.Object("spec", true)
	root.Done()
	if spec == nil {
		return
	}
	w.Code = spec.Ident("code", true)
	if v := spec.Need("home"); v != nil {
		w.Home, _ = r.code(place.Home)(v, "home")
	}
	w.Classes = r.texts(spec.Texts("classes", false, false, r.Name))
	for _, c := range w.Classes {
		r.p.uses = append(r.p.uses, classUse{c, lang.T("the waiver")})
	}
	w.Reason, w.Reference = spec.Text("reason", true), spec.Text("reference", true)
	w.ApprovedBy = form.Values(spec.Texts("approvedBy", true, false, r.Ident))
	w.Since, w.Until = spec.Date("since", true), spec.Date("until", true)
	spec.Done()
	if at := spec.Node.Get("until"); !w.Since.IsZero() && !w.Until.IsZero() {
		switch long := w.Until.Sub(w.Since); {
		case long <= 0:
			r.Fail(at, codes.Date, lang.T("until must be later than since"), lang.T("the waiver ends before it begins"))
		case long > MaxWaiver:
			r.Fail(at, codes.WaiverTerm, lang.T("write %s or earlier, and mend what it excuses by then", w.Since.Add(MaxWaiver).Format(time.DateOnly)),
				lang.T("the waiver lasts %d days; the most is %d", int(long.Hours()/24), int(MaxWaiver.Hours()/24)))
		}
	}
	if first := slices.IndexFunc(r.p.set.Waivers, func(x *Waiver) bool { return x.ID == w.ID }); first >= 0 && w.ID != "" {
		r.p.add(Problem{Pos: w.Pos, Code: codes.Twice, Message: lang.T("%s is defined twice", lang.T("waiver %q", w.ID)),
			Why: firstAt(r.p.set.Waivers[first].Pos), Fix: lang.T("remove one, or rename it")})
		return
	}
	r.p.set.Waivers = append(r.p.set.Waivers, w)
}

// denials reads denials.yaml. A denial that stands twice forbids no more than one,
// so it is kept once.
func (r *reader) denials(root *object) {
	if meta := root.Object("metadata", false); meta != nil {
		meta.Text("name", false)
		meta.Done()
	}
	spec := root.Object("spec", true)
	root.Done()
	if spec == nil {
		return
	}
	for _, n := range spec.Items("denials", true, true) {
		r.denial(n)
	}
	spec.Done()
}

func (r *reader) denial(n *node) {
	o := r.Object(n, "denial")
	if o == nil {
		return
	}
	d := Denial{Pos: r.pos(n)}
	if v := o.Need("home"); v != nil {
		d.Home, _ = r.code(place.Home)(v, "home")
	}
	classes := r.texts(o.Texts("classes", false, false, r.Name))
	d.Reason, d.By = o.Text("reason", true), o.Text("by", true)
	d.At = o.Instant("at", true)
	o.Done()
	if d.Home == "" {
		return
	}
	if classes == nil {
		classes = []Text{{}}
	}
	for _, c := range classes {
		if c.Value != "" {
			r.p.uses = append(r.p.uses, classUse{c, lang.T("the denial")})
		}
		d.Class = c.Value
		if !slices.ContainsFunc(r.p.set.Denials, func(x Denial) bool { return x.Home == d.Home && x.Class == d.Class }) {
			r.p.set.Denials = append(r.p.set.Denials, d)
		}
	}
}

// sortExceptions gives waivers and denials the order that Set promises.
func (s *Set) sortExceptions() {
	slices.SortFunc(s.Waivers, func(a, b *Waiver) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(s.Denials, func(a, b Denial) int { return cmp.Or(cmp.Compare(a.Home, b.Home), cmp.Compare(a.Class, b.Class)) })
}
