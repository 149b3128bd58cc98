package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/domicile-dev/domicile/pkg/atomicfile"
)

// The files of a directory that holds credentials.
const (
	CertFile = "cert.pem"
	KeyFile  = "key.pem"
	CAFile   = "ca.pem"
	// CAKeyFile is the authority's own key; it never leaves the authority.
	CAKeyFile = "ca-key.pem"
)

// caValidity is how long an authority lives; leafValidity is the default of
// what it issues. backdate covers clocks that are a little behind.
const (
	caValidity   = 10 * 365 * 24 * time.Hour
	leafValidity = 365 * 24 * time.Hour
	backdate     = 5 * time.Minute
)

// Authority is a certificate authority (ECDSA P-256) of one trust domain. It
// signs leaf certificates only.
type Authority struct {
	trustDomain string
	cert        *x509.Certificate
	key         *ecdsa.PrivateKey
}

// Options of a certificate.
type Options struct {
	DNS []string
	IPs []net.IP
	// Validity is how long it is valid; 0 means a year. It never outlives the
	// authority.
	Validity time.Duration
}

// PEM is a credential: certificate, private key, and the certificate of the
// authority that others must trust.
type PEM struct{ Cert, Key, CA []byte }

// String keeps the key out of logs.
func (PEM) String() string { return "PEM(redacted)" }

// NewAuthority makes an authority with a new key.
func NewAuthority(trustDomain string) (*Authority, error) {
	if err := checkTrustDomain(trustDomain); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key of authority: %w", err)
	}
	now := time.Now()
	tmpl := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: "Domicile authority of " + trustDomain},
		URIs:                  []*url.URL{{Scheme: "spiffe", Host: trustDomain}},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(caValidity),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read authority: %w", err)
	}
	return &Authority{trustDomain: trustDomain, cert: cert, key: key}, nil
}

// LoadAuthority reads an authority that Save wrote.
func LoadAuthority(dir string) (*Authority, error) {
	certPEM, err := os.ReadFile(filepath.Join(dir, CAFile))
	if err != nil {
		return nil, fmt.Errorf("read authority: %w", err)
	}
	keyPEM, err := os.ReadFile(filepath.Join(dir, CAKeyFile))
	if err != nil {
		return nil, fmt.Errorf("read authority: %w", err)
	}
	cert, err := parseCert(certPEM)
	if err != nil {
		return nil, fmt.Errorf("read authority %s: %w", dir, err)
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, fmt.Errorf("read authority %s: %w", dir, err)
	}
	switch {
	case !cert.IsCA:
		return nil, fmt.Errorf("read authority %s: %s is not an authority's certificate", dir, CAFile)
	case !key.PublicKey.Equal(cert.PublicKey):
		return nil, fmt.Errorf("read authority %s: key and certificate do not belong together", dir)
	case len(cert.URIs) != 1 || cert.URIs[0].String() != "spiffe://"+cert.URIs[0].Host:
		return nil, fmt.Errorf("read authority %s: %s names no trust domain", dir, CAFile)
	}
	td := cert.URIs[0].Host
	if err := checkTrustDomain(td); err != nil {
		return nil, fmt.Errorf("read authority %s: %w", dir, err)
	}
	return &Authority{trustDomain: td, cert: cert, key: key}, nil
}

