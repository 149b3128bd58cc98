package identity_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/domicile-dev/domicile/pkg/identity"
)

const td = "domicile.local"

func TestParseIDAccepts(t *testing.T) {
	for _, s := range []string{
		"eu-frankfurt/gateway/0", "a/peer/b", "me-riyadh/sidecar/app-1", "r1/agent/x", "r/egress/x",
		"-/control/c1", "-/operator/cli",
		strings.Repeat("a", 63) + "/gateway/" + strings.Repeat("9", 63),
	} {
		id, err := identity.ParseID(s)
		if err != nil {
			t.Errorf("ParseID(%q): %v", s, err)
			continue
		}
		if id.String() != s {
			t.Errorf("ParseID(%q).String() = %q", s, id)
		}
		if want := "spiffe://" + td + "/" + s; id.URI(td) != want {
			t.Errorf("URI = %q, want %q", id.URI(td), want)
		}
	}
}

func TestParseIDRefuses(t *testing.T) {
	for _, s := range []string{
		"", "/", "//", "a/gateway", "a/gateway/b/c", "a/gateway/", "/gateway/b", "A/gateway/b", "a/Gateway/b",
		"a/gateway/B", "a/gateway/b ", " a/gateway/b", "a/gateway/b\n", "a/gateway/b\x00", "a/root/b", "a//b",
		"-/gateway/b", "a/control/b", "a/operator/b", "-a/gateway/b", "a-/gateway/b", "a/gateway/-", "a.b/gateway/c",
		"a_b/gateway/c", "../gateway/c", "a/gateway/..", "a/gateway/%61", "ä/gateway/b", "а/gateway/b", // Cyrillic а
		strings.Repeat("a", 64) + "/gateway/b", strings.Repeat("a", 300),
	} {
		if id, err := identity.ParseID(s); err == nil {
			t.Errorf("ParseID(%q) = %v, want an error", s, id)
		}
	}
	if err := (identity.ID{}).Validate(); err == nil {
		t.Error("the zero ID is valid")
	}
}

