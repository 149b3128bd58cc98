package yamlpos

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// show prints a tree in one line: values with their places.
func show(n *Node) string {
	if n == nil {
		return "-"
	}
	at := fmt.Sprintf("@%d:%d", n.Line, n.Column)
	switch n.Kind {
	case Null:
		return "null" + at
	case Plain:
		return n.Value + at
	case Quoted:
		return fmt.Sprintf("%q", n.Value) + at
	case List:
		parts := make([]string, len(n.Items))
		for i, x := range n.Items {
			parts[i] = show(x)
		}
		return "[" + strings.Join(parts, " ") + "]" + at
	}
	parts := make([]string, len(n.Fields))
	for i, f := range n.Fields {
		parts[i] = show(f.Key) + "=" + show(f.Value)
	}
	return "{" + strings.Join(parts, " ") + "}" + at
}

func TestParse(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", "-"},
		{"# only\n", "-"},
		{"---\na: 1\n...\n", "{a@2:1=1@2:4}@2:1"},
		{"a: \"中文\"\n中: {x: 'y', z: [1, \"NO\", no, 中, \"q\"]}\n",
			`{a@1:1="中文"@1:4 中@2:1={x@2:5="y"@2:8 z@2:13=[1@2:17 "NO"@2:20 no@2:26 中@2:30 "q"@2:33]@2:16}@2:4}@1:1`},
		{"b:\n- c: d\n  e: |\n    l1\n    l2\n- >-\n  f\n  g\nlast:\n", `{b@1:1=[{c@2:3=d@2:6 e@3:3="l1\nl2\n"@3:6}@2:3 "f g"@6:3]@2:1 last@9:1=null@9:7}@1:1`},
		{"q: \"a\n  b\"\nafter: 0o17 # c\r\n", `{q@1:1="a b"@1:4 after@3:1=0o17@3:8}@1:1`},
		{"d: 2026-11-24\nt: 1.5\nn: ~\nb: true\n", `{d@1:1=2026-11-24@1:4 t@2:1=1.5@2:4 n@3:1=null@3:4 b@4:1=true@4:4}@1:1`},
		{"e: []\nm: {}\n", `{e@1:1=[]@1:4 m@2:1={}@2:4}@1:1`},
	} {
		n, faults := Parse([]byte(c.in))
		if len(faults) > 0 {
			t.Errorf("%q: %+v", c.in, faults)
		}
		if diff := cmp.Diff(c.want, show(n)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", c.in, diff)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct {
		in        string
		want      Reason
		line, col int
	}{
		{"a: &x 1\n", Anchor, 1, 4},
		{"a: *x\n", Alias, 1, 4},
		{"a:\n  <<: {b: 1}\n", Merge, 2, 3},
		{"a: !!str 1\n", Tag, 1, 4},
		{"a: !x 1\n", Tag, 1, 4},
		{"%YAML 1.2\n---\na: b\n", Directive, 1, 1},
		{"a: 1\n---\nb: 1\n", Documents, 2, 1},
		{"---\n---\n", Documents, 2, 1},
		{"中: 1\nb: 2\n中: 3\n", Duplicate, 3, 1},
		{"a: {x: 1, 'x': 2}\n", Duplicate, 1, 11},
		{"? a\n: b\n", Key, 1, 1},
		{"中中\t: b\n", Tab, 1, 3},
		{"\ufeffa: b\n", ByteOrder, 1, 1},
		{"a: \x00\n", Control, 1, 4},
		{"a: b\rc: d\n", Control, 1, 5},
		{"a: \xff\n", NotUTF8, 1, 4},
		{"a: \"\u202eb\"\n", Reorder, 1, 5},
		{"a: b: c\n", Syntax, 1, 4},
		{"a: [1,\n", Syntax, 1, 4},
		{"- a\n-b\n", Syntax, 2, 1},
		{"a: \"x\n", Syntax, 1, 4},
		{"x: a\n  - b\n", Syntax, 2, 1},
		{"x:\n  a\n\n   -b # c\n    d\n", Syntax, 4, 1},
		{strings.Repeat("[", 33) + strings.Repeat("]", 33), TooDeep, 1, 33},
		{strings.Repeat("- ", 40) + "a\n", TooDeep, 1, 65},
		{strings.Repeat("x", MaxSize+1), TooLarge, 1, 1},
	} {
		name := c.in[:min(len(c.in), 40)]
		n, faults := Parse([]byte(c.in))
		if len(faults) == 0 {
			t.Errorf("%q: accepted as %s", name, show(n))
			continue
		}
		f := faults[0]
		if f.Reason != c.want || f.Line != c.line || f.Column != c.col {
			t.Errorf("%q: got %+v, want reason %d at %d:%d", name, f, c.want, c.line, c.col)
		}
	}
}

// hostile holds files of the greatest size that make a careless reader slow.
func hostile() map[string]string {
	n := MaxSize
	lines := func(f string) string {
		var b strings.Builder
		for i := 0; b.Len() < n-64; i++ {
			fmt.Fprintf(&b, f, i)
		}
		return b.String()
	}
	out := map[string]string{
		"anchors": lines("a%d: &a%[1]d x\n"),
		"keys":    lines("k%d: v\n"),
		"list":    lines("- x%d\n"),
		"flow":    "a: [" + lines("{x: y%d}, ") + "]",
		"bomb":    "a: &a [x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n",
	}
	for name, unit := range map[string]string{
		"brackets": "[", "braces": "{a: ", "dashes": "- ", "questions": "? ", "colons": ": ", "colonlines": ":\n",
		"quotes": `"`, "pairs": `"" `, "pipes": "|\n", "spaces": " ", "lines": "\n", "text": "a", "words": "a\n",
		"commas": ",", "hashes": "#\n", "closing": "]", "same": "a: b\n", "singles": "'", "escapes": `"\n"`,
		"nests": "a:\n ", "docs": "---\n", "folded": "- >\n", "percent": "%\n", "bang": "! ", "at": "@\n", "tick": "`\n",
	} {
		out[name] = strings.Repeat(unit, n/len(unit))
	}
	return out
}

func TestT24HostileInputCostsBoundedTime(t *testing.T) {
	for name, in := range hostile() {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			n, faults := Parse([]byte(in))
			took := time.Since(start)
			t.Logf("%v, %d faults", took, len(faults))
			if took > 30*time.Second {
				t.Errorf("took %v for %d bytes", took, len(in))
			}
			for _, f := range faults {
				if f.Reason == Crash {
					t.Errorf("the reader panicked: %s", f.Detail)
				}
			}
			if name == "bomb" && n != nil {
				t.Error("an alias bomb was accepted")
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"a: 1\n", "- a\n- {b: [c, \"d\"]}\n", "a: |\n  x\n", "a: &x 1\nb: *x\n", "? a\n: b\n", "---\n", "a:\n- b\n", "<<: 1"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		n, faults := Parse(src)
		for _, x := range faults {
			if x.Reason == Crash {
				t.Fatalf("the reader panicked: %s", x.Detail)
			}
			if x.Line < 1 || x.Column < 1 {
				t.Fatalf("fault without a place: %+v", x)
			}
		}
		check(t, n, MaxDepth+1)
	})
}

func check(t *testing.T, n *Node, left int) {
	if n == nil {
		return
	}
	if left == 0 {
		t.Fatal("too deep")
	}
	if n.Line < 1 || n.Column < 1 {
		t.Fatalf("node without a place: %+v", n)
	}
	for _, x := range n.Items {
		check(t, x, left-1)
	}
	for _, x := range n.Fields {
		check(t, x.Key, 1)
		check(t, x.Value, left-1)
	}
}
