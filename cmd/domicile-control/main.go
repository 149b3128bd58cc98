// Domicile-control is the control plane: it follows the policies in etcd,
// compiles and checks them, and gives each Envoy its configuration over mTLS.
//
// It holds no personal data. It starts while etcd is down and keeps trying;
// when etcd is lost later it keeps what it has. SIGTERM and SIGINT end it within
// five seconds; the Envoys keep what they run. Exit codes: 0 done, 2 usage or a
// file that cannot be read, 70 anything else.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/domicile-dev/domicile/pkg/version"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the whole program but the process around it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parseOptions(args, stdout)
	switch {
	case errors.Is(err, errHelp):
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "domicile-control: %v\n", err)
		return 2
	case o.version:
		fmt.Fprintln(stdout, "domicile-control", version.String())
		return 0
	}
	p, err := start(o, stderr)
	if err != nil {
		fmt.Fprintf(stderr, "domicile-control: %v\n", err)
		return 2
	}
	if err := p.run(ctx); err != nil {
		p.log.Error("stopped", "error", err)
		return 70
	}
	return 0
}
