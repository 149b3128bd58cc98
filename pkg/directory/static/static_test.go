package static_test

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/domicile-dev/domicile/pkg/directory"
	"github.com/domicile-dev/domicile/pkg/directory/directorytest"
	"github.com/domicile-dev/domicile/pkg/directory/static"
	"github.com/domicile-dev/domicile/pkg/identity"
)

func TestSuite(t *testing.T) {
	directorytest.Run(t, func(t *testing.T) directorytest.Target {
		path := filepath.Join(t.TempDir(), "dir", "users.yaml")
		away := filepath.Dir(path) + ".away"
		if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		set := func(t *testing.T, hash, home string) {
			if _, err := static.Open(path).Put(t.Context(), directory.Entry{Hash: hash, Home: home}); err != nil {
				t.Fatal(err)
			}
		}
		set(t, directorytest.Hash("somebody"), "SA") // a file that is missing is not an empty directory
		rename := func(from, to string) func(*testing.T) {
			return func(t *testing.T) {
				if err := os.Rename(from, to); err != nil {
					t.Fatal(err)
				}
			}
		}
		plant := func(content func(hash string) string) func(*testing.T, string) {
			return func(t *testing.T, hash string) {
				if err := os.WriteFile(path, []byte(content(hash)), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		return directorytest.Target{
			Open: func(*testing.T) directory.Directory { return static.Open(path) },
			Set:  set,
			Stop: rename(filepath.Dir(path), away), Start: rename(away, filepath.Dir(path)),
			Plant: map[string]func(*testing.T, string){
				"empty":    plant(func(hash string) string { return `"` + hash + `": ""` }),
				"a number": plant(func(hash string) string { return `"` + hash + `": 1` }),
				"no line":  plant(func(string) string { return "???" }),
			},
		}
	})
}

func TestKeepsEveryWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users.yaml")
	key := []byte("k")
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			d := static.Open(path) // as another process would
			if _, err := d.Put(t.Context(), directory.Entry{Hash: identity.UserHash(key, string(rune('a'+i))), Home: "SA"}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	d := static.Open(path)
	for i := range 20 {
		if home, ok, err := d.Lookup(t.Context(), identity.UserHash(key, string(rune('a'+i)))); home != "SA" || !ok || err != nil {
			t.Errorf("user %d: %q %v %v", i, home, ok, err)
		}
	}
	hash := identity.UserHash(key, "a")
	for _, home := range []string{"TR", `"NO": odd\`, "DE"} {
		if _, err := d.Put(t.Context(), directory.Entry{Hash: hash, Home: home}); err != nil {
			t.Fatal(err)
		}
		if got, _, err := static.Open(path).Lookup(t.Context(), hash); got != home || err != nil {
			t.Errorf("home = %q %v, want %q", got, err, home)
		}
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestRefusesBrokenFiles(t *testing.T) {
	hash := identity.UserHash([]byte("k"), "a")
	for name, content := range map[string]string{
		"user id":     `"amal": "SA"`,
		"unquoted":    hash + ": SA",
		"no home":     `"` + hash + `": ""`,
		"twice":       `"` + hash + `": "SA"` + "\n" + `"` + hash + `": "TR"`,
		"half a line": `"` + hash[:20],
		"list":        "- x",
	} {
		path := filepath.Join(t.TempDir(), "users.yaml")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		d := static.Open(path)
		if err := directory.Check(t.Context(), d); !errors.Is(err, directory.ErrCorrupt) {
			t.Errorf("%s: taken", name)
		}
		if _, err := d.Put(t.Context(), directory.Entry{Hash: hash, Home: "SA"}); err == nil {
			t.Errorf("%s: overwritten", name)
		}
	}
}
