package release_test

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/domicile-dev/domicile/pkg/envoy"
	"github.com/domicile-dev/domicile/pkg/policy"
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

// Another order of the same meaning takes the last release's proof over; any
// other table or place does not.
func TestSameMeaningIsNotProvedAgain(t *testing.T) {
	last := release.Build(release.Input{FS: library(t), At: at})
	f := library(t)
	edit(f, "jurisdictions/tr.yaml", "entry: [tr-istanbul, me-riyadh, eu-frankfurt]", "entry: [eu-frankfurt, me-riyadh, tr-istanbul]")
	if r := release.Build(release.Input{FS: f, At: at, Last: last}); !r.Publishable() || !r.Unchanged {
		t.Error("the same meaning was made again")
	}
	for name, spoil := range map[string]func(fstest.MapFS){
		"a rule":    func(f fstest.MapFS) { edit(f, "jurisdictions/tr.yaml", "maxAge: 24h", "maxAge: 12h") },
		"a backend": func(f fstest.MapFS) { edit(f, "deployment.yaml", "10.1.1.1:8080", "10.1.1.9:8080") },
		"a key":     func(f fstest.MapFS) { edit(f, "jwks.json", `"kid"`, `"use": "sig", "kid"`) },
	} {
		f := library(t)
		spoil(f)
		if r := release.Build(release.Input{FS: f, At: at, Last: last}); !r.Publishable() || r.Unchanged {
			t.Errorf("%s changed: publishable %v, unchanged %v", name, r.Publishable(), r.Unchanged)
		}
	}
}

func edit(f fstest.MapFS, file, old, text string) {
	f[file] = &fstest.MapFile{Data: []byte(strings.Replace(string(f[file].Data), old, text, 1))}
}

func BenchmarkRebuildOfTheSameMeaning(b *testing.B) {
	last := release.Build(release.Input{FS: policies.Library(), At: at})
	for b.Loop() {
		if !release.Build(release.Input{FS: policies.Library(), At: at, Strict: true, Last: last}).Unchanged {
			b.Fatal("made again")
		}
	}
}

func BenchmarkBuildShipped(b *testing.B) {
	for b.Loop() {
		if !release.Build(release.Input{FS: policies.Library(), At: at, Strict: true}).Publishable() {
			b.Fatal("not publishable")
		}
	}
}

func BenchmarkBuildWithMemory(b *testing.B) {
	memory := new(release.Memory)
	for b.Loop() {
		if !release.Build(release.Input{FS: policies.Library(), At: at, Strict: true, Memory: memory}).Publishable() {
			b.Fatal("not publishable")
		}
	}
}

// TestTableOnly: what is decided is the same, and nothing can be published.
func TestTableOnly(t *testing.T) {
	in := release.Input{FS: policies.Library(), At: at, Strict: true}
	whole := release.Build(in)
	in.TableOnly = true
	r := release.Build(in)
	if r.Publishable() || r.Nodes != nil || r.Table.Digest() != whole.Table.Digest() {
		t.Errorf("publishable %v, table %s, want %s", r.Publishable(), r.Table.Digest(), whole.Table.Digest())
	}
}

// TestCommentsHideWarnings for everybody alike, and no errors.
func TestCommentsHideWarnings(t *testing.T) {
	files := func() fstest.MapFS {
		f := library(t)
		edit(f, "jurisdictions/sa.yaml", "    basis: [chosen]\n", "")
		edit(f, "jurisdictions/sa.yaml", "    presence: {}", "    presence: {} # domicile:ignore DP3104 until 2027-01-31: the basis is being written")
		return f
	}
	for _, strict := range []bool{true, false} {
		r := release.Build(release.Input{FS: files(), At: at, Strict: strict, TableOnly: true})
		if len(r.Suppressed) != 1 || r.Suppressed[0].Code != "DP3104" || r.Suppressed[0].Reason != "the basis is being written" {
			t.Errorf("strict %t: hidden: %+v", strict, r.Suppressed)
		}
		if len(r.Problems) == 0 {
			t.Errorf("strict %t: the other rules without a basis are hidden too", strict)
		}
		for _, p := range r.Problems {
			if p.Code != "DP3104" || p.Line == r.Suppressed[0].Line {
				t.Errorf("strict %t: %+v", strict, p)
			}
		}
	}
	r := release.Build(release.Input{FS: files(), At: at.AddDate(1, 0, 0), TableOnly: true})
	if len(r.Suppressed) != 0 {
		t.Errorf("after its end: %+v", r.Suppressed)
	}
	f := files()
	edit(f, "deployment.yaml", "  responseHeaders: true", "  responseHeaders: true # domicile:ignore")
	if r := release.Build(release.Input{FS: f, At: at, TableOnly: true}); r.Result != nil {
		t.Error("a comment that says too little is accepted")
	}
}

// TestMemoryChangesNothing: one Memory follows the policies through edits, and
// each release is the one that is made without it, to the byte.
func TestMemoryChangesNothing(t *testing.T) {
	memory := new(release.Memory)
	f := library(t)
	for _, change := range [][3]string{
		{"deployment.yaml", "", ""},
		{"jurisdictions/tr.yaml", "maxAge: 24h", "maxAge: 12h"},
		{"deployment.yaml", "10.1.1.1:8080", "10.1.1.9:8080"},
		{"jurisdictions/sa.yaml", "    presence: {}", "    presence: {serve: []}"},
		{"jurisdictions/tr.yaml", "entry: [tr-istanbul, me-riyadh, eu-frankfurt]", "entry: [tr-istanbul]"},
	} {
		edit(f, change[0], change[1], change[2])
		cold := publishable(t, release.Input{FS: f, At: at})
		warm := publishable(t, release.Input{FS: f, At: at, Memory: memory})
		if len(warm.Nodes) != len(cold.Nodes) {
			t.Fatalf("%v: %d nodes, without memory %d", change, len(warm.Nodes), len(cold.Nodes))
		}
		for n := range cold.Nodes {
			if a, b := rendered(t, cold.Nodes[n]), rendered(t, warm.Nodes[n]); a != b {
				t.Errorf("%v: %s is another with memory", change, n)
			}
		}
	}
}

func rendered(t *testing.T, r *envoy.Resources) string {
	t.Helper()
	text, err := envoy.Render(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestStop: what is stopped publishes nothing and accuses nobody, and its memory
// serves the next build.
func TestStop(t *testing.T) {
	memory, asked := new(release.Memory), 0
	in := release.Input{FS: policies.Library(), At: at, Memory: memory, Stop: func() bool { asked++; return asked > 2 }}
	r := release.Build(in)
	if !r.Stopped || r.Publishable() || r.Result != nil || len(r.Leaks) > 0 || policy.HasErrors(r.Problems) {
		t.Errorf("stopped %v, publishable %v, %d leaks", r.Stopped, r.Publishable(), len(r.Leaks))
	}
	in.Stop = func() bool { return false }
	if r := publishable(t, in); r.Stopped {
		t.Error("stopped without being told to")
	}
}
