// Package directory finds the home of a user whose token does not name it. A
// directory maps the keyed hash of a user id (identity.UserHash) to the user's home,
// and holds nothing else: it is personal data too, and tells nobody who is listed.
//
// The guarantees, for every implementation (package directorytest checks them):
//
// Truth. Lookup answers from what the source held at some instant of the call, never
// from what it remembers; Cached, which remembers, says how long. What the source
// holds for a user and is no home is an error, never "not found": a user must not
// lose a home, or get another one, because something is broken.
//
// Failure. A source that cannot be asked is an error that wraps ErrUnavailable,
// within the context's deadline or the implementation's time-out, whichever is
// sooner. It is never an empty directory.
//
// Privacy. Errors name neither hashes nor homes.
//
// Bounds. No answer makes a Lookup take more than a few kilobytes.
//
// All methods may be called by many goroutines at once.
package directory

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/domicile-dev/domicile/pkg/identity"
)

var (
	// ErrUnavailable means that the source could not be asked, or did not answer
	// in time. Refuse (not-decidable) and ask again at the next request.
	ErrUnavailable = errors.New("directory is unavailable")
	// ErrCorrupt means that the source holds something that is no home. Refuse
	// (not-decidable) and alarm a person.
	ErrCorrupt = errors.New("directory holds something that is no home")
	// ErrBadHash means that the caller asked for something that is not an
	// identity.UserHash. It is a bug, or somebody put user ids where hashes belong.
	ErrBadHash = errors.New("not a user hash")
)

// Directory finds homes.
type Directory interface {
	// Lookup returns the home of the user with this identity.UserHash; found is
	// false where the directory lists no such user.
	Lookup(ctx context.Context, hash string) (home string, found bool, err error)
}

// Editor is a Directory that Domicile itself writes. Only the operator's HTTP
// service is none.
type Editor interface {
	Directory
	// Put sets homes. When it returns nil, every later Lookup of any process sees
	// all of them. On an error the first done entries are set and the others may
	// be or not: repeating the call is always right. The static directory sets
	// all or none.
	Put(ctx context.Context, entries ...Entry) (done int, err error)
	// Remove forgets users; one that is not listed is no error.
	Remove(ctx context.Context, hashes ...string) error
}

// Entry is one user's home.
type Entry struct{ Hash, Home string }

// Validate tells whether the entry may be written.
func (e Entry) Validate() error {
	if !identity.IsUserHash(e.Hash) {
		return ErrBadHash
	}
	return CheckHome(e.Home)
}

// MaxHome bounds the length of a home in bytes.
const MaxHome = 64

// CheckHome tells whether s can be a home at all. Whether there are rules for it
// is the residency table's matter.
func CheckHome(s string) error {
	if s == "" || len(s) > MaxHome || !utf8.ValidString(s) {
		return fmt.Errorf("%w: a home has 1 to %d bytes of UTF-8", ErrCorrupt, MaxHome)
	}
	return nil
}

// nobody is a hash that belongs to no user that anybody could find.
var nobody = strings.Repeat("0", 64)

// Check tells whether the directory can be asked.
func Check(ctx context.Context, d Directory) error {
	_, _, err := d.Lookup(ctx, nobody)
	return err
}
