package release_test

import (
	"testing"

	"github.com/domicile-dev/domicile/pkg/release"
	"github.com/domicile-dev/domicile/test/bench/large"
)

var manyClasses = []string{"message", "profile", "relation", "group", "presence", "media"}

// publishable builds what must come out well.
func publishable(tb testing.TB, in release.Input) *release.Release {
	tb.Helper()
	r := release.Build(in)
	if !r.Publishable() {
		tb.Fatalf("not publishable: %v %v", r.Problems[:min(3, len(r.Problems))], r.Leaks[:min(3, len(r.Leaks))])
	}
	return r
}

// BenchmarkCold is GOALS P17 from nothing.
func BenchmarkCold(b *testing.B) {
	files := large.Policies(large.Homes, large.Regions, manyClasses, at)
	for b.Loop() {
		publishable(b, release.Input{FS: files, At: at})
	}
}
