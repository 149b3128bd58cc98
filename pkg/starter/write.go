package starter

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/domicile-dev/domicile/pkg/policy/law"
	"github.com/domicile-dev/domicile/pkg/policy/schema"
)

// duties says what the levels of a duty mean, in both languages.
var duties = map[string]string{
	"required":    "required 必须在境内保存",
	"conditional": "conditional 满足条件时必须",
	"recommended": "recommended 建议",
	"none":        "none 无此义务",
	"unclear":     "unclear 不明确",
}

// jurisdiction is the file of a home. Its comments say what the law files hold.
func (d data) jurisdiction(h home) []byte {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	say("%s", schema.Modeline("jurisdictions/"+h.File+".yaml", "Jurisdiction"))
	for _, code := range h.Laws {
		if l := d.Set.Laws[code]; l != nil {
			facts(&b, l)
		}
	}
	comment(&b, "#", "Facts with their sources are in Domicile's law files; they are no legal advice. 事实及其来源见 Domicile 的法律文件；不构成法律意见。")
	say("apiVersion: domicile.dev/v1")
	say("kind: Jurisdiction")
	say("metadata: {name: %q, owner: compliance-%s}", h.Code, h.File)
	say("spec:")
	say(`  law: ["%s"]`, strings.Join(h.Laws, `", "`))
	say("  enforcement: enforce")
	say("  # Somebody confirms this file every 90 days. 每 90 天由专人复核本文件。")
	say("  review: {every: 90d, last: %s}", d.Today.Format(time.DateOnly))
	say("  # Served, and decrypted, at home only. 只在境内服务和解密。")
	say("  defaults: {serve: [%[1]s], entry: [%[1]s], basis: [chosen]}", h.Region.Name)
	say("  # A class that is not listed is refused (no-rule). 未列出的类别一律拒绝 (no-rule)。")
	say("  classes:")
	for _, c := range Classes {
		if c == "message" {
			say("    message: {session: {maxAge: 24h}}")
			continue
		}
		say("    %s: {}", c)
	}
	say("  # To let users come in through a region abroad, add it to entry and say which transfer covers it:")
	say("  # 若允许用户从境外区域接入，请把该区域加入 entry，并写明由哪项跨境传输覆盖：")
	mechanism := "scc"
	if m := d.Set.Laws[h.Laws[0]].Mechanisms; len(m) > 0 {
		mechanism = m[len(m)-1]
		for _, x := range m {
			if x == "scc" {
				mechanism = x
			}
		}
	}
	say(`  #   transfers: [{id: roam, to: ["%s"], classes: [login, message], for: [entry], mechanism: %s, reference: "contract 1", reviewBy: %s, until: %s}]`,
		d.abroad(h), mechanism, d.Today.AddDate(0, 3, 0).Format(time.DateOnly), d.Today.AddDate(1, 0, 0).Format(time.DateOnly))
	return []byte(b.String())
}

// abroad is a country to show in an example.
func (d data) abroad(h home) string {
	for _, r := range d.Regions {
		if d.border(h.Region.Country, r.Country) {
			return r.Country
		}
	}
	if h.Region.Country == "SG" {
		return "JP"
	}
	return "SG"
}

// facts writes what a law file says.
func facts(b *strings.Builder, l *law.Law) {
	comment(b, "#", strings.TrimSpace(l.TitleZh))
	comment(b, "#", l.Title)
	duty := duties[l.Duty]
	if l.Localisation.Keeps != "" {
		duty += map[string]string{"copy": "; a copy 保存副本", "only": "; there only 只能存于境内"}[l.Localisation.Keeps]
	}
	comment(b, "#   ", "data in the country 数据本地化: "+duty)
	if t := l.Localisation.Trigger; t != "" {
		comment(b, "#   ", "condition 条件: "+t)
	}
	for _, v := range l.Localisation.Variants {
		comment(b, "#   ", fmt.Sprintf("of 适用于 %s: %s (%s)", v.AppliesTo, v.Duty, v.Citation))
	}
	for _, id := range slices.Sorted(maps.Keys(l.Articles)) {
		a := l.Articles[id]
		comment(b, "#   ", fmt.Sprintf("basis 依据 %s: %s. %s", id, a.Citation, a.Says))
	}
	if len(l.Mechanisms) > 0 {
		comment(b, "#   ", "mechanisms of a transfer 跨境传输机制: "+strings.Join(l.Mechanisms, ", "))
	}
	if l.FreeFlow != nil && l.FreeFlow.Text != "" {
		comment(b, "#   ", "free flow 自由流动: "+l.FreeFlow.Text)
	}
}

// comment writes a paragraph as comment lines of about 110 columns.
func comment(b *strings.Builder, head, text string) {
	const columns = 110
	line := head
	flush := func() {
		if line != head {
			b.WriteString(strings.TrimRight(line, " ") + "\n")
		}
		line = head
	}
	for _, word := range strings.Fields(text) {
		if line != head && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > columns {
			flush()
			line += "   "
		}
		line += " " + word
	}
	flush()
}

// tests is the file of tests of a home: each class is served at home, comes in
// nowhere else, and does not move when the region is down; nothing is cached.
func (d data) tests(h home) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\napiVersion: domicile.dev/v1\nkind: PolicyTest\nmetadata: {name: %s stays at home}\ncases:\n",
		schema.Modeline("jurisdictions/"+h.File+"_test.yaml", "PolicyTest"), h.Code)
	ask := func(name, class, question, expect string) {
		fmt.Fprintf(&b, "  - {name: %s, home: %q, class: %s, %s, expect: {%s}}\n", name, h.Code, class, question, expect)
	}
	own := h.Region.Name
	for _, class := range Classes {
		ask(class+" is served at home", class, "entry: "+own, "allow: "+own)
		ask(class+" does not move when the region is down", class, "entry: "+own+", down: ["+own+"]", "deny: region-unavailable")
		for _, r := range d.Regions {
			if r.Name != own {
				ask(class+" does not come in through "+r.Name, class, "entry: "+r.Name, "deny: entry-not-allowed")
			}
		}
	}
	for _, r := range d.Regions {
		ask("profiles are not cached in "+r.Name, "profile", "edge: "+r.Name+", field: displayName", "cache: none")
		if d.border(h.Region.Country, r.Country) {
			ask("nothing covers serving messages in "+r.Name, "message", fmt.Sprintf("to: %q, for: serve", r.Country), "deny: transfer-not-allowed")
		}
	}
	return []byte(b.String())
}
