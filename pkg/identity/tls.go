package identity

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
)

// FromCertificate returns the node id of a certificate whose chain has been
// verified: it has exactly one URI, canonical and of the trust domain.
func FromCertificate(c *x509.Certificate, trustDomain string) (ID, error) {
	if c == nil {
		return ID{}, errors.New("identity: no certificate")
	}
	if c.IsCA {
		return ID{}, errors.New("identity: an authority's certificate is no node's")
	}
	if len(c.URIs) != 1 {
		return ID{}, fmt.Errorf("identity: certificate has %d URIs, not one", len(c.URIs))
	}
	return parseURI(c.URIs[0].String(), trustDomain)
}

// FromState returns the node id of the other side of a connection that
// ServerTLS or ClientTLS has verified.
func FromState(s tls.ConnectionState, trustDomain string) (ID, error) {
	if !s.HandshakeComplete || len(s.PeerCertificates) == 0 {
		return ID{}, errors.New("identity: the connection has no certificate")
	}
	return FromCertificate(s.PeerCertificates[0], trustDomain)
}

// ServerTLS returns settings (TLS 1.3) for a server that takes nodes of the
// trust domain only, and of those the ones that allow accepts. A nil allow
// refuses everybody.
func ServerTLS(p PEM, trustDomain string, allow func(ID) error) (*tls.Config, error) {
	cert, pool, err := p.load()
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{cert},
		ClientCAs:    pool,
		ClientAuth:   tls.RequireAndVerifyClientCert,
		// VerifyConnection, unlike VerifyPeerCertificate, runs on resumed
		// sessions too.
		VerifyConnection: func(s tls.ConnectionState) error { return admit(s, trustDomain, allow) },
	}, nil
}

// ClientTLS returns settings (TLS 1.3) for a client that talks only to a node
// of the trust domain that expect accepts. The server is known by its node id,
// whatever host name or address it was reached by. A nil expect refuses
// everybody.
func ClientTLS(p PEM, trustDomain string, expect func(ID) error) (*tls.Config, error) {
	cert, pool, err := p.load()
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{cert},
		RootCAs:      pool,
		// The host name is not checked, because the node id is: the chain is
		// verified below, on every connection.
		InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 {
				return errors.New("identity: the server showed no certificate")
			}
			opts := x509.VerifyOptions{
				Roots: pool, Intermediates: x509.NewCertPool(),
				KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
			}
			for _, c := range s.PeerCertificates[1:] {
				opts.Intermediates.AddCert(c)
			}
			if _, err := s.PeerCertificates[0].Verify(opts); err != nil {
				return fmt.Errorf("identity: %w", err)
			}
			return admit(s, trustDomain, expect)
		},
	}, nil
}

// Role returns a check for ServerTLS and ClientTLS: one of these roles.
func Role(roles ...string) func(ID) error {
	return func(id ID) error {
		for _, r := range roles {
			if id.Role == r {
				return nil
			}
		}
		return fmt.Errorf("identity %s: role is not one of %v", id, roles)
	}
}

func admit(s tls.ConnectionState, trustDomain string, check func(ID) error) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("identity: no certificate")
	}
	id, err := FromCertificate(s.PeerCertificates[0], trustDomain)
	if err != nil {
		return err
	}
	if check == nil {
		return fmt.Errorf("identity %s: nobody is allowed", id)
	}
	return check(id)
}

func (p PEM) load() (tls.Certificate, *x509.CertPool, error) {
	cert, err := tls.X509KeyPair(p.Cert, p.Key)
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("read credential: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(p.CA) {
		return tls.Certificate{}, nil, errors.New("read credential: no authority's certificate")
	}
	return cert, pool, nil
}
