package lang

// zhPolicytest holds the sentences of pkg/policytest.
var zhPolicytest = map[string]string{
	"%s holds no policy test, so nothing was tested":                 "%s 中没有策略测试，因此什么也没有测试",
	"the cases reach %d %%, less than %d %%  %s":                     "用例只覆盖 %d %%，低于 %d %%  %s",
	"           never asked: %s":                                     "           从未测试：%s",
	"  none: no rule, and no case that expects no-rule":              "  none：没有规则，也没有期望 no-rule 的用例",
	"%d passed, %d failed.":                                          "%d 个通过，%d 个失败。",
	", did you mean %q?":                                             "，是否想写 %q？",
	"Coverage   rules %d/%d   cells of home and class %d/%d   %d %%": "覆盖率   规则 %d/%d   归属法域与类别的组合 %d/%d   %d %%",
	"deny reason": "拒绝原因",
	"destination": "目的地",
	"edge":        "边缘",
	"expect needs the answer to the case's question: allow or deny with entry, cache with edge, transfer or deny with to": "expect 需要回答用例的问题：entry 对应 allow 或 deny，edge 对应 cache，to 对应 transfer 或 deny",
	"field":                            "字段",
	"purpose":                          "用途",
	"transfer of the home":             "该归属法域的跨境传输",
	"expected %s, got %s":              "期望 %s，实际 %s",
	"expected %s, got %s (rule %s/%s)": "期望 %s，实际 %s (规则 %s/%s)",
	"line %d":                          "第 %d 行",
	"no rule applied to this case (%s), so nothing was tested  %s": "没有规则适用于该用例 (%s)，因此什么也没有测试  %s",
	"unknown %s %q%s  %s": "未知的%s %q%s  %s",
}
