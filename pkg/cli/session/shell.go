package session

import "github.com/spf13/cobra"

// Guard makes commands of other packages judge the global flags as ours do. They
// write text only.
func (a *Session) Guard(c *cobra.Command) {
	if body := c.RunE; body != nil {
		c.RunE = func(cmd *cobra.Command, args []string) error {
			if err := a.globals(cmd, []string{"text"}); err != nil {
				return err
			}
			return body(cmd, args)
		}
	}
	for _, sub := range c.Commands() {
		a.Guard(sub)
	}
}

// Names lists the commands and topics below a command.
func Names(cmd *cobra.Command) []string {
	var out []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() || c.IsAdditionalHelpTopicCommand() && !c.Hidden {
			out = append(out, c.Name())
		}
	}
	return out
}

// Complete tells shells the values of a flag.
func Complete(cmd *cobra.Command, flag string, values func(*cobra.Command) []string) {
	err := cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return values(cmd), cobra.ShellCompDirectiveNoFileComp
	})
	if err != nil {
		panic(err) // the flag does not exist: a bug
	}
}

// Directories completes Directories, for a single argument DIR.
func Directories(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveFilterDirs
}
