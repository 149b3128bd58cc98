package home

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/domicile-dev/domicile/pkg/cli/exit"
	"github.com/domicile-dev/domicile/pkg/cli/session"
	"github.com/domicile-dev/domicile/pkg/cli/show"
	"github.com/domicile-dev/domicile/pkg/cli/users"
	"github.com/domicile-dev/domicile/pkg/directory"
	"github.com/domicile-dev/domicile/pkg/lang"
)

// importing is one run of "home import".
type importing struct {
	s       *session.Session
	name    string // of the list, as messages show it
	dryRun  bool
	replace bool
	reading
	importResult
}

// importResult is the machine output.
type importResult struct {
	session.Versioned
	Kind      string         `json:"directory"`
	DryRun    bool           `json:"dryRun"`
	Users     int            `json:"users"`
	Homes     map[string]int `json:"homes"`
	Repeated  int            `json:"repeated"`
	New       int            `json:"new"`
	Unchanged int            `json:"unchanged"`
	// Moved are users who have another home in the directory; MovedAt lists the
	// first lines of them.
	Moved    int       `json:"moved"`
	MovedAt  []int     `json:"movedAt"`
	Written  int       `json:"written"`
	Wrong    int       `json:"wrong"` // lines with problems
	Problems []problem `json:"problems"`
}

func importCommand(s *session.Session) *cobra.Command {
	var (
		i     = importing{s: s}
		src   session.Source
		local users.Local
	)
	cmd := &cobra.Command{
		Use:   "import FILE|-",
		Short: "Enter users and their homes in the directory",
		Long: `Enter users and their homes in the directory that the deployment names: from a
file, or from standard input (-). The list is CSV with two fields, user,home, or one
JSON object a line, {"user": "u1", "home": "SA"}. What is written is the keyed hash
of the user id, with the key that the agents have, and the home; nothing else.

The whole list is read and judged before anything is written: with one line that is
wrong, nothing is. Users whose home in the directory is another one have moved, and
an import ends none of their sessions: it stops there, unless --replace is given.
(domicile user move moves a user.) A static directory gets all entries or none. One
in Redis gets them in order; when it fails between, the same command goes on.

Agents believe for 5 seconds that a user is not listed, and for a minute where one
is at home, unless the deployment says otherwise.`,
		Example: `  domicile home import users.csv --directory-key /etc/domicile/directory.key --dry-run
  domicile home import - --directory users.yaml --directory-key users.key < users.jsonl
  domicile home import users.csv --dir /tmp/demo`,
		Args: session.Args("FILE"),
	}
	f := cmd.Flags()
	f.BoolVar(&i.dryRun, "dry-run", false, "say what would be written, and write nothing")
	f.BoolVar(&i.replace, "replace", false, "also change the homes of users who have another one")
	local.Flags(cmd)
	src.Flags(cmd, true)
	cmd.RunE = s.Run(func(cmd *cobra.Command, args []string) error {
		local.From(src)
		l, err := s.Open(cmd, src, session.Judged{TableOnly: true})
		if err != nil {
			return err
		}
		if !l.Good() {
			return s.Refuse(l)
		}
		if i.key, err = local.HashKey(cmd); err != nil {
			return err
		}
		d, kind, err := local.Open(cmd, l.Topology)
		if err != nil {
			return err
		}
		defer d.Close()
		if d.Editor == nil {
			return exit.Errorf(exit.Findings, "the directory is a service of yours (%s): enter the users there", kind)
		}
		homes := map[string]bool{}
		for code := range l.Set.Jurisdictions {
			homes[code] = true
		}
		for _, issuer := range l.Table.Issuers() {
			for _, h := range issuer.Homes {
				homes[h] = true
			}
		}
		i.known = func(home string) bool { return homes[home] }
		i.Versioned, i.Kind, i.DryRun = session.V1(), kind, i.dryRun
		return i.run(cmd, args[0], d.Editor)
	})
	return cmd
}

func (i *importing) run(cmd *cobra.Command, path string, e directory.Editor) error {
	i.name = path
	from := cmd.InOrStdin()
	if path == "-" {
		i.name = "<stdin>"
	} else {
		f, err := os.Open(path)
		if err != nil {
			return exit.Errorf(exit.Usage, "open list: %w", err)
		}
		defer f.Close()
		from = f
	}
	i.progress = func(n int) { i.say(lang.T("read %d users", n)) }
	if err := i.read(from); err != nil {
		return exit.Errorf(exit.Usage, "read %s: %w", i.name, err)
	}
	i.Users, i.Repeated, i.Wrong, i.Problems = len(i.users), i.repeated, i.wrong, i.problems
	i.Homes, i.MovedAt = map[string]int{}, []int{}
	for _, u := range i.users {
		i.Homes[u.home]++
	}
	if i.Problems == nil {
		i.Problems = []problem{}
	}
	if i.wrong > 0 {
		return i.end(exit.Silent(exit.Findings))
	}
	write, err := i.compare(cmd.Context(), e)
	if err != nil {
		return i.failed(err)
	}
	if i.Moved > 0 && !i.replace {
		return i.end(exit.Silent(exit.Findings))
	}
	if i.dryRun || len(write) == 0 {
		return i.end(nil)
	}
	if err := i.write(cmd.Context(), e, write); err != nil {
		return i.failed(err)
	}
	return i.end(nil)
}

