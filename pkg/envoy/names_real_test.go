package envoy_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/domicile-dev/domicile/pkg/identity"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// realNames is a deployment in which sa's profiles keep eu from decrypting what is
// meant for sa's host, and MQTT is a stream whose backends end TLS.
func realNames(t *testing.T) *real {
	return newReal(t, func(r *real) {
		r.place = func(r *real) {
			r.top.Pins = nil
			r.top.Issuers = []topology.Issuer{{Issuer: homely, Audiences: []string{"im"}, HomeClaim: "home", JWKS: r.issuer.jwks()}}
			r.top.Streams = []topology.Stream{{Name: "mqtt", Class: "message", Service: "mqtt", Port: 8883}}
			for i := range r.top.Regions {
				x := &r.top.Regions[i]
				x.TLS = x.Listen.TLS
				x.Listen.Streams = map[string]string{"mqtt": freeAddress(t)}
				backend := httptest.NewUnstartedServer(r.backend("mqtt@" + x.Name))
				backend.Config.ConnState = func(_ net.Conn, s http.ConnState) {
					if s == http.StateNew { // before any byte of it
						r.count("mqtt@" + x.Name)
					}
				}
				backend.StartTLS()
				t.Cleanup(backend.Close)
				x.Backends["mqtt"] = []string{backend.Listener.Addr().String()}
			}
		}
	})
}

// count records that something reached a place.
func (r *real) count(where string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen[where] = append(r.seen[where], nil)
}

// reached is everything that has been reached since it was asked last.
func (r *real) reached() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := slices.Sorted(maps.Keys(r.seen))
	clear(r.seen)
	return out
}

// hello connects and sends a ClientHello with any bytes as its server name. It tells
// whether anybody answers.
func hello(t *testing.T, at, name string) bool {
	t.Helper()
	placeholder := strings.Repeat("x", len(name))
	said := string([]byte{0, byte(len(name) >> 8), byte(len(name))}) // a host name and its length
	client, server := net.Pipe()
	go func() {
		_ = tls.Client(client, &tls.Config{ServerName: placeholder, InsecureSkipVerify: true}).Handshake()
	}()
	record := make([]byte, 16<<10)
	n, err := server.Read(record)
	_ = server.Close()
	if err != nil || !bytes.Contains(record[:n], []byte(said+placeholder)) {
		t.Fatalf("no ClientHello: %v", err)
	}
	c, err := net.DialTimeout("tcp", at, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Write(bytes.Replace(record[:n], []byte(said+placeholder), []byte(said+name), 1)); err != nil {
		t.Fatal(err)
	}
	n, err = c.Read(record)
	if late, ok := errors.AsType[net.Error](err); ok && late.Timeout() {
		t.Errorf("%q hangs at %s", name, at)
	}
	return n > 0
}

// endsAt is the region whose gateway ends the TLS of a connection; "" for none.
func (r *real) endsAt(t *testing.T, at, name string) string {
	t.Helper()
	d := &net.Dialer{Timeout: 5 * time.Second}
	c, err := tls.DialWithDialer(d, "tcp", at, &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err != nil {
		return ""
	}
	defer func() { _ = c.Close() }()
	id, err := identity.FromCertificate(c.ConnectionState().PeerCertificates[0], r.top.TrustDomain)
	if err != nil {
		t.Fatal(err)
	}
	return id.Region
}

func (r *real) region(t *testing.T, name string) topology.Region {
	t.Helper()
	out, ok := r.top.Region(name)
	if !ok {
		t.Fatal(name)
	}
	return out
}

// T09: who ends a connection is decided by its server name alone, in the one spelling
// that it has, and what no region answers to is answered by nobody.
func TestT09WhoEndsAConnection(t *testing.T) {
	r := realNames(t)
	eu, sa := r.region(t, "eu").Listen.TLS, r.region(t, "sa").Listen.TLS
	for _, c := range []struct{ at, name, want string }{
		{eu, "eu.im.example", "eu"},
		{eu, "", "eu"}, // as before there were names
		{eu, "sa.im.example", "sa"},
		{eu, "SA.im.Example", "sa"},
		{eu, "tr.im.example", "eu"}, // everybody may decrypt for TR
		{eu, "sa.im.example.evil", ""},
		{eu, "localhost", ""},
		{sa, "sa.im.example", "sa"},
		{sa, "eu.im.example", "sa"}, // as for DE
		{sa, "", "sa"},
	} {
		if got := r.endsAt(t, c.at, c.name); got != c.want {
			t.Errorf("%q at %s ends at %q, want %q", c.name, c.at, got, c.want)
		}
	}
	for name, want := range map[string]bool{
		"sa.im.example": true, "sa.im.example.": false, "eu.im.example.": false, ".eu.im.example": false, "sa.im.example/": false,
		"s\xd0\xb0.im.example": false, "xn--s-7sb.im.example": false, "sa.im.example,eu.im.example": false, "*.im.example": false,
		"eu.im.example:443": false, "sa.im.example ": false, "%REQUESTED_SERVER_NAME%": false, "../agent": false, "-": true,
	} {
		if hello(t, eu, name) != want {
			t.Errorf("%q: answered: %v", name, !want)
		}
	}
	if got := r.reached(); len(got) > 0 {
		t.Errorf("handshakes reached %v", got)
	}
}

// over sends a request through TLS.
func (r *real) over(t *testing.T, region, name, request string) outcome {
	t.Helper()
	r.reached()
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", r.region(t, region).Listen.TLS,
		&tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, strings.ReplaceAll(request, "\n", "\r\n")); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("%s through %s: %v", name, region, err)
	}
	body, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err != nil {
		t.Errorf("%s through %s: the answer is cut off: %v", name, region, err)
	}
	o := outcome{status: res.StatusCode, reason: res.Header.Get("x-domicile-reason"), header: res.Header, body: string(body)}
	r.mu.Lock()
	for _, list := range r.seen {
		o.got = list[0]
	}
	r.mu.Unlock()
	o.region = strings.Join(r.reached(), " ")
	return o
}

