// Package planfile is the saved plan: one file that holds a policy as it was
// planned, what it would change, and what was in force then, so that several
// people can approve it and exactly that is applied.
//
// Nothing in the file is believed. Its reader recomputes what it can and compares:
// the archive against its digest here, the changes against the policy in force by
// who applies it. A file that was edited is refused.
package planfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/domicile-dev/domicile/pkg/atomicfile"
	"github.com/domicile-dev/domicile/pkg/bundle"
	"github.com/domicile-dev/domicile/pkg/plan"
)

// version is the major version of the form; a later minor only adds fields.
const version = "1."

// most bounds a plan file: an archive in base64 and everything else.
const most = bundle.MaxArchive*4/3 + 64<<20

// Base is what was in force when the plan was made. Sequence is 0 and the digests
// are empty before the first policy.
type Base struct {
	Sequence uint64 `json:"sequence"`
	Bundle   string `json:"bundle"`
	Table    string `json:"table"`
}

// Plan is a saved plan.
type Plan struct {
	FormatVersion string    `json:"formatVersion"`
	Deployment    string    `json:"deployment"`
	Base          Base      `json:"base"`
	Bundle        string    `json:"bundle"` // digest of Archive
	Table         string    `json:"table"`
	At            time.Time `json:"at"`
	GitCommit     string    `json:"gitCommit,omitempty"`
	Message       string    `json:"message,omitempty"`
	plan.Report
	Archive []byte `json:"archive"`
	// Envelope holds the approvals (DSSE); null before the first.
	Envelope json.RawMessage `json:"envelope"`
}

// Write saves a plan, readable by its owner only: it holds the whole policy.
func Write(path string, p *Plan) error {
	p.FormatVersion = version + "0"
	data, err := json.MarshalIndent(p, "", " ")
	if err != nil {
		return fmt.Errorf("save plan: %w", err)
	}
	return atomicfile.Write(path, append(data, '\n'), 0o600)
}

// ErrEdited means that a file is not what was saved.
var ErrEdited = errors.New("the plan file was changed after it was saved")

// Read reads a saved plan and its bundle. An error other than that of opening the
// file means that it is no plan, or no longer.
func Read(path string) (*Plan, *bundle.Bundle, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("open plan: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, nil, fmt.Errorf("read plan %s: %w", path, err)
	}
	if len(data) > most {
		return nil, nil, fmt.Errorf("read plan %s: it is larger than any plan", path)
	}
	p := &Plan{}
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(p); err != nil {
		return nil, nil, fmt.Errorf("read plan %s: not a plan that domicile plan --out has written: %w", path, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, nil, fmt.Errorf("read plan %s: something follows the plan: %w", path, ErrEdited)
	}
	if !strings.HasPrefix(p.FormatVersion, version) {
		return nil, nil, fmt.Errorf("read plan %s: its format %q is not read by this version; plan again", path, p.FormatVersion)
	}
	b, err := bundle.Open(p.Archive, p.Bundle)
	if err != nil {
		return nil, nil, fmt.Errorf("read plan %s: %w: %w", path, ErrEdited, err)
	}
	return p, b, nil
}
