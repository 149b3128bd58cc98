package home

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/domicile-dev/domicile/pkg/cli/exit"
	"github.com/domicile-dev/domicile/pkg/cli/session"
	"github.com/domicile-dev/domicile/pkg/directory"
	"github.com/domicile-dev/domicile/pkg/directory/redis"
	"github.com/domicile-dev/domicile/pkg/directory/redis/redistest"
	"github.com/domicile-dev/domicile/pkg/identity"
)

var key = []byte("0123456789abcdef")

// run imports a list and returns what was said.
func run(t *testing.T, e directory.Editor, list string, set func(*importing)) (out, errs string, err error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	s := &session.Session{Env: session.Env{Out: &stdout, Err: &stderr, Getenv: func(string) string { return "" }}}
	s.Output = "text"
	i := importing{s: s, reading: reading{key: key, known: func(h string) bool { return h == "SA" || h == "TR" }}}
	i.Kind = "redis"
	if set != nil {
		set(&i)
	}
	cmd := &cobra.Command{}
	cmd.SetContext(t.Context())
	cmd.SetIn(strings.NewReader(list))
	err = i.run(cmd, "-", e)
	return stdout.String(), stderr.String(), err
}

func homeOf(t *testing.T, d directory.Directory, user string) string {
	t.Helper()
	home, _, err := d.Lookup(t.Context(), identity.UserHash(key, user))
	if err != nil {
		t.Fatal(err)
	}
	return home
}

// failing is a directory that takes so many entries and no more.
type failing struct {
	*directory.Memory
	left int
}

func (f *failing) Put(ctx context.Context, entries ...directory.Entry) (int, error) {
	n := min(f.left, len(entries))
	f.left -= n
	done, err := f.Memory.Put(ctx, entries[:n]...)
	if err == nil && n < len(entries) {
		err = fmt.Errorf("write directory: %w", directory.ErrUnavailable)
	}
	return done, err
}

// TestImportGoesOn: a directory that fails in between is said to hold so much, and the
// same command does the rest.
func TestImportGoesOn(t *testing.T) {
	var list strings.Builder
	for i := range 100 {
		fmt.Fprintf(&list, "user%d,SA\n", i)
	}
	f := &failing{directory.NewMemory(), 60}
	_, _, err := run(t, f, list.String(), nil)
	if exit.Code(err) != exit.Unreachable || !strings.Contains(err.Error(), "60 entries have been written: the same command goes on") {
		t.Errorf("error %v", err)
	}
	f.left = 1000
	out, _, err := run(t, f, list.String(), nil)
	if err != nil || !strings.Contains(out, "100 users: 40 entered, 0 moved, 60 were there already") {
		t.Errorf("%v\n%s", err, out)
	}
	if homeOf(t, f, "user99") != "SA" {
		t.Error("the last one lacks")
	}
	f.SetAvailable(false)
	if _, _, err := run(t, f, "a,SA", nil); exit.Code(err) != exit.Unreachable || !strings.Contains(err.Error(), "nothing has been written") {
		t.Errorf("error %v", err)
	}
}

// TestImportIntoRedis: on a real server, thousands at once; who has moved stops it.
func TestImportIntoRedis(t *testing.T) {
	s := redistest.Start(t)
	d, err := redis.Open(redis.Config{Addresses: []string{s.Addr}, Timeout: 5e9})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var list strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&list, `{"user": "user%d", "home": "TR"}`+"\n", i)
	}
	out, _, err := run(t, d, list.String(), nil)
	if err != nil || !strings.Contains(out, "5000 users: 5000 entered") {
		t.Fatalf("%v\n%s", err, out)
	}
	if homeOf(t, d, "user4999") != "TR" {
		t.Error("the last one lacks")
	}
	_, errs, err := run(t, d, "new,SA\nuser7,SA\n", nil)
	var silent exit.Silent
	if !errors.As(err, &silent) || !strings.Contains(errs, "line 2") || homeOf(t, d, "new") != "" || homeOf(t, d, "user7") != "TR" {
		t.Errorf("%v\n%s", err, errs)
	}
	if _, _, err := run(t, d, "new,SA\nuser7,SA\n", func(i *importing) { i.replace = true }); err != nil || homeOf(t, d, "new") != "SA" || homeOf(t, d, "user7") != "SA" {
		t.Errorf("%v", err)
	}
}

