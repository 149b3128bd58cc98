// Package cli is the command that people type. Offline commands (lint, test,
// render, explain, verify) run the code that the control plane runs, on files;
// the others talk to a running deployment's API.
//
// Results go to stdout, progress and errors to stderr. Machine output (--output
// json or yaml) carries session.FormatVersion: fields are added, never renamed or
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
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/domicile-dev/domicile/pkg/cli/change"
	"github.com/domicile-dev/domicile/pkg/cli/compare"
	"github.com/domicile-dev/domicile/pkg/cli/exit"
	"github.com/domicile-dev/domicile/pkg/cli/explaincode"
	"github.com/domicile-dev/domicile/pkg/cli/home"
	"github.com/domicile-dev/domicile/pkg/cli/initialize"
	"github.com/domicile-dev/domicile/pkg/cli/inspect"
	"github.com/domicile-dev/domicile/pkg/cli/layout"
	"github.com/domicile-dev/domicile/pkg/cli/schema"
	"github.com/domicile-dev/domicile/pkg/cli/session"
	"github.com/domicile-dev/domicile/pkg/cli/show"
	"github.com/domicile-dev/domicile/pkg/cli/sign"
	"github.com/domicile-dev/domicile/pkg/cli/user"
	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/version"
)

// app is the command tree of one run.
type app struct{ *session.Session }

// Main runs the command line of this process and returns its exit code. More
// are further top-level commands.
func Main(more ...*cobra.Command) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return Run(ctx, session.Env{Args: os.Args[1:], Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv, Now: time.Now}, more...)
}

// Run runs one command line and returns its exit code.
func Run(ctx context.Context, env session.Env, more ...*cobra.Command) (code int) {
	defer func() {
		if v := recover(); v != nil {
			fmt.Fprintf(env.Err, "domicile %s: this is a bug: %v\n%s\nnext: report it with the command you typed and the lines above\n", version.String(), v, debug.Stack())
			code = exit.Bug
		}
	}()
	a := &app{&session.Session{Env: env}}
	root := a.root()
	for _, c := range more {
		a.Guard(c)
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
		fmt.Fprintln(env.Err, lang.T("error: %s", show.Clean(err.Error())).In(a.Lang()))
		var u *session.UsageError
		if errors.As(err, &u) {
			fmt.Fprintln(env.Err, lang.T("next: %s --help", u.Command).In(a.Lang()))
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

Start with "domicile demo", or with "domicile init DIR" for policies of your own.`,
		Example: `  domicile lint policies
  domicile test policies
  domicile explain --home SA --class message --entry eu-frankfurt
  domicile apply policies --control https://control.example.com:8443`,
		Args:          cobra.ArbitraryArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return session.UnknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	a.Flags(root)
	root.RunE = a.Run(root.RunE)
	root.SetFlagErrorFunc(session.FlagError)
	root.AddCommand(
		initialize.Command(a.Session), a.lintCommand(), a.testCommand(), a.renderCommand(), a.explainCommand(), explaincode.Command(a.Session), a.verifyCommand(),
		a.statusCommand(), a.checkCommand(), home.Command(a.Session), inspect.Command(a.Session), user.Command(a.Session), layout.Command(a.Session), schema.Command(a.Session),
		compare.PlanCommand(a.Session), compare.BreakingCommand(a.Session), sign.KeysCommand(a.Session), sign.ApproveCommand(a.Session),
		a.versionCommand(), exitCodesTopic(),
	)
	root.AddCommand(change.Commands(a.Session, change.Output{Lint: a.lintOutput, Test: a.testOutput})...)
	return root
}

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
