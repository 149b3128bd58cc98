package e2e_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/net/http2"

	"github.com/domicile-dev/domicile/pkg/identity"
)

// public are TLS settings of a user who trusts the demo's authority.
func (l *lab) public(t testing.TB, server string, alpn ...string) *tls.Config {
	t.Helper()
	data, err := os.ReadFile(l.ready.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		t.Fatalf("%s holds no certificate", l.ready.CAFile)
	}
	return &tls.Config{RootCAs: pool, ServerName: server, NextProtos: alpn}
}

func TestGatewaysSpeakTLS(t *testing.T) {
	l := shared(t)
	token := l.token(t, "amal", "SA")
	hosts := map[string]string{"me-riyadh": "sa.im.example.com", "tr-istanbul": "tr.im.example.com", "eu-frankfurt": "eu.im.example.com"}
	for region, r := range l.ready.Regions {
		for _, server := range []string{"127.0.0.1", "localhost", hosts[region]} {
			for _, h2 := range []bool{false, true} {
				before := l.counted(t)
				req, err := http.NewRequest(http.MethodGet, "https://"+r.GatewayTLS+"/v1/messages", nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Host = server
				req.Header.Set("Authorization", "Bearer "+token)
				resp, err := overTLS(t, l.public(t, server), h2).Do(req)
				if err != nil {
					t.Errorf("%s as %s: %v", region, server, err)
					continue
				}
				resp.Body.Close()
				if want := map[bool]int{false: 1, true: 2}[h2]; resp.StatusCode != 200 || resp.ProtoMajor != want || resp.Header.Get("x-backend-region") != "me-riyadh" {
					t.Errorf("%s as %s: HTTP/%d %s", region, server, resp.ProtoMajor, resp.Status)
				}
				only(t, l.reached(t, before), "me-riyadh")
			}
		}
		for name, c := range map[string]*tls.Config{
			"another's name": l.public(t, "bank.example"), "no trust": {ServerName: "127.0.0.1"},
		} {
			if conn, err := tls.Dial("tcp", r.GatewayTLS, c); err == nil {
				conn.Close()
				t.Errorf("%s: its certificate verifies with %s", region, name)
			}
		}
		for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11} {
			c := l.public(t, "127.0.0.1")
			c.MinVersion, c.MaxVersion = version, version
			if conn, err := tls.Dial("tcp", r.GatewayTLS, c); err == nil {
				conn.Close()
				t.Errorf("%s speaks %s", region, tls.VersionName(version))
			} else if !theirs(err) {
				t.Errorf("%s: it was not the gateway who refused %s: %v", region, tls.VersionName(version), err)
			}
		}
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			c := l.public(t, "127.0.0.1")
			c.MinVersion, c.MaxVersion = version, version
			conn, err := tls.Dial("tcp", r.GatewayTLS, c)
			if err != nil {
				t.Errorf("%s does not speak %s: %v", region, tls.VersionName(version), err)
				continue
			}
			conn.Close()
		}
		// The public certificate proves nothing to a peer: it names no node.
		conn, err := tls.Dial("tcp", r.GatewayTLS, l.public(t, "127.0.0.1"))
		if err != nil {
			t.Fatal(err)
		}
		if id, err := identity.FromCertificate(conn.ConnectionState().PeerCertificates[0], trustDomain); err == nil {
			t.Errorf("%s shows its node id %s to users", region, id)
		}
		conn.Close()
	}
}

func TestWebSocketOverTLS(t *testing.T) {
	l := shared(t)
	for home, region := range regionOf {
		token := l.token(t, "wss-"+home, home)
		for entry, r := range l.ready.Regions {
			before := l.counted(t)
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			c, _, err := websocket.Dial(ctx, "wss://"+r.GatewayTLS+"/ws", &websocket.DialOptions{
				HTTPClient: overTLS(t, l.public(t, "127.0.0.1"), false), HTTPHeader: http.Header{"Authorization": {"Bearer " + token}},
			})
			if err != nil {
				t.Errorf("%s at %s: %v", home, entry, err)
				cancel()
				continue
			}
			if got, err := say(c, "hi"); got != region+":hi" {
				t.Errorf("%s at %s: %q %v", home, entry, got, err)
			}
			c.CloseNow()
			cancel()
			only(t, l.reached(t, before), region)
		}
	}
}

// WebSocket as a stream of an HTTP/2 connection (RFC 8441): a door that offers it
// pins and refuses it like any other. The handshake key is what Envoy's own peers
// send; the backend speaks HTTP/1.1 and asks for one.
func TestWebSocketOverHTTP2(t *testing.T) {
	l := shared(t)
	for door, url := range l.doors() {
		for home, region := range regionOf {
			before := l.counted(t)
			offered, a := extendedConnect(t, url, l.token(t, "h2ws-"+home, home), "hi", "Sec-Websocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
			if !offered {
				only(t, l.reached(t, before), "")
				continue
			}
			if a.status != 200 || a.body != region+":hi" {
				t.Errorf("%s through %s: %s", home, door, a)
			}
			only(t, l.reached(t, before), region)
		}
		for want, token := range map[string]string{"no-identity": "", "bad-token": "x.y.z", "no-rule": l.token(t, "h2ws", "QA")} {
			before := l.counted(t)
			if offered, a := extendedConnect(t, url, token, "hi"); offered && (a.status < 400 || a.reason() != want) {
				t.Errorf("%s through %s: %s", want, door, a)
			}
			only(t, l.reached(t, before), "")
		}
	}
}

// extendedConnect opens a WebSocket as a stream of an HTTP/2 connection, sends
// one text and returns the answer; or it tells that the server offers none.
func extendedConnect(t testing.TB, url, token, text string, headers ...string) (offered bool, a answer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	//nolint:staticcheck // SA1019 names net/http, which sends no :protocol
	var tr http.RoundTripper = &http2.Transport{
		AllowHTTP:      true,
		DialTLSContext: func(context.Context, string, string, *tls.Config) (net.Conn, error) { return conn, nil },
	}
	body, send := io.Pipe()
	defer send.Close()
	req, err := http.NewRequestWithContext(ctx, http.MethodConnect, url+"/ws", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{":protocol": {"websocket"}, "Sec-Websocket-Version": {"13"}}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil && strings.Contains(err.Error(), "extended connect not supported by peer") {
		return false, answer{}
	}
	if err != nil {
		t.Fatalf("CONNECT %s: %v", url, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		return true, answer{resp.StatusCode, resp.Header, ""}
	}
	// One final text frame with the mask 0, which leaves the text as it is.
	frame := append([]byte{0x81, 0x80 | byte(len(text)), 0, 0, 0, 0}, text...)
	if _, err := send.Write(frame); err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 2)
	if _, err := io.ReadFull(resp.Body, head); err != nil || head[0] != 0x81 || head[1] > 125 {
		t.Fatalf("answer %x: %v", head, err)
	}
	said := make([]byte, head[1])
	if _, err := io.ReadFull(resp.Body, said); err != nil {
		t.Fatal(err)
	}
	return true, answer{200, resp.Header, string(said)}
}
