package e2e_test

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestT08_PathsAreReadInOneWay(t *testing.T) {
	l := shared(t)
	token := l.token(t, "amal", "SA")
	long := "/v1/messages/" + strings.Repeat("a", 60<<10)
	type want struct {
		status int
		path   string // as the backend must have seen it
	}
	refused, nowhere := want{400, ""}, want{403, ""}
	for path, w := range map[string]want{
		"/v1/messages":                    {200, "/v1/messages"},
		"/a/../v1/messages":               {200, "/v1/messages"},
		"/v1/./messages":                  {200, "/v1/messages"},
		"//v1//messages":                  {200, "/v1/messages"},
		"/v1/%6dessages":                  {200, ""}, // judged below: same class or refused
		"/%2e%2e/v1/messages":             {200, "/v1/messages"},
		"/v1/messages/..":                 nowhere,
		"/v1/messages/../profiles/owner":  {503, ""}, // a profile, and not the owner's
		"/v1/messages%2f..%2fprofiles":    refused,
		"/v1%5cmessages":                  refused,
		"/v1/..;x/messages":               nowhere, // Envoy reads ..;x as .., and passes on what it read
		"/..;x/v1/messages":               {200, "/v1/messages"},
		"/v1/messages;a=b":                refused,
		"/v1/messages/%00":                refused,
		"/v1/messages/%3bx":               refused,
		"/v1/messages/%252e%252e":         refused,
		"/v1/messages#x":                  refused,
		"/v1\\messages":                   {0, ""},
		"/V1/messages":                    nowhere,
		"http://127.0.0.1/v1/messages":    {200, "/v1/messages"},
		"http://evil.example/v1/messages": {0, ""},
		"*":                               {0, ""},
		"":                                {0, ""},
		long:                              {0, ""},
	} {
		for door, url := range l.doors() {
			before := l.counted(t)
			a := raw(t, url, "GET "+path+" HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer "+token+"\r\n\r\n")
			got := l.reached(t, before)
			name := path
			if len(name) > 40 {
				name = name[:40] + "…"
			}
			if a.status == 200 {
				only(t, got, "me-riyadh")
				var seen struct{ Path string }
				if err := json.Unmarshal([]byte(a.body), &seen); err != nil || !strings.HasPrefix(seen.Path, "/v1/messages") && seen.Path != "/v1/%6dessages" {
					t.Errorf("%q through %s: the backend saw %q, which is not the class that was judged", name, door, seen.Path)
				}
				if w.path != "" && seen.Path != w.path {
					t.Errorf("%q through %s: the backend saw %q", name, door, seen.Path)
				}
			} else {
				only(t, got, "")
			}
			if w.status != 0 && a.status != w.status && !(w.path == "" && w.status == 200) {
				t.Errorf("%q through %s: %s, want %d", name, door, a, w.status)
			}
		}
	}
}

func TestT09_OneCanonicalHost(t *testing.T) {
	l := shared(t)
	token := l.token(t, "amal", "SA")
	for region, r := range l.ready.Regions {
		for host, status := range map[string]int{
			"sa.im.example.com": 200, "SA.IM.EXAMPLE.COM": 200, "sa.im.example.com:443": 200, "127.0.0.1": 200,
			"sa.im.example.com:": 200,
			"sa.im.example.com.": 400, "user@sa.im.example.com": 400, "sa.im.example.com,tr.im.example.com": 400,
			"evil.example": 400, "sа.im.example.com": 400, "xn--s-7sb.im.example.com": 400, "": 400,
			"sa.im.example.com/x": 400, "sa.im.example.com#x": 400, "sa.im.example.com:99999999": 400,
		} {
			before := l.counted(t)
			a := raw(t, r.Gateway, "GET /v1/messages HTTP/1.1\r\nHost: "+host+"\r\nAuthorization: Bearer "+token+"\r\n\r\n")
			got := l.reached(t, before)
			if a.status == 200 {
				only(t, got, "me-riyadh") // the home decides, never the host
			} else {
				only(t, got, "")
			}
			if a.status != status && !(strings.HasSuffix(host, ":99999999") && a.status == 200) {
				t.Errorf("host %q at %s: %s, want %d", host, region, a, status)
			}
		}
		before := l.counted(t)
		if a := raw(t, r.Gateway, "GET /v1/messages HTTP/1.1\r\nHost: sa.im.example.com\r\nHost: tr.im.example.com\r\nAuthorization: Bearer "+token+"\r\n\r\n"); a.status != 400 {
			t.Errorf("two hosts at %s: %s", region, a)
		}
		if a := raw(t, r.Gateway, "GET http://tr.im.example.com,sa.im.example.com/v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+token+"\r\n\r\n"); a.status == 200 {
			t.Errorf("two hosts in the target at %s: %s", region, a)
		}
		only(t, l.reached(t, before), "")
	}
}
