package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A clean checkout is recorded in the history, one that was edited since is not.
func TestApplyRecordsTheCommit(t *testing.T) {
	l := own(t)
	dir := policies(t, [3]string{"jurisdictions/tr.yaml", "maxAge: 24h", "maxAge: 12h"})
	git := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=k", "-c", "user.email=k@example.com", "-c", "commit.gpgsign=false"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("git %q: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("init", "-q", "-b", "main")
	git("add", "-A")
	git("commit", "-q", "-m", "policies")
	head := git("rev-parse", "HEAD")
	l.apply(t, dir)
	if out, errs, code := run(t, "history", "--dir", l.dir); code != 0 || !strings.Contains(out, head[:12]) {
		t.Errorf("history: exit %d: %s%s", code, out, errs)
	}
	file := filepath.Join(dir, "jurisdictions", "tr.yaml")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(data), "maxAge: 12h", "maxAge: 6h", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	out, errs, code := run(t, "apply", dir, "--dir", l.dir, "--output", "json")
	if code != 0 || !strings.Contains(errs, "differs from commit "+head[:12]) || strings.Contains(out, head) {
		t.Errorf("edited since: exit %d: %s%s", code, out, errs)
	}
}

// T25: a widening change is named before it is made, in exactly the combinations
// that it widens; a saved plan is what is applied, and only on top of what it was
// made against.
func TestT25_PlansSayWhatIsLetOut(t *testing.T) {
	l := own(t)
	dir := policies(t,
		[3]string{"jurisdictions/sa.yaml", "relation: {entry: [me-riyadh]}", "relation: {entry: [me-riyadh, tr-istanbul]}"},
		[3]string{"jurisdictions/sa.yaml", "to: [\"EEA\", \"TR\"], classes: [login, message, presence, profile], for: [entry]", "to: [\"EEA\", \"TR\"], classes: [login, message, presence, profile, relation], for: [entry]"})
	file := filepath.Join(t.TempDir(), "change.plan")
	var plan struct {
		Changes []struct{ Effect, Kind, Home, Class, Entry, Before, After string }
		Base    struct{ Sequence int }
	}
	decode(t, &plan, "plan", dir, "--dir", l.dir, "--out", file, "--output", "json")
	served := 0
	for _, c := range plan.Changes {
		if c.Kind == "serve" {
			served++
			if c.Effect != "loosens" || c.Home != "SA" || c.Class != "relation" || c.Entry != "tr-istanbul" || c.Before != "deny entry-not-allowed" || c.After != "allow me-riyadh" {
				t.Errorf("change %+v", c)
			}
		}
		if c.Effect != "loosens" || c.Home != "SA" || c.Class != "relation" {
			t.Errorf("nothing else changed, but %+v", c)
		}
	}
	if served != 1 || plan.Base.Sequence != 1 {
		t.Errorf("%d served differently, base %d", served, plan.Base.Sequence)
	}

	saved, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	edited := filepath.Join(t.TempDir(), "edited.plan")
	if err := os.WriteFile(edited, []byte(strings.Replace(string(saved), `"class": "relation"`, `"class": "message"`, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, errs, code := run(t, "apply", edited, "--dir", l.dir); code != 6 || !strings.Contains(errs, "changed after it was saved") {
		t.Errorf("an edited plan: exit %d: %s%s", code, out, errs)
	}
	if out, errs, code := run(t, "apply", file, "--dir", l.dir); code != 0 || !strings.Contains(errs, "! loosens  serve  SA relation") {
		t.Fatalf("apply of the plan: exit %d: %s%s", code, out, errs)
	}
	l.synced(t)
	if h := l.history(t); len(h) != 2 {
		t.Errorf("history %+v", h)
	}
	// The plan was made against sequence 1.
	l.apply(t, policies(t))
	was := l.inForce(t)
	if out, errs, code := run(t, "apply", file, "--dir", l.dir); code != 6 || !strings.Contains(errs, "sequence 3 is live") {
		t.Errorf("a stale plan: exit %d: %s%s", code, out, errs)
	}
	if now := l.inForce(t); now != was {
		t.Errorf("a stale plan changed\n%s\ninto\n%s", was, now)
	}
	if out, _, code := run(t, "plan", policies(t), "--dir", l.dir, "--detailed-exitcode"); code != 0 || !strings.Contains(out, "Plan: 0 loosened, 0 tightened, 0 neutral") {
		t.Errorf("what is live against itself: exit %d: %s", code, out)
	}
}
