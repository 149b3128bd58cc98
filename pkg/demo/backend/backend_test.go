package backend

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/domicile-dev/domicile/pkg/identity"
)

var testKey = []byte("key")

func TestBackendContract(t *testing.T) {
	b := startBackend(t, "", "")
	for name, client := range map[string]*http.Client{"HTTP/1.1": b.client(false), "h2c": b.client(true)} {
		t.Run(name, func(t *testing.T) {
			req := b.request(t, "POST", "/v1/login/x?y=z", "hello", "amal", "SA")
			req.Header.Add("X-Twice", "a")
			req.Header.Add("X-Twice", "b")
			resp, body := b.do(t, client, req)
			if resp.StatusCode != 200 || resp.Header.Get("x-backend-region") != "me-riyadh" {
				t.Fatalf("answer: %d %v", resp.StatusCode, resp.Header)
			}
			headers, _ := body["headers"].(map[string]any)
			delete(body, "headers")
			want := map[string]any{"region": "me-riyadh", "user": "amal", "method": "POST", "path": "/v1/login/x", "query": "y=z", "body": "hello"}
			if d := cmp.Diff(want, body); d != "" {
				t.Errorf("body (-want +got):\n%s", d)
			}
			if headers["x-domicile-home"] != "SA" || headers["x-twice"] != "a, b" || headers["host"] != strings.TrimPrefix(b.url, "http://") {
				t.Errorf("headers: %v", headers)
			}
		})
	}
}

func TestBackendShowsPathsAsTheyArrive(t *testing.T) {
	b := startBackend(t, "", "")
	for _, path := range []string{"/a//b", "/a/%2e%2e/b", "/v1/profiles/a%2Fb", "/a;x=1"} {
		_, body := b.do(t, b.client(false), b.request(t, "GET", path, "", "", ""))
		if body["path"] != path {
			t.Errorf("path %s arrived as %v", path, body["path"])
		}
	}
}

func TestProfile(t *testing.T) {
	b := startBackend(t, "", "")
	get := func() map[string]any {
		resp, body := b.do(t, b.client(false), b.request(t, "GET", "/v1/profiles/%61mal", "", "amal", "SA"))
		if resp.StatusCode != 200 {
			t.Fatalf("status %d", resp.StatusCode)
		}
		return body
	}
	first := get()
	for _, f := range []string{"displayName", "avatarUrl", "phone", "email", "birthDate"} {
		if s, ok := first[f].(string); !ok || s == "" {
			t.Errorf("field %s is %v", f, first[f])
		}
	}
	if d := cmp.Diff(defaultProfile("amal"), defaultProfile("amal")); d != "" {
		t.Errorf("two backends invent different profiles: %s", d)
	}
	resp, body := b.do(t, b.client(false), b.request(t, "PUT", "/v1/profiles/amal", `{"phone": "1", "region": "lie", "nick": "a"}`, "amal", "SA"))
	if resp.StatusCode != 200 || body["phone"] != "1" || body["region"] != "me-riyadh" {
		t.Errorf("PUT: %d %v", resp.StatusCode, body)
	}
	second := get()
	if second["phone"] != "1" || second["nick"] != "a" || second["email"] != first["email"] {
		t.Errorf("PUT did not merge: %v", second)
	}
	for _, bad := range []string{"", "[]", "{", `"x"`} {
		if resp, _ := b.do(t, b.client(false), b.request(t, "PUT", "/v1/profiles/amal", bad, "amal", "SA")); resp.StatusCode != 400 {
			t.Errorf("PUT %q: %d, want 400", bad, resp.StatusCode)
		}
	}
	if resp, _ := b.do(t, b.client(false), b.request(t, "DELETE", "/v1/profiles/amal", "", "amal", "SA")); resp.StatusCode != 405 {
		t.Errorf("DELETE: %d, want 405", resp.StatusCode)
	}
}

func TestWebSocket(t *testing.T) {
	b := startBackend(t, "", "")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, resp, err := websocket.Dial(ctx, b.url+"/ws", &websocket.DialOptions{
		HTTPHeader: http.Header{headerUser: {"amal"}, "Origin": {"https://elsewhere.example"}}, Subprotocols: []string{"im", "bearer.x"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	if got := resp.Header.Get(headerRegion); got != "me-riyadh" {
		t.Errorf("region of the upgrade: %q", got)
	}
	for _, m := range []string{"hi", ""} {
		if err := c.Write(ctx, websocket.MessageText, []byte(m)); err != nil {
			t.Fatal(err)
		}
		if _, data, err := c.Read(ctx); err != nil || string(data) != "me-riyadh:"+m {
			t.Errorf("answer %q %v", data, err)
		}
	}
	if d := cmp.Diff(map[string]map[string]int{"amal": {"message": 3}}, b.stats(t)); d != "" {
		t.Errorf("upgrade and messages count (-want +got):\n%s", d)
	}
	b.stop()
	_, _, err = c.Read(ctx)
	if websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("at the stop: %v, want going away", err)
	}
}

func TestGRPCHealth(t *testing.T) {
	b := startBackend(t, "", "")
	conn, err := grpc.NewClient(strings.TrimPrefix(b.url, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), headerUser, "amal"), 10*time.Second)
	defer cancel()
	var header metadata.MD
	client := grpc_health_v1.NewHealthClient(conn)
	out, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: "any"}, grpc.Header(&header))
	if err != nil || out.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Fatalf("Check: %v %v", out, err)
	}
	if got := header.Get(headerRegion); len(got) != 1 || got[0] != "me-riyadh" {
		t.Errorf("region: %v", got)
	}
	w, err := client.Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if out, err := w.Recv(); err != nil || out.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Fatalf("Watch: %v %v", out, err)
	}
	if d := cmp.Diff(map[string]map[string]int{"amal": {"message": 2}}, b.stats(t)); d != "" {
		t.Errorf("gRPC counts as message (-want +got):\n%s", d)
	}
	b.stop()
	if _, err := w.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("Watch at the stop: %v, want Unavailable", err)
	}
}

