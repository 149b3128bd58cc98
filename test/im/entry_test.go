package im_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"testing"
	"time"
)

// secure are the TLS settings of a client for a host name: a gateway that has no
// certificate of it cannot have decrypted.
func (l *lab) secure(t testing.TB, host string) *tls.Config {
	t.Helper()
	data, err := os.ReadFile(l.ready.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		t.Fatalf("%s holds no certificate", l.ready.CAFile)
	}
	return &tls.Config{RootCAs: pool, ServerName: host}
}

// secureXMPP logs a user in by WebSocket inside TLS, and out again.
func (l *lab) secureXMPP(t testing.TB, entry, host, jid string) error {
	t.Helper()
	addr := l.ready.Regions[entry].GatewayTLS
	link, err := overWebSocket(&http.Client{Transport: &http.Transport{
		TLSClientConfig: l.secure(t, host), DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	}}, "wss://"+host)
	if err != nil {
		return err
	}
	c := login(t, link, jid)
	c.ping(t)
	c.leave(t)
	return nil
}

// secureMQTT logs a user in by WebSocket inside TLS, talks to itself, and leaves. The
// library names the host in the Host header only, so the TLS is opened for it.
func (l *lab) secureMQTT(t testing.TB, entry, host, jid string) error {
	t.Helper()
	c := &mqttClient{in: make(chan string, 8)}
	o := c.options(jid).AddBroker("wss://" + l.ready.Regions[entry].GatewayTLS + "/mqtt").
		SetTLSConfig(l.secure(t, host)).SetHTTPHeaders(http.Header{"Host": {host}})
	if err := c.connect(o); err != nil {
		return err
	}
	c.follow(t, "tls")
	c.say(t, "tls", "hello")
	c.hear(t, "tls:hello")
	c.Disconnect(100)
	return nil
}

// Clients use TLS: where a home's users may enter, the gateway proves the host name
// and ends TLS, at every region.
func TestXMPPAndMQTTInsideTheGatewaysTLS(t *testing.T) {
	s := shared(t)
	l := start(t, s.backends())
	for _, home := range regions {
		jid := s[home].register(t, "tls")
		before := s.settled(t)
		for _, entry := range regions {
			if err := l.secureXMPP(t, entry, hostOf[home], jid); err != nil {
				t.Errorf("XMPP of %s at %s: %v", home, entry, err)
			}
			if err := l.secureMQTT(t, entry, hostOf[home], jid); err != nil {
				t.Errorf("MQTT of %s at %s: %v", home, entry, err)
			}
		}
		s.only(t, before, home)
	}
}

// Where only Riyadh may decrypt what is SA's, the other gateways have no certificate
// of its name and pass its TLS on to Riyadh; in clear they refuse. All the same, no
// client has to change anything.
func TestAnEntryThatMayNotDecryptPassesOn(t *testing.T) {
	s := shared(t)
	l := start(t, s.backends(), edit{"jurisdictions/sa.yaml", "entry: [me-riyadh, tr-istanbul, eu-frankfurt]", "entry: [me-riyadh]"},
		edit{"jurisdictions/sa.yaml", "  transfers:\n", "  # "})
	host := hostOf["me-riyadh"]
	jid := s["me-riyadh"].register(t, "guarded")
	for _, entry := range regions {
		before := s.settled(t)
		if err := l.secureXMPP(t, entry, host, jid); err != nil {
			t.Errorf("XMPP at %s: %v", entry, err)
		}
		if err := l.secureMQTT(t, entry, host, jid); err != nil {
			t.Errorf("MQTT at %s: %v", entry, err)
		}
		s.only(t, before, "me-riyadh")
		if entry == "me-riyadh" {
			continue
		}
		before = s.settled(t)
		_, err := l.dialXMPP(entry, host)
		isRefused(t, err, 403, "entry-not-allowed")
		s.only(t, before, "")
	}
}

// T36: an entry loses its permission while SA's users are connected there. Exactly
// their connections close; those that entered in Riyadh, and everybody else's, stay.
func TestT36_AnEntryLosesItsPermission(t *testing.T) {
	s := shared(t)
	l := start(t, s.backends())
	var revoked, others []connection
	for _, home := range regions {
		for _, c := range everywhere(t, l, s, home) {
			if home == "me-riyadh" && c.entry != "me-riyadh" {
				revoked = append(revoked, c)
			} else {
				others = append(others, c)
			}
		}
	}
	began := l.apply(t, edit{"jurisdictions/sa.yaml", "entry: [me-riyadh, tr-istanbul, eu-frankfurt]", "entry: [me-riyadh]"},
		edit{"jurisdictions/sa.yaml", "  transfers:\n", "  # "})
	closedWithin(t, revoked, began, 3*time.Second)
	stay(t, others)
}

// T12: the emergency brake stops TR's messages under open connections.
func TestT12_TheEmergencyBrakeClosesConnections(t *testing.T) {
	s := shared(t)
	l := start(t, s.backends())
	revoked := append(everywhere(t, l, s, "tr-istanbul"), inTLSEverywhere(t, l, s, "tr-istanbul")...)
	others := append(everywhere(t, l, s, "me-riyadh"), everywhere(t, l, s, "eu-frankfurt")...)
	began := time.Now()
	l.run(t, "deny", "--home", "TR", "--class", "message", "--reason", "a test")
	closedWithin(t, revoked, began, 5*time.Second)
	stay(t, others)
	before := s.settled(t)
	for _, entry := range regions {
		if _, err := l.dialXMPP(entry, hostOf["tr-istanbul"]); err == nil {
			t.Errorf("XMPP of TR was let in at %s", entry)
		}
		if c, err := dialTLS(l.ready.Regions[entry].Streams["mqtt"], hostOf["tr-istanbul"]); err == nil {
			c.Close()
			t.Errorf("MQTT of TR was let in at %s", entry)
		}
	}
	s.only(t, before, "")
}

// stay fails unless all connections are open and answer.
func stay(t testing.TB, list []connection) {
	t.Helper()
	for _, c := range list {
		if c.closed() != 0 {
			t.Error(fmt.Errorf("%s has closed", c.name))
			continue
		}
		c.alive(t)
	}
}
