package im_test

import (
	"fmt"
	"testing"
	"time"
)

// connection is one open connection of a user, of whatever protocol.
type connection struct {
	name, entry string

	closed func() int64 // UnixNano; 0 while open
	alive  func(t testing.TB)
}

// everywhere opens an XMPP and an MQTT connection at every entry for one home.
func everywhere(t testing.TB, l *lab, s fleet[*ejabberd], home string) []connection {
	t.Helper()
	var out []connection
	for i, entry := range regions {
		jid := s[home].register(t, fmt.Sprintf("%s-%d", t.Name(), i))
		x, m := l.xmpp(t, entry, jid), l.mqtt(t, entry, jid)
		topic := "at/" + home + "/" + entry
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

// closedWithin fails unless every connection closes within d of began.
func closedWithin(t testing.TB, list []connection, began time.Time, d time.Duration) {
	t.Helper()
	var last time.Duration
	for _, c := range list {
		eventually(t, d+2*time.Second, func() error {
			if c.closed() == 0 {
				return fmt.Errorf("%s is open", c.name)
			}
			return nil
		})
		last = max(last, time.Unix(0, c.closed()).Sub(began))
	}
	t.Logf("%d connections closed, the last %s after apply began", len(list), last.Round(time.Millisecond))
	if last > d {
		t.Errorf("the last closed after %s, want %s", last, d)
	}
}

// T12, T36: TR's class is forbidden while XMPP and MQTT of all homes are open at
// all entries. Exactly TR's close, and new ones are refused; nobody else's server
// sees them come.
func TestT36_ForbiddingAHomeClosesItsConnectionsOnly(t *testing.T) {
	s := shared(t)
	l := start(t, s.backends())
	revoked := everywhere(t, l, s, "tr-istanbul")
	others := append(everywhere(t, l, s, "me-riyadh"), everywhere(t, l, s, "eu-frankfurt")...)
	began := l.apply(t, edit{"jurisdictions/tr.yaml", "message: {session: {maxAge: 24h}}", "message: {serve: []}"})
	closedWithin(t, revoked, began, 3*time.Second)
	stay(t, others)
	before := s.settled(t)
	for _, entry := range regions {
		_, err := l.dialXMPP(entry, hostOf["tr-istanbul"])
		isRefused(t, err, 403, "no-home")
		if _, err := l.dialMQTT(entry, hostOf["tr-istanbul"], "late@"+hostOf["tr-istanbul"]); err == nil {
			t.Errorf("MQTT of TR was let in at %s", entry)
		}
	}
	s.only(t, before, "")
}

// T12: TR's users move to Frankfurt while their XMPP and MQTT are open at all
// entries. Exactly theirs close; at the host name of the region that serves them
// now they reach the new server, with the JIDs they had; the old server, and the
// host name that stands for nobody any more, see nothing of it.
func TestT12_AHomeMovesAndItsUsersFollow(t *testing.T) {
	s := shared(t)
	l := start(t, s.backends())
	moved := everywhere(t, l, s, "tr-istanbul")
	others := append(everywhere(t, l, s, "me-riyadh"), everywhere(t, l, s, "eu-frankfurt")...)
	began := l.apply(t,
		edit{"jurisdictions/tr.yaml", "serve: [tr-istanbul]", "serve: [eu-frankfurt]"},
		edit{"jurisdictions/tr.yaml", "for: [entry]", "for: [entry, serve]"})
	closedWithin(t, moved, began, 3*time.Second)
	stay(t, others)
	jid := s["eu-frankfurt"].registerAt(t, "mover", hostOf["tr-istanbul"])
	before := s.settled(t)
	for _, entry := range regions {
		x := l.xmppAt(t, entry, hostOf["eu-frankfurt"], jid)
		x.iq(t, "set", "", `<vCard xmlns="vcard-temp"><FN>Mover</FN></vCard>`)
		x.leave(t)
		m := l.mqttAt(t, entry, hostOf["eu-frankfurt"], jid)
		m.follow(t, "moved/"+entry)
		m.say(t, "moved/"+entry, "here")
		m.hear(t, "moved/"+entry+":here")
		m.Disconnect(100)

		_, err := l.dialXMPP(entry, hostOf["tr-istanbul"])
		isRefused(t, err, 403, "no-home")
	}
	s.only(t, before, "eu-frankfurt")
}

// T14, T40: with SA's server down, SA's users are refused for as long as it
// takes, and no other server sees any of it. When it is back, so are they.
func TestT40_AHomeWhoseServerIsDownIsServedByNobodyElse(t *testing.T) {
	s := startFleet(t, startEjabberd)
	t.Cleanup(s.stop)
	l := start(t, s.backends())
	down := everywhere(t, l, s, "me-riyadh")
	others := append(everywhere(t, l, s, "tr-istanbul"), everywhere(t, l, s, "eu-frankfurt")...)
	before := s.settled(t)
	s["me-riyadh"].stop()
	delete(s, "me-riyadh")
	closedWithin(t, down, time.Now(), 3*time.Second)
	for range 3 {
		for _, entry := range regions {
			_, err := l.dialXMPP(entry, hostOf["me-riyadh"])
			isRefused(t, err, 503, "region-unavailable")
			if _, err := l.dialMQTT(entry, hostOf["me-riyadh"], "late@"+hostOf["me-riyadh"]); err == nil {
				t.Errorf("MQTT of SA was let in at %s", entry)
			}
		}
	}
	s.only(t, before, "")
	for _, c := range others {
		c.alive(t)
	}
}
