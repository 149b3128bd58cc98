package initialize

import (
	"os"
	"path/filepath"
	"testing"
)

// What cannot be put back is not replaced, and nothing else is written; what was
// replaced gets its content and its mode back when a later file fails.
func TestWriteLosesNothing(t *testing.T) {
	files := map[string][]byte{"a.txt": []byte("new"), "b.txt": []byte("new"), "z/c.txt": []byte("new")}
	content := func(name string) string {
		t.Helper()
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	for name, spoil := range map[string]func(dir string) error{
		"a link to nowhere":        func(dir string) error { return os.Symlink("nowhere", filepath.Join(dir, "b.txt")) },
		"a directory in its place": func(dir string) error { return os.Mkdir(filepath.Join(dir, "b.txt"), 0o755) },
		"a file above it":          func(dir string) error { return os.WriteFile(filepath.Join(dir, "z"), nil, 0o600) },
	} {
		dir := t.TempDir()
		kept := filepath.Join(dir, "a.txt")
		if err := os.WriteFile(kept, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := spoil(dir); err != nil {
			t.Fatal(err)
		}
		before, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := write(dir, files); err == nil {
			t.Errorf("%s: written", name)
		}
		after, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(kept)
		if err != nil || info.Mode().Perm() != 0o600 || content(kept) != "old" || len(after) != len(before) {
			t.Errorf("%s: %q with mode %v, %d entries of %d", name, content(kept), info.Mode(), len(after), len(before))
		}
	}
}
