package sim_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// wire is a request as it is sent.
type wire struct {
	region, role   string // of the Envoy that it is sent to
	h2             bool
	method, target string
	headers        [][2]string // Host included; over HTTP/2 that is :authority
	body           string
	chunked        bool
	trailers       [][2]string
	marker         string // in the query, found again in the backend's answer
}

// holder is what the maker of a token says of it.
type holder struct {
	user, home, issuer string
	good               bool // signed, current, of our issuer, for our audience
}

// stamp is what the maker of a pin says of it.
type stamp struct {
	region, home, epoch, credential, user string
	good                                  bool // signed by the region, current, for itself
}

// outcome is one thing that may happen to a request.
type outcome struct {
	status int    // 0: the stream or the connection is reset
	reason string // x-domicile-reason
	region string // x-backend-region: the one region that it may have reached
	user   string // whom the backend counts, and sees as x-domicile-user
	home   string // what the backend sees as x-domicile-home
	issuer string // and as x-domicile-issuer
	found  bool   // the home is not in the token: the backend need not see it
	class  string // as the backend counts; "" is not counted
}

// bytes is the request in HTTP/1.1.
func (w wire) bytes() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", w.method, w.target)
	for _, h := range w.headers {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	b.WriteString("\r\n")
	if !w.chunked {
		b.WriteString(w.body)
		return b.Bytes()
	}
	if w.body != "" {
		fmt.Fprintf(&b, "%x\r\n%s\r\n", len(w.body), w.body)
	}
	b.WriteString("0\r\n")
	for _, h := range w.trailers {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	b.WriteString("\r\n")
	return b.Bytes()
}

// answer is what came back; the status is 0 when nothing did.
type answer struct {
	status  int
	header  http.Header
	trailer http.Header
	body    []byte
	err     error
}

func (a answer) String() string {
	if a.status == 0 {
		return fmt.Sprintf("nothing: %v", a.err)
	}
	return fmt.Sprintf("%d, reason %q, backend %q: %.1200s", a.status, a.header.Get("x-domicile-reason"), a.header.Get("x-backend-region"), bytes.TrimSpace(a.body))
}

const patience = 20 * time.Second

// client keeps one HTTP/1.1 connection to each door, so that a request that
// spoils a connection would be seen by the next one.
type client struct {
	conns map[string]*conn
	h2    *http.Client
}

type conn struct {
	net.Conn
	read *bufio.Reader
}

func newClient() *client {
	tr := &http.Transport{Protocols: new(http.Protocols), DisableCompression: true}
	tr.Protocols.SetUnencryptedHTTP2(true)
	return &client{conns: map[string]*conn{}, h2: &http.Client{Transport: tr, Timeout: patience}}
}

func (c *client) close() {
	for _, k := range c.conns {
		k.Close()
	}
	c.h2.CloseIdleConnections()
}

func (c *client) send(addr string, w wire) answer {
	if w.h2 {
		return c.sendH2(addr, w)
	}
	k := c.conns[addr]
	if k == nil {
		raw, err := net.DialTimeout("tcp", addr, patience)
		if err != nil {
			return answer{err: err}
		}
		k = &conn{raw, bufio.NewReader(raw)}
		c.conns[addr] = k
	}
	a := k.roundTrip(w)
	if a.status == 0 || a.status == http.StatusSwitchingProtocols || a.status == http.StatusBadRequest || strings.EqualFold(a.header.Get("connection"), "close") {
		k.Close()
		delete(c.conns, addr)
	}
	return a
}

func (k *conn) roundTrip(w wire) answer {
	_ = k.SetDeadline(time.Now().Add(patience))
	if _, err := k.Write(w.bytes()); err != nil {
		return answer{err: err}
	}
	resp, err := http.ReadResponse(k.read, &http.Request{Method: w.method})
	if err != nil {
		return answer{err: err}
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return answer{status: resp.StatusCode, header: resp.Header}
	}
	return finish(resp)
}

func finish(resp *http.Response) answer {
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{err: fmt.Errorf("body of a %d: %w", resp.StatusCode, err)}
	}
	if resp.Close {
		resp.Header.Set("connection", "close")
	}
	return answer{status: resp.StatusCode, header: resp.Header, trailer: resp.Trailer, body: body}
}

