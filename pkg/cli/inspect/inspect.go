// Package inspect is the command that says what a token is and what would be decided
// by it.
package inspect

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/domicile-dev/domicile/pkg/cli/exit"
	"github.com/domicile-dev/domicile/pkg/cli/session"
	"github.com/domicile-dev/domicile/pkg/cli/show"
	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/token"
)

// decision is what the policy says of one class.
type decision struct {
	Class   string           `json:"class"`
	Allowed bool             `json:"allowed"`
	Reason  residency.Reason `json:"reason"`
	Region  string           `json:"region"`
	Entry   string           `json:"entry"`
}

// result is the machine output.
type result struct {
	session.Versioned
	inspection
	Decisions []decision `json:"decisions"`
}

// Command is the command "token".
func Command(s *session.Session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Look at tokens",
		Args:  cobra.ArbitraryArgs,
		RunE: s.Run(func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return session.UnknownCommand(cmd, args[0])
			}
			return cmd.Help()
		}),
	}
	cmd.AddCommand(inspectCommand(s))
	return cmd
}

func inspectCommand(s *session.Session) *cobra.Command {
	var (
		src   session.Source
		j     = session.Judged{TableOnly: true}
		entry string
	)
	cmd := &cobra.Command{
		Use:   "inspect [FILE]",
		Short: "Say what a token is, and what would be decided by it",
		Long: `Say what a token is and what would be decided by it: its claims, which issuer of the
policy it is of, whether its signature and claims are right, which home it makes, and
what the policy decides for each class. Pins are understood too.

The token is read from FILE, or from standard input, and not from the command line,
where other users of the machine could read it. Its signature is never printed. Nobody
is asked: what only a server or the directory can say, is said to be unknown. A refusal
is an answer, not a failure: the exit code is 0.`,
		Example: `  domicile token inspect --policies policies < token.txt
  domicile demo token --user amal --home SA --dir /tmp/demo | domicile token inspect --dir /tmp/demo`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return session.Usage(cmd, "unexpected argument %q", args[1])
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&entry, "entry", "", "region whose gateway takes the connection (default: the first that may)")
	j.Flags(cmd)
	src.Flags(cmd, true)
	cmd.RunE = s.Run(func(cmd *cobra.Command, args []string) error {
		raw, err := read(cmd, args)
		if err != nil {
			return err
		}
		if j.Overlay == "" && src.Dir != "" { // a demo's keys are in no bundle
			j.Overlay = filepath.Join(src.Dir, "overlay.json")
		}
		l, err := s.Open(cmd, src, j)
		if err != nil {
			return err
		}
		if !l.Good() {
			return s.Refuse(l)
		}
		judge := judge{table: l.Table, topology: l.Topology, now: l.At}
		judge.look(raw)
		r := result{session.V1(), judge.inspection, []decision{}}
		if r.Home != "" && r.Reason == "" {
			r.Decisions = decide(l.Table, r.Home, entry)
		}
		return s.Emit(r, func(w io.Writer) { r.text(w, s.Lang(), l.At) })
	})
	return cmd
}

// read reads the one token that file or standard input hold.
func read(cmd *cobra.Command, args []string) (string, error) {
	from := cmd.InOrStdin()
	if len(args) == 1 && args[0] != "-" {
		f, err := os.Open(args[0])
		if err != nil {
			if strings.HasPrefix(args[0], "ey") && strings.Count(args[0], ".") == 2 {
				return "", session.Usage(cmd, "a token on the command line is seen by other users of this machine: pass it by standard input or in a file")
			}
			return "", exit.Errorf(exit.Usage, "open token: %w", err)
		}
		defer f.Close()
		from = f
	}
	data, err := io.ReadAll(io.LimitReader(from, token.MaxToken+1024))
	if err != nil {
		return "", exit.Errorf(exit.Usage, "read token: %w", err)
	}
	s := strings.TrimSpace(string(data))
	if after, ok := strings.CutPrefix(s, "Bearer "); ok {
		s = strings.TrimSpace(after)
	}
	switch {
	case s == "":
		return "", session.Usage(cmd, "no token: pass one by standard input or in a file")
	case len(s) > token.MaxToken:
		return "", exit.Errorf(exit.Findings, "read token: it is longer than %d bytes", token.MaxToken)
	case strings.ContainsAny(s, " \t\r\n"):
		return "", exit.Errorf(exit.Findings, "read token: it is not one word")
	}
	return s, nil
}

