// Command domicile-agent runs the service beside the Envoys of one region; see
// package agent.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/domicile-dev/domicile/pkg/agent"
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
	o, err := parseOptions(args, stdout)
	switch {
	case errors.Is(err, errHelp):
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "domicile-agent:", err)
		return 2
	case o.version:
		fmt.Fprintln(stdout, "domicile-agent", version.String())
		return 0
	}
	log := slog.New(slog.NewJSONHandler(stderr, nil))
	cfg, err := o.wire(log)
	if err == nil {
		err = agent.Run(ctx, *cfg)
	}
	if err != nil {
		log.Error("agent stopped", "error", err)
		return 1
	}
	return 0
}