func (c *client) sendH2(addr string, w wire) answer {
	req := &http.Request{Method: w.method, URL: &url.URL{Scheme: "http", Host: addr}, Header: http.Header{}}
	for _, h := range w.headers {
		if strings.EqualFold(h[0], "host") {
			req.Host = h[1]
			continue
		}
		req.Header[h[0]] = append(req.Header[h[0]], h[1])
	}
	req.URL.Opaque = "//" + req.Host + w.target
	if w.body != "" {
		req.Body, req.ContentLength = io.NopCloser(strings.NewReader(w.body)), int64(len(w.body))
	}
	resp, err := c.h2.Do(req)
	if err != nil {
		return answer{err: err}
	}
	return finish(resp)
}

// check compares an answer with what the oracle said; it returns the outcome
// that it is, or what is wrong with it.
func check(w wire, a answer, said []outcome) (outcome, error) {
	for _, o := range said {
		if a.status == o.status && a.header.Get("x-domicile-reason") == o.reason && a.header.Get("x-backend-region") == o.region {
			return o, seen(w, a, o)
		}
	}
	return outcome{}, fmt.Errorf("no such outcome")
}

// seen compares what the backend saw with what the oracle knows.
func seen(w wire, a answer, o outcome) error {
	if o.status != http.StatusOK || w.method == http.MethodHead || len(a.body) == 0 || a.header.Get("content-type") != "application/json" {
		return nil
	}
	var saw struct {
		Region, User, Query string
		Headers             map[string]string
	}
	if err := json.Unmarshal(a.body, &saw); err != nil {
		return fmt.Errorf("the backend's answer: %w", err)
	}
	want := map[string]string{}
	if o.home != "" {
		want = map[string]string{"x-domicile-home": o.home, "x-domicile-user": o.user, "x-domicile-issuer": o.issuer}
	}
	for name, value := range saw.Headers {
		of, pinned := strings.CutPrefix(name, "x-domicile-pin-")
		if pinned = pinned && findable && o.home != "" && (of == "home" && value == o.home || of == "issuer" || of == "epoch" || of == "user"); pinned {
			continue
		}
		if strings.HasPrefix(name, "x-domicile-") && want[name] != value {
			return fmt.Errorf("the backend saw %s: %q", name, value)
		}
		if name == "authorization" && o.home != "" && o.region != "today" { // who is not asked for a token may speak to the backend as he likes
			return fmt.Errorf("the backend saw the token")
		}
		delete(want, name)
	}
	if o.found {
		delete(want, "x-domicile-home")
	}
	switch {
	case len(want) > 0:
		return fmt.Errorf("the backend did not see %v", want)
	case saw.Region != o.region:
		return fmt.Errorf("the backend of %s says that it is of %s", o.region, saw.Region)
	case !strings.Contains(saw.Query, w.marker):
		return fmt.Errorf("this is the answer to another request")
	}
	return nil
}

// arrive says how the sample backend answers what may reach it.
func arrive(w wire, r reading, class string, o outcome) []outcome {
	o.status = 200
	switch {
	case r.webSocket && r.path == "/ws" && w.method == "GET":
		if o.status = 101; r.version != "13" {
			o.status = 400
		}
	case r.webSocket: // choice 5
		reached := o
		reached.status, reached.reason = 400, "bad-request"
		return append(deny("bad-request"), reached, o)
	case class == "profile" && w.method == "PUT" && !strings.HasPrefix(w.body, "{"):
		o.status = 400
	case class == "profile" && w.method != "GET" && w.method != "HEAD" && w.method != "PUT":
		o.status = 405
	}
	return []outcome{o}
}
