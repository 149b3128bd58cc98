package lang

// zhPolicytest holds the sentences of pkg/policytest.
var zhPolicytest = map[string]string{
	"  never ran: %s":                   "  从未运行：%s",
	"%d passed, %d failed.":             "%d 个通过，%d 个失败。",
	", did you mean %q?":                "，是否想写 %q？",
	"Coverage   rules %d/%d (%d %%)":    "覆盖率   规则 %d/%d (%d %%)",
	"deny reason":                       "拒绝原因",
	"expect needs either allow or deny": "expect 需要 allow 或 deny 之一",
	"expected %s, got %s":               "期望 %s，实际 %s",
	"expected %s, got %s (rule %s/%s)":  "期望 %s，实际 %s (规则 %s/%s)",
	"line %d":                           "第 %d 行",
	"no rule applied to this case (%s), so nothing was tested  %s": "没有规则适用于该用例 (%s)，因此什么也没有测试  %s",
	"unknown %s %q%s  %s": "未知的%s %q%s  %s",
}
