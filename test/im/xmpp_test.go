package im_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// element is one XML element of a stream.
type element struct {
	XMLName  xml.Name
	Attrs    []xml.Attr `xml:",any,attr"`
	Children []element  `xml:",any"`
	Text     string     `xml:",chardata"`
}

func (e element) attr(name string) string {
	for _, a := range e.Attrs {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// find returns the first element of that name, e itself included.
func (e element) find(name string) *element {
	if e.XMLName.Local == name {
		return &e
	}
	for _, c := range e.Children {
		if f := c.find(name); f != nil {
			return f
		}
	}
	return nil
}

// xmppClient is one connection of an XMPP user.
type xmppClient struct {
	jid    string
	link   xmppLink
	in     chan element
	closed atomic.Int64 // UnixNano; 0 while open
	missed []element    // read while waiting for another
	serial int
}

// xmppLink carries a stream: framed in WebSocket messages (RFC 7395), or as one
// document over a connection (RFC 6120).
type xmppLink interface {
	open(domain string) string // begins or restarts a stream
	leave() string             // ends it
	send(text string) error
	receive() (element, error)
	close()
}

type framed struct{ *websocket.Conn }

func (f framed) open(domain string) string {
	return fmt.Sprintf(`<open xmlns="urn:ietf:params:xml:ns:xmpp-framing" to=%q version="1.0"/>`, domain)
}

func (f framed) leave() string { return `<close xmlns="urn:ietf:params:xml:ns:xmpp-framing"/>` }

func (f framed) send(text string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return f.Write(ctx, websocket.MessageText, []byte(text))
}

func (f framed) receive() (element, error) {
	_, data, err := f.Read(context.Background())
	if err != nil {
		return element{}, err
	}
	var e element
	return e, xml.Unmarshal(data, &e)
}

func (f framed) close() { f.CloseNow() }

type streamed struct {
	net.Conn
	d *xml.Decoder
}

func overTCP(c net.Conn) *streamed { return &streamed{Conn: c} }

func (s *streamed) open(domain string) string {
	s.d = nil
	return fmt.Sprintf(`<?xml version="1.0"?><stream:stream xmlns="jabber:client" xmlns:stream="http://etherx.jabber.org/streams" to=%q version="1.0">`, domain)
}

func (s *streamed) leave() string { return `</stream:stream>` }

func (s *streamed) send(text string) error {
	_, err := io.WriteString(s.Conn, text)
	return err
}

// receive returns the stream's opening as an element without children.
func (s *streamed) receive() (element, error) {
	if s.d == nil {
		s.d = xml.NewDecoder(bufio.NewReader(s.Conn))
	}
	for {
		token, err := s.d.Token()
		if err != nil {
			return element{}, err
		}
		begin, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		if begin.Name.Local == "stream" {
			return element{XMLName: xml.Name{Local: "open"}, Attrs: begin.Attr}, nil
		}
		var e element
		return e, s.d.DecodeElement(&e, &begin)
	}
}

func (s *streamed) close() { _ = s.Conn.Close() }

// refused is an upgrade that was answered otherwise.
type refused struct {
	status int
	reason string
	err    error
}

func (r *refused) Error() string { return fmt.Sprintf("%d %s: %v", r.status, r.reason, r.err) }

// dialXMPP opens a WebSocket of XMPP at an entry, for a host name.
func (l *lab) dialXMPP(entry, host string) (xmppLink, error) {
	return overWebSocket(l.client(entry), "ws://"+host)
}

func overWebSocket(c *http.Client, base string) (xmppLink, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	ws, resp, err := websocket.Dial(ctx, base+"/ws", &websocket.DialOptions{
		HTTPClient: c, Subprotocols: []string{"xmpp"},
	})
	if err != nil {
		r := &refused{err: err}
		if resp != nil {
			r.status, r.reason = resp.StatusCode, resp.Header.Get("x-domicile-reason")
		}
		return nil, r
	}
	if ws.Subprotocol() != "xmpp" {
		ws.CloseNow()
		return nil, fmt.Errorf("the subprotocol is %q", ws.Subprotocol())
	}
	ws.SetReadLimit(1 << 20)
	return framed{ws}, nil
}

// xmpp logs a user in by WebSocket, through the gateway of an entry.
func (l *lab) xmpp(t testing.TB, entry, jid string) *xmppClient {
	t.Helper()
	_, host, _ := strings.Cut(jid, "@")
	return l.xmppAt(t, entry, host, jid)
}

// xmppAt is xmpp for a host name that is not the user's domain.
func (l *lab) xmppAt(t testing.TB, entry, host, jid string) *xmppClient {
	t.Helper()
	link, err := l.dialXMPP(entry, host)
	if err != nil {
		t.Fatalf("%s at %s: %v", jid, entry, err)
	}
	return login(t, link, jid)
}

// login opens a stream on a link, logs in, and gets presence and roster pushes.
func login(t testing.TB, link xmppLink, jid string) *xmppClient {
	t.Helper()
	c := &xmppClient{jid: jid, link: link, in: make(chan element, 64)}
	t.Cleanup(link.close)
	user, domain, _ := strings.Cut(jid, "@")
	// The stream starts anew after the log-in, so nobody reads ahead until then.
	step := func(text, want string) {
		t.Helper()
		if err := link.send(text); err != nil {
			t.Fatalf("%s: send: %v", jid, err)
		}
		for {
			e, err := link.receive()
			if err != nil {
				t.Fatalf("%s: waiting for %s: %v", jid, want, err)
			}
			if e.XMLName.Local == want {
				return
			}
			if e.XMLName.Local != "open" {
				t.Fatalf("%s: waiting for %s: %+v", jid, want, e)
			}
		}
	}
	step(link.open(domain), "features")
	step(`<auth xmlns="urn:ietf:params:xml:ns:xmpp-sasl" mechanism="PLAIN">`+
		base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password))+`</auth>`, "success")
	step(link.open(domain), "features")
	go func() {
		defer close(c.in)
		for {
			e, err := link.receive()
			if err != nil {
				c.closed.Store(time.Now().UnixNano())
				return
			}
			c.in <- e
		}
	}()
	c.iq(t, "set", "", `<bind xmlns="urn:ietf:params:xml:ns:xmpp-bind"><resource>test</resource></bind>`)
	c.iq(t, "get", "", `<query xmlns="jabber:iq:roster"/>`)
	c.send(t, `<presence xmlns="jabber:client"/>`)
	return c
}

