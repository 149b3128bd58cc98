package lang

// zhUser is what package cli/user says.
var zhUser = map[string]string{
	"The user has moved from %s to %s.": "用户已从 %s 迁至 %s。",
	"class %s":                          "数据类别 %s",
	"home %s":                           "归属法域 %s",
	"Nothing was changed. The gateways of %s would refuse what names %s.": "未作任何更改。%s 的网关将拒绝写明 %s 的令牌。",
	"! %s: %s":                           "! %s: %s",
	"the directory says %s":              "目录中的归属法域为 %s",
	"%s keeps tokens of %s out until %s": "%s 拒绝 %s 的令牌,至 %s 为止",
}
