// Package im puts Domicile in front of real IM servers, and drives it with the
// protocols of their real clients: ejabberd and Prosody by XMPP, ejabberd and Mochi
// by MQTT, Synapse by Matrix. Their users log in after the connection is open, so the
// host name alone says whose data it is.
//
// Each region has a server of its own, which shares nothing with the others. What
// counts is what those servers saw: a relay before each counts connections and
// bytes, and the server itself is asked for its sessions and users.
//
// A server that is not installed is a skipped test with the reason, or a failed
// one where DOMICILE_IM=required. `make test-im` installs them.
package im_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The regions of testdata/policies, the home that each serves, and its host name.
var (
	regions = []string{"me-riyadh", "tr-istanbul", "eu-frankfurt"}
	homeOf  = map[string]string{"me-riyadh": "SA", "tr-istanbul": "TR", "eu-frankfurt": "DE"}
	hostOf  = map[string]string{"me-riyadh": "sa.im.example.com", "tr-istanbul": "tr.im.example.com", "eu-frankfurt": "eu.im.example.com"}
)

// lab is one running demo, with real servers behind its gateways.
type lab struct {
	dir, policies string
	tour          string // file with what the demo prints
	ready         struct {
		Control struct{ Admin string }
		Regions map[string]struct {
			Gateway, GatewayTLS, EnvoyAdmin string
			Streams                         map[string]string // by name, where the gateway takes them
		}
		CAFile string
	}
	cmd   *exec.Cmd
	ended chan struct{}
}

func TestMain(m *testing.M) {
	code := m.Run()
	ejabberds.fleet.stop()
	synapses.fleet.stop()
	os.Exit(code)
}

func repo() string {
	wd, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	return filepath.Dir(filepath.Dir(wd))
}

// absent skips a test whose server is not there, unless servers are required.
func absent(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("DOMICILE_IM") == "required" {
		t.Fatal(why)
	}
	t.Skip(why + " (make test-im installs it)")
}

// start starts a demo with the policies of testdata, edited; backends maps
// REGION/SERVICE to the address of a real server.
func start(t testing.TB, backends map[string]string, edits ...edit) *lab {
	t.Helper()
	dir := t.TempDir()
	l := &lab{dir: filepath.Join(dir, "demo"), policies: edited(t, edits), ended: make(chan struct{})}
	file := filepath.Join(dir, "ready.json")
	args := []string{"demo", "--dir", l.dir, "--ready-file", file, "--policies", l.policies}
	for cell, addr := range backends {
		args = append(args, "--backend", cell+"="+addr)
	}
	l.cmd = exec.Command(filepath.Join(repo(), "bin", "domicile"), args...)
	tour, err := os.Create(filepath.Join(dir, "tour"))
	if err != nil {
		t.Fatal(err)
	}
	defer tour.Close()
	var out bytes.Buffer
	l.cmd.Stdout, l.cmd.Stderr, l.tour = tour, &out, tour.Name()
	if err := l.cmd.Start(); err != nil {
		t.Fatalf("start demo (make build first): %v", err)
	}
	go func() { _ = l.cmd.Wait(); close(l.ended) }()
	t.Cleanup(l.stop)
	eventually(t, 90*time.Second, func() error {
		select {
		case <-l.ended:
			t.Fatalf("the demo ended: %s\n%s", l.cmd.ProcessState, out.String())
		default:
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		return json.Unmarshal(data, &l.ready)
	})
	return l
}

func (l *lab) stop() {
	_ = l.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-l.ended:
	case <-time.After(12 * time.Second):
		_ = l.cmd.Process.Kill()
	}
}

// gateway is the address of a region's gateway: where users come in.
func (l *lab) gateway(region string) string {
	return strings.TrimPrefix(l.ready.Regions[region].Gateway, "http://")
}

// client is an HTTP client for which every host name leads to one gateway, as
// DNS would have it for a user nearby.
func (l *lab) client(entry string) *http.Client {
	addr := l.gateway(entry)
	return &http.Client{Timeout: 60 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	}}
}

// run runs the command line tool; a code other than 0 fails the test.
func (l *lab) run(t testing.TB, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, filepath.Join(repo(), "bin", "domicile"), append(args, "--dir", l.dir)...).CombinedOutput()
	if err != nil {
		t.Fatalf("domicile %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// edit is a file, an old text and a new one.
type edit [3]string

// edited copies the policies of testdata and edits them.
func edited(t testing.TB, edits []edit) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "policies")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "policies"))); err != nil {
		t.Fatal(err)
	}
	for _, e := range edits {
		file := filepath.Join(dir, e[0])
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(data), e[1]) {
			t.Fatalf("%s has no %q", e[0], e[1])
		}
		if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(data), e[1], e[2])), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// apply applies the policies of testdata, edited, and waits until every proxy runs
// them. It returns when it began.
func (l *lab) apply(t testing.TB, edits ...edit) (began time.Time) {
	t.Helper()
	dir := edited(t, edits)
	began = time.Now()
	l.run(t, "apply", dir)
	l.synced(t)
	return began
}

// synced waits until every proxy runs the policy in force.
func (l *lab) synced(t testing.TB) {
	t.Helper()
	eventually(t, 20*time.Second, func() error {
		resp, err := http.Get(l.ready.Control.Admin + "/v1/status")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		var s struct {
			Policy  struct{ Table string }
			Proxies []struct{ ID, State, Table, Error string }
		}
		if err := json.NewDecoder(resp.Body).Decode(&s); err != nil {
			return err
		}
		for _, p := range s.Proxies {
			if p.State != "synced" || p.Table != s.Policy.Table {
				return fmt.Errorf("%s is %s: %s", p.ID, p.State, p.Error)
			}
		}
		return nil
	})
}

// silent fails if the logs of any process of the demo, or the metrics of a gateway,
// hold one of the words: names of users, and what they said.
func (l *lab) silent(t testing.TB, words ...string) {
	t.Helper()
	said := map[string]string{}
	logs := os.DirFS(filepath.Join(l.dir, "logs"))
	if err := fs.WalkDir(logs, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(logs, path)
		said["log "+path] = string(data)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if len(said) == 0 {
		t.Fatal("the demo writes no logs")
	}
	for region, r := range l.ready.Regions {
		resp, err := http.Get(r.EnvoyAdmin + "/stats/prometheus")
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		said["metrics of "+region] = string(data)
	}
	for where, text := range said {
		for _, word := range words {
			if i := strings.Index(text, word); i >= 0 {
				t.Errorf("%s holds %q: …%s…", where, word, text[max(0, i-100):min(len(text), i+100)])
			}
		}
	}
}

// eventually waits for a condition; it fails with what the condition last said.
func eventually(t testing.TB, within time.Duration, cond func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(within); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err = cond(); err == nil {
			return
		}
	}
	t.Fatalf("not within %s: %v", within, err)
}
