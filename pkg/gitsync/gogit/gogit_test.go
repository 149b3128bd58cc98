package gogit_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/hiddeco/sshsig"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/ssh"

	"github.com/domicile-dev/domicile/pkg/control"
	"github.com/domicile-dev/domicile/pkg/gitsync"
	"github.com/domicile-dev/domicile/pkg/gitsync/gogit"
	"github.com/domicile-dev/domicile/pkg/store"
	"github.com/domicile-dev/domicile/pkg/xds"
	"github.com/domicile-dev/domicile/policies"
)

// upstream is the repository that authors push to.
type upstream struct {
	t    *testing.T
	dir  string
	repo *git.Repository
	sign git.Signer
	n    int
}

func newUpstream(t *testing.T) *upstream {
	t.Helper()
	if _, err := exec.LookPath("git-upload-pack"); err != nil {
		t.Fatal("git is needed: a file:// repository is served by its git-upload-pack")
	}
	dir := t.TempDir()
	repo, err := git.PlainInitWithOptions(dir, &git.PlainInitOptions{InitOptions: git.InitOptions{DefaultBranch: "refs/heads/main"}})
	if err != nil {
		t.Fatal(err)
	}
	u := &upstream{t: t, dir: dir, repo: repo}
	err = fs.WalkDir(policies.Library(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(policies.Library(), name)
		u.write("policies/"+name, string(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	u.write("README.md", "policies\n")
	return u
}

func (u *upstream) url() string { return "file://" + u.dir }

func (u *upstream) write(name, text string) {
	u.t.Helper()
	path := filepath.Join(u.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		u.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		u.t.Fatal(err)
	}
}

// edit replaces text in a policy file.
func (u *upstream) edit(name, old, text string) {
	u.t.Helper()
	data, err := os.ReadFile(filepath.Join(u.dir, "policies", name))
	if err != nil || !strings.Contains(string(data), old) {
		u.t.Fatalf("%s does not hold %q: %v", name, old, err)
	}
	u.write("policies/"+name, strings.Replace(string(data), old, text, 1))
}

// commit commits everything and returns the hash.
func (u *upstream) commit(subject string) string {
	u.t.Helper()
	w, err := u.repo.Worktree()
	if err != nil {
		u.t.Fatal(err)
	}
	if err := w.AddWithOptions(&git.AddOptions{All: true}); err != nil {
		u.t.Fatal(err)
	}
	u.n++
	h, err := w.Commit(subject+"\n\nmore\n", &git.CommitOptions{
		Author: &object.Signature{Name: "Kim", Email: "kim@example.com", When: time.Date(2026, 11, 24, 10, u.n, 0, 0, time.UTC)},
		Signer: u.sign,
	})
	if err != nil {
		u.t.Fatal(err)
	}
	return h.String()
}

func (u *upstream) reset(hash string) {
	u.t.Helper()
	w, err := u.repo.Worktree()
	if err == nil {
		err = w.Reset(&git.ResetOptions{Mode: git.HardReset, Commit: plumbing.NewHash(hash)})
	}
	if err != nil {
		u.t.Fatal(err)
	}
}

// nobody is a publisher without proxies.
type nobody struct{}

func (nobody) Publish(map[xds.Group]*xds.Target) {}
func (nobody) Proxies() []xds.Proxy              { return nil }

// plane is a control plane with a store in memory that follows a repository.
type plane struct {
	*gitsync.Syncer
	t       *testing.T
	control *control.Controller
	store   *store.Memory
	metrics *prometheus.Registry
}

func newPlane(t *testing.T, cfg gogit.Config) *plane {
	t.Helper()
	cfg.Ref, cfg.Path = "main", "policies"
	if cfg.Dir == "" {
		cfg.Dir = filepath.Join(t.TempDir(), "copy")
	}
	source, err := gogit.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	p := &plane{t: t, store: store.NewMemory(), metrics: prometheus.NewRegistry()}
	log := slog.New(slog.DiscardHandler)
	if p.control, err = control.New(control.Config{Store: p.store, Publisher: nobody{}, Log: log, Now: today}); err != nil {
		t.Fatal(err)
	}
	p.Syncer = gitsync.New(gitsync.Config{
		Source: source, Target: p.control, Repository: cfg.URL, Ref: "main", Interval: 5 * time.Millisecond, Log: log, Metrics: p.metrics, Now: today,
	})
	return p
}

// today is about the dates of the shipped policies.
func today() time.Time { return time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC) }

// until runs the syncer until its status is as wanted.
func (p *plane) until(what string, want func(gitsync.Status) bool) gitsync.Status {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 20*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil && !want(p.Status()) {
		<-tick.C
	}
	st := p.Status()
	if !want(st) {
		p.t.Fatalf("%s never came: %+v", what, st)
	}
	cancel()
	if err := <-done; err != nil {
		p.t.Fatal(err)
	}
	return st
}

func (p *plane) applied(hash string) gitsync.Status {
	p.t.Helper()
	return p.until("commit "+hash, func(s gitsync.Status) bool {
		return s.State == gitsync.Applied && s.Commit != nil && s.Commit.Hash == hash
	})
}

func (p *plane) refused(hash string) gitsync.Status {
	p.t.Helper()
	return p.until("refusal of "+hash, func(s gitsync.Status) bool {
		return s.State == gitsync.Refused && s.Commit != nil && s.Commit.Hash == hash
	})
}

func (p *plane) head() store.Record {
	p.t.Helper()
	r, err := p.store.Head(p.t.Context())
	if err != nil && !errors.Is(err, store.ErrEmpty) {
		p.t.Fatal(err)
	}
	return r
}

func TestCommitsAreApplied(t *testing.T) {
	u := newUpstream(t)
	first := u.commit("first policies")
	p := newPlane(t, gogit.Config{URL: u.url()})
	st := p.applied(first)
	head := p.head()
	if head.GitCommit != first || head.Sequence != 1 || head.Author != "git: Kim" || head.Message != "first policies" || st.Sequence != 1 {
		t.Errorf("head %+v, status %+v", head, st)
	}
	if strings.Contains(fmt.Sprint(head, st), "example.com") {
		t.Error("an address of an author was kept")
	}
	u.edit("jurisdictions/sa.yaml", "maxAge: 24h", "maxAge: 12h")
	second := u.commit("shorter sessions")
	p.applied(second)
	if head := p.head(); head.Sequence != 2 || head.GitCommit != second {
		t.Errorf("head %+v", head)
	}
	// A commit that changes no policy is applied, and publishes nothing.
	u.write("README.md", "more\n")
	third := u.commit("words")
	p.applied(third)
	if head := p.head(); head.Sequence != 2 {
		t.Errorf("a commit without a policy change published %+v", head)
	}
}

// A commit with an error changes nothing, is reported with its place, and the
// next good one is applied.
func TestABrokenCommitChangesNothing(t *testing.T) {
	u := newUpstream(t)
	first := u.commit("first policies")
	p := newPlane(t, gogit.Config{URL: u.url()})
	p.applied(first)
	for name, spoil := range map[string][2]string{
		"a field":     {"spec:", "spec:\n  mesage: 1"},
		"a border":    {"serve: [me-riyadh]", "serve: [eu-frankfurt]"},
		"policy test": {"relation: {entry: [me-riyadh]}", "relation: {entry: [me-riyadh, tr-istanbul], basis: [chosen]}"},
	} {
		u.edit("jurisdictions/sa.yaml", spoil[0], spoil[1])
		st := p.refused(u.commit("broken: " + name))
		if name != "policy test" && (len(st.Problems) == 0 || st.Problems[0].File != "jurisdictions/sa.yaml") || st.Error == "" {
			t.Errorf("%s: status %+v", name, st)
		}
		if head := p.head(); head.Sequence != 1 {
			t.Fatalf("%s: published %+v", name, head)
		}
		u.edit("jurisdictions/sa.yaml", spoil[1], spoil[0])
		u.commit("mended: " + name)
	}
	u.edit("jurisdictions/sa.yaml", "maxAge: 24h", "maxAge: 12h")
	if st := p.applied(u.commit("good")); st.Error != "" || st.Problems != nil {
		t.Errorf("status %+v", st)
	}
}

// A rollback holds until a new commit comes, also for a replica that starts anew.
func TestARollbackIsNotUndone(t *testing.T) {
	u := newUpstream(t)
	p := newPlane(t, gogit.Config{URL: u.url()})
	p.applied(u.commit("first"))
	u.edit("jurisdictions/sa.yaml", "maxAge: 24h", "maxAge: 12h")
	second := u.commit("second")
	p.applied(second)
	if _, err := p.control.Rollback(t.Context(), 1, control.By{Author: "op"}); err != nil {
		t.Fatal(err)
	}
	fresh := newPlane(t, gogit.Config{URL: u.url()})
	fresh.store, fresh.control = p.store, p.control
	source, err := gogit.New(gogit.Config{URL: u.url(), Ref: "main", Path: "policies", Dir: filepath.Join(t.TempDir(), "copy")})
	if err != nil {
		t.Fatal(err)
	}
	fresh.Syncer = gitsync.New(gitsync.Config{Source: source, Target: p.control, Interval: time.Millisecond, Log: slog.New(slog.DiscardHandler)})
	for _, replica := range []*plane{p, fresh} {
		if st := replica.applied(second); st.Sequence != 2 {
			t.Errorf("status %+v", st)
		}
		if head := replica.head(); head.Sequence != 3 || head.RollbackOf != 1 {
			t.Fatalf("the rollback was undone: %+v", head)
		}
	}
	u.edit("jurisdictions/sa.yaml", "maxAge: 12h", "maxAge: 6h")
	p.applied(u.commit("third"))
	if head := p.head(); head.Sequence != 4 {
		t.Errorf("head %+v", head)
	}
}

// T19: a branch that was set back, or rewritten, does not bring an old policy back.
func TestT19RewrittenBranchIsRefused(t *testing.T) {
	u := newUpstream(t)
	first := u.commit("first")
	u.edit("jurisdictions/sa.yaml", "maxAge: 24h", "maxAge: 12h")
	second := u.commit("second")
	p := newPlane(t, gogit.Config{URL: u.url()})
	p.applied(second)
	u.reset(first)
	if st := p.refused(first); !strings.Contains(st.Error, "does not descend from "+second[:12]) {
		t.Errorf("status %+v", st)
	}
	u.edit("jurisdictions/sa.yaml", "maxAge: 24h", "maxAge: 6h")
	p.refused(u.commit("another second"))
	if head := p.head(); head.Sequence != 1 || head.GitCommit != second {
		t.Errorf("head %+v", head)
	}
}

type signer struct {
	ssh.Signer
	namespace string
}

func (s signer) Sign(m io.Reader) ([]byte, error) {
	sig, err := sshsig.Sign(m, s.Signer, sshsig.HashSHA512, s.namespace)
	if err != nil {
		return nil, err
	}
	return sshsig.Armor(sig), nil
}

func newSigner(t *testing.T) (signer, string) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer{s, "git"}, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(s.PublicKey())))
}

