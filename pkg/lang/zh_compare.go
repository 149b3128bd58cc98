package lang

// zhCompare holds the sentences of pkg/cli/compare.
var zhCompare = map[string]string{
	"loosens":                                "放宽",
	"tightens":                               "收紧",
	"neutral":                                "中性",
	"and %d more":                            "以及另外 %d 项",
	"Comparing %s (bundle %s) with %s (%s).": "比较 %s(策略包 %s)与 %s(%s)。",
	"at %s":                                  "位于 %s",
	"for example":                            "例如",
	"(look: no policy judges it)":            "(请人工查看:策略无法判断)",
	"sequence %d, bundle %s":                 "序号 %d,策略包 %s",
	"no policy yet: everything is refused":   "尚无策略:一切被拒绝",
	"table %s":                               "策略表 %s",
	"NOT ENFORCED: %s is under observation until %s; what would be refused passes to today's backend": "未强制执行:%s 在 %s 之前处于观察期;本应拒绝的请求会放行到现有后端",
	"waiver   %s":                   "豁免     %s",
	"denied   %s (emergency brake)": "已禁止   %s(紧急制动)",
	"Plan: %d loosened, %d tightened, %d neutral; %d of %d combinations compared, exhaustive.": "计划:放宽 %d 项,收紧 %d 项,中性 %d 项;已比较 %d / %d 个组合,无遗漏。",
	"%d neutral changes are not shown (--all).":                                                "未显示 %d 项中性变更 (--all)。",
	"Needs the approval of %s, each by another signer.":                                        "需要以下角色批准:%s,每个角色由不同的签署人签署。",
	"Saved %s.\nnext: domicile approve %s --signing-key FILE, then domicile apply %s":          "已保存 %s。\n下一步:domicile approve %s --signing-key FILE,然后 domicile apply %s",
	"Saved %s.\nnext: domicile apply %s":                                                       "已保存 %s。\n下一步:domicile apply %s",
	"Policy plan: %d loosened, %d tightened, %d neutral":                                       "策略计划:放宽 %d 项,收紧 %d 项,中性 %d 项",
	"what":   "内容",
	"where":  "位置",
	"before": "之前",
	"after":  "之后",
}
