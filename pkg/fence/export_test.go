package fence

import (
	"fmt"
	"testing"
	"time"

	"github.com/domicile-dev/domicile/pkg/identity"
)

// Filled returns a fence with n erased users, user 0 and so on, for an hour.
func Filled(t testing.TB, now func() time.Time, n int) *Fence {
	t.Helper()
	f, err := Open("", now)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		user := fmt.Sprintf("user %d", i)
		e := Entry{User: user, Hash: identity.UserHash([]byte("k"), user), Erased: true, Until: now().Add(time.Hour)}
		f.entries[e.key()] = e
	}
	return f
}

// Version is that of the filter.
func (f *Fence) Version(t testing.TB) string {
	t.Helper()
	made, _, err := f.current()
	if err != nil {
		t.Fatal(err)
	}
	return made.version
}
