package agent

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"unicode/utf8"

	"github.com/domicile-dev/domicile/pkg/identity"
)

// maxHome bounds the length of a home in bytes.
const maxHome = 64

// Directory is the static directory: a file that maps the keyed hash of a user
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

// OpenDirectory returns the directory in a file; the file is read by the first
// call that needs it.
func OpenDirectory(path string) *Directory { return &Directory{path: path} }

// Check reads the file if it changed, and tells what is wrong with it.
func (d *Directory) Check() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.refresh()
}

// Home returns the home of a user by identity.UserHash.
func (d *Directory) Home(hash string) (home string, found bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.refresh(); err != nil {
		return "", false, err
	}
	home, found = d.homes[hash]
	return home, found, nil
}

// Put sets the home of a user; Home of every process sees it after Put returns.
func (d *Directory) Put(hash, home string) error {
	if !identity.IsUserHash(hash) {
		return errors.New("write directory: not a user hash")
	}
	if err := checkHome(home); err != nil {
		return fmt.Errorf("write directory: %w", err)
	}
	return d.change(func(m map[string]string) { m[hash] = home })
}

// Remove forgets a user; one that is not listed is no error.
func (d *Directory) Remove(hash string) error {
	return d.change(func(m map[string]string) { delete(m, hash) })
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
		if homes, err = parseDirectory(data); err != nil {
			return fmt.Errorf("read directory %s: %w", d.path, err)
		}
	}
	f(homes)
	return replace(d.path, formatDirectory(homes))
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
		return fmt.Errorf("read directory: %w", err)
	}
	if d.known != nil && os.SameFile(fi, d.known) && fi.ModTime().Equal(d.known.ModTime()) && fi.Size() == d.known.Size() {
		return nil
	}
	data, err := os.ReadFile(d.path)
	if err != nil {
		return fmt.Errorf("read directory: %w", err)
	}
	homes, err := parseDirectory(data)
	if err != nil {
		return fmt.Errorf("read directory %s: %w", d.path, err)
	}
	// If the file was replaced since Stat, known is the older one and the next
	// call reads again.
	d.known, d.homes = fi, homes
	return nil
}

func parseDirectory(data []byte) (map[string]string, error) {
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
			return nil, fmt.Errorf(`line %d: not "HASH": "HOME"`, n)
		}
		if err := checkHome(home); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if _, dup := homes[hash]; dup {
			return nil, fmt.Errorf("line %d: the user is listed twice", n)
		}
		homes[hash] = home
	}
	return homes, s.Err()
}

func formatDirectory(homes map[string]string) []byte {
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

func checkHome(home string) error {
	if home == "" || len(home) > maxHome || !utf8.ValidString(home) {
		return fmt.Errorf("a home has 1 to %d bytes of UTF-8", maxHome)
	}
	return nil
}

// replace writes a file by rename.
func replace(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".directory-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write directory: %w", err)
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("write directory: %w", err)
	}
	return nil
}
