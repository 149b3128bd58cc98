package e2e_test

import (
	"encoding/json"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/domicile-dev/domicile/pkg/bundle"
)

// inForce is the policy in force and the newest entry of the history, as text:
// what must be the same after a change that was refused.
func (l *lab) inForce(t testing.TB) string {
	t.Helper()
	var s struct {
		Policy, Refused json.RawMessage
		Store           struct{ Sequence int }
	}
	a := get(t, h1, l.ready.Control.Admin+"/v1/status", "")
	if err := json.Unmarshal([]byte(a.body), &s); err != nil || len(s.Policy) < 3 {
		t.Fatalf("status: %v: %s", err, a)
	}
	newest := get(t, h1, l.ready.Control.Admin+"/v1/history?limit=1", "")
	if newest.status != 200 {
		t.Fatalf("history: %s", newest)
	}
	return string(s.Policy) + string(s.Refused) + newest.body
}

// mistake is one thing that people do wrong in a policy file.
type mistake struct {
	name, file string
	old, new   string // all of old becomes new; "" for old: new is the file
	says       string // a word of the message
}

func jurisdictionOf(code string) string {
	return "apiVersion: domicile.dev/v1\nkind: Jurisdiction\nmetadata: {name: " + code + ", owner: a}\nspec:\n  law: [\"TR\"]\n" +
		"  defaults: {serve: [tr-istanbul], entry: [tr-istanbul], basis: [chosen]}\n  classes:\n    message: {}\n"
}

func mistakes() []mistake {
	const tr = "jurisdictions/tr.yaml"
	return []mistake{
		{"unknown field", tr, "  enforcement: enforce\n", "  enforcement: enforce\n  serves: [tr-istanbul]\n", "serves"},
		{"unknown field in a rule", tr, "session: {maxAge: 24h}", "session: {maxage: 24h}", "maxage"},
		{"duplicate key", tr, "  law: [\"TR\"]\n", "  law: [\"TR\"]\n  law: [\"SA\"]\n", "law"},
		{"unknown region", tr, "serve: [tr-istanbul]", "serve: [tr-ankara]", "tr-ankara"},
		{"foreign serving region without a transfer", tr, "serve: [tr-istanbul]", "serve: [eu-frankfurt]", "eu-frankfurt"},
		{"foreign failover without a transfer", tr, "serve: [tr-istanbul]", "serve: [tr-istanbul, eu-frankfurt]", "eu-frankfurt"},
		{"foreign entry without a transfer", tr, "relation: {entry: [tr-istanbul]}", "relation: {entry: [tr-istanbul, me-riyadh]}", "me-riyadh"},
		{"lapsed transfer", tr, "reviewBy: 2027-02-24, until: 2027-11-24", "reviewBy: 2023-02-24, until: 2024-11-24", "2024-11-24"},
		{"anchor", tr, "", strings.Replace(jurisdictionOf(`"TR"`), "[tr-istanbul], entry: [tr-istanbul]", "&here [tr-istanbul], entry: *here", 1), "anchor"},
		{"merge key", tr, "", strings.Replace(jurisdictionOf(`"TR"`), "message: {}", "message: &m {}\n    presence: {<<: *m}", 1), ""},
		{"retired code", tr, "", jurisdictionOf(`"SU"`), "SU"},
		{"retired code, Yugoslavia", tr, "", jurisdictionOf(`"YU"`), "YU"},
		{"code that nobody has", tr, "", jurisdictionOf(`"QQ"`), "QQ"},
		{"lower-case code", tr, "", jurisdictionOf(`"tr"`), "tr"},
		{"three-letter code", tr, "", jurisdictionOf(`"TUR"`), "TUR"},
		{"look-alike code, Cyrillic", tr, "", jurisdictionOf("\"\u0422R\""), ""},
		{"look-alike code, full width", tr, "", jurisdictionOf("\"\uff34\uff32\""), ""},
		{"code with a hidden space", tr, "", jurisdictionOf("\"TR\u200b\""), ""},
		{"unquoted NO", tr, "", jurisdictionOf("NO"), "NO"},
		{"unquoted NO in a transfer", tr, `to: ["EEA", "SA"], classes: [login`, `to: ["EEA", "SA", NO], classes: [login`, "NO"},
		{"bad duration", tr, "maxAge: 24h", "maxAge: 24 hours", "24 hours"},
		{"negative duration", tr, "maxAge: 24h", "maxAge: -24h", "-24h"},
		{"duration without a unit", tr, "maxAge: 24h", "maxAge: 24", ""},
		{"one home in two files", "jurisdictions/tr2.yaml", "", jurisdictionOf(`"TR"`), "TR"},
		{"tab", tr, "  law: [\"TR\"]\n", "\tlaw: [\"TR\"]\n", "tab"},
		{"3 MB", tr, "", "#" + strings.Repeat("x", 3<<20) + "\n" + jurisdictionOf(`"TR"`), ""},
		{"empty file", tr, "", "", ""},
		{"two documents", tr, "", jurisdictionOf(`"TR"`) + "---\n" + jurisdictionOf(`"QA"`), ""},
		{"not text", tr, "", "\xff\xfe\x00a", ""},
		{"a failing policy test", "jurisdictions/tr_test.yaml", "expect: {allow: tr-istanbul}", "expect: {allow: eu-frankfurt}", "eu-frankfurt"},
	}
}

