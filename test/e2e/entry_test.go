package e2e_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"
)

var hostOf = map[string]string{"me-riyadh": "sa.im.example.com", "tr-istanbul": "tr.im.example.com", "eu-frankfurt": "eu.im.example.com"}

// passing is the shipped policy where gateways pass connections on, and TR lets every
// gateway decrypt.
func passing(t testing.TB, edits ...[3]string) string {
	return policies(t, append([][3]string{
		{"deployment.yaml", `peer: "peer.sa.example.com:8443"}`, `peer: "peer.sa.example.com:8443", tls: "sa.im.example.com:8443"}`},
		{"deployment.yaml", `peer: "peer.tr.example.com:8443"}`, `peer: "peer.tr.example.com:8443", tls: "tr.im.example.com:8443"}`},
		{"deployment.yaml", `peer: "peer.eu.example.com:8443"}`, `peer: "peer.eu.example.com:8443", tls: "eu.im.example.com:8443"}`},
		{"jurisdictions/tr.yaml", "relation: {entry: [tr-istanbul]}", "relation: {}"},
		{"jurisdictions/tr.yaml", "profile], for: [entry]", "profile, relation], for: [entry]"},
	}, edits...)...)
}

// shown is the certificate that a connection by a name is shown; nil for none.
func (l *lab) shown(entry, name string) []byte {
	c, err := tls.Dial("tcp", l.ready.Regions[entry].GatewayTLS, &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err != nil {
		return nil
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].Raw
}

// endsAt is the region whose gateway ends the TLS of a connection: the one that shows
// the same certificate to who comes by its own name. It is empty where nobody does.
func (l *lab) endsAt(t testing.TB, entry, name string) string {
	t.Helper()
	shown := l.shown(entry, name)
	for region, host := range hostOf {
		if shown != nil && bytes.Equal(shown, l.shown(region, host)) {
			return region
		}
	}
	return map[bool]string{true: "", false: "?"}[shown == nil]
}

// named opens a WebSocket at an entry by a server name.
func (l *lab) named(t testing.TB, entry, name, home string) *socket {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, _, err := websocket.Dial(ctx, "wss://"+l.ready.Regions[entry].GatewayTLS+"/ws", &websocket.DialOptions{
		HTTPClient: overTLS(t, &tls.Config{ServerName: name, InsecureSkipVerify: true}, false),
		HTTPHeader: http.Header{"Authorization": {"Bearer " + l.token(t, "named-"+home, home)}},
	})
	if err != nil {
		t.Fatalf("a socket of %s by the name %q at %s: %v", home, name, entry, err)
	}
	s := &socket{conn: c, home: home, pongs: make(chan string, 16)}
	go func() {
		for {
			_, data, err := c.Read(context.Background())
			if err != nil {
				s.closed.Store(time.Now().UnixNano())
				return
			}
			s.pongs <- string(data)
		}
	}()
	t.Cleanup(func() { c.CloseNow() })
	return s
}

// T12, T36: who may decrypt changes under open connections. Exactly those close that
// are decrypted where they may not be any more; new ones are passed on undecrypted,
// and the brake lets nobody decrypt again.
func TestT36_ConnectionsThatMayNotBeDecryptedClose(t *testing.T) {
	l := own(t, "--policies", passing(t))
	const entry = "eu-frankfurt"
	for name, want := range map[string]string{
		hostOf[entry]: entry, hostOf["tr-istanbul"]: entry, hostOf["me-riyadh"]: "me-riyadh", "localhost": entry, "": entry, "bank.example": "",
	} {
		if got := l.endsAt(t, entry, name); got != want {
			t.Errorf("%q ends at %q, want %q", name, got, want)
		}
	}
	revoked := l.named(t, entry, hostOf["tr-istanbul"], "TR")
	others := []*socket{
		l.named(t, entry, hostOf["me-riyadh"], "SA"), l.named(t, entry, hostOf[entry], "DE"), l.named(t, entry, "", "TR"), l.named(t, entry, hostOf[entry], "TR"),
		l.named(t, "tr-istanbul", hostOf["tr-istanbul"], "TR"), l.named(t, "tr-istanbul", hostOf["me-riyadh"], "SA"),
	}
	for _, s := range append(others, revoked) {
		if err := s.alive(); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	l.apply(t, passing(t, [3]string{"jurisdictions/tr.yaml", "relation: {}", "relation: {entry: [tr-istanbul]}"},
		[3]string{"jurisdictions/tr.yaml", "profile, relation], for: [entry]", "profile], for: [entry]"}))
	eventually(t, 3*time.Second, func() error {
		if revoked.closed.Load() == 0 {
			return fmt.Errorf("the connection that Frankfurt decrypts is open")
		}
		return nil
	})
	t.Logf("closed %s after apply began", time.Unix(0, revoked.closed.Load()).Sub(began).Round(time.Millisecond))
	for _, s := range others {
		if err := s.alive(); err != nil {
			t.Error(err)
		}
	}
	if got := l.endsAt(t, entry, hostOf["tr-istanbul"]); got != "tr-istanbul" {
		t.Errorf("TR's host ends at %q", got)
	}
	before := l.counted(t)
	if err := l.named(t, entry, hostOf["tr-istanbul"], "TR").alive(); err != nil {
		t.Error(err)
	}
	only(t, l.reached(t, before), "tr-istanbul")
	if out, errs, code := run(t, "deny", "--home", "TR", "--reason", "drill", "--dir", l.dir); code != 0 {
		t.Fatalf("deny: exit %d\n%s%s", code, out, errs)
	}
	l.synced(t)
	if got := l.endsAt(t, entry, hostOf["tr-istanbul"]); got != "tr-istanbul" {
		t.Errorf("under the brake TR's host ends at %q", got)
	}
}

// A client that came by a wrong host is told the right one, and finds it beforehand.
func TestClientsAreToldTheRightHost(t *testing.T) {
	l := shared(t)
	token := l.token(t, "amal", "SA")
	for entry, r := range l.ready.Regions {
		before := l.counted(t)
		for _, host := range []string{"eu.im.example.com", "tr.im.example.com", "sa.im.example.com"} {
			if entry == "me-riyadh" {
				continue // where it is allowed
			}
			a := get(t, h1, r.Gateway+"/v1/friends/amal", token, "Host", host)
			want := "wrong-host"
			if host == "sa.im.example.com" {
				want = "entry-not-allowed"
			}
			if right := a.header.Get("x-domicile-host"); a.reason() != want || want == "wrong-host" && (a.status != 421 || right != "sa.im.example.com") {
				t.Errorf("%s at %s: %s, right host %q", host, entry, a, right)
			}
		}
		only(t, l.reached(t, before), "")
		if a := get(t, h1, r.Gateway+"/.well-known/domicile", token); a.status != 200 || a.field("home") != "SA" || a.field("host") != "sa.im.example.com" {
			t.Errorf("SA's host at %s: %s", entry, a)
		}
		if a := get(t, h2c, r.Gateway+"/.well-known/domicile", ""); a.status != 200 || a.field("homes") == "" || a.header.Get("cache-control") != "no-store" {
			t.Errorf("all hosts at %s: %s", entry, a)
		}
		only(t, l.reached(t, before), "")
	}
}
