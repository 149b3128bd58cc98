package cli

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/domicile-dev/domicile/pkg/cli/session"
	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/version"
)

type versionResult struct {
	session.Versioned
	Version     string `json:"version"`
	Go          string `json:"go"`
	Platform    string `json:"platform"`
	TableFormat int    `json:"tableFormat"`
	// EnvoyAPI is the version of the Envoy API that configurations are made with.
	EnvoyAPI string `json:"envoyAPI"`
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Long: `Print the version of this command, the format of the residency tables that it
compiles (it is part of their digest) and the Envoy that it makes configuration for.`,
		Example: `  domicile version
  domicile version --output json`,
		Args: session.Args(),
		RunE: a.Run(func(*cobra.Command, []string) error {
			v := versionResult{
				Versioned: session.V1(), Version: version.String(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
				TableFormat: residency.Format, EnvoyAPI: moduleVersion("github.com/envoyproxy/go-control-plane/envoy"),
			}
			return a.Emit(v, func(w io.Writer) {
				fmt.Fprintf(w, "domicile %s\n  table format  %d\n  Envoy API     %s\n  built with    %s for %s\n",
					v.Version, v.TableFormat, v.EnvoyAPI, v.Go, v.Platform)
			})
		}),
	}
}

// moduleVersion is the version of a module that this program was built with.
func moduleVersion(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, m := range info.Deps {
		if m.Path == path {
			return m.Version
		}
	}
	return "unknown"
}
