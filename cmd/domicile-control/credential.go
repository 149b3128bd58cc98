package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/domicile-dev/domicile/pkg/identity"
)

// serverTLS returns settings that follow the files; an error when they cannot be
// used now, or name something that is not a control plane.
func (o *options) serverTLS(log *slog.Logger, protocols []string, roles ...string) (*tls.Config, error) {
	f, err := identity.OpenFiles(o.cert, o.key, o.ca, o.trustDomain, log)
	if err != nil {
		return nil, err
	}
	if id := f.ID(); id.Role != identity.RoleControl {
		return nil, fmt.Errorf("%s: identity %s is no control plane's", o.cert, id)
	}
	return f.Server(identity.Role(roles...), protocols...), nil
}

// etcdTLS returns nil when no file for etcd is named and no endpoint wants TLS.
func (o *options) etcdTLS() (*tls.Config, error) {
	if o.etcdCA == "" && o.etcdCert == "" {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.etcdCA != "" {
		pem, err := os.ReadFile(o.etcdCA)
		if err != nil {
			return nil, fmt.Errorf("--etcd-ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("--etcd-ca: no certificate in it")
		}
	}
	if o.etcdCert != "" {
		if _, err := tls.LoadX509KeyPair(o.etcdCert, o.etcdKey); err != nil {
			return nil, fmt.Errorf("--etcd-cert: %w", err)
		}
		// Read again for each connection, so that a rotation needs no restart.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(o.etcdCert, o.etcdKey)
			return &pair, err
		}
	}
	return c, nil
}