// decide asks the policy about every class.
func decide(t *residency.Table, home, entry string) []decision {
	out := []decision{}
	seen := map[string]bool{}
	for _, r := range t.Routes() {
		for _, class := range append([]string{r.Class}, r.Carries...) {
			if seen[class] || r.Subject == residency.SubjectNone {
				continue
			}
			seen[class] = true
			out = append(out, best(t, residency.Query{Home: home, Class: class, Entry: entry}))
		}
	}
	return out
}

// best is the decision at the entry; without one, at the region that serves, or else at
// the first that may take it.
func best(t *residency.Table, q residency.Query) decision {
	entries := []string{q.Entry}
	if q.Entry == "" {
		entries = nil
		for _, r := range t.Regions() {
			entries = append(entries, r.Name)
		}
	}
	var found decision
	for i, e := range entries {
		q.Entry = e
		d := t.Decide(q)
		out := decision{Class: q.Class, Allowed: d.Allowed(), Reason: d.Reason, Region: d.Region, Entry: e}
		switch {
		case out.Allowed && e == out.Region:
			return out
		case i == 0, out.Allowed && !found.Allowed:
			found = out
		}
	}
	return found
}

// instants are the claims that hold seconds since 1970.
var instants = []string{"exp", "iat", "nbf", "auth_time"}

func (r *result) text(w io.Writer, l lang.Lang, now time.Time) {
	say := func(t lang.Text) { fmt.Fprintln(w, show.Line(t.In(l))) }
	switch {
	case r.Reason != "":
		say(lang.T("REFUSED  A request with it is refused with %d %s: %s.", r.Reason.Status(), string(r.Reason), r.Reason.Title()))
	case r.Home != "":
		say(lang.T("HOME %s  A request with it is one of a user at home in %s.", r.Home, r.Home))
	default:
		say(lang.T("OPEN  The token alone does not say where its user is at home."))
	}
	row := func(label, text string) { fmt.Fprintf(w, "  %-10s %s\n", label, show.Line(text)) }
	fmt.Fprintln(w)
	if r.Alg != "" {
		row("header", fmt.Sprintf("alg %s, kid %q", r.Alg, r.Kid))
	}
	for i, name := range slices.Sorted(maps.Keys(r.Claims)) {
		label := ""
		if i == 0 {
			label = "claims"
		}
		value := string(r.Claims[name])
		if at, ok := r.Claims.Instant(name); ok && slices.Contains(instants, name) {
			value += "  " + at.UTC().Format(time.RFC3339) + " (" + away(at.Sub(now)) + ")"
		}
		row(label, name+" "+value)
	}
	for _, c := range r.Checks {
		mark := "unknown"
		if c.OK != nil && *c.OK {
			mark = "ok"
		} else if c.OK != nil {
			mark = "WRONG"
		}
		row(c.Name, mark+": "+c.Detail)
	}
	if len(r.Decisions) == 0 {
		return
	}
	fmt.Fprintln(w)
	t := show.NewTable("CLASS", "DECISION", "SERVED BY", "THROUGH")
	for _, d := range r.Decisions {
		if d.Allowed {
			t.Row(d.Class, "allowed", d.Region, d.Entry)
		} else {
			t.Row(d.Class, string(d.Reason), "-", "-")
		}
	}
	t.Write(w)
}

// away says how far an instant is from now.
func away(d time.Duration) string {
	d = d.Round(time.Second)
	size := show.Duration(d.Abs())
	if d.Abs() >= 48*time.Hour {
		size = fmt.Sprintf("%dd", int(d.Abs().Hours()/24))
	}
	if d < 0 {
		return size + " ago"
	}
	return "in " + size
}

// MarshalJSON shows claims as they stand in the token, but for what belongs to a
// signature.
func (r result) MarshalJSON() ([]byte, error) {
	type plain result
	if r.Claims == nil {
		r.Claims = token.Claims{}
	}
	return json.Marshal(plain(r))
}
