// Package e2e proves Domicile's promises from outside: the demo's real Envoys,
// etcd and control plane, driven by plain clients, and judged by what the sample
// backends counted. A refusal that a client sees proves nothing by itself; that
// the other regions' backends counted nothing does.
//
// Tests named T01, T12, … are the rows of the project's list of threats.
package e2e_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwk"
)

// lab is one running demo.
type lab struct {
	dir   string
	ready ready
	cmd   *exec.Cmd
	ended chan struct{} // closed when the demo's own process has ended
	key   *ecdsa.PrivateKey
	kid   string

	mu     sync.Mutex
	tokens map[string]string
}

type ready struct {
	Control struct{ Admin, XDS string }
	Etcd    []string
	Regions map[string]struct {
		Gateway, GatewayTLS, Sidecar, EnvoyAdmin, Agent, AgentPeer string
		Backends                                                   map[string]struct {
			Address string
			PID     int
		}
		PIDs struct{ Envoy, Agent int }
	}
	// Today holds the stand-ins for the backends before Domicile, by service.
	Today  map[string]struct{ Address string }
	PIDs   struct{ Control, Etcd int }
	CAFile string
}

var regionOf = map[string]string{"SA": "me-riyadh", "TR": "tr-istanbul", "DE": "eu-frankfurt", "FR": "eu-frankfurt"}

var (
	sharedOnce sync.Once
	sharedLab  *lab
	sharedErr  error
)

func TestMain(m *testing.M) {
	code := m.Run()
	if sharedLab != nil {
		sharedLab.stop()
		_ = os.RemoveAll(filepath.Dir(sharedLab.dir))
	}
	os.Exit(code)
}

// shared is the demo of all tests that leave it as they found it.
func shared(t testing.TB) *lab {
	t.Helper()
	sharedOnce.Do(func() {
		dir, err := os.MkdirTemp("", "domicile-e2e-")
		if err == nil {
			sharedLab, err = start(dir)
		}
		sharedErr = err
	})
	if sharedErr != nil {
		t.Fatal(sharedErr)
	}
	return sharedLab
}

// own starts a demo for one test that will break it.
func own(t testing.TB, args ...string) *lab {
	t.Helper()
	l, err := start(t.TempDir(), args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.stop)
	return l
}

func repo() string {
	wd, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	return filepath.Dir(filepath.Dir(wd))
}

func binary() string { return filepath.Join(repo(), "bin", "domicile") }

func start(dir string, args ...string) (*lab, error) {
	l := &lab{dir: filepath.Join(dir, "demo"), tokens: map[string]string{}}
	file := filepath.Join(dir, "ready.json")
	l.cmd = exec.Command(binary(), append([]string{"demo", "--dir", l.dir, "--ready-file", file}, args...)...)
	var out bytes.Buffer
	l.cmd.Stdout, l.cmd.Stderr = &out, &out
	if err := l.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start demo (make build first): %w", err)
	}
	l.ended = make(chan struct{})
	go func() { _ = l.cmd.Wait(); close(l.ended) }()
	for deadline := time.Now().Add(90 * time.Second); ; {
		if data, err := os.ReadFile(file); err == nil {
			if err := json.Unmarshal(data, &l.ready); err != nil {
				return nil, fmt.Errorf("ready file: %w", err)
			}
			break
		}
		select {
		case <-l.ended:
			return nil, fmt.Errorf("the demo ended: %s\n%s", l.cmd.ProcessState, out.String())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			l.stop()
			return nil, fmt.Errorf("the demo is not ready after 90 s:\n%s", out.String())
		}
	}
	return l, l.loadKey()
}

// loadKey reads the demo issuer's key, with which a test forges what an attacker
// who holds no key could not, and what a careless issuer would.
func (l *lab) loadKey() error {
	data, err := os.ReadFile(filepath.Join(l.dir, "issuer.jwk"))
	if err != nil {
		return err
	}
	key, err := jwk.ParseKey(data)
	if err != nil {
		return err
	}
	l.kid, _ = key.KeyID()
	l.key = &ecdsa.PrivateKey{}
	return jwk.Export(key, l.key)
}

func (l *lab) stop() {
	_ = l.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-l.ended:
	case <-time.After(12 * time.Second):
		_ = l.cmd.Process.Kill()
	}
}

