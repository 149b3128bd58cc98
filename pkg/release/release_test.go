package release_test

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/domicile-dev/domicile/pkg/release"
	"github.com/domicile-dev/domicile/policies"
)

var at = time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)

// library is a copy of the shipped policies that a test may spoil.
func library(t *testing.T) fstest.MapFS {
	t.Helper()
	out := fstest.MapFS{}
	err := fs.WalkDir(policies.Library(), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(policies.Library(), p)
		out[p] = &fstest.MapFile{Data: data}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestShippedPoliciesArePublishable(t *testing.T) {
	r := release.Build(release.Input{FS: library(t), At: at, Strict: true})
	for _, p := range r.Problems {
		t.Errorf("%s:%d:%d %s %s", p.File, p.Line, p.Column, p.Code, p.Message)
	}
	for _, l := range r.Leaks {
		t.Errorf("leak: %+v", l)
	}
	if !r.Publishable() {
		t.Fatal("not publishable")
	}
	if len(r.Nodes) != 3*len(r.Topology.Regions) {
		t.Errorf("%d nodes", len(r.Nodes))
	}
}

// One error anywhere, and nothing is published.
func TestAllOrNothing(t *testing.T) {
	for name, spoil := range map[string]func(fstest.MapFS){
		"unknown field":   func(f fstest.MapFS) { edit(f, "jurisdictions/tr.yaml", "spec:", "spec:\n  mesage: 1") },
		"foreign serving": func(f fstest.MapFS) { edit(f, "jurisdictions/sa.yaml", "serve: [me-riyadh]", "serve: [eu-frankfurt]") },
		"unknown region":  func(f fstest.MapFS) { edit(f, "jurisdictions/sa.yaml", "serve: [me-riyadh]", "serve: [me-riad]") },
		"no deployment":   func(f fstest.MapFS) { delete(f, "deployment.yaml") },
	} {
		f := library(t)
		spoil(f)
		r := release.Build(release.Input{FS: f, At: at})
		if r.Publishable() || r.Result != nil || r.Nodes != nil {
			t.Errorf("%s: published", name)
		}
		if len(r.Problems) == 0 {
			t.Errorf("%s: nothing was said", name)
		}
	}
}

func edit(f fstest.MapFS, file, old, text string) {
	f[file] = &fstest.MapFile{Data: []byte(strings.Replace(string(f[file].Data), old, text, 1))}
}

func BenchmarkBuildShipped(b *testing.B) {
	for b.Loop() {
		if !release.Build(release.Input{FS: policies.Library(), At: at, Strict: true}).Publishable() {
			b.Fatal("not publishable")
		}
	}
}