func TestOnlySignedCommitsCount(t *testing.T) {
	u := newUpstream(t)
	kim, public := newSigner(t)
	stranger, _ := newSigner(t)
	file := filepath.Join(t.TempDir(), "signers")
	if err := os.WriteFile(file, []byte("# who may\nkim "+public+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	keys, err := gogit.ReadKeys(file)
	if err != nil {
		t.Fatal(err)
	}
	p := newPlane(t, gogit.Config{URL: u.url(), Keys: keys})
	elsewhere := kim
	elsewhere.namespace = "file"
	for name, s := range map[string]git.Signer{"unsigned": nil, "a stranger's": stranger, "for another use": elsewhere} {
		u.sign = s
		u.write("README.md", name)
		if st := p.refused(u.commit(name)); !strings.Contains(st.Error, gitsync.ErrUntrusted.Error()) {
			t.Errorf("%s: %+v", name, st)
		}
		if head := p.head(); head.Sequence != 0 {
			t.Fatalf("%s: published %+v", name, head)
		}
	}
	u.sign = kim
	u.write("README.md", "signed")
	if st := p.applied(u.commit("signed")); st.Commit.Signer != "kim" {
		t.Errorf("status %+v", st)
	}
}

func TestReadKeys(t *testing.T) {
	_, public := newSigner(t)
	dir := t.TempDir()
	for name, text := range map[string]string{
		"empty": "", "comment": "# nobody\n", "no key": "kim\n", "junk": "kim ssh-ed25519 AAAA\n",
		"options": "kim namespaces=\"git\",valid-before=\"2020\" " + public + "\n",
	} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if k, err := gogit.ReadKeys(file); err == nil {
			t.Errorf("%s: read as %+v", name, k)
		}
	}
	if _, err := gogit.ReadKeys(filepath.Join(dir, "missing")); err == nil {
		t.Error("a missing file was read")
	}
}

// Links are refused: the file that they point to is not part of the commit.
func TestLinksAreRefused(t *testing.T) {
	u := newUpstream(t)
	if err := os.Symlink("sa.yaml", filepath.Join(u.dir, "policies", "jurisdictions", "qa.yaml")); err != nil {
		t.Fatal(err)
	}
	p := newPlane(t, gogit.Config{URL: u.url()})
	if st := p.refused(u.commit("a link")); !strings.Contains(st.Error, "jurisdictions/qa.yaml is a symbolic link") {
		t.Errorf("status %+v", st)
	}
}

// A repository that goes away keeps the policy; one that comes back is followed;
// a spoiled copy is made again.
func TestOutageAndSpoiledCopy(t *testing.T) {
	u := newUpstream(t)
	dir := filepath.Join(t.TempDir(), "copy")
	p := newPlane(t, gogit.Config{URL: u.url(), Dir: dir})
	p.applied(u.commit("first"))
	away := u.dir + ".away"
	if err := os.Rename(u.dir, away); err != nil {
		t.Fatal(err)
	}
	st := p.until("the outage", func(s gitsync.Status) bool { return s.State == gitsync.Unreachable })
	if st.Error == "" || st.Commit == nil || p.head().Sequence != 1 {
		t.Errorf("status %+v", st)
	}
	if err := os.Rename(away, u.dir); err != nil {
		t.Fatal(err)
	}
	u.edit("jurisdictions/sa.yaml", "maxAge: 24h", "maxAge: 12h")
	p.applied(u.commit("second"))

	if err := os.RemoveAll(filepath.Join(dir, "objects")); err != nil {
		t.Fatal(err)
	}
	fresh := newPlane(t, gogit.Config{URL: u.url(), Dir: dir})
	u.edit("jurisdictions/sa.yaml", "maxAge: 12h", "maxAge: 6h")
	fresh.applied(u.commit("third"))
}

// By https with a token from a file; the token stands in no error.
func TestHTTPSWithToken(t *testing.T) {
	program, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	u := newUpstream(t)
	first := u.commit("first")
	backend := &cgi.Handler{Path: program, Args: []string{"http-backend"}, Env: []string{
		"GIT_PROJECT_ROOT=" + u.dir, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
	}}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, password, _ := r.BasicAuth(); password != "s3cret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(w, r)
	}))
	defer server.Close()
	dir := t.TempDir()
	ca, token := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "token")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := errors.Join(os.WriteFile(ca, certificate, 0o600), os.WriteFile(token, []byte("wr0ng\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	p := newPlane(t, gogit.Config{URL: server.URL + "/.git", TokenFile: token, CAFile: ca})
	st := p.until("the refusal", func(s gitsync.Status) bool { return s.State == gitsync.Unreachable })
	if strings.Contains(st.Error, "wr0ng") {
		t.Errorf("the token is shown: %s", st.Error)
	}
	if err := os.WriteFile(token, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.applied(first)
}

func TestNewRefuses(t *testing.T) {
	for url, why := range map[string]string{
		"https://u:p@example.com/x": "password",
		"http://example.com/x":      "scheme",
		"git@example.com:x":         "not a URL",
		"ssh://git@example.com/x":   "known hosts",
		"https://example.com/%zz":   "not a URL",
	} {
		_, err := gogit.New(gogit.Config{URL: url, Ref: "main"})
		if err == nil || !strings.Contains(err.Error(), why) || strings.Contains(err.Error(), "u:p") {
			t.Errorf("%s: %v", url, err)
		}
	}
	for _, c := range []gogit.Config{{URL: "https://example.com/x"}, {URL: "https://example.com/x", Ref: "a b"}, {URL: "https://example.com/x", Ref: "main", Path: "../x"}} {
		if _, err := gogit.New(c); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
}
