package leakcheck_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/domicile-dev/domicile/pkg/envoy"
	"github.com/domicile-dev/domicile/pkg/identity"
	"github.com/domicile-dev/domicile/pkg/leakcheck"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// findEnvoy is the contract's order: $ENVOY_BIN, PATH, the fetched one.
func findEnvoy(t *testing.T) string {
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

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// bootstrap is the static file with which an Envoy runs a gateway of region.
func bootstrap(t *testing.T, top *topology.Topology, r *envoy.Resources, admin string) []byte {
	t.Helper()
	authority, err := identity.NewAuthority(top.TrustDomain)
	if err != nil {
		t.Fatal(err)
	}
	id := identity.ID{Region: top.Regions[0].Name, Role: "gateway", Name: "live"}
	pem, err := authority.Issue(id, identity.Options{})
	if err != nil {
		t.Fatal(err)
	}
	pair := envoy.KeyPair{Certificate: envoy.PEM{Inline: string(pem.Cert)}, Key: envoy.PEM{Inline: string(pem.Key)}}
	body, err := envoy.StaticBootstrap(envoy.BootstrapSpec{
		ID: id.String(), Cluster: "gateway", Admin: admin, TrustDomain: top.TrustDomain,
		Node: pair, Public: pair, CA: envoy.PEM{Inline: string(pem.CA)},
	}, r)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// dumpOf starts an Envoy from a static file and returns its configuration dump.
func dumpOf(t *testing.T, bin string, body []byte, admin string) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "envoy.json")
	if err := os.WriteFile(file, body, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	var log bytes.Buffer
	cmd := exec.CommandContext(ctx, bin, "-c", file, "--concurrency", "1", "--disable-hot-restart", "-l", "warning")
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	defer func() {
		cancel()
		<-exited
	}()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := get(ctx, "http://"+admin+"/ready"); err == nil {
			dump, err := get(ctx, "http://"+admin+"/config_dump?include_eds")
			if err != nil {
				t.Fatal(err)
			}
			return dump
		}
		select {
		case err := <-exited:
			exited <- err
			t.Fatalf("envoy ended: %v\n%s", err, log.Bytes())
		case <-ctx.Done():
			t.Fatal("envoy was not ready in time")
		case <-tick.C:
		}
	}
}

func get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, res.Status)
	}
	return io.ReadAll(res.Body)
}

// TestLiveEnvoy judges a real Envoy that runs the shipped policies from a static
// file, as rendered and with a route planted by hand.
func TestLiveEnvoy(t *testing.T) {
	bin := findEnvoy(t)
	out := shippedPolicies(t)
	first := out.Topology.Regions[0].Name
	top := out.Topology.With(&topology.Overlay{Regions: map[string]topology.RegionOverlay{first: {Listen: &topology.Listen{
		Plain: freeAddress(t), TLS: freeAddress(t), Peer: freeAddress(t), Egress: freeAddress(t), Sidecar: freeAddress(t),
	}}}})
	r, err := envoy.Translate(envoy.Input{Table: out.Table, Topology: top, Node: envoy.Node{Region: first, Role: envoy.Gateway}})
	if err != nil {
		t.Fatal(err)
	}
	admin := freeAddress(t)
	body := bootstrap(t, top, r, admin)
	judge := func(body []byte) []leakcheck.Finding {
		c, node, err := leakcheck.FromConfigDump(dumpOf(t, bin, body, admin))
		if err != nil {
			t.Fatal(err)
		}
		if want := first + "/gateway/live"; node != want {
			t.Errorf("node %q, want %q", node, want)
		}
		return leakcheck.Check(c, out.Table, top, first)
	}
	for _, f := range judge(body) {
		t.Errorf("as rendered: %s", f)
	}
	// A prefix that takes more than the class it stands for.
	planted := bytes.Replace(body, []byte(`"path_separated_prefix": "/v1/messages"`), []byte(`"prefix": "/v1"`), 1)
	if bytes.Equal(planted, body) {
		t.Fatal("nothing planted")
	}
	if found := judge(planted); !slices.ContainsFunc(found, func(f leakcheck.Finding) bool { return f.Code == leakcheck.NoClass }) {
		t.Errorf("planted route not found: %v", found)
	}
}
