package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/domicile-dev/domicile/pkg/api"
	"github.com/domicile-dev/domicile/pkg/bundle"
	"github.com/domicile-dev/domicile/pkg/identity"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/store"
	"github.com/domicile-dev/domicile/pkg/store/etcd/embedded"
	"github.com/domicile-dev/domicile/pkg/xds"
	"github.com/domicile-dev/domicile/policies"
)

const trustDomain = "domicile.test"

// site is one replica with what it needs around it.
type site struct {
	t                *testing.T
	ca               *identity.Authority
	dir, etcd, admin string
	xds, api         string
	log              *lines
}

// lines collects a log; it is safe for concurrent use.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newSite(t *testing.T) *site {
	t.Helper()
	ca, err := identity.NewAuthority(trustDomain)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, ca: ca, dir: t.TempDir(), log: &lines{}, etcd: "http://" + free(t), admin: free(t), xds: free(t), api: free(t)}
	s.issue(identity.ID{Region: identity.NoRegion, Role: identity.RoleControl, Name: "a"})
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(s.log)
		}
	})
	return s
}

// free returns an address of loopback that nobody uses now.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// issue writes the replica's credential.
func (s *site) issue(id identity.ID) {
	s.t.Helper()
	pem, err := s.ca.Issue(id, identity.Options{IPs: []net.IP{net.IPv4(127, 0, 0, 1)}})
	if err != nil {
		s.t.Fatal(err)
	}
	if err := pem.Save(s.dir); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) args(more ...string) []string {
	file := func(name string) string { return filepath.Join(s.dir, name) }
	return append([]string{
		"--etcd", s.etcd, "--xds", s.xds, "--admin", s.admin, "--api", s.api, "--trust-domain", trustDomain,
		"--cert", file(identity.CertFile), "--key", file(identity.KeyFile), "--ca", file(identity.CAFile),
	}, more...)
}

// start runs the replica until the returned function stops it.
func (s *site) start(more ...string) (stop func()) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	code := make(chan int, 1)
	go func() { code <- run(ctx, s.args(more...), io.Discard, s.log) }()
	stop = sync.OnceFunc(func() {
		began := time.Now()
		cancel()
		if c := <-code; c != 0 {
			s.t.Errorf("exit code %d", c)
		}
		if d := time.Since(began); d > 5*time.Second {
			s.t.Errorf("stopping took %v", d)
		}
	})
	s.t.Cleanup(stop)
	s.wait("healthz", func() bool { code, _ := s.get("/healthz"); return code == http.StatusOK })
	return stop
}

func (s *site) startEtcd() *embedded.Server {
	s.t.Helper()
	e, err := embedded.Start(s.t.Context(), embedded.Config{Dir: filepath.Join(s.dir, "etcd"), ClientURL: s.etcd})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(e.Close)
	return e
}

// wait polls until ok, for at most 20 s.
func (s *site) wait(what string, ok func() bool) {
	s.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(20 * time.Second); ; {
		if ok() {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			s.t.Fatalf("%s: not within 20 s", what)
		}
	}
}

func (s *site) get(path string) (int, []byte) {
	res, err := http.Get("http://" + s.admin + path)
	return read(res, err)
}

func read(res *http.Response, err error) (int, []byte) {
	if err != nil {
		return 0, []byte(err.Error())
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, []byte(err.Error())
	}
	return res.StatusCode, body
}

func (s *site) apply(files map[string][]byte) (int, []byte) {
	s.t.Helper()
	b, err := bundle.New(files)
	if err != nil {
		s.t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodPost, "http://"+s.admin+"/v1/apply?author=ana", bytes.NewReader(b.Archive()))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set(api.Header, "test")
	return read(http.DefaultClient.Do(req))
}

func (s *site) status() (st api.Status) {
	s.t.Helper()
	code, body := s.get("/v1/status")
	if code != http.StatusOK {
		s.t.Fatalf("status: %d %s", code, body)
	}
	if err := json.Unmarshal(body, &st); err != nil {
		s.t.Fatal(err)
	}
	return st
}

