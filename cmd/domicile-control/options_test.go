package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/domicile-dev/domicile/pkg/approval"
)

// A file of trust that cannot be used stops the start: to go on without it would be to
// believe whoever writes the first policy.
func TestReadTrust(t *testing.T) {
	k, err := approval.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "trust")
	if err := os.WriteFile(path, []byte("kim "+k.Public()+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := readTrust(path); err != nil || got.String() != "kim" {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := readTrust(""); err != nil || got != nil {
		t.Errorf("none: %v, %v", got, err)
	}
	for _, bad := range []string{path + ".missing", filepath.Dir(path), os.DevNull} {
		if got, err := readTrust(bad); err == nil || !strings.HasPrefix(err.Error(), "--trust") {
			t.Errorf("%s: %v, %v", bad, got, err)
		}
	}
}
