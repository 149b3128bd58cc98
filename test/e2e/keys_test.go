package e2e_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// keyServer is an issuer's, with one key at a time.
type keyServer struct {
	*httptest.Server
	set   atomic.Pointer[string]
	asked atomic.Int64
}

func newKeyServer(t *testing.T) *keyServer {
	k := &keyServer{}
	k.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		k.asked.Add(1)
		if set := *k.set.Load(); set != "" {
			fmt.Fprint(w, set)
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	t.Cleanup(k.Close)
	return k
}

// turn makes a new key, with which the lab signs from now on.
func (k *keyServer) turn(t *testing.T, l *lab, kid string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	set := fmt.Sprintf(`{"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": %q, "x": %q, "y": %q}]}`, kid, b64(raw[1:33]), b64(raw[33:]))
	k.set.Store(&set)
	l.key, l.kid = key, kid
}

// restartControl ends the control plane and starts it again without the demo's stand-in
// for all key sets, and with further flags.
func (l *lab) restartControl(t *testing.T, more ...string) {
	t.Helper()
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", l.ready.PIDs.Control))
	if err != nil {
		t.Fatal(err)
	}
	args := strings.Split(strings.TrimRight(string(line), "\x00"), "\x00")
	if err := syscall.Kill(l.ready.PIDs.Control, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(l.dir, "overlay.json")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var overlay map[string]any
	if err := json.Unmarshal(data, &overlay); err != nil {
		t.Fatal(err)
	}
	delete(overlay, "jwks")
	if data, err = json.Marshal(overlay); err == nil {
		err = os.WriteFile(file, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(args[0], append(args[1:], more...)...)
	var log bytes.Buffer
	cmd.Stderr = &log
	eventually(t, 10*time.Second, func() error { // the ports are free once the old one is gone
		_, err := os.Stat(fmt.Sprintf("/proc/%d/cmdline", l.ready.PIDs.Control))
		if line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", l.ready.PIDs.Control)); err == nil && len(line) > 0 {
			return fmt.Errorf("the old control plane is still there")
		}
		return nil
	})
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
}

// Keys come from their issuer by way of the control plane: a new one counts, and one
// that was taken away ends, within the interval and a second; open sockets stay; a flood
// of unknown kids asks nobody; and while the issuer is away the last ones count.
func TestT06_FetchedKeys(t *testing.T) {
	l := own(t)
	server := newKeyServer(t)
	server.turn(t, l, "first")
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	l.restartControl(t, "--keys-ca", ca)
	const every = 10 * time.Second // the shortest that a policy may say
	eventually(t, 20*time.Second, func() error {
		_, err := try(h1, "GET", l.ready.Control.Admin+"/v1/status", "", "")
		return err
	})
	l.apply(t, policies(t, [3]string{"deployment.yaml", "jwks: {file: jwks.json}", `jwks: {url: "` + server.URL + `/keys", every: 10s, keep: 1h}`}))

	token := func() string {
		return l.forge(t, l.es256(), map[string]any{
			"iss": "https://id.example.com", "aud": "im", "sub": "amal", "home": "SA", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
		})
	}
	doors := l.doors()
	within := func(limit time.Duration, token string, status int) {
		t.Helper()
		for door, url := range doors {
			eventually(t, limit, func() error {
				if a := get(t, h1, url+"/v1/messages", token); a.status != status {
					return fmt.Errorf("through %s: %s, want %d", door, a, status)
				}
				return nil
			})
		}
	}
	old := token()
	within(5*time.Second, old, 200)

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	socket, _, err := dial(ctx, l.ready.Regions["eu-frankfurt"].Gateway, old)
	if err != nil {
		t.Fatal(err)
	}
	defer socket.CloseNow()

	server.turn(t, l, "second")
	turned := time.Now()
	within(every+every/10+time.Second, token(), 200)
	t.Logf("a new key counted after %s", time.Since(turned).Round(time.Millisecond))
	before := l.counted(t)
	within(time.Second, old, 401)
	only(t, l.reached(t, before), "")
	if err := socket.Write(ctx, websocket.MessageText, []byte("still here")); err != nil {
		t.Errorf("the socket of an older key is closed: %v", err)
	} else if _, said, err := socket.Read(ctx); err != nil || string(said) != "me-riyadh:still here" {
		t.Errorf("the socket of an older key says %q, %v", said, err)
	}

	gone := ""
	server.set.Store(&gone)
	asked := server.asked.Load()
	kid := l.kid
	flood := time.Now()
	for i := range 300 {
		l.kid = fmt.Sprintf("unknown-%d", i)
		if a := get(t, h1, doors["eu-frankfurt gateway"]+"/v1/messages", token()); a.status != 401 || a.reason() != "bad-token" {
			t.Fatalf("an unknown kid: %s", a)
		}
	}
	l.kid = kid
	// Its own looks go on, at most one a second while it fails.
	if n := server.asked.Load() - asked; n > int64(time.Since(flood)/time.Second)+2 {
		t.Errorf("300 unknown kids made the issuer be asked %d times", n)
	}
	within(time.Second, token(), 200)
	eventually(t, every+2*time.Second, func() error {
		out, _, code := run(t, "status", "--dir", l.dir)
		if !strings.Contains(out, "cannot be fetched") {
			return fmt.Errorf("status, exit %d, does not say that the issuer is away:\n%s", code, out)
		}
		return nil
	})
}
