package xds

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metrics count always; they are seen when a registerer was given.
type metrics struct {
	pushes     *prometheus.CounterVec
	acks       prometheus.Counter
	nacks      prometheus.Counter
	ackSeconds prometheus.Histogram
}

func newMetrics(s *Server, r prometheus.Registerer) *metrics {
	m := &metrics{
		pushes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "domicile_xds_pushes_total", Help: "Responses sent to proxies, by type URL.",
		}, []string{"type"}),
		acks: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "domicile_xds_acks_total", Help: "Responses that proxies accepted.",
		}),
		nacks: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "domicile_xds_nacks_total", Help: "Responses that proxies rejected.",
		}),
		ackSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "domicile_xds_ack_seconds", Help: "Time from a response to its ACK.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 15),
		}),
	}
	if r != nil {
		r.MustRegister(m.pushes, m.acks, m.nacks, m.ackSeconds, collector{s})
	}
	return m
}

var syncState = prometheus.NewDesc("domicile_proxy_sync_state",
	"Proxies in each state, by region.", []string{"region", "state"}, nil)

// collector counts proxies by state when it is asked, so the gauge can not go
// out of step with the status. A region shows all states, also those at 0.
type collector struct{ server *Server }

func (c collector) Describe(ch chan<- *prometheus.Desc) { ch <- syncState }

func (c collector) Collect(ch chan<- prometheus.Metric) {
	counts := map[string]map[State]int{}
	for _, p := range c.server.Proxies() {
		if counts[p.Region] == nil {
			counts[p.Region] = map[State]int{}
		}
		counts[p.Region][p.State]++
	}
	for region, byState := range counts {
		for _, state := range states {
			ch <- prometheus.MustNewConstMetric(syncState, prometheus.GaugeValue,
				float64(byState[state]), region, string(state))
		}
	}
}
