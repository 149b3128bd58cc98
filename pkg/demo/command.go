package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/domicile-dev/domicile/pkg/demo/backend"
	"github.com/domicile-dev/domicile/pkg/demo/elsewhere"
	"github.com/domicile-dev/domicile/pkg/identity"
	"github.com/domicile-dev/domicile/pkg/store/etcd/embedded"
)

// Command is `domicile demo` with its subcommands.
func Command(show Show) *cobra.Command {
	o := Options{Show: show}
	var backends []string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run three regions on this machine",
		Long: `Starts etcd, the control plane and, for each region of the deployment, an Envoy
gateway, an Envoy sidecar, an agent and sample backends, as processes of their
own on loopback ports. Prints what to try, and runs until ctrl-C.

With --backend your own IM servers stand behind the gateways: the service of that
region is served by what listens there, and gets no sample backend. The demo
neither starts, checks nor stops it.`,
		Example: `  domicile demo
  domicile demo --policies my-policies --dir /tmp/d --ready-file /tmp/d.json
  domicile demo --policies my-policies --backend me-riyadh/message=127.0.0.1:5280 --backend tr-istanbul/message=127.0.0.1:5290`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.Backends, err = elsewhere.Parse(backends); err != nil {
				return &exitError{exitUsage, err}
			}
			// A terminal that goes away, or a reader of the tour that has seen
			// enough, must not leave files behind.
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
			defer stop()
			signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
			o.Out, o.Err = cmd.OutOrStdout(), cmd.ErrOrStderr()
			return Run(ctx, o)
		},
	}
	cmd.Flags().StringVar(&o.Dir, "dir", "", "`directory` for the demo's files (default: a temporary one)")
	cmd.Flags().StringVar(&o.ReadyFile, "ready-file", "", "`file` that appears when all is ready and says what runs, as JSON")
	cmd.Flags().StringVar(&o.Policies, "policies", "", "policy `directory` (default: the shipped one)")
	cmd.Flags().StringArrayVar(&backends, "backend", nil, "`REGION/SERVICE=HOST:PORT` of a server of your own, instead of a sample backend; may be repeated")
	cmd.AddCommand(tokenCommand(), certCommand())
	return cmd
}

func tokenCommand() *cobra.Command {
	var q TokenRequest
	var claims []string
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Print a token of the demo's issuer",
		Long: `Prints a token for a user and enters the user in the demo's directory. Without
--home the token has no home claim and the user is in no directory.`,
		Example: `  domicile demo token --user amal --home SA --dir /tmp/d
  domicile demo token --user amal --home SA --claim aud=other --claim exp:=1 --dir /tmp/d`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if q.Claims, err = parseClaims(claims); err != nil {
				return &exitError{exitUsage, err}
			}
			token, err := Token(cmd.Context(), q)
			if err == nil {
				fmt.Fprintln(cmd.OutOrStdout(), token)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&q.Dir, "dir", "", "`directory` of the demo")
	cmd.Flags().StringVar(&q.User, "user", "", "`user` id")
	cmd.Flags().StringVar(&q.Home, "home", "", "`home` jurisdiction, such as SA")
	cmd.Flags().StringArrayVar(&claims, "claim", nil, "`k=v`: a further claim, as a string; k:=v for JSON; may be repeated")
	cmd.Flags().DurationVar(&q.TTL, "ttl", time.Hour, "`duration` for which the token is good")
	require(cmd, "dir", "user")
	return cmd
}

func certCommand() *cobra.Command {
	var dir, node, out string
	cmd := &cobra.Command{
		Use:     "cert",
		Short:   "Write a certificate of a node of the demo",
		Long:    "Writes cert.pem, key.pem and ca.pem with which a client of that node id may speak xDS to the demo's control plane.",
		Example: "  domicile demo cert --node eu-frankfurt/gateway/test --out /tmp/cert --dir /tmp/d",
		Args:    noArgs,
		RunE:    func(*cobra.Command, []string) error { return Cert(dir, node, out) },
	}
	cmd.Flags().StringVar(&dir, "dir", "", "`directory` of the demo")
	cmd.Flags().StringVar(&node, "node", "", "node id, `REGION/ROLE/NAME`")
	cmd.Flags().StringVar(&out, "out", "", "`directory` to write to; made if missing")
	require(cmd, "dir", "node", "out")
	return cmd
}

// BackendCommand is the hidden command that runs one sample backend.
func BackendCommand() *cobra.Command {
	var cfg backend.Config
	var key string
	cmd := &cobra.Command{
		Use: "demo-backend", Hidden: true, Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			cfg.Log = slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), nil))
			if cfg.Key, err = identity.ReadHashKey(key); err != nil {
				return err
			}
			return backend.Run(cmd.Context(), cfg)
		},
	}
	cmd.Flags().StringVar(&cfg.Region, "region", "", "region that it says it is in")
	cmd.Flags().StringVar(&cfg.Listen, "listen", "", "`host:port`")
	cmd.Flags().StringVar(&cfg.Agent, "agent", "", "`URL` of the region's agent")
	cmd.Flags().StringVar(&cfg.Egress, "egress", "", "`URL` of the region's egress")
	cmd.Flags().StringVar(&key, "key", "", "`file` with the directory's key")
	require(cmd, "region", "listen", "key")
	return cmd
}

// EtcdCommand is the hidden command that runs the demo's etcd.
func EtcdCommand() *cobra.Command {
	var cfg embedded.Config
	cmd := &cobra.Command{
		Use: "demo-etcd", Hidden: true, Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return serveEtcd(cmd.Context(), cfg) },
	}
	cmd.Flags().StringVar(&cfg.Dir, "data", "", "`directory` for the data")
	cmd.Flags().StringVar(&cfg.ClientURL, "client", "", "`URL` for clients")
	cmd.Flags().StringVar(&cfg.PeerURL, "peer", "", "`URL` for peers")
	require(cmd, "data", "client", "peer")
	return cmd
}

func serveEtcd(ctx context.Context, cfg embedded.Config) error {
	s, err := embedded.Start(ctx, cfg)
	if err != nil {
		return err
	}
	defer s.Close()
	select {
	case <-ctx.Done():
		return nil
	case <-s.Done():
		return fmt.Errorf("etcd has stopped: %w", errors.Join(s.Err()))
	}
}

// parseClaims reads k=v as a string and k:=v as JSON.
func parseClaims(list []string) (map[string]any, error) {
	out := map[string]any{}
	for _, s := range list {
		k, v, ok := strings.Cut(s, "=")
		if !ok || strings.TrimSuffix(k, ":") == "" {
			return nil, fmt.Errorf("--claim %q: write k=v", s)
		}
		name, isJSON := strings.CutSuffix(k, ":")
		if !isJSON {
			out[name] = v
			continue
		}
		var value any
		if err := json.Unmarshal([]byte(v), &value); err != nil {
			return nil, fmt.Errorf("--claim %q: the value is not JSON", s)
		}
		out[name] = value
	}
	return out, nil
}

// noArgs refuses positional arguments as a usage error.
func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return &exitError{exitUsage, fmt.Errorf("unexpected argument %q", args[0])}
	}
	return nil
}

// require makes flags required as a usage error: cobra's own has no exit code.
func require(cmd *cobra.Command, names ...string) {
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		for _, name := range names {
			if cmd.Flags().Lookup(name).Value.String() == "" {
				return &exitError{exitUsage, fmt.Errorf("--%s is required", name)}
			}
		}
		return nil
	}
}
