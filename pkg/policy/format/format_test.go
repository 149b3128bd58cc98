package format_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"go.yaml.in/yaml/v4"

	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/policy/format"
	"github.com/domicile-dev/domicile/pkg/policy/internal/yamlpos"
	"github.com/domicile-dev/domicile/policies"
)

// TestShippedFilesAreFormatted: make fmt of policies is a no-op.
func TestShippedFilesAreFormatted(t *testing.T) {
	f := format.New()
	for name, src := range files(t, policies.Library()) {
		out, problems, err := f.Source(name, src)
		if err != nil || len(problems) > 0 {
			t.Fatalf("%s: %v %v", name, problems, err)
		}
		if diff := cmp.Diff(string(src), string(out)); diff != "" {
			t.Errorf("%s is not formatted:\n%s", name, diff)
		}
	}
}

// TestLayouts: testdata holds files as authors write them and as they come out.
func TestLayouts(t *testing.T) {
	f := format.New()
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, name := range names {
		a, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		in := a.Files[0].Data
		got, problems, err := f.Source(name, in)
		if err != nil || len(problems) > 0 {
			t.Errorf("%s: %v %v", name, problems, err)
			continue
		}
		if os.Getenv("UPDATE") != "" {
			a.Files = []txtar.File{a.Files[0], {Name: "out.yaml", Data: got}}
			if err := os.WriteFile(name, txtar.Format(a), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if diff := cmp.Diff(string(a.Files[1].Data), string(got)); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}

func TestSourceLeavesBrokenFilesAlone(t *testing.T) {
	for src, code := range map[string]string{
		"a: [1\n": "DP1003", "a: 1\na: 2\n": "DP1006", "a:\tb\n": "DP1007", "a: &x 1\n": "DP1005", "a: 1\n---\nb: 2\n": "DP1009",
		"a: \xff\n": "DP1002", "a: \x00\n": "DP1002",
	} {
		out, problems, err := format.New().Source("x.yaml", []byte(src))
		if err != nil || out != nil || len(problems) != 1 || problems[0].Code != code || problems[0].Line == 0 {
			t.Errorf("%q: got %q, %v, %v; want %s", src, out, problems, err, code)
		}
	}
	for _, src := range []string{"", "\n", "# nothing\n\n\n"} {
		if out, problems, err := format.New().Source("x.yaml", []byte(src)); string(out) != src || problems != nil || err != nil {
			t.Errorf("%q: got %q, %v, %v", src, out, problems, err)
		}
	}
}

// TestEncodings: a byte order mark, CRLF and blanks at line ends go, wherever the
// comments are in Chinese.
func TestEncodings(t *testing.T) {
	want := "# 德国\napiVersion: domicile.dev/v1\nkind: Groups\nspec:\n  groups:\n    - {name: 组, title: \"海湾\"} # 说明\n"
	for name, in := range map[string]string{
		"byte order mark": "\uFEFF" + want, "CRLF": strings.ReplaceAll(want, "\n", "\r\n"), "no final newline": strings.TrimSpace(want),
		"blanks": strings.ReplaceAll(want, "\n", "   \n"), "empty lines": strings.ReplaceAll(want, "\nspec", "\n\n \n\nspec") + "\n\n",
		"all": "\uFEFF" + strings.ReplaceAll(strings.ReplaceAll(want, "\n", "  \n"), "\n", "\r\n"),
	} {
		out, problems, err := format.New().Source("groups.yaml", []byte(in))
		if got := strings.ReplaceAll(string(out), "\n\nspec", "\nspec"); got != want || problems != nil || err != nil {
			t.Errorf("%s: got %q, %v, %v", name, out, problems, err)
		}
	}
}

// TestNull: a value that is written as absent stays so, also before blanks that end
// the file.
func TestNull(t *testing.T) {
	for in, want := range map[string]string{
		"fb: ~ ": "fb: ~\n", "a: null\nb: [~ , null]\nc: {x: ~ ,y: }\nd:\n": "a: null\nb: [~, null]\nc: {x: ~, y: }\nd:\n",
	} {
		out, problems, err := format.New().Source("x.yaml", []byte(in))
		if string(out) != want || len(problems) > 0 || err != nil {
			t.Errorf("%q: got %q, %v, %v", in, out, problems, err)
		}
	}
}

// TestMeaningIsKept: the model of a directory is the same before and after, places
// apart, and so are its problems but for those of unquoted codes.
func TestMeaningIsKept(t *testing.T) {
	f := format.New()
	dirs := map[string]fs.FS{"shipped": policies.Library(), "valid": os.DirFS("../testdata/valid")}
	refused, err := filepath.Glob("../testdata/refused/*.txtar")
	if err != nil || len(refused) == 0 {
		t.Fatalf("no refused directories: %v", err)
	}
	for _, name := range refused {
		a, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		m := fstest.MapFS{}
		for _, x := range a.Files {
			m[x.Name] = &fstest.MapFile{Data: x.Data}
		}
		dirs[name] = m
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for name, fsys := range dirs {
		before, after := fstest.MapFS{}, fstest.MapFS{}
		for file, src := range files(t, fsys) {
			before[file], after[file] = &fstest.MapFile{Data: src}, &fstest.MapFile{Data: src}
			out, problems, err := f.Source(file, sprinkle(rnd, src))
			if err != nil {
				t.Fatalf("%s: %s: %v", name, file, err)
			}
			if len(problems) == 0 {
				after[file] = &fstest.MapFile{Data: out}
			}
		}
		copyRest(t, fsys, before, after)
		library := fs.FS(nil) // reading it for each of the refused ones takes long, and adds nothing
		if !strings.HasSuffix(name, ".txtar") {
			library = policies.Shipped()
		}
		a, pa := policy.Parse(before, library)
		b, pb := policy.Parse(after, library)
		if slices.ContainsFunc(pa, func(p policy.Problem) bool { return p.Code == "DP1004" || p.Code == "DP1002" }) {
			continue // an unquoted NO and a byte order mark were refused; with quotes, and without it, the file is read
		}
		a.Files, b.Files = nil, nil
		if diff := cmp.Diff(a, b, cmp.FilterPath(func(p cmp.Path) bool { return p.Last().Type() == reflect.TypeFor[policy.Pos]() }, cmp.Ignore())); diff != "" {
			t.Errorf("%s: the model has changed:\n%s", name, diff)
		}
		if diff := cmp.Diff(codes(pa), codes(pb)); diff != "" {
			t.Errorf("%s: the problems have changed:\n%s", name, diff)
		}
	}
}

func codes(problems []policy.Problem) map[string]int {
	out := map[string]int{}
	for _, p := range problems {
		if p.Code != "DP1018" && p.Code != "DP2002" /* a law file with a comment more is no copy of the shipped one */ {
			out[p.File+" "+p.Code]++
		}
	}
	return out
}

func copyRest(t *testing.T, fsys fs.FS, to ...fstest.MapFS) {
	t.Helper()
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || to[0][name] != nil {
			return err
		}
		data, err := fs.ReadFile(fsys, name)
		for _, m := range to {
			m[name] = &fstest.MapFile{Data: data}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func files(t *testing.T, fsys fs.FS) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(name) != ".yaml" {
			return err
		}
		out[name], err = fs.ReadFile(fsys, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// sprinkle puts comments and empty lines at random places of a file, where YAML
// takes them: above and behind lines, and between the tokens of flow lists and
// maps. It returns the file itself where that made it unreadable.
func sprinkle(rnd *rand.Rand, src []byte) []byte {
	tokens, err := yamlpos.Tokens(src)
	if err != nil || len(policy.Faults("x", src)) > 0 || len(tokens) == 0 {
		return src
	}
	lines := strings.Split(string(src), "\n")
	n := 0
	note := func() string { n++; return fmt.Sprintf("# 注 %d", n) }
	flow := 0
	for i := len(tokens) - 1; i > 0; i-- {
		switch tokens[i].Kind {
		case yamlpos.MapEnd, yamlpos.ListEnd:
			flow++
		case yamlpos.MapStart, yamlpos.ListStart:
			flow--
		}
		t := tokens[i]
		line := []rune(lines[t.Line-1])
		before := tokens[i-1]
		apart := before.Line < t.Line
		switch {
		case rnd.IntN(8) > 0 || t.Kind == yamlpos.CommentToken || t.Kind == yamlpos.Colon || before.Kind == yamlpos.BlockToken || before.EndLine > before.Line:
		case apart && rnd.IntN(2) == 0:
			lines[t.Line-1] = strings.Repeat(" ", rnd.IntN(9)) + note() + "\n" + lines[t.Line-1]
		case apart && rnd.IntN(2) == 0:
			lines[t.Line-1] = "\n  \n" + lines[t.Line-1]
		case apart && before.Kind != yamlpos.CommentToken:
			lines[before.EndLine-1] += strings.Repeat(" ", 1+rnd.IntN(4)) + note()
		case flow > 0 && before.Kind != yamlpos.CommentToken && before.Kind != yamlpos.Entry && !(before.Kind == yamlpos.Colon):
			lines[t.Line-1] = string(line[:t.Column-1]) + " " + note() + "\n" + strings.Repeat(" ", 12+rnd.IntN(4)) + string(line[t.Column-1:])
		}
	}
	out := []byte(strings.Join(lines, "\n"))
	if len(policy.Faults("x", out)) > 0 {
		return src
	}
	return out
}

// TestComments: wherever comments stand, none is lost, nothing else changes, and
// the second run has nothing to do; Source proves it, or returns an error.
func TestComments(t *testing.T) {
	f := format.New()
	rnd := rand.New(rand.NewPCG(3, 4))
	tried, changed := 0, 0
	for name, src := range files(t, policies.Library()) {
		if len(src) > 3000 {
			continue
		}
		for range 12 {
			in := sprinkle(rnd, src)
			out, problems, err := f.Source(name, in)
			if err != nil || len(problems) > 0 {
				t.Fatalf("%s: %v %v\n%s", name, problems, err, in)
			}
			tried++
			if !bytes.Equal(in, src) {
				changed++
			}
			if bytes.Contains(out, []byte(" \n")) || bytes.Contains(out, []byte("\n\n\n")) || !bytes.HasSuffix(out, []byte("\n")) || bytes.HasSuffix(out, []byte("\n\n")) {
				t.Fatalf("%s: blanks or empty lines are left:\n%s", name, out)
			}
		}
	}
	if changed < tried/2 {
		t.Errorf("only %d of %d files got a comment", changed, tried)
	}
}

func FuzzSource(f *testing.F) {
	for _, fsys := range []fs.FS{policies.Library(), os.DirFS("../testdata/valid")} {
		err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(name) != ".yaml" || strings.HasPrefix(name, "law/") && name > "law/ae" {
				return err
			}
			src, err := fs.ReadFile(fsys, name)
			f.Add(src)
			return err
		})
		if err != nil {
			f.Fatal(err)
		}
	}
	for _, s := range []string{
		"a: # k\n  - [x, # one\n   # own\n   \"y\" , ]  # tail\n  - {a: 1, b: ~, c: }\nb: plain\n  multi\n# mid\nt: \"dq\n  more\" # x\nl: |-\n  lit\n\n  more\n  # not a comment\n\n# foot\n",
		"a: |- # hdr\n    lit\n      in\n\n\nb: >2\n   x\n  y\n# c\nc: |+\n  k\n\n\nd: \"a \\\n   b\"\n", "- - - a\n    - b\n  - c\n- # c\n  k: v\n-\n  # d\n  k: v\n",
		"---\n# a\n[a: b, {c}, 'it''s']\n...\n# b\n", "a:\n- x\n# f\n- y\nb:\n", "{a: {b: [c, # d\n e]}}",
	} {
		f.Add([]byte(s))
	}
	formatter := format.New()
	f.Fuzz(func(t *testing.T, src []byte) {
		if len(src) > 4096 {
			return
		}
		out, problems, err := formatter.Source("x.yaml", src)
		if err != nil {
			// The file is left alone. So it may be where our YAML library reads what
			// another one refuses, or reads otherwise.
			var ours, theirs any
			keeps := bytes.Contains(src, []byte("|+")) || bytes.Contains(src, []byte(">+")) // empty lines at an end are read in several ways
			tokens, err2 := yamlpos.Tokens(src)
			// The library reads plain text over several lines in ways of its own, and
			// block text without a line, or with blanks at an end.
			odd := slices.ContainsFunc(tokens, func(t yamlpos.Token) bool {
				return t.Kind == yamlpos.BlockToken && (len(t.Lines) == 0 || strings.Contains(string(src), " \n")) ||
					t.Kind == yamlpos.ScalarToken && t.EndLine > t.Line && !strings.ContainsAny(t.Raw[:1], "'\"")
			})
			if !keeps && !odd && err2 == nil && yaml.Unmarshal(src, &theirs) == nil && reads(src, &ours) && reflect.DeepEqual(ours, theirs) {
				t.Fatalf("%v\n%q", err, src)
			}
			return
		}
		if len(problems) == 0 && len(src) > 0 && len(policy.Faults("x.yaml", out)) > 0 {
			t.Fatalf("the result is broken\n%q\n%q", src, out)
		}
	})
}

// reads turns a file into what the other library would make of it.
func reads(src []byte, into *any) bool {
	n, faults := yamlpos.Parse(src)
	if len(faults) > 0 {
		return false
	}
	*into = plain(n)
	return true
}

func plain(n *yamlpos.Node) (v any) {
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
	case yamlpos.Plain:
		if yaml.Unmarshal([]byte(n.Value), &v) != nil {
			return n.Value
		}
		return v
	case yamlpos.Quoted:
		return n.Value
	}
	return nil
}
