package policy

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestExcerpt(t *testing.T) {
	src := []byte("\ufeffkind: Law\n" + strings.Repeat("ä", 200) + " bad\n")
	for _, c := range []struct {
		at   Pos
		want string
	}{
		{Pos{"a", 1, 1}, "   1 | \ufffdkind: Law\n     | ^^^^^\n"},
		{Pos{"a", 1, 8}, "   1 | \ufffdkind: Law\n     |        ^^^\n"},
		{Pos{"a", 2, 202}, "   2 | " + strings.Repeat("ä", 59) + " bad\n     | " + strings.Repeat(" ", 60) + "^^^\n"},
		{Pos{"a", 0, 1}, ""}, {Pos{"a", 1, 0}, ""}, {Pos{"a", 9, 1}, ""}, {Pos{"a", 1, 99}, ""},
	} {
		if diff := cmp.Diff(c.want, Excerpt(src, c.at)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", c.at, diff)
		}
	}
}

func TestRender(t *testing.T) {
	src := "spec:\n  law: [\"SA\"]\n  # 消息主存储\n  名: {serve: [\"me-riyadh\", ae-dubai]} \r\n"
	long := strings.Repeat("x", 300) + " bad " + strings.Repeat("y", 300)
	problems := []Problem{
		{Pos: Pos{"a.yaml", 4, 28}, Code: "DP2107", Severity: Error, Message: "messages leave SA", Why: "ae-dubai is in AE", Law: "SA PDPL art. 29", Fix: "remove ae-dubai"},
		{Pos: Pos{"a.yaml", 4, 15}, Code: "DP1018", Severity: Warning, Message: "a \x1b[2Jtrick", Fix: "f"},
		{Pos: Pos{"b.yaml", 1, 302}, Code: "DP1003", Severity: Error, Message: "long"},
		{Pos: Pos{"gone.yaml", 9, 9}, Code: "DP1026", Severity: Error, Message: "gone"},
		{Pos: Pos{"a.yaml", 99, 9}, Code: "DP1026", Severity: Error, Message: "beyond"},
	}
	want := `error[DP2107]: messages leave SA
  --> a.yaml:4:28
   2 |   law: ["SA"]
   3 |   # 消息主存储
   4 |   名: {serve: ["me-riyadh", ae-dubai]} 
     |                             ^^^^^^^^
   why  ae-dubai is in AE
   law  SA PDPL art. 29
   fix  remove ae-dubai

warning[DP1018]: a �[2Jtrick
  --> a.yaml:4:15
   2 |   law: ["SA"]
   3 |   # 消息主存储
   4 |   名: {serve: ["me-riyadh", ae-dubai]} 
     |                ^^^^^^^^^^^
   fix  f

error[DP1003]: long
  --> b.yaml:1:302
   1 | ` + strings.Repeat("x", 59) + " bad " + strings.Repeat("y", 56) + `
     | ` + strings.Repeat(" ", 60) + `^^^

error[DP1026]: gone
  --> gone.yaml:9:9

error[DP1026]: beyond
  --> a.yaml:99:9

Checked 2 files: 4 errors, 1 warning.
`
	var got bytes.Buffer
	if err := Render(&got, problems, map[string][]byte{"a.yaml": []byte(src), "b.yaml": []byte(long)}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	got.Reset()
	if err := Render(&got, nil, nil); err != nil || got.String() != "0 errors, 0 warnings.\n" {
		t.Errorf("got %q, %v", got.String(), err)
	}
}
