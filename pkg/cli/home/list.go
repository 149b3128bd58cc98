package home

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/domicile-dev/domicile/pkg/directory"
	"github.com/domicile-dev/domicile/pkg/identity"
	"github.com/domicile-dev/domicile/pkg/lang"
)

// The bounds of a list.
const (
	maxUser     = 512        // bytes of a user id, as agents have it
	maxLine     = 64 << 10   // bytes
	maxProblems = 1000       // kept; more are counted
	maxUsers    = 20_000_000 // about 100 bytes each are held until all have been read
)

// problem is what is wrong in a line. It names no user.
type problem struct {
	Line      int    `json:"line"`
	Message   string `json:"message"`
	MessageZh string `json:"messageZh"`
}

// listed is a user of the list, by keyed hash.
type listed struct {
	home string
	line int
}

// list is what was read.
type list struct {
	users    map[string]listed
	order    []string // hashes, as they were read
	repeated int      // lines that say again what others say
	problems []problem
	wrong    int // lines with problems
}

func (l *list) fail(line int, text lang.Text) {
	l.wrong++
	if len(l.problems) < maxProblems {
		l.problems = append(l.problems, problem{line, text.En, text.Zh})
	}
}

// reading reads a list of users and homes: lines of CSV (user,home) or of JSON objects.
type reading struct {
	list
	key      []byte
	known    func(home string) bool
	progress func(read int)
}

// read reads everything, and notes everything that is wrong with it. The error is of
// the reader alone.
func (r *reading) read(from io.Reader) error {
	r.users = map[string]listed{}
	in := bufio.NewReaderSize(from, maxLine)
	if bom, err := in.Peek(3); err == nil && string(bom) == "\ufeff" {
		if _, err := in.Discard(len(bom)); err != nil {
			return err
		}
	}
	first, err := firstByte(in)
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return err
	case first == '{':
		return r.readJSON(in)
	}
	return r.readCSV(in)
}

// firstByte looks at the first byte that is no space.
func firstByte(in *bufio.Reader) (byte, error) {
	for n := 1; n <= maxLine; n++ {
		b, err := in.Peek(n)
		if len(b) == n && !strings.ContainsRune(" \t\r\n", rune(b[n-1])) {
			return b[n-1], nil
		}
		if err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// errLong ends the reading of a record.
var errLong = errors.New("record too long")

// gauge reads so many bytes between two records and no more: a quotation mark that is
// never closed must not take a whole list into memory.
type gauge struct {
	from io.Reader
	left int
}

func (g *gauge) Read(p []byte) (int, error) {
	if g.left <= 0 {
		return 0, errLong
	}
	n, err := g.from.Read(p)
	g.left -= n
	return n, err
}

func (r *reading) readCSV(in io.Reader) error {
	g := &gauge{in, maxLine}
	c := csv.NewReader(g)
	last := 0
	c.ReuseRecord = true
	c.FieldsPerRecord = -1
	for n := 0; ; n++ {
		record, err := c.Read()
		g.left = maxLine
		var wrong *csv.ParseError
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, errLong):
			r.fail(last+1, lang.T("the line is longer than %d bytes", maxLine))
			return nil
		case errors.As(err, &wrong): // what follows cannot be told apart any more
			r.fail(wrong.Line, lang.T("not CSV: a quotation mark stands where none may"))
			return nil
		case err != nil:
			return err
		}
		line, _ := c.FieldPos(0)
		last = line
		switch {
		case len(record) != 2:
			r.fail(line, lang.T("%d fields, want two: user,home", len(record)))
		case n == 0 && strings.EqualFold(record[0], "user") && strings.EqualFold(record[1], "home"):
		default:
			if !r.add(line, record[0], record[1]) {
				return nil
			}
		}
	}
}

func (r *reading) readJSON(in io.Reader) error {
	s := bufio.NewScanner(in)
	s.Buffer(make([]byte, 4096), maxLine)
	line := 0
	for s.Scan() {
		line++
		data := bytes.TrimSpace(s.Bytes())
		if len(data) == 0 {
			continue
		}
		var entry struct{ User, Home *string }
		d := json.NewDecoder(bytes.NewReader(data))
		d.DisallowUnknownFields()
		if err := d.Decode(&entry); err != nil || d.More() || entry.User == nil || entry.Home == nil {
			r.fail(line, lang.T(`not a JSON object such as {"user": "u1", "home": "SA"}`))
			continue
		}
		if !r.add(line, *entry.User, *entry.Home) {
			return nil
		}
	}
	if errors.Is(s.Err(), bufio.ErrTooLong) {
		r.fail(line+1, lang.T("the line is longer than %d bytes", maxLine))
		return nil
	}
	return s.Err()
}

// add takes one user; false ends the reading.
func (r *reading) add(line int, user, home string) bool {
	switch {
	case len(user) == 0:
		r.fail(line, lang.T("the user is empty"))
		return true
	case len(user) > maxUser:
		r.fail(line, lang.T("the user id is longer than %d bytes", maxUser))
		return true
	case strings.TrimSpace(user) != user || !utf8.ValidString(user) || strings.ContainsFunc(user, func(c rune) bool { return c < ' ' || c == 0x7f || c == utf8.RuneError }):
		r.fail(line, lang.T("the user id has spaces around it, control characters, or is not UTF-8: no token can name it"))
		return true
	case directory.CheckHome(home) != nil || !r.known(home):
		r.fail(line, lang.T("the policy knows no home %q", home))
		return true
	}
	hash := identity.UserHash(r.key, user)
	switch before, twice := r.users[hash]; {
	case twice && before.home == home:
		r.repeated++
	case twice:
		r.fail(line, lang.T("the user is at home in %s here, and in %s in line %d", home, before.home, before.line))
	case len(r.users) == maxUsers:
		r.fail(line, lang.T("more than %d users: split the list", maxUsers))
		return false
	default:
		r.users[hash] = listed{home, line}
		r.order = append(r.order, hash)
		if len(r.order)%step == 0 {
			r.progress(len(r.order))
		}
	}
	return true
}

// step is how many users lie between two lines of progress.
const step = 100_000
