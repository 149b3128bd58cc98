package e2e_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var signersLine = regexp.MustCompile(`(?m)^    - \{name: .*\}$`)

// signers makes three keys, and the lines of deployment.yaml that let them count.
func signers(t testing.TB) (dir, lines string) {
	t.Helper()
	dir = t.TempDir()
	for name, role := range map[string]string{"kim": "author", "lee": "compliance", "max": "oncall"} {
		out, errs, code := run(t, "keys", "new", "--out", filepath.Join(dir, name), "--name", name)
		line := signersLine.FindString(out)
		if code != 0 || line == "" {
			t.Fatalf("keys new: exit %d: %s%s", code, out, errs)
		}
		lines += strings.Replace(line, "[author]", "["+role+"]", 1) + "\n"
	}
	return dir, "  signers:\n" + lines + "  approvals: {apply: [author], loosen: [author, compliance], emergencyDeny: [oncall]}\n  responseHeaders: true"
}

// The whole of it by the command line, against real Envoys: what loosens needs two
// people, the brake one, and the history shows who.
func TestApprovalsAndTheBrake(t *testing.T) {
	keys, lines := signers(t)
	key := func(name string) string { return filepath.Join(keys, name) }
	withSigners := [3]string{"deployment.yaml", "  responseHeaders: true", lines}
	loosened := policies(t, withSigners,
		[3]string{"jurisdictions/sa.yaml", "relation: {entry: [me-riyadh]}", "relation: {entry: [me-riyadh, tr-istanbul]}"},
		[3]string{"jurisdictions/sa.yaml", "classes: [login, message, presence, profile], for: [entry]", "classes: [login, message, presence, profile, relation], for: [entry]"})
	l := own(t, "--policies", policies(t, withSigners))
	exits := func(want int, args ...string) string {
		t.Helper()
		out, errs, code := run(t, append(args, "--dir", l.dir)...)
		if code != want {
			t.Fatalf("%q: exit %d, want %d\n%s%s", args, code, want, out, errs)
		}
		return out + errs
	}
	was := l.inForce(t)
	unchanged := func(what string) {
		t.Helper()
		if now := l.inForce(t); now != was {
			t.Fatalf("%s changed the policy", what)
		}
	}
	if said := exits(5, "apply", loosened); !strings.Contains(said, "author, and of compliance") || !strings.Contains(said, "domicile approve") {
		t.Errorf("unsigned: %s", said)
	}
	exits(5, "apply", loosened, "--signing-key", key("kim"))
	unchanged("a change that lacks a signature")

	plan := filepath.Join(t.TempDir(), "change.plan")
	if said := exits(0, "plan", loosened, "--out", plan); !strings.Contains(said, "Needs the approval of author, compliance") {
		t.Errorf("plan: %s", said)
	}
	if err := os.Chmod(key("kim"), 0o644); err != nil {
		t.Fatal(err)
	}
	if said := exits(2, "approve", plan, "--signing-key", key("kim")); !strings.Contains(said, "may be read by others") {
		t.Errorf("a key that others may read: %s", said)
	}
	if err := os.Chmod(key("kim"), 0o600); err != nil {
		t.Fatal(err)
	}
	if said := exits(0, "approve", plan, "--signing-key", key("kim")); !strings.Contains(said, "Signed as kim") || !strings.Contains(said, "! serve SA relation tr-istanbul") {
		t.Errorf("approve: %s", said)
	}
	exits(5, "apply", plan)
	unchanged("a plan that lacks a signature")
	exits(0, "approve", plan, "--signing-key", key("lee"))
	exits(0, "apply", plan, "--wait", "20s")
	if said := exits(0, "history"); !strings.Contains(said, "kim (author), lee (compliance)") {
		t.Errorf("history: %s", said)
	}

	// The brake, by one signature; users are refused at every door.
	token := l.token(t, "brake", "SA")
	exits(5, "deny", "--home", "SA", "--class", "message", "--reason", "INC-31", "--signing-key", key("kim"))
	exits(0, "deny", "--home", "SA", "--class", "message", "--reason", "INC-31", "--signing-key", key("max"), "--wait", "20s")
	for door, url := range l.doors() {
		before := l.counted(t)
		if a := get(t, h1, url+"/v1/messages", token); a.status != 403 || a.reason() != "forbidden" {
			t.Errorf("denied, through %s: %s", door, a)
		}
		only(t, l.reached(t, before), "")
	}
	// It is carried over by the next change, and lifted only by two.
	tightened := policies(t, withSigners, [3]string{"jurisdictions/tr.yaml", "message: {session: {maxAge: 24h}}", "message: {session: {maxAge: 12h}}"})
	if said := exits(0, "apply", tightened, "--signing-key", key("kim"), "--wait", "20s"); !strings.Contains(said, "carried over") {
		t.Errorf("apply: %s", said)
	}
	if a := get(t, h1, l.ready.Regions["me-riyadh"].Gateway+"/v1/messages", token); a.reason() != "forbidden" {
		t.Errorf("after another change: %s", a)
	}
	exits(5, "deny", "--lift", "--home", "SA", "--class", "message", "--reason", "over", "--signing-key", key("max"))
	exits(1, "deny", "--lift", "--home", "TR", "--reason", "it never was")
	rollback := filepath.Join(t.TempDir(), "rollback.plan")
	exits(5, "rollback", "2", "--signing-key", key("kim"))
	exits(0, "rollback", "2", "--out", rollback)
	exits(0, "approve", rollback, "--signing-key", key("kim"))
	exits(0, "approve", rollback, "--signing-key", key("lee"))
	exits(0, "apply", rollback, "--wait", "20s")
	if a := get(t, h1, l.ready.Regions["me-riyadh"].Gateway+"/v1/messages", token); a.status != 200 {
		t.Errorf("after the approved rollback: %s", a)
	}
	exits(0, "check")
}
