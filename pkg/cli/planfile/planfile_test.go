package planfile

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/domicile-dev/domicile/pkg/bundle"
	"github.com/domicile-dev/domicile/pkg/plan"
)

func saved(t *testing.T) (string, *Plan) {
	t.Helper()
	b, err := bundle.New(map[string][]byte{"deployment.yaml": []byte("kind: Deployment\n")})
	if err != nil {
		t.Fatal(err)
	}
	p := &Plan{
		Deployment: "demo", Base: Base{7, "sha256:a", "sha256:b"}, Bundle: b.Digest(), Table: "sha256:c", Archive: b.Archive(),
		Report: plan.Report{Compared: 9, Changes: []plan.Change{{Effect: plan.Loosens, Kind: plan.Serve, Home: "SA", After: "allow a"}}},
	}
	path := filepath.Join(t.TempDir(), "p.plan")
	if err := Write(path, p); err != nil {
		t.Fatal(err)
	}
	return path, p
}

func TestWriteAndRead(t *testing.T) {
	path, want := saved(t)
	got, b, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	want.Envelope = []byte("null")
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if b.Digest() != want.Bundle {
		t.Errorf("bundle %s", b.Digest())
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestRefused(t *testing.T) {
	path, p := saved(t)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]struct {
		data   []byte
		edited bool
	}{
		"nothing":        {nil, false},
		"no plan":        {[]byte(`{"kind": "Law"}`), false},
		"other version":  {bytes.Replace(data, []byte(`"1.0"`), []byte(`"2.0"`), 1), false},
		"other digest":   {bytes.Replace(data, []byte(p.Bundle), []byte("sha256:0000000000000000000000000000000000000000000000000000000000000000"), 1), true},
		"other archive":  {bytes.Replace(data, []byte(`"archive": "ZGVw`), []byte(`"archive": "ZGVx`), 1), true},
		"something more": {append(bytes.Clone(data), "{}"...), true},
		"half":           {data[:len(data)/2], false},
	} {
		if bytes.Equal(spoil.data, data) {
			t.Fatalf("%s: nothing was spoiled", name)
		}
		file := filepath.Join(t.TempDir(), "p")
		if err := os.WriteFile(file, spoil.data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Read(file); err == nil || errors.Is(err, ErrEdited) != spoil.edited {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := Read(filepath.Join(t.TempDir(), "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
}
