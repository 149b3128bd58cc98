package im_test

import (
	"strings"
	"testing"
)

// Two users of one home over MQTT, by WebSocket, at two entries: what one
// publishes the other hears, and the other regions' servers see nothing.
func TestMQTTStaysAtHome(t *testing.T) {
	s := shared(t)
	l := start(t, s.backends())
	for i, home := range regions {
		t.Run(home, func(t *testing.T) {
			a, b := s[home].register(t, "m-amal"), s[home].register(t, "m-badr")
			before := s.seen(t)
			alice, bob := l.mqtt(t, regions[(i+1)%3], a), l.mqtt(t, regions[(i+2)%3], b)
			bob.follow(t, "to/badr/#")
			alice.follow(t, "to/amal/#")
			alice.say(t, "to/badr/amal", "hello")
			bob.hear(t, "to/badr/amal:hello")
			long := strings.Repeat("a long story ", 20_000) // more than any buffer on the way
			bob.say(t, "to/amal/badr", long)
			alice.hear(t, "to/amal/badr:"+long)
			s.only(t, before, home)
		})
	}
}
