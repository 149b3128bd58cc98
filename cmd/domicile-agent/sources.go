package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/domicile-dev/domicile/pkg/agent"
	"github.com/domicile-dev/domicile/pkg/geoip"
	"github.com/domicile-dev/domicile/pkg/geoip/maxmind"
	"github.com/domicile-dev/domicile/pkg/identity"
	"github.com/domicile-dev/domicile/pkg/resolver"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// sourcesTLS is for connections to servers of the operator: they prove themselves to
// --sources-ca, and see this agent's certificate when they ask for one.
func (o *options) sourcesTLS(files *identity.Files) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.sourcesCA != "" {
		pem, err := os.ReadFile(o.sourcesCA)
		if err != nil {
			return nil, fmt.Errorf("--sources-ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--sources-ca: %s holds no certificate", o.sourcesCA)
		}
	}
	if files != nil {
		c.GetClientCertificate = files.Certificate
	}
	return c, nil
}

// look is how often the file of --geoip is looked at.
const look = 10 * time.Second

// proposals finds the country of the client's address; nil where no file is named. A
// file that cannot be used stops nothing: an address only ever proposes.
func (o *options) proposals(cfg *agent.Config, log *slog.Logger) func(resolver.Request, topology.GeoIP) string {
	if o.geoip == "" {
		return nil
	}
	db, err := maxmind.Open(o.geoip)
	report := func(err error) {
		if err != nil {
			log.Warn("the GeoIP file cannot be used; the one before it stays", "error", err)
			return
		}
		log.Info("GeoIP file is in use", "kind", db.Kind(), "built", db.Built())
	}
	report(err)
	cfg.Metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "domicile_geoip_built_timestamp_seconds",
		Help: "When the GeoIP database in use was made; 0 where there is none.",
	}, func() float64 { return float64(max(0, db.Built().Unix())) }))
	cfg.Also = append(cfg.Also, func(ctx context.Context) error {
		db.Follow(ctx, look, report)
		return nil
	})
	return func(r resolver.Request, g topology.GeoIP) string {
		return geoip.Propose(db, r.Headers["x-forwarded-for"], g.TrustedHops)
	}
}
