package main

import (
	"math"
	"slices"
	"time"
)

// series is one figure measured several times, in the order of the rounds.
type series []float64

// quantile is the least value that at least the share q of all does not exceed;
// NaN where there is none.
func (s series) quantile(q float64) float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	c := slices.Sorted(slices.Values(s))
	return c[min(max(int(math.Ceil(q*float64(len(c))))-1, 0), len(c)-1)]
}

// median is the middle value, or the mean of the middle two.
func (s series) median() float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	c := slices.Sorted(slices.Values(s))
	if len(c)%2 == 1 {
		return c[len(c)/2]
	}
	return (c[len(c)/2-1] + c[len(c)/2]) / 2
}

func (s series) min() float64 { return s.quantile(0) }
func (s series) max() float64 { return s.quantile(1) }

// over divides round by round: what both sides suffered together cancels out.
func (s series) over(t series) series {
	out := make(series, 0, len(s))
	for i := range min(len(s), len(t)) {
		out = append(out, s[i]/t[i])
	}
	return out
}

// ms turns durations into milliseconds.
func ms(list []time.Duration) series {
	out := make(series, len(list))
	for i, d := range list {
		out[i] = float64(d) / float64(time.Millisecond)
	}
	return out
}
