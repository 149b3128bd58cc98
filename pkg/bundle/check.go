package bundle

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// check holds the rules for files, given their sorted names.
func check(names []string, files map[string][]byte) error {
	switch {
	case len(names) == 0:
		// Nobody means to publish nothing; a wrong directory looks like that.
		return errors.New("no files")
	case len(names) > MaxFiles:
		return fmt.Errorf("%d files, more than %d", len(names), MaxFiles)
	}
	total := 0
	// Folded path of each file and directory to the path as written: a checkout
	// on a file system that ignores case must mean the same.
	type entry struct {
		name string
		dir  bool
	}
	folded := map[string]entry{}
	claim := func(name string, dir bool) error {
		key := strings.ToLower(name)
		was, taken := folded[key]
		if !taken {
			folded[key] = entry{name, dir}
			return nil
		}
		switch {
		case was.name != name:
			return fmt.Errorf("%q and %q differ by case only", was.name, name)
		case !was.dir || !dir:
			return fmt.Errorf("%q is a file and a directory", name)
		}
		return nil
	}
	for _, name := range names {
		if err := checkPath(name); err != nil {
			return err
		}
		if n := len(files[name]); n > MaxFile {
			return fmt.Errorf("%q has %d bytes, more than %d", name, n, MaxFile)
		}
		if total += len(files[name]); total > MaxTotal {
			return fmt.Errorf("more than %d bytes in all", MaxTotal)
		}
		if err := claim(name, false); err != nil {
			return err
		}
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if err := claim(dir, true); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkPath(name string) error {
	if len(name) > MaxPath {
		return fmt.Errorf("path %.*q… has %d bytes, more than %d", MaxPath, name, len(name), MaxPath)
	}
	if name == "." || !fs.ValidPath(name) {
		return fmt.Errorf("path %q is not relative and clean", name)
	}
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '.', c == '_', c == '-', c == '/':
		default:
			return fmt.Errorf("path %q holds a byte outside A-Z a-z 0-9 . _ - /", name)
		}
	}
	return nil
}
