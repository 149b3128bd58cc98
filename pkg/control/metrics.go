package control

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the counters of one Controller.
type metrics struct {
	refused, leaks prometheus.Counter
	compile        prometheus.Histogram
}

func newMetrics(r prometheus.Registerer, c *Controller) *metrics {
	m := &metrics{
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "domicile_policy_refused_total", Help: "Policy heads that were not put in force.",
		}),
		leaks: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "domicile_leaks_found_total", Help: "Leaks that the leak check found in policies from the store.",
		}),
		compile: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "domicile_compile_seconds", Help: "Time to compile and check one bundle.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2.5, 10),
		}),
	}
	gauge := func(name, help string, f func(*PolicyStatus, StoreStatus) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			p, s, _ := c.status.read()
			return f(p, s)
		})
	}
	r.MustRegister(m.refused, m.leaks, m.compile,
		gauge("domicile_policy_sequence", "Sequence of the policy in force; 0 before the first.", func(p *PolicyStatus, _ StoreStatus) float64 {
			if p == nil {
				return 0
			}
			return float64(p.Sequence)
		}),
		gauge("domicile_policy_age_seconds", "Time since the policy in force was applied; 0 before the first.", func(p *PolicyStatus, _ StoreStatus) float64 {
			if p == nil {
				return 0
			}
			return max(0, c.now().Sub(p.At).Seconds())
		}),
		gauge("domicile_policy_head_refused", "1 while the policy head is not in force because it was refused.", func(*PolicyStatus, StoreStatus) float64 {
			if _, _, r := c.status.read(); r != nil {
				return 1
			}
			return 0
		}),
		gauge("domicile_observed_homes", "Homes under observation: what their policies refuse passes to today's backends. 0 where every policy is enforced.", func(p *PolicyStatus, _ StoreStatus) float64 {
			if p == nil {
				return 0
			}
			return float64(len(p.NotEnforced))
		}),
		observedUntil{c},
		gauge("domicile_clock_ahead_seconds", "How far this clock was ahead of another replica's when a policy of that arrived last; negative: behind; 0 before one did.", func(*PolicyStatus, StoreStatus) float64 {
			if k := c.clock.Read(); k != nil {
				return k.AheadSeconds
			}
			return 0
		}),
		gauge("domicile_clock_timestamp_seconds", "This replica's clock. Compare it with that of who scrapes.", func(*PolicyStatus, StoreStatus) float64 {
			return float64(c.now().UnixMilli()) / 1000
		}),
		gauge("domicile_store_connected", "1 while the policy store answers.", func(_ *PolicyStatus, s StoreStatus) float64 {
			if s.Connected {
				return 1
			}
			return 0
		}),
		gauge("domicile_store_disconnected_seconds", "Time since the policy store was lost; 0 while it answers.", func(_ *PolicyStatus, s StoreStatus) float64 {
			if s.Connected || s.Since.IsZero() {
				return 0
			}
			return max(0, c.now().Sub(s.Since).Seconds())
		}),
	)
	return m
}

// observedUntil tells, for each home under observation, when that ends.
type observedUntil struct{ c *Controller }

var observeUntil = prometheus.NewDesc("domicile_observe_until_timestamp_seconds",
	"When the observation of a home ends and its policy is enforced.", []string{"home"}, nil)

func (observedUntil) Describe(out chan<- *prometheus.Desc) { out <- observeUntil }

func (o observedUntil) Collect(out chan<- prometheus.Metric) {
	p, _, _ := o.c.status.read()
	if p == nil {
		return
	}
	for _, n := range p.NotEnforced {
		out <- prometheus.MustNewConstMetric(observeUntil, prometheus.GaugeValue, float64(n.Until.Unix()), n.Home)
	}
}
