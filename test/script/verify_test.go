package script

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/domicile-dev/domicile/pkg/cli"
	"github.com/domicile-dev/domicile/pkg/cli/session"
)

// TestVerifyFindsPlantedRoute starts a real Envoy from `render --bootstrap`,
// judges it, plants a route to another region by hand, and judges it again.
func TestVerifyFindsPlantedRoute(t *testing.T) {
	bin := os.Getenv("ENVOY_BIN")
	if bin == "" {
		t.Skip("ENVOY_BIN is not set (make test sets it): no Envoy to judge")
	}
	policies := filepath.Join("..", "..", "policies")
	dir := t.TempDir()
	overlay := filepath.Join(dir, "overlay.json")
	listen := fmt.Sprintf(`{"plain":%q,"tls":%q,"peer":%q,"egress":%q,"sidecar":%q}`, free(t), free(t), free(t), free(t), free(t))
	if err := os.WriteFile(overlay, []byte(`{"regions":{"eu-frankfurt":{"listen":`+listen+`}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	admin := free(t)
	_, boot, _ := domicile(t, 0, "render", policies, "--node", "eu-frankfurt/gateway", "--bootstrap", "--admin", admin, "--overlay", overlay)
	verify := []string{"verify", "--envoy", "http://" + admin, "--policies", policies, "--overlay", overlay}

	stop := start(t, bin, dir, admin, boot)
	_, out, _ := domicile(t, 0, verify...)
	if !strings.Contains(out, "No leak found") {
		t.Errorf("verify says\n%s", out)
	}
	stop()

	start(t, bin, dir, admin, plant(t, boot))
	_, out, _ = domicile(t, 1, verify...)
	if !strings.Contains(out, "planted") || !strings.Contains(out, "203.0.113.9:80") {
		t.Errorf("verify does not name the planted route and endpoint:\n%s", out)
	}
}

// plant puts a listener with a route to an address that no policy knows into a
// bootstrap.
func plant(t *testing.T, boot string) string {
	t.Helper()
	var b map[string]any
	if err := json.Unmarshal([]byte(boot), &b); err != nil {
		t.Fatal(err)
	}
	static := b["static_resources"].(map[string]any)
	address := func(ip, port string) string {
		return `{"socket_address":{"address":"` + ip + `","port_value":` + port + `}}`
	}
	add := func(kind, text string) {
		var v any
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		static[kind] = append(static[kind].([]any), v)
	}
	_, port, err := net.SplitHostPort(free(t))
	if err != nil {
		t.Fatal(err)
	}
	add("clusters", `{"name":"planted","type":"STATIC","connect_timeout":"1s","load_assignment":{"cluster_name":"planted",
		"endpoints":[{"lb_endpoints":[{"endpoint":{"address":`+address("203.0.113.9", "80")+`}}]}]}}`)
	add("listeners", `{"name":"planted","address":`+address("127.0.0.1", port)+`,"filter_chains":[{"filters":[{
		"name":"envoy.filters.network.http_connection_manager","typed_config":{
		"@type":"type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
		"stat_prefix":"planted","route_config":{"name":"planted","virtual_hosts":[{"name":"all","domains":["*"],
		"routes":[{"match":{"prefix":"/v1/messages"},"route":{"cluster":"planted"}}]}]},
		"http_filters":[{"name":"envoy.filters.http.router","typed_config":{
		"@type":"type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}}]}]}`)
	out, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// start runs an Envoy until stop or the end of the test, and waits for its admin.
func start(t *testing.T, bin, dir, admin, boot string) (stop func()) {
	t.Helper()
	file := filepath.Join(dir, "bootstrap.json")
	if err := os.WriteFile(file, []byte(boot), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command(bin, "-c", file, "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "error")
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			_ = cmd.Process.Kill() // an error means that it has ended
			<-ended
		}
	}
	t.Cleanup(stop)
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		res, err := http.Get("http://" + admin + "/ready")
		if err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return stop
			}
		}
		select {
		case err := <-ended:
			stopped = true
			t.Fatalf("Envoy has ended: %v\n%s", err, log.String())
		case <-deadline:
			t.Fatal("Envoy is not ready after 30 s")
		case <-tick.C:
		}
	}
}

// free returns a loopback address that nobody listens on now.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// domicile runs one command line in this process and requires its exit code.
func domicile(t *testing.T, want int, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = cli.Run(t.Context(), session.Env{Args: args, Out: &o, Err: &e, Getenv: os.Getenv, Now: time.Now})
	if code != want {
		t.Fatalf("domicile %s: exit %d, want %d\n%s%s", strings.Join(args, " "), code, want, o.String(), e.String())
	}
	return code, o.String(), e.String()
}
