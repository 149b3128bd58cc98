package e2e_test

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
)

// shippedDir is the shipped policy directory.
func shippedDir() string { return filepath.Join(repo(), "policies") }

func TestRenderPrintsEveryNodeAsJSON(t *testing.T) {
	var table string
	for _, node := range []string{"me-riyadh/gateway", "me-riyadh/sidecar", "me-riyadh/peer", "tr-istanbul/gateway", "eu-frankfurt/sidecar"} {
		out, errs, code := run(t, "render", shippedDir(), "--node", node)
		if code != 0 {
			t.Fatalf("render %s: exit %d: %s", node, code, errs)
		}
		var r struct {
			FormatVersion, Node, Table              string
			Listeners, Clusters, Routes, Extensions []map[string]any
		}
		if err := json.Unmarshal([]byte(out), &r); err != nil {
			t.Fatalf("render %s: %v", node, err)
		}
		if r.FormatVersion == "" || r.Node != node || len(r.Listeners) == 0 || len(r.Clusters) == 0 || len(r.Routes) == 0 || len(r.Extensions) == 0 {
			t.Errorf("render %s: node %q with %d listeners, %d clusters, %d route tables, %d extensions", node, r.Node, len(r.Listeners), len(r.Clusters), len(r.Routes), len(r.Extensions))
		}
		if table != "" && r.Table != table || !strings.HasPrefix(r.Table, "sha256:") {
			t.Errorf("render %s: table %q, another node's is %q", node, r.Table, table)
		}
		table = r.Table
		if again, _, _ := run(t, "render", shippedDir(), "--node", node); again != out {
			t.Errorf("render %s prints something else the second time", node)
		}
	}
	for _, node := range []string{"", "nowhere/gateway", "me-riyadh/king", "me-riyadh", "/gateway"} {
		if out, errs, code := run(t, "render", shippedDir(), "--node", node); code != 2 || out != "" || errs == "" {
			t.Errorf("render of node %q: exit %d: %s%s", node, code, out, errs)
		}
	}
}

// The live Envoys of a demo run what its policies say, and nothing else.
func TestVerifyFindsTheDemoClean(t *testing.T) {
	l := shared(t)
	for region, r := range l.ready.Regions {
		sidecar := filepath.Join(l.dir, "envoy", region+"-sidecar.json")
		for _, admin := range []string{r.EnvoyAdmin, adminOf(t, sidecar)} {
			out, errs, code := run(t, "verify", "--envoy", admin, "--policies", shippedDir(), "--dir", l.dir, "--output", "json")
			var v struct {
				Region, Node, Policy string
				Findings             []any
				Listeners, Clusters  int
			}
			if err := json.Unmarshal([]byte(out), &v); err != nil || code != 0 {
				t.Fatalf("verify %s in %s: exit %d, %v: %s%s", admin, region, code, err, out, errs)
			}
			if v.Region != region || len(v.Findings) != 0 || v.Listeners == 0 || v.Clusters == 0 || v.Policy != l.status(t).Policy.Table {
				t.Errorf("verify %s in %s: %s", admin, region, out)
			}
		}
	}
	// An Envoy is not clean by the policies of another world, nor in a place that is not its own.
	admin := l.ready.Regions["me-riyadh"].EnvoyAdmin
	if out, _, code := run(t, "verify", "--envoy", admin, "--policies", shippedDir(), "--dir", l.dir, "--region", "eu-frankfurt"); code != 1 {
		t.Errorf("verify as if it stood elsewhere: exit %d: %s", code, out)
	}
	if out, _, code := run(t, "verify", "--envoy", admin, "--policies", shippedDir()); code != 1 {
		t.Errorf("verify without the stand-ins: exit %d: %s", code, out)
	}
}

// adminOf reads the admin's URL from a bootstrap.
func adminOf(t testing.TB, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var b struct {
		Admin struct {
			Address struct {
				Socket struct {
					Address string
					Port    int `json:"port_value"`
				} `json:"socket_address"`
			}
		}
	}
	if err := json.Unmarshal(data, &b); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("http://%s:%d", b.Admin.Address.Socket.Address, b.Admin.Address.Socket.Port)
}