// shipped returns the files of the shipped deployment.
func shipped(t *testing.T) map[string][]byte {
	t.Helper()
	set, problems := policy.Parse(policies.Library(), policies.Shipped())
	if policy.HasErrors(problems) {
		t.Fatal(problems)
	}
	return set.Files
}

// edited returns the shipped files with one replacement.
func edited(t *testing.T, file, old, new string) map[string][]byte {
	t.Helper()
	files := shipped(t)
	if !bytes.Contains(files[file], []byte(old)) {
		t.Fatalf("%s does not contain %q", file, old)
	}
	files[file] = bytes.Replace(files[file], []byte(old), []byte(new), 1)
	return files
}

// node connects to xDS as an Envoy and returns its stream, subscribed to all
// that a gateway asks for.
func (s *site) node(id identity.ID) discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient {
	s.t.Helper()
	pem, err := s.ca.Issue(id, identity.Options{})
	if err != nil {
		s.t.Fatal(err)
	}
	config, err := identity.ClientTLS(pem, trustDomain, identity.Role(identity.RoleControl))
	if err != nil {
		s.t.Fatal(err)
	}
	conn, err := grpc.NewClient(s.xds, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(s.t.Context())
	if err != nil {
		return refused{err: err}
	}
	for url, names := range map[string][]string{
		xds.ClusterType: nil, xds.ListenerType: nil, xds.RouteType: {"gateway", "peer", "egress"}, xds.ExtensionType: {"domicile.jwt"},
	} {
		req := &discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Id: id.String()}, TypeUrl: url, ResourceNamesSubscribe: names}
		if err := stream.Send(req); err != nil && err != io.EOF { // io.EOF: the error comes with Recv
			s.t.Fatal(err)
		}
	}
	return stream
}

// refused is the stream of a client that was turned away by TLS.
type refused struct {
	discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	err error
}

func (r refused) Recv() (*discoveryv3.DeltaDiscoveryResponse, error) { return nil, r.err }

// follow answers every response with an ACK and tells of each.
func follow(stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient) <-chan *discoveryv3.DeltaDiscoveryResponse {
	out := make(chan *discoveryv3.DeltaDiscoveryResponse, 100)
	go func() {
		defer close(out)
		for {
			r, err := stream.Recv()
			if err != nil {
				return
			}
			if stream.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()}) != nil {
				return
			}
			out <- r
		}
	}()
	return out
}

