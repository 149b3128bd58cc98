package lang

// zhMend holds the sentences of pkg/cli/mend, and of lint about it.
var zhMend = map[string]string{
	"mended %s":                       "已修复 %s",
	"would mend %s":                   "需要修复 %s",
	"%d fixable: domicile lint --fix": "可自动修复 %d 处：domicile lint --fix",
}
