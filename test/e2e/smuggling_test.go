package e2e_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// twoDoors are a gateway elsewhere, behind which stands a peer, and a sidecar at home.
func (l *lab) twoDoors() map[string]string {
	return map[string]string{"a gateway elsewhere": l.ready.Regions["eu-frankfurt"].Gateway, "a sidecar at home": l.ready.Regions["me-riyadh"].Sidecar}
}

// pipeline writes bytes to a door and returns what it answered, in order, until it
// said that it closes the connection, or was silent for a quarter of a second.
func pipeline(t testing.TB, url, data string) (answers []answer, closed bool) {
	t.Helper()
	c, err := net.DialTimeout("tcp", strings.TrimPrefix(url, "http://"), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetWriteDeadline(time.Now().Add(5 * time.Second))
	_, _ = io.WriteString(c, data) // the door may close early
	r := bufio.NewReader(c)
	for {
		_ = c.SetReadDeadline(time.Now().Add(250 * time.Millisecond))
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			ne, timeout := err.(net.Error)
			return answers, closed || !(timeout && ne.Timeout())
		}
		closed = closed || resp.Close
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		answers = append(answers, answer{resp.StatusCode, resp.Header, string(body)})
	}
}

// once fails unless at most the one request whose token was good was counted, at
// home: a body is forwarded while it is read, so what is wrong with it is found late.
func once(t testing.TB, reached map[string]int, name, door string) {
	t.Helper()
	for region, n := range reached {
		if region != "me-riyadh" || n > 1 {
			t.Errorf("LEAK: %s through %s: %s counted %d", name, door, region, n)
		}
	}
}

// One byte string that two parsers cut in two ways is how a second request gets past
// the checks of the first. What can be framed in two ways is refused, the connection is
// closed, and what was smuggled reaches nobody.
func TestT11_OneFramingOnly(t *testing.T) {
	l := shared(t)
	token := l.token(t, "amal", "SA")
	const inner = "GET /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nx-domicile-home: DE\r\n\r\n"
	head := "POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer " + token + "\r\n"
	for name, data := range map[string]string{
		"length and chunked":      head + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner,
		"chunked and length":      head + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + inner,
		"two lengths":             head + "Content-Length: 0\r\nContent-Length: " + fmt.Sprint(len(inner)) + "\r\n\r\n" + inner,
		"lengths in a list":       head + "Content-Length: 0, " + fmt.Sprint(len(inner)) + "\r\n\r\n" + inner,
		"a signed length":         head + "Content-Length: +0\r\n\r\n" + inner,
		"a negative length":       head + "Content-Length: -1\r\n\r\n" + inner,
		"a hexadecimal length":    head + "Content-Length: 0x0\r\n\r\n" + inner,
		"an unknown coding":       head + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + inner,
		"chunked, then identity":  head + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + inner,
		"two codings":             head + "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner,
		"a blank before a colon":  head + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + inner,
		"a NUL in a header":       head + "X-A: b\x00\r\nContent-Length: 0\r\n\r\n" + inner,
		"a wrong chunk size":      head + "Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n" + inner,
		"a chunk size too large":  head + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n\r\n" + inner,
		"a signed chunk size":     head + "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n" + inner,
		"no version":              "GET /v1/messages\r\nHost: 127.0.0.1\r\n\r\n" + inner,
		"a version of the future": "GET /v1/messages HTTP/3.0\r\nHost: 127.0.0.1\r\n\r\n" + inner,
	} {
		for door, url := range l.twoDoors() {
			before := l.counted(t)
			got, closed := pipeline(t, url, data)
			for i, a := range got {
				if i == 0 && a.status == 400 && a.reason() == "bad-request" {
					continue
				}
				t.Errorf("%s through %s: answer %d is %s", name, door, i+1, a)
			}
			if !closed {
				t.Errorf("%s through %s: the connection stays open", name, door)
			}
			once(t, l.reached(t, before), name, door)
		}
	}
}

// What has one framing only is one request, however odd: a chunk's extension and
// trailers hide no second one.
func TestT11_ExtensionsHideNothing(t *testing.T) {
	l := shared(t)
	token := l.token(t, "amal", "SA")
	head := "POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer " + token + "\r\nTransfer-Encoding: chunked\r\n\r\n"
	for name, data := range map[string]string{
		"an extension":               head + "2;a=b\r\nok\r\n0\r\n\r\n",
		"an extension of the last":   head + "0;GET=/v1/messages\r\n\r\n",
		"a folded header":            "POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer " + token + "\r\nX-A: b\r\n Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n",
		"a bare return":              "POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer " + token + "\r\nX-A: b\rTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n",
		"a chunk that runs over":     head + "1\r\nab\r\n0\r\n\r\nGET /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nx-domicile-home: DE\r\n\r\n",
		"trailers":                   head + "0\r\nHost: evil.example\r\nx-domicile-home: DE\r\nTransfer-Encoding: chunked\r\n\r\n",
		"a newline in an extension":  head + "2;a=\nok\r\n0\r\n\r\nGET /v1/messages HTTP/1.1\r\n\r\n",
		"a request behind the chunk": head + "0\r\n\r\nGET /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nx-domicile-home: DE\r\n\r\n",
	} {
		for door, url := range l.twoDoors() {
			before := l.counted(t)
			got, _ := pipeline(t, url, data)
			once(t, l.reached(t, before), name, door)
			for i, a := range got {
				if a.status == 200 && i > 0 {
					t.Errorf("%s through %s: a second request was served: %s", name, door, a)
				}
			}
		}
	}
}