// TestReading: odd lists, each with what is wrong by its line.
func TestReading(t *testing.T) {
	for name, c := range map[string]struct {
		list  string
		users int
		wrong []int // lines
	}{
		"nothing":       {"", 0, nil},
		"spaces":        {" \n\n", 0, nil},
		"BOM":           {"\ufeffuser,home\na,SA\n", 1, nil},
		"BOM and JSON":  {"\ufeff{\"user\":\"a\",\"home\":\"SA\"}", 1, nil},
		"CRLF":          {"a,SA\r\nb,TR\r\n", 2, nil},
		"no last line":  {"a,SA\nb,TR", 2, nil},
		"quoted":        {"\"a,b\",SA\n\"line\nbreak\",SA\nc,XX\n", 1, []int{2, 4}},
		"one field":     {"a\nb,SA\n", 1, []int{1}},
		"header later":  {"a,SA\nuser,home\n", 1, []int{2}},
		"twice":         {"a,SA\na,SA\n", 1, nil},
		"two homes":     {"a,SA\na,TR\n", 1, []int{2}},
		"not UTF-8":     {"\xff\xfe,SA\n", 0, []int{1}},
		"NUL":           {"a\x00b,SA\n", 0, []int{1}},
		"long id":       {strings.Repeat("x", 513) + ",SA\n", 0, []int{1}},
		"never closed":  {"a,SA\n\"" + strings.Repeat("x\n", maxLine), 1, []int{2}},
		"JSON null":     {`{"user": null, "home": "SA"}`, 0, []int{1}},
		"JSON number":   {`{"user": 7, "home": "SA"}`, 0, []int{1}},
		"JSON list":     {"{\"user\": \"a\", \"home\": \"SA\"}\n[1]\n", 1, []int{2}},
		"JSON too long": {`{"user": "` + strings.Repeat("x", maxLine), 0, []int{1}},
	} {
		r := reading{key: key, known: func(h string) bool { return h == "SA" || h == "TR" }, progress: func(int) {}}
		if err := r.read(strings.NewReader(c.list)); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var lines []int
		for _, p := range r.problems {
			lines = append(lines, p.Line)
		}
		if len(r.users) != c.users || fmt.Sprint(lines) != fmt.Sprint(c.wrong) {
			t.Errorf("%s: %d users, problems %v", name, len(r.users), r.problems)
		}
	}
	// Of very many problems the first are kept, and all are counted.
	r := reading{key: key, known: func(string) bool { return false }, progress: func(int) {}}
	if err := r.read(strings.NewReader(strings.Repeat("a,XX\n", 5000))); err != nil || r.wrong != 5000 || len(r.problems) != maxProblems {
		t.Errorf("%v, %d wrong, %d kept", err, r.wrong, len(r.problems))
	}
}

func FuzzReading(f *testing.F) {
	f.Add("user,home\na,SA\n")
	f.Add(`{"user": "a", "home": "SA"}`)
	f.Add("\"a\nb\",SA\n\"")
	f.Fuzz(func(t *testing.T, list string) {
		r := reading{key: key, known: func(h string) bool { return h == "SA" }, progress: func(int) {}}
		if err := r.read(strings.NewReader(list)); err != nil {
			t.Error(err)
		}
		for hash, u := range r.users {
			if !identity.IsUserHash(hash) || u.home != "SA" || u.line < 1 {
				t.Errorf("%q: %+v", hash, u)
			}
		}
	})
}
