package api

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

// FuzzAdmin sends anything to the plain door. Whatever it is, it gets an answer
// of the known form, and nothing is changed but by a marked POST to a loopback
// host.
func FuzzAdmin(f *testing.F) {
	f.Add("POST", "/v1/apply", "author=a&base=1&wait=1s", "127.0.0.1:1", "application/octet-stream", "", []byte("x"))
	f.Add("POST", "/v1/rollback", "to=1", "localhost", "text/plain", "http://evil.example", []byte{})
	f.Add("GET", "/v1/bundle/sha256:00", "limit=1", "evil.example", "", "null", []byte{})
	f.Add("HEAD", "//v1/../v1/status", "%zz", "[::1]", "", "", []byte{})
	f.Add("CONNECT", "/v1/apply", ";", "[::1", "", "", []byte{})
	f.Fuzz(func(t *testing.T, method, path, query, host, contentType, origin string, body []byte) {
		if strings.Trim(method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" || method == "" || !strings.HasPrefix(path, "/") {
			t.Skip("net/http lets no such request through")
		}
		p := &plane{}
		r := request("GET", "/", body, func(r *http.Request) {
			r.Method, r.URL, r.Host = method, &url.URL{Path: path, RawQuery: query}, host
			r.Header = http.Header{"Content-Type": {contentType}, "Origin": {origin}}
		})
		w := answer(admin(p), r)
		if len(p.changes)+len(p.back) > 0 {
			name := hostOf(host)
			addr, err := netip.ParseAddr(name)
			local := name == "localhost" || name == "domicile.test" || err == nil && addr.IsLoopback()
			if method != "POST" || contentType != "application/octet-stream" || !local {
				t.Fatalf("%s %s changed something: Host %q, Content-Type %q, Origin %q", method, path, host, contentType, origin)
			}
		}
		switch {
		case w.Code == http.StatusOK || w.Code/100 == 3:
		case w.Code < 400 || w.Header().Get("Content-Type") != "application/problem+json":
			t.Fatalf("%d %s: %s", w.Code, w.Header().Get("Content-Type"), w.Body)
		}
	})
}
