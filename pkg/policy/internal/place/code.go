package place

import (
	"strings"

	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy/internal/codes"
	"github.com/domicile-dev/domicile/pkg/policy/internal/form"
	"github.com/domicile-dev/domicile/pkg/policy/internal/yamlpos"
	"github.com/domicile-dev/domicile/pkg/policy/shape"
	"github.com/domicile-dev/domicile/pkg/policy/source"
)

var uses = map[Use]string{Home: shape.Home, Country: shape.Country, Any: shape.Any, Law: shape.Law}

// Code returns a reader of codes for a use.
func (k Known) Code(r *form.Reader, u Use) func(n *yamlpos.Node, what string) (string, bool) {
	return func(n *yamlpos.Node, what string) (string, bool) {
		if r.Note(n, shape.Shape{Type: shape.Code, Use: uses[u]}) {
			return "SA", true
		}
		if n.Kind == yamlpos.Null {
			r.Fail(n, codes.NoValue, lang.T(`write a code in quotes, as in "SA"`), lang.T("%s has no value", what))
			return "", false
		}
		s, ok := r.Text(n, what)
		if !ok {
			return "", false
		}
		if n.Kind == yamlpos.Plain && form.IsBoolLike(s) {
			fix := lang.T(`write a code of ISO 3166-1 in quotes, as in "SA"`)
			if up := strings.ToUpper(s); IsCountry(up) {
				fix = lang.T("write %q", up)
			}
			var edit source.Edit
			if IsCountry(s) {
				edit = form.Quote(n)
			}
			r.FailEdit(n, codes.BoolLike, edit, fix, lang.T("country code %s is unquoted; some YAML readers turn it into %s", s, boolOf(s)))
			return "", false
		}
		if why, fix := k.Fault(n.Value, u); !why.IsZero() {
			r.Fail(n, codes.Code, fix, lang.T("%s %s", what, why))
			return "", false
		}
		if n.Kind == yamlpos.Plain && k.Groups[s] == nil {
			r.Report(form.Finding{At: n, Code: codes.Unquoted, Warning: true, Fix: lang.T("write %q", s), Edit: form.Quote(n),
				Message: lang.T("code %s is unquoted; quote every code, because some YAML readers turn NO into false", s)})
		}
		return s, true
	}
}

func boolOf(s string) string {
	switch strings.ToLower(s) {
	case "y", "yes", "on", "true":
		return "true"
	}
	return "false"
}
