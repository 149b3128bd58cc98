package kill_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/domicile-dev/domicile/pkg/bundle"
	"github.com/domicile-dev/domicile/pkg/control"
	"github.com/domicile-dev/domicile/pkg/identity"
	"github.com/domicile-dev/domicile/pkg/release"
	"github.com/domicile-dev/domicile/pkg/store"
	"github.com/domicile-dev/domicile/pkg/store/etcd"
)

const trustDomain = "domicile.test"

// process is a program that can be killed and started again.
type process struct {
	name string
	args []string
	mu   sync.Mutex
	cmd  *exec.Cmd
	gone chan struct{}
	out  output
}

// output is what all lives of a process wrote; it is safe for concurrent use.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func (p *process) start(t testing.TB) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	cmd, gone := exec.Command(p.name, p.args...), make(chan struct{})
	cmd.Stdout, cmd.Stderr = &p.out, &p.out
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s (make build first): %v", p.name, err)
	}
	go func() { _ = cmd.Wait(); close(gone) }()
	p.cmd, p.gone = cmd, gone
}

// kill is kill -9; it returns when the process is gone.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		_ = p.cmd.Process.Kill()
		<-p.gone
	}
}

// site is one control plane and its etcd, each a process of its own.
type site struct {
	t             *testing.T
	etcd, control process
	relay         *relay
	store         *etcd.Store // straight to etcd, to judge by
	admin         string
	state         string // the file
	rounds        int
	head          store.Record
	now           *bundle.Bundle // what head names
	dir           string         // of the first policy
}

func repo() string {
	wd, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	return filepath.Dir(filepath.Dir(wd))
}

func binary(name string) string { return filepath.Join(repo(), "bin", name) }

// newSite starts a site with a first policy.
func newSite(t *testing.T) *site {
	t.Helper()
	dir := t.TempDir()
	client, peer, xds := address(t), address(t), address(t)
	s := &site{t: t, admin: address(t), state: filepath.Join(dir, "state", "state.json")}
	relay, front := newRelay(t, client)
	s.relay = relay
	ca, err := identity.NewAuthority(trustDomain)
	must(t, err)
	pem, err := ca.Issue(identity.ID{Region: identity.NoRegion, Role: identity.RoleControl, Name: "a"}, identity.Options{IPs: []net.IP{net.IPv4(127, 0, 0, 1)}})
	must(t, err)
	must(t, pem.Save(dir))
	must(t, os.Mkdir(filepath.Dir(s.state), 0o700))
	file := func(name string) string { return filepath.Join(dir, name) }
	s.etcd = process{name: binary("domicile"), args: []string{"demo-etcd", "--data", file("etcd"), "--client", "http://" + client, "--peer", "http://" + peer}}
	s.control = process{name: binary("domicile-control"), args: []string{
		"--etcd", "http://" + front, "--xds", xds, "--admin", s.admin, "--trust-domain", trustDomain, "--state", s.state,
		"--cert", file(identity.CertFile), "--key", file(identity.KeyFile), "--ca", file(identity.CAFile),
	}}
	s.store, err = etcd.New(etcd.Config{Endpoints: []string{"http://" + client}})
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("control:\n%s\netcd:\n%s", tail(s.control.out.String()), tail(s.etcd.out.String()))
		}
		s.control.kill()
		s.etcd.kill()
		_ = s.store.Close()
	})
	s.etcd.start(t)
	s.control.start(t)
	eventually(t, 30*time.Second, func() error {
		if _, err := s.store.Head(t.Context()); !errors.Is(err, store.ErrEmpty) {
			return fmt.Errorf("etcd: %w", err)
		}
		_, err := s.status()
		return err
	})
	at, b := s.policies()
	if code, out := s.run("apply", at); code != 0 {
		t.Fatalf("first policy: exit %d: %s", code, out)
	}
	s.dir, s.now, s.head = at, b, s.judge(store.Record{}, nil, b)
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func tail(s string) string { return s[max(0, len(s)-4000):] }

// address is one of loopback that nobody uses now, below the ports that the
// system gives to outgoing connections: a process that is down must find its own
// again.
func address(t *testing.T) string {
	t.Helper()
	for range 100 {
		a := net.JoinHostPort("127.0.0.1", strconv.Itoa(20000+rand.N(12000)))
		if l, err := net.Listen("tcp", a); err == nil {
			must(t, l.Close())
			return a
		}
	}
	t.Fatal("no free port")
	return ""
}

func eventually(t testing.TB, within time.Duration, cond func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if err = cond(); err == nil {
			return
		}
	}
	t.Fatalf("not within %s: %v", within, err)
}