// run runs the command line tool; it returns its output and exit code.
func run(t testing.TB, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary(), args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		t.Fatalf("domicile %s: %v", strings.Join(args, " "), err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// token is a token of the demo's issuer, made the way a user of the demo would.
func (l *lab) token(t testing.TB, user, home string) string {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if tok := l.tokens[user+"@"+home]; tok != "" {
		return tok
	}
	args := []string{"demo", "token", "--user", user, "--dir", l.dir}
	if home != "" {
		args = append(args, "--home", home)
	}
	out, errs, code := run(t, args...)
	if code != 0 {
		t.Fatalf("demo token: exit %d: %s", code, errs)
	}
	l.tokens[user+"@"+home] = strings.TrimSpace(out)
	return l.tokens[user+"@"+home]
}

// counted asks every backend what reached it: region → user/class → requests. Those
// of today count as the region "today".
func (l *lab) counted(t testing.TB) map[string]map[string]int {
	t.Helper()
	backends := map[string][]string{}
	for name, region := range l.ready.Regions {
		for _, b := range region.Backends {
			backends[name] = append(backends[name], b.Address)
		}
	}
	for _, b := range l.ready.Today {
		backends["today"] = append(backends["today"], b.Address)
	}
	out := map[string]map[string]int{}
	for name, addresses := range backends {
		out[name] = map[string]int{}
		for _, address := range addresses {
			resp, err := http.Get("http://" + address + "/__stats")
			if err != nil {
				continue // killed on purpose: it counts nothing
			}
			var stats map[string]map[string]int
			err = json.NewDecoder(resp.Body).Decode(&stats)
			resp.Body.Close()
			if err != nil {
				t.Fatalf("stats of %s: %v", name, err)
			}
			for user, classes := range stats {
				for class, n := range classes {
					out[name][user+"/"+class] += n
				}
			}
		}
	}
	return out
}

// reached returns how much more each region counted since before.
func (l *lab) reached(t testing.TB, before map[string]map[string]int) map[string]int {
	t.Helper()
	out := map[string]int{}
	for region, counts := range l.counted(t) {
		for k, n := range counts {
			if d := n - before[region][k]; d > 0 {
				out[region] += d
			}
		}
	}
	return out
}

// only fails unless nothing but region was reached; "" means nobody.
func only(t testing.TB, reached map[string]int, region string) {
	t.Helper()
	for r, n := range reached {
		if r != region {
			t.Errorf("LEAK: region %s counted %d requests, only %q may", r, n, region)
		}
	}
	if region != "" && reached[region] == 0 {
		t.Errorf("region %s counted nothing", region)
	}
}

// answer is a response and its body.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) reason() string { return a.header.Get("x-domicile-reason") }

// field reads one field of a JSON body.
func (a answer) field(name string) string {
	var m map[string]any
	_ = json.Unmarshal([]byte(a.body), &m)
	if m[name] == nil {
		return ""
	}
	return fmt.Sprint(m[name])
}

func (a answer) String() string {
	return fmt.Sprintf("%d %s %s", a.status, a.reason(), strings.TrimSpace(a.body))
}

var h2c = &http.Client{Timeout: 10 * time.Second, Transport: func() *http.Transport {
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	return tr
}()}

var h1 = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{}}

// get asks with a token ("" for none) and further headers, name and value in turn.
func get(t testing.TB, c *http.Client, url, token string, headers ...string) answer {
	t.Helper()
	return send(t, c, http.MethodGet, url, token, "", headers...)
}

func send(t testing.TB, c *http.Client, method, url, token, body string, headers ...string) answer {
	t.Helper()
	a, err := try(c, method, url, token, body, headers...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	return a
}

func try(c *http.Client, method, url, token, body string, headers ...string) (answer, error) {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if strings.EqualFold(headers[i], "host") {
			req.Host = headers[i+1]
			continue
		}
		req.Header[headers[i]] = append(req.Header[headers[i]], headers[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(data)}, err
}

// eventually waits for a condition; it fails with what the condition last said.
func eventually(t testing.TB, within time.Duration, cond func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(within); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if err = cond(); err == nil {
			return
		}
	}
	t.Fatalf("not within %s: %v", within, err)
}

// policies copies the shipped policies and edits files: each edit is a file, an
// old text and a new one. The tests of an edited jurisdiction are left out: they
// say what the unedited one decides.
func policies(t testing.TB, edits ...[3]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "policies")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(repo(), "policies"))); err != nil {
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
		if err := os.Remove(strings.TrimSuffix(file, ".yaml") + "_test.yaml"); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	return dir
}

// apply applies a policy directory and waits until every proxy runs it.
func (l *lab) apply(t testing.TB, dir string) {
	t.Helper()
	if out, errs, code := run(t, "apply", dir, "--dir", l.dir); code != 0 {
		t.Fatalf("apply: exit %d\n%s%s", code, out, errs)
	}
	l.synced(t)
}

// status is what the control plane says of itself.
type status struct {
	Policy struct {
		Sequence int
		Table    string
	}
	Store   struct{ Connected bool }
	Refused *struct{ Error string }
	Proxies []struct {
		ID, State, Table, Target, Error string
		Since                           time.Time
	}
}

func (l *lab) status(t testing.TB) status {
	t.Helper()
	var s status
	a := get(t, h1, l.ready.Control.Admin+"/v1/status", "")
	if err := json.Unmarshal([]byte(a.body), &s); err != nil {
		t.Fatalf("status: %v: %s", err, a)
	}
	return s
}

func (l *lab) synced(t testing.TB) {
	t.Helper()
	eventually(t, 20*time.Second, func() error {
		s := l.status(t)
		for _, p := range s.Proxies {
			if p.State != "synced" || p.Table != s.Policy.Table {
				return fmt.Errorf("%s is %s: %s", p.ID, p.State, p.Error)
			}
		}
		return nil
	})
}
