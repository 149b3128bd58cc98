package follow

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/domicile-dev/domicile/pkg/atomicfile"
	"github.com/domicile-dev/domicile/pkg/bundle"
	"github.com/domicile-dev/domicile/pkg/release"
)

// kept is what is on the disk.
type kept struct {
	published release.Published
	bundle    *bundle.Bundle
	at        time.Time // the instant that it was compiled for
}

// onDisk is its form.
type onDisk struct {
	Published release.Published `json:"published"`
	At        time.Time         `json:"at"`
	Archive   []byte            `json:"archive"`
}

// maxFile bounds what is read: an archive in base64, and an overlay.
const maxFile = bundle.MaxArchive/3*4 + maxAnswer

func save(path string, k kept) error {
	data, err := json.Marshal(onDisk{k.published, k.at, k.bundle.Archive()})
	if err != nil {
		return fmt.Errorf("keep policy: %w", err)
	}
	return atomicfile.Write(path, data, 0o600)
}

// load returns nil where there is no file.
func load(path string) (*kept, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read kept policy: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read kept policy: %w", err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("read kept policy %s: larger than %d bytes", path, maxFile)
	}
	var d onDisk
	if err := json.Unmarshal(data, &d); err != nil {
		return nil, fmt.Errorf("read kept policy %s: %w", path, err)
	}
	if d.Published.Sequence == 0 {
		return nil, fmt.Errorf("read kept policy %s: no sequence", path)
	}
	b, err := bundle.Open(d.Archive, d.Published.Bundle)
	if err != nil {
		return nil, fmt.Errorf("read kept policy %s: %w", path, err)
	}
	return &kept{d.Published, b, d.At}, nil
}
