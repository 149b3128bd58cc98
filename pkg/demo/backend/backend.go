// Package backend is a sample IM backend for the demo and for tests: HTTP,
// WebSocket, gRPC health, profiles in memory, and messages that leave through
// the region's egress when they are for another home.
//
// It trusts the x-domicile headers, as a backend behind Domicile may, and counts
// every request that reaches it, so that a test can see what did and what did
// not. It stores nothing on disk.
package backend

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/domicile-dev/domicile/pkg/identity"
)

// The headers that a gateway sets from a verified token.
const (
	headerHome   = "x-domicile-home"
	headerUser   = "x-domicile-user"
	headerReason = "x-domicile-reason"
	headerRegion = "x-backend-region"
)

// maxBody bounds what a backend reads of a body or a WebSocket message, in bytes.
const maxBody = 1 << 20

// Config of a backend.
type Config struct {
	Region string
	Listen string // host:port for HTTP/1.1 and HTTP/2 with prior knowledge
	// Agent is the URL of the region's agent, asked where a user is at home. Without
	// one the backend knows no homes, and delivers to everybody.
	Agent string
	// Egress is the URL of the region's egress; messages to users with another
	// home leave through it.
	Egress string
	Key    []byte // of identity.UserHash
	Log    *slog.Logger
}

// Run serves until ctx ends; then it closes its WebSockets and streams.
func Run(ctx context.Context, cfg Config) error {
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen %s: %w", cfg.Listen, err)
	}
	b := newServer(ctx, cfg)
	srv := &http.Server{
		Handler:           b,
		Protocols:         new(http.Protocols),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       5 * time.Minute,
		ErrorLog:          slog.NewLogLogger(cfg.Log.Handler(), slog.LevelWarn),
	}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	select {
	case err := <-done:
		return fmt.Errorf("serve %s: %w", cfg.Listen, err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	goodbye := make(chan struct{})
	go func() { b.sockets.Wait(); close(goodbye) }() // they have seen ctx end
	select {
	case <-goodbye:
	case <-stop.Done():
	}
	if err := srv.Shutdown(stop); err != nil {
		return srv.Close()
	}
	return nil
}

type server struct {
	Config
	ctx     context.Context // of the process: long-lived streams end with it
	rpc     *grpc.Server
	client  *http.Client
	sockets sync.WaitGroup

	mu       sync.Mutex
	stats    map[string]map[string]int // user → class → requests
	profiles map[string]map[string]any
}

func newServer(ctx context.Context, cfg Config) *server {
	b := &server{
		Config: cfg, ctx: ctx, rpc: grpc.NewServer(),
		client: &http.Client{
			Timeout:       10 * time.Second,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		stats: map[string]map[string]int{}, profiles: map[string]map[string]any{},
	}
	grpc_health_v1.RegisterHealthServer(b.rpc, healthServer{done: ctx.Done()})
	return b
}

// ServeHTTP dispatches by the path as it arrived: a mux would clean it, and what
// the backend sees is what a test wants to know.
func (b *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(headerRegion, b.Region)
	if r.URL.Path == "/__stats" {
		writeJSON(w, http.StatusOK, b.snapshot())
		return
	}
	isGRPC := r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc")
	user := r.Header.Get(headerUser)
	class := classOf(r.URL.Path, isGRPC)
	if r.URL.Path != "/healthz" {
		b.count(user, class)
	}
	profile, isProfile := strings.CutPrefix(r.URL.Path, "/v1/profiles/")
	switch {
	case isGRPC:
		b.rpc.ServeHTTP(w, r)
	case r.URL.Path == "/ws" && strings.EqualFold(r.Header.Get("Upgrade"), "websocket"):
		b.socket(w, r, user)
	case isProfile && profile != "" && !strings.Contains(profile, "/"):
		b.profile(w, r, profile)
	case r.URL.Path == "/v1/messages" && r.Method == http.MethodPost:
		b.message(w, r)
	default:
		body, err := readBody(r)
		if err != nil {
			writeJSON(w, http.StatusBadRequest, map[string]any{"error": err.Error()})
			return
		}
		out := b.describe(r)
		if len(body) > 0 {
			out["body"] = string(body)
		}
		writeJSON(w, http.StatusOK, out)
	}
}

// classOf is the backend's own idea of a request's class, for its counters.
func classOf(path string, isGRPC bool) string {
	under := func(p string) bool { return path == p || strings.HasPrefix(path, p+"/") }
	switch {
	case isGRPC, under("/v1/messages"), path == "/ws":
		return "message"
	case under("/v1/profiles"):
		return "profile"
	case under("/v1/friends"):
		return "relation"
	case under("/v1/login"):
		return "login"
	}
	return "other"
}

func (b *server) count(user, class string) {
	if user == "" {
		user = "-"
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stats[user] == nil {
		b.stats[user] = map[string]int{}
	}
	b.stats[user][class]++
}

func (b *server) snapshot() map[string]map[string]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make(map[string]map[string]int, len(b.stats))
	for user, classes := range b.stats {
		out[user] = maps.Clone(classes)
	}
	return out
}

// describe is what every answer says: who serves, and what arrived.
func (b *server) describe(r *http.Request) map[string]any {
	path, query, _ := strings.Cut(r.RequestURI, "?")
	out := map[string]any{
		"region": b.Region, "user": r.Header.Get(headerUser), "method": r.Method, "path": path, "headers": flatten(r.Header, r.Host),
	}
	if query != "" {
		out["query"] = query
	}
	if len(r.Trailer) > 0 {
		out["trailers"] = flatten(r.Trailer, "")
	}
	return out
}

// flatten gives lower-case names; values of a repeated header are joined, so
// that none hides.
func flatten(h http.Header, host string) map[string]string {
	out := map[string]string{}
	for name, values := range h {
		out[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	if host != "" {
		out["host"] = host
	}
	return out
}

// socket answers each text message with REGION:MESSAGE until either side ends.
// Each message counts, so that a test sees what arrives on an old socket.
func (b *server) socket(w http.ResponseWriter, r *http.Request, user string) {
	b.sockets.Add(1)
	defer b.sockets.Done()
	// A demo has no origin of its own to insist on.
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return // Accept has answered
	}
	defer c.CloseNow()
	c.SetReadLimit(maxBody)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stop := context.AfterFunc(b.ctx, func() { c.Close(websocket.StatusGoingAway, "the backend stops") })
	defer stop()
	for {
		kind, data, err := c.Read(ctx)
		if err != nil {
			return
		}
		b.count(user, "message")
		if kind == websocket.MessageText {
			data = append([]byte(b.Region+":"), data...)
		}
		if err := c.Write(ctx, kind, data); err != nil {
			return
		}
	}
}

// profile serves and merges profiles.
func (b *server) profile(w http.ResponseWriter, r *http.Request, user string) {
	var change map[string]any
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodPut:
		body, err := readBody(r)
		if err == nil {
			err = json.Unmarshal(body, &change)
		}
		if err != nil {
			writeJSON(w, http.StatusBadRequest, map[string]any{"error": "the body is not a JSON object"})
			return
		}
	default:
		w.Header().Set("Allow", "GET, HEAD, PUT")
		writeJSON(w, http.StatusMethodNotAllowed, map[string]any{"error": "use GET or PUT"})
		return
	}
	out := b.merge(user, change)
	maps.Copy(out, b.describe(r))
	writeJSON(w, http.StatusOK, out)
}

func (b *server) merge(user string, change map[string]any) map[string]any {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.profiles[user]
	if p == nil {
		p = defaultProfile(user)
	}
	if change != nil {
		maps.Copy(p, change)
		b.profiles[user] = p
	}
	return maps.Clone(p)
}

// message delivers to users with the sender's home or another one that is served
// here, and sends what is for others out through the egress, whose answer the
// sender gets: nothing is lost silently.
func (b *server) message(w http.ResponseWriter, r *http.Request) {
	body, err := readBody(r)
	if err != nil {
		writeJSON(w, http.StatusBadRequest, map[string]any{"error": err.Error()})
		return
	}
	var m struct {
		To   string `json:"to"`
		Text string `json:"text"`
	}
	if err := json.Unmarshal(body, &m); err != nil || m.To == "" {
		out := b.describe(r)
		out["body"] = string(body)
		writeJSON(w, http.StatusOK, out)
		return
	}
	home, err := r.Header.Get(headerHome), error(nil)
	if b.Agent != "" {
		home, err = b.homeOf(r.Context(), m.To)
	}
	if err == nil && (b.Agent == "" || home != "") && home == r.Header.Get(headerHome) {
		out := b.describe(r)
		out["delivered"] = true
		writeJSON(w, http.StatusOK, out)
		return
	}
	if err := b.forward(w, r, body); err != nil {
		b.Log.Warn("message not forwarded", "error", err)
		w.Header().Set(headerReason, "not-decidable")
		w.Header().Set("Retry-After", "30")
		writeProblem(w, http.StatusServiceUnavailable, map[string]any{
			"title": "the region's egress does not answer", "status": http.StatusServiceUnavailable,
			"reason": "not-decidable", "class": "message", "delivered": false,
		})
	}
}

// homeOf asks the region's agent; "" means that the directory does not know.
func (b *server) homeOf(ctx context.Context, user string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.Agent+"/v1/directory/"+identity.UserHash(b.Key, user), nil)
	if err != nil {
		return "", err
	}
	resp, err := b.client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusNotFound:
		return "", nil
	case http.StatusOK:
	default:
		return "", fmt.Errorf("ask directory: status %d", resp.StatusCode)
	}
	var e struct {
		Home string `json:"home"`
	}
	err = json.NewDecoder(io.LimitReader(resp.Body, maxBody)).Decode(&e)
	return e.Home, err
}

