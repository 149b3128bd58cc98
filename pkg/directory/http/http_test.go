package http_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	nethttp "net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/domicile-dev/domicile/pkg/directory"
	"github.com/domicile-dev/domicile/pkg/directory/directorytest"
	"github.com/domicile-dev/domicile/pkg/directory/http"
)

// service is an operator's service, with its faults.
type service struct {
	mu      sync.Mutex
	homes   map[string]string
	planted map[string]nethttp.HandlerFunc
	asked   atomic.Int64
}

func (s *service) ServeHTTP(w nethttp.ResponseWriter, r *nethttp.Request) {
	s.asked.Add(1)
	hash := strings.TrimPrefix(r.URL.Path, "/v1/")
	s.mu.Lock()
	home, found := s.homes[hash]
	planted := s.planted[hash]
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	switch {
	case planted != nil:
		planted(w, r)
	case found:
		fmt.Fprintf(w, `{"home": %q, "since": 2019}`, home)
	default:
		w.WriteHeader(nethttp.StatusNotFound)
		fmt.Fprint(w, `{"home": null}`)
	}
}

func TestSuite(t *testing.T) {
	directorytest.Run(t, func(t *testing.T) directorytest.Target {
		s := &service{homes: map[string]string{}, planted: map[string]nethttp.HandlerFunc{}}
		srv := httptest.NewServer(s)
		addr := srv.Listener.Addr().String()
		t.Cleanup(func() { srv.Close() })
		plant := func(f nethttp.HandlerFunc) func(*testing.T, string) {
			return func(_ *testing.T, hash string) {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.planted[hash] = f
			}
		}
		body := func(status int, text string) func(*testing.T, string) {
			return plant(func(w nethttp.ResponseWriter, _ *nethttp.Request) {
				w.WriteHeader(status)
				fmt.Fprint(w, text)
			})
		}
		return directorytest.Target{
			Open: func(t *testing.T) directory.Directory {
				return open(t, http.Config{URL: "http://" + addr + "/v1/{hash}", Timeout: time.Second})
			},
			Set: func(_ *testing.T, hash, home string) {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.homes[hash] = home
			},
			Stop: func(*testing.T) { srv.Close() },
			Start: func(t *testing.T) {
				l, err := net.Listen("tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				srv = &httptest.Server{Listener: l, Config: &nethttp.Server{Handler: s}}
				srv.Start()
			},
			Plant: map[string]func(*testing.T, string){
				"empty":          body(200, `{"home": ""}`),
				"too long":       body(200, `{"home": "`+strings.Repeat("x", directory.MaxHome+1)+`"}`),
				"a number":       body(200, `{"home": 1}`),
				"a list":         body(200, `["SA"]`),
				"other case":     body(200, `{"Home": "SA"}`),
				"no member":      body(200, `{}`),
				"no JSON":        body(200, `SA`),
				"more behind":    body(200, `{"home": "SA"} {"home": "TR"}`),
				"no body":        body(200, ``),
				"created":        body(201, `{"home": "SA"}`),
				"error":          body(500, `{"home": "SA"}`),
				"not permitted":  body(403, `{"home": null}`),
				"404 and a home": body(404, `{"home": "SA"}`),
				"404 of a proxy": plant(func(w nethttp.ResponseWriter, _ *nethttp.Request) {
					w.Header().Set("Content-Type", "text/html")
					w.WriteHeader(404)
					fmt.Fprint(w, `{"home": null}`)
				}),
				"404 of a mux": body(404, ``),
				"text": plant(func(w nethttp.ResponseWriter, _ *nethttp.Request) {
					w.Header().Set("Content-Type", "text/plain")
					fmt.Fprint(w, `{"home": "SA"}`)
				}),
				"100 MB": plant(func(w nethttp.ResponseWriter, _ *nethttp.Request) {
					fmt.Fprint(w, `{"home": "SA", "x": "`)
					chunk := strings.Repeat("x", 1<<20)
					for range 100 {
						if _, err := fmt.Fprint(w, chunk); err != nil {
							return
						}
					}
					fmt.Fprint(w, `"}`)
				}),
				"huge header": plant(func(w nethttp.ResponseWriter, _ *nethttp.Request) {
					w.Header().Set("X", strings.Repeat("x", 1<<20))
					fmt.Fprint(w, `{"home": "SA"}`)
				}),
				"zipped": plant(func(w nethttp.ResponseWriter, _ *nethttp.Request) {
					w.Header().Set("Content-Encoding", "gzip")
					fmt.Fprint(w, "\x1f\x8b\x08\x00")
				}),
				"redirect": plant(func(w nethttp.ResponseWriter, r *nethttp.Request) {
					nethttp.Redirect(w, r, "/v1/"+directorytest.Hash("elsewhere"), nethttp.StatusFound)
				}),
				"hangs": plant(func(_ nethttp.ResponseWriter, r *nethttp.Request) { <-r.Context().Done() }),
				"half an answer": plant(func(w nethttp.ResponseWriter, r *nethttp.Request) {
					fmt.Fprint(w, `{"home": "SA"`)
					w.(nethttp.Flusher).Flush()
					<-r.Context().Done()
				}),
				"broken off": plant(func(w nethttp.ResponseWriter, _ *nethttp.Request) {
					w.Header().Set("Content-Length", "100")
					fmt.Fprint(w, `{"home": "SA"}`)
				}),
			},
		}
	})
}

func open(t *testing.T, cfg http.Config) *http.Directory {
	t.Helper()
	d, err := http.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

// TestRedirectIsNotFollowed: not even once, so that nobody else is told the hash or
// the secret.
func TestRedirectIsNotFollowed(t *testing.T) {
	other := &service{homes: map[string]string{directorytest.Hash("amal"): "TR"}}
	to := httptest.NewServer(other)
	defer to.Close()
	from := httptest.NewServer(nethttp.RedirectHandler(to.URL+"/v1/"+directorytest.Hash("amal"), nethttp.StatusTemporaryRedirect))
	defer from.Close()
	home, _, err := open(t, http.Config{URL: from.URL + "/{hash}"}).Lookup(t.Context(), directorytest.Hash("amal"))
	if home != "" || !errors.Is(err, directory.ErrUnavailable) || other.asked.Load() != 0 {
		t.Errorf("home %q, error %v, the other was asked %d times", home, err, other.asked.Load())
	}
}

// TestWhoMayAsk: the service knows us by certificate and bearer token, and we know it.
func TestWhoMayAsk(t *testing.T) {
	s := &service{homes: map[string]string{directorytest.Hash("amal"): "SA"}}
	srv := httptest.NewUnstartedServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		if r.Header.Get("Authorization") != "Bearer s3cret" {
			w.WriteHeader(nethttp.StatusUnauthorized)
			return
		}
		s.ServeHTTP(w, r)
	}))
	srv.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	srv.Config.ErrorLog = nil
	srv.StartTLS()
	defer srv.Close()
	secret := filepath.Join(t.TempDir(), "secret")
	write := func(text string) {
		if err := os.WriteFile(secret, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	good := &tls.Config{RootCAs: roots, Certificates: srv.TLS.Certificates}
	for name, c := range map[string]struct {
		tls    *tls.Config
		secret string
		ok     bool
	}{
		"all right":         {good, "s3cret\n", true},
		"other secret":      {good, "guess", false},
		"no secret":         {good, "", false},
		"no certificate":    {&tls.Config{RootCAs: roots}, "s3cret", false},
		"another authority": {&tls.Config{Certificates: srv.TLS.Certificates}, "s3cret", false},
	} {
		write(c.secret)
		d := open(t, http.Config{URL: srv.URL + "/v1/{hash}", SecretFile: secret, TLS: c.tls, Timeout: 5 * time.Second})
		home, _, err := d.Lookup(t.Context(), directorytest.Hash("amal"))
		if (home == "SA") != c.ok || (err == nil) != c.ok || err != nil && !errors.Is(err, directory.ErrUnavailable) {
			t.Errorf("%s: home %q, error %v", name, home, err)
		}
		if err != nil && (strings.Contains(err.Error(), "guess") || strings.Contains(err.Error(), directorytest.Hash("amal"))) {
			t.Errorf("%s: the error tells too much: %v", name, err)
		}
		write("s3cret") // a secret that is replaced counts at once
		if _, found, _ := d.Lookup(t.Context(), directorytest.Hash("amal")); c.tls == good && !found {
			t.Errorf("%s: the new secret is not used", name)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, bad := range []string{
		"", "https://dir.example.com/v1/", "https://dir.example.com/{hash}/{hash}", "https://{hash}.example.com/", "http://dir.example.com/{hash}",
		"ftp://dir.example.com/{hash}", "/v1/{hash}", "https://user:pw@dir.example.com/{hash}", "https://dir.example.com/#{hash}", "https:// dir/{hash}", "http://127.0.0.1.example.com/{hash}",
	} {
		if _, err := http.Open(http.Config{URL: bad}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	for _, good := range []string{
		"https://dir.example.com/v1/{hash}", "https://dir.example.com/v1?user={hash}", "https://10.0.0.1:8443/{hash}", "http://127.0.0.1:8090/v1/{hash}", "http://[::1]:80/{hash}", "http://localhost/{hash}",
	} {
		if _, err := http.Open(http.Config{URL: good}); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
}

// TestProxyIsNotAsked: a proxy of the environment would be told every hash.
func TestProxyIsNotAsked(t *testing.T) {
	var asked atomic.Int64
	proxy := httptest.NewServer(nethttp.HandlerFunc(func(nethttp.ResponseWriter, *nethttp.Request) { asked.Add(1) }))
	defer proxy.Close()
	u, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("HTTPS_PROXY", u.String())
	// Reserved for documentation (RFC 5737): nobody answers there.
	d := open(t, http.Config{URL: "https://192.0.2.1/{hash}", Timeout: 50 * time.Millisecond})
	if _, _, err := d.Lookup(t.Context(), directorytest.Hash("amal")); !errors.Is(err, directory.ErrUnavailable) {
		t.Errorf("error %v", err)
	}
	if asked.Load() != 0 {
		t.Error("the proxy was asked")
	}
}
