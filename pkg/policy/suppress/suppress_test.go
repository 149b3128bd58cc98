package suppress

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy"
)

var (
	now   = time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	codes = Codes{Known: []string{"DP3101", "DP2114", "DP3120"}, Loud: []string{"DP3120"}}
)

func at(line int, code string, severity policy.Severity) policy.Problem {
	return policy.Problem{Pos: policy.Pos{File: "a.yaml", Line: line, Column: 1}, Code: code, Severity: severity, Message: lang.Same("m")}
}

// apply gives what is left and what is hidden, one a line.
func apply(src string, when time.Time, problems ...policy.Problem) string {
	kept, hidden := Apply(map[string][]byte{"a.yaml": []byte(src), "jwks.json": []byte("# " + marker)}, codes, when, problems)
	var out []string
	for _, p := range kept {
		out = append(out, fmt.Sprintf("%d:%d %s %s", p.Line, p.Column, p.Code, p.Severity))
	}
	for _, h := range hidden {
		out = append(out, fmt.Sprintf("%d hidden %s until %s: %s", h.Line, h.Code, h.Until.Format(time.DateOnly), h.Reason))
	}
	return strings.Join(out, "\n")
}

func TestApply(t *testing.T) {
	due := at(2, "DP3101", policy.Warning)
	for _, c := range []struct {
		name, src string
		problems  []policy.Problem
		want      string
	}{
		{"on its line", "x: 1\na: 1  # domicile:ignore DP3101 until 2027-01-31: being signed: soon\n", []policy.Problem{due}, "2 hidden DP3101 until 2027-01-31: being signed: soon"},
		{"on the line above", "# domicile:ignore DP3101 until 2027-01-31: being signed\na: 1\n", []policy.Problem{due}, "2 hidden DP3101 until 2027-01-31: being signed"},
		{"above, with line ends of Windows", "# domicile:ignore DP3101 until 2027-01-31: being signed\r\na: 1\r\n", []policy.Problem{due}, "2 hidden DP3101 until 2027-01-31: being signed"},
		{"two above", "# domicile:ignore DP3101 until 2027-01-31: x\n  # domicile:ignore DP2114 until 2027-01-31: y\na: 1\n",
			[]policy.Problem{at(3, "DP3101", policy.Warning), at(3, "DP2114", policy.Warning)}, "3 hidden DP3101 until 2027-01-31: x\n3 hidden DP2114 until 2027-01-31: y"},
		{"several findings of one line", "# domicile:ignore DP3101 until 2027-01-31: x\na: 1\n", []policy.Problem{due, due}, "2 hidden DP3101 until 2027-01-31: x\n2 hidden DP3101 until 2027-01-31: x"},
		{"in a list", "a: [1, # domicile:ignore DP3101 until 2027-01-31: x\n  2]\n", []policy.Problem{at(1, "DP3101", policy.Warning)}, "1 hidden DP3101 until 2027-01-31: x"},
		{"at the end of the file", "a: 1\n# domicile:ignore DP3101 until 2027-01-31: x\n", nil, "2:1 DP3205 warning"},
		{"another line", "# domicile:ignore DP3101 until 2027-01-31: x\n\na: 1\n", []policy.Problem{at(3, "DP3101", policy.Warning)}, "1:1 DP3205 warning\n3:1 DP3101 warning"},
		{"another code", "# domicile:ignore DP2114 until 2027-01-31: x\na: 1\n", []policy.Problem{due}, "1:1 DP3205 warning\n2:1 DP3101 warning"},
		{"an unknown code", "# domicile:ignore DP3102 until 2027-01-31: x\na: 1\n", []policy.Problem{due}, "1:1 DP3204 warning\n2:1 DP3101 warning"},
		{"nothing to hide while there are errors", "# domicile:ignore DP2114 until 2027-01-31: x\na: 1\n", []policy.Problem{at(9, "DP1001", policy.Error)}, "9:1 DP1001 error"},
		{"an error", "# domicile:ignore DP3101 until 2027-01-31: x\na: 1\n", []policy.Problem{at(2, "DP3101", policy.Error)}, "1:1 DP3206 warning\n2:1 DP3101 error"},
		{"what stays loud", "# domicile:ignore DP3120 until 2027-01-31: x\na: 1\n", []policy.Problem{at(2, "DP3120", policy.Warning)}, "1:1 DP3206 warning\n2:1 DP3120 warning"},
		{"ended", "# domicile:ignore DP3101 until 2026-11-24: x\na: 1\n", []policy.Problem{due}, "1:1 DP3202 warning\n2:1 DP3101 warning"},
		{"on its last day", "# domicile:ignore DP3101 until 2026-11-25: x\na: 1\n", []policy.Problem{due}, "2 hidden DP3101 until 2026-11-25: x"},
		{"a year ahead", "# domicile:ignore DP3101 until 2027-11-24: x\na: 1\n", []policy.Problem{due}, "2 hidden DP3101 until 2027-11-24: x"},
		{"too far ahead", "# domicile:ignore DP3101 until 2027-11-25: x\na: 1\n", []policy.Problem{due}, "1:1 DP3203 warning\n2:1 DP3101 warning"},
		{"no reason", "a: 1 # domicile:ignore DP3101 until 2027-01-31:\n", nil, "1:6 DP3201 error"},
		{"no date", "# domicile:ignore DP3101: x\na: 1\n", nil, "1:1 DP3201 error"},
		{"no such date", "# domicile:ignore DP3101 until 2027-13-31: x\na: 1\n", nil, "1:1 DP3201 error"},
		{"no code", "# domicile:ignore until 2027-01-31: x\na: 1\n", nil, "1:1 DP3201 error"},
		{"text", "a: \"# domicile:ignore\"\nb: |\n  # domicile:ignore\n", nil, ""},
		{"no file that is read", "a: [\n# domicile:ignore\n\x00", []policy.Problem{at(1, "DP1002", policy.Error)}, "1:1 DP1002 error"},
	} {
		if d := cmp.Diff(c.want, apply(c.src, now, c.problems...)); d != "" {
			t.Errorf("%s:\n%s", c.name, d)
		}
	}
}

func TestCodes(t *testing.T) {
	before := ""
	for _, c := range CodeInfos() {
		if c.Code <= before || c.Title.IsZero() || !strings.HasSuffix(c.Page.En, ".") || !strings.HasSuffix(c.Page.Zh, "。") {
			t.Errorf("%+v", c)
		}
		if _, clash := policy.ExplainCode(c.Code); clash {
			t.Errorf("%s means something else in package policy", c.Code)
		}
		before = c.Code
	}
}

func FuzzApply(f *testing.F) {
	f.Add([]byte("# domicile:ignore DP3101 until 2027-01-31: x\na: 1\n"))
	f.Add([]byte("a: [1, # domicile:ignore DP3101\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		problems := []policy.Problem{at(2, "DP3101", policy.Error), at(2, "DP3101", policy.Warning), at(1, "DP3120", policy.Warning)}
		kept, hidden := Apply(map[string][]byte{"a.yaml": src}, codes, now, problems)
		for _, h := range hidden {
			if h.Severity == policy.Error || h.Code == "DP3120" || h.Reason == "" || !h.Until.After(now) {
				t.Errorf("hidden: %+v", h)
			}
		}
		if len(kept)+len(hidden) < len(problems) {
			t.Error("a problem is lost")
		}
	})
}
