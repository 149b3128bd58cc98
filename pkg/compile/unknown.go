package compile

import (
	"slices"
	"strings"

	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/policy/nearest"
)

// unknown reports a name that means nothing, with the nearest one that does.
func (b *builder) unknown(t policy.Text, code string, what lang.Text, candidates []string) {
	fix := lang.T("define it, or remove it here")
	if near := nearest.Word(t.Value, candidates); near != "" {
		fix = lang.T("did you mean %q?", near)
	}
	b.add(policy.Problem{
		Pos: t.Pos, Code: code, Severity: policy.Error,
		Message: lang.T("unknown %s %q", what, t.Value), Fix: fix,
	})
}

// manyLaws is how many codes a fix lists at most.
const manyLaws = 12

// unknownLaw reports a code without a law file. It proposes no near code: each
// code is a place of its own, and the law of another one is no better spelling.
// Of many known laws it lists those of the same country.
func (b *builder) unknownLaw(t policy.Text, known []string) {
	fix := lang.T("add law/%s.yaml (kind: Law; title, localisation and reviewBy are required)", strings.ToLower(t.Value))
	if len(known) > manyLaws {
		country, _, _ := strings.Cut(t.Value, "-")
		known = slices.DeleteFunc(known, func(code string) bool { return code != country && !strings.HasPrefix(code, country+"-") })
	}
	if slices.Sort(known); len(known) > 0 {
		fix = lang.T("%s, or use one of: %s", fix, strings.Join(known, ", "))
	}
	b.add(policy.Problem{
		Pos: t.Pos, Code: CodeUnknownLaw, Severity: policy.Error,
		Message: lang.T("unknown law %q: there is no law file for it", t.Value), Fix: fix,
	})
}
