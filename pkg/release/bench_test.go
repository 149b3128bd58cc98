package release_test

import (
	"maps"
	"testing"

	"github.com/domicile-dev/domicile/pkg/policy"
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

// BenchmarkOneFileChanged is GOALS P17 after one home's file has changed: a class
// is denied, and the next time it is served again.
func BenchmarkOneFileChanged(b *testing.B) {
	files := large.Policies(large.Homes, large.Regions, manyClasses, at)
	other := maps.Clone(files)
	if !large.Edit(other, large.Jurisdiction("SA"), "media: {}", "media: {serve: []}") {
		b.Fatal("the file does not change")
	}
	in := release.Input{FS: files, At: at, Memory: new(release.Memory), Trees: new(policy.Trees)}
	in.Last = publishable(b, in)
	for b.Loop() {
		in.FS, files, other = other, other, files
		in.Last = publishable(b, in)
		if in.Last.Unchanged {
			b.Fatal("nothing was done")
		}
	}
}
