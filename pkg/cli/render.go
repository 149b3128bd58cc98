package cli

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/domicile-dev/domicile/pkg/cli/exit"
	"github.com/domicile-dev/domicile/pkg/cli/session"
	"github.com/domicile-dev/domicile/pkg/envoy"
	"github.com/domicile-dev/domicile/pkg/identity"
)

type rendered struct {
	session.Versioned
	Node       string            `json:"node"`
	Table      string            `json:"table"`
	Listeners  []json.RawMessage `json:"listeners"`
	Clusters   []json.RawMessage `json:"clusters"`
	Routes     []json.RawMessage `json:"routes"`
	Extensions []json.RawMessage `json:"extensions"`
}

func (a *app) renderCommand() *cobra.Command {
	var (
		j         session.Judged
		node      string
		bootstrap bool
		spec      envoy.BootstrapSpec
	)
	cmd := &cobra.Command{
		Use:   "render DIR --node REGION/ROLE",
		Short: "Print the Envoy configuration that a policy directory becomes",
		Long: `Print the xDS resources of one Envoy as JSON: exactly what the control plane
would send it, after the same checks. Roles are gateway, sidecar and peer.

With --bootstrap it prints one static file instead, with which an Envoy runs this
policy without any control plane: envoy -c FILE. Name its certificates with the
--node-cert, --node-key, --ca, --public-cert and --public-key flags; the paths are
written into the file. Without them the file holds throw-away certificates, keys
included, which no other Envoy trusts: good for a look, not for service.`,
		Example: `  domicile render policies --node eu-frankfurt/gateway
  domicile render policies --node eu-frankfurt/gateway --bootstrap \
    --node-cert cert.pem --node-key key.pem --ca ca.pem >envoy.json`,
		Args: session.Args("DIR"), ValidArgsFunction: session.Directories,
	}
	j.Flags(cmd)
	f := cmd.Flags()
	f.StringVar(&node, "node", "", "REGION/ROLE, such as eu-frankfurt/gateway")
	f.BoolVar(&bootstrap, "bootstrap", false, "print a static file that starts an Envoy")
	f.StringVar(&spec.Admin, "admin", "127.0.0.1:9901", "host:port of Envoy's admin interface, with --bootstrap")
	f.StringVar(&spec.Node.Certificate.File, "node-cert", "", "certificate of this Envoy, with --bootstrap")
	f.StringVar(&spec.Node.Key.File, "node-key", "", "its key")
	f.StringVar(&spec.CA.File, "ca", "", "who may have signed a peer's certificate")
	f.StringVar(&spec.Public.Certificate.File, "public-cert", "", "certificate that users see (default: --node-cert)")
	f.StringVar(&spec.Public.Key.File, "public-key", "", "its key (default: --node-key)")
	cmd.RunE = a.Run(func(cmd *cobra.Command, args []string) error {
		n, err := nodeOf(cmd, node)
		if err != nil {
			return err
		}
		l, err := a.Read(cmd, args[0], j)
		if err != nil {
			return err
		}
		if !l.Good() {
			return a.Refuse(l)
		}
		res := l.Nodes[n]
		if res == nil {
			var known []string
			for k := range l.Nodes {
				known = append(known, k.String())
			}
			return session.Usage(cmd, "the deployment has no node %q%s", node, session.DidYouMean(node, known, ""))
		}
		if bootstrap {
			spec.Cluster, spec.TrustDomain = n.Role, l.Topology.TrustDomain
			if err := a.certificates(cmd, &spec, identity.ID{Region: n.Region, Role: n.Role, Name: "static"}); err != nil {
				return err
			}
			return a.printBootstrap(spec, res)
		}
		return a.printResources(l, n, res)
	})
	return cmd
}

// certificates completes the bootstrap: what was named, or throw-away ones.
func (a *app) certificates(cmd *cobra.Command, spec *envoy.BootstrapSpec, id identity.ID) error {
	spec.ID = id.String()
	named := 0
	for _, f := range []string{spec.Node.Certificate.File, spec.Node.Key.File, spec.CA.File} {
		if f != "" {
			named++
		}
	}
	switch {
	case named != 0 && named != 3:
		return session.Usage(cmd, "--node-cert, --node-key and --ca go together")
	case (spec.Public.Certificate.File == "") != (spec.Public.Key.File == ""):
		return session.Usage(cmd, "--public-cert and --public-key go together")
	case named == 0:
		authority, err := identity.NewAuthority(spec.TrustDomain)
		if err != nil {
			return exit.Errorf(exit.Findings, "make certificates: %w", err)
		}
		pem, err := authority.Issue(id, identity.Options{DNS: []string{"localhost"}})
		if err != nil {
			return exit.Errorf(exit.Findings, "make certificates: %w", err)
		}
		spec.Node = envoy.KeyPair{Certificate: envoy.PEM{Inline: string(pem.Cert)}, Key: envoy.PEM{Inline: string(pem.Key)}}
		spec.CA = envoy.PEM{Inline: string(pem.CA)}
		fmt.Fprintln(a.Err, "note: no certificates were named, so the file holds throw-away ones that no other Envoy trusts")
	}
	if spec.Public.Certificate.File == "" {
		spec.Public = spec.Node
	}
	return nil
}

func nodeOf(cmd *cobra.Command, s string) (envoy.Node, error) {
	region, role, ok := strings.Cut(s, "/")
	if !ok || region == "" || role == "" {
		if s == "" {
			return envoy.Node{}, session.Usage(cmd, "--node is missing")
		}
		return envoy.Node{}, session.Usage(cmd, "--node %q is not REGION/ROLE, such as eu-frankfurt/gateway", s)
	}
	return envoy.Node{Region: region, Role: role}, nil
}

// printBootstrap writes the file as it is, whatever the form: Envoy reads it.
func (a *app) printBootstrap(spec envoy.BootstrapSpec, res *envoy.Resources) error {
	data, err := envoy.StaticBootstrap(spec, res)
	if err != nil {
		return exit.Errorf(exit.Usage, "render bootstrap: %w", err)
	}
	_, err = a.Out.Write(data)
	return err
}

// printResources writes JSON for text too: the configuration has no other form.
func (a *app) printResources(l *session.Local, n envoy.Node, res *envoy.Resources) error {
	r := rendered{Versioned: session.V1(), Node: n.String(), Table: l.Table.Digest()}
	var err error
	if r.Listeners, err = messages(res.Listeners); err != nil {
		return err
	}
	if r.Clusters, err = messages(res.Clusters); err != nil {
		return err
	}
	if r.Routes, err = messages(res.Routes); err != nil {
		return err
	}
	if r.Extensions, err = messages(res.Extensions); err != nil {
		return err
	}
	if a.Output == "text" {
		a.Output = "json"
	}
	return a.Emit(r, nil)
}

func messages[T proto.Message](list []T) ([]json.RawMessage, error) {
	out := []json.RawMessage{}
	for _, m := range list {
		data, err := envoy.JSON(m)
		if err != nil {
			return nil, exit.Errorf(exit.Bug, "render: %w", err)
		}
		out = append(out, data)
	}
	return out, nil
}

// region is the first part of REGION/ROLE/NAME.
func region(id string) (string, error) {
	r, _, ok := strings.Cut(id, "/")
	if !ok || r == "" {
		return "", fmt.Errorf("node id %q is not REGION/ROLE/NAME", id)
	}
	return r, nil
}
