package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"
	"github.com/lestrrat-go/jwx/v3/jwt"

	"github.com/domicile-dev/domicile/pkg/identity"
	"github.com/domicile-dev/domicile/pkg/leakcheck"
	"github.com/domicile-dev/domicile/pkg/policy"
)

func TestTheWholeLifeOfADemo(t *testing.T) {
	w := startWhole(t)
	r := w.ready
	if len(r.Regions) == 0 || r.Console != nil || r.CAFile == "" || len(r.Etcd) != 1 {
		t.Fatalf("ready file: %+v", r)
	}
	for _, key := range []string{`"console": null`, `"gatewayTLS"`, `"envoyAdmin"`, `"pids"`, `"caFile"`} {
		if !strings.Contains(w.raw, key) {
			t.Errorf("ready file lacks %s:\n%s", key, w.raw)
		}
	}
	for _, pid := range w.pids() {
		if !running(pid) {
			t.Errorf("process %d of the ready file does not run", pid)
		}
		if group, err := syscall.Getpgid(pid); err != nil || group != syscall.Getpgrp() {
			t.Errorf("process %d is in group %d, want the demo's", pid, group)
		}
	}
	if got, err := Load(w.dir); err != nil || len(got.Regions) != len(r.Regions) {
		t.Errorf("Load: %v %v", got, err)
	}
	t.Run("tokens", func(t *testing.T) { testTokens(t, w) })
	t.Run("certificates", func(t *testing.T) { testCerts(t, w) })
	t.Run("second demo", func(t *testing.T) {
		if _, err := openPlace(w.dir); err == nil || !strings.Contains(err.Error(), "runs there already") {
			t.Errorf("a second demo in the directory: %v", err)
		}
	})
	if err := os.WriteFile(filepath.Join(w.dir, "mine.txt"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	pids := w.pids()
	begun := time.Now()
	if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := w.cmd.Wait(); err != nil {
		t.Errorf("the demo ended with %v\n%s", err, w.stderr.String())
	}
	if d := time.Since(begun); d > 10*time.Second {
		t.Errorf("it took %v to stop", d)
	}
	for _, pid := range pids {
		gone(t, pid)
	}
	if got := list(t, w.dir); !slices.Equal(got, []string{"mine.txt"}) {
		t.Errorf("left in the directory: %v, want the foreign file only", got)
	}
	if got := list(t, w.tmp); len(got) != 0 {
		t.Errorf("left behind: %v", got)
	}
	if !strings.Contains(w.stdout.String(), "export EU_FRANKFURT=http://127.0.0.1:") || !strings.Contains(w.stdout.String(), "served by") {
		t.Errorf("no tour:\n%s", w.stdout.String())
	}
}

func TestAKilledDemoIsClearedByTheNext(t *testing.T) {
	w := startWhole(t)
	pids := w.pids()
	if err := w.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = w.cmd.Wait() // killed
	for _, pid := range pids {
		gone(t, pid)
	}
	if len(list(t, w.tmp)) == 0 {
		t.Fatal("SIGKILL left nothing behind: this test proves nothing")
	}
	t.Setenv("TMPDIR", w.tmp)
	p, err := openPlace(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.close(); err != nil {
		t.Fatal(err)
	}
	left := slices.DeleteFunc(list(t, w.tmp), func(s string) bool { return s == "ready.json" })
	if len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func testTokens(t *testing.T, w *whole) {
	key, err := os.ReadFile(filepath.Join(w.dir, fileUsersKey))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := identity.ReadHashKey(filepath.Join(w.dir, fileUsersKey))
	if err != nil || len(key) == 0 {
		t.Fatal(err)
	}
	hash := identity.UserHash(raw, "amal2")
	everyAgent := func(want int) {
		t.Helper()
		for name, r := range w.ready.Regions {
			if code, err := getStatus(t.Context(), r.Agent+"/v1/directory/"+hash); err != nil || code != want {
				t.Errorf("agent of %s: %d %v, want %d", name, code, err, want)
			}
		}
	}
	everyAgent(404)
	claims, err := parseClaims([]string{"team=red", "n:=5", "aud=other"})
	if err != nil {
		t.Fatal(err)
	}
	token, err := Token(t.Context(), TokenRequest{Dir: w.dir, User: "amal2", Home: "SA", Claims: claims, TTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	everyAgent(200)
	got := verify(t, w, token)
	for name, want := range map[string]any{"sub": "amal2", "home": "SA", "team": "red", "n": 5.0, "iss": "https://id.example.com", "aud": "other"} {
		if v := got[name]; v != want {
			if l, ok := v.([]any); !ok || len(l) != 1 || l[0] != want {
				t.Errorf("claim %s = %v, want %v", name, v, want)
			}
		}
	}
	if life := got["exp"].(float64) - got["iat"].(float64); life != 60 {
		t.Errorf("the token lives %v s, want 60", life)
	}
	if token, err = Token(t.Context(), TokenRequest{Dir: w.dir, User: "amal2"}); err != nil {
		t.Fatal(err)
	}
	if _, ok := verify(t, w, token)["home"]; ok {
		t.Error("a token without --home has a home claim")
	}
	everyAgent(404)
	// An agent that lives and does not get to know is an error.
	deaf := httptest.NewServer(http.NotFoundHandler())
	defer deaf.Close()
	if err := awaitAgent(t.Context(), deaf.URL, hash, true); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("an agent that does not get to know: %v", err)
	}
	// A dead agent holds nobody up for long, nor does a dead control plane.
	for _, r := range w.ready.Regions {
		if err := syscall.Kill(r.PIDs.Agent, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		break
	}
	if err := syscall.Kill(w.ready.PIDs.Control, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	if _, err := Token(t.Context(), TokenRequest{Dir: w.dir, User: "amal3", Home: "XX"}); err != nil {
		t.Error(err)
	}
	if d := time.Since(begun); d > 2*agentTimeout {
		t.Errorf("it took %v with a dead agent", d)
	}
	if _, err := Token(t.Context(), TokenRequest{Dir: t.TempDir(), User: "x"}); err == nil || err.(*exitError).ExitCode() != 2 {
		t.Errorf("no demo: %v, want exit code 2", err)
	}
}

// verify checks a token as a gateway would, with the public set of the overlay.
func verify(t *testing.T, w *whole, token string) map[string]any {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(w.dir, fileOverlay))
	if err != nil {
		t.Fatal(err)
	}
	var o struct {
		JWKS string `json:"jwks"`
	}
	if err := json.Unmarshal(data, &o); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(o.JWKS, `"d"`) {
		t.Fatal("the key set holds the private key")
	}
	set, err := jwk.Parse([]byte(o.JWKS))
	if err != nil {
		t.Fatal(err)
	}
	payload, err := jws.Verify([]byte(token), jws.WithKeySet(set))
	if err != nil {
		t.Fatalf("token does not verify: %v", err)
	}
	key, _ := set.Key(0)
	if _, err := jwt.Parse([]byte(token), jwt.WithKey(jwa.ES256(), key)); err != nil {
		t.Errorf("token is not valid: %v", err)
	}
	var out map[string]any
	if err := json.Unmarshal(payload, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func testCerts(t *testing.T, w *whole) {
	out := filepath.Join(t.TempDir(), "cert")
	if err := Cert(w.dir, "eu-frankfurt/gateway/test", out); err != nil {
		t.Fatal(err)
	}
	p, err := identity.LoadPEM(filepath.Join(out, "cert.pem"), filepath.Join(out, "key.pem"), filepath.Join(out, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(w.ready.CAFile)
	if err != nil || !bytes.Equal(ca, p.CA) {
		t.Errorf("caFile and ca.pem differ: %v", err)
	}
	if _, err := identity.ClientTLS(p, "domicile.local", identity.Role("control")); err != nil {
		t.Error(err)
	}
	if err := Cert(w.dir, "Nonsense", out); err == nil || err.(*exitError).ExitCode() != 2 {
		t.Errorf("bad node: %v, want exit code 2", err)
	}
}

func TestBrokenPoliciesLeaveNothing(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	broken := t.TempDir()
	if err := os.WriteFile(filepath.Join(broken, "deployment.yaml"), []byte("apiVersion: domicile.dev/v1\nkind: Deployment\nnonsense: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "a", "b")
	var stderr bytes.Buffer
	show := func(w io.Writer, dir string, fsys fs.FS, problems []policy.Problem, _ []leakcheck.Finding) {
		if _, err := fs.Stat(fsys, "deployment.yaml"); err != nil || dir != broken {
			t.Errorf("problems of %s: %v", dir, err)
		}
		for _, p := range problems {
			fmt.Fprintf(w, "%s:%d\n", p.File, p.Line)
		}
	}
	err := Run(t.Context(), Options{Dir: dir, Policies: broken, Out: io.Discard, Err: &stderr, Show: show})
	if code(err) != 1 || !strings.Contains(stderr.String(), "deployment.yaml:") {
		t.Errorf("broken policies: %v (code %d)\n%s", err, code(err), stderr.String())
	}
	if err := Run(t.Context(), Options{Dir: dir, Policies: filepath.Join(broken, "none"), Out: io.Discard, Err: &stderr}); code(err) != 2 {
		t.Errorf("missing policies: %v (code %d), want 2", err, code(err))
	}
	if err := Run(t.Context(), Options{Dir: dir, Binaries: broken, Out: io.Discard, Err: &stderr}); code(err) != 2 {
		t.Errorf("missing programs: %v (code %d), want 2", err, code(err))
	}
	if _, err := os.Stat(filepath.Dir(dir)); err == nil {
		t.Error("a directory was made")
	}
	if got := list(t, tmp); len(got) != 0 {
		t.Errorf("left behind: %v", got)
	}
}

func TestAStartThatFailsSaysWhyAndLeavesNothing(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	bin := fakeBinaries(t)
	script := "#!/bin/sh\necho no such option >&2\nexit 7\n"
	if err := os.Remove(filepath.Join(bin, "domicile-control")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, "domicile-control"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(tmp, "d")
	var stderr bytes.Buffer
	err := Run(t.Context(), Options{Dir: dir, Out: io.Discard, Err: &stderr, Binaries: bin, Envoy: filepath.Join(bin, "envoy")})
	if code(err) != 1 || !strings.Contains(err.Error(), "control has ended") || !strings.Contains(stderr.String(), "no such option") {
		t.Errorf("Run: %v (code %d)\n%s", err, code(err), stderr.String())
	}
	if got := list(t, tmp); len(got) != 0 {
		t.Errorf("left behind: %v", got)
	}
}

func TestForeignFilesAreNotTouched(t *testing.T) {
	dir := t.TempDir()
	precious := filepath.Join(dir, "logs")
	if err := os.WriteFile(precious, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openPlace(dir); err == nil || !strings.Contains(err.Error(), "logs is there") {
		t.Errorf("openPlace: %v", err)
	}
	if got := list(t, dir); !slices.Equal(got, []string{"logs"}) {
		t.Errorf("directory holds %v", got)
	}
}

func TestParseClaimsRefuses(t *testing.T) {
	for _, s := range []string{"", "x", "=v", ":=1", "k:=", "k:={"} {
		if c, err := parseClaims([]string{s}); err == nil {
			t.Errorf("%q: taken as %v", s, c)
		}
	}
}

// whole is a demo that runs as a process of its own, with fakes for everything
// that is not of this package.
type whole struct {
	cmd            *exec.Cmd
	dir, tmp, raw  string
	ready          *Ready
	stdout, stderr bytes.Buffer
}

func startWhole(t *testing.T) *whole {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	w := &whole{dir: t.TempDir(), tmp: t.TempDir()}
	file := filepath.Join(w.tmp, "ready.json")
	w.cmd = exec.Command(exe, "whole-demo", w.dir, file, fakeBinaries(t))
	w.cmd.Env = append(os.Environ(), "TMPDIR="+w.tmp)
	w.cmd.Stdout, w.cmd.Stderr = &w.stdout, &w.stderr
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.cmd.Process.Kill() })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if !poll(ctx, func() bool { _, err := os.Stat(file); return err == nil }) {
		_ = w.cmd.Process.Kill()
		_ = w.cmd.Wait()
		t.Fatalf("the demo is not ready:\n%s", w.stderr.String())
	}
	// By rename: whoever sees the file sees all of it.
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	w.raw = string(data)
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&w.ready); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *whole) pids() []int {
	out := []int{w.ready.PIDs.Control, w.ready.PIDs.Etcd}
	for _, r := range w.ready.Regions {
		out = append(out, r.PIDs.Envoy, r.PIDs.Agent)
		for _, b := range r.Backends {
			out = append(out, b.PID)
		}
	}
	return out
}

// fakeBinaries is a bin directory in which every program is this test binary.
func fakeBinaries(t *testing.T) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	for _, name := range []string{"domicile", "domicile-control", "domicile-agent", "envoy"} {
		if err := os.Symlink(exe, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	return bin
}

func code(err error) int {
	var e interface{ ExitCode() int }
	if errors.As(err, &e) {
		return e.ExitCode()
	}
	return -1
}

func list(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestReadyFileHasExactlyTheContractsFields(t *testing.T) {
	console := "http://127.0.0.1:1"
	r := Ready{Console: &console, Regions: map[string]ReadyRegion{"eu-frankfurt": {Backends: map[string]ReadyBackend{"message": {}}}}}
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	var keys []string
	var walk func(prefix string, v any)
	walk = func(prefix string, v any) {
		m, ok := v.(map[string]any)
		if !ok {
			keys = append(keys, prefix)
			return
		}
		for k, v := range m {
			walk(prefix+"/"+k, v)
		}
	}
	walk("", got)
	slices.Sort(keys)
	const region = "/regions/eu-frankfurt/"
	want := []string{
		"/caFile", "/console", "/control/admin", "/control/api", "/control/xds", "/etcd", "/pids/control", "/pids/etcd",
		region + "agent", region + "agentPeer", region + "backends/message/address", region + "backends/message/pid", region + "envoyAdmin",
		region + "gateway", region + "gatewayTLS", region + "pids/agent", region + "pids/envoy", region + "sidecar",
	}
	if !slices.Equal(keys, want) {
		t.Errorf("fields are\n%s\nwant\n%s", strings.Join(keys, "\n"), strings.Join(want, "\n"))
	}
}