func TestIssuedCertificateCarriesTheID(t *testing.T) {
	a := authority(t)
	id := identity.ID{Region: "eu-frankfurt", Role: "gateway", Name: "g0"}
	p, err := a.Issue(id, identity.Options{DNS: []string{"eu.example.com"}, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}, Validity: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	c := parse(t, p.Cert)
	got, err := identity.FromCertificate(c, td)
	if err != nil || got != id {
		t.Fatalf("FromCertificate = %v, %v; want %v", got, err, id)
	}
	if _, err := identity.FromCertificate(c, "other.example"); err == nil {
		t.Error("a certificate of one trust domain is taken in another")
	}
	if _, err := identity.FromCertificate(c, "domicile"); err == nil {
		t.Error("a prefix of the trust domain is taken")
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(p.CA)
	for _, use := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth} {
		if _, err := c.Verify(x509.VerifyOptions{Roots: pool, DNSName: "eu.example.com", KeyUsages: []x509.ExtKeyUsage{use}}); err != nil {
			t.Errorf("usage %v: %v", use, err)
		}
	}
	if left := time.Until(c.NotAfter); left > time.Hour || left < 50*time.Minute {
		t.Errorf("valid for %v, want an hour", left)
	}
	if _, err := a.Issue(identity.ID{Region: "A", Role: "gateway", Name: "x"}, identity.Options{}); err == nil {
		t.Error("a certificate for an id that is not canonical was issued")
	}
	if _, err := a.Issue(id, identity.Options{Validity: -time.Second}); err == nil {
		t.Error("a negative validity was taken")
	}
}

func TestFromCertificateRefuses(t *testing.T) {
	uri := func(s string) *url.URL {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	good := "spiffe://domicile.local/a/gateway/b"
	for name, c := range map[string]*x509.Certificate{
		"none":       {},
		"two":        {URIs: []*url.URL{uri(good), uri("spiffe://domicile.local/c/gateway/d")}},
		"https":      {URIs: []*url.URL{uri("https://domicile.local/a/gateway/b")}},
		"port":       {URIs: []*url.URL{uri("spiffe://domicile.local:1/a/gateway/b")}},
		"userinfo":   {URIs: []*url.URL{uri("spiffe://x@domicile.local/a/gateway/b")}},
		"query":      {URIs: []*url.URL{uri(good + "?x")}},
		"fragment":   {URIs: []*url.URL{uri(good + "#x")}},
		"escaped":    {URIs: []*url.URL{uri("spiffe://domicile.local/a/gateway/%62")}},
		"upper case": {URIs: []*url.URL{uri("spiffe://DOMICILE.local/a/gateway/b")}},
		"longer":     {URIs: []*url.URL{uri(good + "/c")}},
		"authority":  {IsCA: true, URIs: []*url.URL{uri(good)}},
	} {
		if id, err := identity.FromCertificate(c, td); err == nil {
			t.Errorf("%s: taken as %v", name, id)
		}
	}
	if _, err := identity.FromCertificate(nil, td); err == nil {
		t.Error("nil certificate taken")
	}
	if _, err := identity.FromCertificate(&x509.Certificate{URIs: []*url.URL{uri("spiffe:///a/gateway/b")}}, ""); err == nil {
		t.Error("empty trust domain taken")
	}
}

func TestAuthoritySurvivesTheDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	a := authority(t)
	if err := a.Save(dir); err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(filepath.Join(dir, identity.CAKeyFile))
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Fatalf("key: %v %v, want mode 0600", fi.Mode(), err)
	}
	b, err := identity.LoadAuthority(dir)
	if err != nil {
		t.Fatal(err)
	}
	if b.TrustDomain() != td || !bytes.Equal(a.CertPEM(), b.CertPEM()) {
		t.Fatal("the authority changed on disk")
	}
	p, err := b.Issue(identity.ID{Region: "-", Role: "control", Name: "c"}, identity.Options{})
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out")
	if err := p.Save(out); err != nil {
		t.Fatal(err)
	}
	q, err := identity.LoadPEM(filepath.Join(out, "cert.pem"), filepath.Join(out, "key.pem"), filepath.Join(out, "ca.pem"))
	if err != nil || !bytes.Equal(q.Cert, p.Cert) || !bytes.Equal(q.Key, p.Key) || !bytes.Equal(q.CA, p.CA) {
		t.Fatalf("credential changed on disk: %v", err)
	}
	// Another authority's key beside this one's certificate is refused.
	other := t.TempDir()
	if err := authority(t).Save(other); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(other, "ca.pem"), a.CertPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := identity.LoadAuthority(other); err == nil {
		t.Error("key and certificate of two authorities were taken")
	}
	if _, err := identity.LoadAuthority(t.TempDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("empty directory: %v", err)
	}
}

func TestNewAuthorityRefusesTrustDomains(t *testing.T) {
	for _, s := range []string{"", ".", "a..b", "A.b", "a:1", "a/b", "*.a", strings.Repeat("a.", 200) + "a"} {
		if _, err := identity.NewAuthority(s); err == nil {
			t.Errorf("trust domain %q taken", s)
		}
	}
}