func TestFromCommitToProxy(t *testing.T) {
	s := newSite(t)
	// The replica starts first, and finds etcd when it comes.
	stop := s.start()
	if code, _ := s.get("/readyz"); code != http.StatusServiceUnavailable {
		t.Errorf("ready without a policy: %d", code)
	}
	if code, body := s.apply(shipped(t)); code != http.StatusServiceUnavailable {
		t.Errorf("apply without etcd: %d %s", code, body)
	}
	member := s.startEtcd()
	s.wait("store", func() bool { return s.status().Store.Connected })
	responses := follow(s.node(identity.ID{Region: "tr-istanbul", Role: identity.RoleGateway, Name: "a"}))

	code, body := s.apply(shipped(t))
	if code != http.StatusOK {
		t.Fatalf("apply: %d %s", code, body)
	}
	got := <-responses
	if len(got.GetResources()) == 0 {
		t.Fatalf("first response: %v", got)
	}
	s.wait("synced", func() bool { return synced(s.status()) })
	if code, _ := s.get("/readyz"); code != http.StatusOK {
		t.Errorf("readyz: %d", code)
	}

	// A tightening reaches the proxy: the live listeners of TR's messages go.
	for len(responses) > 0 {
		<-responses
	}
	tight := edited(t, "jurisdictions/tr.yaml", "message: {session: {maxAge: 24h}}", "message: {serve: []}")
	delete(tight, "jurisdictions/tr_test.yaml")
	if code, body = s.apply(tight); code != http.StatusOK {
		t.Fatalf("tighten: %d %s", code, body)
	}
	committed := time.Now()
	select {
	case r := <-responses:
		took := time.Since(committed)
		t.Logf("apply's answer to the proxy's response: %v (%s, %d removed)", took, r.GetTypeUrl(), len(r.GetRemovedResources()))
	case <-time.After(2 * time.Second):
		t.Error("no response within 2 s of the commit")
	}
	s.wait("synced", func() bool { return synced(s.status()) })

	// Other bytes of the same meaning are recorded, and reach nobody.
	for len(responses) > 0 {
		<-responses
	}
	tight["jurisdictions/tr.yaml"] = append(tight["jurisdictions/tr.yaml"], "# a remark\n"...)
	if code, body = s.apply(tight); code != http.StatusOK {
		t.Fatalf("remark: %d %s", code, body)
	}
	s.wait("sequence 3", func() bool { return s.status().Policy.Sequence == 3 })
	if st := s.status(); !synced(st) || len(responses) > 0 {
		t.Errorf("%d responses for a remark; %+v", len(responses), st.Proxies)
	}

	// etcd dies: what is in force stays, nothing can be changed, all is said.
	member.Close()
	s.wait("lost", func() bool { return !s.status().Store.Connected })
	began := time.Now()
	if code, body := s.apply(shipped(t)); code != http.StatusServiceUnavailable || time.Since(began) > 5*time.Second {
		t.Errorf("apply without etcd: %d %s after %v", code, body, time.Since(began))
	}
	if st := s.status(); st.Policy.Sequence != 3 || st.Refused != nil || !synced(st) {
		t.Errorf("without etcd: %+v", st)
	}
	s.startEtcd()
	s.wait("back", func() bool { return s.status().Store.Connected })
	_, body = s.get("/v1/history")
	var history []store.Record
	if err := json.Unmarshal(body, &history); err != nil || len(history) != 3 || history[0].Sequence != 3 {
		t.Errorf("history: %s, %v", body, err)
	}
	stop()
	if !strings.Contains(s.log.String(), `"msg":"started"`) {
		t.Error("the log is not what it was")
	}
}

func synced(st api.Status) bool {
	if st.Policy == nil || len(st.Proxies) == 0 {
		return false
	}
	for _, p := range st.Proxies {
		if p.State != xds.Synced || p.Target != st.Policy.Table {
			return false
		}
	}
	return true
}

func TestStrangersGetNothing(t *testing.T) {
	s := newSite(t)
	s.start()
	for _, id := range []identity.ID{
		{Region: "eu-frankfurt", Role: identity.RoleAgent, Name: "a"},
		{Region: identity.NoRegion, Role: identity.RoleOperator, Name: "ana"},
	} {
		if _, err := s.node(id).Recv(); err == nil {
			t.Errorf("%s got a response", id)
		}
	}
	foreign, err := identity.NewAuthority(trustDomain)
	if err != nil {
		t.Fatal(err)
	}
	mine := s.ca
	s.ca = foreign
	if err := s.handshake(); err == nil {
		t.Error("a certificate of another authority is accepted")
	}
	s.ca = mine
	if err := s.handshake(); err != nil {
		t.Error(err)
	}
}

// handshake does a TLS handshake with xDS as a gateway of s.ca.
func (s *site) handshake() error {
	_, err := s.serverCertificate()
	return err
}

// serverCertificate returns what xDS shows to a gateway, its serial number.
func (s *site) serverCertificate() (string, error) {
	s.t.Helper()
	pem, err := s.ca.Issue(identity.ID{Region: "eu-frankfurt", Role: identity.RoleGateway, Name: "a"}, identity.Options{})
	if err != nil {
		s.t.Fatal(err)
	}
	config, err := identity.ClientTLS(pem, trustDomain, identity.Role(identity.RoleControl))
	if err != nil {
		s.t.Fatal(err)
	}
	config.NextProtos = []string{"h2"}
	c, err := tls.Dial("tcp", s.xds, config)
	if err != nil {
		return "", err
	}
	defer c.Close()
	// In TLS 1.3 the server's refusal arrives with the first read; an accepted
	// client gets HTTP/2 settings.
	if _, err := c.Read(make([]byte, 1)); err != nil {
		return "", err
	}
	return c.ConnectionState().PeerCertificates[0].SerialNumber.String(), nil
}

