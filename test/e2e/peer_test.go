package e2e_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/domicile-dev/domicile/pkg/identity"
)

const trustDomain = "domicile.local"

// overlay is where the demo's parts listen that the ready file does not name.
type overlay struct {
	Regions map[string]struct {
		Peer   string
		Agent  string // a Unix socket
		Listen struct{ Plain, TLS, Peer, Egress, Sidecar string }
	}
}

func (l *lab) overlay(t testing.TB) overlay {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(l.dir, "overlay.json"))
	if err != nil {
		t.Fatal(err)
	}
	var o overlay
	if err := json.Unmarshal(data, &o); err != nil {
		t.Fatal(err)
	}
	return o
}

// authority is the demo's own: with its key a test makes what only a careless
// operator would.
func (l *lab) authority(t testing.TB) *identity.Authority {
	t.Helper()
	a, err := identity.LoadAuthority(filepath.Join(l.dir, "ca"))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// certificate is the credential of a node, made the way a user of the demo would.
func (l *lab) certificate(t testing.TB, node string) identity.PEM {
	t.Helper()
	out := t.TempDir()
	if stdout, stderr, code := run(t, "demo", "cert", "--node", node, "--out", out, "--dir", l.dir); code != 0 {
		t.Fatalf("demo cert --node %s: exit %d: %s%s", node, code, stdout, stderr)
	}
	p, err := identity.LoadPEM(filepath.Join(out, "cert.pem"), filepath.Join(out, "key.pem"), filepath.Join(out, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// foreign is a credential of another authority, for a client that trusts the
// demo's: the server refuses it, not the client.
func (l *lab) foreign(t testing.TB, domain string, id identity.ID) identity.PEM {
	t.Helper()
	a, err := identity.NewAuthority(domain)
	if err != nil {
		t.Fatal(err)
	}
	p := issue(t, a, id, identity.Options{})
	p.CA = l.authority(t).CertPEM()
	return p
}

func issue(t testing.TB, a *identity.Authority, id identity.ID, o identity.Options) identity.PEM {
	t.Helper()
	p, err := a.Issue(id, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// signed is a certificate of the demo's authority with these URIs, which the
// authority itself would never sign.
func (l *lab) signed(t testing.TB, uris ...string) identity.PEM {
	t.Helper()
	dir := filepath.Join(l.dir, "ca")
	ca, err := tls.LoadX509KeyPair(filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	p := issue(t, l.authority(t), identity.ID{Region: "tr-istanbul", Role: identity.RoleGateway, Name: "x"}, identity.Options{})
	block, _ := pem.Decode(p.Cert)
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	leaf.URIs = nil
	for _, s := range uris {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		leaf.URIs = append(leaf.URIs, u)
	}
	leaf.DNSNames = []string{"peer"}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca.Leaf, leaf.PublicKey.(*ecdsa.PublicKey), ca.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	p.Cert = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return p
}

// toPeer are the TLS settings of a client that calls the peer of a region and
// makes sure that it is that one.
func toPeer(t testing.TB, p identity.PEM, region string) *tls.Config {
	t.Helper()
	c, err := identity.ClientTLS(p, trustDomain, func(id identity.ID) error {
		if id.Region != region {
			t.Errorf("the peer of %s says that it is %s", region, id)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// overTLS is a client of its own connections.
func overTLS(t testing.TB, c *tls.Config, h2 bool) *http.Client {
	tr := &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: h2}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Timeout: 10 * time.Second, Transport: tr}
}

// T39: who is no gateway and no sidecar gets no answer from a peer listener,
// not even a refusal over HTTP, and nothing is counted.
func TestT39_PeersTakeGatewaysAndSidecarsOnly(t *testing.T) {
	l := shared(t)
	token := l.token(t, "amal", "SA")
	a := l.authority(t)
	id := func(role string) identity.ID {
		if role == identity.RoleControl || role == identity.RoleOperator {
			return identity.ID{Region: identity.NoRegion, Role: role, Name: "x"}
		}
		return identity.ID{Region: "tr-istanbul", Role: role, Name: "x"}
	}
	gateway := id(identity.RoleGateway)
	public, err := a.IssueServer(identity.Options{DNS: []string{"tr.im.example.com"}})
	if err != nil {
		t.Fatal(err)
	}
	good := l.certificate(t, gateway.String())
	strangers := map[string]*tls.Config{
		"another authority":                  toPeer(t, l.foreign(t, trustDomain, gateway), "me-riyadh"),
		"another authority and trust domain": toPeer(t, l.foreign(t, "evil.example", gateway), "me-riyadh"),
		"another trust domain":               toPeer(t, l.signed(t, "spiffe://evil.example/tr-istanbul/gateway/x"), "me-riyadh"),
		"our trust domain as a suffix":       toPeer(t, l.signed(t, "spiffe://evil.domicile.local/tr-istanbul/gateway/x"), "me-riyadh"),
		"our trust domain as a path":         toPeer(t, l.signed(t, "spiffe://evil.example/spiffe://domicile.local/tr-istanbul/gateway/x"), "me-riyadh"),
		"another scheme":                     toPeer(t, l.signed(t, "https://domicile.local/tr-istanbul/gateway/x"), "me-riyadh"),
		"a longer path":                      toPeer(t, l.signed(t, "spiffe://domicile.local/tr-istanbul/gateway/x/y"), "me-riyadh"),
		"no URI":                             toPeer(t, l.signed(t), "me-riyadh"),
		"the gateway's public certificate":   toPeer(t, public, "me-riyadh"),
		"expired":                            toPeer(t, issue(t, a, gateway, identity.Options{Validity: time.Nanosecond}), "me-riyadh"),
	}
	for _, role := range []string{identity.RoleAgent, identity.RoleOperator, identity.RoleControl, identity.RoleEgress, identity.RolePeer} {
		strangers["role "+role] = toPeer(t, l.certificate(t, id(role).String()), "me-riyadh")
	}
	strangers["no certificate"] = toPeer(t, good, "me-riyadh")
	strangers["no certificate"].Certificates = nil
	strangers["an old TLS version"] = toPeer(t, good, "me-riyadh")
	strangers["an old TLS version"].MinVersion, strangers["an old TLS version"].MaxVersion = tls.VersionTLS12, tls.VersionTLS12

	peer := l.overlay(t).Regions["me-riyadh"].Peer
	for name, c := range strangers {
		for _, h2 := range []bool{false, true} {
			before := l.counted(t)
			if a, err := try(overTLS(t, c, h2), http.MethodGet, "https://"+peer+"/v1/messages", token, ""); err == nil {
				t.Errorf("%s: the peer answered %s", name, a)
			} else if !theirs(err) {
				t.Errorf("%s: it was not the peer who refused: %v", name, err)
			}
			only(t, l.reached(t, before), "")
		}
	}
	before := l.counted(t)
	if a := raw(t, "http://"+peer, "GET /v1/messages HTTP/1.1\r\nHost: peer\r\nAuthorization: Bearer "+token+"\r\n\r\n"); a.status != 0 {
		t.Errorf("without TLS: %s", a)
	}
	silent(t, peer)
	only(t, l.reached(t, before), "")

	// All that means something only if the right certificate is let in.
	before = l.counted(t)
	if a := get(t, overTLS(t, toPeer(t, good, "me-riyadh"), true), "https://"+peer+"/v1/messages", token); a.status != 200 || a.header.Get("x-backend-region") != "me-riyadh" {
		t.Errorf("a gateway: %s", a)
	}
	only(t, l.reached(t, before), "me-riyadh")
}

// theirs tells whether it was the other side that ended a connection. TLS 1.3
// ends the client's handshake before the server has judged the client, so the
// refusal shows as an alert, or as a connection that is gone.
func theirs(err error) bool {
	for _, s := range []string{"remote error: tls", "connection reset", "broken pipe", "EOF", "client conn could not be established"} {
		if strings.Contains(err.Error(), s) {
			return true
		}
	}
	return false
}

// silent sends rubbish: nothing may come back but a TLS alert.
func silent(t testing.TB, addr string) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"); err != nil {
		return
	}
	const alert = 21
	if data, _ := io.ReadAll(c); len(data) > 0 && data[0] != alert {
		t.Errorf("a peer answered HTTP/2 without TLS: %q", data)
	}
}

// T39: a peer checks again what a gateway sends it, believes nothing that the
// gateway says of user, home or entry, and serves from its own region or not at
// all.
func TestT39_PeersCheckAgainAndForwardNothing(t *testing.T) {
	l := shared(t)
	peers := l.overlay(t).Regions
	for _, node := range []string{"tr-istanbul/gateway/t39", "tr-istanbul/sidecar/t39"} {
		p := l.certificate(t, node)
		sa, de := l.token(t, "amal", "SA"), l.token(t, "lena", "DE")
		forged := []string{
			"x-domicile-home", "SA", "x-domicile-entry", "spiffe://domicile.local/me-riyadh/gateway/x", "x-domicile-user", "root",
			"x-domicile-issuer", "https://id.example.com", "x-forwarded-client-cert", "URI=spiffe://domicile.local/me-riyadh/gateway/x",
		}
		for _, c := range []struct {
			name, region, token, path string
			headers                   []string
			status                    int
			reason, served            string
		}{
			{"at home", "me-riyadh", sa, "/v1/messages", nil, 200, "", "me-riyadh"},
			{"at home, forged headers", "me-riyadh", sa, "/v1/messages", []string{"x-domicile-home", "DE", "x-domicile-entry", "spiffe://domicile.local/eu-frankfurt/gateway/x"}, 200, "", "me-riyadh"},
			{"not served here", "me-riyadh", de, "/v1/messages", nil, 403, "forbidden", ""},
			{"not served here, forged headers", "me-riyadh", de, "/v1/messages", forged, 403, "forbidden", ""},
			{"not served here, its region's host", "me-riyadh", de, "/v1/messages", []string{"Host", "eu.im.example.com"}, 403, "forbidden", ""},
			{"not served there", "eu-frankfurt", sa, "/v1/messages", nil, 403, "forbidden", ""},
			{"the entry must not", "me-riyadh", l.token(t, "amal", "SA"), "/v1/friends/amal", nil, 403, "entry-not-allowed", ""},
			{"the entry must not, forged headers", "me-riyadh", sa, "/v1/friends/amal", forged, 403, "entry-not-allowed", ""},
			{"the owner's profile", "me-riyadh", sa, "/v1/profiles/amal", nil, 200, "", "me-riyadh"},
			{"another's profile", "me-riyadh", de, "/v1/profiles/amal", forged, 0, "", ""}, // judged by the counters
			{"no token", "me-riyadh", "", "/v1/messages", nil, 401, "no-identity", ""},
			{"no token, forged headers", "me-riyadh", "", "/v1/messages", forged, 401, "no-identity", ""},
			{"rubbish", "me-riyadh", "x.y.z", "/v1/messages", forged, 401, "bad-token", ""},
			{"no rule", "me-riyadh", l.token(t, "q", "QA"), "/v1/messages", forged, 403, "no-rule", ""},
			{"not entitled", "me-riyadh", l.token(t, "u", "US"), "/v1/messages", forged, 403, "issuer-not-entitled", ""},
			{"no class", "me-riyadh", sa, "/nowhere", nil, 403, "no-class", ""},
		} {
			for _, h2 := range []bool{false, true} {
				before := l.counted(t)
				a := get(t, overTLS(t, toPeer(t, p, c.region), h2), "https://"+peers[c.region].Peer+c.path, c.token, c.headers...)
				if c.status != 0 && (a.status != c.status || a.reason() != c.reason) || c.status == 0 && (a.status == 200 || a.reason() == "") {
					t.Errorf("%s, %s at %s: %s", node, c.name, c.region, a)
				}
				only(t, l.reached(t, before), c.served)
				if c.path == "/v1/messages" && a.status == 200 {
					h := a.backendHeaders(t)
					for name, want := range map[string]string{"x-domicile-home": "SA", "x-domicile-user": "amal"} {
						if h[name] != want {
							t.Errorf("%s, %s: the backend saw %s %q", node, c.name, name, h[name])
						}
					}
					for _, name := range []string{"authorization", "x-domicile-entry"} {
						if v, there := h[name]; there {
							t.Errorf("%s, %s: the backend saw %s %q", node, c.name, name, v)
						}
					}
				}
			}
		}
	}
}

// The peer of a region knows which service is alive; no user may ask it.
func TestT39_ThePeersHealthIsNoUsersBusiness(t *testing.T) {
	l := shared(t)
	token := l.token(t, "amal", "SA")
	for door, url := range l.doors() {
		for _, path := range []string{"/.domicile/health/message", "/.domicile/health/", "/.domicile/"} {
			before := l.counted(t)
			if a := get(t, h1, url+path, token); a.status != 403 || a.reason() != "no-class" {
				t.Errorf("%s through %s: %s", path, door, a)
			}
			if a := get(t, h2c, url+path, ""); a.status == 200 || a.reason() == "" {
				t.Errorf("%s without a token through %s: %s", path, door, a)
			}
			only(t, l.reached(t, before), "")
		}
	}
}
