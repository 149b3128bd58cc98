// Package static is the directory in a file on the agents' own machine: for demos,
// tests and deployments whose users change rarely.
package static

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/domicile-dev/domicile/pkg/atomicfile"
	"github.com/domicile-dev/domicile/pkg/directory"
	"github.com/domicile-dev/domicile/pkg/identity"
)

// Directory is a directory.Editor: a file that maps the keyed hash of a user
// id to the user's home, and holds nothing else. It is YAML, one entry a line,
// both sides quoted:
//
//	"5bdc…3843": "SA"
//
// Several processes may read and write it at once: a writer replaces the file by
// rename under a lock, so a reader sees the state before or after a change. A
// reader looks at the file on each call and reads it again when it was replaced,
// so a change is seen by the next call. A file that is missing or broken is an
// error, never an empty directory.
type Directory struct {
	path string

	mu    sync.Mutex
	known fs.FileInfo // the file that homes was read from
	homes map[string]string
}

// Open returns the directory in a file; the file is read by the first call that
// needs it.
func Open(path string) *Directory { return &Directory{path: path} }

// Lookup finds a home.
func (d *Directory) Lookup(ctx context.Context, hash string) (home string, found bool, err error) {
	if !identity.IsUserHash(hash) {
		return "", false, fmt.Errorf("look up home: %w", directory.ErrBadHash)
	}
	if err := ctx.Err(); err != nil {
		return "", false, fmt.Errorf("look up home: %w: %w", directory.ErrUnavailable, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.refresh(); err != nil {
		return "", false, err
	}
	home, found = d.homes[hash]
	return home, found, nil
}

// Put sets homes, all or none; Lookup of every process sees them after Put returns.
func (d *Directory) Put(_ context.Context, entries ...directory.Entry) (int, error) {
	for _, e := range entries {
		if err := e.Validate(); err != nil {
			return 0, fmt.Errorf("write directory: %w", err)
		}
	}
	err := d.change(func(m map[string]string) {
		for _, e := range entries {
			m[e.Hash] = e.Home
		}
	})
	if err != nil {
		return 0, err
	}
	return len(entries), nil
}

// Remove forgets users; one that is not listed is no error.
func (d *Directory) Remove(_ context.Context, hashes ...string) error {
	return d.change(func(m map[string]string) {
		for _, h := range hashes {
			delete(m, h)
		}
	})
}

// change applies f to the file's content. The lock is a file of its own, because
// the directory's is replaced; it is never removed, because two writers could
// then hold locks on two files of one name.
func (d *Directory) change(f func(map[string]string)) error {
	lock, err := os.OpenFile(d.path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("lock directory: %w", err)
	}
	defer lock.Close() // unlocks
	if err := flock(lock); err != nil {
		return fmt.Errorf("lock directory: %w", err)
	}
	homes := map[string]string{}
	data, err := os.ReadFile(d.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read directory: %w", err)
	}
	if err == nil {
		if homes, err = parse(data); err != nil {
			return fmt.Errorf("read directory %s: %w", d.path, err)
		}
	}
	f(homes)
	if err := atomicfile.Write(d.path, format(homes), 0o600); err != nil {
		return fmt.Errorf("write directory: %w", err)
	}
	return nil
}

func flock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// refresh reads the file if it is not the one that homes came from. Every writer
// makes a new file, so identity, size and time together tell a change.
func (d *Directory) refresh() error {
	fi, err := os.Stat(d.path)
	if err != nil {
		return fmt.Errorf("read directory: %w: %w", directory.ErrUnavailable, err)
	}
	if d.known != nil && os.SameFile(fi, d.known) && fi.ModTime().Equal(d.known.ModTime()) && fi.Size() == d.known.Size() {
		return nil
	}
	data, err := os.ReadFile(d.path)
	if err != nil {
		return fmt.Errorf("read directory: %w: %w", directory.ErrUnavailable, err)
	}
	homes, err := parse(data)
	if err != nil {
		return fmt.Errorf("read directory %s: %w", d.path, err)
	}
	// If the file was replaced since Stat, known is the older one and the next
	// call reads again.
	d.known, d.homes = fi, homes
	return nil
}

func parse(data []byte) (map[string]string, error) {
	homes := map[string]string{}
	s := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; s.Scan(); n++ {
		line := strings.TrimSpace(s.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		k, v, ok := strings.Cut(line, ": ")
		var hash, home string
		if !ok || json.Unmarshal([]byte(k), &hash) != nil || json.Unmarshal([]byte(v), &home) != nil || !identity.IsUserHash(hash) {
			return nil, fmt.Errorf(`line %d: %w: not "HASH": "HOME"`, n, directory.ErrCorrupt)
		}
		if err := directory.CheckHome(home); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if _, dup := homes[hash]; dup {
			return nil, fmt.Errorf("line %d: %w: the user is listed twice", n, directory.ErrCorrupt)
		}
		homes[hash] = home
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", directory.ErrCorrupt, err)
	}
	return homes, nil
}

func format(homes map[string]string) []byte {
	var b bytes.Buffer
	b.WriteString("# keyed hash of the user id: home\n")
	for _, hash := range slices.Sorted(maps.Keys(homes)) {
		home, err := json.Marshal(homes[hash])
		if err != nil { // a string always encodes
			continue
		}
		fmt.Fprintf(&b, "%q: %s\n", hash, home)
	}
	return b.Bytes()
}
