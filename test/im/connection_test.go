package im_test

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// mqttSocket opens a WebSocket of MQTT, for bytes that no client would send.
func (l *lab) mqttSocket(t testing.TB, entry, host string) net.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	c, _, err := websocket.Dial(ctx, "ws://"+host+"/mqtt", &websocket.DialOptions{HTTPClient: l.client(entry), Subprotocols: []string{"mqtt"}})
	if err != nil {
		t.Fatal(err)
	}
	conn := websocket.NetConn(ctx, c, websocket.MessageBinary)
	t.Cleanup(func() { conn.Close() })
	return conn
}

// connect is an MQTT 3.1.1 CONNECT of a user, with a will where topic is not "".
func connect(user, topic string) []byte {
	text := func(b []byte, s string) []byte {
		return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
	}
	flags := byte(0xC2) // user name, password, clean session
	if topic != "" {
		flags |= 0x04
	}
	body := append(text(nil, "MQTT"), 4, flags, 0, 60)
	body = text(body, "raw-"+user)
	if topic != "" {
		body = text(text(body, topic), "gone")
	}
	body = text(text(body, user), password)
	return append([]byte{0x10, byte(len(body)&0x7f | 0x80), byte(len(body) >> 7)}, body...)
}

// accepted reads a CONNACK and tells whether it says yes.
func accepted(t testing.TB, c net.Conn) error {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	ack := make([]byte, 4)
	for n := 0; n < len(ack); {
		m, err := c.Read(ack[n:])
		if n += m; err != nil {
			return err
		}
	}
	if ack[0] != 0x20 || ack[3] != 0 {
		return fmt.Errorf("CONNACK is % x", ack)
	}
	return nil
}

// T34: whatever is said on a connection once it is open, and however it is cut, it
// stays at the server of the host name that it was opened for. The servers would
// serve every region's users.
func TestT34_NothingSaidOnAConnectionMovesIt(t *testing.T) {
	s := shared(t)
	l := start(t, s.backends())
	const home, entry = "me-riyadh", "tr-istanbul"
	mine := s[home].register(t, "t34")
	elsewhere := s["tr-istanbul"].register(t, "t34")
	for name, attack := range map[string]func(t *testing.T){
		"MQTT CONNECT byte by byte": func(t *testing.T) {
			c := l.mqttSocket(t, entry, hostOf[home])
			for _, b := range connect(mine, "") {
				if _, err := c.Write([]byte{b}); err != nil {
					t.Fatal(err)
				}
			}
			if err := accepted(t, c); err != nil {
				t.Error(err)
			}
		},
		"MQTT CONNECT as a user of another region": func(t *testing.T) {
			c := l.mqttSocket(t, entry, hostOf[home])
			_, _ = c.Write(connect(elsewhere, ""))
			if accepted(t, c) == nil {
				t.Errorf("%s was let in by the server of %s", elsewhere, home)
			}
		},
		"a second MQTT CONNECT as another user": func(t *testing.T) {
			c := l.mqttSocket(t, entry, hostOf[home])
			_, _ = c.Write(connect(mine, ""))
			if err := accepted(t, c); err != nil {
				t.Fatal(err)
			}
			_, _ = c.Write(connect(elsewhere, ""))
			if accepted(t, c) == nil {
				t.Error("the connection changed its user")
			}
		},
		"an oversize remaining length": func(t *testing.T) {
			c := l.mqttSocket(t, entry, hostOf[home])
			_, _ = c.Write([]byte{0x10, 0xff, 0xff, 0xff, 0xff, 0xff})
			if accepted(t, c) == nil {
				t.Error("it was accepted")
			}
		},
		"a will": func(t *testing.T) {
			heir := l.mqtt(t, home, mine)
			heir.follow(t, "will/#")
			c := l.mqttSocket(t, entry, hostOf[home])
			_, _ = c.Write(connect(mine, "will/t34"))
			if err := accepted(t, c); err != nil {
				t.Fatal(err)
			}
			c.Close()
			heir.hear(t, "will/t34:gone")
			heir.Disconnect(100)
		},
		"an XMPP stream to another region's domain": func(t *testing.T) {
			link, err := l.dialXMPP(entry, hostOf[home])
			if err != nil {
				t.Fatal(err)
			}
			defer link.close()
			_ = link.send(link.open(hostOf["tr-istanbul"]))
			_ = link.send(`<auth xmlns="urn:ietf:params:xml:ns:xmpp-sasl" mechanism="PLAIN">` + plain(elsewhere) + `</auth>`)
			if got := drain(link); strings.Contains(got, "success") {
				t.Errorf("%s was let in by the server of %s: %s", elsewhere, home, got)
			}
		},
		"an XMPP stream that is restarted to another region's domain": func(t *testing.T) {
			link, err := l.dialXMPP(entry, hostOf[home])
			if err != nil {
				t.Fatal(err)
			}
			defer link.close()
			_ = link.send(link.open(hostOf[home]))
			_ = link.send(`<auth xmlns="urn:ietf:params:xml:ns:xmpp-sasl" mechanism="PLAIN">` + plain(mine) + `</auth>`)
			_ = link.send(link.open(hostOf["tr-istanbul"]))
			_ = link.send(`<iq xmlns="jabber:client" type="set" id="b"><bind xmlns="urn:ietf:params:xml:ns:xmpp-bind"/></iq>`)
			_ = link.send(link.leave())
			if got := drain(link); strings.Contains(got, "@"+hostOf["tr-istanbul"]) {
				t.Errorf("the stream became one of another domain: %s", got)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := s.settled(t)
			attack(t)
			s.settled(t)
			s.only(t, before, home)
		})
	}
}

