package lang

// zhInitialize holds the sentences of domicile init.
var zhInitialize = map[string]string{
	"%s is not empty; nothing was written (--force writes into it)":                                                    "%s 不是空目录；没有写入任何内容 (--force 会写入其中)",
	"Wrote %d files for %s into %s.":                                                                                   "已写入 %[1]d 个文件 (%[2]s) 到 %[3]s。",
	"name the homes of your users: --jurisdictions SA,TR,DE":                                                           "请写明用户的归属法域：--jurisdictions SA,TR,DE",
	"next: domicile demo --policies %s   to try it; then put your own addresses, issuer and keys into deployment.yaml": "下一步：domicile demo --policies %s   先试用；然后把自己的地址、签发方和密钥写入 deployment.yaml",
	"no law file of %q; choose from %s":                                                                                "没有 %q 的法律文件；可选：%s",
}
