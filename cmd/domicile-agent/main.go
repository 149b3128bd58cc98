// Command domicile-agent runs the service beside the Envoys of one region; see
// package agent.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/domicile-dev/domicile/pkg/agent"
	"github.com/domicile-dev/domicile/pkg/directory/static"
	"github.com/domicile-dev/domicile/pkg/identity"
	"github.com/domicile-dev/domicile/pkg/version"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run returns the exit code: 0 stopped in order, 2 usage, 1 anything else.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	f := flag.NewFlagSet("domicile-agent", flag.ContinueOnError)
	f.SetOutput(io.Discard) // what is wrong is said below, once
	id := f.String("id", "", "node `REGION/agent/NAME` of this agent")
	socket := f.String("socket", "/run/domicile/agent.sock", "Unix socket on which Envoy asks (ext_authz, gRPC)")
	listen := f.String("listen", "127.0.0.1:8090", "`host:port` for health, identity, metrics and directory")
	directory := f.String("directory", "", "`file` of the static directory (keyed hash of the user id: home); none if empty")
	showVersion := f.Bool("version", false, "print the version")
	switch err := f.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintln(stdout, "domicile-agent answers the Envoys of one region and reports its health.\n\nFlags:")
		f.SetOutput(stdout)
		f.PrintDefaults()
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "domicile-agent:", err)
		return 2
	case f.NArg() > 0:
		fmt.Fprintf(stderr, "domicile-agent: unexpected argument %q\n", f.Arg(0))
		return 2
	case *showVersion:
		fmt.Fprintln(stdout, "domicile-agent", version.String())
		return 0
	}
	node, err := identity.ParseID(*id)
	if err != nil {
		fmt.Fprintln(stderr, "domicile-agent: --id:", err)
		return 2
	}
	log := slog.New(slog.NewJSONHandler(stderr, nil))
	cfg := agent.Config{ID: node, Socket: *socket, Listen: *listen, Version: version.String(), Log: log}
	if *directory != "" {
		cfg.Directory = static.Open(*directory)
	}
	if err := agent.Run(ctx, cfg); err != nil {
		log.Error("agent stopped", "error", err)
		return 1
	}
	return 0
}
