package identity

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// recheck is how often the files of a credential are looked at, at most.
const recheck = time.Second

// Files is a credential in three files, read again when one of them changes, so that
// a rotation needs no restart. Files that cannot be used leave the credential as it
// was: half a rotation must not turn anybody away. It is safe for concurrent use.
type Files struct {
	cert, key, ca string
	trustDomain   string
	log           *slog.Logger

	mu      sync.Mutex
	pem     PEM
	pair    tls.Certificate
	id      ID
	stamps  [3]stamp
	checked time.Time
}

type stamp struct {
	modified time.Time
	size     int64
}

// OpenFiles reads a node's credential; an error when it cannot be used now.
func OpenFiles(cert, key, ca, trustDomain string, log *slog.Logger) (*Files, error) {
	f := &Files{cert: cert, key: key, ca: ca, trustDomain: trustDomain, log: log}
	if err := f.load(); err != nil {
		return nil, err
	}
	return f, nil
}

// ID is whose credential it is.
func (f *Files) ID() ID {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.id
}

// Server returns the settings of ServerTLS, as the files are at each connection.
func (f *Files) Server(allow func(ID) error, protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: protocols,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			pem, _ := f.current()
			c, err := ServerTLS(pem, f.trustDomain, allow)
			if err == nil {
				c.NextProtos = protocols
			}
			return c, err
		},
	}
}

// Client returns the settings of ClientTLS, as the files are at each connection.
func (f *Files) Client(expect func(ID) error) *tls.Config {
	return &tls.Config{
		MinVersion:           tls.VersionTLS13,
		InsecureSkipVerify:   true, // the node id is verified instead of the host name
		GetClientCertificate: f.Certificate,
		VerifyConnection: func(s tls.ConnectionState) error {
			pem, _ := f.current()
			c, err := ClientTLS(pem, f.trustDomain, expect)
			if err != nil {
				return err
			}
			return c.VerifyConnection(s)
		},
	}
}

// Certificate presents the certificate, as the files are at each connection, to servers
// that are no nodes of ours; what such a server is, its authority says.
func (f *Files) Certificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	_, pair := f.current()
	return &pair, nil
}

func (f *Files) current() (PEM, tls.Certificate) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := time.Now(); now.Sub(f.checked) >= recheck {
		f.checked = now
		if f.stamp() != f.stamps {
			if err := f.load(); err != nil {
				f.log.Error("certificate files changed and cannot be used; the old ones stay", "error", err)
			} else {
				f.log.Info("certificate files changed and were read again")
			}
		}
	}
	return f.pem, f.pair
}

// load reads the files. The stamps are taken first: a change during the read is
// seen by the next look. What it reads must stay the same node's.
func (f *Files) load() error {
	stamps := f.stamp()
	pem, err := LoadPEM(f.cert, f.key, f.ca)
	if err != nil {
		return err
	}
	pair, _, err := pem.load()
	if err != nil {
		return err
	}
	id, err := FromCertificate(pair.Leaf, f.trustDomain)
	if err != nil {
		return fmt.Errorf("%s: %w", f.cert, err)
	}
	if f.id != (ID{}) && id != f.id {
		return fmt.Errorf("%s: identity %s, and it was %s", f.cert, id, f.id)
	}
	f.pem, f.pair, f.id, f.stamps = pem, pair, id, stamps
	return nil
}

func (f *Files) stamp() (out [3]stamp) {
	for i, path := range []string{f.cert, f.key, f.ca} {
		if info, err := os.Stat(path); err == nil {
			out[i] = stamp{info.ModTime(), info.Size()}
		}
	}
	return out
}
