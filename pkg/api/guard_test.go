package api

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/domicile-dev/domicile/pkg/identity"
)

func TestOnlyLoopbackHostsAreAnswered(t *testing.T) {
	for host, want := range map[string]int{
		"127.0.0.1:15011": 200, "127.0.0.1": 200, "127.9.9.9:1": 200, "[::1]:15011": 200, "localhost:15011": 200, "LocalHost": 200, "domicile.test:80": 200,
		"evil.example": 403, "127.0.0.1.evil.example": 403, "localhost.evil.example:15011": 403, "10.0.0.1:15011": 403, "": 403, "[::ffff:10.0.0.1]:1": 403,
		"localhost.": 403, "0.0.0.0": 403,
	} {
		for _, path := range []string{"/v1/status", "/metrics", "/healthz"} {
			w := answer(admin(&plane{}), request("GET", path, nil, func(r *http.Request) { r.Host = host }))
			if w.Code != want {
				t.Errorf("Host %q, %s: %d, want %d", host, path, w.Code, want)
			}
		}
	}
}

func TestAWebPageCannotChangeAnything(t *testing.T) {
	for name, c := range map[string]struct {
		headers map[string]string
		allowed bool
	}{
		"program with header":              {map[string]string{Header: "1"}, true},
		"program with type":                {map[string]string{"Content-Type": "application/octet-stream"}, true},
		"form":                             {map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, false},
		"multipart form":                   {map[string]string{"Content-Type": "multipart/form-data; boundary=x"}, false},
		"text form":                        {map[string]string{"Content-Type": "text/plain"}, false},
		"type with parameter":              {map[string]string{"Content-Type": "application/octet-stream; x=text/plain"}, false},
		"nothing":                          {nil, false},
		"page of another origin":           {map[string]string{Header: "1", "Origin": "https://evil.example"}, false},
		"page of another port":             {map[string]string{Header: "1", "Origin": "http://127.0.0.1:9999"}, false},
		"opaque origin":                    {map[string]string{Header: "1", "Origin": "null"}, false},
		"cross-site fetch without Origin":  {map[string]string{Header: "1", "Sec-Fetch-Site": "cross-site"}, false},
		"same-site fetch (a sub-domain's)": {map[string]string{Header: "1", "Sec-Fetch-Site": "same-site"}, false},
	} {
		for _, path := range []string{"/v1/apply", "/v1/rollback"} {
			p := &plane{}
			w := answer(admin(p), request("POST", path, []byte("x"), func(r *http.Request) {
				r.Header.Del(Header)
				for k, v := range c.headers {
					r.Header.Set(k, v)
				}
			}))
			changed := len(p.changes)+len(p.back) > 0
			if changed != c.allowed || (w.Code == 200) != c.allowed || (!c.allowed && w.Code != 403) {
				t.Errorf("%s, %s: %d, changed %v", name, path, w.Code, changed)
			}
		}
	}
	// Nor does a preflight get leave to send the header.
	w := answer(admin(&plane{}), request("OPTIONS", "/v1/apply", nil, func(r *http.Request) {
		r.Header.Del(Header)
		r.Header.Set("Origin", "https://evil.example")
		r.Header.Set("Access-Control-Request-Method", "POST")
	}))
	if w.Code < 400 || w.Header().Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("preflight: %d %v", w.Code, w.Header())
	}
}

func TestThePlainDoorIsForLoopbackOnly(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", ":0", "[::]:0", "10.0.0.1:0", "example.com:80", "127.0.0.1", "2130706433:0"} {
		l, err := ListenLoopback(address)
		if err == nil {
			t.Errorf("%s: listens on %s", address, l.Addr())
			l.Close()
		}
	}
	for _, address := range []string{"127.0.0.1:0", "localhost:0"} {
		l, err := ListenLoopback(address)
		if err != nil {
			t.Errorf("%s: %v", address, err)
			continue
		}
		l.Close()
	}
}

// remote starts the mTLS door and returns a function that asks it as a node.
func remote(t *testing.T, p *plane) func(id string, method, path string) (int, error) {
	t.Helper()
	ca, err := identity.NewAuthority("domicile.test")
	if err != nil {
		t.Fatal(err)
	}
	own, err := ca.Issue(identity.ID{Region: identity.NoRegion, Role: identity.RoleControl, Name: "a"}, identity.Options{IPs: []net.IP{net.IPv4(127, 0, 0, 1)}})
	if err != nil {
		t.Fatal(err)
	}
	config, err := identity.ServerTLS(own, "domicile.test", func(identity.ID) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() {
		ended <- Serve(ctx, l, Remote(Config{Control: p, Metrics: prometheus.NewRegistry(), Log: log}, "domicile.test"), log, time.Second)
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.CertPEM())
	return func(id, method, path string) (int, error) {
		config := &tls.Config{RootCAs: roots}
		if id != "" {
			node, err := identity.ParseID(id)
			if err != nil {
				t.Fatal(err)
			}
			pem, err := ca.Issue(node, identity.Options{})
			if err != nil {
				t.Fatal(err)
			}
			pair, err := tls.X509KeyPair(pem.Cert, pem.Key)
			if err != nil {
				t.Fatal(err)
			}
			config.Certificates = []tls.Certificate{pair}
		}
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
		req, err := http.NewRequestWithContext(t.Context(), method, "https://"+l.Addr().String()+path, strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set(Header, "test")
		res, err := client.Do(req)
		if err != nil {
			return 0, err
		}
		defer res.Body.Close()
		_, err = io.Copy(io.Discard, res.Body)
		return res.StatusCode, err
	}
}

func TestTheRemoteDoorKnowsWhoCalls(t *testing.T) {
	p := &plane{}
	ask := remote(t, p)
	for _, c := range []struct {
		id, method, path string
		want             int
	}{
		{"-/operator/ana", "GET", "/v1/status", 200},
		{"eu/agent/a", "GET", "/v1/status", 200},
		{"eu/agent/a", "POST", "/v1/apply?author=ana", 403},
		{"eu/gateway/a", "POST", "/v1/rollback", 403},
		{"-/control/b", "POST", "/v1/rollback", 403},
		{"-/operator/ana", "POST", "/v1/apply?author=somebody-else", 200},
	} {
		if got, err := ask(c.id, c.method, c.path); err != nil || got != c.want {
			t.Errorf("%s %s %s: %d, %v", c.id, c.method, c.path, got, err)
		}
	}
	if len(p.changes) != 1 || p.changes[0].Author != "-/operator/ana" {
		t.Errorf("changes: %+v", p.changes)
	}
	if code, err := ask("", "GET", "/v1/status"); err == nil {
		t.Errorf("without a certificate: %d", code)
	}
}

func TestWithoutTLSTheRemoteDoorIsShut(t *testing.T) {
	h := Remote(Config{Control: &plane{}, Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler)}, "domicile.test")
	if w := answer(h, request("GET", "/v1/status", nil, nil)); w.Code != 401 {
		t.Errorf("%d", w.Code)
	}
}
