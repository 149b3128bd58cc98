package im_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // what Synapse's interface asks for
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// synapse is one real Matrix server. It listens on Unix sockets only and speaks to
// no other server.
type synapse struct {
	host  string
	web   *relay
	dir   string
	cmd   *exec.Cmd
	ended chan struct{}
	admin *http.Client
	token string // of an administrator, who logs in past the relay
}

const synapseConfig = `
server_name: %[1]s
listeners:
  - {path: %[2]s/web, type: http, resources: [{names: [client], compress: false}]}
  - {path: %[2]s/admin, type: http, resources: [{names: [client], compress: false}]}
database: {name: sqlite3, args: {database: %[2]s/db}}
log_config: %[2]s/log.yaml
media_store_path: %[2]s/media
signing_key_path: %[2]s/signing.key
registration_shared_secret: only for this test
macaroon_secret_key: only for this test
form_secret: only for this test
report_stats: false
trusted_key_servers: []
federation_domain_whitelist: []
rc_login: {address: {per_second: 1000, burst_count: 1000}, account: {per_second: 1000, burst_count: 1000}}
`

const synapseLog = `
version: 1
formatters: {plain: {format: "%%(asctime)s %%(name)s %%(levelname)s %%(message)s"}}
handlers: {file: {class: logging.FileHandler, filename: %s/log, formatter: plain}}
root: {level: WARNING, handlers: [file]}
disable_existing_loggers: false
`

// startSynapse starts a server of one Matrix domain.
func startSynapse(t testing.TB, host string) *synapse {
	t.Helper()
	python := os.Getenv("SYNAPSE_PYTHON")
	if found, _ := filepath.Glob(filepath.Join(repo(), ".cache", "synapse", "*", "bin", "python")); python == "" && len(found) > 0 {
		python = found[len(found)-1]
	}
	if python == "" {
		absent(t, "Synapse is not installed: no SYNAPSE_PYTHON, and none in .cache")
	}
	dir, err := os.MkdirTemp("", "im-")
	if err != nil {
		t.Fatal(err)
	}
	s := &synapse{host: host, dir: dir, ended: make(chan struct{})}
	for name, text := range map[string]string{"config.yaml": fmt.Sprintf(synapseConfig, host, dir), "log.yaml": fmt.Sprintf(synapseLog, dir)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := []string{"-m", "synapse.app.homeserver", "-c", filepath.Join(dir, "config.yaml")}
	if out, err := exec.Command(python, append(run, "--generate-keys")...).CombinedOutput(); err != nil {
		t.Fatalf("keys of Synapse: %v\n%s", err, out)
	}
	s.cmd = exec.Command(python, run...)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out bytes.Buffer
	s.cmd.Stdout, s.cmd.Stderr = &out, &out
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.cmd.Wait(); close(s.ended) }()
	s.admin = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, "admin"))
	}}}
	s.web = front(t, "unix", filepath.Join(dir, "web"))
	eventually(t, 60*time.Second, func() error {
		select {
		case <-s.ended:
			t.Fatalf("Synapse ended: %s\n%s", s.cmd.ProcessState, out.String())
		default:
		}
		_, err := s.direct(http.MethodGet, "/_matrix/client/versions", nil)
		return err
	})
	s.token = s.register(t, "admin", true)
	return s
}

func (s *synapse) serves() map[string]string { return map[string]string{"matrix": s.web.addr()} }

func (s *synapse) stop() {
	s.web.stop()
	_ = s.cmd.Process.Kill()
	<-s.ended
	_ = os.RemoveAll(s.dir)
}

// seen counts the server's users, and as sessions their devices.
func (s *synapse) seen(t testing.TB) seen {
	t.Helper()
	out := passed(s.web)
	list, err := s.direct(http.MethodGet, "/_synapse/admin/v2/users?limit=1000", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range list["users"].([]any) {
		name := u.(map[string]any)["name"].(string)
		devices, err := s.direct(http.MethodGet, "/_synapse/admin/v2/users/"+name+"/devices", nil)
		if err != nil {
			t.Fatal(err)
		}
		out.users++
		out.sessions += int64(devices["total"].(float64))
	}
	return out
}

// register enters a user past Domicile, and returns a token of it.
func (s *synapse) register(t testing.TB, user string, admin bool) string {
	t.Helper()
	got, err := s.direct(http.MethodGet, "/_synapse/admin/v1/register", nil)
	if err != nil {
		t.Fatal(err)
	}
	role := map[bool]string{true: "admin", false: "notadmin"}[admin]
	mac := hmac.New(sha1.New, []byte("only for this test"))
	_, _ = io.WriteString(mac, strings.Join([]string{got["nonce"].(string), user, password, role}, "\x00"))
	got, err = s.direct(http.MethodPost, "/_synapse/admin/v1/register", map[string]any{
		"nonce": got["nonce"], "username": user, "password": password, "admin": admin, "mac": hex.EncodeToString(mac.Sum(nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return got["access_token"].(string)
}

// direct asks the server by its other door, which no relay counts.
func (s *synapse) direct(method, path string, body any) (map[string]any, error) {
	return matrixCall(s.admin, "http://"+s.host, s.token, method, path, body)
}

// matrixError is an answer other than 200.
type matrixError struct {
	status       int
	reason, body string
}

func (e *matrixError) Error() string { return fmt.Sprintf("%d %s %s", e.status, e.reason, e.body) }

// matrixCall is one request of Matrix's client interface.
func matrixCall(c *http.Client, base, token, method, path string, body any) (map[string]any, error) {
	var in io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		in = bytes.NewReader(data)
	}
	req, err := http.NewRequest(method, base+path, in)
	if err != nil {
		return nil, err
	}
	// Synapse on a Unix socket wants to know who calls; Envoy tells it, direct() must.
	req.Header.Set("X-Forwarded-For", "127.0.0.1")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, &matrixError{resp.StatusCode, resp.Header.Get("x-domicile-reason"), string(data)}
	}
	out := map[string]any{}
	return out, json.Unmarshal(data, &out)
}
