// Package example has a value for each required field of a policy file, so that the fix
// for one that is missing shows what to write. It is data.
package example

import (
	"fmt"

	"github.com/domicile-dev/domicile/pkg/policy/internal/yamlpos"
)

// examples holds a value for each required field, by what the field belongs to,
// so that a fix shows what to write. A key with the kind of the file goes before
// one without it.
var examples = map[string]string{
	"the file.apiVersion": "domicile.dev/v1",

	"Jurisdiction the file.metadata": `{name: "SA"}`,
	"Jurisdiction the file.spec":     `{law: ["SA"], classes: {message: {serve: [me-riyadh], entry: [me-riyadh]}}}`,
	"Jurisdiction metadata.name":     `"SA"`,
	"Jurisdiction spec.law":          `["SA"]`,
	"Jurisdiction spec.observeUntil": "2027-02-24",
	"Jurisdiction spec.classes":      `{message: {serve: [me-riyadh], entry: [me-riyadh]}}`,
	"review.every":                   "90d",
	"review.last":                    "2026-11-24",
	"session.maxAge":                 "12h",
	"cache.edges":                    "[eu-frankfurt]",
	"cache.fields":                   "[displayName]",
	"cache.ttl":                      "10m",
	"transfer.id":                    "roaming",
	"transfer.to":                    `["EEA"]`,
	"transfer.classes":               "[login]",
	"transfer.for":                   "[entry]",
	"transfer.mechanism":             "scc",
	"transfer.reference":             `"contract 14"`,

	"signer.name":                  "kim",
	"signer.key":                   `"MCowBQYDK2VwAyEA…"`,
	"signer.roles":                 "[author]",
	"Deployment the file.metadata": "{name: production}",
	"Deployment the file.spec":     "{regions: […], classes: […], issuers: […]}",
	"Deployment metadata.name":     "production",
	"spec.regions":                 `[{name: me-riyadh, country: "SA"}]`,
	"Deployment spec.classes":      `[{class: message, match: {pathPrefix: /v1/messages}, subject: caller}]`,
	"spec.issuers":                 `[{issuer: "https://id.example.com", jwks: {file: jwks.json}, audiences: [api], homeClaim: home, homes: ["SA"]}]`,
	"directory.kind":               "static",
	"directory.file":               "users.yaml",
	"region.name":                  "me-riyadh",
	"region.country":               `"SA"`,
	"class.class":                  "message",
	"class.match":                  "{pathPrefix: /v1/messages}",
	"class.subject":                "caller",
	"class.serve":                  "[me-riyadh]",
	"issuer.issuer":                `"https://id.example.com"`,
	"issuer.jwks":                  "{file: jwks.json}",
	"jwks.file":                    "jwks.json",
	"secret.file":                  "/etc/domicile/keys/im.json",
	"secret.regions":               "[me-riyadh]",
	"introspection.url":            `"https://sso.example.com/introspect"`,
	"whoami.service":               "message",
	"whoami.path":                  "/_matrix/client/v3/account/whoami",
	"whoami.member":                "user_id",
	"pins.jwks":                    "{file: pins/me-riyadh.json}",
	"directory.addresses":          `["10.1.1.9:6379"]`,
	"directory.url":                `"https://directory.example.com/v1/{hash}"`,
	"stream.name":                  "mqtt",
	"stream.class":                 "message",
	"stream.service":               "mqtt",
	"stream.port":                  "8883",
	"issuer.audiences":             "[api]",
	"issuer.homeClaim":             "home",
	"issuer.homes":                 `["SA"]`,

	"Law the file.metadata":     `{name: "SA"}`,
	"Law the file.spec":         `{title: "Personal Data Protection Law", localisation: {duty: conditional}, reviewBy: 2027-02-24}`,
	"Law metadata.name":         `"SA"`,
	"Law spec.title":            `"Personal Data Protection Law"`,
	"spec.localisation":         "{duty: conditional}",
	"localisation.duty":         "conditional",
	"spec.reviewBy":             "2027-02-24",
	"article.id":                "pdpl-29",
	"article.citation":          `"PDPL Art. 29"`,
	"article.says":              `"what the article says, in short"`,
	"article.verified":          "published_page",
	"mechanism.mechanism":       "scc",
	"mechanism.citation":        `"PDPL Art. 29"`,
	"mechanism.verified":        "published_page",
	"retention.duty":            `"what the law says, in short"`,
	"lawfulAccess.text":         `"what the law says, in short"`,
	"freeFlow.text":             `"what the law says, in short"`,
	"local title.lang":          "ar",
	"local title.title":         `"نظام حماية البيانات الشخصية"`,
	"variant.appliesTo":         `"payment system operator"`,
	"variant.duty":              "conditional",
	"variant.citation":          `"PDPL Art. 29"`,
	"export limit.citation":     `"28 CFR Part 202"`,
	"export limit.condition":    `"what the law says, in short"`,
	"export limit.destinations": `["KP"]`,
	"export limit.verified":     "published_page",

	"Groups the file.spec": `{groups: [{name: GULF, members: [{code: "SA"}]}]}`,
	"spec.groups":          `[{name: GULF, members: [{code: "SA"}]}]`,
	"group.name":           "GULF",
	"group.members":        `[{code: "SA"}]`,
	"member.code":          `"SA"`,

	"Waiver the file.metadata": "{name: sa-review, owner: compliance}",
	"Waiver the file.spec":     `{code: DP3101, home: "SA", reason: …, reference: …, approvedBy: […], since: 2026-11-24, until: 2027-02-22}`,
	"Waiver metadata.name":     "sa-review",
	"metadata.owner":           "compliance",
	"spec.code":                "DP3101",
	"spec.home":                `"SA"`,
	"spec.reason":              `"the review is under way"`,
	"spec.reference":           `"CASE-12"`,
	"spec.approvedBy":          "[kim]",
	"spec.since":               "2026-11-24",
	"spec.until":               "2027-02-22",

	"Denials the file.spec": `{denials: [{home: "SA", reason: …, by: …, at: 2026-11-24T10:00:00Z}]}`,
	"spec.denials":          `[{home: "SA", reason: incident 31, by: kim, at: 2026-11-24T10:00:00Z}]`,
	"denial.home":           `"SA"`,
	"denial.reason":         `"incident 31"`,
	"denial.by":             "kim",
	"denial.at":             "2026-11-24T10:00:00Z",

	"PolicyTest the file.metadata": "{name: messages stay at home}",
	"PolicyTest metadata.name":     "messages stay at home",
	"the file.cases":               `[{name: at home, home: "SA", class: message, entry: me-riyadh, expect: {allow: me-riyadh}}]`,
	"case.name":                    "at home",
	"case.home":                    `"SA"`,
	"case.class":                   "message",
	"case.field":                   "displayName",
	"case.for":                     "cache",
	"case.expect":                  "{allow: me-riyadh}",
}

// Of is a value for a field of a file of a kind, or "" when there is none: in is what
// the field belongs to, as messages name it.
func Of(kind string, root *yamlpos.Node, in, field string) string {
	switch in + "." + field {
	case "the file.kind":
		return kind
	case "spec.law": // the home's own, lest somebody copy the law of another
		if name := root.Get("metadata").Get("name"); name != nil && name.Value != "" {
			return fmt.Sprintf("[%q]", name.Value)
		}
	}
	if x := examples[kind+" "+in+"."+field]; x != "" {
		return x
	}
	return examples[in+"."+field]
}
