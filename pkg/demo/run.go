package demo

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/domicile-dev/domicile/pkg/atomicfile"
	"github.com/domicile-dev/domicile/pkg/demo/elsewhere"
	"github.com/domicile-dev/domicile/pkg/demo/supervise"
	"github.com/domicile-dev/domicile/pkg/identity"
	"github.com/domicile-dev/domicile/pkg/leakcheck"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/release"
	"github.com/domicile-dev/domicile/policies"
)

// readyTimeout is how long the demo may take to get ready.
const readyTimeout = 90 * time.Second

// Options of a demo.
type Options struct {
	// Dir is where the demo keeps its files; made if missing; "" for a temporary
	// directory.
	Dir string
	// ReadyFile appears, by rename, when all is ready; "" for none.
	ReadyFile string
	// Policies is a policy directory; "" for the shipped one.
	Policies string
	// Backends are those that others run, in the place of sample backends. The demo
	// neither starts nor ends them, nor waits for them.
	Backends elsewhere.Backends
	Out      io.Writer // the tour
	Err      io.Writer // progress and problems
	// Show writes what is wrong with the policies; nil keeps it untold.
	Show Show
	// Binaries is the directory of domicile, domicile-control and domicile-agent;
	// "" for that of the running program. Envoy is a path; "" to find one.
	Binaries, Envoy string
}

// Show writes what was found in a policy directory for people. Dir is its path as
// it was given, "" for the shipped one.
type Show func(w io.Writer, dir string, fsys fs.FS, problems []policy.Problem, leaks []leakcheck.Finding)

// demo is one run.
type demo struct {
	Options
	programs
	*plan
	fsys    fs.FS // the policies
	release *release.Release
	place   *place
	ports   supervise.Ports
	sup     *supervise.Supervisor
	key     []byte // of identity.UserHash
}

// Run starts a demo, says that it is ready and runs until ctx ends; then it ends
// every process and removes every file that it made. It returns nil when it was
// ready and was ended by ctx. Errors have an ExitCode.
func Run(ctx context.Context, o Options) (err error) {
	started := time.Now()
	d := &demo{Options: o}
	if err := d.check(ctx); err != nil {
		return err
	}
	if d.place, err = openPlace(o.Dir); err != nil {
		return &exitError{exitUsage, err}
	}
	defer func() { err = errors.Join(err, d.place.close()) }()
	defer d.ports.Release()
	if err := d.prepare(); err != nil {
		return err
	}
	d.sup = supervise.New(d.place.path(dirLogs), func(s string) { fmt.Fprintln(d.Err, "demo:", s) })
	// Deferred last, so the processes are gone before their files are.
	defer func() { err = errors.Join(err, d.sup.Stop()) }()
	defer context.AfterFunc(ctx, d.sup.Ending)()

	ready, err := d.start(ctx)
	if err != nil {
		return err
	}
	if err := d.announce(ready); err != nil {
		return err
	}
	defer d.withdraw()
	d.tour(time.Since(started))
	<-ctx.Done()
	fmt.Fprintln(d.Err, "demo: stopping")
	return nil
}

// check finds out what can be wrong before anything is made.
func (d *demo) check(ctx context.Context) error {
	d.fsys = policies.Library()
	if d.Policies != "" {
		fi, err := os.Stat(d.Policies)
		if err == nil && !fi.IsDir() {
			err = fmt.Errorf("%s is not a directory", d.Policies)
		}
		if err != nil {
			return &exitError{exitUsage, fmt.Errorf("read policies: %w", err)}
		}
		d.fsys = os.DirFS(d.Policies)
	}
	if d.ReadyFile != "" {
		abs, err := filepath.Abs(d.ReadyFile)
		if err != nil {
			return &exitError{exitUsage, fmt.Errorf("ready file: %w", err)}
		}
		d.ReadyFile = abs
	}
	d.release = release.Build(release.Input{FS: d.fsys, At: time.Now(), Strict: true})
	if !d.release.Publishable() {
		d.show(d.release.Problems, d.release.Leaks)
		return &exitError{exitFindings, errors.New("the policies cannot be published; `domicile lint` says more")}
	}
	if err := d.Backends.Check(d.release.Set.Deployment); err != nil {
		return &exitError{exitUsage, err}
	}
	var err error
	d.programs, err = findPrograms(ctx, d.Binaries, d.Envoy)
	return err
}

func (d *demo) show(problems []policy.Problem, leaks []leakcheck.Finding) {
	if d.Show != nil {
		d.Show(d.Err, d.Policies, d.fsys, problems, leaks)
	}
}

// prepare writes every file that the processes need.
func (d *demo) prepare() (err error) {
	if d.plan, err = makePlan(d.release.Set.Deployment, d.Backends, d.place.sockets, d.ports.Take); err != nil {
		return err
	}
	private, public, err := newIssuerKey()
	if err != nil {
		return err
	}
	if err := d.pinKeys(); err != nil {
		return err
	}
	overlay, err := json.MarshalIndent(d.overlay(public), "", "  ")
	if err != nil {
		return fmt.Errorf("encode overlay: %w", err)
	}
	issuers, err := json.MarshalIndent(d.issuers, "", "  ")
	if err != nil {
		return fmt.Errorf("encode issuers: %w", err)
	}
	d.key = identity.NewHashKey()
	for name, data := range map[string][]byte{
		fileIssuerKey: private, fileIssuers: issuers, fileOverlay: overlay,
		fileUsers: nil, fileUsersKey: []byte(hex.EncodeToString(d.key) + "\n"),
	} {
		if err := atomicfile.Write(d.place.path(name), data, 0o600); err != nil {
			return err
		}
	}
	if err := d.certify(); err != nil {
		return err
	}
	// A ready file of an earlier demo would be taken for ours.
	if old, err := os.ReadFile(d.ReadyFile); err == nil && isReady(old) {
		if err := os.Remove(d.ReadyFile); err != nil {
			return &exitError{exitUsage, fmt.Errorf("remove old ready file: %w", err)}
		}
	}
	return nil
}

func isReady(data []byte) bool {
	var r Ready
	return json.Unmarshal(data, &r) == nil && r.Control.XDS != "" && len(r.Regions) > 0
}

// announce writes the ready file; demo.json first, so that whoever sees the one
// can use the other.
func (d *demo) announce(r *Ready) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode ready file: %w", err)
	}
	if err := atomicfile.Write(d.place.path(fileReady), data, 0o600); err != nil {
		return err
	}
	if d.ReadyFile == "" {
		return nil
	}
	if err := atomicfile.Write(d.ReadyFile, data, 0o644); err != nil {
		return &exitError{exitUsage, err}
	}
	return nil
}

// withdraw removes the ready file if it is still the one of this demo.
func (d *demo) withdraw() {
	if d.ReadyFile == "" {
		return
	}
	mine, err := os.ReadFile(d.place.path(fileReady))
	if err != nil {
		return
	}
	if data, err := os.ReadFile(d.ReadyFile); err == nil && bytes.Equal(data, mine) {
		if err := os.Remove(d.ReadyFile); err != nil {
			fmt.Fprintln(d.Err, "demo: remove ready file:", err)
		}
	}
}

// archive packs the policies as `domicile apply` would.
func (d *demo) archive() ([]byte, error) {
	b, err := release.PackSet(d.release.Set)
	if err != nil {
		return nil, fmt.Errorf("pack policies: %w", err)
	}
	return b.Archive(), nil
}
