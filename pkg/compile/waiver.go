package compile

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/policy/nearest"
)

// waivable is the closed set of findings that a waiver may excuse: never shape,
// borders or leaks.
var waivable = []string{CodeDutyShortfall, CodeReviewDue, CodeReviewAhead, CodeNoBasis, CodeNoReviewDate, CodeNotInForce, CodeExportLimit}

// excuse looks for a waiver of a finding in the scope of a home and class. It
// returns one that is in force; ended tells that one was until its end has come.
// Class is "" for a finding about the home as a whole.
func (b *builder) excuse(code, home, class string) (w *policy.Waiver, ended bool) {
	if !b.set.Deployment.AllowWaivers {
		return nil, false
	}
	for _, x := range b.set.Waivers {
		wide := len(x.Classes) == 0
		if x.Code != code || x.Home != home || !wide && !slices.ContainsFunc(x.Classes, func(t policy.Text) bool { return t.Value == class }) {
			continue
		}
		b.waived[x.ID] = true
		switch {
		case b.at.Before(x.Since):
		case b.at.Before(x.Until):
			if code == CodeDutyShortfall { // the only one that changes the table
				b.note(x.Until)
			}
			return x, false
		default:
			ended = true
		}
	}
	return nil, ended
}

// govern reports a finding of governance, which a waiver may excuse: in every
// class that it concerns, or for the home as a whole where classes is empty.
func (b *builder) govern(home string, classes []string, p policy.Problem) {
	if len(classes) == 0 {
		classes = []string{""}
	}
	var first *policy.Waiver
	for _, class := range classes {
		w, _ := b.excuse(p.Code, home, class)
		if w == nil {
			b.add(p)
			return
		}
		if first == nil {
			first = w
		}
	}
	b.add(waive(p, first))
}

// waive turns a finding into a warning that names the waiver.
func waive(p policy.Problem, w *policy.Waiver) policy.Problem {
	p.Severity, p.Waiver = policy.Warning, w.ID
	by := lang.T("waived by %s until %s: %s (%s:%d)", w.ID, w.Until.UTC().Format(day), w.Reason, w.Pos.File, w.Pos.Line)
	if !p.Why.IsZero() {
		by = lang.Join([]lang.Text{p.Why, by}, lang.T("; "))
	}
	p.Why = by
	return p
}

// checkWaivers judges the waivers themselves, after all that they may excuse.
func (b *builder) checkWaivers() {
	d := b.set.Deployment
	for _, w := range b.set.Waivers {
		fault := func(code string, fix, message lang.Text) {
			b.add(policy.Problem{Pos: w.Pos, Code: code, Severity: policy.Error, Message: message, Fix: fix})
		}
		switch {
		case !d.AllowWaivers:
			fault(CodeWaiverForbidden, lang.T("remove it, or write waivers: {allow: true} in deployment.yaml"), lang.T("waiver %s: the deployment allows no waivers", w.ID))
		case !slices.Contains(waivable, w.Code):
			fault(CodeNotWaivable, lang.T("mend what it excuses; only these can be waived: %s", strings.Join(waivable, ", ")),
				lang.T("waiver %s: %s cannot be waived", w.ID, w.Code))
		case b.set.Jurisdictions[w.Home] == nil:
			b.unknown(policy.Text{Value: w.Home, Pos: w.Pos}, CodeUnknownHome, lang.T("home"), slices.Collect(maps.Keys(b.set.Jurisdictions)))
		default:
			b.checkTerm(w)
		}
		b.checkApprovers(w)
	}
}

// checkApprovers wants every approver to be one whose signature counts.
func (b *builder) checkApprovers(w *policy.Waiver) {
	var known []string
	for _, s := range b.set.Deployment.Signers {
		known = append(known, s.Name)
	}
	if len(known) == 0 {
		return
	}
	for _, name := range w.ApprovedBy {
		if slices.Contains(known, name) {
			continue
		}
		fix := lang.T("name one of: %s", strings.Join(known, ", "))
		if near := nearest.Word(name, known); near != "" {
			fix = lang.T("did you mean %q?", near)
		}
		b.add(policy.Problem{Pos: w.Pos, Code: CodeWaiverApprover, Severity: policy.Error,
			Message: lang.T("waiver %s is approved by %q, who is no signer of the deployment", w.ID, name), Fix: fix})
	}
}

// checkTerm says when a waiver ends, has ended, or excuses nothing.
func (b *builder) checkTerm(w *policy.Waiver) {
	until := w.Until.UTC().Format(day)
	switch left := w.Until.Sub(b.at); {
	case !b.waived[w.ID]:
		b.warn(w.Pos, CodeWaiverUnused, lang.T("remove it"), lang.T("waiver %s of %s excuses nothing: there is no %s in its scope", w.ID, w.Home, w.Code))
	case left <= 0:
		b.warn(w.Pos, CodeWaiverEnded, lang.T("mend what it excused, or renew it with a new approval"),
			lang.T("waiver %s of %s ended on %s: it excuses %s no longer", w.ID, w.Home, until, w.Code))
	case left <= notice && left < w.Until.Sub(w.Since)-time.Nanosecond:
		b.warn(w.Pos, CodeWaiverEnding, lang.T("mend what it excuses in time"), lang.T("waiver %s of %s ends on %s", w.ID, w.Home, until))
	}
}

// checkDenials refuses a denial of a home that nobody can have: the brake would
// hold nothing.
func (b *builder) checkDenials() {
	for _, d := range b.set.Denials {
		if b.homes[d.Home] || b.set.Jurisdictions[d.Home] != nil {
			continue
		}
		known := slices.Concat(slices.Collect(maps.Keys(b.homes)), slices.Collect(maps.Keys(b.set.Jurisdictions)))
		b.unknown(policy.Text{Value: d.Home, Pos: d.Pos}, CodeUnknownHome, lang.T("home"), known)
	}
}
