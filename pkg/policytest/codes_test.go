package policytest

import (
	"slices"
	"strings"
	"testing"

	"github.com/domicile-dev/domicile/pkg/compile"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/policy/suppress"
)

// TestCodes: the table is complete and sorted, and no code has two meanings.
func TestCodes(t *testing.T) {
	var names []string
	for _, c := range Codes() {
		names = append(names, c.Code)
		if c.Title.IsZero() || !strings.HasSuffix(c.Page.En, ".") || !strings.HasSuffix(c.Page.Zh, "。") {
			t.Errorf("%s is not explained", c.Code)
		}
		if got, ok := ExplainCode(c.Code); !ok || got != c {
			t.Errorf("ExplainCode(%s) = %+v, %v", c.Code, got, ok)
		}
	}
	if once := slices.Compact(slices.Clone(names)); !slices.IsSorted(names) || len(once) != len(names) {
		t.Errorf("not sorted, or a code twice: %v", names)
	}
	for _, c := range slices.Concat(policy.Codes(), compile.Codes(), suppress.CodeInfos(), codeInfos) {
		if got, _ := ExplainCode(c.Code); got != c {
			t.Errorf("%s means %q and %q", c.Code, c.Title, got.Title)
		}
	}
	for _, unknown := range []string{"", "DP0000", "DP9999", "dp5001"} {
		if _, ok := ExplainCode(unknown); ok {
			t.Errorf("%q is explained", unknown)
		}
	}
}
