package figures

import (
	"math"
	"slices"
	"time"
)

// Series is one figure measured several times, in the order of the rounds.
type Series []float64

// Quantile is the least value that at least the share q of all does not exceed;
// NaN where there is none.
func (s Series) Quantile(q float64) float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	c := slices.Sorted(slices.Values(s))
	return c[min(max(int(math.Ceil(q*float64(len(c))))-1, 0), len(c)-1)]
}

// Median is the middle value, or the mean of the middle two.
func (s Series) Median() float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	c := slices.Sorted(slices.Values(s))
	if len(c)%2 == 1 {
		return c[len(c)/2]
	}
	return (c[len(c)/2-1] + c[len(c)/2]) / 2
}

// Min is the least.
func (s Series) Min() float64 { return s.Quantile(0) }

// Max is the greatest.
func (s Series) Max() float64 { return s.Quantile(1) }

// Over divides round by round: what both sides suffered together cancels out.
func (s Series) Over(t Series) Series {
	out := make(Series, 0, len(s))
	for i := range min(len(s), len(t)) {
		out = append(out, s[i]/t[i])
	}
	return out
}

// Millis turns durations into milliseconds.
func Millis(list []time.Duration) Series {
	out := make(Series, len(list))
	for i, d := range list {
		out[i] = float64(d) / float64(time.Millisecond)
	}
	return out
}
