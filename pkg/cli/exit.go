package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// The exit codes of every command.
const (
	CodeDone        = 0   // done, nothing found
	CodeFindings    = 1   // something is wrong: in a file, a test, a live Envoy, the deployment
	CodeUsage       = 2   // a wrong command line, or a path that cannot be opened
	CodeChanges     = 3   // changes are present, where a flag asks for this code
	CodeUnreachable = 4   // the control plane, the store or an Envoy does not answer
	CodeForbidden   = 5   // not permitted
	CodeStale       = 6   // somebody else changed the policy meanwhile
	CodeBug         = 70  // a bug in Domicile
	CodeInterrupted = 130 // interrupted
)

func exitCodesTopic() *cobra.Command {
	return &cobra.Command{
		Use:   "exit-codes",
		Short: "What the exit codes mean",
		Long: `Exit codes of every command:
    0  done, nothing found
    1  something is wrong: in a file, a test, a live Envoy, the deployment
    2  a wrong command line, or a path that cannot be opened
    3  changes are present, where a flag asks for this code
    4  the control plane, the policy store or an Envoy does not answer
    5  not permitted
    6  somebody else changed the policy meanwhile
   70  a bug in Domicile
  130  interrupted`,
	}
}

// coded is an error with its exit code.
type coded struct {
	code int
	err  error
}

func (e *coded) Error() string { return e.err.Error() }
func (e *coded) Unwrap() error { return e.err }

func withCode(code int, format string, args ...any) error {
	return &coded{code, fmt.Errorf(format, args...)}
}

// silent is the error of a command that has already said what is wrong.
type silent struct{ code int }

func (e *silent) Error() string { return fmt.Sprintf("exit %d", e.code) }

// usageError is a wrong command line.
type usageError struct{ command, message string }

func (e *usageError) Error() string { return e.message }

func usage(cmd *cobra.Command, format string, args ...any) error {
	return &usageError{cmd.CommandPath(), fmt.Sprintf(format, args...)}
}

// codeOf maps an error to an exit code. An error that says nothing of a code,
// such as a demo that could not start, is a finding.
func codeOf(err error) int {
	var (
		c *coded
		s *silent
		u *usageError
		x interface{ ExitCode() int } // of commands from other packages
	)
	switch {
	case err == nil:
		return CodeDone
	case errors.As(err, &c):
		return c.code
	case errors.As(err, &s):
		return s.code
	case errors.As(err, &u):
		return CodeUsage
	case errors.As(err, &x):
		return x.ExitCode()
	}
	return CodeFindings
}

func unknownCommand(cmd *cobra.Command, name string) error {
	var known []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			known = append(known, c.Name())
		}
	}
	return usage(cmd, "unknown command %q%s", name, didYouMean(name, known, ""))
}

// flagError adds a suggestion to what the flag parser says.
func flagError(cmd *cobra.Command, err error) error {
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
		msg += didYouMean(name, known, "--")
	}
	return usage(cmd, "%s", msg)
}

// didYouMean returns the nearest known word as a question, or nothing.
func didYouMean(word string, known []string, prefix string) string {
	best, distance := "", 3 // more than two slips is another word
	for _, k := range known {
		if d := levenshtein.Distance(word, k, nil); d < distance && d < len(k) {
			best, distance = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", prefix+best)
}
