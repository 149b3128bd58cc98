package fence_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	extensionv3 "github.com/envoyproxy/go-control-plane/envoy/service/extension/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/domicile-dev/domicile/pkg/fence"
)

// serve serves a fence on a Unix socket until the test ends.
func serve(t testing.TB, f *fence.Fence) (socket string, s *fence.Server) {
	t.Helper()
	dir, err := os.MkdirTemp("", "fence") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s = fence.NewServer(f, slog.New(slog.DiscardHandler))
	rpc := grpc.NewServer()
	s.Register(rpc)
	done := make(chan error, 1)
	go func() { done <- rpc.Serve(l) }()
	t.Cleanup(func() {
		rpc.Stop()
		<-done
		os.RemoveAll(dir)
	})
	return socket, s
}

func client(t testing.TB, socket string) extensionv3.ExtensionConfigDiscoveryServiceClient {
	t.Helper()
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return extensionv3.NewExtensionConfigDiscoveryServiceClient(conn)
}

func soon(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestBothFormsOfTheProtocol(t *testing.T) {
	clock := now
	f := open(t, "", &clock)
	socket, s := serve(t, f)
	c := client(t, socket)
	ctx := soon(t, 10*time.Second)
	if got := s.Await(ctx); got != (fence.Spread{}) {
		t.Errorf("nobody is connected: %+v", got)
	}
	sotw, err := c.StreamExtensionConfigs(ctx)
	if err != nil {
		t.Fatal(err)
	}
	delta, err := c.DeltaExtensionConfigs(ctx)
	if err != nil {
		t.Fatal(err)
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(sotw.Send(&discoveryv3.DiscoveryRequest{ResourceNames: []string{fence.FilterName}}))
	check(delta.Send(&discoveryv3.DeltaDiscoveryRequest{ResourceNamesSubscribe: []string{fence.FilterName}}))
	first := f.Version(t)
	r1, err := sotw.Recv()
	check(err)
	r2, err := delta.Recv()
	check(err)
	if r1.VersionInfo != first || len(r1.Resources) != 1 || r2.Resources[0].Version != first || r2.Resources[0].Name != fence.FilterName {
		t.Fatalf("%v\n%v", r1, r2)
	}
	check(sotw.Send(&discoveryv3.DiscoveryRequest{ResourceNames: []string{fence.FilterName}, VersionInfo: r1.VersionInfo, ResponseNonce: r1.Nonce}))
	if got := s.Await(soon(t, 100*time.Millisecond)); got != (fence.Spread{Connected: 2, Current: 1}) {
		t.Errorf("one has acknowledged: %+v", got)
	}
	check(delta.Send(&discoveryv3.DeltaDiscoveryRequest{ResponseNonce: r2.Nonce}))
	if got := s.Await(ctx); got != (fence.Spread{Connected: 2, Current: 2}) {
		t.Errorf("both have acknowledged: %+v", got)
	}
	add(t, f, erased("amal", ""))
	if got := s.Await(soon(t, 50*time.Millisecond)); got.Current != 0 {
		t.Errorf("nobody has acknowledged the change: %+v", got)
	}
	r1, err = sotw.Recv()
	check(err)
	r2, err = delta.Recv()
	check(err)
	if r1.VersionInfo != f.Version(t) || r2.Resources[0].Version != f.Version(t) || f.Version(t) == first {
		t.Errorf("not the change: %s %s", r1.VersionInfo, r2.Resources[0].Version)
	}
	check(sotw.Send(&discoveryv3.DiscoveryRequest{ResourceNames: []string{fence.FilterName}, VersionInfo: first, ResponseNonce: r1.Nonce, ErrorDetail: &status.Status{Message: "no"}}))
	check(delta.Send(&discoveryv3.DeltaDiscoveryRequest{ResponseNonce: r2.Nonce}))
	if got := s.Await(soon(t, 100*time.Millisecond)); got != (fence.Spread{Connected: 2, Current: 1}) {
		t.Errorf("one has refused: %+v", got)
	}
	check(sotw.CloseSend())
	if _, err := sotw.Recv(); err != io.EOF {
		t.Errorf("a refused version came again: %v", err)
	}
	if got := s.Await(ctx); got != (fence.Spread{Connected: 1, Current: 1}) {
		t.Errorf("one has gone: %+v", got)
	}
	// Who comes back with what is in force is sent nothing, and counts.
	again, err := c.DeltaExtensionConfigs(ctx)
	check(err)
	check(again.Send(&discoveryv3.DeltaDiscoveryRequest{
		ResourceNamesSubscribe: []string{fence.FilterName}, InitialResourceVersions: map[string]string{fence.FilterName: f.Version(t)},
	}))
	for s.Await(ctx) != (fence.Spread{Connected: 2, Current: 2}) {
		if ctx.Err() != nil {
			t.Fatal("it does not count")
		}
	}
	add(t, f, erased("deniz", ""))
	r3, err := again.Recv()
	check(err)
	if r3.Resources[0].Version != f.Version(t) {
		t.Error("it was sent what it had")
	}
}

func TestVersionsFollowFromTheContent(t *testing.T) {
	clock := now
	a, b := open(t, "", &clock), open(t, "", &clock)
	empty := a.Version(t)
	add(t, a, erased("amal", ""), moved("lena", "i", "DE", "TR", "SA"), moved("lena", "j", "DE", "SA"), erased("lena", ""))
	add(t, b, erased("lena", ""), moved("lena", "j", "DE", "SA"), moved("lena", "i", "DE", "SA", "TR"), erased("amal", ""))
	if a.Version(t) != b.Version(t) || a.Version(t) == empty {
		t.Error("the order of the entries is in the version")
	}
	clock = now.Add(time.Hour)
	if err := a.Sweep(); err != nil || a.Version(t) != empty {
		t.Errorf("after the end of all: %v", err)
	}
}

func findEnvoy(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("ENVOY_BIN"); path != "" {
		return path
	}
	if path, err := exec.LookPath("envoy"); err == nil {
		return path
	}
	if list, err := filepath.Glob("../../.cache/envoy/*/envoy"); err == nil && len(list) > 0 {
		abs, err := filepath.Abs(list[0])
		if err != nil {
			t.Fatal(err)
		}
		return abs
	}
	t.Skip("no Envoy: set ENVOY_BIN or run make build")
	return ""
}

const bootstrap = `
admin: {address: {socket_address: {address: 127.0.0.1, port_value: %[1]d}}}
node: {id: me-riyadh/gateway/test, cluster: gateway}
static_resources:
  clusters:
  - name: domicile_agent
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment: {cluster_name: domicile_agent, endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: %[3]q}}}}]}]}
  listeners:
  - name: gateway
    address: {socket_address: {address: 127.0.0.1, port_value: %[2]d}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: gateway
          access_log: [{name: file, typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog, log_format: {text_format_source: {inline_string: "details %%RESPONSE_CODE_DETAILS%%\n"}}}}]
          route_config: {virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, direct_response: {status: 200}}]}]}
          http_filters:
          - name: domicile.fence
            config_discovery:
              config_source:
                resource_api_version: V3
                initial_fetch_timeout: 0s
                api_config_source: {api_type: %[4]s, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: domicile_agent}}]}
              type_urls: [type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC]
          - name: router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
`

func port(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// The filter does in the real Envoy what the fence says, in both forms of the
// protocol, and changes at once.
func TestT37_RealEnvoyRefuses(t *testing.T) {
	bin := findEnvoy(t)
	for _, form := range []string{"GRPC", "DELTA_GRPC"} {
		t.Run(form, func(t *testing.T) {
			clock := now
			f := open(t, "", &clock)
			socket, s := serve(t, f)
			gateway := port(t)
			file := filepath.Join(t.TempDir(), "envoy.yaml")
			if err := os.WriteFile(file, fmt.Appendf(nil, bootstrap, port(t), gateway, socket, form), 0o600); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			var log bytes.Buffer
			cmd := exec.CommandContext(ctx, bin, "-c", file, "--concurrency", "1", "--disable-hot-restart", "-l", "warning")
			cmd.Stdout, cmd.Stderr = &log, &log
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			stopped := false
			stop := func() string {
				if !stopped {
					stopped = true
					_ = cmd.Process.Signal(os.Interrupt)
					_ = cmd.Wait()
					cancel()
				}
				return log.String()
			}
			defer func() { stop() }()
			ask := func(headers ...string) int {
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/", gateway), nil)
				if err != nil {
					t.Fatal(err)
				}
				for i := 0; i < len(headers); i += 2 {
					req.Header.Set("x-domicile-"+headers[i], headers[i+1])
				}
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					return 0
				}
				resp.Body.Close()
				return resp.StatusCode
			}
			for tick := time.NewTicker(20 * time.Millisecond); ask() != http.StatusOK; <-tick.C {
				if ctx.Err() != nil {
					t.Fatalf("envoy does not serve: %s", stop())
				}
			}
			if ask("user", "amal") != http.StatusOK {
				t.Error("an empty fence refuses")
			}
			add(t, f, erased("amal", "a"), erased("deniz", ""), moved("lena", "", "DE", "SA", "TR"), moved("ana", "a", "DE", "SA"), erased("ana", "b"), moved("ana", "", "DE", "FR"), erased("李", ""))
			if got := s.Await(ctx); got != (fence.Spread{Connected: 1, Current: 1}) {
				t.Fatalf("%+v: %s", got, stop())
			}
			const ok, no = http.StatusOK, http.StatusForbidden
			for _, c := range []struct {
				want    int
				headers []string
			}{
				{ok, nil}, {ok, []string{"user", "nobody", "issuer", "a", "home", "SA"}},
				{no, []string{"user", "amal", "issuer", "a", "home", "SA"}}, {ok, []string{"user", "amal", "issuer", "b", "home", "SA"}}, {ok, []string{"user", "amal"}},
				{ok, []string{"user", "Amal", "issuer", "a"}}, {ok, []string{"user", "amal2", "issuer", "a"}},
				{no, []string{"user", "deniz", "issuer", "x"}}, {no, []string{"user", "deniz"}},
				{no, []string{"user", "lena", "home", "SA"}}, {no, []string{"user", "lena", "home", "TR"}}, {ok, []string{"user", "lena", "home", "DE"}}, {ok, []string{"user", "lena"}},
				{no, []string{"user", "ana", "issuer", "a", "home", "SA"}}, {ok, []string{"user", "ana", "issuer", "c", "home", "SA"}},
				{no, []string{"user", "ana", "issuer", "a", "home", "FR"}}, {no, []string{"user", "ana", "issuer", "b", "home", "DE"}},
				{no, []string{"user", "李"}},
				// The token names no home, or no user that Envoy can read: the pin does.
				{no, []string{"user", "lena", "pin-home", "SA", "pin-user", hash("lena")}}, {ok, []string{"user", "lena", "pin-home", "DE", "pin-user", hash("lena")}},
				{no, []string{"pin-home", "SA", "pin-user", hash("lena")}}, {ok, []string{"pin-home", "DE", "pin-user", hash("lena")}},
				{no, []string{"pin-user", hash("amal"), "pin-issuer", "a", "pin-home", "SA"}}, {ok, []string{"pin-user", hash("amal"), "pin-issuer", "b", "pin-home", "SA"}},
				{no, []string{"user", "nobody", "pin-user", hash("deniz"), "pin-home", "SA"}},
			} {
				if got := ask(c.headers...); got != c.want {
					t.Errorf("%v: %d, want %d", c.headers, got, c.want)
				}
			}
			clock = now.Add(time.Hour)
			if err := f.Sweep(); err != nil {
				t.Fatal(err)
			}
			s.Await(ctx)
			if ask("user", "deniz") != ok {
				t.Error("an entry that has ended refuses")
			}
			out := stop()
			for _, want := range []string{"rbac_access_denied_matched_policy[erased]", "rbac_access_denied_matched_policy[moved]"} {
				if !strings.Contains(out, want) {
					t.Errorf("no %s in the details:\n%s", want, out)
				}
			}
		})
	}
}

// What a full fence costs: its bytes, and the time from Add to the filter.
func BenchmarkFull(b *testing.B) {
	f := fence.Filled(b, func() time.Time { return now }, fence.MaxEntries)
	for i := range b.N {
		add(b, f, erased("user 0", ""), fence.Entry{User: "user 1", Hash: hash("user 1"), Erased: true, Until: now.Add(time.Duration(i) * time.Hour)})
		f.Version(b)
	}
}