// spoil copies the shipped policies and makes the mistake in the copy.
func spoil(t testing.TB, m mistake) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "policies")
	if err := os.CopyFS(dir, os.DirFS(shippedDir())); err != nil {
		t.Fatal(err)
	}
	file, text := filepath.Join(dir, filepath.FromSlash(m.file)), m.new
	if m.old != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(data), m.old) {
			t.Fatalf("%s has no %q", m.file, m.old)
		}
		text = strings.ReplaceAll(string(data), m.old, m.new)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A broken policy directory is refused by lint with file, line and reason, by
// apply before anything is sent, and by the control plane when somebody sends it
// all the same; and what is in force stays in force.
func TestBrokenPolicyFilesChangeNothing(t *testing.T) {
	l := shared(t)
	was := l.inForce(t)
	for _, m := range mistakes() {
		dir := spoil(t, m)
		command := "lint"
		if strings.HasSuffix(m.file, "_test.yaml") {
			command = "test"
		}
		out, errs, code := run(t, command, dir, "--output", "json")
		if code != 1 {
			t.Errorf("%s: %s exits %d: %s%s", m.name, command, code, out, errs)
		}
		if command == "lint" && !named(t, out, m) {
			t.Errorf("%s: lint names neither %s nor why:\n%.2000s", m.name, m.file, out)
		}
		if out, errs, code := run(t, "apply", dir, "--dir", l.dir); code != 1 || out+errs == "" {
			t.Errorf("%s: apply exits %d: %s%s", m.name, code, out, errs)
		}
		if now := l.inForce(t); now != was {
			t.Fatalf("%s: apply changed\n%s\ninto\n%s", m.name, was, now)
		}
		archive, err := pack(dir)
		if err != nil {
			continue // what cannot even be packed cannot be sent
		}
		a := send(t, h1, http.MethodPost, l.ready.Control.Admin+"/v1/apply?author=test", "", string(archive), "Content-Type", "application/octet-stream")
		if a.status != 422 && a.status != 400 && a.status != 413 {
			t.Errorf("%s: the control plane answers %s", m.name, a)
		}
		if now := l.inForce(t); now != was {
			t.Fatalf("%s: what the control plane refused changed\n%s\ninto\n%s", m.name, was, now)
		}
	}
	l.synced(t)
}

// named tells whether lint's JSON names the file, a line and the reason, as an
// error; an error without any of them fails the test.
func named(t testing.TB, out string, m mistake) bool {
	t.Helper()
	var v struct {
		Problems []struct {
			File, Code, Severity, Message, Fix string
			Line, Column                       int
		}
	}
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Errorf("%s: lint --output json: %v", m.name, err)
		return false
	}
	found := false
	for _, p := range v.Problems {
		if p.File == "" || p.Line < 1 || p.Column < 1 || p.Code == "" || p.Message == "" {
			t.Errorf("%s: half a problem: %+v", m.name, p)
		}
		found = found || p.Severity == "error" && strings.HasSuffix(filepath.ToSlash(p.File), m.file) && strings.Contains(p.Message, m.says)
	}
	return found
}

// pack makes the archive of a directory without looking into the files.
func pack(dir string) ([]byte, error) {
	files := map[string][]byte{}
	fsys := os.DirFS(dir)
	err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(p) == ".go" {
			return err
		}
		files[p], err = fs.ReadFile(fsys, p)
		return err
	})
	if err != nil {
		return nil, err
	}
	b, err := bundle.New(files)
	if err != nil {
		return nil, err
	}
	return b.Archive(), nil
}

// A demo refuses what cannot be published before it makes anything.
func TestDemoRefusesBrokenPolicies(t *testing.T) {
	base := t.TempDir()
	for _, m := range mistakes()[:4] {
		dir := spoil(t, m)
		out, errs, code := run(t, "demo", "--policies", dir, "--dir", filepath.Join(base, "a", "demo"), "--ready-file", filepath.Join(base, "ready.json"))
		if code != 1 || !strings.Contains(errs, m.says) || !strings.Contains(errs, m.file) {
			t.Errorf("%s: exit %d: %s%s", m.name, code, out, errs)
		}
		if left, err := os.ReadDir(base); err != nil || len(left) != 0 {
			t.Errorf("%s: the demo left %v %v", m.name, left, err)
		}
		if left := processes(t, base); len(left) != 0 {
			t.Errorf("%s: the demo left processes: %q", m.name, left)
		}
	}
	for _, args := range [][]string{{"--policies", filepath.Join(base, "nowhere")}, {"--policies", filepath.Join(shippedDir(), "groups.yaml")}, {"--polices", "x"}, {"extra"}} {
		if out, errs, code := run(t, append([]string{"demo"}, args...)...); code != 2 || out != "" || errs == "" {
			t.Errorf("demo %q: exit %d: %s%s", args, code, out, errs)
		}
	}
}
