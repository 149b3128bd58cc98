package script

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// edit changes the text of a policy file; "" for old replaces all of it.
// Lint must answer with code.
type edit struct{ code, file, old, new string }

// TestRefusals breaks the shipped policies in the ways in which people break
// theirs. Lint must exit 1 and name the file and line; apply must not even ask
// the control plane, which would be exit 4 here.
func TestRefusals(t *testing.T) {
	const tr = "jurisdictions/tr.yaml"
	whole := func(code string) string {
		return "apiVersion: domicile.dev/v1\nkind: Jurisdiction\nmetadata: {name: " + code + ", owner: a}\nspec:\n  law: [\"TR\"]\n" +
			"  defaults: {serve: [tr-istanbul], entry: [tr-istanbul], basis: [chosen]}\n  classes:\n    message: {}\n"
	}
	for name, e := range map[string]edit{
		"unknown field":       {"DP1010", tr, "spec:\n", "spec:\n  servers: [tr-istanbul]\n"},
		"duplicate key":       {"DP1006", tr, "spec:\n", "spec:\n  law: [\"TR\"]\n"},
		"unknown region":      {"DP4101", tr, "serve: [tr-istanbul]", "serve: [tr-ankara]"},
		"foreign region":      {"DP2107", tr, "serve: [tr-istanbul]", "serve: [tr-istanbul, eu-frankfurt]"},
		"lapsed transfer":     {"DP2110", tr, "reviewBy: 2027-02-24, until: 2027-11-24", "reviewBy: 2023-02-24, until: 2024-01-01"},
		"anchor":              {"DP1005", tr, "", strings.Replace(whole(`"TR"`), "[tr-istanbul], entry: [tr-istanbul]", "&r [tr-istanbul], entry: *r", 1)},
		"retired code":        {"DP1017", tr, "", whole(`"SU"`)},
		"lower-case code":     {"DP1017", tr, "", whole(`"tr"`)},
		"three-letter code":   {"DP1017", tr, "", whole(`"TUR"`)},
		"look-alike code":     {"DP1017", tr, "", whole("\"\u0422R\"")}, // Cyrillic Te
		"unquoted Norway":     {"DP1004", tr, "", whole(`NO`)},
		"bad duration":        {"DP1015", "jurisdictions/sa.yaml", "maxAge: 24h", "maxAge: 24 hours"},
		"one home, two files": {"DP2001", "jurisdictions/tr2.yaml", "", whole(`"TR"`)},
		"tab":                 {"DP1007", tr, "spec:\n", "spec:\n\tlaw: [\"TR\"]\n"},
		"3 MB":                {"DP1001", tr, "spec:\n", "#" + strings.Repeat("x", 3<<20) + "\nspec:\n"},
		"empty file":          {"DP1027", tr, "", "\n"},
		"not YAML":            {"DP1003", tr, "", "{{{{"},
		"two documents":       {"DP1009", tr, "", whole(`"TR"`) + "---\n" + whole(`"QA"`)},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(filepath.Join("..", "..", "policies"))); err != nil {
				t.Fatal(err)
			}
			apply(t, dir, e)
			_, out, _ := domicile(t, 1, "lint", dir, "--output", "json")
			var got struct {
				Problems []struct {
					File, Code, Severity, Message, Fix string
					Line, Column                       int
				}
			}
			if err := json.Unmarshal([]byte(out), &got); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			named := false
			for _, p := range got.Problems {
				named = named || p.Severity == "error" && p.Code == e.code && strings.HasSuffix(p.File, "/"+e.file) && p.Line > 0 && p.Column > 0 && p.Message != ""
				if p.Severity == "error" && (p.Code == "" || p.Fix == "") {
					t.Errorf("%s: %q has no code or no fix", p.Code, p.Message)
				}
			}
			if !named {
				t.Errorf("no error %s names %s and a line:\n%s", e.code, e.file, out)
			}
			domicile(t, 1, "apply", dir, "--control", "http://127.0.0.1:1")
		})
	}
}

func apply(t *testing.T, dir string, e edit) {
	t.Helper()
	path := filepath.Join(dir, filepath.FromSlash(e.file))
	text := e.new
	if e.old != "" {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(data), e.old) {
			t.Fatalf("%s holds no %q", e.file, e.old)
		}
		text = strings.ReplaceAll(string(data), e.old, e.new)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
