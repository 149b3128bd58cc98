package cli

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/domicile-dev/domicile/pkg/cli/exit"
	"github.com/domicile-dev/domicile/pkg/cli/remote"
	"github.com/domicile-dev/domicile/pkg/cli/session"
	"github.com/domicile-dev/domicile/pkg/cli/show"
	"github.com/domicile-dev/domicile/pkg/leakcheck"
)

type verified struct {
	session.Versioned
	Node     string              `json:"node"`
	Region   string              `json:"region"`
	Findings []leakcheck.Finding `json:"findings"`
	// What was judged, so that "no leak" in nothing cannot be mistaken for proof.
	Listeners int    `json:"listeners"`
	Clusters  int    `json:"clusters"`
	Policy    string `json:"policy"`
}

// mostDump bounds a configuration dump, in bytes.
const mostDump = 512 << 20

func (a *app) verifyCommand() *cobra.Command {
	var (
		j            session.Judged
		src          session.Source
		admin, where string
	)
	cmd := &cobra.Command{
		Use:   "verify --envoy ADMIN_URL --policies DIR",
		Short: "Prove that a live Envoy leaks nothing, or name each way out",
		Long: `Read the configuration that an Envoy runs now, whoever put it there, and prove that
no route in it reaches a place which the policy does not allow. What the proof does
not understand is a finding, and so is an endpoint that the policy does not know.

ADMIN_URL is Envoy's admin interface. The policy comes from --policies (default
./policies). A demo's stand-in addresses are taken from its directory (--dir) or
from --overlay. The region is that of the Envoy's node id, unless --region says it.`,
		Example: `  domicile verify --envoy http://127.0.0.1:9901 --policies policies
  domicile verify --envoy http://127.0.0.1:40123 --policies policies --dir /tmp/demo`,
		Args: session.Args(),
	}
	f := cmd.Flags()
	f.StringVar(&admin, "envoy", "", "URL of the Envoy's admin interface")
	f.StringVar(&where, "region", "", "region in which the Envoy runs (default: by its node id)")
	f.StringVar(&src.Dir, "dir", "", "directory of a demo, for its stand-in addresses")
	src.Flags(cmd, false)
	j.Flags(cmd)
	cmd.RunE = a.Run(func(cmd *cobra.Command, _ []string) error {
		u, err := url.Parse(admin)
		switch {
		case admin == "":
			return session.Usage(cmd, "--envoy is missing")
		case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
			return session.Usage(cmd, "--envoy %q is no URL such as http://127.0.0.1:9901", admin)
		}
		if src.Dir != "" {
			if j.Overlay != "" {
				return session.Usage(cmd, "--dir and --overlay exclude each other")
			}
			j.Overlay = filepath.Join(src.Dir, "overlay.json")
		}
		if src.Policies == "" {
			if _, err := os.Stat("policies"); err != nil {
				return session.Usage(cmd, "--policies is missing")
			}
			src.Policies = "policies"
		}
		l, err := a.Read(cmd, src.Policies, j)
		if err != nil {
			return err
		}
		if !l.Good() {
			return a.Refuse(l)
		}
		dump, err := fetchDump(cmd.Context(), u)
		if err != nil {
			return err
		}
		v, err := judgeDump(cmd, l, dump, where)
		if err != nil {
			return err
		}
		return a.verifyOutput(v)
	})
	return cmd
}

// fetchDump reads the whole configuration, endpoints included.
func fetchDump(ctx context.Context, admin *url.URL) ([]byte, error) {
	parent := ctx
	ctx, cancel := context.WithTimeout(ctx, remote.AskTime)
	defer cancel()
	u := admin.JoinPath("config_dump")
	u.RawQuery = "include_eds"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, exit.Errorf(exit.Usage, "%w", err)
	}
	res, err := (&http.Client{CheckRedirect: remote.NoRedirect}).Do(req)
	if err == nil {
		defer res.Body.Close()
		var data []byte
		if data, err = io.ReadAll(io.LimitReader(res.Body, mostDump+1)); err == nil {
			switch {
			case res.StatusCode != http.StatusOK:
				return nil, exit.Errorf(exit.Unreachable, "Envoy %s answered %s to config_dump", admin, res.Status)
			case len(data) > mostDump:
				return nil, exit.Errorf(exit.Findings, "Envoy %s: its configuration is larger than %d bytes and was not judged", admin, mostDump)
			}
			return data, nil
		}
	}
	if parent.Err() != nil {
		return nil, parent.Err()
	}
	return nil, exit.Errorf(exit.Unreachable, "Envoy %s is unreachable: %w", admin, remote.Cause(err))
}

func judgeDump(cmd *cobra.Command, l *session.Local, dump []byte, where string) (*verified, error) {
	cfg, node, err := leakcheck.FromConfigDump(dump)
	if err != nil {
		return nil, exit.Errorf(exit.Findings, "read configuration dump: %w", err)
	}
	if where == "" {
		if where, err = region(node); err != nil {
			return nil, session.Usage(cmd, "%v; say --region", err)
		}
	}
	v := &verified{
		Versioned: session.V1(), Node: node, Region: where, Policy: l.Table.Digest(),
		Findings:  leakcheck.Check(cfg, l.Table, l.Topology, where),
		Listeners: len(cfg.Listeners), Clusters: len(cfg.Clusters),
	}
	if v.Findings == nil {
		v.Findings = []leakcheck.Finding{}
	}
	if v.Listeners == 0 && len(v.Findings) == 0 {
		return nil, exit.Errorf(exit.Findings, "the Envoy has no listener: nothing was proved")
	}
	return v, nil
}

func (a *app) verifyOutput(v *verified) error {
	err := a.Emit(v, func(w io.Writer) {
		judged := fmt.Sprintf("%s and %s judged in %s, policy %s", show.Count(v.Listeners, "listener"),
			show.Count(v.Clusters, "cluster"), show.Line(v.Region), show.Digest(v.Policy))
		if len(v.Findings) == 0 {
			fmt.Fprintf(w, "No leak found: %s.\n", judged)
			return
		}
		fmt.Fprintf(w, "%s: %s.\n\n", show.Count(len(v.Findings), "finding"), judged)
		for _, f := range v.Findings {
			fmt.Fprintf(w, "%s: %s\n  --> %s\n", f.Code, show.Line(f.Message), show.Line(f.Where))
			for _, row := range []struct{ label, value string }{
				{"home", f.Home}, {"class", f.Class}, {"entry", f.Entry}, {"region", f.Region}, {"cluster", f.Cluster}, {"endpoint", f.Endpoint},
			} {
				if row.value != "" {
					fmt.Fprintf(w, "   %-9s %s\n", row.label, show.Line(row.value))
				}
			}
		}
	})
	if err == nil && len(v.Findings) > 0 {
		return exit.Silent(exit.Findings)
	}
	return err
}
