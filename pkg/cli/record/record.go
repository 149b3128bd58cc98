// Package record is "domicile test --record": it writes down what the policy
// decides today as a case, so that a later change of it is seen.
package record

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/domicile-dev/domicile/pkg/atomicfile"
	"github.com/domicile-dev/domicile/pkg/bundle"
	"github.com/domicile-dev/domicile/pkg/cli/exit"
	"github.com/domicile-dev/domicile/pkg/cli/session"
	"github.com/domicile-dev/domicile/pkg/cli/show"
	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/policytest"
	"github.com/domicile-dev/domicile/pkg/policytest/casefile"
)

// Options are the flags.
type Options struct {
	on       bool
	question policy.TestCase
}

// names are the flags that make a question.
var names = []string{"home", "class", "entry", "down", "edge", "field", "to", "for", "name"}

// Flags adds the flags.
func (o *Options) Flags(cmd *cobra.Command) {
	f, c := cmd.Flags(), &o.question
	f.BoolVar(&o.on, "record", false, "append what the policy decides now as a case; the flags below ask the question")
	f.StringVar(&c.Home, "home", "", "with --record: the home")
	f.StringVar(&c.Class, "class", "", "with --record: the data class")
	f.StringVar(&c.Entry, "entry", "", "with --record: where is it served, coming in through this region?")
	f.StringSliceVar(&c.Down, "down", nil, "with --entry: regions that are down")
	f.StringVar(&c.Edge, "edge", "", "with --record: may this region hold the --field?")
	f.StringVar(&c.Field, "field", "", "with --edge: a field of the profile")
	f.StringVar(&c.To, "to", "", "with --record: which transfer covers a crossing to this country?")
	f.StringVar(&c.For, "for", "", "with --to: the purpose of the crossing")
	f.StringVar(&c.Name, "name", "", "with --record: the name of the case (default: made from the question)")
	session.Complete(cmd, "for", func(*cobra.Command) []string { return policy.Purposes() })
}

// Asked tells whether there is something to record; its error is a flag that
// cannot stand where it does.
func (o *Options) Asked(cmd *cobra.Command) (bool, error) {
	if !o.on {
		for _, n := range names {
			if cmd.Flags().Changed(n) {
				return false, session.Usage(cmd, "--%s goes with --record", n)
			}
		}
		return false, nil
	}
	c := o.question
	questions := 0
	for _, q := range []string{c.Entry, c.Edge, c.To} {
		if q != "" {
			questions++
		}
	}
	switch {
	case c.Home == "" || c.Class == "":
		return false, session.Usage(cmd, "--record needs --home and --class")
	case questions != 1:
		return false, session.Usage(cmd, "--record needs one question: --entry, --edge with --field, or --to with --for")
	case len(c.Down) > 0 && c.Entry == "":
		return false, session.Usage(cmd, "--down goes with --entry")
	case (c.Edge == "") != (c.Field == ""):
		return false, session.Usage(cmd, "--edge and --field go together")
	case (c.To == "") != (c.For == ""):
		return false, session.Usage(cmd, "--to and --for go together")
	}
	return true, nil
}

// result is the machine output.
type result struct {
	session.Versioned
	File    string `json:"file"`
	Line    int    `json:"line"`
	Created bool   `json:"created"` // the file is new
	Case    string `json:"case"`    // as it was written
}

// Run records the question's answer in the directory that l was read from.
func (o *Options) Run(s *session.Session, cmd *cobra.Command, dir string, l *session.Local, j session.Judged) error {
	c, why := policytest.Present(l.Table, o.question)
	if !why.IsZero() {
		return session.Usage(cmd, "%s", lang.T("nothing to record: %s", why).In(l.Lang))
	}
	file := fileOf(l.Set, c.Home)
	last, err := free(l, file, &c)
	if err != nil {
		return err
	}
	old, created, err := content(filepath.Join(dir, filepath.FromSlash(file)))
	if err != nil {
		return err
	}
	data, line, ok := casefile.New(c.Home, c), 5, true
	if !created {
		data, line, ok = casefile.Append(old, last, c)
	}
	if !ok || !o.holds(s, cmd, l, j, file, data, line) {
		return exit.Errorf(exit.Findings, "%s", lang.T("%s is not written with one case per dash, so nothing was written; add this by hand: %s", l.Shown(file), "- "+casefile.Line(c)).In(l.Lang))
	}
	if err := replace(filepath.Join(dir, filepath.FromSlash(file)), data); err != nil {
		return err
	}
	r := result{session.V1(), l.Shown(file), line, created, casefile.Line(c)}
	return s.Emit(r, func(w io.Writer) {
		fmt.Fprintln(w, show.Line(lang.T("recorded in %s:%d", r.File, r.Line).In(l.Lang)))
		fmt.Fprintf(w, "  - %s\n", show.Line(r.Case))
	})
}