func TestVerifyOfADeadEnvoyIsUnreachable(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for _, admin := range []string{"http://" + free(t), "http://" + silent.Addr().String()} {
		began := time.Now()
		out, errs, code := run(t, "verify", "--envoy", admin, "--policies", shippedDir())
		if d := time.Since(began); code != 4 || out != "" || errs == "" || d > 5*time.Second {
			t.Errorf("verify of %s: exit %d after %s: %s%s", admin, code, d, out, errs)
		}
	}
	for _, args := range [][]string{{}, {"--envoy", "127.0.0.1:9901"}, {"--envoy", "ftp://x"}, {"--envoy", "http://127.0.0.1:1", "--policies", "/nowhere"}} {
		if out, errs, code := run(t, append([]string{"verify"}, args...)...); code != 2 || errs == "" {
			t.Errorf("verify %q: exit %d: %s%s", args, code, out, errs)
		}
	}
}

// free returns a loopback address that nobody listens on now.
func free(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// static is an Envoy that runs from one file, with no control plane.
type static struct{ admin, overlay, bootstrap string }

func renderStatic(t testing.TB, node string) static {
	t.Helper()
	region, _, _ := strings.Cut(node, "/")
	s := static{admin: free(t), overlay: filepath.Join(t.TempDir(), "overlay.json")}
	listen := map[string]string{"plain": free(t), "tls": free(t), "peer": free(t), "egress": free(t), "sidecar": free(t)}
	data, err := json.Marshal(map[string]any{"regions": map[string]any{region: map[string]any{"listen": listen}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.overlay, data, 0o600); err != nil {
		t.Fatal(err)
	}
	out, errs, code := run(t, "render", shippedDir(), "--node", node, "--bootstrap", "--admin", s.admin, "--overlay", s.overlay)
	if code != 0 {
		t.Fatalf("render --bootstrap: exit %d: %s", code, errs)
	}
	s.bootstrap = out
	return s
}

// judge starts a real Envoy with the file, as a hand changed it, and says what
// verify thinks of it.
func (s static) judge(t *testing.T, change func(bootstrap map[string]any)) (findings []map[string]any, code int) {
	t.Helper()
	var b map[string]any
	if err := json.Unmarshal([]byte(s.bootstrap), &b); err != nil {
		t.Fatal(err)
	}
	change(b)
	data, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "envoy.json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(envoyBinary(t), "-c", file, "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "error")
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	defer func() { _ = cmd.Process.Kill(); <-ended }()
	eventually(t, 20*time.Second, func() error {
		select {
		case <-ended:
			t.Fatalf("Envoy refuses the file:\n%s", log.String())
		default:
		}
		if a, err := try(h1, http.MethodGet, "http://"+s.admin+"/ready", "", ""); err != nil || a.status != 200 {
			return fmt.Errorf("not ready: %s %v", a, err)
		}
		return nil
	})
	out, errs, code := run(t, "verify", "--envoy", "http://"+s.admin, "--policies", shippedDir(), "--overlay", s.overlay, "--output", "json")
	var v struct{ Findings []map[string]any }
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatalf("verify: exit %d, %v: %s%s", code, err, out, errs)
	}
	return v.Findings, code
}

// envoyBinary is the Envoy that the demo would find.
func envoyBinary(t testing.TB) string {
	t.Helper()
	cmd := exec.Command(filepath.Join(repo(), ".ci", "envoy"))
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("find Envoy: %v", err)
	}
	return strings.TrimSpace(string(out))
}

