package compile

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"

	"github.com/domicile-dev/domicile/pkg/policy"
)

// TestCodesAreExplained: every code constant has a page, in order, and no code
// means something else in package policy.
func TestCodesAreExplained(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "codes.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var declared []string
	ast.Inspect(file, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && strings.HasPrefix(lit.Value, `"DP`) {
			declared = append(declared, strings.Trim(lit.Value, `"`))
		}
		return true
	})
	var explained []string
	for _, c := range Codes() {
		explained = append(explained, c.Code)
		if c.Title.IsZero() || !strings.HasSuffix(c.Page.En, ".") || !strings.HasSuffix(c.Page.Zh, "。") {
			t.Errorf("%s: title %q, page %q", c.Code, c.Title, c.Page)
		}
		if _, clash := policy.ExplainCode(c.Code); clash {
			t.Errorf("%s means something else in package policy", c.Code)
		}
	}
	if !slices.Equal(declared, explained) || !slices.IsSorted(explained) || len(declared) < 20 {
		t.Errorf("declared %v\nexplained %v", declared, explained)
	}
}
