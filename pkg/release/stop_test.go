package release_test

import (
	"testing"

	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/release"
	"github.com/domicile-dev/domicile/policies"
)

// TestStoppedIsNeitherGoodNorBad: wherever the work is given up, nothing can be
// published, and nothing stands against the policy either.
func TestStoppedIsNeitherGoodNorBad(t *testing.T) {
	asked := 0
	in := release.Input{FS: library(t), At: at, Stop: func() bool { asked++; return false }}
	if r := release.Build(in); r.Stopped || !r.Publishable() {
		t.Fatal("nobody stopped it")
	}
	files := 0
	policy.Reading{Stop: func() bool { files++; return false }}.Parse(in.FS, policies.Shipped())
	if nodes := asked - files; nodes < 9 {
		t.Errorf("asked %d times beside the files: not before each node", nodes)
	}
	for _, from := range []int{1, files, asked - 9, asked - 5, asked - 1, asked} {
		n := 0
		in.Stop = func() bool { n++; return n >= from }
		r := release.Build(in)
		if !r.Stopped || r.Publishable() || r.Result != nil || len(r.Problems)+len(r.Leaks) > 0 || r.Set == nil {
			t.Errorf("stopped at question %d of %d: %+v", from, asked, r)
		}
	}
}

// TestTreesChangeNoResult: the memory of files is a memory only.
func TestTreesChangeNoResult(t *testing.T) {
	trees := new(policy.Trees)
	f := library(t)
	for _, maxAge := range []string{"24h", "12h", "12h", "24h"} {
		f := f
		edit(f, "jurisdictions/tr.yaml", "maxAge: 24h", "maxAge: "+maxAge)
		got, want := release.Build(release.Input{FS: f, At: at, Trees: trees}), release.Build(release.Input{FS: f, At: at})
		if !got.Publishable() || got.Table.Digest() != want.Table.Digest() {
			t.Errorf("%s: another table than without memory", maxAge)
		}
		f["jurisdictions/tr.yaml"] = library(t)["jurisdictions/tr.yaml"]
	}
}
