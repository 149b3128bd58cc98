package format

import "testing"

// TestPlainTextOfSeveralLines: whatever stands on a further line of plain text, and
// however it is indented, the layout keeps what the reader sees. What it cannot keep is
// an error of Source.
func TestPlainTextOfSeveralLines(t *testing.T) {
	f := New()
	laid := 0
	for _, head := range []string{"x: a", "x:\n    a", "- a", "x:\n  - y: a", "- - a", "x: {y: a", "x: [a", "a", "- x: a\n  y: b"} {
		for _, word := range []string{"b", "- b", "-", "?", ": b", ":b", "a: b", `"b"`, "{b}", "|", "b # c", "--- b", "...", "null", "NO", "1: 2"} {
			for _, gap := range []string{"\n", "\n\n", "\n  \n    \n"} {
				for _, indent := range []string{"", "  ", "      "} {
					for _, end := range []string{"", "\n", "\n\n    c\n", "\n  # c\n", "\n- z\n", "}\n", ", c]\n", "\n    c}\n"} {
						src := head + gap + indent + word + end
						out, problems, err := f.Source("a.yaml", []byte(src))
						if err != nil {
							t.Errorf("%q: %v", src, err)
						}
						if len(problems) == 0 && string(out) != src {
							laid++
						}
					}
				}
			}
		}
	}
	if laid < 1000 {
		t.Errorf("only %d were laid out", laid)
	}
}
