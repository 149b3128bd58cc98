package cli

import (
	"fmt"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/domicile-dev/domicile/pkg/cli/exit"
)

func exitCodesTopic() *cobra.Command {
	return &cobra.Command{
		Use:   "exit-codes",
		Short: "What the exit codes mean",
		Long: `Exit codes of every command:
    0  done, nothing found
    1  something is wrong: in a file, a test, a live Envoy, the deployment; or a
       change was made and a proxy does not run it within --wait
    2  a wrong command line, or a path that cannot be opened
    3  changes are present, where a flag asks for this code
    4  the control plane, the policy store or an Envoy does not answer
    5  not permitted
    6  somebody else changed the policy meanwhile
   70  a bug in Domicile
  130  interrupted`,
	}
}

// usageError is a wrong command line.
type usageError struct{ command, message string }

func (e *usageError) Error() string { return e.message }
func (e *usageError) ExitCode() int { return exit.Usage }

func usage(cmd *cobra.Command, format string, args ...any) error {
	return &usageError{cmd.CommandPath(), fmt.Sprintf(format, args...)}
}

func unknownCommand(cmd *cobra.Command, name string) error {
	return usage(cmd, "unknown command %q%s", name, didYouMean(name, names(cmd), ""))
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
	best, distance := "", min(len(word)/3, 2)+1 // more slips make another word, as QA is not SA
	for _, k := range known {
		if d := levenshtein.Distance(word, k, nil); d < distance {
			best, distance = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", prefix+best)
}
