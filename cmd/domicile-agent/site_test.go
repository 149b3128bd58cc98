package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/domicile-dev/domicile/pkg/directory"
	"github.com/domicile-dev/domicile/pkg/directory/static"
	"github.com/domicile-dev/domicile/pkg/identity"
	"github.com/domicile-dev/domicile/pkg/pin"
	"github.com/domicile-dev/domicile/pkg/release"
	"github.com/domicile-dev/domicile/pkg/topology"
	"github.com/domicile-dev/domicile/policies"
)

const (
	region = "me-riyadh"
	issuer = "https://id.example.com"
)

// site is an agent as it runs in a region, beside a control plane of which only the
// API is there.
type site struct {
	t         *testing.T
	dir       string
	hashKey   []byte
	idp       *ecdsa.PrivateKey
	pinPublic string
	ca        *identity.Authority
	users     *static.Directory
	plane     *httptest.Server
	published release.Published
	archive   []byte
	mu        sync.Mutex
	log       bytes.Buffer
	sockets   string
	listen    string
	peer      string
	rpc       *grpc.ClientConn
	stop      func() int
}

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

func (s *site) write(name string, data []byte) string {
	s.t.Helper()
	if err := os.WriteFile(s.path(name), data, 0o600); err != nil {
		s.t.Fatal(err)
	}
	return s.path(name)
}

// Write is the log; the agent's goroutines share it.
func (s *site) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(p)
}

func (s *site) logged() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

// bundleOf packs the shipped policies with first contacts in them.
func (s *site) bundleOf() {
	s.t.Helper()
	fsys := fstest.MapFS{}
	library := policies.Library()
	err := fs.WalkDir(library, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(library, path)
		fsys[path] = &fstest.MapFile{Data: data}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	text := string(fsys["deployment.yaml"].Data)
	text = strings.Replace(text, " homeClaim: home,", " countryClaim: country, skew: 30s,", 1)
	if !strings.Contains(text, "\n  pins:") {
		text = strings.Replace(text, "\n  issuers:", "\n  pins: {ttl: 5m}\n  issuers:", 1)
	}
	fsys["deployment.yaml"] = &fstest.MapFile{Data: []byte(text)}
	b, problems, err := release.Pack(fsys)
	if err != nil || b == nil {
		s.t.Fatal(problems, err)
	}
	k, err := jwk.PublicKeyOf(s.idp)
	if err != nil {
		s.t.Fatal(err)
	}
	jwks, err := json.Marshal(k)
	if err != nil {
		s.t.Fatal(err)
	}
	in := release.Of(b)
	in.At, in.TableOnly = time.Now(), true
	r := release.Build(in)
	if r.Result == nil {
		s.t.Fatal(r.Problems)
	}
	s.archive = b.Archive()
	s.published = release.Published{Sequence: 1, Bundle: b.Digest(), Table: r.Table.Digest(), Overlay: &topology.Overlay{
		JWKS: `{"keys":[` + string(jwks) + `]}`, Regions: map[string]topology.RegionOverlay{region: {PinKeys: s.pinPublic}},
	}}
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir(), hashKey: identity.NewHashKey()}
	var err error
	if s.idp, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	private, err := pin.NewKey("pin-1", "EdDSA")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := pin.ParseKeys(private)
	if err != nil {
		t.Fatal(err)
	}
	public, err := keys.Public()
	if err != nil {
		t.Fatal(err)
	}
	s.pinPublic = string(public)
	s.write("pin.jwk", private)
	s.write("users.key", []byte(hex.EncodeToString(s.hashKey)))
	s.users = static.Open(s.path("users.yaml"))
	s.bundleOf()
	if s.ca, err = identity.NewAuthority(topology.TrustDomain); err != nil {
		t.Fatal(err)
	}
	s.issue("agent", identity.ID{Region: region, Role: identity.RoleAgent, Name: "a0"})
	s.plane = httptest.NewUnstartedServer(http.HandlerFunc(s.answer))
	p := s.issue("control", identity.ID{Region: identity.NoRegion, Role: identity.RoleControl, Name: "c0"})
	if s.plane.TLS, err = identity.ServerTLS(p, topology.TrustDomain, identity.Role(identity.RoleAgent)); err != nil {
		t.Fatal(err)
	}
	s.plane.StartTLS()
	t.Cleanup(s.plane.Close)
	if s.sockets, err = os.MkdirTemp("", "agent"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(s.sockets) })
	return s
}

