package main

import (
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/domicile-dev/domicile/pkg/jwks"
)

// keyOptions say how issuers' key sets are fetched.
type keyOptions struct{ ca string }

func (o *keyOptions) flags(f *flag.FlagSet) {
	f.StringVar(&o.ca, "keys-ca", "", "authority that the servers of issuers' key sets must come from (PEM `file`); empty: the system's")
}

// fetch looks after issuers' key sets. What was fetched is remembered beside --state.
func (o *keyOptions) fetch(state string, log *slog.Logger, metrics prometheus.Registerer) (*jwks.Poller, error) {
	cfg := jwks.Config{Log: log, Metrics: metrics}
	if state != "" {
		cfg.File = state + ".keys"
	}
	if o.ca != "" {
		pem, err := os.ReadFile(o.ca)
		if err != nil {
			return nil, fmt.Errorf("--keys-ca: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--keys-ca %s: no certificate in it", o.ca)
		}
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
		cfg.Client = &http.Client{Transport: transport}
	}
	return jwks.New(cfg)
}
