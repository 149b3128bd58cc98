package lang

// zhExplainCode holds the sentences of domicile explain-code.
var zhExplainCode = map[string]string{
	"DP1  the shape of files": "DP1  文件的形式",
	"DP2  what they mean":     "DP2  文件的含义",
	"DP3  governance":         "DP3  治理",
	"DP4  topology":           "DP4  拓扑",
	"DP5  tests":              "DP5  测试",
	"DP9  a bug in Domicile":  "DP9  Domicile 的缺陷",

	"there is no code %q; domicile explain-code lists all": "没有代码 %q；domicile explain-code 列出全部代码",
	"there is no code %q; the nearest are %s":              "没有代码 %q；最接近的是 %s",
}
