package demo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// The files and directories that a demo makes in its directory.
const (
	fileMarker    = ".domicile-demo" // says that the names below are a demo's; locked while one runs
	fileReady     = "demo.json"
	fileIssuerKey = "issuer.jwk"
	fileIssuers   = "issuers.json"
	fileOverlay   = "overlay.json"
	fileUsers     = "users.yaml"
	fileUsersLock = "users.yaml.lock"
	fileUsersKey  = "users.key"
	dirAuthority  = "ca"
	dirCerts      = "certs"
	dirLogs       = "logs"
	dirEtcd       = "etcd"
	dirEnvoy      = "envoy"
	dirAgents     = "agents" // what agents keep, and the keys of their pins
)

func ownNames() []string {
	return []string{
		fileReady, fileIssuerKey, fileIssuers, fileOverlay, fileUsers, fileUsersLock, fileUsersKey,
		dirAuthority, dirCerts, dirLogs, dirEtcd, dirEnvoy, dirAgents,
	}
}

// place is the directory of a running demo and a short one for Unix sockets,
// whose paths may have 108 bytes only. It removes what it made and nothing else.
type place struct {
	dir     string
	sockets string
	lock    *os.File
	made    []string // directories made on the way to dir, outermost first
}

// marker is the content of the marker file.
type marker struct {
	Sockets string `json:"sockets"`
}

// openPlace takes a directory for a demo; "" makes a temporary one. What a demo
// that was killed left there is removed. A directory with another running demo,
// or with foreign files under names that a demo uses, is refused.
func openPlace(dir string) (_ *place, err error) {
	p := &place{}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if dir == "" {
		if p.dir, err = os.MkdirTemp("", "domicile-demo-"); err != nil {
			return nil, fmt.Errorf("make directory: %w", err)
		}
		p.made = []string{p.dir}
	} else if err := p.mkdir(dir); err != nil {
		return nil, err
	}
	if err := p.take(); err != nil {
		return nil, err
	}
	if p.sockets, err = os.MkdirTemp("", "domicile-"); err != nil {
		return nil, fmt.Errorf("make directory of sockets: %w", err)
	}
	body, err := json.Marshal(marker{Sockets: p.sockets})
	if err != nil {
		return nil, err
	}
	if _, err := p.lock.WriteAt(body, 0); err != nil {
		return nil, fmt.Errorf("mark directory: %w", err)
	}
	for _, d := range []string{dirCerts, dirLogs, dirEtcd, dirEnvoy, dirAgents} {
		if err := os.Mkdir(p.path(d), 0o700); err != nil {
			return nil, fmt.Errorf("make directory: %w", err)
		}
	}
	return p, nil
}

// mkdir makes dir and remembers which parents it had to make.
func (p *place) mkdir(dir string) error {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("directory %s: %w", dir, err)
	}
	var missing []string
	for d := abs; ; d = filepath.Dir(d) {
		fi, err := os.Stat(d)
		if err == nil && !fi.IsDir() {
			return fmt.Errorf("directory %s: %s is a file", dir, d)
		}
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("directory %s: %w", dir, err)
		}
		missing = append([]string{d}, missing...)
	}
	for _, d := range missing {
		if err := os.Mkdir(d, 0o700); err != nil {
			return fmt.Errorf("make directory: %w", err)
		}
		p.made = append(p.made, d)
	}
	p.dir = abs
	return nil
}

// take locks the marker and clears what an earlier demo left.
func (p *place) take() error {
	path := p.path(fileMarker)
	_, err := os.Lstat(path)
	fresh := errors.Is(err, fs.ErrNotExist)
	if fresh {
		for _, name := range ownNames() {
			if _, err := os.Lstat(p.path(name)); !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("directory %s: %s is there and no demo made it; choose another directory", p.dir, name)
			}
		}
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("mark directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return fmt.Errorf("directory %s: a demo runs there already", p.dir)
	}
	p.lock = f // from here on the names are ours to remove
	var m marker
	if !fresh && json.NewDecoder(f).Decode(&m) == nil && isSocketDir(m.Sockets) {
		if err := os.RemoveAll(m.Sockets); err != nil {
			return fmt.Errorf("clear what a killed demo left: %w", err)
		}
	}
	if err := f.Truncate(0); err != nil {
		return fmt.Errorf("mark directory: %w", err)
	}
	return p.removeOwn()
}

// isSocketDir guards the one path that is removed because a file says so.
func isSocketDir(path string) bool {
	return filepath.Dir(path) == filepath.Clean(os.TempDir()) && strings.HasPrefix(filepath.Base(path), "domicile-")
}

func (p *place) path(elem ...string) string {
	return filepath.Join(append([]string{p.dir}, elem...)...)
}

func (p *place) removeOwn() error {
	var errs []error
	for _, name := range ownNames() {
		errs = append(errs, os.RemoveAll(p.path(name)))
	}
	return errors.Join(errs...)
}

// close removes everything that the demo made. A directory that holds something
// else by now stays.
func (p *place) close() error {
	var errs []error
	if p.sockets != "" {
		errs = append(errs, os.RemoveAll(p.sockets))
	}
	if p.lock != nil {
		errs = append(errs, p.removeOwn(), os.Remove(p.path(fileMarker)), p.lock.Close())
		p.lock = nil
	}
	for i := len(p.made) - 1; i >= 0; i-- {
		if err := os.Remove(p.made[i]); err != nil && !errors.Is(err, syscall.ENOTEMPTY) {
			errs = append(errs, err)
		}
	}
	p.made = nil
	return errors.Join(errs...)
}
