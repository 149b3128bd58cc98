package im_test

import (
	"fmt"
	"testing"
	"time"
)

// friends makes each of two users the other's contact.
func friends(t testing.TB, a, b *xmppClient) {
	t.Helper()
	for _, p := range [][2]*xmppClient{{a, b}, {b, a}} {
		asks, answers := p[0], p[1]
		asks.iq(t, "set", "", fmt.Sprintf(`<query xmlns="jabber:iq:roster"><item jid=%q name="a friend"/></query>`, answers.jid))
		asks.send(t, fmt.Sprintf(`<presence xmlns="jabber:client" type="subscribe" to=%q/>`, answers.jid))
		from := func(want, jid string) func(element) bool {
			return func(e element) bool {
				return e.XMLName.Local == "presence" && e.attr("type") == want && bare(e.attr("from")) == jid
			}
		}
		answers.await(t, "request of "+asks.jid, from("subscribe", asks.jid))
		answers.send(t, fmt.Sprintf(`<presence xmlns="jabber:client" type="subscribed" to=%q/>`, asks.jid))
		asks.await(t, "consent of "+answers.jid, from("subscribed", answers.jid))
		asks.await(t, "presence of "+answers.jid, from("", answers.jid))
	}
}

// contact tells whether a user's roster holds another as a mutual contact.
func contact(t testing.TB, c *xmppClient, jid string) error {
	t.Helper()
	roster := c.iq(t, "get", "", `<query xmlns="jabber:iq:roster"/>`)
	for _, item := range roster.find("query").Children {
		if item.attr("jid") == jid && item.attr("subscription") == "both" && item.attr("name") == "a friend" {
			return nil
		}
	}
	return fmt.Errorf("the roster of %s: %+v", c.jid, roster)
}

// Two users of one home, who come in at different regions: friends, presence,
// profiles, messages and offline messages all live at their home's server.
func xmppStaysAtHome[S interface {
	server
	register(t testing.TB, user string) string
}](t *testing.T, s fleet[S]) {
	l := start(t, s.backends())
	for i, home := range regions {
		t.Run(home, func(t *testing.T) {
			a, b := s[home].register(t, "amal"), s[home].register(t, "badr")
			before := s.settled(t)
			// Every region's gateway is an entry of one of them.
			alice, bob := l.xmpp(t, regions[(i+1)%3], a), l.xmpp(t, regions[(i+2)%3], b)
			friends(t, alice, bob)
			for c, friend := range map[*xmppClient]string{alice: b, bob: a} {
				if err := contact(t, c, friend); err != nil {
					t.Error(err)
				}
			}

			alice.iq(t, "set", "", `<vCard xmlns="vcard-temp"><FN>Amal A.</FN><TEL><NUMBER>+0 123</NUMBER></TEL></vCard>`)
			card := bob.iq(t, "get", a, `<vCard xmlns="vcard-temp"/>`)
			if fn := card.find("FN"); fn == nil || fn.Text != "Amal A." {
				t.Errorf("the profile of %s: %+v", a, card)
			}

			alice.tell(t, b, "hello")
			bob.hear(t, a, "hello")
			bob.tell(t, a, "good day")
			alice.hear(t, b, "good day")

			// What is said while one is away waits at home, and is fetched at another entry.
			bob.leave(t)
			alice.await(t, "bob gone", func(e element) bool { return e.XMLName.Local == "presence" && e.attr("type") == "unavailable" })
			alice.tell(t, b, "are you there?")
			alice.ping(t)
			back := l.xmpp(t, home, b)
			back.hear(t, a, "are you there?")
			if err := contact(t, back, a); err != nil {
				t.Error(err)
			}
			s.only(t, before, home)
			if n := s[home].seen(t).sessions - before[home].sessions; n != 2 {
				t.Errorf("the server of %s has %d sessions more, want 2", home, n)
			}
			alice.leave(t)
			back.leave(t)
			eventually(t, 5*time.Second, func() error {
				if n := s[home].seen(t).sessions; n != before[home].sessions {
					return fmt.Errorf("%d sessions are left", n)
				}
				return nil
			})
		})
	}
	l.silent(t, "amal", "badr", "Amal", "are you there")
}

func TestXMPPStaysAtHomeBeforeEjabberd(t *testing.T) { xmppStaysAtHome(t, shared(t)) }

func TestXMPPStaysAtHomeBeforeProsody(t *testing.T) {
	f := startFleet(t, startProsody)
	t.Cleanup(f.stop)
	xmppStaysAtHome(t, f)
}
