package show

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy"
)

// TestYAMLMeansTheSameAsJSON reads what writeYAML wrote with a real reader.
func TestYAMLMeansTheSameAsJSON(t *testing.T) {
	for _, in := range []string{
		`{"formatVersion":"1.0","problems":[{"file":"a.yaml","line":3,"fix":""},{"file":"b: c","line":4}],"leaks":[],"table":{}}`,
		`{"a":{"b":{"c":[1,2.5,-3,true,null,"NO","no","~","- x","# c","a: b"]}},"e":"last"}`,
		`{"NO":"Norway","null":1,"y":2,"a b":3,"":4,"1":5,"on":6}`,
		`[[1,[2,3]],[],{},[{"a":[{"b":1}]}]]`,
		`{"text":"line\nline\ttab \u0001 \"quoted\" \\ 中文 \u2028"}`,
		`"scalar"`, `[]`, `{}`,
	} {
		var b bytes.Buffer
		if err := YAML(&b, []byte(in)); err != nil {
			t.Fatalf("%s: %v", in, err)
		}
		var want, got any
		if err := json.Unmarshal([]byte(in), &want); err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(b.Bytes(), &got); err != nil {
			t.Errorf("%s became\n%swhich is no YAML: %v", in, b.String(), err)
			continue
		}
		asJSON, err := json.Marshal(got) // one type for all numbers
		if err != nil {
			t.Fatal(err)
		}
		got = nil
		if err := json.Unmarshal(asJSON, &got); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s became\n%s%s", in, b.String(), d)
		}
	}
}

