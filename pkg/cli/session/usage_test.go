package session

import (
	"testing"
)

func TestDidYouMean(t *testing.T) {
	known := []string{"lint", "test", "explain"}
	for in, want := range map[string]string{"lnt": `; did you mean "lint"?`, "explan": `; did you mean "explain"?`, "zzz": "", "x": ""} {
		if got := DidYouMean(in, known, ""); got != want {
			t.Errorf("DidYouMean(%q) = %q, want %q", in, got, want)
		}
	}
}
