package lang

// zhShow holds the words around problems on the command line.
var zhShow = map[string]string{
	"What a code means: domicile explain-code %s":         "代码的含义：domicile explain-code %s",
	"%d more problems are hidden here: run domicile lint": "这里还有 %d 个问题没有显示：请运行 domicile lint",
	" No leak in %s.":                     " 在 %s 中未发现泄漏。",
	"%s\nfix: %s":                         "%s\n修复：%s",
	"Checked %[1]s, %[2]s: %[3]s, %[4]s.": "已检查 %[1]s、%[2]s：%[3]s，%[4]s。",
	"error":                               "错误",
	"fix":                                 "修复",
	"law":                                 "法律",
	"leak: %s":                            "泄漏：%s",
	"this is a bug in Domicile: report it with the policy directory": "这是 Domicile 的缺陷：请连同策略目录一起报告",
	"warning": "警告",
	"why":     "原因",
}
