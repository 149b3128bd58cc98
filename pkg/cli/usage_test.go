package cli

import "testing"

func TestDidYouMean(t *testing.T) {
	known := []string{"lint", "test", "explain"}
	for in, want := range map[string]string{"lnt": `; did you mean "lint"?`, "explan": `; did you mean "explain"?`, "zzz": "", "x": ""} {
		if got := didYouMean(in, known, ""); got != want {
			t.Errorf("didYouMean(%q) = %q, want %q", in, got, want)
		}
	}
}