func TestTLS(t *testing.T) {
	a, foreign := authority(t), authority(t)
	control := issue(t, a, "-/control/c")
	gateway := issue(t, a, "eu/gateway/g")
	stranger := issue(t, foreign, "eu/gateway/g")
	public, err := a.IssueServer(identity.Options{DNS: []string{"x.example"}})
	if err != nil {
		t.Fatal(err)
	}
	mixed := identity.PEM{Cert: stranger.Cert, Key: stranger.Key, CA: gateway.CA}
	for name, c := range map[string]struct {
		server, client identity.PEM
		allow, expect  func(identity.ID) error
		ok             bool
	}{
		"both known":                {control, gateway, identity.Role("gateway"), identity.Role("control"), true},
		"server refuses the role":   {control, gateway, identity.Role("operator"), identity.Role("control"), false},
		"client refuses the role":   {control, gateway, identity.Role("gateway"), identity.Role("agent"), false},
		"nil allow":                 {control, gateway, nil, identity.Role("control"), false},
		"nil expect":                {control, gateway, identity.Role("gateway"), nil, false},
		"foreign client":            {control, mixed, identity.Role("gateway"), identity.Role("control"), false},
		"foreign server":            {mixed, gateway, identity.Role("gateway"), identity.Role("gateway"), false},
		"public certificate client": {control, public, func(identity.ID) error { return nil }, identity.Role("control"), false},
		"public certificate server": {public, gateway, identity.Role("gateway"), func(identity.ID) error { return nil }, false},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := identity.ServerTLS(c.server, td, c.allow)
			if err != nil {
				t.Fatal(err)
			}
			cl, err := identity.ClientTLS(c.client, td, c.expect)
			if err != nil {
				t.Fatal(err)
			}
			id, err := handshake(t, s, cl)
			if (err == nil) != c.ok {
				t.Fatalf("handshake: %v, want ok=%v", err, c.ok)
			}
			if c.ok && id.String() != "eu/gateway/g" {
				t.Errorf("server saw %v", id)
			}
		})
	}
	t.Run("TLS 1.2", func(t *testing.T) {
		s, _ := identity.ServerTLS(control, td, identity.Role("gateway"))
		cl, _ := identity.ClientTLS(gateway, td, identity.Role("control"))
		cl.MinVersion, cl.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
		if _, err := handshake(t, s, cl); err == nil {
			t.Error("TLS 1.2 taken")
		}
	})
	t.Run("no client certificate", func(t *testing.T) {
		s, _ := identity.ServerTLS(control, td, identity.Role("gateway"))
		cl, _ := identity.ClientTLS(gateway, td, identity.Role("control"))
		cl.Certificates = nil
		if _, err := handshake(t, s, cl); err == nil {
			t.Error("a client without certificate was let in")
		}
	})
}

func TestPEMKeepsItsKeyOutOfLogs(t *testing.T) {
	if s := issue(t, authority(t), "eu/gateway/g").String(); strings.Contains(s, "KEY") {
		t.Errorf("String shows %q", s)
	}
}

func TestUserHash(t *testing.T) {
	// RFC 4231, test case 2.
	const want = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
	if got := identity.UserHash([]byte("Jefe"), "what do ya want for nothing?"); got != want {
		t.Errorf("UserHash = %s, want %s", got, want)
	}
	if !identity.IsUserHash(want) || identity.IsUserHash(strings.ToUpper(want)) || identity.IsUserHash(want[1:]) || identity.IsUserHash("alice") {
		t.Error("IsUserHash is wrong")
	}
	k := identity.NewHashKey()
	if identity.UserHash(k, "a") == identity.UserHash(identity.NewHashKey(), "a") || identity.UserHash(k, "a") == identity.UserHash(k, "A") {
		t.Error("hashes of other keys or users are equal")
	}
}

func FuzzParseID(f *testing.F) {
	f.Add("eu-frankfurt/gateway/0")
	f.Add("-/control/x")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := identity.ParseID(s)
		if err == nil && (id.String() != s || id.Validate() != nil) {
			t.Errorf("ParseID(%q) = %v is not canonical", s, id)
		}
	})
}

func handshake(t *testing.T, s, c *tls.Config) (identity.ID, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	type result struct {
		id  identity.ID
		err error
	}
	done := make(chan result, 1)
	go func() {
		raw, err := l.Accept()
		if err != nil {
			done <- result{err: err}
			return
		}
		defer raw.Close()
		conn := tls.Server(raw, s)
		if err := conn.HandshakeContext(ctx); err != nil {
			done <- result{err: err}
			return
		}
		id, err := identity.FromState(conn.ConnectionState(), td)
		done <- result{id, err}
	}()
	raw, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn := tls.Client(raw, c)
	cerr := conn.HandshakeContext(ctx)
	if cerr != nil {
		raw.Close()
	}
	r := <-done
	raw.Close()
	return r.id, errors.Join(cerr, r.err)
}

func authority(t *testing.T) *identity.Authority {
	t.Helper()
	a, err := identity.NewAuthority(td)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func issue(t *testing.T, a *identity.Authority, id string) identity.PEM {
	t.Helper()
	i, err := identity.ParseID(id)
	if err != nil {
		t.Fatal(err)
	}
	p, err := a.Issue(i, identity.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func parse(t *testing.T, data []byte) *x509.Certificate {
	t.Helper()
	b, _ := pem.Decode(data)
	c, err := x509.ParseCertificate(b.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
