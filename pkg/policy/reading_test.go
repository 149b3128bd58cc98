package policy_test

import (
	"bytes"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/policies"
)

// TestReadingRemembers: after any row of edits, what is read with the memory of
// the runs before is what is read without.
func TestReadingRemembers(t *testing.T) {
	files := fstest.MapFS{}
	err := fs.WalkDir(policies.Library(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(policies.Library(), name)
		files[name] = &fstest.MapFile{Data: data}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	draw := rand.New(rand.NewPCG(17, 4))
	names := slices.Sorted(maps.Keys(files))
	whole := maps.Clone(files)
	var trees policy.Trees
	broken, well := 0, 0
	for range 24 {
		name := names[draw.IntN(len(names))]
		switch data := whole[name].Data; draw.IntN(4) {
		case 0:
			delete(files, name)
		case 1:
			files = maps.Clone(whole)
		case 2:
			files[name] = &fstest.MapFile{Data: append([]byte("# moved by a line\n"), data...)}
		default:
			at := draw.IntN(len(data))
			files[name] = &fstest.MapFile{Data: slices.Concat(data[:at], []byte("x"), data[at:])}
		}
		set, problems, done := policy.Reading{Trees: &trees}.Parse(files, policies.Shipped())
		wantSet, want := policy.Parse(files, policies.Shipped())
		if diff := cmp.Diff(want, problems); diff != "" || !done {
			t.Fatalf("problems after an edit of %s (-cold +remembered):\n%s", name, diff)
		}
		if diff := cmp.Diff(wantSet, set); diff != "" {
			t.Fatalf("set after an edit of %s (-cold +remembered):\n%s", name, diff)
		}
		if policy.HasErrors(want) {
			broken++
		} else {
			well++
		}
	}
	if broken < 5 || well < 5 {
		t.Errorf("%d directories with errors and %d without: too few of one", broken, well)
	}
}

// TestReadingStops: the work ends at the next file, and what is left of it is
// nothing that could be mistaken for a set.
func TestReadingStops(t *testing.T) {
	asked := 0
	if _, _, done := (policy.Reading{Stop: func() bool { asked++; return false }}).Parse(policies.Library(), policies.Shipped()); !done {
		t.Fatal("nobody stopped it")
	}
	for at := 1; at <= asked; at += 1 + asked/20 {
		n := 0
		stop := func() bool { n++; return n >= at }
		set, problems, done := policy.Reading{Stop: stop}.Parse(policies.Library(), policies.Shipped())
		if done || len(problems) > 0 || set.Deployment != nil || len(set.Jurisdictions)+len(set.Files) > 0 {
			t.Fatalf("stopped at question %d of %d: done %v, %d problems", at, asked, done, len(problems))
		}
		if n != at {
			t.Fatalf("stopped at question %d, and asked %d times: it went on", at, n)
		}
	}
}

// BenchmarkRead reads the shipped policies, cold and with the memory of the run
// before, of which one file has changed.
func BenchmarkRead(b *testing.B) {
	b.Run("cold", func(b *testing.B) {
		for b.Loop() {
			policy.Parse(policies.Library(), policies.Shipped())
		}
	})
	b.Run("changed", func(b *testing.B) {
		own := fstest.MapFS{}
		data, err := fs.ReadFile(policies.Library(), "deployment.yaml")
		if err != nil {
			b.Fatal(err)
		}
		var trees policy.Trees
		for i := 0; b.Loop(); i++ {
			own["deployment.yaml"] = &fstest.MapFile{Data: append(bytes.Repeat([]byte("#\n"), i%7), data...)}
			policy.Reading{Trees: &trees}.Parse(own, policies.Shipped())
		}
	})
}