// policies writes a policy directory that no round had before, of more than
// 1.5 MB: etcd takes no request of that size.
func (s *site) policies() (string, *bundle.Bundle) {
	s.t.Helper()
	s.rounds++
	dir := filepath.Join(s.t.TempDir(), "policies")
	must(s.t, os.CopyFS(dir, os.DirFS(filepath.Join(repo(), "policies"))))
	var padding strings.Builder
	draw := rand.New(rand.NewPCG(1, uint64(s.rounds)))
	for padding.Len() < 800<<10 {
		fmt.Fprintf(&padding, "# %016x%016x%016x%016x of round %d\n", draw.Uint64(), draw.Uint64(), draw.Uint64(), draw.Uint64(), s.rounds)
	}
	for _, name := range []string{"tr", "sa"} {
		file := filepath.Join(dir, "jurisdictions", name+".yaml")
		data, err := os.ReadFile(file)
		must(s.t, err)
		if s.rounds%2 == 0 { // another policy, not only another text
			data = bytes.Replace(data, []byte("maxAge: 24h"), []byte("maxAge: 12h"), 1)
		}
		must(s.t, os.WriteFile(file, append(data, padding.String()...), 0o600))
	}
	b, problems, err := release.Pack(os.DirFS(dir))
	if err != nil || b == nil {
		s.t.Fatalf("pack: %v %v", err, problems)
	}
	if n := len(b.Archive()); n <= 1536<<10 {
		s.t.Fatalf("the bundle has %d bytes only", n)
	}
	return dir, b
}

// command is the command line tool on this control plane.
func (s *site) command(args ...string) *exec.Cmd {
	return exec.Command(binary("domicile"), append(args, "--control", "http://"+s.admin)...)
}

func (s *site) run(args ...string) (code int, out string) {
	cmd := s.command(args...)
	text, err := cmd.CombinedOutput()
	var exited *exec.ExitError
	if err != nil && !errors.As(err, &exited) {
		return -1, err.Error()
	}
	return cmd.ProcessState.ExitCode(), string(text)
}

func (s *site) status() (control.Status, error) {
	var st control.Status
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get("http://" + s.admin + "/v1/status")
	if err != nil {
		return st, err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err == nil {
		err = json.Unmarshal(data, &st)
	}
	return st, err
}

// judge reads what the store holds after a kill, and fails unless it is the old
// record or a new one with that bundle, everything that records name can be read
// and verified, the control plane runs the same, and its state file is sound. It
// returns the record.
func (s *site) judge(old store.Record, was, next *bundle.Bundle) store.Record {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	defer cancel()
	var head store.Record
	eventually(s.t, 20*time.Second, func() (err error) {
		head, err = s.store.Head(ctx)
		return err
	})
	switch {
	case head == old:
	case head.Sequence == old.Sequence+1 && head.Bundle == next.Digest():
	default:
		s.t.Fatalf("the head is neither the old nor the new record: %+v; old %+v, new bundle %s", head, old, next.Digest())
	}
	history, err := s.store.History(ctx, 0)
	if err != nil || uint64(len(history)) != head.Sequence || history[0] != head {
		s.t.Fatalf("history of %d records below %+v: %v", len(history), head, err)
	}
	for _, b := range []*bundle.Bundle{was, next} {
		if b == nil {
			continue
		}
		archive, err := s.store.Bundle(ctx, b.Digest())
		if b.Digest() != head.Bundle && b.Digest() != old.Bundle && errors.Is(err, store.ErrNotFound) {
			continue // no record names it
		}
		if err == nil {
			_, err = bundle.Open(archive, b.Digest())
		}
		if err != nil {
			s.t.Fatalf("bundle %s: %v", b.Digest(), err)
		}
	}
	eventually(s.t, 20*time.Second, func() error {
		st, err := s.status()
		if err != nil {
			return err
		}
		if st.Policy == nil {
			return fmt.Errorf("no policy in force: %+v", st.Refused)
		}
		if b := st.Policy.Bundle; b != old.Bundle && b != next.Digest() {
			s.t.Fatalf("the control plane runs %s", b)
		}
		if st.Policy.Sequence != head.Sequence || st.Policy.Bundle != head.Bundle || st.Refused != nil || !st.Store.Connected {
			return fmt.Errorf("it runs %d %s, refused %+v, store %+v; head %d %s", st.Policy.Sequence, st.Policy.Bundle, st.Refused, st.Store, head.Sequence, head.Bundle)
		}
		return s.remembers(old, head)
	})
	return head
}

// remembers reads the state file: sound, and what is in force in the end.
func (s *site) remembers(old, head store.Record) error {
	data, err := os.ReadFile(s.state)
	if err != nil {
		return err
	}
	var m struct {
		Sequence uint64
		Bundle   string
	}
	if err := json.Unmarshal(data, &m); err != nil {
		s.t.Fatalf("state file %q: %v", data, err)
	}
	if r := (store.Record{Sequence: m.Sequence, Bundle: m.Bundle}); r != key(old) && r != key(head) {
		s.t.Fatalf("the state file remembers %+v; old %d, head %d", r, old.Sequence, head.Sequence)
	} else if r != key(head) {
		return errors.New("the state file is behind")
	}
	return nil
}

func key(r store.Record) store.Record { return store.Record{Sequence: r.Sequence, Bundle: r.Bundle} }