// Requests that come by a server name are decided by their host, and arrive whole,
// also where they end the connection.
func TestT09ServerNameIsNotTheHost(t *testing.T) {
	r := realNames(t)
	sa, de := r.token(homely, map[string]any{"home": "SA"}), r.token(homely, map[string]any{"home": "DE"})
	for _, c := range []struct {
		what, at, name, host, path, token string
		status                            int
		reason, right, region             string
	}{
		{"its own host, passed on", "eu", "sa.im.example", "sa.im.example", "/v1/messages", sa, 200, "", "", "sa"},
		{"its own host, what only sa may decrypt", "eu", "sa.im.example", "sa.im.example", "/v1/profiles/amal", sa, 403, "no-home", "", ""}, // sa's agent says
		{"another host, passed on", "eu", "sa.im.example", "eu.im.example", "/v1/messages", de, 200, "", "", "eu"},
		{"roaming by one's own host", "sa", "eu.im.example", "eu.im.example", "/v1/messages", de, 200, "", "", "eu"},
		{"no name", "eu", "", "sa.im.example", "/v1/messages", sa, 200, "", "", "sa"},
		{"sa's host behind eu's name", "eu", "eu.im.example", "sa.im.example", "/v1/messages", sa, 200, "", "", "sa"},
		{"what eu may not take, by the right host", "eu", "eu.im.example", "sa.im.example", "/v1/profiles/amal", sa, 403, "entry-not-allowed", "", ""},
		{"the same by a wrong host", "eu", "eu.im.example", "eu.im.example", "/v1/profiles/amal", sa, 421, "wrong-host", "sa.im.example", ""},
		{"by a wrong host in capitals, with a port", "eu", "eu.im.example", "TR.IM.Example:443", "/v1/profiles/amal", sa, 421, "wrong-host", "sa.im.example", ""},
		{"by an alias", "eu", "", "127.0.0.1", "/v1/profiles/amal", sa, 403, "entry-not-allowed", "", ""},
		{"a host with a dot", "eu", "eu.im.example", "sa.im.example.", "/v1/messages", sa, 400, "bad-request", "", ""},
		{"nobody's host", "eu", "eu.im.example", "bank.example", "/v1/messages", sa, 400, "bad-request", "", ""},
		{"login at sa's host behind eu's name", "eu", "eu.im.example", "sa.im.example", "/v1/login", "", 200, "", "", "sa"},
	} {
		for _, end := range []string{"", "Connection: close\n"} {
			request := "GET " + c.path + " HTTP/1.1\nHost: " + c.host + "\n" + end
			if c.token != "" {
				request += "Authorization: Bearer " + c.token + "\n"
			}
			o := r.over(t, c.at, c.name, request+"\n")
			if o.status != c.status || o.reason != c.reason || o.region != c.region || o.header.Get("x-domicile-host") != c.right {
				t.Errorf("%s: %s, right host %q", c.what, o, o.header.Get("x-domicile-host"))
			}
		}
	}
	// Behind the inner listener the gateway still knows the client.
	direct := r.over(t, "eu", "eu.im.example", "GET /v1/messages HTTP/1.1\nHost: eu.im.example\nAuthorization: Bearer "+de+"\n\n")
	inner := r.over(t, "eu", "tr.im.example", "GET /v1/messages HTTP/1.1\nHost: eu.im.example\nAuthorization: Bearer "+de+"\n\n")
	if a, b := direct.got.Header.Get("x-forwarded-for"), inner.got.Header.Get("x-forwarded-for"); a == "" || a != b {
		t.Errorf("the client's address is %q, and %q behind the inner listener", a, b)
	}
}

// A wrongly addressed request is answered before its body is read.
func TestWrongHostNeedsNoBody(t *testing.T) {
	r := realNames(t)
	sa := r.token(homely, map[string]any{"home": "SA"})
	o := r.over(t, "eu", "eu.im.example", "GET /v1/profiles/amal HTTP/1.1\nHost: eu.im.example\nContent-Length: 100000000\nAuthorization: Bearer "+sa+"\n\n")
	if o.status != 421 || o.reason != "wrong-host" || o.header.Get("x-domicile-host") != "sa.im.example" || o.region != "" ||
		!strings.Contains(o.body, `"reason":"wrong-host"`) {
		t.Errorf("by a wrong host: %s", o)
	}
}

