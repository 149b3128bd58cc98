package schema

import (
	"github.com/domicile-dev/domicile/pkg/policy/internal/place"
	"github.com/domicile-dev/domicile/pkg/policy/shape"
)

// definitions are the schemas of codes. They are texts: an unquoted NO, which some
// readers of YAML turn into false, is none.
func definitions() object {
	countries := object{{"type", "string"}, {"enum", place.Countries()}}
	special := object{{"type", "string"}, {"pattern", "^[A-Z]{2}-[A-Z0-9]{1,6}$"}}
	anyOf := func(more ...object) object {
		return object{{"type", "string"}, {"anyOf", append([]object{{{"$ref", "#/definitions/" + shape.Country}}, special}, more...)}}
	}
	return object{
		{shape.Country, countries},
		{shape.Home, anyOf()},
		{shape.Law, anyOf(object{{"const", "EU"}})},
		{shape.Any, anyOf(object{{"pattern", "^[A-Z][A-Za-z0-9_.-]+$"}})},
	}
}

// snippets are what editors offer to start with, by the path of the value.
var snippets = map[string][]object{
	"Jurisdiction": {{
		{"label", "jurisdiction"}, {"description", "The rules of one home 一个归属法域的规则"},
		{"body", object{
			{"apiVersion", "domicile.dev/v1"}, {"kind", "Jurisdiction"},
			{"metadata", object{{"name", `"${1:SA}"`}, {"owner", "${2:compliance}"}}},
			{"spec", object{
				{"law", []string{`"${1:SA}"`}}, {"enforcement", "enforce"},
				{"review", object{{"every", "90d"}, {"last", "${3:2026-11-24}"}}},
				{"defaults", object{{"serve", []string{"${4:region}"}}, {"entry", []string{"${4:region}"}}, {"basis", []string{"chosen"}}}},
				{"classes", object{{"${5:message}", object{}}}},
			}},
		}},
	}},
	"Jurisdiction.spec.classes": {{
		{"label", "class"}, {"description", "The rule of a class 一个类别的规则"},
		{"body", object{{"${1:profile}", object{{"serve", []string{"${2:region}"}}, {"entry", []string{"${2:region}"}}}}}},
	}},
	"Jurisdiction.spec.transfers": {{
		{"label", "transfer"}, {"description", "A permitted crossing 一项获准的跨境传输"},
		{"body", object{
			{"id", "${1:roam}"}, {"to", []string{`"${2:EEA}"`}}, {"classes", []string{"${3:message}"}}, {"for", []string{"${4|entry,serve,cache,directory,deliver|}"}},
			{"mechanism", "${5|scc,adequacy,bcr,certification,consent,approval,derogation|}"}, {"reference", "${6:contract}"},
			{"reviewBy", "${7:2027-02-24}"}, {"until", "${8:2027-11-24}"},
		}},
	}},
	"PolicyTest.cases": {
		{{"label", "allow"}, {"description", "A request that is served 一个得到服务的请求"}, {"body", object{
			{"name", "${1:name}"}, {"home", `"${2:SA}"`}, {"class", "${3:message}"}, {"entry", "${4:region}"}, {"expect", object{{"allow", "${5:region}"}}},
		}}},
		{{"label", "deny"}, {"description", "A request that is refused 一个被拒绝的请求"}, {"body", object{
			{"name", "${1:name}"}, {"home", `"${2:SA}"`}, {"class", "${3:message}"}, {"entry", "${4:region}"}, {"expect", object{{"deny", "${5:no-rule}"}}},
		}}},
		{{"label", "cache"}, {"description", "A field that an edge may keep 一个可在边缘缓存的字段"}, {"body", object{
			{"name", "${1:name}"}, {"home", `"${2:SA}"`}, {"class", "${3:profile}"}, {"edge", "${4:region}"}, {"field", "${5:displayName}"}, {"expect", object{{"cache", "${6:10m}"}}},
		}}},
		{{"label", "transfer"}, {"description", "A crossing that a transfer covers 一次由跨境传输覆盖的出境"}, {"body", object{
			{"name", "${1:name}"}, {"home", `"${2:SA}"`}, {"class", "${3:profile}"}, {"to", `"${4:DE}"`}, {"for", "${5|cache,entry,serve,directory,deliver|}"}, {"expect", object{{"transfer", "${6:id}"}}},
		}}},
	},
}
