package load

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

func TestReadHead(t *testing.T) {
	for _, c := range []struct {
		in                   string
		head, status, length int
		fails                bool
	}{
		{in: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", head: 38, status: 200, length: 2},
		{in: "HTTP/1.1 403 Forbidden\r\nx: y\r\ncontent-length:0\r\n\r\n", head: 50, status: 403},
		{in: "HTTP/1.1 101 Switching Protocols\r\n\r\n", head: 36, status: 101},
		{in: "HTTP/1.1 200 OK\r\nContent-Le"},
		{in: ""},
		{in: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", fails: true},
		{in: "HTTP/1.1 200 OK\r\nx-content-length: 5\r\n\r\n", fails: true},
		{in: "HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n", fails: true},
		{in: "SSH-2.0-OpenSSH_9\r\n\r\n", fails: true},
		{in: "HTTP/1.1 2xx OK\r\n\r\n", fails: true},
	} {
		head, status, length, err := readHead([]byte(c.in))
		if (err != nil) != c.fails || !c.fails && (head != c.head || status != c.status || length != c.length) {
			t.Errorf("%q: head %d, status %d, length %d, %v", c.in, head, status, length, err)
		}
	}
}

func TestDriveCountsAndFails(t *testing.T) {
	addr := answers(t)
	conns, err := Dial(addr, 3)
	if err != nil {
		t.Fatal(err)
	}
	defer HangUp(conns)
	good := &Requests{List: [][]byte{[]byte("200")}}
	n, _, err := Drive(t.Context(), conns, time.Minute, 50, good.Exchange)
	if n != 50 || err != nil {
		t.Errorf("%d of 50 done: %v", n, err)
	}
	bad := &Requests{List: [][]byte{[]byte("200"), []byte("200"), []byte("503")}}
	if _, _, err := Drive(t.Context(), conns, time.Minute, 50, bad.Exchange); err == nil || !strings.Contains(err.Error(), "status 503") {
		t.Errorf("a refusal went unnoticed: %v", err)
	}
}

// A pace is kept, and what an answer keeps waiting is counted as waiting.
func TestPace(t *testing.T) {
	conns, err := Dial(answers(t), 2)
	if err != nil {
		t.Fatal(err)
	}
	defer HangUp(conns)
	slow := true
	took, err := Pace(t.Context(), conns[:1], 100, 200*time.Millisecond, func(w *Wire) error {
		if slow {
			slow = false
			time.Sleep(50 * time.Millisecond) // five exchanges become due meanwhile
		}
		return nil
	})
	if err != nil || len(took) != 20 {
		t.Fatalf("%d exchanges instead of 20: %v", len(took), err)
	}
	if took[1] < 30*time.Millisecond {
		t.Errorf("the exchange behind the slow one counts as %s", took[1])
	}
	bad := &Requests{List: [][]byte{[]byte("503")}}
	if _, err := Pace(t.Context(), conns, 100, time.Minute, bad.Exchange); err == nil {
		t.Error("a refusal went unnoticed")
	}
}

// answers is a server that answers three bytes with them as the status.
func answers(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				buf := make([]byte, 3)
				for {
					if _, err := io.ReadFull(c, buf); err != nil {
						return
					}
					_, _ = io.WriteString(c, "HTTP/1.1 "+string(buf)+" X\r\ncontent-length: 2\r\n\r\nok")
				}
			}()
		}
	}()
	return l.Addr().String()
}
