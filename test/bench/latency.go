package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/domicile-dev/domicile/test/bench/figures"
	"github.com/domicile-dev/domicile/test/bench/load"
)

// latencyRows measures P4: what pinning adds to the time of one request, at half of
// the rate at which the slower side is saturated, the same for both.
func (b *bench) latencyRows(ctx context.Context, pinned, bare *side) error {
	if pinned.load == nil {
		if err := b.loads([]*side{pinned, bare}); err != nil {
			return err
		}
	}
	rate := 0.0
	for _, s := range []*side{pinned, bare} {
		var err error
		if s.conns, err = load.Dial(s.addr, load.Connections); err != nil {
			return err
		}
		defer load.HangUp(s.conns)
		if _, _, err := load.Drive(ctx, s.conns, time.Minute, 2*len(s.load.List), s.load.Exchange); err != nil {
			return fmt.Errorf("warm up %s: %w", s.name, err)
		}
		full, err := b.measure(ctx, s, b.seconds, 0, s.load.Exchange)
		if err != nil {
			return err
		}
		if rate == 0 || full.rate/2 < rate {
			rate = full.rate / 2
		}
	}
	at := map[string]map[float64]figures.Series{pinned.name: {}, bare.name: {}}
	for round := range b.rounds {
		for i := range 2 {
			s := []*side{pinned, bare}[(i+round)%2]
			took, err := load.Pace(ctx, s.conns, rate, b.seconds, s.load.Exchange)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			list := figures.Millis(took)
			for _, q := range []float64{0.5, 0.99} {
				at[s.name][q] = append(at[s.name][q], 1000*list.Quantile(q))
			}
		}
	}
	for _, x := range []struct {
		q    float64
		name string
		most float64
	}{{0.5, "p50", 30}, {0.99, "p99", 500}} {
		with, without := at[pinned.name][x.q], at[bare.name][x.q]
		added := slices.Clone(with)
		for i := range added {
			added[i] -= without[i]
		}
		b.report.Add("P4", "added to a request, "+x.name, "µs", added, figures.AtMost(x.most))
		b.report.Add("P4", pinned.name+": a request, "+x.name, "µs", with, nil)
		b.report.Add("P4", bare.name+": a request, "+x.name, "µs", without, nil)
	}
	b.report.Note("P4: %.0f requests a second on %d connections, half of what saturates the slower side.", rate, load.Connections)
	return nil
}
