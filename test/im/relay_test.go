package im_test

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// relay stands between Envoy and one port of a real server, and counts what
// passes towards the server. It is the port's only way in.
type relay struct {
	listener    net.Listener
	dial        func() (net.Conn, error)
	connections atomic.Int64 // taken so far
	bytes       atomic.Int64 // towards the server
	open        atomic.Int64
	mu          sync.Mutex
	conns       map[net.Conn]bool
}

// front starts a relay to a server's address on a loopback port.
func front(t testing.TB, network, addr string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{listener: l, conns: map[net.Conn]bool{}, dial: func() (net.Conn, error) { return net.Dial(network, addr) }}
	go r.serve()
	return r
}

func (r *relay) addr() string { return r.listener.Addr().String() }

func (r *relay) serve() {
	for {
		c, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.connections.Add(1)
		go r.pass(c)
	}
}

func (r *relay) pass(c net.Conn) {
	defer c.Close()
	s, err := r.dial()
	if err != nil {
		return
	}
	defer s.Close()
	r.open.Add(1)
	defer r.open.Add(-1)
	r.hold(c, true)
	defer r.hold(c, false)
	go func() {
		_, _ = io.Copy(io.MultiWriter(s, counter{&r.bytes}), c)
		s.Close()
	}()
	_, _ = io.Copy(c, s)
}

func (r *relay) hold(c net.Conn, on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if on {
		r.conns[c] = true
	} else {
		delete(r.conns, c)
	}
}

// stop closes the port and what is open, as a host that goes down.
func (r *relay) stop() {
	_ = r.listener.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		_ = c.Close()
	}
}

type counter struct{ n *atomic.Int64 }

func (c counter) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return len(p), nil
}
