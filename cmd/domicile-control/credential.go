package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/domicile-dev/domicile/pkg/identity"
)

// recheck is how often the files of a credential are looked at, at most.
const recheck = time.Second

// credential is a server's TLS settings, made from three files and made again
// when one of them changes. Files that cannot be used leave the settings as they
// were: half a rotation must not turn proxies away.
type credential struct {
	cert, key, ca string
	trustDomain   string
	allow         func(identity.ID) error
	protocols     []string
	log           *slog.Logger

	mu      sync.Mutex
	config  *tls.Config
	stamps  [3]stamp
	checked time.Time
}

type stamp struct {
	modified time.Time
	size     int64
}

// serverTLS returns settings that follow the files; an error when they cannot be
// used now, or name something that is not a control plane.
func (c *credential) serverTLS() (*tls.Config, error) {
	if err := c.load(); err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		NextProtos:         c.protocols,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.current(), nil },
	}, nil
}

func (c *credential) current() *tls.Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.checked) >= recheck {
		c.checked = now
		if c.stamp() != c.stamps {
			if err := c.load(); err != nil {
				c.log.Error("certificate files changed and cannot be used; the old ones stay", "error", err)
			} else {
				c.log.Info("certificate files changed and were read again")
			}
		}
	}
	return c.config
}

// load reads the files. The stamps are taken first: a change during the read is
// seen by the next look.
func (c *credential) load() error {
	stamps := c.stamp()
	pem, err := identity.LoadPEM(c.cert, c.key, c.ca)
	if err != nil {
		return err
	}
	config, err := identity.ServerTLS(pem, c.trustDomain, c.allow)
	if err != nil {
		return err
	}
	id, err := identity.FromCertificate(config.Certificates[0].Leaf, c.trustDomain)
	if err != nil {
		return fmt.Errorf("%s: %w", c.cert, err)
	}
	if id.Role != identity.RoleControl {
		return fmt.Errorf("%s: identity %s is no control plane's", c.cert, id)
	}
	config.NextProtos = c.protocols
	c.config, c.stamps = config, stamps
	return nil
}

func (c *credential) stamp() (out [3]stamp) {
	for i, path := range []string{c.cert, c.key, c.ca} {
		if info, err := os.Stat(path); err == nil {
			out[i] = stamp{info.ModTime(), info.Size()}
		}
	}
	return out
}

func (o *options) serverTLS(log *slog.Logger, protocols []string, roles ...string) (*tls.Config, error) {
	c := &credential{
		cert: o.cert, key: o.key, ca: o.ca, trustDomain: o.trustDomain,
		allow: identity.Role(roles...), protocols: protocols, log: log,
	}
	return c.serverTLS()
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
