// Package fence keeps users out who moved or were erased while tokens and pins of
// theirs are still good: no signature tells that the user behind it is gone.
//
// The fence of a region is a bounded map in its agent. The agent gives it to its
// Envoys as an HTTP filter (ECDS), so that the refusal costs no call-out, and looks
// into it itself at first contacts. It holds user ids, which is why it is the
// agent's and never the control plane's; ids stand in its file (mode 0600) and in
// the filter, and nowhere else.
//
// What it guarantees:
//   - What Add returned is on the disk and in force here. Whether the Envoys have it
//     is what Server.Await tells.
//   - An entry stays until the last token or pin that it is against has ended; then
//     it goes by itself. An erasure is never undone by a move.
//   - A full fence refuses new entries and drops none: whoever wanted to move or erase
//     a user must not believe that it was done.
//   - A file that is broken is an error: an agent must not start as if nobody had
//     been erased.
//
// Only Envoy's own refusals come from the filter: it can refuse and nothing else.
// All methods are safe for concurrent use.
package fence

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/domicile-dev/domicile/pkg/atomicfile"
	"github.com/domicile-dev/domicile/pkg/identity"
)

// Bounds of a fence.
const (
	MaxEntries = 10_000
	maxUser    = 512 // bytes
	maxIssuer  = 2048
	maxHomes   = 16 // of one entry
	maxHome    = 64
	maxFile    = 256 << 20
)

var (
	// ErrFull means that nothing was changed. Entries go when they end.
	ErrFull = fmt.Errorf("the fence is full: it holds %d users", MaxEntries)
	// ErrEntry means that the entry makes no sense; nothing was changed.
	ErrEntry = errors.New("not an entry of a fence")
)

// Entry is one user who is kept out.
type Entry struct {
	// User is the id as tokens give it, and Hash its identity.UserHash, as pins do.
	User string `json:"user"`
	Hash string `json:"hash"`
	// Issuer limits the entry to users of one issuer; empty means all.
	Issuer string `json:"issuer,omitempty"`
	// Erased keeps the user out altogether. Otherwise From lists the homes that the
	// user has left: tokens and pins that name one of them are too old.
	Erased bool     `json:"erased,omitempty"`
	From   []string `json:"from,omitempty"`
	// To is the home that the user moved to, which From then no longer holds.
	To string `json:"-"`
	// Until is when the last token and pin end that the entry is against.
	Until time.Time `json:"until"`
}

type key struct{ user, issuer string }

func (e Entry) key() key { return key{e.User, e.Issuer} }

func (e Entry) check() error {
	switch {
	case e.User == "" || len(e.User) > maxUser || !utf8.ValidString(e.User) || len(e.Issuer) > maxIssuer || !utf8.ValidString(e.Issuer):
		return fmt.Errorf("%w: no user id of 1 to %d bytes", ErrEntry, maxUser)
	case !identity.IsUserHash(e.Hash):
		return fmt.Errorf("%w: no user hash", ErrEntry)
	case e.Until.IsZero():
		return fmt.Errorf("%w: no end", ErrEntry)
	case e.Erased && len(e.From) > 0, !e.Erased && len(e.From) == 0:
		return fmt.Errorf("%w: either erased, or moved from somewhere", ErrEntry)
	case len(e.From) > maxHomes:
		return fmt.Errorf("%w: more than %d homes", ErrEntry, maxHomes)
	}
	for _, h := range e.From {
		if h == "" || len(h) > maxHome || !utf8.ValidString(h) {
			return fmt.Errorf("%w: a home of 1 to %d bytes", ErrEntry, maxHome)
		}
	}
	return nil
}

// Fence is the map. Use Open.
type Fence struct {
	path string
	now  func() time.Time

	mu      sync.Mutex
	entries map[key]Entry
	changed chan struct{} // closed by the next change
	filter  *filter       // of entries; nil: to be made
}

