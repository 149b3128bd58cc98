package lang

// zhInitialize holds the sentences of domicile init.
var zhInitialize = map[string]string{
	"%s is not empty; nothing was written (--force writes into it)":                                                    "%s 不是空目录；没有写入任何内容 (--force 会写入其中)",
	"Wrote %d files for %s into %s.":                                                                                   "已写入 %[1]d 个文件 (%[2]s) 到 %[3]s。",
	"name the homes of your users: --jurisdictions SA,TR,DE":                                                           "请写明用户的归属法域：--jurisdictions SA,TR,DE",
	"next: domicile demo --policies %s   to try it; then put your own addresses, issuer and keys into deployment.yaml": "下一步：domicile demo --policies %s   先试用；然后把自己的地址、签发方和密钥写入 deployment.yaml",
	"region %q is not of the form NAME=COUNTRY, as in eu-frankfurt=DE":                                                 "区域 %q 的格式不是 NAME=COUNTRY，例如 eu-frankfurt=DE",
	"region %q stands there twice":                                                                                     "区域 %q 出现了两次",
	"the starter does not compile with these regions; nothing was written":                                             "使用这些区域时初始仓库无法编译；没有写入任何内容",
	"no law file of %q; choose from %s":                                                                                "没有 %q 的法律文件；可选：%s",
}
