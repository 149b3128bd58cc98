package im_test

import (
	"crypto/tls"
	"net"
	"testing"
	"time"
)

// inTLS opens a connection to addr, which must end at the real server of host:
// its certificate is of an authority that no gateway has the key of.
func inTLS(t testing.TB, addr, host string) *tls.Conn {
	t.Helper()
	authority.load(t)
	c, err := dialTLS(addr, host)
	if err != nil {
		t.Fatalf("TLS to %s as %s: %v", addr, host, err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// dialTLS shows a server name, "" for none, and verifies nothing but the authority.
func dialTLS(addr, name string) (*tls.Conn, error) {
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: 10 * time.Second}, Config: authority.trust(name)}
	c, err := d.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return c.(*tls.Conn), nil
}

// The servers themselves, with nobody before them: what clients do inside TLS must
// work here first.
func TestTheServersThemselvesSpeakXMPPAndMQTTInsideTLS(t *testing.T) {
	s := shared(t)
	e := s["me-riyadh"]
	a, b := e.register(t, "d-amal"), e.register(t, "d-badr")
	before := s.settled(t)
	alice := login(t, overTCP(inTLS(t, e.xmpps.addr(), e.domain)), a)
	bob := login(t, overTCP(inTLS(t, e.xmpps.addr(), e.domain)), b)
	friends(t, alice, bob)
	alice.tell(t, b, "hello")
	bob.hear(t, a, "hello")

	c, err := mqttOver(inTLS(t, e.mqtts.addr(), e.domain), a)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Disconnect(0)
	c.follow(t, "d/#")
	c.say(t, "d/1", "hello")
	c.hear(t, "d/1:hello")
	s.only(t, before, "me-riyadh")
}
