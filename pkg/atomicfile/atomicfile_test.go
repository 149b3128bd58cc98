package atomicfile_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/domicile-dev/domicile/pkg/atomicfile"
)

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestWriteAll: all files or none, and nothing is left beside them.
func TestWriteAll(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(t *testing.T, second string)
		after   string // of the first file
		fails   bool
	}{
		"all": {func(*testing.T, string) {}, "new", false},
		"changed meanwhile": {func(t *testing.T, second string) {
			if err := os.WriteFile(second, []byte("somebody else's"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "old", true},
		"gone": {func(t *testing.T, second string) {
			if err := os.Remove(second); err != nil {
				t.Fatal(err)
			}
		}, "old", true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			first, second := filepath.Join(dir, "a"), filepath.Join(dir, "b")
			for _, path := range []string{first, second} {
				if err := os.WriteFile(path, []byte("old"), 0o640); err != nil {
					t.Fatal(err)
				}
			}
			c.prepare(t, second)
			err := atomicfile.WriteAll([]atomicfile.File{
				{Path: first, Before: []byte("old"), After: []byte("new"), Mode: 0o640},
				{Path: second, Before: []byte("old"), After: []byte("new"), Mode: 0o640},
			})
			if (err != nil) != c.fails || read(t, first) != c.after {
				t.Errorf("error %v, first file %q", err, read(t, first))
			}
			info, err := os.Stat(first)
			if err != nil || info.Mode().Perm() != 0o640 {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
			left, err := filepath.Glob(filepath.Join(dir, ".tmp-*"))
			if err != nil || len(left) > 0 {
				t.Errorf("left behind: %v %v", left, err)
			}
		})
	}
}
