package session

import (
	"testing"
)

func TestDidYouMean(t *testing.T) {
	known := []string{"lint", "test", "explain", "verify", "SA"}
	for in, want := range map[string]string{"lnt": `; did you mean "lint"?`, "explan": `; did you mean "explain"?`, "zzz": "", "x": "", "verfiy": `; did you mean "verify"?`, "QA": ""} {
		if got := DidYouMean(in, known, ""); got != want {
			t.Errorf("DidYouMean(%q) = %q, want %q", in, got, want)
		}
	}
}
