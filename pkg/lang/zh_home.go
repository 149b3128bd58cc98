package lang

// zhHome holds the sentences of pkg/cli/home.
var zhHome = map[string]string{
	"No user with a verified token was seen since %s.":          "自 %s 起没有见过持有已验证令牌的用户。",
	"%d of about %d users seen since %s have no home yet (%s).": "自 %[3]s 起见过的约 %[2]d 名用户中,有 %[1]d 名尚无归属法域 (%[4]s)。",
	"HOME":             "归属法域",
	"USERS":            "用户",
	"SAMPLED REQUESTS": "抽样请求",
	"none":             "无",
	"next: have the issuer put a home into their tokens; until then they are refused (no-home)": "下一步:让签发者在他们的令牌中写入归属法域;在此之前他们会被拒绝 (no-home)",

	"not CSV: a quotation mark stands where none may":                "不是 CSV:引号出现在不允许的位置",
	"%d fields, want two: user,home":                                 "有 %d 个字段,应为两个:user,home",
	"not a JSON object such as {\"user\": \"u1\", \"home\": \"SA\"}": "不是如 {\"user\": \"u1\", \"home\": \"SA\"} 的 JSON 对象",
	"the line is longer than %d bytes":                               "该行长于 %d 字节",
	"the user is empty":                                              "用户为空",
	"the user id is longer than %d bytes":                            "用户 id 长于 %d 字节",
	"the user id has spaces around it, control characters, or is not UTF-8: no token can name it": "用户 id 首尾有空格、含控制字符或不是 UTF-8:没有令牌能写出它",
	"the policy knows no home %q":                                       "策略中没有归属法域 %q",
	"the user is at home in %s here, and in %s in line %d":              "该用户在此归属 %s,而第 %[3]d 行为 %[2]s",
	"more than %d users: split the list":                                "多于 %d 名用户:请拆分列表",
	"read %d users":                                                     "已读取 %d 名用户",
	"compared %d of %d users":                                           "已比较 %d / %d 名用户",
	"wrote %d of %d entries":                                            "已写入 %d / %d 条",
	"Nothing was written: %d lines of %s are wrong.":                    "未写入任何内容:%[2]s 有 %[1]d 行有误。",
	"Nothing was written: %d users have another home in the directory.": "未写入任何内容:目录中有 %d 名用户的归属法域不同。",
	"%d users: %d would be entered, %d moved, %d are there already. Nothing was written.": "%d 名用户:将登记 %d 名,迁移 %d 名,已存在 %d 名。未写入任何内容。",
	"%d users: %d entered, %d moved, %d were there already.":                              "%d 名用户:登记 %d 名,迁移 %d 名,原已存在 %d 名。",
	"they stand in line %s": "它们位于第 %s 行",
	"next: domicile user move, which ends their pins and sessions; or --replace, which ends none": "下一步:domicile user move,它会终止他们的 pin 与会话;或 --replace,它不终止任何会话",
}
