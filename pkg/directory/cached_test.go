package directory_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/domicile-dev/domicile/pkg/directory"
	"github.com/domicile-dev/domicile/pkg/directory/directorytest"
)

// TestCachedSuite: with no memory at all, Cached keeps every promise of its source.
func TestCachedSuite(t *testing.T) {
	directorytest.Run(t, func(*testing.T) directorytest.Target {
		m := directory.NewMemory()
		return directorytest.Target{
			Open: func(*testing.T) directory.Directory {
				return directory.NewCached(m, directory.CacheConfig{Positive: -1, Negative: -1})
			},
			Set: func(t *testing.T, hash, home string) {
				if _, err := m.Put(t.Context(), directory.Entry{Hash: hash, Home: home}); err != nil {
					t.Fatal(err)
				}
			},
			Stop:  func(*testing.T) { m.SetAvailable(false) },
			Start: func(*testing.T) { m.SetAvailable(true) },
		}
	})
}

func TestCachedAges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := directory.NewMemory()
		c := directory.NewCached(m, directory.CacheConfig{Positive: time.Minute, Negative: 5 * time.Second})
		set := func(home string) {
			if _, err := m.Put(t.Context(), directory.Entry{Hash: directorytest.Hash("amal"), Home: home}); err != nil {
				t.Fatal(err)
			}
		}
		want := func(home string, asked int) {
			t.Helper()
			got, found, err := c.Lookup(t.Context(), directorytest.Hash("amal"))
			if got != home || found != (home != "") || err != nil {
				t.Errorf("home %q, found %v, error %v; want %q", got, found, err, home)
			}
			if n := m.Asked(); n != asked {
				t.Errorf("asked %d times, want %d", n, asked)
			}
		}
		want("", 1)
		set("SA")
		time.Sleep(5*time.Second - 1)
		want("", 1)
		time.Sleep(time.Nanosecond)
		want("SA", 2)
		set("TR")
		time.Sleep(time.Minute - 1)
		want("SA", 2)
		m.SetAvailable(false)
		want("SA", 2) // within its time
		time.Sleep(time.Nanosecond)
		for i := range 3 { // stale is never served, and errors are not remembered
			if home, found, err := c.Lookup(t.Context(), directorytest.Hash("amal")); home != "" || found || !errors.Is(err, directory.ErrUnavailable) {
				t.Errorf("home %q, found %v, error %v", home, found, err)
			}
			if n := m.Asked(); n != 3+i {
				t.Errorf("asked %d times, want %d", n, 3+i)
			}
		}
		m.SetAvailable(true)
		want("TR", 6)
		set("DE")
		c.Forget(directorytest.Hash("amal"))
		want("DE", 7)
	})
}

// slow is a source that never answers, or panics.
type slow struct{ panics bool }

func (s slow) Lookup(ctx context.Context, _ string) (string, bool, error) {
	if s.panics {
		panic("a bug")
	}
	<-ctx.Done()
	return "", false, ctx.Err()
}

// TestCachedTimesOut: a source that hangs holds up nobody for longer than the time-out,
// whatever the callers' own patience and number.
func TestCachedTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := directory.NewCached(slow{}, directory.CacheConfig{Timeout: 100 * time.Millisecond, Flights: 4})
		began := time.Now()
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				hash := directorytest.Hash(fmt.Sprint(i % 20))
				_, found, err := c.Lookup(t.Context(), hash)
				if found || !errors.Is(err, directory.ErrUnavailable) || strings.Contains(err.Error(), hash) {
					t.Errorf("found %v, error %v", found, err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(began); took != 100*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
	c := directory.NewCached(slow{panics: true}, directory.CacheConfig{})
	if _, found, err := c.Lookup(t.Context(), directorytest.Hash("amal")); found || !errors.Is(err, directory.ErrUnavailable) {
		t.Errorf("panic: found %v, error %v", found, err)
	}
}