// plain is what SASL PLAIN sends for a JID.
func plain(jid string) string {
	user, _, _ := strings.Cut(jid, "@")
	return base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
}

// drain reads a stream to its end, 10 s at most, and returns the elements as text.
func drain(link xmppLink) string {
	late := time.AfterFunc(10*time.Second, link.close)
	defer late.Stop()
	var b strings.Builder
	for {
		e, err := link.receive()
		if err != nil {
			return b.String()
		}
		fmt.Fprintf(&b, "%+v\n", e)
		if e.XMLName.Local == "failure" || e.XMLName.Local == "error" || e.XMLName.Local == "close" {
			return b.String()
		}
	}
}

// What no home answers for is refused before any server hears of it.
func TestHostNamesThatStandForNobody(t *testing.T) {
	s := shared(t)
	l := start(t, s.backends())
	before := s.settled(t)
	for host, want := range map[string]int{
		"qa.im.example.com": 400, "example.com": 400, "sa.im.example.com.evil.example": 400,
		"sa.im.example.com,tr.im.example.com": 400, "user@sa.im.example.com": 400,
	} {
		for _, entry := range regions {
			req, err := http.NewRequest(http.MethodGet, "http://"+l.gateway(entry)+"/ws", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = host
			for k, v := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-Websocket-Version": "13", "Sec-Websocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-Websocket-Protocol": "xmpp"} {
				req.Header.Set(k, v)
			}
			resp, err := l.client(entry).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != want || resp.Header.Get("x-domicile-reason") != "bad-request" {
				t.Errorf("%s at %s: %s %s", host, entry, resp.Status, resp.Header.Get("x-domicile-reason"))
			}
		}
	}
	s.only(t, before, "")
}

// What the demo says of policies under which nobody shows a token is true.
func TestTheDemoShowsHowHostNamesDecide(t *testing.T) {
	l := start(t, nil)
	for i, home := range regions {
		line := "Host: " + hostOf[home]
		eventually(t, 10*time.Second, func() error {
			if tour, err := os.ReadFile(l.tour); err != nil || !strings.Contains(string(tour), line) {
				return fmt.Errorf("no %q in:\n%s %w", line, tour, err)
			}
			return nil
		})
		req, err := http.NewRequest(http.MethodGet, "http://"+hostOf[home]+"/ws", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := l.client(regions[(i+1)%3]).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.Header.Get("x-backend-region") != home {
			t.Errorf("%s: %s from %q", hostOf[home], resp.Status, resp.Header.Get("x-backend-region"))
		}
	}
}
