// Package directorytest is the behaviour suite that every directory.Directory passes.
package directorytest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/domicile-dev/domicile/pkg/directory"
	"github.com/domicile-dev/domicile/pkg/identity"
)

// Target is a directory under test. It starts empty.
type Target struct {
	// Open returns the directory; every call another one, if the implementation
	// has clients.
	Open func(t *testing.T) directory.Directory
	// Set sets a home behind the directory's back, as whoever owns the source would.
	Set func(t *testing.T, hash, home string)
	// Stop makes the source unavailable, Start ends that. Data stays.
	Stop, Start func(t *testing.T)
	// Plant puts something that is no home in a user's place; nil where the
	// source cannot hold such a thing.
	Plant map[string]func(t *testing.T, hash string)
}

// Promised and patient times.
const (
	answered = 2 * time.Second // a source that is down is reported
	patience = 20 * time.Second
)

var key = []byte("a key that only tests have")

// Hash is the hash of a user under the suite's key.
func Hash(user string) string { return identity.UserHash(key, user) }

// Run runs the suite; open is called once for each test in it.
func Run(t *testing.T, open func(t *testing.T) Target) {
	for name, test := range map[string]func(*testing.T, Target){
		"lookup":       testLookup,
		"refused":      testRefused,
		"unavailable":  testUnavailable,
		"cancelled":    testCancelled,
		"no home":      testNoHome,
		"many at once": testMany,
		"edit":         testEdit,
		"edit refused": testEditRefused,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

func expect(t *testing.T, d directory.Directory, user, want string) {
	t.Helper()
	home, found, err := d.Lookup(t.Context(), Hash(user))
	if err != nil || found != (want != "") || home != want {
		t.Errorf("%s: home %q, found %v, error %v; want %q", user, home, found, err, want)
	}
}

func testLookup(t *testing.T, target Target) {
	d := target.Open(t)
	target.Set(t, Hash("amal"), "SA")
	expect(t, d, "amal", "SA")
	expect(t, d, "deniz", "")
	target.Set(t, Hash("deniz"), "TR")
	target.Set(t, Hash("amal"), "US-CA") // moved: the next call must know
	expect(t, d, "amal", "US-CA")
	expect(t, d, "deniz", "TR")
	expect(t, d, "Amal", "")
	if err := directory.Check(t.Context(), d); err != nil {
		t.Errorf("Check: %v", err)
	}
}

func testRefused(t *testing.T, target Target) {
	d := target.Open(t)
	target.Set(t, Hash("amal"), "SA")
	for _, bad := range []string{"", "amal", Hash("amal")[1:], Hash("amal") + "0", strings.ToUpper(Hash("amal")), "../" + Hash("amal")[3:], strings.Repeat("%", 64), Hash("amal")[:63] + "\n"} {
		if home, found, err := d.Lookup(t.Context(), bad); home != "" || found || !errors.Is(err, directory.ErrBadHash) {
			t.Errorf("%q: home %q, found %v, error %v", bad, home, found, err)
		} else if bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("the error tells whom it was about: %v", err)
		}
	}
}

func testUnavailable(t *testing.T, target Target) {
	d := target.Open(t)
	target.Set(t, Hash("amal"), "SA")
	expect(t, d, "amal", "SA")
	target.Stop(t)
	for range 3 {
		began := time.Now()
		home, found, err := d.Lookup(t.Context(), Hash("amal"))
		if home != "" || found || !errors.Is(err, directory.ErrUnavailable) {
			t.Errorf("stopped: home %q, found %v, error %v", home, found, err)
		}
		if err != nil && strings.Contains(err.Error(), Hash("amal")) {
			t.Errorf("the error tells whom it was about: %v", err)
		}
		if took := time.Since(began); took > answered {
			t.Errorf("said after %v", took)
		}
	}
	if err := directory.Check(t.Context(), d); !errors.Is(err, directory.ErrUnavailable) {
		t.Errorf("Check of a stopped source: %v", err)
	}
	target.Start(t)
	deadline := time.Now().Add(patience)
	for {
		home, found, err := d.Lookup(t.Context(), Hash("amal"))
		if err == nil {
			if home != "SA" || !found {
				t.Errorf("after the stop: home %q, found %v", home, found)
			}
			return
		}
		if home != "" || found || time.Now().After(deadline) {
			t.Fatalf("after the stop: home %q, found %v, error %v", home, found, err)
		}
	}
}

func testCancelled(t *testing.T, target Target) {
	d := target.Open(t)
	target.Set(t, Hash("amal"), "SA")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if home, found, err := d.Lookup(ctx, Hash("amal")); home != "" || found || !errors.Is(err, directory.ErrUnavailable) {
		t.Errorf("cancelled: home %q, found %v, error %v", home, found, err)
	}
	expect(t, d, "amal", "SA") // one caller's end is not another's
}

func testNoHome(t *testing.T, target Target) {
	for name, plant := range target.Plant {
		t.Run(name, func(t *testing.T) {
			d := target.Open(t)
			hash := Hash(name)
			plant(t, hash)
			began := time.Now()
			home, found, err := d.Lookup(t.Context(), hash)
			if home != "" || found || !errors.Is(err, directory.ErrCorrupt) && !errors.Is(err, directory.ErrUnavailable) {
				t.Errorf("home %q, found %v, error %v", home, found, err)
			}
			if took := time.Since(began); took > answered {
				t.Errorf("said after %v", took)
			}
			if err != nil && (len(err.Error()) > 1000 || strings.Contains(err.Error(), hash)) {
				t.Errorf("the error is too long or tells too much: %.1000q", err.Error())
			}
		})
	}
}

func testMany(t *testing.T, target Target) {
	d := target.Open(t)
	const users = 64
	for i := range users {
		target.Set(t, Hash(fmt.Sprint("user", i)), fmt.Sprintf("H%d", i))
	}
	var wg sync.WaitGroup
	for i := range users {
		wg.Go(func() {
			for range 4 {
				expect(t, d, fmt.Sprint("user", i), fmt.Sprintf("H%d", i))
				expect(t, d, fmt.Sprint("nobody", i), "")
			}
		})
	}
	wg.Wait()
}

func editor(t *testing.T, target Target) directory.Editor {
	t.Helper()
	e, ok := target.Open(t).(directory.Editor)
	if !ok {
		t.Skip("Domicile does not write this directory: it is the operator's")
	}
	return e
}

func testEdit(t *testing.T, target Target) {
	e, other := editor(t, target), target.Open(t)
	var entries []directory.Entry
	for i := range 1000 {
		entries = append(entries, directory.Entry{Hash: Hash(fmt.Sprint("user", i)), Home: fmt.Sprintf("H%d", i%7)})
	}
	if done, err := e.Put(t.Context(), entries...); done != len(entries) || err != nil {
		t.Fatalf("Put: %d, %v", done, err)
	}
	for i := 0; i < 1000; i += 37 {
		expect(t, other, fmt.Sprint("user", i), fmt.Sprintf("H%d", i%7))
	}
	if done, err := e.Put(t.Context(), directory.Entry{Hash: Hash("user1"), Home: "TR"}); done != 1 || err != nil {
		t.Errorf("Put: %d, %v", done, err)
	}
	expect(t, other, "user1", "TR")
	expect(t, other, "user2", "H2")
	if err := e.Remove(t.Context(), Hash("user1"), Hash("user3"), Hash("never there")); err != nil {
		t.Errorf("Remove: %v", err)
	}
	expect(t, other, "user1", "")
	expect(t, other, "user2", "H2")
	expect(t, other, "user3", "")
	if done, err := e.Put(t.Context()); done != 0 || err != nil {
		t.Errorf("Put of nothing: %d, %v", done, err)
	}
	if err := e.Remove(t.Context()); err != nil {
		t.Errorf("Remove of nobody: %v", err)
	}
	target.Stop(t)
	if done, err := e.Put(t.Context(), entries[0]); done != 0 || err == nil {
		t.Errorf("Put to a stopped source: %d, %v", done, err)
	}
}

func testEditRefused(t *testing.T, target Target) {
	e := editor(t, target)
	good := directory.Entry{Hash: Hash("amal"), Home: "SA"}
	for _, bad := range []directory.Entry{
		{}, {Hash: Hash("deniz")}, {Hash: "deniz", Home: "TR"}, {Hash: strings.ToUpper(Hash("deniz")), Home: "TR"},
		{Hash: Hash("deniz"), Home: strings.Repeat("x", directory.MaxHome+1)}, {Hash: Hash("deniz"), Home: "\xff"},
	} {
		if done, err := e.Put(t.Context(), good, bad); done != 0 || err == nil {
			t.Errorf("%v: %d, %v", bad, done, err)
		}
	}
	expect(t, e, "amal", "") // nothing is half applied where the input is wrong
	expect(t, e, "deniz", "")
}
