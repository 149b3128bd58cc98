package agent_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/domicile-dev/domicile/pkg/agent"
	"github.com/domicile-dev/domicile/pkg/directory"
	"github.com/domicile-dev/domicile/pkg/directory/static"
	"github.com/domicile-dev/domicile/pkg/identity"
)

var id = identity.ID{Region: "me-riyadh", Role: "agent", Name: "a0"}

func TestOwnerOnlyOverTheRealSocket(t *testing.T) {
	r := start(t)
	ext := map[string]string{"class": "profile", "template": "/v1/profiles/{user}"}
	headers := map[string]string{"x-domicile-home": "SA", "x-domicile-user": "amal", "x-domicile-policy": "sha256:abc"}

	out := r.check(t, ext, headers, "/v1/profiles/amal")
	if codes.Code(out.GetStatus().GetCode()) != codes.OK || out.GetOkResponse() == nil {
		t.Fatalf("owner: %v", out)
	}
	for name, c := range map[string]struct {
		ext, headers map[string]string
		path         string
	}{
		"another user": {ext, headers, "/v1/profiles/deniz"},
		"no context":   {nil, headers, "/v1/profiles/amal"},
		"no headers":   {ext, nil, "/v1/profiles/amal"},
		"nothing":      {},
	} {
		t.Run(name, func(t *testing.T) {
			out := r.check(t, c.ext, c.headers, c.path)
			d := out.GetDeniedResponse()
			if codes.Code(out.GetStatus().GetCode()) != codes.PermissionDenied || d.GetStatus().GetCode() != 503 {
				t.Fatalf("answer: %v", out)
			}
			got := map[string]string{}
			for _, h := range d.GetHeaders() {
				got[h.GetHeader().GetKey()] = h.GetHeader().GetValue()
			}
			if got["content-type"] != "application/problem+json" || got["x-domicile-reason"] != "not-decidable" || got["retry-after"] != "30" {
				t.Errorf("headers: %v", got)
			}
			var body map[string]any
			if err := json.Unmarshal([]byte(d.GetBody()), &body); err != nil {
				t.Fatal(err)
			}
			if body["reason"] != "not-decidable" || c.ext != nil && body["class"] != "profile" || c.headers != nil && body["policy"] != "sha256:abc" {
				t.Errorf("body: %v", body)
			}
			if _, ok := body["home"]; ok || strings.Contains(d.GetBody(), "deniz") {
				t.Errorf("the refusal tells about the subject: %v", body)
			}
		})
	}
	code, metrics := get(t, r.url+"/metrics")
	for _, want := range []string{
		`domicile_agent_decisions_total{class="profile",reason="",verdict="allow"} 1`,
		`domicile_agent_decisions_total{class="profile",reason="not-decidable",verdict="deny"} 2`,
	} {
		if code != 200 || !strings.Contains(metrics, want) {
			t.Errorf("metrics lack %s:\n%s", want, metrics)
		}
	}
	if all := metrics + r.log.String(); strings.Contains(all, "amal") || strings.Contains(all, "deniz") || strings.Contains(all, "/v1/profiles") {
		t.Error("a user id or path stands in metrics or log")
	}
}

