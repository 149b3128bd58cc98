package lang

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for s, want := range map[string]Lang{"en": English, "en_GB.UTF-8": English, "C.UTF-8": English, "zh-CN": Chinese, "zh_CN.UTF-8": Chinese, "ZH": Chinese} {
		if got, ok := Parse(s); !ok || got != want {
			t.Errorf("Parse(%q) = %q, %v", s, got, ok)
		}
	}
	for _, s := range []string{"", "tr_TR.UTF-8", "zhx"} {
		if got, ok := Parse(s); ok || got != English {
			t.Errorf("Parse(%q) = %q, %v", s, got, ok)
		}
	}
}

func TestEnvironment(t *testing.T) {
	env := func(kv ...string) func(string) string {
		return func(k string) string {
			if i := slices.Index(kv, k); i >= 0 {
				return kv[i+1]
			}
			return ""
		}
	}
	for _, c := range []struct {
		env  func(string) string
		want Lang
	}{
		{env(), English},
		{env("LANG", "zh_CN.UTF-8"), Chinese},
		{env("LC_ALL", "C", "LANG", "zh_CN.UTF-8"), English},
		{env("DOMICILE_LANG", "zh-CN", "LC_ALL", "en_US.UTF-8"), Chinese},
	} {
		if got := Environment(c.env); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

// A Text inside a Text speaks the language of the sentence around it.
func TestNesting(t *testing.T) {
	got := T("untranslated %s and %d", Text{En: "word", Zh: "词"}, 3)
	if want := (Text{En: "untranslated word and 3", Zh: "untranslated 词 and 3"}); got != want {
		t.Errorf("got %+v", got)
	}
	if got := T("100 %"); got.En != "100 %" {
		t.Errorf("got %q", got.En)
	}
}

var verb = regexp.MustCompile(`%(\[(\d+)\])?[-+# 0]*\d*(\.\d+)?([a-zA-Z%])`)

// verbs lists which argument each verb of a format takes, sorted.
func verbs(format string) []string {
	var out []string
	next := 1
	for _, m := range verb.FindAllStringSubmatch(format, -1) {
		if m[4] == "%" {
			continue
		}
		if m[2] != "" {
			next, _ = strconv.Atoi(m[2])
		}
		out = append(out, fmt.Sprintf("%d%s", next, m[4]))
		next++
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Each sentence of the sources has a translation with the same verbs, and each
// translation a sentence.
func TestEverySentenceIsTranslated(t *testing.T) {
	said := sentences(t)
	for _, where := range said.odd {
		t.Errorf("%s: lang.T takes a literal, so that this test sees it", where)
	}
	for format, where := range said.formats {
		zh, ok := translation(format)
		switch {
		case !ok:
			t.Errorf("%s: no Chinese for %q", where, format)
		case !slices.Equal(verbs(format), verbs(zh)):
			t.Errorf("%s: %q and %q take different arguments", where, format, zh)
		}
	}
	seen := map[string]bool{}
	for _, c := range catalogues {
		for format := range c {
			if said.formats[format] == "" {
				t.Errorf("nothing says %q any more", format)
			}
			if seen[format] {
				t.Errorf("%q is translated twice", format)
			}
			seen[format] = true
		}
	}
}

type found struct {
	formats map[string]string // format → where
	odd     []string
}

// sentences finds every call of lang.T in the sources that are not tests.
func sentences(t *testing.T) found {
	t.Helper()
	out := found{formats: map[string]string{}}
	root := filepath.Join("..", "..")
	for _, top := range []string{"cmd", "pkg"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			src, err := os.ReadFile(path)
			if err != nil || !strings.Contains(string(src), "pkg/lang\"") {
				return err
			}
			return out.add(path, src)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func (f *found) add(path string, src []byte) error {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, src, 0)
	if err != nil {
		return err
	}
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		sel, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || sel.Sel.Name != "T" || len(call.Args) == 0 {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); !ok || x.Name != "lang" {
			return true
		}
		where := fset.Position(call.Pos()).String()
		if lit, ok := call.Args[0].(*ast.BasicLit); ok && lit.Kind == token.STRING {
			format, _ := strconv.Unquote(lit.Value)
			f.formats[format] = where
		} else {
			f.odd = append(f.odd, where)
		}
		return true
	})
	return nil
}
