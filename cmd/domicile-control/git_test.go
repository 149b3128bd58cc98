package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/domicile-dev/domicile/pkg/gitsync"
)

// repository is one that authors push to, driven by the real git.
type repository struct {
	t   *testing.T
	dir string
}

func (r repository) git(args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", append([]string{"-C", r.dir, "-c", "user.name=Kim", "-c", "user.email=kim@example.com", "-c", "commit.gpgsign=false"}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func (r repository) commit(files map[string][]byte) (hash string) {
	r.t.Helper()
	for name, data := range files {
		path := filepath.Join(r.dir, "policies", filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			r.t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			r.t.Fatal(err)
		}
	}
	r.git("add", "-A")
	r.git("commit", "-q", "-m", "policies")
	return r.git("rev-parse", "HEAD")
}

// The real thing: a commit becomes the policy in force, a broken one is shown
// where authors look and changes nothing.
func TestFollowsGit(t *testing.T) {
	s := newSite(t)
	s.startEtcd()
	r := repository{t, t.TempDir()}
	r.git("init", "-q", "-b", "main")
	first := r.commit(shipped(t))
	s.start("--git", "file://"+r.dir, "--git-dir", filepath.Join(s.dir, "copy"), "--git-interval", "1s")
	s.wait("the first commit in force", func() bool {
		st := s.status()
		return st.Policy != nil && st.Git != nil && st.Git.State == gitsync.Applied && st.Git.Commit.Hash == first
	})
	broken := r.commit(edited(t, "jurisdictions/sa.yaml", "serve: [me-riyadh]", "serve: [eu-frankfurt]"))
	s.wait("the refusal", func() bool {
		st := s.status()
		return st.Git.State == gitsync.Refused && st.Git.Commit.Hash == broken && len(st.Git.Problems) > 0
	})
	if st := s.status(); st.Policy.Sequence != 1 || st.Refused != nil {
		t.Errorf("the broken commit changed something: %+v", st)
	}
	_, metrics := s.get("/metrics")
	if !bytes.Contains(metrics, []byte(`domicile_git_state{state="refused"} 1`)) {
		t.Error("no metric tells of the refusal")
	}
	good := r.commit(edited(t, "jurisdictions/sa.yaml", "maxAge: 24h", "maxAge: 12h"))
	s.wait("the good commit in force", func() bool {
		st := s.status()
		return st.Policy.Sequence == 2 && st.Git.State == gitsync.Applied && st.Git.Commit.Hash == good
	})
}

func TestGitFlags(t *testing.T) {
	for name, args := range map[string][]string{
		"no copy":  {"--git", "https://example.com/x"},
		"interval": {"--git", "https://example.com/x", "--git-dir", "d", "--git-interval", "1ms"},
	} {
		base := []string{"--etcd", "http://127.0.0.1:1", "--cert", "c", "--key", "k", "--ca", "a"}
		if _, err := parseOptions(append(base, args...), new(bytes.Buffer)); err == nil || !strings.Contains(err.Error(), "--git-") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
