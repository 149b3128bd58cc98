package envoy_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	extensionv3 "github.com/envoyproxy/go-control-plane/envoy/service/extension/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/domicile-dev/domicile/pkg/envoy"
	"github.com/domicile-dev/domicile/pkg/identity"
	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// real is a deployment with real Envoys: a gateway in eu and one in sa, a backend in
// each region that counts, and an agent beside each gateway that answers as the test
// wants.
type real struct {
	table  *residency.Table
	top    *topology.Topology
	issuer *key            // of all issuers that sign
	pins   map[string]*key // by region
	secret []byte          // of https://secret
	// authority makes the certificates of Envoys.
	authority *identity.Authority

	homes int         // that there are besides
	place func(*real) // changes the topology before anything starts; nil: nothing

	mu    sync.Mutex
	seen  map[string][]*http.Request // by region
	asked map[string][]*authv3.CheckRequest
	// answer is what the agent of a region says.
	answer func(region string, r *authv3.CheckRequest) *authv3.CheckResponse
	// fence, if there is one, is what agents send as the fence; nil messages are not
	// sent.
	fence chan proto.Message
}

type key struct {
	*ecdsa.PrivateKey
	kid string
}

func newKey(t testing.TB, kid string) *key {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &key{k, kid}
}

func (k *key) jwks() string {
	pub, err := k.PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf(`{"keys":[{"kty":"EC","crv":"P-256","alg":"ES256","kid":%q,"x":%q,"y":%q}]}`, k.kid, raw64(pub[1:33]), raw64(pub[33:]))
}

func raw64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func encoded(header, claims map[string]any) string {
	h, _ := json.Marshal(header)
	c, _ := json.Marshal(claims)
	return raw64(h) + "." + raw64(c)
}

func (k *key) sign(claims map[string]any) string {
	input := encoded(map[string]any{"alg": "ES256", "kid": k.kid}, claims)
	sum := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, k.PrivateKey, sum[:])
	if err != nil {
		panic(err)
	}
	return input + "." + raw64(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
}

func hs256(secret []byte, claims map[string]any) string {
	input := encoded(map[string]any{"alg": "HS256", "kid": "s"}, claims)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(input))
	return input + "." + raw64(mac.Sum(nil))
}

// The issuers of the deployment, by what is particular about them.
const (
	homely = "https://id"     // names homes; tokens in many places
	silent = "https://silent" // in Envoy, but names no home
	opaque = "https://opaque" // its server must be asked
	packed = "https://packed" // its tokens stand inside ?v=
	shared = "https://secret" // HS256, in region sa only
)

// freeAddress is one that nothing listens on.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// realSpec is spec with these issuers and an epoch.
func realSpec() residency.Spec {
	s := spec()
	s.Issuers = nil
	for _, i := range []string{homely, silent, opaque, packed} {
		s.Issuers = append(s.Issuers, residency.Issuer{Issuer: i, Homes: []string{"SA", "DE"}})
	}
	s.Issuers = append(s.Issuers, residency.Issuer{Issuer: shared, Homes: []string{"SA"}})
	s.Epochs = map[string]uint64{"DE": 3}
	return s
}

