// Package mark remembers the newest policy that a control plane had in force, on its
// own disk: a store that was restored from an older backup, or an older bundle under
// correct signatures, is noticed after a restart too.
//
// A Mark must not be used concurrently.
package mark

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/domicile-dev/domicile/pkg/atomicfile"
	"github.com/domicile-dev/domicile/pkg/bundle"
	"github.com/domicile-dev/domicile/pkg/store"
)

// Mark is the newest policy that this replica had in force.
type Mark struct {
	path string // "" remembers nothing
	last store.Record
}

// Last is the newest policy: its sequence and bundle; zero before the first.
func (m *Mark) Last() store.Record { return m.last }

// file is what the file holds.
type file struct {
	Sequence uint64 `json:"sequence"`
	Bundle   string `json:"bundle"`
}

// Open reads the file; one that does not exist remembers nothing yet. A file
// that cannot be read is an error: to go on without it would be to forget.
func Open(path string) (*Mark, error) {
	m := &Mark{path: path}
	if path == "" {
		return m, nil
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the newest policy seen: %w", err)
	}
	var f file
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	err = d.Decode(&f)
	_, end := d.Token()
	if err != nil || !errors.Is(end, io.EOF) || f.Sequence == 0 || !bundle.ValidDigest(f.Bundle) {
		return nil, fmt.Errorf("read the newest policy seen: %s is damaged; remove it only if the policy store is known to be good", path)
	}
	m.last = store.Record{Sequence: f.Sequence, Bundle: f.Bundle}
	return m, nil
}

// Put remembers a policy that is in force.
func (m *Mark) Put(r store.Record) error {
	if m.path == "" || r.Sequence == m.last.Sequence && r.Bundle == m.last.Bundle {
		return nil
	}
	data, err := json.Marshal(file{r.Sequence, r.Bundle})
	if err != nil {
		return fmt.Errorf("remember the policy: %w", err)
	}
	if err := atomicfile.Write(m.path, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("remember the policy: %w", err)
	}
	m.last = store.Record{Sequence: r.Sequence, Bundle: r.Bundle}
	return nil
}