// say writes a line of progress.
func (i *importing) say(t lang.Text) { fmt.Fprintln(i.s.Err, t.In(i.s.Lang())) }

// end writes the result, and returns the error that says how it ended.
func (i *importing) end(how error) error {
	if err := i.s.Emit(i.importResult, i.text); err != nil {
		return err
	}
	if i.s.Output != "json" && i.s.Output != "yaml" {
		i.complain(i.s.Err)
	}
	return how
}

// failed is the end by an error of the directory.
func (i *importing) failed(err error) error {
	code := users.Code(err)
	if i.Written > 0 {
		return exit.Errorf(code, "%w; %d entries have been written: the same command goes on from there", err, i.Written)
	}
	return exit.Errorf(code, "%w; nothing has been written", err)
}

// atOnce is how many users are looked up at the same time.
const atOnce = 64

// compare asks the directory what it holds of the users, and returns what to write.
func (i *importing) compare(ctx context.Context, e directory.Editor) ([]directory.Entry, error) {
	var (
		mu    sync.Mutex
		write []directory.Entry
		asked int
	)
	g, ctx := errgroup.WithContext(ctx)
	for share := range atOnce {
		g.Go(func() error {
			for n := share; n < len(i.order); n += atOnce {
				hash := i.order[n]
				u := i.users[hash]
				home, found, err := e.Lookup(ctx, hash)
				// A static file that does not exist yet lists nobody: it is made.
				if err != nil && i.Kind == "static" && errors.Is(err, os.ErrNotExist) {
					home, found, err = "", false, nil
				}
				if err != nil {
					return fmt.Errorf("line %d: %w", u.line, err)
				}
				mu.Lock()
				if asked++; asked%step == 0 {
					i.say(lang.T("compared %d of %d users", asked, len(i.order)))
				}
				switch {
				case !found:
					i.New++
				case home == u.home:
					i.Unchanged++
				default:
					i.Moved++
					i.MovedAt = append(i.MovedAt, u.line)
				}
				if !found || home != u.home {
					write = append(write, directory.Entry{Hash: hash, Home: u.home})
				}
				mu.Unlock()
			}
			return nil
		})
	}
	err := g.Wait()
	slices.Sort(i.MovedAt)
	if len(i.MovedAt) > maxProblems {
		i.MovedAt = i.MovedAt[:maxProblems]
	}
	return write, err
}

// write enters the users: all at once where it is all or none, else in steps.
func (i *importing) write(ctx context.Context, e directory.Editor, entries []directory.Entry) error {
	size := step
	if i.Kind == "static" {
		size = len(entries)
	}
	for part := range slices.Chunk(entries, size) {
		done, err := e.Put(ctx, part...)
		i.Written += done
		if err != nil {
			return err
		}
		if i.Written < len(entries) {
			i.say(lang.T("wrote %d of %d entries", i.Written, len(entries)))
		}
	}
	return nil
}

// text is the result for people.
func (i *importing) text(w io.Writer) {
	l := i.s.Lang()
	say := func(t lang.Text) { fmt.Fprintln(w, t.In(l)) }
	switch {
	case i.Wrong > 0:
		say(lang.T("Nothing was written: %d lines of %s are wrong.", i.Wrong, i.name))
		return
	case i.Moved > 0 && !i.replace:
		say(lang.T("Nothing was written: %d users have another home in the directory.", i.Moved))
		return
	case i.dryRun:
		say(lang.T("%d users: %d would be entered, %d moved, %d are there already. Nothing was written.", i.Users, i.New, i.Moved, i.Unchanged))
	default:
		say(lang.T("%d users: %d entered, %d moved, %d were there already.", i.Users, i.New, i.Moved, i.Unchanged))
	}
	if i.Users == 0 {
		return
	}
	t := show.NewTable(lang.T("HOME").In(l), lang.T("USERS").In(l))
	for _, home := range slices.Sorted(maps.Keys(i.Homes)) {
		t.Row(home, strconv.Itoa(i.Homes[home]))
	}
	t.Write(w)
}

// complain says what is wrong, on stderr.
func (i *importing) complain(w io.Writer) {
	l := i.s.Lang()
	for _, p := range i.Problems {
		message := p.Message
		if l == lang.Chinese {
			message = p.MessageZh
		}
		fmt.Fprintf(w, "%s:%d: %s\n", i.name, p.Line, show.Line(message))
	}
	if more := i.Wrong - len(i.Problems); more > 0 {
		fmt.Fprintln(w, lang.T("and %d more", more).In(l))
	}
	if i.Moved > 0 && !i.replace && i.Wrong == 0 {
		var lines []string
		for _, n := range i.MovedAt[:min(len(i.MovedAt), 20)] {
			lines = append(lines, strconv.Itoa(n))
		}
		fmt.Fprintln(w, lang.T("they stand in line %s", strings.Join(lines, ", ")).In(l))
		fmt.Fprintln(w, lang.T("next: domicile user move, which ends their pins and sessions; or --replace, which ends none").In(l))
	}
}
