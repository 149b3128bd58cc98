package lang

// zhLayout holds the sentences of pkg/cli/layout.
var zhLayout = map[string]string{
	"laid out %s":                     "已排版 %s",
	"would lay out %s":                "需要排版 %s",
	"next: lay out with domicile fmt": "下一步：用 domicile fmt 排版",
	"this file cannot be laid out: %v; it is left as it is": "此文件无法排版：%v；文件保持原样",
	"this is a bug in Domicile: report it with the file":    "这是 Domicile 的缺陷：请连同该文件一起报告",
}
