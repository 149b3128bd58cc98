package cli

import (
	"slices"

	"github.com/spf13/cobra"

	"github.com/domicile-dev/domicile/pkg/cli/session"
)

// cobraCommands replaces what the library would add by itself: its help and its
// completion end with 0 for words that they do not know.
func (a *app) cobraCommands(root *cobra.Command) {
	root.SetHelpCommand(&cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Help about a command or a topic",
		RunE: a.Run(func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return session.UnknownCommand(cmd, rest[0])
			}
			cmd.InitDefaultHelpFlag()
			return cmd.Help()
		}),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			cmd, _, err := root.Find(args)
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return session.Names(cmd), cobra.ShellCompDirectiveNoFileComp
		},
	})
	root.InitDefaultCompletionCmd(a.Args...)
	i := slices.IndexFunc(root.Commands(), func(c *cobra.Command) bool { return c.Name() == "completion" })
	if i < 0 {
		return
	}
	completion := root.Commands()[i]
	a.Guard(completion)
	for _, shell := range completion.Commands() {
		shell.Args = session.Args()
	}
	completion.Args = cobra.ArbitraryArgs
	completion.RunE = a.Run(func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return session.UnknownCommand(cmd, args[0])
		}
		return cmd.Help()
	})
}