// upgrade is a request for a WebSocket, with what is to be odd about it.
func upgrade(token, protocol, version, more string) string {
	return "GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer " + token + "\r\nConnection: Upgrade\r\nUpgrade: " + protocol +
		"\r\nSec-WebSocket-Version: " + version + "\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" + more
}

// What is no WebSocket is not tunnelled: a tunnel would carry the next request past
// every check.
func TestT10_OnlyWebSocketsAreTunnelled(t *testing.T) {
	l := shared(t)
	token := l.token(t, "amal", "SA")
	const next = "GET /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nx-domicile-home: DE\r\n\r\n"
	for name, data := range map[string]string{
		"h2c":                upgrade(token, "h2c", "13", "HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n") + "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"h2c with a reason":  "GET /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer " + token + "\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n" + next,
		"a custom protocol":  upgrade(token, "domicile", "13", "\r\n") + next,
		"TLS":                upgrade(token, "TLS/1.2", "13", "\r\n") + next,
		"two protocols":      upgrade(token, "websocket, h2c", "13", "\r\n") + next,
		"a wrong version":    upgrade(token, "websocket", "1", "\r\n") + next,
		"a length":           upgrade(token, "websocket", "1", "Content-Length: "+fmt.Sprint(len(next))+"\r\n\r\n") + next,
		"a chunked body":     upgrade(token, "websocket", "1", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n") + next,
		"a tunnel (CONNECT)": "CONNECT 127.0.0.1:80 HTTP/1.1\r\nHost: 127.0.0.1:80\r\nAuthorization: Bearer " + token + "\r\n\r\n" + next,
	} {
		for door, url := range l.twoDoors() {
			before := l.counted(t)
			got, _ := pipeline(t, url, data)
			for i, a := range got {
				// h2c may be ignored (RFC 9110, 7.8), and is: then the request is an ordinary one.
				if ignored := i == 0 && strings.HasPrefix(name, "h2c"); a.status == 101 || a.status == 200 && !ignored {
					t.Errorf("%s through %s: answer %d is %s", name, door, i+1, a)
				}
			}
			once(t, l.reached(t, before), name, door)
		}
	}
}

// A backend that answers 200 or 401 to an upgrade has not agreed: nothing of what the
// client sent behind it may be carried, and the connection to the backend, which may
// hold bytes of this user, serves nobody else.
func TestT10_AnUpgradeThatTheBackendRefuses(t *testing.T) {
	l := own(t)
	b := l.ready.Regions["me-riyadh"].Backends["message"]
	if err := syscall.Kill(b.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var status, more atomic.Int64
	status.Store(200)
	stand(t, b.Address, func(c net.Conn) {
		defer c.Close()
		r := bufio.NewReader(c)
		upgraded := false
		for {
			_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
			if _, err := r.Peek(1); err != nil {
				return
			}
			if upgraded {
				more.Add(1) // the client's bytes, or somebody else's request
			}
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, req.Body)
			code := 200
			if req.Header.Get("Upgrade") != "" {
				upgraded, code = true, int(status.Load())
			}
			fmt.Fprintf(c, "HTTP/1.1 %d x\r\ncontent-length: 2\r\nx-from: %s\r\n\r\nok", code, req.Header.Get("x-domicile-user"))
		}
	})
	first, second := l.token(t, "amal", "SA"), l.token(t, "badr", "SA")
	for _, code := range []int64{200, 401, 426} {
		status.Store(code)
		for door, url := range l.twoDoors() {
			got, _ := pipeline(t, url, upgrade(first, "websocket", "13", "\r\n")+"\x81\x85\x00\x00\x00\x00hello")
			if len(got) > 0 && got[0].status == 101 {
				t.Fatalf("%s: the client was told of an upgrade that the backend refused with %d", door, code)
			}
			a := get(t, h1, url+"/v1/messages", second)
			if a.status != 200 || a.header.Get("x-from") != "badr" {
				t.Errorf("%s, after an upgrade refused with %d: the next user got %s from %q", door, code, a, a.header.Get("x-from"))
			}
		}
	}
	if n := more.Load(); n > 0 {
		t.Errorf("a connection on which the backend had refused an upgrade carried more %d times", n)
	}
}

// stand takes the place of a backend that is gone.
func stand(t *testing.T, addr string, serve func(net.Conn)) {
	t.Helper()
	var listener net.Listener
	eventually(t, 10*time.Second, func() (err error) {
		listener, err = net.Listen("tcp", addr)
		return err
	})
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
}
