package form

import (
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	for in, want := range map[string]time.Duration{"30s": 30 * time.Second, "10m": 10 * time.Minute, "24h": 24 * time.Hour, "90d": 90 * 24 * time.Hour} {
		if got, err := ParseDuration(in); err != nil || got != want {
			t.Errorf("%s: got %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "m", "0m", "-1m", "+1m", "1.5h", "1", "10 m", "1h30m", "1e3s", "１m", "36501d", "999999999999d", "10M", "10ms", "010m"} {
		if got, err := ParseDuration(in); err == nil {
			t.Errorf("%q: accepted as %v", in, got)
		}
	}
}

func TestIsAddress(t *testing.T) {
	for _, s := range []string{"a:1", "10.1.1.1:8080", "[::1]:80", "im.example.com:65535", "a1.b2:443"} {
		if !isAddress(s) {
			t.Errorf("%q is refused", s)
		}
	}
	for _, s := range []string{"", ":", "a", "a:", ":1", "a:0", "a:65536", "a:01", "a:+1", "::1:80", "[::1]", "[10.1.1.1]:80", "[fe80::1%eth0]:80", "1.2.3:80", "1:80", "a..b:80", "-a:80", "a b:80", "a_b:80"} {
		if isAddress(s) {
			t.Errorf("%q passes", s)
		}
	}
}

func TestPathFault(t *testing.T) {
	for _, s := range []string{"/", "/a", "/a/", "/v1/profiles/{user}", "/*/{a}/x", "/.well-known/x"} {
		if why := pathFault(s, true); !why.IsZero() {
			t.Errorf("%q %s", s, why)
		}
	}
	for _, s := range []string{"", "a", "//", "/a//b", "/.", "/a/..", "/%41", "/a?b", "/a#b", "/a;b", "/a\\b", "/a b", "/{a", "/a}", "/{}", "/{a}b", "/{a-b}", "/{a}/{a}", "/a*", "/\u00e9"} {
		if why := pathFault(s, true); why.IsZero() {
			t.Errorf("%q passes", s)
		}
	}
	if pathFault("/{user}", false).IsZero() || pathFault("/*", false).IsZero() {
		t.Error("a template passes as a path")
	}
}
