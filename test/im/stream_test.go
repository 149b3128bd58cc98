package im_test

import (
	"fmt"
	"testing"
	"time"
)

// inTLSEverywhere opens XMPP and MQTT over TCP, inside the server's own TLS, at
// every entry for one home.
func inTLSEverywhere(t testing.TB, l *lab, s fleet[*ejabberd], home string) []connection {
	t.Helper()
	var out []connection
	for i, entry := range regions {
		jid := s[home].register(t, fmt.Sprintf("s-%s-%d", t.Name(), i))
		streams := l.ready.Regions[entry].Streams
		x := login(t, overTCP(inTLS(t, streams["xmpp"], hostOf[home])), jid)
		m, err := mqttOver(inTLS(t, streams["mqtt"], hostOf[home]), jid)
		if err != nil {
			t.Fatalf("%s at %s: %v", jid, entry, err)
		}
		t.Cleanup(func() { m.Disconnect(0) })
		topic := "tls/" + entry
		m.follow(t, topic)
		out = append(out,
			connection{"XMPP of " + home + " at " + entry, entry, x.closed.Load, x.ping},
			connection{"MQTT of " + home + " at " + entry, entry, m.lost.Load, func(t testing.TB) {
				t.Helper()
				m.say(t, topic, "ping")
				m.hear(t, topic+":ping")
			}})
	}
	return out
}

// XMPP and MQTT over TCP: the server's own certificate reaches the client, so no
// gateway has decrypted, and no other region's server sees a byte.
func TestStreamsStayAtHomeAndAreNotDecrypted(t *testing.T) {
	s := shared(t)
	l := start(t, s.backends())
	for _, home := range regions {
		before := s.settled(t)
		for _, c := range inTLSEverywhere(t, l, s, home) {
			c.alive(t)
		}
		s.only(t, before, home)
	}
}

// T12, T36: the streams of a home that is forbidden close, and no others; its name
// leads nowhere then.
func TestT36_ForbiddingAHomeClosesItsStreamsOnly(t *testing.T) {
	s := shared(t)
	l := start(t, s.backends())
	revoked := inTLSEverywhere(t, l, s, "tr-istanbul")
	others := append(inTLSEverywhere(t, l, s, "me-riyadh"), inTLSEverywhere(t, l, s, "eu-frankfurt")...)
	began := l.apply(t, edit{"jurisdictions/tr.yaml", "message: {session: {maxAge: 24h}}", "message: {serve: []}"})
	closedWithin(t, revoked, began, 3*time.Second)
	stay(t, others)
	before := s.settled(t)
	for _, entry := range regions {
		for _, at := range l.ready.Regions[entry].Streams {
			for _, name := range []string{hostOf["tr-istanbul"], "qa.im.example.com", ""} {
				if c, err := dialTLS(at, name); err == nil {
					c.Close()
					t.Errorf("%q was let in at %s", name, entry)
				}
			}
		}
	}
	s.only(t, before, "")
}
