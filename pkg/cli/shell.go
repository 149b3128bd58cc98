package cli

import (
	"slices"

	"github.com/spf13/cobra"
)

// guard makes commands of other packages judge the global flags as ours do. They
// write text only.
func (a *app) guard(c *cobra.Command) {
	if body := c.RunE; body != nil {
		c.RunE = func(cmd *cobra.Command, args []string) error {
			if err := a.globals(cmd, []string{"text"}); err != nil {
				return err
			}
			return body(cmd, args)
		}
	}
	for _, sub := range c.Commands() {
		a.guard(sub)
	}
}

// cobraCommands replaces what the library would add by itself: its help and its
// completion end with 0 for words that they do not know.
func (a *app) cobraCommands(root *cobra.Command) {
	root.SetHelpCommand(&cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Help about a command or a topic",
		RunE: a.run(func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return unknownCommand(cmd, rest[0])
			}
			cmd.InitDefaultHelpFlag()
			return cmd.Help()
		}),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			cmd, _, err := root.Find(args)
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return names(cmd), cobra.ShellCompDirectiveNoFileComp
		},
	})
	root.InitDefaultCompletionCmd(a.Args...)
	i := slices.IndexFunc(root.Commands(), func(c *cobra.Command) bool { return c.Name() == "completion" })
	if i < 0 {
		return
	}
	completion := root.Commands()[i]
	a.guard(completion)
	for _, shell := range completion.Commands() {
		shell.Args = args()
	}
	completion.Args = cobra.ArbitraryArgs
	completion.RunE = a.run(func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknownCommand(cmd, args[0])
		}
		return cmd.Help()
	})
}

// names lists the commands and topics below a command.
func names(cmd *cobra.Command) []string {
	var out []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() || c.IsAdditionalHelpTopicCommand() && !c.Hidden {
			out = append(out, c.Name())
		}
	}
	return out
}

// complete tells shells the values of a flag.
func complete(cmd *cobra.Command, flag string, values func(*cobra.Command) []string) {
	err := cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return values(cmd), cobra.ShellCompDirectiveNoFileComp
	})
	if err != nil {
		panic(err) // the flag does not exist: a bug
	}
}

// directories completes directories, for a single argument DIR.
func directories(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveFilterDirs
}
