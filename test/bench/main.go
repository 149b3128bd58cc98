// Command bench measures Domicile against what stands beside it in the same run
// and prints the ratios of the project's goals, rows P1 to P7, P16 and
// P17: `make bench`, or `go run ./test/bench --rows P1,P7`.
//
// # Method
//
// A figure is a ratio inside one run. All sides of a comparison are measured in
// every round, one after another, in an order that moves on by one each round;
// the ratio is taken per round, and the median, the least and the greatest ratio
// are printed with the versions of everything that took part. The median is
// judged against the goal. Any answer but 200 ends the run with exit code 1.
//
// P1 to P6 run one Envoy with one worker on the product's own
// translation. In the same Envoy stand the rivals: a bare listener (the
// gateway's connection manager with all its hardening, router only, one static
// route to the same cluster), a call-out to a Go gRPC server over a Unix socket,
// and a Lua map. The rivals get the product's own token filter with its cache
// and need know nothing but a map from home to region: no issuer, no class, no
// header scrubbing, no reasons. HAProxy verifies each token itself. All of that
// favours the rivals. In one thing the gateway has less to do: it strips the
// token at the last hop as it always does, the rivals forward it.
//
// Client and backend are processes of their own on the same cores as Envoy, so
// requests a second say something about Envoy only while Envoy is the
// bottleneck; "busy" tells. CPU time of the proxy for one request, which the
// kernel counts and the neighbours disturb less, is the second ratio; the
// call-out server's time counts as the proxy's.
//
// P2 is an Envoy of its own, as P5: opaque tokens, a pin beside each, and no agent.
//
// P4 asks at half of the rate that saturates the slower side, whether answers are
// in or not, and takes the difference of the quantiles of both sides, per round.
//
// P7 runs the demo. The commit is the moment at which an etcd watch of our own
// reports it, so the delivery of that watch, under a millisecond on an idle
// machine, is not in the figure. The gateway is asked about once a millisecond;
// nothing finer can be seen.
//
// # Limits
//
// One machine, loopback, plain HTTP/1.1, tiny answers: the ratios say what a
// decision costs, not what a site will serve. P5's two tables are in two
// processes, whose memory lies differently; a per cent either way is not
// significant. On a machine that others use, spread replaces truth: look at it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/domicile-dev/domicile/test/bench/figures"
	"github.com/domicile-dev/domicile/test/bench/load"
	"github.com/domicile-dev/domicile/test/bench/site"
)

// options are what the flags say.
type options struct {
	rows    []string
	rounds  int
	seconds time.Duration // of one measurement
	tokens  int           // users, one token each
	changes int           // of P7
	output  string
}

// allRows are the rows that can be measured, in the order in which they are.
var allRows = []string{"P1", "P2", "P3", "P4", "P5", "P6", "P7", "P16", "P17"}

func main() {
	if len(os.Args) > 1 {
		if child, ok := children[os.Args[1]]; ok {
			exit(child(os.Args[2:]))
		}
	}
	o, err := parseFlags(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(0)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	exit(run(ctx, o, os.Stdout))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func parseFlags(args []string, out io.Writer) (options, error) {
	o := options{}
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.SetOutput(out)
	rows := fs.String("rows", strings.Join(allRows, ","), "which `rows` of the goals to measure")
	fs.IntVar(&o.rounds, "rounds", 5, "how many `rounds` in which every side is measured once")
	seconds := fs.Float64("seconds", 2, "how many `seconds` one measurement takes")
	fs.IntVar(&o.tokens, "users", 20_000, "how many `users`, each with a token of its own")
	fs.IntVar(&o.changes, "changes", 40, "how many policy `changes` P7 makes")
	fs.StringVar(&o.output, "output", "table", "`form` of the result: table or json")
	quick := fs.Bool("quick", false, "see that all of it runs; the figures mean little")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if *quick {
		o.rounds, *seconds, o.tokens, o.changes = 2, 0.5, 2_000, 6
	}
	o.seconds = time.Duration(*seconds * float64(time.Second))
	for r := range strings.SplitSeq(*rows, ",") {
		if r = strings.ToUpper(strings.TrimSpace(r)); !slices.Contains(allRows, r) {
			return o, fmt.Errorf("--rows: %q is not one of %s", r, strings.Join(allRows, ", "))
		}
		o.rows = append(o.rows, r)
	}
	switch {
	case fs.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	case o.output != "table" && o.output != "json":
		return o, fmt.Errorf("--output: %q is neither table nor json", o.output)
	case o.rounds < 1 || o.rounds > mostRounds || o.changes < 2:
		return o, fmt.Errorf("--rounds must be 1 to %d, --changes 2 or more", mostRounds)
	case o.seconds < 10*time.Millisecond || o.seconds > 30*time.Second: // a bare route ends a stream after 60 s
		return o, errors.New("--seconds must be 0.01 to 30")
	case o.tokens < load.Connections || o.tokens > mostTokens:
		return o, fmt.Errorf("--users must be %d to %d: the gateway remembers no more tokens", load.Connections, mostTokens)
	}
	return o, nil
}

func (o options) wants(rows ...string) bool {
	return slices.ContainsFunc(rows, func(r string) bool { return slices.Contains(o.rows, r) })
}

// run measures what o asks for and prints it. A row that fails ends the run: a
// table with a hole would be read as one without.
func run(ctx context.Context, o options, out io.Writer) error {
	began := time.Now()
	r := &figures.Report{Order: allRows, Rounds: o.rounds, Seconds: o.seconds.Seconds(), Users: o.tokens, LoadBefore: site.LoadAverage()}
	b := &bench{options: o, report: r}
	defer b.close()
	if err := b.prepare(ctx); err != nil {
		return err
	}
	for _, part := range []struct {
		rows []string
		run  func(context.Context) error
	}{
		{[]string{"P1", "P2", "P3", "P4", "P5", "P6"}, b.traffic},
		{[]string{"P7"}, b.change},
		{[]string{"P16"}, b.decide},
		{[]string{"P17"}, b.build},
	} {
		if !o.wants(part.rows...) {
			continue
		}
		if err := part.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", strings.Join(part.rows, ","), err)
		}
	}
	r.LoadAfter, r.Took = site.LoadAverage(), time.Since(began).Round(time.Second).Seconds()
	if o.output == "json" {
		return r.JSON(out)
	}
	return r.Table(out)
}