func TestCleanKeepsFilesOffTheTerminal(t *testing.T) {
	for in, want := range map[string]string{
		"plain 中文\n\tx": "plain 中文\n\tx",
		"\x1b[2Jgone":   `\u001b[2Jgone`,
		"a\u202eb":      `a\u202eb`,
		"\rover":        `\u000dover`,
		"\x9b31m":       `\ufffd31m`,
		"\u009b31m":     `\u009b31m`,
	} {
		if got := Clean(in); got != want {
			t.Errorf("Clean(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestProblemText(t *testing.T) {
	fsys := fstest.MapFS{
		"jurisdictions/sa.yaml": {Data: []byte("a: 1\nname: 消息 [me, ae]\n\tx: 1\n")},
		"big.yaml":              {Data: bytes.Repeat([]byte("x"), maxQuoted+1)},
		"long.yaml":             {Data: []byte(strings.Repeat("x", 2*maxLine) + "!" + strings.Repeat("y", 2*maxLine))},
	}
	p := Place{Dir: "policies", FS: fsys}
	at := func(file string, line, column int) policy.Problem {
		return policy.Problem{
			Pos: policy.Pos{File: file, Line: line, Column: column}, Code: "DP2107", Severity: policy.Error,
			Message: lang.Text{En: "m\x1b", Zh: "消息"}, Why: lang.Same("w"), Law: "l", Fix: lang.Text{En: "f", Zh: "改"},
		}
	}
	const tail = "   why  w\n   law  l\n   fix  f\n\n"
	for _, c := range []struct {
		problem policy.Problem
		want    string
	}{
		// The caret counts the columns that wide characters take.
		{at("jurisdictions/sa.yaml", 2, 15), "  --> policies/jurisdictions/sa.yaml:2:15\n    2 | name: 消息 [me, ae]\n      |" + strings.Repeat(" ", 17) + "^\n"},
		{at("jurisdictions/sa.yaml", 3, 2), "  --> policies/jurisdictions/sa.yaml:3:2\n    3 |     x: 1\n      |     ^\n"},
		{at("jurisdictions/sa.yaml", 9, 1), "  --> policies/jurisdictions/sa.yaml:9:1\n"},
		{at("jurisdictions/sa.yaml", 2, 99), "  --> policies/jurisdictions/sa.yaml:2:99\n    2 | name: 消息 [me, ae]\n"},
		{at("(shipped)/law/sa.yaml", 1, 1), "  --> (shipped)/law/sa.yaml:1:1\n"},
		{at("deployment.yaml", 1, 1), "  --> policies/deployment.yaml:1:1\n"}, // missing
		{at("big.yaml", 1, 1), "  --> policies/big.yaml:1:1\n"},
		{at("long.yaml", 1, 1), "  --> policies/long.yaml:1:1\n    1 | " + strings.Repeat("x", maxLine) + "…\n      | ^\n"},
		{at("long.yaml", 1, 2*maxLine+1), "  --> policies/long.yaml:1:321\n    1 | …" + strings.Repeat("x", maxLine/2) + "!" +
			strings.Repeat("y", maxLine/2-1) + "…\n      | " + strings.Repeat(" ", maxLine/2+1) + "^\n"},
		{at("long.yaml", 1, 4*maxLine+2), "  --> policies/long.yaml:1:642\n    1 | …" + strings.Repeat("y", maxLine) + "\n      | " + strings.Repeat(" ", maxLine+1) + "^\n"},
		{at("../../etc/passwd", 1, 1), "  --> ../../etc/passwd:1:1\n"},
		{at("", 0, 0), ""},
	} {
		var b bytes.Buffer
		p.Text(&b, []policy.Problem{c.problem})
		want := "error[DP2107]: m\\u001b\n" + c.want + tail
		if d := cmp.Diff(want, b.String()); d != "" {
			t.Errorf("%v:\n%s", c.problem.Pos, d)
		}
	}
}

func TestProblemTextInChinese(t *testing.T) {
	var b bytes.Buffer
	Place{Lang: lang.Chinese}.Text(&b, []policy.Problem{{
		Pos: policy.Pos{File: "a.yaml", Line: 1, Column: 2}, Code: "DP1001", Severity: policy.Warning,
		Message: lang.Text{En: "m", Zh: "消息"}, Why: lang.Text{En: "w", Zh: "因"}, Law: "PDPL Art. 29", Fix: lang.Text{En: "f"},
	}})
	want := "警告[DP1001]: 消息\n  --> a.yaml:1:2\n   原因  因\n   法律  PDPL Art. 29\n   修复  f\n\n"
	if b.String() != want {
		t.Errorf("got  %s\nwant %s", b.String(), want)
	}
}

func TestGitHubAnnotationsCannotBeForged(t *testing.T) {
	var b bytes.Buffer
	Place{}.GitHub(&b, []policy.Problem{{
		Pos: policy.Pos{File: "a,b:c.yaml", Line: 2, Column: 3}, Code: "DP1001", Severity: policy.Warning,
		Message: lang.Same("50%\n::error::forged"), Fix: lang.Same("f"),
	}})
	want := "::warning file=a%2Cb%3Ac.yaml,line=2,col=3,title=DP1001::50%25%0A::error::forged%0Afix: f\n"
	if b.String() != want {
		t.Errorf("got  %s\nwant %s", b.String(), want)
	}
}

// TestGitHubShowsTheWorst: of many problems the errors come first, and the rest is
// counted.
func TestGitHubShowsTheWorst(t *testing.T) {
	var problems []policy.Problem
	for i := range 12 {
		q := policy.Problem{Pos: policy.Pos{File: "a.yaml", Line: i + 1, Column: 1}, Code: "DP3001", Severity: policy.Warning, Message: lang.Same("w")}
		if i >= 10 {
			q.Severity = policy.Error
		}
		problems = append(problems, q)
	}
	var b bytes.Buffer
	Place{Lang: lang.Chinese}.GitHub(&b, problems)
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if len(lines) != 11 || !strings.HasPrefix(lines[0], "::error file=a.yaml,line=11,") || !strings.HasPrefix(lines[1], "::error file=a.yaml,line=12,") ||
		!strings.HasPrefix(lines[2], "::warning file=a.yaml,line=1,") || !strings.HasPrefix(lines[10], "::notice ") || !strings.Contains(lines[10], "还有 2 个问题") {
		t.Errorf("got\n%s", b.String())
	}
	b.Reset()
	Place{}.GitHub(&b, problems[:10])
	if n := strings.Count(b.String(), "\n"); n != 10 {
		t.Errorf("%d lines for 10 problems", n)
	}
}
