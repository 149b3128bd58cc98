package main

import (
	"context"
	"fmt"
	"time"

	"github.com/domicile-dev/domicile/test/bench/figures"
	"github.com/domicile-dev/domicile/test/bench/load"
	"github.com/domicile-dev/domicile/test/bench/site"
)

// sample is one measurement of one side.
type sample struct {
	rate float64 // a second
	cost float64 // µs of the proxy's CPU time for one
	busy float64 // cores that the proxy kept busy
}

// measure drives a side that is warm.
func (b *bench) measure(ctx context.Context, s *side, d time.Duration, most int, ex load.Exchange) (sample, error) {
	before, err := site.CPU(s.procs)
	if err != nil {
		return sample{}, err
	}
	n, took, err := load.Drive(ctx, s.conns, d, most, ex)
	if err != nil {
		return sample{}, fmt.Errorf("%s: %w", s.name, err)
	}
	after, err := site.CPU(s.procs)
	if err != nil {
		return sample{}, err
	}
	if n == 0 {
		return sample{}, fmt.Errorf("%s: no answer within %s", s.name, took)
	}
	spent := after - before
	return sample{
		rate: float64(n) / took.Seconds(),
		cost: float64(spent) / float64(time.Microsecond) / float64(n),
		busy: float64(spent) / float64(took),
	}, nil
}

// samples collects the rounds of each side.
type samples map[string]map[string]figures.Series

func (m samples) add(side string, s sample) {
	if m[side] == nil {
		m[side] = map[string]figures.Series{}
	}
	for k, v := range map[string]float64{"rate": s.rate, "cost": s.cost, "busy": s.busy} {
		m[side][k] = append(m[side][k], v)
	}
}

// rate is how many times as many a second a does as b; cost is how many times
// as much of the proxy's CPU time b needs as a. More is better for a in both.
func (m samples) rate(a, b string) figures.Series { return m[a]["rate"].Over(m[b]["rate"]) }
func (m samples) cost(a, b string) figures.Series { return m[b]["cost"].Over(m[a]["cost"]) }

// requestRows measures P1, P2, P3 and P5 in the same rounds.
func (b *bench) requestRows(ctx context.Context, sides []*side) error {
	if err := b.loads(sides); err != nil {
		return err
	}
	for _, s := range sides {
		var err error
		if s.conns, err = load.Dial(s.addr, load.Connections); err != nil {
			return err
		}
		defer load.HangUp(s.conns)
		// Every token once: from here on each is remembered.
		if _, _, err := load.Drive(ctx, s.conns, time.Minute, 2*len(s.load.List), s.load.Exchange); err != nil {
			return fmt.Errorf("warm up %s: %w", s.name, err)
		}
	}
	m := samples{}
	for round := range b.rounds {
		for i := range sides {
			s := sides[(i+round)%len(sides)]
			// What the side before left behind, in caches and sockets, is over
			// after a moment.
			if _, _, err := load.Drive(ctx, s.conns, b.seconds/10, 0, s.load.Exchange); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			x, err := b.measure(ctx, s, b.seconds, 0, s.load.Exchange)
			if err != nil {
				return err
			}
			m.add(s.name, x)
			if s.cold == nil {
				continue
			}
			cold := s.cold(round)
			if x, err = b.measure(ctx, s, time.Minute, len(cold.List), cold.Exchange); err != nil {
				return err
			}
			m.add(s.name+" cold", x)
		}
	}
	b.printRequests(sides, m)
	return nil
}

// loads makes the tokens: one set for all sides with few homes, so that every
// side sees the same bytes, and one for the side with many.
func (b *bench) loads(sides []*side) error {
	few, err := b.mint.requests("user", b.tokens, smallHomes)
	if err != nil {
		return err
	}
	rounds := make([]*load.Requests, b.rounds)
	for i := range rounds {
		list, err := b.mint.requests(fmt.Sprintf("cold-%d", i), b.coldTokens(), smallHomes)
		if err != nil {
			return err
		}
		rounds[i] = &load.Requests{List: list}
	}
	for _, s := range sides {
		s.load = &load.Requests{List: few}
		switch s.name {
		case pinnedSide:
			s.cold = func(round int) *load.Requests { return rounds[round] }
		case pinSide:
			list, err := b.mint.pinRequests(b.tokens, smallHomes)
			if err != nil {
				return err
			}
			s.load = &load.Requests{List: list}
		case bigSide:
			many, err := b.mint.requests("user", b.tokens, bigHomes)
			if err != nil {
				return err
			}
			s.load = &load.Requests{List: many}
		}
	}
	return nil
}

func (b *bench) printRequests(sides []*side, m samples) {
	r := b.report
	const cold = pinnedSide + " cold"
	if b.wants("P1") {
		r.Add("P1", "pinned / bare, requests/s", "×", m.rate(pinnedSide, bareSide), figures.AtLeast(0.90))
		r.Add("P1", "the same by Envoy's CPU time a request", "×", m.cost(pinnedSide, bareSide), figures.AtLeast(0.90))
		r.Add("P1", "each token seen for the first time / bare, requests/s", "×", m.rate(cold, bareSide), nil)
		r.Add("P1", "the same by Envoy's CPU time a request", "×", m.cost(cold, bareSide), nil)
	}
	goals := map[string]*figures.Goal{callOutSide: figures.AtLeast(2), luaSide: figures.AtLeast(1.2), haproxySide: figures.AtLeast(1.5)}
	titles := map[string]string{callOutSide: "ext_authz call-out in Go", luaSide: "Envoy Lua", haproxySide: "HAProxy"}
	for _, s := range sides {
		row := "P1"
		switch {
		case goals[s.name] != nil:
			r.Add("P3", "pinned / "+titles[s.name]+", requests/s", "×", m.rate(pinnedSide, s.name), goals[s.name])
			r.Add("P3", "the same by the proxy's CPU time a request", "×", m.cost(pinnedSide, s.name), goals[s.name])
			r.Add("P3", titles[s.name]+" / bare, requests/s", "×", m.rate(s.name, bareSide), nil)
			row = "P3"
		case s.name == pinSide:
			b.printPins(m)
			row = "P2"
		case s.name == bigSide:
			r.Add("P5", "1,000 homes / 10 homes, requests/s", "×", m.rate(bigSide, pinnedSide), figures.AtLeast(0.97))
			r.Add("P5", "the same by Envoy's CPU time a request", "×", m.cost(bigSide, pinnedSide), figures.AtLeast(0.97))
			row = "P5"
		}
		r.Add(row, s.name+": requests a second", "/s", m[s.name]["rate"], nil)
		r.Add(row, s.name+": CPU time a request", "µs", m[s.name]["cost"], nil)
		r.Add(row, s.name+": busy", "cores", m[s.name]["busy"], nil)
	}
}