func TestMessages(t *testing.T) {
	homes := map[string]string{"badr": "SA", "deniz": "TR", "noor": "BH"}
	directory := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for user, home := range homes {
			if r.URL.Path == "/v1/directory/"+identity.UserHash(testKey, user) {
				json.NewEncoder(w).Encode(map[string]string{"home": home})
				return
			}
		}
		w.WriteHeader(404)
	}))
	defer directory.Close()
	type outward struct{ Home, User, Auth, Body string }
	var out []outward
	egress := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		out = append(out, outward{r.Header.Get(headerHome), r.Header.Get(headerUser), r.Header.Get("Authorization"), string(body)})
		w.Header().Set("x-domicile-reason", "transfer-not-allowed")
		w.Header().Set("x-private", "no")
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(403)
		io.WriteString(w, `{"reason":"transfer-not-allowed"}`)
	}))
	defer egress.Close()
	b := startBackend(t, directory.URL, egress.URL)
	send := func(body string) (*http.Response, map[string]any) {
		req := b.request(t, "POST", "/v1/messages", body, "amal", "SA")
		req.Header.Set("Authorization", "Bearer secret")
		return b.do(t, b.client(false), req)
	}
	if resp, body := send(`{"to": "badr", "text": "hi"}`); resp.StatusCode != 200 || body["delivered"] != true {
		t.Errorf("same home: %d %v", resp.StatusCode, body)
	}
	if resp, body := send("no message"); resp.StatusCode != 200 || body["body"] != "no message" {
		t.Errorf("echo: %d %v", resp.StatusCode, body)
	}
	if len(out) != 0 {
		t.Fatalf("went out: %v", out)
	}
	for _, to := range []string{"deniz", "noor", "stranger"} {
		text := `{"to": "` + to + `", "text": "hi"}`
		resp, body := send(text)
		if resp.StatusCode != 403 || body["reason"] != "transfer-not-allowed" || resp.Header.Get("x-domicile-reason") != "transfer-not-allowed" ||
			resp.Header.Get("Content-Type") != "application/problem+json" || resp.Header.Get("x-private") != "" {
			t.Errorf("to %s: %d %v %v", to, resp.StatusCode, resp.Header, body)
		}
		if d := cmp.Diff(outward{"SA", "amal", "", text}, out[len(out)-1]); d != "" {
			t.Errorf("to %s went out as (-want +got):\n%s", to, d)
		}
	}
	egress.Close()
	if resp, body := send(`{"to": "deniz", "text": "hi"}`); resp.StatusCode != 503 || body["delivered"] != false || resp.Header.Get("Retry-After") == "" {
		t.Errorf("egress down: %d %v", resp.StatusCode, body)
	}
}

func TestStatsByClass(t *testing.T) {
	b := startBackend(t, "", "")
	for path, user := range map[string]string{
		"/v1/messages": "a", "/v1/messages/1": "a", "/v1/messagesfoo": "a", "/v1/profiles/x": "a", "/v1/friends/x": "a",
		"/v1/login": "a", "/ws": "a", "/": "", "/__statsx": "", "/healthz": "a",
	} {
		b.do(t, b.client(false), b.request(t, "GET", path, "", user, ""))
	}
	b.stats(t)
	want := map[string]map[string]int{
		"a": {"message": 3, "other": 1, "profile": 1, "relation": 1, "login": 1}, "-": {"other": 2},
	}
	if d := cmp.Diff(want, b.stats(t)); d != "" {
		t.Errorf("stats (-want +got):\n%s", d)
	}
}

type runningBackend struct {
	url  string
	stop func()
}

// startBackend runs a backend of me-riyadh until the test ends.
func startBackend(t *testing.T, agent, egress string) *runningBackend {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().String()
	free.Close()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, Config{
			Region: "me-riyadh", Listen: addr, Agent: agent, Egress: egress, Key: testKey, Log: slog.New(slog.DiscardHandler),
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Run: %v", err)
		}
	})
	for deadline := time.Now().Add(10 * time.Second); ; {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the backend does not listen: %v", err)
		}
	}
	return &runningBackend{url: "http://" + addr, stop: cancel}
}

func (b *runningBackend) client(h2c bool) *http.Client {
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetHTTP1(!h2c)
	tr.Protocols.SetUnencryptedHTTP2(h2c)
	return &http.Client{Transport: tr, Timeout: 10 * time.Second}
}

func (b *runningBackend) request(t *testing.T, method, path, body, user, home string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, b.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]string{headerUser: user, headerHome: home} {
		if v != "" {
			req.Header.Set(name, v)
		}
	}
	return req
}

func (b *runningBackend) do(t *testing.T, c *http.Client, req *http.Request) (*http.Response, map[string]any) {
	t.Helper()
	defer c.CloseIdleConnections()
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var body map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	return resp, body
}

func (b *runningBackend) stats(t *testing.T) map[string]map[string]int {
	t.Helper()
	resp, err := http.Get(b.url + "/__stats")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var out map[string]map[string]int
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}
