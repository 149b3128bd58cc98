package conditions

import (
	"fmt"
	"strings"

	"cel.dev/expr"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	xdstypev3 "github.com/cncf/xds/go/xds/type/v3"

	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/requests"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/trusted"
)

// Binding returns the name of the header whose end a predicate compares with the
// credential of the pin, "" for every other predicate. There is one text of CEL
// that it knows; what is written in another way binds nothing.
func Binding(p *xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate) string {
	var in xdsmatcherv3.HttpAttributesCelMatchInput
	var cel xdsmatcherv3.CelMatcher
	if p.GetInput().GetTypedConfig().UnmarshalTo(&in) != nil || p.GetCustomMatch().GetTypedConfig().UnmarshalTo(&cel) != nil {
		return ""
	}
	text := celText(cel.GetExprMatch())
	header, _, _ := strings.Cut(strings.TrimPrefix(text, `request.headers["`), `"`)
	if text != fmt.Sprintf(`request.headers[%q].endsWith(request.headers[%q])`, header, trusted.PinCredential) {
		return ""
	}
	return header
}

// celText is an expression as one text, "" where it is none of those few kinds.
func celText(x *xdstypev3.CelExpression) string {
	var forms []string
	if e := x.GetCelExprParsed().GetExpr(); e != nil {
		forms = append(forms, exprText(e))
	}
	if e := x.GetCelExprChecked().GetExpr(); e != nil {
		forms = append(forms, exprText(e))
	}
	if x.GetCelExprString() != "" {
		forms = append(forms, strings.ReplaceAll(x.GetCelExprString(), "'", `"`))
	}
	if len(forms) != 1 || x.GetExprSpecifier() != nil {
		return "" // which of several Envoy takes is not ours to know
	}
	return forms[0]
}

func exprText(e *expr.Expr) string {
	switch k := e.GetExprKind().(type) {
	case *expr.Expr_IdentExpr:
		return k.IdentExpr.GetName()
	case *expr.Expr_SelectExpr:
		if k.SelectExpr.GetTestOnly() {
			return ""
		}
		return exprText(k.SelectExpr.GetOperand()) + "." + k.SelectExpr.GetField()
	case *expr.Expr_ConstExpr:
		if _, ok := k.ConstExpr.GetConstantKind().(*expr.Constant_StringValue); !ok {
			return ""
		}
		return fmt.Sprintf("%q", k.ConstExpr.GetStringValue())
	case *expr.Expr_CallExpr:
		return callText(k.CallExpr)
	}
	return ""
}

func callText(c *expr.Expr_Call) string {
	var args []string
	for _, a := range c.GetArgs() {
		args = append(args, exprText(a))
	}
	switch {
	case c.GetFunction() == "_[_]" && c.GetTarget() == nil && len(args) == 2:
		return args[0] + "[" + args[1] + "]"
	case c.GetTarget() != nil:
		return exprText(c.GetTarget()) + "." + c.GetFunction() + "(" + strings.Join(args, ", ") + ")"
	}
	return ""
}

// pinned is the condition of a request with a verified pin: none where nobody has
// verified anything.
func (r *Reader) pinned() *requests.Formula {
	if r.Anonymous {
		return r.None
	}
	return r.Unknown
}
