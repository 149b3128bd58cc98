// Package schema is the command "schema": the JSON Schemas of policy files, for
// editors.
package schema

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/domicile-dev/domicile/pkg/atomicfile"
	"github.com/domicile-dev/domicile/pkg/cli/exit"
	"github.com/domicile-dev/domicile/pkg/cli/session"
	"github.com/domicile-dev/domicile/pkg/policy/schema"
)

// Command is the command "schema".
func Command(s *session.Session) *cobra.Command {
	var dir string
	kinds := schema.Kinds()
	cmd := &cobra.Command{
		Use:   "schema KIND | schema --out DIR",
		Short: "Print the JSON Schema of policy files, for editors",
		Long: `Print the JSON Schema (draft-07) of a kind of policy file, or write all of them into
a directory. Editors complete fields with it, explain them in English and Chinese,
and underline what is wrong while it is typed. In a repository of your own write
them beside the policies, so that they work without a network:

  domicile schema --out policies/schema

The first line of a policy file names its schema, as in
  ` + schema.Modeline("jurisdictions/sa.yaml", "Jurisdiction") + `

KIND is one of ` + strings.Join(kinds, ", ") + `.`,
		Example: `  domicile schema jurisdiction
  domicile schema --out policies/schema`,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return kinds, cobra.ShellCompDirectiveNoFileComp
		},
		Args: cobra.ArbitraryArgs,
	}
	cmd.Flags().StringVar(&dir, "out", "", "directory to write all schemas to; it is made if need be")
	cmd.RunE = s.Run(func(cmd *cobra.Command, args []string) error {
		all, err := schema.All()
		if err != nil {
			return exit.Errorf(exit.Bug, "%w", err)
		}
		switch {
		case dir != "" && len(args) == 0:
			return write(dir, all)
		case dir != "" || len(args) != 1:
			return session.Usage(cmd, "name one kind, or --out DIR; the kinds are %s", strings.Join(kinds, ", "))
		case all[args[0]+".json"] == nil:
			return session.Usage(cmd, "unknown kind %q%s", args[0], session.DidYouMean(args[0], kinds, ""))
		}
		_, err = s.Out.Write(all[args[0]+".json"])
		return err
	})
	return cmd
}

func write(dir string, all map[string][]byte) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return exit.Errorf(exit.Usage, "make directory: %w", err)
	}
	for name, data := range all {
		if err := atomicfile.Write(filepath.Join(dir, name), data, 0o644); err != nil {
			return exit.Errorf(exit.Usage, "write schemas: %w", err)
		}
	}
	return nil
}
