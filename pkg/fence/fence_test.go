package fence_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/domicile-dev/domicile/pkg/fence"
	"github.com/domicile-dev/domicile/pkg/identity"
)

var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func hash(user string) string { return identity.UserHash([]byte("k"), user) }

func erased(user, issuer string) fence.Entry {
	return fence.Entry{User: user, Hash: hash(user), Issuer: issuer, Erased: true, Until: now.Add(time.Hour)}
}

func moved(user, issuer, to string, from ...string) fence.Entry {
	return fence.Entry{User: user, Hash: hash(user), Issuer: issuer, From: from, To: to, Until: now.Add(time.Hour)}
}

func open(t testing.TB, path string, clock *time.Time) *fence.Fence {
	t.Helper()
	f, err := fence.Open(path, func() time.Time { return *clock })
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func add(t interface {
	Helper()
	Fatal(...any)
}, f *fence.Fence, entries ...fence.Entry) {
	t.Helper()
	for _, e := range entries {
		if err := f.Add(e); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhoIsKeptOut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fence.json")
	clock := now
	f := open(t, path, &clock)
	add(t, f,
		erased("amal", "a"), erased("deniz", ""), moved("lena", "", "DE", "SA", "TR"), moved("ana", "a", "DE", "SA"),
		moved("back", "", "TR", "SA"), moved("back", "", "SA", "TR"),
		moved("far", "", "TR", "SA"), moved("far", "", "DE", "TR"),
		moved("gone", "", "TR", "SA"), erased("gone", ""), moved("gone", "", "DE", "TR"),
		moved("home", "", "TR", "SA"), fence.Entry{User: "home", Hash: hash("home"), From: []string{"TR"}, To: "SA", Until: now.Add(time.Minute)},
	)
	check := func(f *fence.Fence) {
		t.Helper()
		for _, c := range []struct {
			issuer, user, home string
			erased, moved      bool
		}{
			{"a", "amal", "SA", true, false}, {"b", "amal", "SA", false, false}, {"", "amal", "SA", false, false},
			{"a", "deniz", "SA", true, false}, {"b", "deniz", "SA", true, false},
			{"a", "lena", "SA", false, true}, {"b", "lena", "TR", false, true}, {"a", "lena", "DE", false, false}, {"a", "lena", "", false, false},
			{"a", "ana", "SA", false, true}, {"b", "ana", "SA", false, false},
			{"a", "back", "SA", false, false}, {"a", "back", "TR", false, true},
			{"a", "far", "SA", false, true}, {"a", "far", "TR", false, true}, {"a", "far", "DE", false, false},
			{"a", "gone", "DE", true, false},
			{"a", "home", "SA", false, false}, {"a", "home", "TR", false, true},
			{"a", "nobody", "SA", false, false},
		} {
			if e, m := f.Erased(c.issuer, c.user), f.Moved(c.issuer, c.user, c.home); e != c.erased || m != c.moved {
				t.Errorf("%+v: erased %v, moved %v", c, e, m)
			}
		}
	}
	check(f)
	check(open(t, path, &clock))
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", fi.Mode(), err)
	}
	if f.Len() != 8 {
		t.Errorf("%d entries", f.Len())
	}
	clock = now.Add(time.Hour - time.Second)
	check(f)
	clock = now.Add(time.Hour)
	if f.Erased("a", "amal") || f.Moved("a", "lena", "SA") {
		t.Error("an entry is in force after its end")
	}
	if err := f.Sweep(); err != nil || f.Len() != 0 {
		t.Errorf("%d entries after their end, %v", f.Len(), err)
	}
	if g := open(t, path, &clock); g.Len() != 0 {
		t.Errorf("%d entries in the file after their end", g.Len())
	}
}

func TestMoveThatLeadsNowhereElse(t *testing.T) {
	clock := now
	f := open(t, "", &clock)
	add(t, f, moved("amal", "", "TR", "SA"))
	if err := f.Add(moved("amal", "", "SA", "SA")); !errors.Is(err, fence.ErrEntry) {
		t.Errorf("from SA to SA: %v", err)
	}
	if !f.Moved("", "amal", "SA") {
		t.Error("a refused entry changed something")
	}
}

func TestBadEntries(t *testing.T) {
	clock := now
	f := open(t, filepath.Join(t.TempDir(), "fence.json"), &clock)
	many := make([]string, 17)
	for i := range many {
		many[i] = fmt.Sprintf("H%d", i)
	}
	for name, edit := range map[string]func(*fence.Entry){
		"no user":          func(e *fence.Entry) { e.User = "" },
		"a long user":      func(e *fence.Entry) { e.User = strings.Repeat("x", 513) },
		"a broken user":    func(e *fence.Entry) { e.User = "\xff" },
		"a broken issuer":  func(e *fence.Entry) { e.Issuer = "\xff" },
		"no hash":          func(e *fence.Entry) { e.Hash = "" },
		"no real hash":     func(e *fence.Entry) { e.Hash = "amal" },
		"no end":           func(e *fence.Entry) { e.Until = time.Time{} },
		"nothing":          func(e *fence.Entry) { e.From = nil },
		"both":             func(e *fence.Entry) { e.Erased = true },
		"an empty home":    func(e *fence.Entry) { e.From = []string{""} },
		"a long home":      func(e *fence.Entry) { e.From = []string{strings.Repeat("x", 65)} },
		"too many homes":   func(e *fence.Entry) { e.From = many },
		"where he came to": func(e *fence.Entry) { e.To = "SA" },
	} {
		e := moved("amal", "", "TR", "SA")
		edit(&e)
		if err := f.Add(e); !errors.Is(err, fence.ErrEntry) || f.Len() != 0 {
			t.Errorf("%s: %v", name, err)
		}
		if err := f.Add(e); err != nil && strings.Contains(err.Error(), "amal") {
			t.Errorf("%s: the error names the user", name)
		}
	}
}

func TestFullFenceDropsNobody(t *testing.T) {
	if testing.Short() {
		t.Skip("fills a fence")
	}
	clock := now
	f := fence.Filled(t, func() time.Time { return clock }, fence.MaxEntries)
	if err := f.Add(erased("one too many", "")); !errors.Is(err, fence.ErrFull) || f.Len() != fence.MaxEntries {
		t.Errorf("%v, %d entries", err, f.Len())
	}
	add(t, f, erased("user 7", "")) // is there already
	if f.Erased("", "one too many") || !f.Erased("", "user 0") {
		t.Error("the wrong users are in it")
	}
	clock = now.Add(2 * time.Hour)
	add(t, f, fence.Entry{User: "next", Hash: hash("next"), Erased: true, Until: now.Add(3 * time.Hour)})
	if f.Len() != 1 {
		t.Errorf("%d entries, though all but one have ended", f.Len())
	}
}

func TestBrokenFilesAreErrors(t *testing.T) {
	good := fmt.Sprintf(`{"user":"amal","hash":%q,"erased":true,"until":"2027-01-01T00:00:00Z"}`, hash("amal"))
	for name, data := range map[string]string{
		"empty": "", "null": "null", "half": "[" + good, "an object": good, "twice": "[" + good + "," + good + "]",
		"no hash": `[{"user":"amal","erased":true,"until":"2027-01-01T00:00:00Z"}]`, "an odd entry": "[1]",
	} {
		path := filepath.Join(t.TempDir(), "fence.json")
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		if f, err := fence.Open(path, time.Now); err == nil {
			t.Errorf("%s: taken: %d entries", name, f.Len())
		} else if strings.Contains(err.Error(), "amal") {
			t.Errorf("%s: the error names a user: %v", name, err)
		}
	}
	path := filepath.Join(t.TempDir(), "fence.json")
	if err := os.WriteFile(path, []byte("["+good+"]"), 0o600); err != nil {
		t.Fatal(err)
	}
	clock := now
	if f := open(t, path, &clock); !f.Erased("x", "amal") {
		t.Error("a good file is not read")
	}
	dir := t.TempDir()
	f := open(t, filepath.Join(dir, "gone", "fence.json"), &clock)
	if err := f.Add(erased("amal", "")); err == nil || f.Len() != 0 {
		t.Errorf("in force and not on the disk: %v", err)
	}
}

// Whatever is added in whatever order: an erased user stays out, a user is kept from
// each home that he left last, and from no home that he came to last.
func TestAnyHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		clock := now
		f, err := fence.Open("", func() time.Time { return clock })
		if err != nil {
			t.Fatal(err)
		}
		homes := []string{"SA", "TR", "DE"}
		left, gone := map[string]bool{}, false
		at := rapid.SampledFrom(homes).Draw(t, "home")
		for range rapid.IntRange(0, 8).Draw(t, "steps") {
			if rapid.IntRange(0, 9).Draw(t, "what") == 0 {
				add(t, f, erased("u", ""))
				gone = true
				continue
			}
			to := rapid.SampledFrom(homes).Draw(t, "to")
			if to == at {
				continue
			}
			add(t, f, moved("u", "", to, at))
			left[at], left[to], at = true, false, to
		}
		if f.Erased("i", "u") != gone {
			t.Fatalf("erased: %v", gone)
		}
		for _, h := range homes {
			if f.Moved("i", "u", h) != (left[h] && !gone) {
				t.Fatalf("%s: left %v, erased %v", h, left[h], gone)
			}
		}
	})
}
