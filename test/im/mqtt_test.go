package im_test

import (
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// mqttClient is one connection of an MQTT user.
type mqttClient struct {
	mqtt.Client
	in   chan string  // TOPIC:PAYLOAD
	lost atomic.Int64 // UnixNano; 0 while connected
}

// mqttOptions are those of a user who does not connect again by itself.
func (c *mqttClient) options(user string) *mqtt.ClientOptions {
	return mqtt.NewClientOptions().SetClientID(user + "-test").SetUsername(user).SetPassword(password).SetCleanSession(true).
		SetAutoReconnect(false).SetConnectRetry(false).SetConnectTimeout(15 * time.Second).SetKeepAlive(0).
		SetConnectionLostHandler(func(mqtt.Client, error) { c.lost.Store(time.Now().UnixNano()) }).
		SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { c.in <- m.Topic() + ":" + string(m.Payload()) })
}

func (c *mqttClient) connect(o *mqtt.ClientOptions) error {
	c.Client = mqtt.NewClient(o)
	return done(c.Connect())
}

// dialMQTT logs a user in by WebSocket, for a host name, at an entry.
func (l *lab) dialMQTT(entry, host, user string) (*mqttClient, error) {
	c := &mqttClient{in: make(chan string, 64)}
	o := c.options(user).AddBroker("ws://" + l.gateway(entry) + "/mqtt").SetHTTPHeaders(http.Header{"Host": {host}})
	return c, c.connect(o)
}

// mqttOver logs a user in over a connection that is open already.
func mqttOver(conn net.Conn, user string) (*mqttClient, error) {
	c := &mqttClient{in: make(chan string, 64)}
	o := c.options(user).AddBroker("tcp://given:1883").
		SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) { return conn, nil })
	return c, c.connect(o)
}

// mqtt is dialMQTT for a user whose name is a JID; it must succeed.
func (l *lab) mqtt(t testing.TB, entry, jid string) *mqttClient {
	t.Helper()
	_, host, _ := strings.Cut(jid, "@")
	return l.mqttAt(t, entry, host, jid)
}

// mqttAt is mqtt for a host name that is not the user's domain.
func (l *lab) mqttAt(t testing.TB, entry, host, jid string) *mqttClient {
	t.Helper()
	c, err := l.dialMQTT(entry, host, jid)
	if err != nil {
		t.Fatalf("%s at %s: %v", jid, entry, err)
	}
	t.Cleanup(func() { c.Disconnect(0) })
	return c
}

// done waits for what the library does at its leisure.
func done(token mqtt.Token) error {
	if !token.WaitTimeout(20 * time.Second) {
		return errors.New("no answer in 20 s")
	}
	return token.Error()
}

func (c *mqttClient) follow(t testing.TB, topic string) {
	t.Helper()
	if err := done(c.Subscribe(topic, 1, nil)); err != nil {
		t.Fatalf("subscribe to %s: %v", topic, err)
	}
}

func (c *mqttClient) say(t testing.TB, topic, text string) {
	t.Helper()
	if err := done(c.Publish(topic, 1, false, text)); err != nil {
		t.Fatalf("publish to %s: %v", topic, err)
	}
}

func (c *mqttClient) hear(t testing.TB, want string) {
	t.Helper()
	for late := time.After(10 * time.Second); ; {
		select {
		case got := <-c.in:
			if got == want {
				return
			}
		case <-late:
			t.Fatalf("%s was not heard", want)
		}
	}
}
