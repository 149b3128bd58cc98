package policytest

import (
	"cmp"
	"slices"

	"github.com/domicile-dev/domicile/pkg/compile"
	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/policy/suppress"
)

// The codes of cases that test nothing. They are stable.
const (
	// CodeNotEvaluated marks a case in which no rule ran, so that nothing was tested.
	CodeNotEvaluated = "DP5001"
	// CodeUnknownName marks a case that names something that does not exist.
	CodeUnknownName = "DP5101"
	// CodeCoverage marks tests that reach less than what is asked of them.
	CodeCoverage = "DP5102"
)

var codeInfos = []policy.CodeInfo{
	{Code: CodeNotEvaluated, Title: lang.T("a case in which no rule ran"), Page: lang.T("The case expects what a rule decides, and there is no rule for its home and class. It would pass whatever the rules say, also where it asks about a cache or a transfer. Give it a class that has a rule; only no-rule and no-class may be expected without one.")},
	{Code: CodeUnknownName, Title: lang.T("a case that names what does not exist"), Page: lang.T("The case names a home, class, region, edge, field, destination, purpose, transfer or deny reason that the policy does not have, so it can test nothing. The message names the nearest one.")},
	{Code: CodeCoverage, Title: lang.T("tests that reach too little"), Page: lang.T("domicile test was called with --min-coverage, and the cases ask for the decision of a smaller share of the rules, or of the cells of home and class, than that. The share is rounded down, so that 100 means all. The line never asked lists the cells; write a case with entry for each, which expects no-rule where there is no rule on purpose, or let domicile test --record write it.")},
}

// Codes explains every code that may be reported of a policy, sorted: those of
// reading it (package policy), of compiling it (package compile) and of its
// tests. Tests are the last of the three stages, so the table stands here.
func Codes() []policy.CodeInfo {
	all := slices.Concat(policy.Codes(), compile.Codes(), suppress.CodeInfos(), codeInfos)
	slices.SortFunc(all, func(a, b policy.CodeInfo) int { return cmp.Compare(a.Code, b.Code) })
	return all
}

// ExplainCode returns what is to be known about one of Codes.
func ExplainCode(code string) (policy.CodeInfo, bool) {
	all := Codes()
	i, found := slices.BinarySearchFunc(all, code, func(c policy.CodeInfo, code string) int { return cmp.Compare(c.Code, code) })
	if !found {
		return policy.CodeInfo{}, false
	}
	return all[i], true
}