// fileOf is where cases of a home stand: beside its jurisdiction, and those of a
// home without one beside the deployment.
func fileOf(set *policy.Set, home string) string {
	if j := set.Jurisdictions[home]; j != nil {
		return strings.TrimSuffix(j.Pos.File, ".yaml") + "_test.yaml"
	}
	return "deployment_test.yaml"
}

// free names the case and finds the last one of the file. It refuses a question
// that is asked already, and a name that is taken.
func free(l *session.Local, file string, c *policy.TestCase) (last policy.Pos, err error) {
	taken := map[string]policy.Pos{}
	for _, t := range l.Set.Tests {
		for _, x := range t.Cases {
			if policytest.SameQuestion(x, *c) {
				return last, exit.Errorf(exit.Findings, "%s", lang.T("%s asks this already (%s); nothing was written", l.Position(x.Pos), x.Name).In(l.Lang))
			}
			if x.Pos.File == file {
				last, taken[x.Name] = x.Pos, x.Pos
			}
		}
	}
	if c.Name == "" {
		c.Name = title(*c)
		for n := 2; taken[c.Name].Line > 0; n++ {
			c.Name = fmt.Sprintf("%s %d", title(*c), n)
		}
	}
	if at := taken[c.Name]; at.Line > 0 {
		return last, exit.Errorf(exit.Findings, "%s", lang.T("%s has the name %q already; nothing was written", l.Position(at), c.Name).In(l.Lang))
	}
	return last, nil
}

// title names a case after its question.
func title(c policy.TestCase) string {
	switch {
	case c.Edge != "":
		return fmt.Sprintf("%s of %s held in %s", c.Field, c.Class, c.Edge)
	case c.To != "":
		return fmt.Sprintf("%s to %s for %s", c.Class, c.To, c.For)
	case len(c.Down) > 0:
		return fmt.Sprintf("%s through %s while %s is down", c.Class, c.Entry, strings.Join(c.Down, " and "))
	}
	return fmt.Sprintf("%s through %s", c.Class, c.Entry)
}

func content(name string) (data []byte, created bool, err error) {
	data, err = os.ReadFile(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, true, nil
	case err != nil:
		return nil, false, exit.Errorf(exit.Usage, "read tests: %w", err)
	}
	return data, false, nil
}

// holds proves a proposal: with it the directory is as good as before, and has
// the old cases and the new one, which passes where it is said to stand.
func (o *Options) holds(s *session.Session, cmd *cobra.Command, l *session.Local, j session.Judged, file string, data []byte, line int) bool {
	files := maps.Clone(l.Set.Files)
	files[file] = data
	b, err := bundle.New(files)
	if err != nil {
		return false
	}
	after, err := s.Judge(cmd, b.FS(), l.Dir, j)
	if err != nil || !after.Good() {
		return false
	}
	before, now := policytest.Run(l.Set, l.Table), policytest.Run(after.Set, after.Table)
	if now.Passed != before.Passed+1 || now.Failed != before.Failed {
		return false
	}
	for _, c := range now.Cases {
		if c.File == file && c.Line == line {
			return c.Pass
		}
	}
	return false
}

// replace writes a file whole or not at all, through a link, with the mode that
// it had.
func replace(name string, data []byte) error {
	mode := os.FileMode(0o644)
	if real, err := filepath.EvalSymlinks(name); err == nil {
		name = real
	}
	if info, err := os.Stat(name); err == nil {
		mode = info.Mode().Perm()
	}
	if err := atomicfile.Write(name, data, mode); err != nil {
		return exit.Errorf(exit.Usage, "record in %s: %w", path.Base(filepath.ToSlash(name)), err)
	}
	return nil
}