// Save writes ca.pem and ca-key.pem (mode 0600) to dir, which is made if it is
// missing.
func (a *Authority) Save(dir string) error {
	key, err := encodeKey(a.key)
	if err != nil {
		return fmt.Errorf("save authority: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("save authority: %w", err)
	}
	return errors.Join(
		atomicfile.Write(filepath.Join(dir, CAKeyFile), key, 0o600),
		atomicfile.Write(filepath.Join(dir, CAFile), a.CertPEM(), 0o644),
	)
}

// TrustDomain returns the trust domain that the authority signs for.
func (a *Authority) TrustDomain() string { return a.trustDomain }

// CertPEM returns the authority's certificate.
func (a *Authority) CertPEM() []byte { return encodeCert(a.cert.Raw) }

// Issue makes a key and certificate for a node: its SPIFFE id is the only URI,
// and it serves as client and as server.
func (a *Authority) Issue(id ID, o Options) (PEM, error) {
	if err := id.Validate(); err != nil {
		return PEM{}, err
	}
	u, err := url.Parse(id.URI(a.trustDomain))
	if err != nil {
		return PEM{}, fmt.Errorf("issue certificate for %s: %w", id, err)
	}
	p, err := a.sign(&x509.Certificate{
		Subject:     pkix.Name{CommonName: id.Role + " " + id.Name},
		URIs:        []*url.URL{u},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}, o)
	if err != nil {
		return PEM{}, fmt.Errorf("issue certificate for %s: %w", id, err)
	}
	return p, nil
}

// IssueServer makes a key and certificate for the public face of a gateway. It
// carries no node id and serves as server only, so whoever takes it from there
// is no node of ours.
func (a *Authority) IssueServer(o Options) (PEM, error) {
	if len(o.DNS)+len(o.IPs) == 0 {
		return PEM{}, errors.New("issue server certificate: no host name")
	}
	p, err := a.sign(&x509.Certificate{
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, o)
	if err != nil {
		return PEM{}, fmt.Errorf("issue server certificate: %w", err)
	}
	return p, nil
}

func (a *Authority) sign(tmpl *x509.Certificate, o Options) (PEM, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return PEM{}, fmt.Errorf("make key: %w", err)
	}
	if o.Validity < 0 {
		return PEM{}, errors.New("validity is negative")
	}
	if o.Validity == 0 {
		o.Validity = leafValidity
	}
	now := time.Now()
	tmpl.SerialNumber = serial()
	tmpl.NotBefore = now.Add(-backdate)
	tmpl.NotAfter = now.Add(o.Validity)
	if tmpl.NotAfter.After(a.cert.NotAfter) {
		tmpl.NotAfter = a.cert.NotAfter
	}
	tmpl.KeyUsage = x509.KeyUsageDigitalSignature
	tmpl.BasicConstraintsValid = true
	tmpl.DNSNames, tmpl.IPAddresses = o.DNS, o.IPs
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, key.Public(), a.key)
	if err != nil {
		return PEM{}, fmt.Errorf("sign: %w", err)
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return PEM{}, err
	}
	return PEM{Cert: encodeCert(der), Key: keyPEM, CA: a.CertPEM()}, nil
}

// LoadPEM reads a credential from three files.
func LoadPEM(certFile, keyFile, caFile string) (PEM, error) {
	var p PEM
	for path, to := range map[string]*[]byte{certFile: &p.Cert, keyFile: &p.Key, caFile: &p.CA} {
		b, err := os.ReadFile(path)
		if err != nil {
			return PEM{}, fmt.Errorf("read credential: %w", err)
		}
		*to = b
	}
	return p, nil
}

// Save writes cert.pem, key.pem (mode 0600) and ca.pem to dir, which is made if
// it is missing.
func (p PEM) Save(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("save credential: %w", err)
	}
	return errors.Join(
		atomicfile.Write(filepath.Join(dir, KeyFile), p.Key, 0o600),
		atomicfile.Write(filepath.Join(dir, CertFile), p.Cert, 0o644),
		atomicfile.Write(filepath.Join(dir, CAFile), p.CA, 0o644),
	)
}

// serial returns a random positive serial number of 127 bits.
func serial() *big.Int {
	var b [16]byte
	rand.Read(b[:]) // never fails: the runtime ends the process instead
	b[0] &= 0x7f
	b[15] |= 1
	return new(big.Int).SetBytes(b[:])
}

func encodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func encodeKey(key crypto.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func parseCert(data []byte) (*x509.Certificate, error) {
	b, _ := pem.Decode(data)
	if b == nil || b.Type != "CERTIFICATE" {
		return nil, errors.New("no PEM certificate")
	}
	return x509.ParseCertificate(b.Bytes)
}

func parseKey(data []byte) (*ecdsa.PrivateKey, error) {
	b, _ := pem.Decode(data)
	if b == nil || b.Type != "PRIVATE KEY" {
		return nil, errors.New("no PEM private key")
	}
	k, err := x509.ParsePKCS8PrivateKey(b.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	ec, ok := k.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("key is not ECDSA")
	}
	return ec, nil
}
