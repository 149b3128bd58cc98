package im_test

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
)

// mochi is a real MQTT server of another make, inside the test.
type mochi struct {
	mqtt.HookBase
	web      *relay // MQTT over WebSocket
	broker   *mqtt.Server
	sessions atomic.Int64 // begun so far
	mu       sync.Mutex
	names    map[string]bool // of those who tried to log in
}

func startMochi(t testing.TB, _ string) *mochi {
	t.Helper()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	m := &mochi{broker: mqtt.New(&mqtt.Options{Logger: quiet}), names: map[string]bool{}}
	if err := m.broker.AddHook(m, nil); err != nil {
		t.Fatal(err)
	}
	addr := freeAddr(t)
	if err := m.broker.AddListener(listeners.NewWebsocket(listeners.Config{ID: "ws", Type: listeners.TypeWS, Address: addr})); err != nil {
		t.Fatal(err)
	}
	if err := m.broker.Serve(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, func() error {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err
	})
	m.web = front(t, "tcp", addr)
	return m
}

// freeAddr is a loopback address that nobody listens on.
func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Provides is part of the server's interface for hooks, as are the methods below.
func (m *mochi) Provides(b byte) bool {
	return bytes.Contains([]byte{mqtt.OnConnectAuthenticate, mqtt.OnACLCheck, mqtt.OnSessionEstablished}, []byte{b})
}

func (m *mochi) OnConnectAuthenticate(_ *mqtt.Client, p packets.Packet) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.names[string(p.Connect.Username)] = true
	return string(p.Connect.Password) == password
}

func (m *mochi) OnACLCheck(*mqtt.Client, string, bool) bool { return true }

func (m *mochi) OnSessionEstablished(*mqtt.Client, packets.Packet) { m.sessions.Add(1) }

func (m *mochi) serves() map[string]string { return map[string]string{"mqtt": m.web.addr()} }

func (m *mochi) seen(testing.TB) seen {
	s := passed(m.web)
	m.mu.Lock()
	defer m.mu.Unlock()
	s.sessions, s.users = m.sessions.Load(), int64(len(m.names))
	return s
}

func (m *mochi) stop() {
	m.web.stop()
	_ = m.broker.Close()
}