func newReal(t testing.TB, change func(*real)) *real {
	t.Helper()
	bin := findEnvoy(t)
	r := &real{
		top: place(), issuer: newKey(t, "i"), pins: map[string]*key{}, secret: []byte("0123456789abcdef0123456789abcdef"),
		seen: map[string][]*http.Request{}, asked: map[string][]*authv3.CheckRequest{},
	}
	if change != nil {
		change(r)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "secret.json")
	if err := os.WriteFile(file, []byte(`{"keys":[{"kty":"oct","alg":"HS256","kid":"s","k":"`+raw64(r.secret)+`"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	im, keys := []string{"im"}, r.issuer.jwks()
	bearer := topology.TokenSource{Header: "authorization", Prefix: "Bearer "}
	r.top.Issuers = []topology.Issuer{
		{Issuer: homely, Audiences: im, HomeClaim: "home", JWKS: keys, Sources: []topology.TokenSource{
			bearer, {Cookie: "session"}, {Query: "access_token"}, {Subprotocol: "bearer."},
		}},
		{Issuer: opaque, Whoami: &topology.Whoami{Service: "message", Path: "/whoami", Member: "user_id"}, Sources: []topology.TokenSource{bearer}},
		{Issuer: packed, Nameless: true, JWKS: keys, Sources: []topology.TokenSource{{Query: "v", JSON: "token"}}},
		{Issuer: shared, Audiences: im, HomeClaim: "home", Secret: &topology.Secret{File: file, Regions: []string{"sa"}}},
		{Issuer: silent, Audiences: im, JWKS: keys, MaxLifetime: time.Hour, Skew: 5 * time.Second},
	}
	r.top.Pins = &topology.Pins{TTL: 10 * time.Minute, Cookie: topology.PinCookie, Header: topology.PinHeader}
	for i := range r.top.Regions {
		x := &r.top.Regions[i]
		r.pins[x.Name] = newKey(t, "pin-"+x.Name)
		x.PinKeys, x.Aliases, x.Peer = r.pins[x.Name].jwks(), []string{"127.0.0.1"}, freeAddress(t)
		x.Agent = filepath.Join(dir, x.Name+".sock")
		x.Listen = topology.Listen{Plain: freeAddress(t), TLS: freeAddress(t), Peer: x.Peer, Egress: freeAddress(t), Sidecar: freeAddress(t)}
		backend := httptest.NewServer(r.backend(x.Name))
		t.Cleanup(backend.Close)
		at := strings.TrimPrefix(backend.URL, "http://")
		x.Backends = map[string][]string{"message": {at}, "profile": {at}}
		r.agent(t, x.Name, x.Agent)
	}
	if r.place != nil {
		r.place(r)
	}
	s := realSpec()
	for i := range r.homes {
		s.Rules = append(s.Rules, residency.Rule{Home: fmt.Sprintf("X%d", i), Class: "message", Serve: []string{"eu"}, Entry: []string{"eu"}})
	}
	r.table = table(t, s)
	var err error
	if r.authority, err = identity.NewAuthority(r.top.TrustDomain); err != nil {
		t.Fatal(err)
	}
	for _, region := range []string{"eu", "sa"} {
		r.start(t, bin, dir, region)
	}
	return r
}

// findEnvoy is the contract's order: $ENVOY_BIN, PATH, the fetched one.
func findEnvoy(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("ENVOY_BIN"); path != "" {
		return path
	}
	if path, err := exec.LookPath("envoy"); err == nil {
		return path
	}
	if list, err := filepath.Glob("../../.cache/envoy/*/envoy"); err == nil && len(list) > 0 {
		return list[0]
	}
	t.Skip("no Envoy: set ENVOY_BIN or run make build")
	return ""
}

// backend counts what reaches a region, and upgrades.
func (r *real) backend(region string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		r.seen[region] = append(r.seen[region], req)
		r.mu.Unlock()
		w.Header().Set("x-backend-region", region)
		if !strings.EqualFold(req.Header.Get("Upgrade"), "websocket") {
			return
		}
		c, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + region + "!")
		_ = rw.Flush()
		_, _ = io.Copy(io.Discard, rw)
	})
}

// Check is the agent's answer.
type agentServer struct {
	authv3.UnimplementedAuthorizationServer
	r      *real
	region string
}

func (a agentServer) Check(_ context.Context, req *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	a.r.mu.Lock()
	defer a.r.mu.Unlock()
	a.r.asked[a.region] = append(a.r.asked[a.region], req)
	if a.r.answer == nil {
		return refused(residency.NoHome), nil
	}
	return a.r.answer(a.region, req), nil
}

func (r *real) agent(t testing.TB, region, socket string) {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	authv3.RegisterAuthorizationServer(s, agentServer{r: r, region: region})
	if r.fence != nil {
		extensionv3.RegisterExtensionConfigDiscoveryServiceServer(s, fenceServer{fence: r.fence})
	}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
}

// resolved is the agent's word on a home.
func resolved(home, issuer, user, pin string) *authv3.CheckResponse {
	set := func(name, value string) *corev3.HeaderValueOption {
		return &corev3.HeaderValueOption{
			Header: &corev3.HeaderValue{Key: name, Value: value}, AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		}
	}
	return &authv3.CheckResponse{Status: &status.Status{Code: int32(codes.OK)}, HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
		Headers:              []*corev3.HeaderValueOption{set("x-domicile-home", home), set("x-domicile-issuer", issuer), set("x-domicile-user", user), set(topology.PinHeader, pin)},
		ResponseHeadersToAdd: []*corev3.HeaderValueOption{set(topology.PinHeader, pin)},
	}}}
}

func refused(why residency.Reason) *authv3.CheckResponse {
	return &authv3.CheckResponse{Status: &status.Status{Code: int32(codes.PermissionDenied)}, HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
		Status:  nil,
		Headers: []*corev3.HeaderValueOption{{Header: &corev3.HeaderValue{Key: "x-domicile-reason", Value: string(why)}}},
	}}}
}

func (r *real) start(t testing.TB, bin, dir string, region string) {
	t.Helper()
	res := translate(t, envoy.Input{Table: r.table, Topology: r.top, Node: envoy.Node{Region: region, Role: envoy.Gateway}})
	id := identity.ID{Region: region, Role: "gateway", Name: "real"}
	pem, err := r.authority.Issue(id, identity.Options{})
	if err != nil {
		t.Fatal(err)
	}
	pair := envoy.KeyPair{Certificate: envoy.PEM{Inline: string(pem.Cert)}, Key: envoy.PEM{Inline: string(pem.Key)}}
	admin := freeAddress(t)
	at, _ := r.top.Region(region)
	boot := envoy.BootstrapSpec{
		ID: id.String(), Cluster: "gateway", Admin: admin, XDS: "127.0.0.1:1", TrustDomain: r.top.TrustDomain,
		Node: pair, Public: pair, CA: envoy.PEM{Inline: string(pem.CA)}, Agent: at.Agent,
	}
	body, err := envoy.StaticBootstrap(boot, res)
	if err != nil {
		t.Fatal(err)
	}
	if r.fence != nil {
		body = fencedByAgent(t, boot, body, res)
	}
	file := filepath.Join(dir, region+".json")
	if err := os.WriteFile(file, body, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var log bytes.Buffer
	cmd := exec.CommandContext(ctx, bin, "-c", file, "--concurrency", "1", "--disable-hot-restart", "-l", "warning")
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	t.Cleanup(func() {
		cancel()
		<-exited
		if t.Failed() {
			t.Logf("envoy of %s: %s", region, log.Bytes())
		}
	})
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(time.Minute); ; {
		if res, err := http.Get("http://" + admin + "/ready"); err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case err := <-exited:
			exited <- err
			t.Fatalf("envoy of %s ended: %v\n%s", region, err, log.Bytes())
		case <-late:
			t.Fatalf("envoy of %s was not ready in time\n%s", region, log.Bytes())
		case <-tick.C:
		}
	}
}

// outcome is what a request came to.
type outcome struct {
	status int
	reason string
	header http.Header
	region string // whose backend saw it; "" for none
	got    *http.Request
	asked  string // the regions whose agents were asked
	body   string
}

func (o outcome) String() string {
	return fmt.Sprintf("%d %s region=%q asked=%q %s", o.status, o.reason, o.region, o.asked, strings.TrimSpace(o.body))
}

// ask sends a request to the gateway of a region: its line, then header lines.
func (r *real) ask(t testing.TB, region, path string, lines ...string) outcome {
	t.Helper()
	at, _ := r.top.Region(region)
	c, err := net.DialTimeout("tcp", at.Listen.Plain, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return r.send(t, c, path, lines...)
}

// askAsPeer sends a request to the peer listener of sa, as a gateway of region from.
func (r *real) askAsPeer(t testing.TB, from, path string, lines ...string) outcome {
	t.Helper()
	at, _ := r.top.Region("sa")
	pem, err := r.authority.Issue(identity.ID{Region: from, Role: "gateway", Name: "x"}, identity.Options{})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(pem.Cert, pem.Key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := tls.Dial("tcp", at.Listen.Peer, &tls.Config{
		Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}, InsecureSkipVerify: true, // the peer's judgement is what counts
	})
	if err != nil {
		t.Fatal(err)
	}
	return r.send(t, c, path, lines...)
}

func (r *real) send(t testing.TB, c net.Conn, path string, lines ...string) outcome {
	t.Helper()
	defer func() { _ = c.Close() }()
	r.mu.Lock()
	r.seen, r.asked = map[string][]*http.Request{}, map[string][]*authv3.CheckRequest{}
	r.mu.Unlock()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: 127.0.0.1\r\n"+strings.Join(append(lines, "\r\n"), "\r\n")); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(c)
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatalf("%s %q: %v", path, lines, err)
	}
	o := outcome{status: res.StatusCode, reason: res.Header.Get("x-domicile-reason"), header: res.Header}
	if res.StatusCode == http.StatusSwitchingProtocols {
		word := make([]byte, 3)
		_, _ = io.ReadFull(in, word)
		o.body = string(word)
	} else {
		body, _ := io.ReadAll(res.Body)
		o.body = string(body)
	}
	_ = res.Body.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	for where, list := range r.seen {
		if len(list) != 1 || o.region != "" {
			t.Errorf("%s %q: backends saw %d in %s, and in %q", path, lines, len(list), where, o.region)
		}
		o.region, o.got = where, list[0]
	}
	o.asked = strings.Join(slices.Sorted(maps.Keys(r.asked)), " ")
	return o
}

func claims(issuer string, set map[string]any) map[string]any {
	out := map[string]any{"iss": issuer, "aud": "im", "sub": "amal", "exp": time.Now().Add(30 * time.Minute).Unix()}
	maps.Copy(out, set)
	maps.DeleteFunc(out, func(_ string, v any) bool { return v == nil })
	return out
}

func (r *real) token(issuer string, set map[string]any) string {
	return r.issuer.sign(claims(issuer, set))
}

// pin is one of region's for what stands in the Authorization header.
func (r *real) pin(region, home, issuer, authorization string, set map[string]any) string {
	epoch := fmt.Sprint(r.table.Epoch(home))
	c := map[string]any{
		"iss": topology.PinIssuer(region), "aud": region, "sub": "5e1f", "home": home, "epoch": epoch, "idp": issuer,
		"cred": authorization[max(0, len(authorization)-43):], "iat": time.Now().Unix(), "exp": time.Now().Add(5 * time.Minute).Unix(),
	}
	maps.Copy(c, set)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return r.pins[region].sign(c)
}

// fenceServer gives Envoys what comes out of a channel, and hears their answers.
type fenceServer struct {
	extensionv3.UnimplementedExtensionConfigDiscoveryServiceServer
	fence chan proto.Message
}

func (f fenceServer) DeltaExtensionConfigs(stream extensionv3.ExtensionConfigDiscoveryService_DeltaExtensionConfigsServer) error {
	for n := 0; ; n++ {
		req, err := stream.Recv()
		if err != nil {
			return err
		}
		if req.GetErrorDetail() != nil {
			return fmt.Errorf("envoy refused: %v", req.GetErrorDetail())
		}
		if n > 0 && req.GetResponseNonce() == "" {
			n-- // another listener's subscription
			continue
		}
		select {
		case m := <-f.fence:
			body, err := anypb.New(m)
			if err != nil {
				return err
			}
			resource, err := anypb.New(&corev3.TypedExtensionConfig{Name: "domicile.fence", TypedConfig: body})
			if err != nil {
				return err
			}
			err = stream.Send(&discoveryv3.DeltaDiscoveryResponse{
				TypeUrl: envoy.ExtensionType, Nonce: fmt.Sprint(n),
				Resources: []*discoveryv3.Resource{{Name: "domicile.fence", Version: fmt.Sprint(n), Resource: resource}},
			})
			if err != nil {
				return err
			}
		case <-stream.Context().Done():
			return nil
		}
	}
}

// fencedByAgent takes the fence of a static file out again: it comes from the agent's
// cluster, as under a control plane.
func fencedByAgent(t testing.TB, spec envoy.BootstrapSpec, static []byte, res *envoy.Resources) []byte {
	t.Helper()
	asked, err := envoy.Bootstrap(spec)
	if err != nil {
		t.Fatal(err)
	}
	var b, dynamic bootstrapv3.Bootstrap
	for m, data := range map[*bootstrapv3.Bootstrap][]byte{&b: static, &dynamic: asked} {
		if err := protojson.Unmarshal(data, m); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range dynamic.GetStaticResources().GetClusters() {
		if c.GetName() == "domicile_agent" {
			b.StaticResources.Clusters = append(b.StaticResources.Clusters, c)
		}
	}
	for i, l := range b.GetStaticResources().GetListeners() {
		for j, chain := range l.GetFilterChains() {
			filter := chain.GetFilters()[0]
			var hcm, before hcmv3.HttpConnectionManager
			if !filter.GetTypedConfig().MessageIs(&hcm) {
				continue
			}
			if err := filter.GetTypedConfig().UnmarshalTo(&hcm); err != nil {
				t.Fatal(err)
			}
			if err := res.Listeners[i].GetFilterChains()[j].GetFilters()[0].GetTypedConfig().UnmarshalTo(&before); err != nil {
				t.Fatal(err)
			}
			for k, f := range before.GetHttpFilters() {
				if f.GetName() == "domicile.fence" {
					hcm.HttpFilters[k] = f
				}
			}
			body, err := anypb.New(&hcm)
			if err != nil {
				t.Fatal(err)
			}
			filter.ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: body}
		}
	}
	out, err := envoy.JSON(&b)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
