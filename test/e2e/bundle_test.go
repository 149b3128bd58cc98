package e2e_test

import (
	"io/fs"

	"github.com/domicile-dev/domicile/pkg/bundle"
	shipped "github.com/domicile-dev/domicile/policies"
)

// archiveWith packs the shipped policies with one file replaced.
func archiveWith(file, content string) ([]byte, error) {
	files := map[string][]byte{}
	err := fs.WalkDir(shipped.Library(), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(shipped.Library(), p)
		files[p] = data
		return err
	})
	if err != nil {
		return nil, err
	}
	files[file] = []byte(content)
	b, err := bundle.New(files)
	if err != nil {
		return nil, err
	}
	return b.Archive(), nil
}
