// Package cli is the command that people type. Offline commands (lint, test,
// render, explain, verify) run the code that the control plane runs, on files;
// the others talk to a running deployment's API.
//
// Results go to stdout, progress and errors to stderr. Machine output (--output
// json or yaml) carries formatVersion: fields are added, never renamed or
// removed, within one major version. Exit codes are a contract, see Code.
//
// Text that comes from policy files or servers is printed without its control
// characters, so that a file cannot drive the reader's terminal. Nothing here
// phones home: offline commands open no connection but those they are told of.
//
// A command tree is built per call of Run and is not shared between goroutines.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/domicile-dev/domicile/pkg/cli/exit"
	"github.com/domicile-dev/domicile/pkg/cli/show"
	"github.com/domicile-dev/domicile/pkg/version"
)

// Env is what a command gets from the process around it.
type Env struct {
	Args   []string // without the program's name
	Out    io.Writer
	Err    io.Writer
	Getenv func(string) string
	Now    func() time.Time
}

// app holds the global flags and the environment of one run.
type app struct {
	Env
	output string
	lang   string
}

// Main runs the command line of this process and returns its exit code. More
// are further top-level commands.
func Main(more ...*cobra.Command) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return Run(ctx, Env{Args: os.Args[1:], Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv, Now: time.Now}, more...)
}

// Run runs one command line and returns its exit code.
func Run(ctx context.Context, env Env, more ...*cobra.Command) (code int) {
	defer func() {
		if v := recover(); v != nil {
			fmt.Fprintf(env.Err, "domicile %s: this is a bug: %v\n%s\nnext: report it with the command you typed and the lines above\n", version.String(), v, debug.Stack())
			code = exit.Bug
		}
	}()
	a := &app{Env: env}
	root := a.root()
	for _, c := range more {
		a.guard(c)
	}
	root.AddCommand(more...)
	a.cobraCommands(root)
	root.SetArgs(env.Args)
	root.SetOut(env.Out)
	root.SetErr(env.Err)
	err := root.ExecuteContext(ctx)
	code = exit.Code(err)
	if err != nil && ctx.Err() != nil {
		code = exit.Interrupted
	}
	var quiet exit.Silent
	if err != nil && !errors.As(err, &quiet) {
		fmt.Fprintf(env.Err, "error: %s\n", show.Clean(err.Error()))
		var u *usageError
		if errors.As(err, &u) {
			fmt.Fprintf(env.Err, "next: %s --help\n", u.command)
		}
	}
	return code
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "domicile",
		Short: "Keeps every user's data at its legal home",
		Long: `Domicile keeps every user's data at its legal home: it is a control plane for
Envoy that pins each user's traffic to the regions that the policy of the user's
home jurisdiction allows. This command checks and explains policies, offline,
and runs a deployment.

Start with "domicile demo", or with "domicile lint policies".`,
		Example: `  domicile lint policies
  domicile test policies
  domicile explain --home SA --class message --entry eu-frankfurt
  domicile apply policies --control https://control.example.com:8443`,
		Args:          cobra.ArbitraryArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	root.PersistentFlags().StringVar(&a.output, "output", "text", "form of the result: text, json or yaml")
	root.PersistentFlags().StringVar(&a.lang, "lang", "", "language of messages: en (zh-CN is not translated yet)")
	complete(root, "output", func(cmd *cobra.Command) []string {
		return slices.Concat([]string{"text", "json", "yaml"}, forms[cmd.Name()])
	})
	complete(root, "lang", func(*cobra.Command) []string { return []string{"en", "zh-CN"} })
	root.RunE = a.run(root.RunE)
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(
		a.lintCommand(), a.testCommand(), a.renderCommand(), a.explainCommand(), a.verifyCommand(),
		a.applyCommand(), a.historyCommand(), a.rollbackCommand(), a.statusCommand(), a.checkCommand(),
		a.versionCommand(), exitCodesTopic(),
	)
	return root
}

// forms are those of a command's result besides text, json and yaml.
var forms = map[string][]string{"lint": {"sarif", "github", "junit"}, "test": {"junit"}}

// run wraps a command's body: it judges the global flags first.
func (a *app) run(body func(*cobra.Command, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := a.globals(cmd, slices.Concat([]string{"text", "json", "yaml"}, forms[cmd.Name()])); err != nil {
			return err
		}
		return body(cmd, args)
	}
}

// globals judges the global flags of a command that knows these forms.
func (a *app) globals(cmd *cobra.Command, known []string) error {
	if !slices.Contains(known, a.output) {
		return usage(cmd, "--output %q is not one of %s", a.output, strings.Join(known, ", "))
	}
	switch a.lang {
	case "", "en":
	case "zh-CN":
		fmt.Fprintln(a.Err, "note: messages are not translated into zh-CN yet; they stay in English")
	default:
		return usage(cmd, "--lang %q is not one of en, zh-CN", a.lang)
	}
	return nil
}

// args accepts exactly these positional arguments, named for the message.
func args(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, got []string) error {
		switch {
		case len(got) < len(names):
			return usage(cmd, "%s is missing", names[len(got)])
		case len(got) > len(names):
			return usage(cmd, "unexpected argument %q", got[len(names)])
		}
		return nil
	}
}
