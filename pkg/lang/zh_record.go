package lang

// zhRecord holds the sentences of domicile test --record.
var zhRecord = map[string]string{
	"%s asks this already (%s); nothing was written":                                         "%s 已经问过这个问题 (%s)；没有写入任何内容",
	"%s has the name %q already; nothing was written":                                        "%s 已经使用名称 %q；没有写入任何内容",
	"%s is not written with one case per dash, so nothing was written; add this by hand: %s": "%s 不是每个短横一个用例的写法，因此没有写入任何内容；请手动加上：%s",
	"nothing to record: %s": "没有可记录的内容：%s",
	"recorded in %s:%d":     "已记录在 %s:%d",
}
