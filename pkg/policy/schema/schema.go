// Package schema makes JSON Schemas (draft-07) of policy files, for editors: they
// complete fields, and underline what is wrong while it is typed.
//
// The schemas are derived from the shapes that were recorded of the policy reader,
// so they have its fields, closed sets and shapes, and are no second truth. They
// accept every file that the reader accepts; what a schema cannot know, such as
// whether a region exists, only the reader refuses. What is said about a field is
// said in English and Chinese in one hover.
//
// The package is pure.
package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/policy/shape"
)

// Kinds lists the names of the schemas, sorted: a kind in lower case.
func Kinds() []string {
	var out []string
	for kind := range policy.Shapes() {
		out = append(out, strings.ToLower(kind))
	}
	slices.Sort(out)
	return out
}

// Modeline is the comment that makes editors use a schema; file is the slash path
// of a policy file in its directory, in which the schemas lie under schema/.
func Modeline(file, kind string) string {
	return "# yaml-language-server: $schema=" + strings.Repeat("../", strings.Count(file, "/")) + "schema/" + strings.ToLower(kind) + ".json"
}

// All returns the schemas by file name.
func All() (map[string][]byte, error) {
	out := map[string][]byte{}
	for kind, s := range policy.Shapes() {
		name := strings.ToLower(kind)
		g := generator{}
		root := object{
			{"$schema", "http://json-schema.org/draft-07/schema#"},
			{"$id", "https://domicile.dev/schema/v1/" + name + ".json"},
			{"title", kind},
		}
		root = append(root, g.value(kind, s)...)
		if g.codes {
			root = append(root, member{"definitions", definitions()})
		}
		data, err := json.Marshal(root)
		if err != nil {
			return nil, fmt.Errorf("make schema of %s: %w", kind, err)
		}
		var b bytes.Buffer
		if err := json.Indent(&b, data, "", "  "); err != nil {
			return nil, fmt.Errorf("make schema of %s: %w", kind, err)
		}
		b.WriteByte('\n')
		out[name+".json"] = b.Bytes()
	}
	return out, nil
}

// object is a JSON object that keeps the order of its members.
type object []member

type member struct {
	name  string
	value any
}

// MarshalJSON writes the members in order.
func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		for j, v := range []any{m.name, m.value} {
			e := json.NewEncoder(&b)
			e.SetEscapeHTML(false)
			if err := e.Encode(v); err != nil {
				return nil, fmt.Errorf("%s: %w", m.name, err)
			}
			if j == 0 {
				b.WriteByte(':')
			}
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// generator makes one schema.
type generator struct{ codes bool }

// both says a text in both languages, one below the other.
func both(t lang.Text) string { return t.En + "\n\n" + t.In(lang.Chinese) }

func (g *generator) field(path string, s *shape.Shape) object {
	var o object
	if t := find(words, path); !t.IsZero() {
		o = object{{"description", t.En + " " + t.In(lang.Chinese)}, {"markdownDescription", both(t)}}
	}
	return append(o, g.value(path, s)...)
}

func (g *generator) value(path string, s *shape.Shape) object {
	var o object
	switch s.Type {
	case shape.Object:
		o = g.object(path, s)
	case shape.List:
		o = object{{"type", "array"}, {"items", g.value(path, s.Items)}}
		if !s.Empty {
			o = append(o, member{"minItems", 1})
		}
		if s.Items.IsText() {
			o = append(o, member{"uniqueItems", true})
		}
	default:
		o = g.scalar(path, s)
	}
	if x := snippets[path]; x != nil && s.Type != shape.List {
		o = append(o, member{"defaultSnippets", x})
	}
	return o
}

func (g *generator) object(path string, s *shape.Shape) object {
	o := object{{"type", "object"}}
	if s.Values != nil {
		value := g.field(path+".*", s.Values)
		return append(o, member{"propertyNames", object{{"pattern", patterns[s.Keys.Type]}}}, member{"additionalProperties", value})
	}
	properties, required := object{}, []string{}
	for _, f := range s.Fields {
		properties = append(properties, member{f.Name, g.field(path+"."+f.Name, f.Shape)})
		if f.Required {
			required = append(required, f.Name)
		}
	}
	o = append(o, member{"additionalProperties", false}, member{"properties", properties})
	if len(required) > 0 {
		o = append(o, member{"required", required})
	}
	return o
}

// patterns are what a schema can know of texts; the reader knows more.
var patterns = map[shape.Type]string{
	shape.Text:     `\S`,
	shape.Word:     `\S`,
	shape.Name:     `^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`,
	shape.Ident:    `^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`,
	shape.Duration: `^[1-9][0-9]{0,8}[smhd]$`,
	shape.Timeout:  `^[1-9][0-9]{0,8}m?s$`,
	shape.Date:     `^(19|20|21|22)[0-9]{2}-[0-9]{2}-[0-9]{2}$`,
	shape.Instant:  `^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})$`,
	shape.Host:     `^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$`,
	shape.Address:  `^[^\s/]+:[1-9][0-9]{0,4}$`,
	shape.Path:     `^/[^ %?#;\\"<>^|` + "`" + `{}*]*$`,
	shape.Template: `^/[^ %?#;\\"<>^|` + "`" + `]*$`,
	shape.File:     `^[^/\\:][^\\:]*$`,
}

func (g *generator) scalar(path string, s *shape.Shape) object {
	switch s.Type {
	case shape.Flag:
		return object{{"type", "boolean"}}
	case shape.Number:
		return object{{"type", []string{"integer", "null"}}, {"minimum", 0}, {"maximum", s.Max}}
	case shape.Code:
		g.codes = true
		return object{{"$ref", "#/definitions/" + s.Use}}
	case shape.Choice:
		return choice(path, s.Set)
	case shape.Text:
		// The reader takes any scalar for a text, whatever it looks like.
		return object{{"type", []string{"string", "number", "boolean"}}, {"pattern", patterns[s.Type]}}
	case shape.Ident, shape.Word:
		return object{{"type", []string{"string", "number"}}, {"pattern", patterns[s.Type]}}
	default:
		return object{{"type", "string"}, {"pattern", patterns[s.Type]}}
	}
}

func choice(path string, set []string) object {
	o := object{{"type", "string"}, {"enum", set}}
	var plain, markdown []string
	for _, word := range set {
		t := meaning(path, word)
		if t.IsZero() {
			return o
		}
		plain, markdown = append(plain, t.En+" "+t.In(lang.Chinese)), append(markdown, both(t))
	}
	return append(o, member{"enumDescriptions", plain}, member{"markdownEnumDescriptions", markdown})
}