func TestHealthIdentityAndDirectory(t *testing.T) {
	r := start(t)
	h, err := grpc_health_v1.NewHealthClient(r.conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil || h.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("gRPC health: %v %v", h, err)
	}
	fi, err := os.Stat(r.socket)
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v %v, want mode 0600", fi.Mode(), err)
	}
	if code, _ := get(t, r.url+"/healthz"); code != 200 {
		t.Errorf("healthz: %d", code)
	}
	hash := identity.UserHash([]byte("k"), "amal")
	if code, _ := get(t, r.url+"/readyz"); code != 503 {
		t.Errorf("readyz without directory file: %d, want 503", code)
	}
	if code, _ := get(t, r.url+"/v1/directory/"+hash); code != 503 {
		t.Errorf("missing directory file: %d, want 503", code)
	}
	if _, err := r.dir.Put(t.Context(), directory.Entry{Hash: hash, Home: "SA"}); err != nil {
		t.Fatal(err)
	}
	if code, _ := get(t, r.url+"/readyz"); code != 200 {
		t.Errorf("readyz: %d", code)
	}
	if code, body := get(t, r.url+"/v1/directory/"+hash); code != 200 || body != `{"home":"SA"}`+"\n" {
		t.Errorf("directory: %d %q", code, body)
	}
	for _, p := range []string{"amal", identity.UserHash([]byte("k"), "deniz"), strings.ToUpper(hash)} {
		if code, _ := get(t, r.url+"/v1/directory/"+p); code != 404 {
			t.Errorf("directory/%s: %d, want 404", p, code)
		}
	}
	if err := r.dir.Remove(t.Context(), hash); err != nil {
		t.Fatal(err)
	}
	if code, _ := get(t, r.url+"/v1/directory/"+hash); code != 404 {
		t.Errorf("removed user: %d, want 404", code)
	}
	if code, body := get(t, r.url+"/v1/identity"); code != 200 || body != `{"region":"me-riyadh","id":"me-riyadh/agent/a0","version":"v1"}`+"\n" {
		t.Errorf("identity: %d %q", code, body)
	}
}

func TestSocketTakeover(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "a.sock")
	// A socket that nobody serves: left behind by a killed process.
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	r := startAt(t, socket)
	if _, err := grpc_health_v1.NewHealthClient(r.conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil {
		t.Errorf("stale socket not taken over: %v", err)
	}
	run := func(path string) error {
		return agent.Run(t.Context(), agent.Config{ID: id, Socket: path, Listen: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)})
	}
	if err := run(socket); err == nil || !strings.Contains(err.Error(), "another process serves it") {
		t.Errorf("socket in use: %v", err)
	}
	file := filepath.Join(dir, "precious")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(file); err == nil {
		t.Error("a file was taken for a socket")
	}
	if b, _ := os.ReadFile(file); string(b) != "x" {
		t.Error("a foreign file was removed")
	}
}

func TestRunRefusesOtherRoles(t *testing.T) {
	for _, i := range []identity.ID{{}, {Region: "a", Role: "gateway", Name: "b"}} {
		err := agent.Run(t.Context(), agent.Config{ID: i, Socket: filepath.Join(t.TempDir(), "s"), Listen: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)})
		if err == nil {
			t.Errorf("%v runs as an agent", i)
		}
	}
}

type running struct {
	socket, url string
	conn        *grpc.ClientConn
	dir         *static.Directory
	log         *lockedBuffer
}

func start(t *testing.T) running { return startAt(t, filepath.Join(t.TempDir(), "a.sock")) }

// startAt runs an agent until the test ends and waits until it answers.
func startAt(t *testing.T, socket string) running {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	r := running{
		socket: socket, url: "http://" + addr, log: &lockedBuffer{},
		dir: static.Open(filepath.Join(t.TempDir(), "users.yaml")),
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- agent.Run(ctx, agent.Config{
			ID: id, Socket: socket, Listen: addr, Directory: func() directory.Directory { return r.dir }, Version: "v1", Log: slog.New(slog.NewJSONHandler(r.log, nil)),
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if _, err := os.Stat(socket); err == nil {
			t.Error("the socket stayed behind")
		}
	})
	r.conn, err = grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.conn.Close() })
	for deadline := time.Now().Add(5 * time.Second); ; {
		resp, err := http.Get(r.url + "/healthz")
		if err == nil {
			resp.Body.Close()
			return r
		}
		if time.Now().After(deadline) {
			t.Fatalf("agent does not answer: %v", err)
		}
		time.Sleep(time.Millisecond) // a wait for a condition, bounded above
	}
}

func (r running) check(t *testing.T, ext, headers map[string]string, path string) *authv3.CheckResponse {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	out, err := authv3.NewAuthorizationClient(r.conn).Check(ctx, &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		ContextExtensions: ext,
		Request:           &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{Headers: headers, Path: path}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
