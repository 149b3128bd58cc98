// Package atomicfile writes files that a reader sees whole or not at all.
package atomicfile

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Write replaces path by rename, so that a reader sees the old or the new
// content, and a key never exists with a wider mode than its own. The content is
// on the disk before it has the name. Whoever dies in Write may leave a file named
// .tmp-* beside path, which nobody reads.
func Write(path string, data []byte, mode os.FileMode) error {
	temp, err := stage(path, data, mode)
	if err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		os.Remove(temp)
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// stage writes the new content beside path and returns its name.
func stage(path string, data []byte, mode os.FileMode) (temp string, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return "", fmt.Errorf("write %s: %w", path, err)
	}
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Chmod(mode), f.Close()); err != nil {
		os.Remove(f.Name())
		return "", fmt.Errorf("write %s: %w", path, err)
	}
	return f.Name(), nil
}

// File is one of several that are replaced together.
type File struct {
	Path          string
	Before, After []byte
	Mode          os.FileMode
}

// WriteAll replaces all of the files, or none: every content is on the disk before
// the first file is replaced, a file that is no longer as Before stops it, and when
// one cannot be replaced, those that were get their content back. Only who ends the
// process in the instant between two renames finds some new and some old.
func WriteAll(files []File) (err error) {
	temps := make([]string, len(files))
	defer func() {
		for _, t := range temps {
			if t != "" {
				os.Remove(t)
			}
		}
	}()
	for i, f := range files {
		if temps[i], err = stage(f.Path, f.After, f.Mode); err != nil {
			return err
		}
	}
	for _, f := range files {
		now, err := os.ReadFile(f.Path)
		if err != nil {
			return fmt.Errorf("write %s: %w", f.Path, err)
		}
		if !bytes.Equal(now, f.Before) {
			return fmt.Errorf("write %s: somebody else has changed it meanwhile", f.Path)
		}
	}
	for i, f := range files {
		if err := os.Rename(temps[i], f.Path); err != nil {
			err = fmt.Errorf("write %s: %w", f.Path, err)
			for _, done := range files[:i] {
				err = errors.Join(err, Write(done.Path, done.Before, done.Mode))
			}
			return err
		}
		temps[i] = ""
	}
	return nil
}
