package im_test

import (
	"strings"
	"testing"
)

// Two users of one home over MQTT, by WebSocket, at two entries: what one
// publishes the other hears, and the other regions' servers see nothing.
func mqttStaysAtHome[S server](t *testing.T, f fleet[S], user func(t testing.TB, home, name string) string) {
	l := start(t, f.backends())
	for i, home := range regions {
		t.Run(home, func(t *testing.T) {
			a, b := user(t, home, "m-amal"), user(t, home, "m-badr")
			before := f.settled(t)
			alice, bob := l.mqtt(t, regions[(i+1)%3], a), l.mqtt(t, regions[(i+2)%3], b)
			bob.follow(t, "to/badr/#")
			alice.follow(t, "to/amal/#")
			alice.say(t, "to/badr/amal", "hello")
			bob.hear(t, "to/badr/amal:hello")
			long := strings.Repeat("a long story ", 20_000) // more than any buffer on the way
			bob.say(t, "to/amal/badr", long)
			alice.hear(t, "to/amal/badr:"+long)
			f.only(t, before, home)
		})
	}
	l.silent(t, "amal", "badr", "a long story")
}

func TestMQTTStaysAtHomeBeforeEjabberd(t *testing.T) {
	f := shared(t)
	mqttStaysAtHome(t, f, func(t testing.TB, home, name string) string { return f[home].register(t, name) })
}

func TestMQTTStaysAtHomeBeforeMochi(t *testing.T) {
	f := startFleet(t, startMochi)
	t.Cleanup(f.stop)
	mqttStaysAtHome(t, f, func(_ testing.TB, home, name string) string { return name + "@" + hostOf[home] })
}
