package lang

// zhSign holds the sentences of pkg/cli/sign and pkg/cli/change.
var zhSign = map[string]string{
	"Wrote %s. In deployment.yaml, with the roles that fit:":                                                            "已写入 %s。在 deployment.yaml 中写入下面一行,并填上合适的角色:",
	"Signed as %s: bundle %s on top of sequence %d, %d loosened of %d combinations.":                                    "已以 %s 的身份签名:策略包 %s,基于序号 %d,在 %[5]d 个组合中放宽 %[4]d 个。",
	"%d signatures now. The history will show them.":                                                                    "现有 %d 个签名,历史记录会显示它们。",
	"warning: the changes below are those that the file lists; name the control plane (--control) to have them checked": "警告:以下变更来自文件本身;请指定控制面 (--control) 以便核对",
	"carried over: the denial of %s %s (%s, by %s); domicile deny --lift lifts it":                                      "沿用:对 %s %s 的紧急禁止(%s,由 %s 发起);用 domicile deny --lift 解除",
	"lifting the denial of %s": "解除对 %s 的紧急禁止",
	"denying %s":               "紧急禁止 %s",
}
