package session

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/domicile-dev/domicile/pkg/cli/exit"
	"github.com/domicile-dev/domicile/pkg/policy/nearest"
)

// UsageError is a wrong command line.
type UsageError struct{ Command, message string }

// Error says what is wrong.
func (e *UsageError) Error() string { return e.message }

// ExitCode is exit.Usage.
func (e *UsageError) ExitCode() int { return exit.Usage }

// Usage makes a UsageError of a command.
func Usage(cmd *cobra.Command, format string, args ...any) error {
	return &UsageError{cmd.CommandPath(), fmt.Sprintf(format, args...)}
}

// UnknownCommand is the error for a word that is no command below cmd.
func UnknownCommand(cmd *cobra.Command, name string) error {
	return Usage(cmd, "unknown command %q%s", name, DidYouMean(name, Names(cmd), ""))
}

// FlagError adds a suggestion to what the flag parser says.
func FlagError(cmd *cobra.Command, err error) error {
	msg := err.Error()
	if name, ok := strings.CutPrefix(msg, "unknown flag: --"); ok {
		var known []string
		collect := func(f *pflag.Flag) {
			if !f.Hidden {
				known = append(known, f.Name)
			}
		}
		cmd.Flags().VisitAll(collect)
		cmd.InheritedFlags().VisitAll(collect)
		msg += DidYouMean(name, known, "--")
	}
	return Usage(cmd, "%s", msg)
}

// DidYouMean returns the nearest known word as a question, or nothing: one slip in
// a word of two letters makes another word, as QA is not SA.
func DidYouMean(word string, known []string, prefix string) string {
	best := nearest.Word(word, known)
	if best == "" || len(word) < 3 {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", prefix+best)
}

// Args accepts exactly these positional arguments, named for the message.
func Args(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, got []string) error {
		switch {
		case len(got) < len(names):
			return Usage(cmd, "%s is missing", names[len(got)])
		case len(got) > len(names):
			return Usage(cmd, "unexpected argument %q", got[len(names)])
		}
		return nil
	}
}
