package lang

// zhLaw holds the sentences about law files and what follows from them.
var zhLaw = map[string]string{
	"the title in %q": "语言 %q 的标题",
	"write a tag of BCP 47, as in ar, pt-BR, zh-Hant":                                     "写 BCP 47 语言标签，例如 ar、pt-BR、zh-Hant",
	"lang is %q, which is no language tag in its canonical form":                          "lang 是 %q，不是规范形式的语言标签",
	"write the title into title or titleZh":                                               "把标题写到 title 或 titleZh",
	"lang is %q, whose title has a field of its own":                                      "lang 是 %q，该语言的标题有单独的字段",
	"remove it, or write the duty that the law imposes":                                   "删除它，或者写明法律规定的义务",
	"keeps is %q, but the duty is %q: nothing must be kept in the country":                "keeps 是 %q，但义务是 %q：没有数据必须留在境内",
	"law %q is not in force: nothing follows from it":                                     "法律 %q 没有生效：不产生任何义务",
	"remove it until its law file says that it is in force":                               "在其法律文件写明已生效之前，删除它",
	"transfer %s of %s: law %s limits exports to %s":                                      "%[2]s 的跨境传输 %[1]s：法律 %[3]s 限制向 %[4]s 出口数据",
	"remove these destinations, or make sure that the limit does not reach this transfer": "删除这些目的地，或者确认该限制不适用于这项跨境传输",

	// Pages of codes
	"a law that is not in force": "没有生效的法律",
	"The law file holds a bill, or a law that does not apply yet (status: not_law), so that its progress can be followed. Nothing follows from it, and citing it as the reason of a rule would be wrong.": "该法律文件记录的是法案，或尚未适用的法律 (status: not_law)，以便跟踪其进展。它不产生任何义务，把它引用为规则的依据是错误的。",
	"a destination to which a law limits exports": "法律限制数据出口的目的地",
	"A law file of the jurisdiction names destinations to which data may not be exported, or only within limits. Whether they reach a transfer depends on the kind of data, its volume and the recipient, which policy files do not say: look at the condition that is cited. Warning only.": "该法域的法律文件列出了禁止或只能在限度内出口数据的目的地。是否适用于某项跨境传输，取决于数据的种类、数量和接收方，而策略文件并不写明这些：请查看所引用的条件。仅为警告。",
}
