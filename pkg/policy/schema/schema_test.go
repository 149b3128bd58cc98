package schema_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/policy/internal/yamlpos"
	"github.com/domicile-dev/domicile/pkg/policy/schema"
	"github.com/domicile-dev/domicile/pkg/policy/shape"
	"github.com/domicile-dev/domicile/policies"
)

// TestCommitted: what is checked in is what is generated.
func TestCommitted(t *testing.T) {
	dir := filepath.Join("..", "..", "..", "policies", "schema")
	for name, want := range all(t) {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what is generated; run make generate (%v)\n%s", name, err, cmp.Diff(string(got), string(want)))
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != len(all(t)) {
		t.Errorf("%d schemas are checked in, %d generated (%v)", len(entries), len(all(t)), err)
	}
}

func all(t *testing.T) map[string][]byte {
	t.Helper()
	out, err := schema.All()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func compileAll(t *testing.T) map[string]*jsonschema.Schema {
	t.Helper()
	out := map[string]*jsonschema.Schema{}
	for name, src := range all(t) {
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(src))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		c := jsonschema.NewCompiler()
		c.AssertFormat()
		if err := c.AddResource(name, doc); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if out[strings.TrimSuffix(name, ".json")], err = c.Compile(name); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return out
}

// plain is what an editor's YAML reader (1.2) makes of a file.
func plain(n *yamlpos.Node) any {
	switch n.Kind {
	case yamlpos.Map:
		m := map[string]any{}
		for _, f := range n.Fields {
			m[f.Key.Value] = plain(f.Value)
		}
		return m
	case yamlpos.List:
		l := []any{}
		for _, x := range n.Items {
			l = append(l, plain(x))
		}
		return l
	case yamlpos.Quoted:
		return n.Value
	case yamlpos.Plain:
		switch {
		case n.Value == "true" || n.Value == "false":
			return n.Value == "true"
		case number.MatchString(n.Value):
			return json.Number(n.Value)
		}
		return n.Value
	}
	return nil
}

var number = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?$`)

// verdict validates one file by its kind; unknown is a file that says none.
func verdict(schemas map[string]*jsonschema.Schema, src []byte) (unknown bool, err error) {
	n, faults := yamlpos.Parse(src)
	if n == nil || len(faults) > 0 || n.Get("kind") == nil {
		return true, nil
	}
	s := schemas[strings.ToLower(n.Get("kind").Value)]
	if s == nil {
		return true, nil
	}
	return false, s.Validate(plain(n))
}

// TestAcceptsWhatTheReaderAccepts: the shipped files, those of the reader's tests,
// and in the directories that it refuses, each file that it finds no error in.
func TestAcceptsWhatTheReaderAccepts(t *testing.T) {
	schemas := compileAll(t)
	dirs := map[string]fs.FS{"shipped": policies.Library(), "valid": os.DirFS("../testdata/valid")}
	for name, a := range refused(t) {
		dirs[name] = a
	}
	count := 0
	for name, fsys := range dirs {
		_, problems := policy.Parse(fsys, nil)
		if !strings.HasSuffix(name, ".txtar") {
			_, problems = policy.Parse(fsys, policies.Shipped())
		}
		bad := map[string]bool{}
		for _, p := range problems {
			bad[p.File] = bad[p.File] || p.Severity == policy.Error
		}
		err := fs.WalkDir(fsys, ".", func(file string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(file) != ".yaml" || bad[file] {
				return err
			}
			src, err := fs.ReadFile(fsys, file)
			if err != nil {
				return err
			}
			if unknown, err := verdict(schemas, src); !unknown {
				count++
				if err != nil {
					t.Errorf("%s: %s: %v", name, file, err)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if count < 60 {
		t.Errorf("only %d files were looked at", count)
	}
}

func refused(t *testing.T) map[string]fstest.MapFS {
	t.Helper()
	names, err := filepath.Glob("../testdata/refused/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatalf("no refused directories: %v", err)
	}
	out := map[string]fstest.MapFS{}
	for _, name := range names {
		a, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		m := fstest.MapFS{}
		for _, f := range a.Files {
			m[f.Name] = &fstest.MapFile{Data: f.Data}
		}
		out[filepath.Base(name)] = m
	}
	return out
}

// TestRefusesWhatASchemaCanKnow: unknown fields, wrong shapes, missing values; and
// of the rest, these.
func TestRefusesWhatASchemaCanKnow(t *testing.T) {
	schemas := compileAll(t)
	known := []string{"DP1010", "DP1012", "DP1014", "DP1028", "DP1029", "DP5003"}
	rest := []string{
		"backend-no-port", "backend-scheme", "date-slashes", "directory-kind", "duration-week", "empty-homes", "gateway-peer-no-port", "home-lower-case",
		"home-uk", "match-method", "transfer-mechanism", "transfer-purpose", "missing-match", "missing-transfer-fields", "path-query", "path-relative", "region-upper",
		"subject-word", "waiver-missing-fields", "denial-missing-fields", "signer-missing-fields", "law-review-missing",
	}
	met := map[string]bool{}
	for name, fsys := range refused(t) {
		name = strings.TrimSuffix(name, ".txtar")
		named := slices.Contains(rest, name)
		_, problems := policy.Parse(fsys, nil)
		for _, p := range problems {
			if p.Severity != policy.Error || !named && !slices.Contains(known, p.Code) || fsys[p.File] == nil {
				continue
			}
			unknown, err := verdict(schemas, fsys[p.File].Data)
			if unknown {
				continue
			}
			met[name], met[p.Code] = true, true
			if err == nil {
				t.Errorf("%s: %s:%d: %s %s: the schema accepts it", name, p.File, p.Line, p.Code, p.Message)
			}
		}
	}
	for _, x := range append(known, rest...) {
		if !met[x] {
			t.Errorf("no refused file of %s was looked at", x)
		}
	}
}

// TestCodes: what a schema knows of codes.
func TestCodes(t *testing.T) {
	schemas := compileAll(t)
	file := "apiVersion: domicile.dev/v1\nkind: Jurisdiction\nmetadata: {name: NAME}\nspec: {law: [\"SA\"], classes: {message: {}}}\n"
	for code, good := range map[string]bool{
		`"SA"`: true, `"NO"`: true, `"US-CA"`: true, `"AE-DIFC"`: true, `"sa"`: false, `"SAU"`: false, `"UK"`: false, `"EU"`: false, `"XK"`: false, `false`: false, `"EEA"`: false,
	} {
		unknown, err := verdict(schemas, []byte(strings.Replace(file, "NAME", code, 1)))
		if unknown || (err == nil) != good {
			t.Errorf("%s: accepted is %v, want %v", code, err == nil, good)
		}
	}
}

// TestEveryFieldIsExplained in both languages, and every word of a closed set or
// none of it.
func TestEveryFieldIsExplained(t *testing.T) {
	for name, src := range all(t) {
		var doc any
		if err := json.Unmarshal(src, &doc); err != nil {
			t.Fatal(err)
		}
		explained(t, name, doc)
	}
}

func explained(t *testing.T, at string, doc any) {
	t.Helper()
	switch v := doc.(type) {
	case map[string]any:
		properties, _ := v["properties"].(map[string]any)
		for field, x := range properties {
			text, _ := x.(map[string]any)["markdownDescription"].(string)
			if en, zh, ok := strings.Cut(text, "\n\n"); !ok || en == "" || zh == "" || en == zh {
				t.Errorf("%s: %s has no description in both languages: %q", at, field, text)
			}
		}
		if enum, ok := v["enum"].([]any); ok && len(enum) > 1 && len(enum) < 100 && enum[0] != "GET" {
			if d, _ := v["enumDescriptions"].([]any); len(d) != len(enum) {
				t.Errorf("%s: %v has %d descriptions", at, enum, len(d))
			}
		}
		for k, x := range v {
			explained(t, at+"/"+k, x)
		}
	case []any:
		for _, x := range v {
			explained(t, at, x)
		}
	}
}

// TestFieldsAreTheReaders: object by object, the schema has the fields that the
// reader asks for.
func TestFieldsAreTheReaders(t *testing.T) {
	for kind, s := range policy.Shapes() {
		var doc map[string]any
		if err := json.Unmarshal(all(t)[strings.ToLower(kind)+".json"], &doc); err != nil {
			t.Fatal(err)
		}
		sameFields(t, kind, s, doc)
	}
}

func sameFields(t *testing.T, at string, s *shape.Shape, doc map[string]any) {
	t.Helper()
	sub := func(key string) map[string]any { m, _ := doc[key].(map[string]any); return m }
	switch {
	case s.Type == shape.List:
		sameFields(t, at, s.Items, sub("items"))
	case s.Values != nil:
		sameFields(t, at+".*", s.Values, sub("additionalProperties"))
	case s.Type == shape.Object:
		properties := sub("properties")
		if len(properties) != len(s.Fields) || doc["additionalProperties"] != false {
			t.Errorf("%s: %d fields, the reader has %d", at, len(properties), len(s.Fields))
		}
		for _, f := range s.Fields {
			x, ok := properties[f.Name].(map[string]any)
			if !ok {
				t.Errorf("%s: no field %s", at, f.Name)
				continue
			}
			sameFields(t, at+"."+f.Name, f.Shape, x)
		}
	}
}

// TestSchemasAreNoPolicy: they lie in the policy directory, are not read, and are
// part of neither the library nor a bundle.
func TestSchemasAreNoPolicy(t *testing.T) {
	if _, err := fs.Stat(policies.Library(), "schema"); err == nil {
		t.Error("the library holds the schemas")
	}
	set, problems := policy.Parse(os.DirFS("../../../policies"), policies.Shipped())
	if len(problems) > 0 {
		t.Errorf("problems: %v", problems)
	}
	for name := range set.Files {
		if strings.HasPrefix(name, "schema/") {
			t.Errorf("%s is part of a bundle", name)
		}
	}
}

// TestModelines: every shipped file names its schema.
func TestModelines(t *testing.T) {
	err := fs.WalkDir(policies.Library(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(name) != ".yaml" {
			return err
		}
		src, err := fs.ReadFile(policies.Library(), name)
		if err != nil {
			return err
		}
		n, _ := yamlpos.Parse(src)
		if want := schema.Modeline(name, n.Get("kind").Value) + "\n"; !bytes.HasPrefix(src, []byte(want)) {
			t.Errorf("%s does not begin with %s", name, want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