func TestOperatorsAreServedByTLS(t *testing.T) {
	s := newSite(t)
	s.start()
	for role, want := range map[string]int{identity.RoleOperator: http.StatusBadRequest, identity.RoleControl: http.StatusForbidden} {
		pem, err := s.ca.Issue(identity.ID{Region: identity.NoRegion, Role: role, Name: "ana"}, identity.Options{})
		if err != nil {
			t.Fatal(err)
		}
		config, err := identity.ClientTLS(pem, trustDomain, identity.Role(identity.RoleControl))
		if err != nil {
			t.Fatal(err)
		}
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
		if code, body := read(client.Get("https://" + s.api + "/v1/status")); code != http.StatusOK {
			t.Errorf("%s, status: %d %s", role, code, body)
		}
		if code, body := read(client.Post("https://"+s.api+"/v1/apply", "application/octet-stream", strings.NewReader("no bundle"))); code != want {
			t.Errorf("%s, apply: %d %s", role, code, body)
		}
	}
}

func TestCertificatesAreFollowed(t *testing.T) {
	s := newSite(t)
	s.start()
	first, err := s.serverCertificate()
	if err != nil {
		t.Fatal(err)
	}
	// Half a rotation: the key no longer belongs to the certificate.
	key := filepath.Join(s.dir, identity.KeyFile)
	old, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(key, []byte("half written"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.wait("complaint", func() bool {
		got, err := s.serverCertificate()
		if err != nil || got != first {
			t.Fatalf("with half a rotation: %s, %v", got, err)
		}
		return strings.Contains(s.log.String(), "cannot be used; the old ones stay")
	})
	if err := os.WriteFile(key, old, 0o600); err != nil {
		t.Fatal(err)
	}
	s.issue(identity.ID{Region: identity.NoRegion, Role: identity.RoleControl, Name: "a"})
	s.wait("new certificate", func() bool {
		got, err := s.serverCertificate()
		return err == nil && got != first
	})
}

func TestWhatCannotStartSaysWhy(t *testing.T) {
	s := newSite(t)
	other := newSite(t)
	other.issue(identity.ID{Region: "eu-frankfurt", Role: identity.RoleGateway, Name: "a"})
	overlay := filepath.Join(s.dir, "overlay.json")
	if err := os.WriteFile(overlay, []byte(`{"regoins": {}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"admin for everybody": {s.args("--admin", "0.0.0.0:0"), "loopback addresses only"},
		"admin by name":       {s.args("--admin", "example.com:0"), "loopback addresses only"},
		"no etcd":             {s.args("--etcd", ""), "--etcd is required"},
		"no certificate":      {s.args("--cert", ""), "--cert is required"},
		"missing file":        {s.args("--key", filepath.Join(s.dir, "none")), "no such file"},
		"a gateway's":         {other.args(), "is no control plane's"},
		"bad overlay":         {s.args("--overlay", overlay), "regoins"},
		"bad level":           {s.args("--log-level", "loud"), "--log-level"},
		"unknown flag":        {s.args("--frobnicate"), "frobnicate"},
		"argument":            {s.args("policies"), `unexpected argument "policies"`},
		"half an etcd pair":   {s.args("--etcd-cert", "x"), "belong together"},
		"bad xds address":     {s.args("--xds", "nowhere"), "--xds"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if code := run(t.Context(), c.args, io.Discard, &out); code != 2 || !strings.Contains(out.String(), c.want) {
				t.Errorf("exit %d: %s", code, out.String())
			}
		})
	}
}

func TestVersionAndHelp(t *testing.T) {
	for _, flag := range []string{"--version", "--help"} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), []string{flag}, &out, &errs); code != 0 || errs.Len() != 0 || !strings.Contains(out.String(), "domicile-control") {
			t.Errorf("%s: exit %d: %s", flag, code, out.String())
		}
	}
}
