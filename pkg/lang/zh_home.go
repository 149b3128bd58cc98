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
}
