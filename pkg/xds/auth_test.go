package xds

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/url"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
)

// authority signs certificates for tests.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	a := &authority{t: t, pool: x509.NewCertPool()}
	a.key = a.newKey()
	a.cert = a.sign(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil, a.key)
	a.pool.AddCert(a.cert)
	return a
}

func (a *authority) newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	return key
}

func (a *authority) sign(c, parent *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	c.SerialNumber, c.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: "test"}
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	if parent == nil {
		parent = c
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert
}

func (a *authority) leaf(uris ...string) tls.Certificate {
	return a.issue(&x509.Certificate{}, uris...)
}

// subordinate is an authority's certificate with a node's name.
func (a *authority) subordinate(uris ...string) tls.Certificate {
	return a.issue(&x509.Certificate{IsCA: true, BasicConstraintsValid: true}, uris...)
}

func (a *authority) issue(c *x509.Certificate, uris ...string) tls.Certificate {
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	for _, text := range uris {
		u, err := url.Parse(text)
		if err != nil {
			a.t.Fatal(err)
		}
		c.URIs = append(c.URIs, u)
	}
	key := a.newKey()
	return tls.Certificate{Certificate: [][]byte{a.sign(c, a.cert, key).Raw}, PrivateKey: key}
}

// serveTLS runs a server on loopback and returns its address.
func (a *authority) serveTLS(s *Server, auth tls.ClientAuthType) string {
	g := grpc.NewServer(append(ServerOptions(), grpc.Creds(credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{a.leaf("spiffe://demo/-/control/c-1")},
		ClientAuth: auth, ClientCAs: a.pool,
	})))...)
	s.Register(g)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		a.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = g.Serve(l) }()
	a.t.Cleanup(func() { g.Stop(); <-done })
	return l.Addr().String()
}

// dialTLS opens a stream with a client certificate, or with none.
func (a *authority) dialTLS(ctx context.Context, addr string, certs ...tls.Certificate) (discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient, error) {
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(credentials.NewTLS(
		&tls.Config{MinVersion: tls.VersionTLS13, RootCAs: a.pool, Certificates: certs})))
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	return discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
}

// T31: over real mTLS, only the certificate makes a node.
func TestNodeT31Certificates(t *testing.T) {
	ca := newAuthority(t)
	s := New(Config{TrustDomain: "demo"})
	s.Publish(map[Group]*Target{eu: before.target(), {"me-riyadh", "gateway"}: after.target()})
	addr := ca.serveTLS(s, tls.VerifyClientCertIfGiven)
	for name, test := range map[string]struct {
		certs []tls.Certificate
		code  codes.Code
	}{
		"right":                {[]tls.Certificate{ca.leaf("spiffe://demo/" + gw)}, codes.OK},
		"none":                 {nil, codes.Unauthenticated},
		"other region":         {[]tls.Certificate{ca.leaf("spiffe://demo/me-riyadh/gateway/gw-1")}, codes.PermissionDenied},
		"other role":           {[]tls.Certificate{ca.leaf("spiffe://demo/eu-frankfurt/peer/gw-1")}, codes.PermissionDenied},
		"other domain":         {[]tls.Certificate{ca.leaf("spiffe://demo.evil/" + gw)}, codes.PermissionDenied},
		"domain as a prefix":   {[]tls.Certificate{ca.leaf("spiffe://demo:1/" + gw)}, codes.PermissionDenied},
		"other scheme":         {[]tls.Certificate{ca.leaf("https://demo/" + gw)}, codes.PermissionDenied},
		"escaped":              {[]tls.Certificate{ca.leaf("spiffe://demo/eu%2Dfrankfurt/gateway/gw-1")}, codes.PermissionDenied},
		"upper case":           {[]tls.Certificate{ca.leaf("spiffe://demo/EU-frankfurt/gateway/gw-1")}, codes.PermissionDenied},
		"an authority":         {[]tls.Certificate{ca.subordinate("spiffe://demo/" + gw)}, codes.PermissionDenied},
		"with a query":         {[]tls.Certificate{ca.leaf("spiffe://demo/" + gw + "?x")}, codes.PermissionDenied},
		"two names":            {[]tls.Certificate{ca.leaf("spiffe://demo/"+gw, "spiffe://demo/me-riyadh/gateway/gw-1")}, codes.PermissionDenied},
		"no name":              {[]tls.Certificate{ca.leaf()}, codes.PermissionDenied},
		"the control plane":    {[]tls.Certificate{ca.leaf("spiffe://demo/-/control/c-1")}, codes.PermissionDenied},
		"of another authority": {[]tls.Certificate{newAuthority(t).leaf("spiffe://demo/" + gw)}, codes.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			var resp *discoveryv3.DeltaDiscoveryResponse
			stream, err := ca.dialTLS(ctx, addr, test.certs...)
			if err == nil {
				_ = stream.Send(&discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Id: gw}, TypeUrl: ClusterType})
				resp, err = stream.Recv()
			}
			if status.Code(err) != test.code {
				t.Fatalf("got %v, want %v", err, test.code)
			}
			if err == nil && len(resp.Resources) != 4 {
				t.Errorf("got %v", resp)
			}
		})
	}
}
