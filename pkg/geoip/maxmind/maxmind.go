// Package maxmind is the geoip.Database in a file of the MaxMind DB format: GeoLite2
// and GeoIP2 (country.iso_code), or those whose records have a country_code.
//
// The file is the operator's and changes under a running process, so nothing in it is
// trusted. It is read into memory as a whole, never mapped: a mapped file that is
// truncated kills its reader. Before it is used, everything that a lookup can reach is
// checked, in time and memory that are linear in its size, and every country is read:
// a lookup is a walk down a tree that was checked and decodes nothing. A file that does
// not pass leaves the one before it in use.
//
// A File may be used by many goroutines at once.
package maxmind

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oschwald/maxminddb-golang/v2"
)

// File is a database that follows its file.
type File struct {
	path    string
	current atomic.Pointer[database]

	mu    sync.Mutex  // held while the file is read
	tried fs.FileInfo // what was last read, good or not
	err   error       // what was wrong with it
}

// database is one content of the file.
type database struct {
	reader    *maxminddb.Reader
	countries map[uint]code
	layout
}

// Open reads and checks the file. A File comes with an error too: it knows no country
// until Refresh finds a good file.
func Open(path string) (*File, error) {
	f := &File{path: path}
	_, err := f.Refresh()
	return f, err
}

// Country finds the country in which an address is registered; "" where the database
// does not say.
func (f *File) Country(a netip.Addr) string {
	return f.current.Load().country(a)
}

// Built is when the database in use was made; the zero time where there is none.
func (f *File) Built() time.Time {
	if db := f.current.Load(); db != nil {
		return db.built
	}
	return time.Time{}
}

// Kind is what the database in use calls itself.
func (f *File) Kind() string {
	if db := f.current.Load(); db != nil {
		return db.kind
	}
	return ""
}

// Err says what is wrong with the file as it is now; nil where it is in use.
func (f *File) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// Refresh reads the file if it is another one than was last read, and tells whether it
// is now in use. On an error the database before it stays.
func (f *File) Refresh() (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fi, err := os.Stat(f.path)
	if err == nil && f.tried != nil && same(fi, f.tried) {
		return false, f.err
	}
	var db *database
	if err == nil {
		db, fi, err = load(f.path)
	}
	if f.tried, f.err = fi, nil; err != nil {
		f.err = fmt.Errorf("read %s: %w", f.path, err)
		return false, f.err
	}
	f.current.Store(db)
	return true, nil
}

// Follow looks at the file again and again until ctx ends, and reports every change: nil
// for a database that is now in use, or what is wrong with the file.
func (f *File) Follow(ctx context.Context, every time.Duration, report func(error)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	last := f.Err()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		used, err := f.Refresh()
		if used || err != nil && (last == nil || last.Error() != err.Error()) {
			report(err)
		}
		last = err
	}
}

func same(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// load reads a file whole and checks it.
func load(path string) (*database, fs.FileInfo, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	before, err := f.Stat()
	switch {
	case err != nil:
		return nil, nil, err
	case !before.Mode().IsRegular():
		return nil, before, errors.New("it is no file")
	case before.Size() > maxSize:
		return nil, before, fmt.Errorf("it has more than %d bytes", maxSize)
	}
	data := make([]byte, before.Size())
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, before, fmt.Errorf("it changes while it is read: %w", err)
	}
	after, err := f.Stat()
	if err != nil {
		return nil, before, err
	}
	if !same(before, after) {
		return nil, before, errors.New("it changes while it is read")
	}
	db, err := read(data)
	return db, before, err
}

// read checks a file's content.
func read(data []byte) (db *database, err error) {
	l, countries, err := verify(data)
	if err != nil {
		return nil, err
	}
	defer func() { // of the library, on a file that passed
		if p := recover(); p != nil {
			db, err = nil, fmt.Errorf("the reader panicked: %v", p)
		}
	}()
	r, err := maxminddb.OpenBytes(data)
	if err != nil {
		return nil, err
	}
	if int(r.Metadata.NodeCount) != l.nodes || int(r.Metadata.RecordSize) != l.bits || int(r.Metadata.IPVersion) != l.version {
		return nil, errors.New("its metadata can be read in two ways")
	}
	l.tree, l.data = nil, nil
	return &database{reader: r, countries: countries, layout: l}, nil
}

func (d *database) country(a netip.Addr) string {
	if d == nil {
		return ""
	}
	a = a.Unmap()
	if !a.IsValid() || a.Is6() && d.version == 4 {
		return ""
	}
	r := d.reader.Lookup(a)
	if !r.Found() {
		return ""
	}
	c, ok := d.countries[uint(r.Offset())]
	if !ok || c == (code{}) {
		return ""
	}
	return string(c[:])
}
