package jwks

import "github.com/prometheus/client_golang/prometheus"

var (
	fetchedDesc = prometheus.NewDesc("domicile_issuer_keys_fetched_timestamp_seconds",
		"When the keys of an issuer were last seen to be its own; 0: never.", []string{"issuer"}, nil)
	untilDesc = prometheus.NewDesc("domicile_issuer_keys_until_timestamp_seconds",
		"When the keys of an issuer stop to count unless they are seen again; 0: there are none that count.", []string{"issuer"}, nil)
	failingDesc = prometheus.NewDesc("domicile_issuer_keys_failing",
		"1 while the keys of an issuer cannot be fetched.", []string{"issuer"}, nil)
)

// collector shows what Status tells.
type collector struct{ p *Poller }

func (c collector) Describe(out chan<- *prometheus.Desc) {
	out <- fetchedDesc
	out <- untilDesc
	out <- failingDesc
}

func (c collector) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, issuer string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, issuer)
	}
	for _, s := range c.p.Status() {
		fetched, until, failing := 0.0, 0.0, 0.0
		if !s.Fetched.IsZero() {
			fetched = float64(s.Fetched.Unix())
		}
		if !s.Until.IsZero() {
			until = float64(s.Until.Unix())
		}
		if s.Error != "" {
			failing = 1
		}
		gauge(fetchedDesc, fetched, s.Issuer)
		gauge(untilDesc, until, s.Issuer)
		gauge(failingDesc, failing, s.Issuer)
	}
}
