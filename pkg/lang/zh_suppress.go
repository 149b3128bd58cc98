package lang

// zhSuppress holds the sentences of pkg/policy/suppress.
var zhSuppress = map[string]string{
	" Hidden by comments: %s.": " 被注释隐藏：%s。",
	"A comment hides a warning for at most 365 days from now. A later end is not accepted, and the warning is shown.":                                                                                           "注释最多可以从现在起隐藏警告 365 天。更晚的终止日期不被接受，警告会照常显示。",
	"A comment that hides a warning names its code, its end and its reason: # domicile:ignore CODE until DATE: reason. A warning that is hidden for ever, or for no reason, is one that nobody looks at again.": "隐藏警告的注释要写明代码、终止日期和理由：# domicile:ignore 代码 until 日期: 理由。永远隐藏或无理由隐藏的警告，不会再有人去看。",
	"From its date on the comment hides nothing: the warning is shown again. Mend what it warns of, or give the comment a new date and reason.":                                                                 "从该日期起注释不再隐藏任何内容：警告会重新显示。请修正警告所指的问题，或者给注释写新的日期和理由。",
	"Only warnings can be hidden, and not that a home is under observation: that its policy is not enforced stays in sight.":                                                                                    "只能隐藏警告，并且不能隐藏某个归属法域正处于观察之下：其策略未强制执行这一点必须始终可见。",
	"The warning is not given at the line of which the comment speaks: its own, or the next one that is no comment. Remove the comment, or move it.":                                                            "注释所指的那一行没有该警告：即注释所在行，或其后第一个非注释行。请删除或移动该注释。",
	"There is no such code, so the comment hides nothing.": "没有这个代码，因此注释不隐藏任何内容。",
	"a suppression for too long":                           "期限过长的隐藏",
	"a suppression of an unknown code":                     "针对未知代码的隐藏",
	"a suppression of what cannot be hidden":               "针对不可隐藏内容的隐藏",
	"a suppression that has ended":                         "已终止的隐藏",
	"a suppression that hides nothing":                     "没有隐藏任何内容的隐藏",
	"a suppression that says too little":                   "写得不完整的隐藏",
	"mend what it hid, or give it a new date":              "修正它所隐藏的问题，或者写新的日期",
	"mend what it hides, and remove it":                    "修正它所隐藏的问题，并删除它",
	"remove it, or move it to the line of the warning":     "删除它，或者移到警告所在的行",
	"this hides nothing any more: it ended on %s":          "它不再隐藏任何内容：已于 %s 终止",
	"this hides nothing: %s cannot be hidden here":         "它不隐藏任何内容：此处的 %s 不能隐藏",
	"this hides nothing: %s is more than 365 days ahead":   "它不隐藏任何内容：%s 距今超过 365 天",
	"this hides nothing: there is no %s at line %d":        "它不隐藏任何内容：第 %[2]d 行没有 %[1]s",
	"this hides nothing: there is no code %s":              "它不隐藏任何内容：没有代码 %s",
	"this suppression does not say code, end and reason":   "该隐藏没有写明代码、终止日期和理由",
	"write # domicile:ignore CODE until DATE: reason, as in # domicile:ignore DP3101 until 2027-01-31: the review is under way": "写成 # domicile:ignore 代码 until 日期: 理由，例如 # domicile:ignore DP3101 until 2027-01-31: 复核正在进行",
	"write %s or earlier": "写 %s 或更早的日期",
}