func TestWellKnownHosts(t *testing.T) {
	r := realNames(t)
	all := `{"homes":{"DE":"eu.im.example","SA":"sa.im.example","TR":"tr.im.example"}}` + "\n"
	sa, bad := r.token(homely, map[string]any{"home": "SA"}), newKey(t, "i").sign(claims(homely, map[string]any{"home": "SA"}))
	for _, c := range []struct {
		what, method, path, token string
		status                    int
		reason, body              string
	}{
		{"nobody", "GET", "/.well-known/domicile", "", 200, "", all},
		{"nobody, with a query", "GET", "/.well-known/domicile?x=1", "", 200, "", all},
		{"a user", "GET", "/.well-known/domicile", sa, 200, "", `{"home":"SA","host":"sa.im.example"}` + "\n"},
		{"a token that does not verify", "GET", "/.well-known/domicile", bad, 401, "bad-token", ""},
		{"a home without a rule", "GET", "/.well-known/domicile", r.token(homely, map[string]any{"home": "QA"}), 403, "issuer-not-entitled", ""},
		{"a token without a home", "GET", "/.well-known/domicile", r.token(homely, nil), 403, "no-home", ""},
		{"below it", "GET", "/.well-known/domicile/x", "", 401, "no-identity", ""},
		{"below it, as a user", "GET", "/.well-known/domicile/x", sa, 403, "no-class", ""},
		{"written to", "POST", "/.well-known/domicile", sa, 403, "no-class", ""},
	} {
		request := c.method + " " + c.path + " HTTP/1.1\nHost: eu.im.example\nX-Domicile-Home: TR\nConnection: close\n"
		if c.token != "" {
			request += "Authorization: Bearer " + c.token + "\n"
		}
		o := r.over(t, "eu", "eu.im.example", request+"\n")
		if o.status != c.status || o.reason != c.reason || o.region != "" || c.body != "" && o.body != c.body {
			t.Errorf("%s: %s", c.what, o)
		}
		if c.status == 200 && (o.header.Get("content-type") != "application/json" || o.header.Get("cache-control") != "no-store") {
			t.Errorf("%s: %v", c.what, o.header)
		}
	}
}

// Streams end at the backends of the region that their server name says, whoever
// entered where, and nobody else gets a byte.
func TestStreamsByServerName(t *testing.T) {
	r := realNames(t)
	for _, at := range []string{"eu", "sa"} {
		listen := r.region(t, at).Listen.Streams["mqtt"]
		for name, want := range map[string]string{
			"eu.im.example": "eu", "sa.im.example": "sa", "SA.IM.example": "sa", "": "", "localhost": "", "bank.example": "",
		} {
			r.reached()
			c, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", listen, &tls.Config{ServerName: name, InsecureSkipVerify: true})
			if want == "" {
				if err == nil {
					t.Errorf("%q at %s is answered", name, at)
					_ = c.Close()
				}
				if got := r.reached(); len(got) > 0 {
					t.Errorf("%q at %s reached %v", name, at, got)
				}
				continue
			}
			if err != nil {
				t.Errorf("%q at %s: %v", name, at, err)
				continue
			}
			// The answer closes the connection, and arrives whole all the same.
			if _, err := fmt.Fprintf(c, "GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
			all, err := io.ReadAll(c)
			if err != nil || !bytes.Contains(all, []byte("X-Backend-Region: mqtt@"+want)) {
				t.Errorf("%q at %s: %q %v", name, at, all, err)
			}
			_ = c.Close()
			if got := r.reached(); !slices.Equal(got, []string{"mqtt@" + want}) {
				t.Errorf("%q at %s reached %v", name, at, got)
			}
		}
		for _, name := range []string{"sa.im.example.", "eu.im.example/", "-"} {
			if hello(t, listen, name) {
				t.Errorf("%q at %s is answered", name, at)
			}
		}
		// No TLS at all.
		c, err := net.Dial("tcp", listen)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write([]byte("\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02me"))
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil {
			t.Errorf("plain MQTT at %s is answered", at)
		}
		_ = c.Close()
		if got := r.reached(); len(got) > 0 {
			t.Errorf("odd streams at %s reached %v", at, got)
		}
	}
}

// A world of homes is one answer, too.
func TestWellKnownHostsOfTheWorld(t *testing.T) {
	r := newReal(t, func(r *real) { r.homes = 250 })
	o := r.ask(t, "eu", "/.well-known/domicile", "Accept: */*")
	var doc struct{ Homes map[string]string }
	if err := json.Unmarshal([]byte(o.body), &doc); o.status != 200 || err != nil || len(o.body) < 5000 || doc.Homes["X249"] != "eu.im.example" {
		t.Errorf("%d homes, %v: %s", len(doc.Homes), err, o)
	}
}
