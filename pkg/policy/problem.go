package policy

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy/source"
)

// Severity of a problem. An error stops everything; a warning does not.
type Severity string

// The severities.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Problem is one finding: what is wrong, where, why, and what to do. In JSON each
// sentence stands in both languages, beside each other: message and messageZh.
type Problem struct {
	Pos
	Code     string // DP1xxx shape, DP2xxx meaning, DP3xxx governance, DP4xxx topology, DP5xxx tests
	Severity Severity
	Message  lang.Text
	Why      lang.Text // the place it conflicts with
	Law      string    // as cited, in the language of the citation
	Fix      lang.Text
	Waiver   string // id of the waiver that makes it a warning; "" for none
	Edit     Edit   // does what Fix says, where a program may; see package mend
}

// Edit is a change of one piece of a line that a program may make.
type Edit = source.Edit

// Fixable tells whether a program may mend it.
func (p Problem) Fixable() bool { return p.Edit != Edit{} }

// problemJSON is the form of a Problem on the wire.
type problemJSON struct {
	Pos
	Code      string   `json:"code"`
	Severity  Severity `json:"severity"`
	Message   string   `json:"message"`
	MessageZh string   `json:"messageZh,omitempty"`
	Why       string   `json:"why,omitempty"`
	WhyZh     string   `json:"whyZh,omitempty"`
	Law       string   `json:"law,omitempty"`
	Fix       string   `json:"fix,omitempty"`
	FixZh     string   `json:"fixZh,omitempty"`
	Waiver    string   `json:"waiver,omitempty"`
	Edit      *Edit    `json:"edit,omitempty"`
}

// MarshalJSON writes the problem flat.
func (p Problem) MarshalJSON() ([]byte, error) {
	x := problemJSON{
		Pos: p.Pos, Code: p.Code, Severity: p.Severity, Message: p.Message.En, MessageZh: p.Message.Zh,
		Why: p.Why.En, WhyZh: p.Why.Zh, Law: p.Law, Fix: p.Fix.En, FixZh: p.Fix.Zh, Waiver: p.Waiver,
	}
	if p.Fixable() {
		x.Edit = &p.Edit
	}
	return json.Marshal(x)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (p *Problem) UnmarshalJSON(data []byte) error {
	var x problemJSON
	if err := json.Unmarshal(data, &x); err != nil {
		return fmt.Errorf("read problem: %w", err)
	}
	*p = Problem{
		Pos: x.Pos, Code: x.Code, Severity: x.Severity, Law: x.Law, Waiver: x.Waiver, Message: lang.Text{En: x.Message, Zh: x.MessageZh},
		Why: lang.Text{En: x.Why, Zh: x.WhyZh}, Fix: lang.Text{En: x.Fix, Zh: x.FixZh},
	}
	if x.Edit != nil {
		p.Edit = *x.Edit
	}
	return nil
}

// HasErrors tells whether any problem stops the set from being used.
func HasErrors(problems []Problem) bool {
	return slices.ContainsFunc(problems, func(p Problem) bool { return p.Severity == Error })
}

// Sort orders problems in place by file, line, column, code and message, and
// returns them.
func Sort(problems []Problem) []Problem {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Code, b.Code), cmp.Compare(a.Message.En, b.Message.En))
	})
	return problems
}

// where prints a place. It is no method of Pos, because Problem embeds Pos and
// would print as its place alone.
func where(p Pos) string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column) }

// firstAt is why a second definition is one too many.
func firstAt(p Pos) lang.Text { return lang.T("first at %s:%d:%d", p.File, p.Line, p.Column) }