// forward sends a message out and relays the answer. Only what the egress needs
// to judge goes along; the sender's token does not.
func (b *server) forward(w http.ResponseWriter, r *http.Request, body []byte) error {
	req, err := http.NewRequestWithContext(r.Context(), http.MethodPost, b.Egress+"/v1/messages", bytes.NewReader(body))
	if err != nil {
		return err
	}
	for _, name := range []string{headerHome, headerUser, "x-domicile-issuer", "Content-Type"} {
		if v := r.Header.Get(name); v != "" {
			req.Header.Set(name, v)
		}
	}
	resp, err := b.client.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // without the address
		}
		return fmt.Errorf("ask egress: %w", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return fmt.Errorf("read egress: %w", err)
	}
	for name, values := range resp.Header {
		n := strings.ToLower(name)
		if n == "content-type" || n == "retry-after" || strings.HasPrefix(n, "x-domicile-") {
			w.Header()[name] = slices.Clone(values)
		}
	}
	w.WriteHeader(resp.StatusCode)
	w.Write(answer)
	return nil
}

func readBody(r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err == nil && len(body) > maxBody {
		err = fmt.Errorf("the body has more than %d bytes", maxBody)
	}
	return body, err
}

func writeJSON(w http.ResponseWriter, code int, v any) { writeBody(w, "application/json", code, v) }

func writeProblem(w http.ResponseWriter, code int, v any) {
	writeBody(w, "application/problem+json", code, v)
}

func writeBody(w http.ResponseWriter, kind string, code int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		code, body = http.StatusInternalServerError, []byte("{}")
	}
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(code)
	w.Write(append(body, '\n'))
}