func (c *xmppClient) send(t testing.TB, text string) {
	t.Helper()
	if err := c.link.send(text); err != nil {
		t.Fatalf("%s: send: %v", c.jid, err)
	}
}

// await returns the first stanza, of those that came and those to come, that fits.
func (c *xmppClient) await(t testing.TB, what string, fits func(element) bool) element {
	t.Helper()
	for i, e := range c.missed {
		if fits(e) {
			c.missed = append(c.missed[:i:i], c.missed[i+1:]...)
			return e
		}
	}
	for late := time.After(10 * time.Second); ; {
		select {
		case e, ok := <-c.in:
			if !ok {
				t.Fatalf("%s: the stream ended before %s", c.jid, what)
			}
			if fits(e) {
				return e
			}
			c.missed = append(c.missed, e)
		case <-late:
			t.Fatalf("%s: no %s; there were %+v", c.jid, what, c.missed)
		}
	}
}

// iq asks and returns the answer, which must not be an error.
func (c *xmppClient) iq(t testing.TB, kind, to, payload string) element {
	t.Helper()
	c.serial++
	id := fmt.Sprintf("q%d", c.serial)
	if to != "" {
		to = fmt.Sprintf(" to=%q", to)
	}
	c.send(t, fmt.Sprintf(`<iq xmlns="jabber:client" type=%q id=%q%s>%s</iq>`, kind, id, to, payload))
	e := c.await(t, "answer to "+payload, func(e element) bool { return e.XMLName.Local == "iq" && e.attr("id") == id })
	if e.attr("type") != "result" {
		t.Fatalf("%s: %s was answered by %+v", c.jid, payload, e)
	}
	return e
}

// tell sends a message.
func (c *xmppClient) tell(t testing.TB, to, text string) {
	t.Helper()
	c.send(t, fmt.Sprintf(`<message xmlns="jabber:client" type="chat" to=%q><body>%s</body></message>`, to, text))
}

// hear waits for a message from a user.
func (c *xmppClient) hear(t testing.TB, from, text string) {
	t.Helper()
	c.await(t, "message "+text+" from "+from, func(e element) bool {
		b := e.find("body")
		return e.XMLName.Local == "message" && bare(e.attr("from")) == from && b != nil && b.Text == text
	})
}

// leave logs out. A server may keep the session of who just vanishes for minutes.
func (c *xmppClient) leave(t testing.TB) {
	t.Helper()
	c.send(t, c.link.leave())
	for late := time.After(10 * time.Second); ; {
		select {
		case _, ok := <-c.in:
			if !ok {
				c.link.close()
				return
			}
		case <-late:
			t.Fatalf("%s: the server does not end the stream", c.jid)
		}
	}
}

// ping asks the server whether the stream lives.
func (c *xmppClient) ping(t testing.TB) {
	t.Helper()
	_, domain, _ := strings.Cut(c.jid, "@")
	c.iq(t, "get", domain, `<query xmlns="http://jabber.org/protocol/disco#info"/>`)
}

func bare(jid string) string {
	b, _, _ := strings.Cut(jid, "/")
	return b
}

// isRefused fails unless err is an answer with that status and reason.
func isRefused(t testing.TB, err error, status int, reason string) {
	t.Helper()
	var r *refused
	if !errors.As(err, &r) || r.status != status || r.reason != reason {
		t.Errorf("refused with %v, want %d %s (%s)", err, status, reason, http.StatusText(status))
	}
}