func (s *site) issue(name string, id identity.ID) identity.PEM {
	s.t.Helper()
	p, err := s.ca.Issue(id, identity.Options{IPs: []net.IP{net.IPv4(127, 0, 0, 1)}})
	if err == nil {
		err = p.Save(s.path(name))
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

// answer is the control plane's API, as far as agents ask it.
func (s *site) answer(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	p, archive := s.published, s.archive
	s.mu.Unlock()
	if r.URL.Path != "/v1/bundle" {
		w.Write(archive)
		return
	}
	state, err := p.State()
	if wait, _ := time.ParseDuration(r.URL.Query().Get("wait")); err == nil && r.URL.Query().Get("after") == state {
		select {
		case <-time.After(min(wait, 50*time.Millisecond)):
		case <-r.Context().Done():
		}
	}
	json.NewEncoder(w).Encode(p)
}

func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start runs the agent and waits until it is ready.
func (s *site) start() {
	s.t.Helper()
	s.startUntil(func() bool {
		status, _ := s.get("/readyz")
		return status == http.StatusOK
	})
}

// startUntil runs the agent and waits until it is as it should be.
func (s *site) startUntil(up func() bool) {
	s.t.Helper()
	s.listen, s.peer = free(s.t), free(s.t)
	socket := filepath.Join(s.sockets, "a.sock")
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, []string{
			"--id", region + "/agent/a0", "--socket", socket, "--listen", s.listen, "--peer", s.peer, "--control", s.plane.URL,
			"--cert", s.path("agent/cert.pem"), "--key", s.path("agent/key.pem"), "--ca", s.path("agent/ca.pem"),
			"--state", s.path("policy.json"), "--fence", s.path("fence.json"), "--pin-key", s.path("pin.jwk"),
			"--directory", s.path("users.yaml"), "--directory-key", s.path("users.key"),
		}, io.Discard, s)
	}()
	code := -1
	s.stop = func() int {
		if code < 0 {
			cancel()
			code = <-done
		}
		return code
	}
	s.t.Cleanup(func() { s.stop() })
	s.wait("up", up)
	var err error
	if s.rpc, err = grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { s.rpc.Close() })
}

func (s *site) wait(what string, ok func() bool) {
	s.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			_, why := s.get("/readyz")
			s.t.Fatalf("not %s: %s\n%s", what, why, s.logged())
		}
	}
}

func (s *site) get(path string) (int, string) {
	resp, err := http.Get("http://" + s.listen + path)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(body)
}

func (s *site) enter(user, home string) {
	s.t.Helper()
	hash := identity.UserHash(s.hashKey, user)
	var err error
	if home == "" {
		err = s.users.Remove(s.t.Context(), hash)
	} else {
		_, err = s.users.Put(s.t.Context(), directory.Entry{Hash: hash, Home: home})
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) token(user string, more string) string {
	s.t.Helper()
	payload := fmt.Sprintf(`{"iss":%q,"sub":%q,"aud":"im","exp":%d%s}`, issuer, user, time.Now().Add(time.Hour).Unix(), more)
	out, err := jws.Sign([]byte(payload), jws.WithKey(jwa.ES256(), s.idp))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(out)
}

type answer struct {
	home, reason string
	status       int
	set, back    map[string]string // request and response headers
	removed      []string
	body         string
}

// ask is a first contact of a user whose token Envoy has verified.
func (s *site) ask(user, more string, headers ...string) answer {
	s.t.Helper()
	h := map[string]string{"authorization": "Bearer " + s.token(user, more), "x-domicile-issuer": issuer, "x-domicile-user": user}
	for i := 0; i < len(headers); i += 2 {
		h[headers[i]] = headers[i+1]
	}
	return s.askWith(h)
}

func (s *site) askWith(h map[string]string) answer {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
	defer cancel()
	r, err := authv3.NewAuthorizationClient(s.rpc).Check(ctx, &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		ContextExtensions: map[string]string{"mode": "resolve"},
		Request:           &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{Headers: h, Path: "/v1/messages"}},
	}})
	if err != nil {
		s.t.Fatal(err)
	}
	a := answer{set: map[string]string{}, back: map[string]string{}}
	if d := r.GetDeniedResponse(); d != nil {
		a.status, a.body = int(d.GetStatus().GetCode()), d.GetBody()
		for _, x := range d.GetHeaders() {
			a.back[x.GetHeader().GetKey()] = x.GetHeader().GetValue()
		}
		a.reason = a.back["x-domicile-reason"]
		return a
	}
	ok := r.GetOkResponse()
	for _, x := range ok.GetHeaders() {
		a.set[x.GetHeader().GetKey()] = x.GetHeader().GetValue()
	}
	for _, x := range ok.GetResponseHeadersToAdd() {
		a.back[x.GetHeader().GetKey()] = x.GetHeader().GetValue()
	}
	a.home, a.removed = a.set["x-domicile-home"], ok.GetHeadersToRemove()
	return a
}
