package release_test

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/release"
)

// A bundle carries the law that it was compiled with, and no more of it; another
// version with other law files compiles it to the same table.
func TestABundleCarriesItsLaw(t *testing.T) {
	b, problems, err := release.Pack(library(t))
	if err != nil || policy.HasErrors(problems) {
		t.Fatal(err, problems)
	}
	files := b.Files()
	for _, name := range []string{"library/groups.yaml", "library/law/sa.yaml", "library/law/de.yaml", "library/law/eu.yaml"} {
		if files[name] == nil {
			t.Errorf("%s is missing", name)
		}
	}
	if files["library/law/jp.yaml"] != nil {
		t.Error("a law that nobody uses is packed")
	}
	in := release.Of(b)
	in.At, in.TableOnly = at, true
	want := release.Build(release.Input{FS: library(t), At: at, TableOnly: true})
	got := release.Build(in)
	if got.Result == nil || got.Table.Digest() != want.Table.Digest() {
		t.Fatalf("problems %v", got.Problems)
	}
	// Another library: no border inside the EEA is free any more.
	groups := in.Library.(fstest.MapFS)["groups.yaml"]
	groups.Data = []byte(strings.Replace(string(groups.Data), "freeMovement: true", "freeMovement: false", 1))
	if other := release.Build(in); other.Result != nil && other.Table.Digest() == want.Table.Digest() {
		t.Error("the bundle's own library has no say")
	}
}

func TestDenialsAreCarried(t *testing.T) {
	b, _, err := release.Pack(library(t))
	if err != nil {
		t.Fatal(err)
	}
	when := time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)
	denials := []policy.Denial{{Home: "SA", Class: "message", Reason: `a "quoted" reason: # {`, By: "kim", At: when}, {Home: "TR", Reason: "all", By: "lee", At: when}}
	denied, err := release.WithDenials(b, denials)
	if err != nil {
		t.Fatal(err)
	}
	in := release.Of(denied)
	in.At, in.TableOnly = at, true
	r := release.Build(in)
	if r.Result == nil {
		t.Fatal(r.Problems)
	}
	got := r.Set.Denials
	for i := range got {
		got[i].Pos = policy.Pos{}
	}
	if d := cmp.Diff(denials, got); d != "" {
		t.Error(d)
	}
	again, err := release.WithDenials(denied, nil)
	if err != nil || again.Digest() != b.Digest() {
		t.Errorf("lifting: %v", err)
	}
	if u := release.Union(denials, []policy.Denial{{Home: "TR"}, {Home: "DE"}}); len(u) != 3 {
		t.Errorf("union %v", u)
	}
}

// A library in an author's directory is refused: only bundles have one.
func TestLibraryOfAnAuthor(t *testing.T) {
	f := library(t)
	data, err := fs.ReadFile(f, "groups.yaml")
	if err != nil {
		t.Fatal(err)
	}
	f["library/groups.yaml"] = &fstest.MapFile{Data: []byte(strings.Replace(string(data), "freeMovement: true", "freeMovement: false", 1))}
	got := release.Build(release.Input{FS: f, At: at, TableOnly: true})
	if got.Result != nil || len(got.Problems) != 1 || got.Problems[0].File != "library" {
		t.Errorf("problems %v", got.Problems)
	}
}
