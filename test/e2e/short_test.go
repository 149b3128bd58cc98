package e2e_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// An upgrade that is not to a long-lived class would run where nothing can close
// it: it is refused before anybody counts it.
func TestT12_UpgradesOfShortClassesAreRefused(t *testing.T) {
	l := shared(t)
	token := l.token(t, "amal", "SA")
	for door, url := range l.doors() {
		for _, path := range []string{"/v1/messages", "/v1/messages/ws", "/v1/profiles/amal", "/healthz", "/v1/login", "/ws/x"} {
			before := l.counted(t)
			a := raw(t, url, "GET "+path+" HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer "+token+
				"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
			if a.status != 400 || a.reason() != "bad-request" {
				t.Errorf("%s through %s: %s", path, door, a)
			}
			only(t, l.reached(t, before), "")
		}
	}
}

// shortLife is what the contract gives a request that is not long-lived.
const shortLife = 30 * time.Second

// A body that never ends is a stream as well: it is cut off within the life of a
// short request, with a reason, whatever the policy has become meanwhile.
func TestT12_ABodyThatNeverEndsIsCutOff(t *testing.T) {
	l := own(t)
	doors := []string{l.ready.Regions["eu-frankfurt"].Gateway, l.ready.Regions["tr-istanbul"].Gateway, l.ready.Regions["tr-istanbul"].Sidecar}
	token := l.token(t, "ayse", "TR")
	began := time.Now()
	results := make(chan error, len(doors))
	for _, url := range doors {
		go func() { results <- drip(url, token, began) }()
	}
	l.apply(t, forbidMessages(t))
	for range doors {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}

// drip posts a chunk every quarter second until it is stopped.
func drip(url, token string, began time.Time) error {
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := io.WriteString(c, "POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer "+token+"\r\nTransfer-Encoding: chunked\r\n\r\n"); err != nil {
		return err
	}
	reader := bufio.NewReader(c)
	for {
		_ = c.SetReadDeadline(time.Now().Add(250 * time.Millisecond))
		_, err := reader.Peek(1)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if time.Since(began) > shortLife+5*time.Second {
				return fmt.Errorf("%s: the body still goes on after %s", url, time.Since(began))
			}
			_, _ = io.WriteString(c, "1\r\nx\r\n")
			continue
		}
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		resp, err := http.ReadResponse(reader, nil)
		if err != nil {
			return fmt.Errorf("%s: cut off without an answer: %w", url, err)
		}
		resp.Body.Close()
		if resp.StatusCode != 503 || resp.Header.Get("x-domicile-reason") != "region-unavailable" {
			return fmt.Errorf("%s: cut off with %s %q", url, resp.Status, resp.Header.Get("x-domicile-reason"))
		}
		return nil
	}
}