// Open reads the fence in a file; one that is missing is empty. With an empty path
// the fence is kept in memory only.
func Open(path string, now func() time.Time) (*Fence, error) {
	f := &Fence{path: path, now: now, entries: map[key]Entry{}, changed: make(chan struct{})}
	if path == "" {
		return f, nil
	}
	fi, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err == nil && fi.Size() > maxFile {
		err = fmt.Errorf("larger than %d bytes", maxFile)
	}
	if err != nil {
		return nil, fmt.Errorf("read fence: %w", err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read fence: %w", err)
	}
	var list []Entry
	if err := json.Unmarshal(data, &list); err != nil || list == nil {
		return nil, fmt.Errorf("read fence %s: not a list of entries", path) // the cause may quote one
	}
	for i, e := range list {
		if err := e.check(); err != nil {
			return nil, fmt.Errorf("read fence %s: entry %d: %w", path, i+1, err)
		}
		if _, twice := f.entries[e.key()]; twice {
			return nil, fmt.Errorf("read fence %s: entry %d: the user stands twice", path, i+1)
		}
		f.entries[e.key()] = e
	}
	if len(f.entries) > MaxEntries {
		return nil, fmt.Errorf("read fence %s: %w", path, ErrFull)
	}
	return f, nil
}

// Add puts a user into the fence, or adds to what stands there. The errors are
// ErrEntry, ErrFull, and those of the disk; nothing was changed then.
func (f *Fence) Add(e Entry) error {
	e.From = slices.DeleteFunc(slices.Clone(e.From), func(h string) bool { return h == e.To })
	if err := e.check(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	next := f.live()
	if old, ok := next[e.key()]; ok {
		e = merge(old, e)
		if err := e.check(); err != nil && len(e.From) > 0 {
			return err
		}
	} else if len(next) >= MaxEntries {
		return ErrFull
	}
	next[e.key()] = e
	if !e.Erased && len(e.From) == 0 {
		delete(next, e.key())
	}
	return f.replace(next)
}

// merge adds e to what stood there. An erasure stays; a user who came back to a home
// has not left it.
func merge(old, e Entry) Entry {
	if old.Until.After(e.Until) {
		e.Until = old.Until
	}
	if e.Erased || old.Erased {
		e.Erased, e.From = true, nil
		return e
	}
	e.From = append(slices.Clone(old.From), e.From...)
	slices.Sort(e.From)
	e.From = slices.DeleteFunc(slices.Compact(e.From), func(h string) bool { return h == e.To })
	return e
}

// live returns a copy of the entries that have not ended.
func (f *Fence) live() map[key]Entry {
	now := f.now()
	out := make(map[key]Entry, len(f.entries))
	for k, e := range f.entries {
		if now.Before(e.Until) {
			out[k] = e
		}
	}
	return out
}

// Sweep removes the entries that have ended. Call it now and then.
func (f *Fence) Sweep() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	next := f.live()
	if len(next) == len(f.entries) {
		return nil
	}
	return f.replace(next)
}

// replace writes the file and then puts next in force.
func (f *Fence) replace(next map[key]Entry) error {
	if f.path != "" {
		data, err := json.Marshal(sorted(next))
		if err != nil {
			return fmt.Errorf("write fence: %w", err)
		}
		if err := atomicfile.Write(f.path, data, 0o600); err != nil {
			return fmt.Errorf("write fence: %w", err)
		}
	}
	f.entries, f.filter = next, nil
	close(f.changed)
	f.changed = make(chan struct{})
	return nil
}

// Len counts the users in the fence.
func (f *Fence) Len() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.entries)
}

// Erased tells whether a user was erased.
func (f *Fence) Erased(issuer, user string) bool {
	return f.any(issuer, user, func(e Entry) bool { return e.Erased })
}

// Moved tells whether a home is one that a user has left.
func (f *Fence) Moved(issuer, user, home string) bool {
	return f.any(issuer, user, func(e Entry) bool { return slices.Contains(e.From, home) })
}

// any asks the entry of the user at the issuer, and the one of the user at all.
func (f *Fence) any(issuer, user string, is func(Entry) bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, k := range []key{{user, issuer}, {user, ""}} {
		if e, ok := f.entries[k]; ok && f.now().Before(e.Until) && is(e) {
			return true
		}
	}
	return false
}

// sorted puts entries into an order that depends on nothing but them.
func sorted(m map[key]Entry) []Entry {
	out := make([]Entry, 0, len(m))
	for _, e := range m {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b Entry) int {
		return slices.Compare([]string{a.User, a.Issuer}, []string{b.User, b.Issuer})
	})
	return out
}
