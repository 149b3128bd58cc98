// Package session is one run of the command line, as every command sees it: the
// global flags and the environment, the policy directory or the control plane
// that the command is about, and the forms in which it answers.
//
// A command of some size has a package of its own below pkg/cli, whose Command
// takes a *Session and returns a *cobra.Command with its body wrapped by Run. A
// Session is made per run and is not shared between goroutines.
package session

import (
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/domicile-dev/domicile/pkg/lang"
)

// Env is what a command gets from the process around it.
type Env struct {
	Args   []string // without the program's name
	Out    io.Writer
	Err    io.Writer
	Getenv func(string) string
	Now    func() time.Time
}

// Session holds the global flags and the environment of one run.
type Session struct {
	Env
	// Output is the form of the result: text, json, yaml, or one of the command's
	// own, see Forms.
	Output string
	lang   string
}

// forms is the annotation of a command under which Forms stands.
const forms = "domicile.dev/forms"

var everywhere = []string{"text", "json", "yaml"}

// Flags adds the global flags to the root command.
func (a *Session) Flags(root *cobra.Command) {
	f := root.PersistentFlags()
	f.StringVar(&a.Output, "output", "text", "form of the result: text, json or yaml")
	f.StringVar(&a.lang, "lang", "", "language of messages: en or zh-CN (default: as the environment asks, else en)")
	Complete(root, "output", known)
	Complete(root, "lang", func(*cobra.Command) []string {
		var out []string
		for _, l := range lang.All() {
			out = append(out, string(l))
		}
		return out
	})
}

// Forms declares the forms of a command's result besides text, json and yaml.
func Forms(cmd *cobra.Command, names ...string) {
	if cmd.Annotations == nil {
		cmd.Annotations = map[string]string{}
	}
	cmd.Annotations[forms] = strings.Join(names, " ")
}

// known lists the forms that a command knows.
func known(cmd *cobra.Command) []string {
	return slices.Concat(everywhere, strings.Fields(cmd.Annotations[forms]))
}

// Lang is the language in which people are spoken to: that of --lang, else of
// DOMICILE_LANG, LC_ALL, LC_MESSAGES or LANG.
func (a *Session) Lang() lang.Lang {
	if l, ok := lang.Parse(a.lang); ok {
		return l
	}
	return lang.Environment(a.Getenv)
}

// Run wraps a command's body: it judges the global flags first.
func (a *Session) Run(body func(*cobra.Command, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := a.globals(cmd, known(cmd)); err != nil {
			return err
		}
		return body(cmd, args)
	}
}

// globals judges the global flags of a command that knows these forms.
func (a *Session) globals(cmd *cobra.Command, known []string) error {
	if !slices.Contains(known, a.Output) {
		return Usage(cmd, "--output %q is not one of %s", a.Output, strings.Join(known, ", "))
	}
	if _, ok := lang.Parse(a.lang); a.lang != "" && !ok {
		return Usage(cmd, "--lang %q is not one of en, zh-CN", a.lang)
	}
	return nil
}