func TestVerifyNamesWhatIsPlantedByHand(t *testing.T) {
	s := renderStatic(t, "tr-istanbul/gateway")
	if findings, code := s.judge(t, func(map[string]any) {}); code != 0 || len(findings) != 0 {
		t.Fatalf("nothing is planted: exit %d: %v", code, findings)
	}
	to := func(cluster string) map[string]any {
		return map[string]any{"match": map[string]any{"prefix": "/debug"}, "route": map[string]any{"cluster": cluster}}
	}
	for _, c := range []struct {
		name   string
		change func(t testing.TB, b map[string]any)
		says   map[string]string // what some finding must say, by field
	}{
		{"a route to another region", func(t testing.TB, b map[string]any) {
			list := homeRoutes(t, b, "SA")
			list["routes"] = append([]any{to("peer@eu-frankfurt")}, list["routes"].([]any)...)
		}, map[string]string{"home": "SA", "region": "eu-frankfurt", "cluster": "peer@eu-frankfurt"}},
		{"a mirror", func(t testing.TB, b map[string]any) {
			plantMirror(t, homeRoutes(t, b, "SA"), "peer@eu-frankfurt")
		}, map[string]string{"home": "SA", "region": "eu-frankfurt", "cluster": "peer@eu-frankfurt"}},
		{"an endpoint that the policy does not know", func(t testing.TB, b map[string]any) {
			plantEndpoint(t, b, "message@tr-istanbul", "203.0.113.9")
		}, map[string]string{"code": "unknown-endpoint", "cluster": "message@tr-istanbul", "endpoint": "203.0.113.9:8080"}},
		{"an endpoint of another region", func(t testing.TB, b map[string]any) {
			plantEndpoint(t, b, "message@tr-istanbul", "10.3.1.1")
		}, map[string]string{"cluster": "message@tr-istanbul", "endpoint": "10.3.1.1:8080"}},
		{"a virtual host without a matcher", func(t testing.TB, b map[string]any) {
			table := manager(t, b, "gateway")["route_config"].(map[string]any)
			host := map[string]any{"name": "debug", "domains": []any{"debug.example"}, "routes": []any{to("message@tr-istanbul")}}
			table["virtual_hosts"] = append([]any{host}, table["virtual_hosts"].([]any)...)
		}, map[string]string{"cluster": "message@tr-istanbul"}},
		{"client headers that are believed", func(t testing.TB, b map[string]any) {
			delete(manager(t, b, "gateway"), "early_header_mutation_extensions")
		}, map[string]string{"code": "header-trust"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			findings, code := s.judge(t, func(b map[string]any) { c.change(t, b) })
			if code != 1 || !says(findings, c.says) {
				t.Errorf("exit %d, and nothing found says %v: %v", code, c.says, findings)
			}
		})
	}
}

// says tells whether one of the findings holds all fields.
func says(findings []map[string]any, fields map[string]string) bool {
	for _, f := range findings {
		all := f["message"] != "" && f["where"] != ""
		for k, v := range fields {
			all = all && f[k] == v
		}
		if all {
			return true
		}
	}
	return false
}

// manager is the connection manager of a listener.
func manager(t testing.TB, b map[string]any, listener string) map[string]any {
	t.Helper()
	for _, l := range b["static_resources"].(map[string]any)["listeners"].([]any) {
		if l := l.(map[string]any); l["name"] == listener {
			chain := l["filter_chains"].([]any)[0].(map[string]any)
			return chain["filters"].([]any)[0].(map[string]any)["typed_config"].(map[string]any)
		}
	}
	t.Fatalf("no listener %s", listener)
	return nil
}

// homeRoutes is the gateway's first list of routes of a home.
func homeRoutes(t testing.TB, b map[string]any, home string) map[string]any {
	t.Helper()
	var find func(v any, inHome bool) map[string]any
	find = func(v any, inHome bool) map[string]any {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				if got := find(e, inHome); got != nil {
					return got
				}
			}
		case map[string]any:
			if _, list := v["routes"].([]any); list && inHome && v["@type"] != nil {
				return v
			}
			for k, e := range v {
				if got := find(e, inHome || k == home); got != nil {
					return got
				}
			}
		}
		return nil
	}
	list := find(manager(t, b, "gateway")["route_config"], false)
	if list == nil {
		t.Fatalf("no list of routes of %s", home)
	}
	return list
}

func plantMirror(t testing.TB, list map[string]any, cluster string) {
	t.Helper()
	for _, r := range list["routes"].([]any) {
		if action, ok := r.(map[string]any)["route"].(map[string]any); ok {
			action["request_mirror_policies"] = []any{map[string]any{"cluster": cluster}}
			return
		}
	}
	t.Fatal("no route that forwards")
}

func plantEndpoint(t testing.TB, b map[string]any, cluster, ip string) {
	t.Helper()
	for _, c := range b["static_resources"].(map[string]any)["clusters"].([]any) {
		c := c.(map[string]any)
		if c["name"] != cluster {
			continue
		}
		group := c["load_assignment"].(map[string]any)["endpoints"].([]any)[0].(map[string]any)
		group["lb_endpoints"] = append(group["lb_endpoints"].([]any), map[string]any{"endpoint": map[string]any{
			"address": map[string]any{"socket_address": map[string]any{"address": ip, "port_value": 8080}},
		}})
		return
	}
	t.Fatalf("no cluster %s", cluster)
}
