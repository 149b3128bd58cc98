package e2e_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/domicile-dev/domicile/pkg/identity"
)

// processes are the command lines of running processes that hold text, such as
// the directory of a demo.
func processes(t testing.TB, text string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(files) == 0 {
		t.Fatalf("list processes: %d found, %v", len(files), err)
	}
	var out []string
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil || f == fmt.Sprintf("/proc/%d/cmdline", os.Getpid()) {
			continue // it has ended meanwhile
		}
		if line := string(bytes.ReplaceAll(data, []byte{0}, []byte{' '})); strings.Contains(line, text) {
			out = append(out, line)
		}
	}
	return out
}

func otherworld() string { return filepath.Join(repo(), "test", "e2e", "testdata", "otherworld") }

// A policy directory with other regions, jurisdictions, services, issuers and
// home claims than the shipped one works in the demo, and ends without a trace.
func TestDemoOfAnotherWorld(t *testing.T) {
	dir := t.TempDir()
	l, err := start(dir, "--policies", otherworld())
	if err != nil {
		t.Fatal(err)
	}
	defer l.stop()
	regions := map[string]string{"AE": "ae-dubai", "SG": "sg-singapore", "US": "us-virginia"}
	if len(l.ready.Regions) != len(regions) {
		t.Fatalf("the ready file names %d regions", len(l.ready.Regions))
	}
	for home, region := range regions {
		if b := l.ready.Regions[region].Backends; len(b) != 2 || b["chat"].Address == "" || b["people"].PID == 0 {
			t.Errorf("backends of %s: %+v", region, b)
		}
		user := "u-" + strings.ToLower(home)
		token := l.token(t, user, home)
		for door, door_url := range l.doors() {
			for name, client := range map[string]*http.Client{"HTTP/1.1": h1, "HTTP/2": h2c} {
				before := l.counted(t)
				if a := get(t, client, door_url+"/chat/x", token, lies...); a.status != 200 || a.header.Get("x-backend-region") != region {
					t.Errorf("%s user through %s by %s: %s", home, door, name, a)
				}
				only(t, l.reached(t, before), region)
			}
			before := l.counted(t)
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			c, _, err := dial(ctx, door_url, token)
			if err != nil {
				t.Errorf("WebSocket of %s through %s: %v", home, door, err)
			} else {
				if got, err := say(c, "x"); got != region+":x" {
					t.Errorf("WebSocket of %s through %s: %q %v", home, door, got, err)
				}
				c.CloseNow()
			}
			cancel()
			if a := get(t, h1, door_url+"/v1/profiles/"+user, token); a.status != 200 || a.header.Get("x-backend-region") != region {
				t.Errorf("profile of %s through %s: %s", home, door, a)
			}
			only(t, l.reached(t, before), region)
			before = l.counted(t)
			here := strings.HasPrefix(door, region)
			if a := get(t, h1, door_url+"/vault/x", token); here && a.status != 200 || !here && (a.status != 403 || a.reason() != "entry-not-allowed") {
				t.Errorf("vault of %s through %s: %s", home, door, a)
			}
			if served := map[bool]string{true: region}[here]; true {
				only(t, l.reached(t, before), served)
			}
		}
	}
	l.refusesOtherworld(t)
	l.stop()
	if left := processes(t, dir); len(left) != 0 {
		t.Errorf("the demo left processes: %q", left)
	}
	empty(t, dir)
}

// refusesOtherworld asks what every gateway must refuse: homes that no rule
// covers, and homes that the other issuer names.
func (l *lab) refusesOtherworld(t testing.TB) {
	t.Helper()
	claim := func(issuer, claim, home string) string {
		c := goodClaims()
		delete(c, "home")
		c["iss"], c["aud"], c[claim] = issuer, "chat", home
		return l.forge(t, l.es256(), c)
	}
	const gulf, world = "https://gulf.example.net", "https://world.example.net"
	for name, c := range map[string][2]string{
		"no rule":                         {l.token(t, "omani", "OM"), "no-rule"},
		"a home of the shipped policies":  {l.token(t, "amal", "SA"), "issuer-not-entitled"},
		"the other issuer's home":         {claim(gulf, "nation", "SG"), "issuer-not-entitled"},
		"the other issuer's home, turned": {claim(world, "home", "AE"), "issuer-not-entitled"},
		"the other issuer's claim":        {claim(gulf, "home", "AE"), "no-home"},
		"the other issuer's claim, too":   {claim(world, "nation", "SG"), "no-home"},
	} {
		for door, url := range l.doors() {
			before := l.counted(t)
			if a := get(t, h1, url+"/chat/x", c[0]); a.status != 403 || a.reason() != c[1] {
				t.Errorf("%s through %s: %s, want %s", name, door, a, c[1])
			}
			only(t, l.reached(t, before), "")
		}
	}
	for issuer, c := range map[string][2]string{gulf: {"nation", "AE"}, world: {"home", "SG"}} {
		if a := get(t, h1, l.ready.Regions["us-virginia"].Gateway+"/chat/x", claim(issuer, c[0], c[1])); a.status != 200 {
			t.Errorf("a forged token is as good as one of the demo: %s", a) // else the refusals above say nothing
		}
	}
}

// history is what domicile history says.
type record struct {
	Sequence, RollbackOf           int
	Bundle, Table, Author, Message string
}

func (l *lab) history(t testing.TB) []record {
	t.Helper()
	var h struct{ Records []record }
	decode(t, &h, "history", "--output", "json", "--dir", l.dir)
	return h.Records
}

// decode runs a command that must succeed and reads its JSON.
func decode(t testing.TB, into any, args ...string) {
	t.Helper()
	out, errs, code := run(t, args...)
	if code != 0 {
		t.Fatalf("domicile %s: exit %d: %s%s", strings.Join(args, " "), code, out, errs)
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		t.Fatalf("domicile %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

func TestApplyHistoryAndRollback(t *testing.T) {
	l := own(t)
	token := l.token(t, "ayse", "TR")
	answers := func(status int, reason string) {
		t.Helper()
		for door, url := range l.doors() {
			before := l.counted(t)
			a := get(t, h1, url+"/v1/messages", token)
			if a.status != status || a.reason() != reason {
				t.Errorf("through %s: %s", door, a)
			}
			only(t, l.reached(t, before), map[int]string{200: "tr-istanbul"}[a.status])
		}
	}
	answers(200, "")
	first := l.history(t)
	if len(first) != 1 || first[0].Sequence != 1 || !strings.HasPrefix(first[0].Bundle, "sha256:") || first[0].Table != l.status(t).Policy.Table {
		t.Fatalf("history of a new demo: %+v", first)
	}

	dir := forbidMessages(t)
	var applied struct {
		Sequence      int
		Bundle, Table string
		Proxies       struct{ Synced, Pending int }
	}
	decode(t, &applied, "apply", dir, "--dir", l.dir, "-m", "no messages of TR", "--author", "kim", "--wait", "20s", "--output", "json")
	if applied.Sequence != 2 || applied.Proxies.Pending != 0 || applied.Proxies.Synced != 2*len(l.ready.Regions) {
		t.Errorf("apply: %+v", applied)
	}
	answers(403, "forbidden")
	h := l.history(t)
	if len(h) != 2 || h[0].Sequence != 2 || h[1] != first[0] || h[0].Author != "kim" || h[0].Message != "no messages of TR" || h[0].Bundle == h[1].Bundle || h[0].Table == h[1].Table {
		t.Errorf("history: %+v", h)
	}

	// Who saw an older policy than the present one changes nothing.
	other := policies(t, [3]string{"jurisdictions/sa.yaml", "message: {session: {maxAge: 24h}}", "message: {serve: []}"})
	was := l.inForce(t)
	if out, errs, code := run(t, "apply", other, "--dir", l.dir, "--base", "1"); code != 6 || errs == "" {
		t.Errorf("apply on an old base: exit %d: %s%s", code, out, errs)
	}
	if now := l.inForce(t); now != was {
		t.Errorf("a stale apply changed\n%s\ninto\n%s", was, now)
	}
	decode(t, &applied, "apply", dir, "--dir", l.dir, "--output", "json")
	if applied.Sequence != 2 || len(l.history(t)) != 2 {
		t.Errorf("the same policy again: %+v", applied)
	}

	decode(t, &applied, "rollback", "--dir", l.dir, "--wait", "20s", "--output", "json")
	if h = l.history(t); len(h) != 3 || h[0].Sequence != 3 || h[0].RollbackOf != 1 || h[0].Bundle != first[0].Bundle || h[0].Table != first[0].Table || applied.Bundle != first[0].Bundle {
		t.Errorf("after the rollback: %+v, history %+v", applied, h)
	}
	answers(200, "")
	for _, to := range []string{"99", "0", "-1", "x"} {
		if out, errs, code := run(t, "rollback", "--dir", l.dir, "--", to); code != 1 && code != 2 || errs == "" {
			t.Errorf("rollback to %s: exit %d: %s%s", to, code, out, errs)
		}
	}
	if h := l.history(t); len(h) != 3 {
		t.Errorf("a refused rollback made history: %+v", h)
	}
	if out, errs, code := run(t, "check", "--dir", l.dir); code != 0 {
		t.Errorf("check of a healthy demo: exit %d: %s%s", code, out, errs)
	}
}

func TestStatusIsReadByPeopleAndPrograms(t *testing.T) {
	l := shared(t)
	var s struct {
		FormatVersion string
		Policy        struct {
			Sequence      int
			Bundle, Table string
			Since         time.Time
		}
		Store   struct{ Connected bool }
		Proxies []struct{ ID, Region, Role, State, Table string }
	}
	decode(t, &s, "status", "--output", "json", "--dir", l.dir)
	if s.FormatVersion == "" || s.Policy.Sequence < 1 || !s.Store.Connected || s.Policy.Table != l.status(t).Policy.Table || time.Since(s.Policy.Since) > time.Hour {
		t.Errorf("status: %+v", s)
	}
	known := map[string]bool{}
	for _, p := range s.Proxies {
		if known[p.Region+"/"+p.Role] = true; p.State != "synced" || p.Table != s.Policy.Table {
			t.Errorf("proxy %+v", p)
		}
	}
	text, _, code := run(t, "status", "--control", l.ready.Control.Admin)
	for region := range l.ready.Regions {
		for _, role := range []string{"gateway", "sidecar"} {
			if !known[region+"/"+role] || !strings.Contains(text, region+"/"+role+"/") || code != 0 {
				t.Errorf("status does not name the %s of %s:\n%s", role, region, text)
			}
		}
	}
	if out, errs, code := run(t, "status", "--output", "yaml", "--dir", l.dir); code != 0 || !strings.Contains(out, "sequence: ") {
		t.Errorf("status as YAML: exit %d: %s%s", code, out, errs)
	}
}

// What explain says is what the gateways do.
func TestExplainAgreesWithTheGateways(t *testing.T) {
	l := shared(t)
	for _, c := range []struct{ home, class, path string }{
		{"SA", "message", "/v1/messages"}, {"SA", "relation", "/v1/friends/expl-SA"}, {"DE", "profile", "/v1/profiles/expl-DE"}, {"QA", "message", "/v1/messages"},
	} {
		token := l.token(t, "expl-"+c.home, c.home)
		for _, entry := range []string{"eu-frankfurt", "me-riyadh"} {
			var e struct {
				Allowed                bool
				Reason, Region, Policy string
				Rule                   *struct {
					File string
					Line int
				}
			}
			decode(t, &e, "explain", "--home", c.home, "--class", c.class, "--entry", entry, "--dir", l.dir, "--output", "json")
			before := l.counted(t)
			a := get(t, h1, l.ready.Regions[entry].Gateway+c.path, token)
			only(t, l.reached(t, before), e.Region)
			if e.Allowed != (a.status == 200) || e.Reason != a.reason() || e.Region != a.header.Get("x-backend-region") || e.Policy != l.status(t).Policy.Table {
				t.Errorf("%s %s at %s: explain says %+v, the gateway %s", c.home, c.class, entry, e, a)
			}
			if (c.home != "QA") != (e.Rule != nil && e.Rule.Line > 0) {
				t.Errorf("%s %s at %s: rule %+v", c.home, c.class, entry, e.Rule)
			}
		}
	}
	var e struct{ Reason string }
	decode(t, &e, "explain", "--home", "SA", "--class", "message", "--entry", "eu-frankfurt", "--down", "me-riyadh", "--dir", l.dir, "--output", "json")
	if e.Reason != "region-unavailable" {
		t.Errorf("with the region down: %+v", e)
	}
	if text, _, code := run(t, "explain", "--home", "SA", "--class", "message", "--entry", "eu-frankfurt", "--dir", l.dir); code != 0 || !strings.Contains(text, "me-riyadh") {
		t.Errorf("explain in words: exit %d: %s", code, text)
	}
}

func TestExitCodesOfWrongUse(t *testing.T) {
	l := shared(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	dead, mute := "http://"+free(t), "http://"+silent.Addr().String()
	var wg sync.WaitGroup
	for _, args := range [][]string{
		{"status", "--control", mute}, {"apply", shippedDir(), "--control", mute}, {"status", "--control", dead}, {"history", "--control", dead},
		{"check", "--control", dead}, {"rollback", "--control", dead}, {"apply", shippedDir(), "--control", dead},
		{"explain", "--home", "SA", "--class", "message", "--control", dead},
	} {
		wg.Go(func() {
			began := time.Now()
			out, errs, code := run(t, args...)
			if d := time.Since(began); code != 4 || errs == "" || out != "" || d > 5*time.Second {
				t.Errorf("%q: exit %d after %s: %s%s", args, code, d, out, errs)
			}
		})
	}
	wg.Wait()
	for _, args := range [][]string{
		{"aply"}, {"status", "--dri", l.dir}, {"status", "extra", "--dir", l.dir}, {"status", "--output", "xml", "--dir", l.dir}, {"status"},
		{"status", "--dir", t.TempDir()}, {"status", "--control", "nonsense"}, {"status", "--dir", l.dir, "--control", l.ready.Control.Admin},
		{"apply"}, {"apply", "--dir", l.dir}, {"apply", "/nowhere", "--dir", l.dir}, {"lint"}, {"lint", "/nowhere"}, {"history", "--limit", "0", "--dir", l.dir},
		{"explain", "--class", "message", "--dir", l.dir}, {"explain", "--home", "SA", "--dir", l.dir}, {"rollback", "1", "2", "--dir", l.dir},
		{"demo", "token", "--dir", l.dir}, {"demo", "token", "--user", "a"}, {"demo", "token", "--user", "a", "--dir", t.TempDir()},
		{"demo", "token", "--user", "a", "--hom", "SA", "--dir", l.dir}, {"demo", "token", "--user", "a", "--claim", "x", "--dir", l.dir},
		{"demo", "token", "--user", "a", "--ttl", "soon", "--dir", l.dir}, {"demo", "token", "a", "--user", "a", "--dir", l.dir}, {"demo", "tokn"},
		{"demo", "cert", "--node", "eu-frankfurt/king/x", "--out", t.TempDir(), "--dir", l.dir}, {"demo", "cert", "--node", "x", "--out", t.TempDir(), "--dir", l.dir},
	} {
		if out, errs, code := run(t, args...); code != 2 || errs == "" || out != "" {
			t.Errorf("%q: exit %d: %s%s", args, code, out, errs)
		}
	}
}

// claims reads a token without verifying it.
func claims(t testing.TB, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("no token: %q", token)
	}
	data, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestDemoToken(t *testing.T) {
	l := shared(t)
	mint := func(args ...string) string {
		t.Helper()
		out, errs, code := run(t, append([]string{"demo", "token", "--dir", l.dir}, args...)...)
		if code != 0 || strings.Count(out, "\n") != 1 {
			t.Fatalf("demo token %q: exit %d: %q %s", args, code, out, errs)
		}
		return strings.TrimSpace(out)
	}
	url := l.ready.Regions["eu-frankfurt"].Gateway + "/v1/messages"
	for _, c := range []struct {
		args   []string
		status int
		reason string
	}{
		{[]string{"--user", "tok", "--home", "SA", "--claim", "role=admin", "--claim", "team=a=b"}, 200, ""},
		{[]string{"--user", "tok", "--home", "SA", "--claim", "aud=other"}, 401, "bad-token"},
		{[]string{"--user", "tok", "--home", "SA", "--claim", "iss=https://evil.example"}, 401, "bad-token"},
		{[]string{"--user", "tok", "--home", "SA", "--claim", "home=TR"}, 200, ""}, // the claim is what the token says
		{[]string{"--user", "tok", "--home", "SA", "--ttl", "-5m"}, 401, "bad-token"},
		{[]string{"--user", "nohome"}, 403, "no-home"},
		{[]string{"--user", "nohome", "--claim", "home=SA"}, 200, ""},
	} {
		if a := get(t, h1, url, mint(c.args...)); a.status != c.status || a.reason() != c.reason {
			t.Errorf("%q: %s", c.args, a)
		}
	}
	c := claims(t, mint("--user", "tok", "--home", "SA", "--claim", "role=admin", "--claim", "team=a=b", "--claim", "n:=5", "--ttl", "90s"))
	for name, want := range map[string]any{"sub": "tok", "home": "SA", "role": "admin", "team": "a=b", "n": 5.0} {
		if c[name] != want {
			t.Errorf("claim %s is %v, want %v", name, c[name], want)
		}
	}
	if ttl := c["exp"].(float64) - c["iat"].(float64); ttl != 90 {
		t.Errorf("the token lives %v s", ttl)
	}
	c = claims(t, mint("--user", "nohome"))
	if _, there := c["home"]; there || c["exp"].(float64)-c["iat"].(float64) != 3600 {
		t.Errorf("a token without a home: %v", c)
	}
}

// A token is printed when every agent knows its user, and not before.
func TestDemoTokenReturnsWhenEveryAgentKnows(t *testing.T) {
	l := shared(t)
	data, err := os.ReadFile(filepath.Join(l.dir, "users.key"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	knows := func(user string, status int) {
		t.Helper()
		for region, r := range l.ready.Regions {
			if a := get(t, h1, r.Agent+"/v1/directory/"+identity.UserHash(key, user), ""); a.status != status {
				t.Errorf("the agent of %s on %s: %s, want %d", region, user, a, status)
			}
		}
	}
	now := time.Now().UnixNano()
	user := ""
	for i := range 5 {
		user = fmt.Sprintf("fresh-%d-%d", now, i)
		knows(user, 404)
		l.token(t, user, "DE")
		knows(user, 200)
	}
	data, err = os.ReadFile(filepath.Join(l.dir, "users.yaml"))
	if err != nil || strings.Contains(string(data), user) || !strings.Contains(string(data), identity.UserHash(key, user)) {
		t.Errorf("the directory holds user ids, or lacks a user: %v", err)
	}
	if out, errs, code := run(t, "demo", "token", "--user", user, "--dir", l.dir); code != 0 {
		t.Fatalf("exit %d: %s%s", code, out, errs)
	}
	knows(user, 404) // without a home it is in no directory
}

// sockets are the agents' Unix sockets, outside the demo's directory.
func (l *lab) sockets(t testing.TB) []string {
	t.Helper()
	var out []string
	for _, r := range l.overlay(t).Regions {
		if _, err := os.Stat(r.Agent); err != nil {
			t.Errorf("no socket: %v", err)
		}
		out = append(out, r.Agent, filepath.Dir(r.Agent))
	}
	return out
}

// Two demos run side by side, and one that is killed takes its processes along.
func TestASecondDemoAndASuddenDeath(t *testing.T) {
	l, dir := shared(t), t.TempDir()
	second, err := start(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer second.stop()
	if out, errs, code := run(t, "demo", "--dir", second.dir); code != 2 || errs == "" {
		t.Errorf("a third demo in the second's directory: exit %d: %s%s", code, out, errs)
	}
	for home, region := range regionOf {
		for _, at := range []*lab{l, second} {
			before, others := l.counted(t), second.counted(t)
			if a := get(t, h1, at.ready.Regions["tr-istanbul"].Gateway+"/v1/messages", at.token(t, "two", home)); a.status != 200 {
				t.Errorf("%s: %s", home, a)
			}
			mine, theirs := l.reached(t, before), second.reached(t, others)
			if at == second {
				mine, theirs = theirs, mine
			}
			only(t, mine, region)
			only(t, theirs, "")
		}
	}
	if a := get(t, h1, second.ready.Regions["tr-istanbul"].Gateway+"/v1/messages", l.token(t, "two", "SA")); a.status != 401 {
		t.Errorf("a token of the first demo in the second: %s", a)
	}
	if n := len(processes(t, dir)); n < 10 {
		t.Fatalf("only %d processes of a demo were found: this test cannot see them", n)
	}
	kill(t, second.cmd.Process.Pid, syscall.SIGKILL)
	eventually(t, 3*time.Second, func() error {
		if left := processes(t, dir); len(left) != 0 {
			return fmt.Errorf("%d processes are left: %q", len(left), left)
		}
		return nil
	})
	// Where it died a new one starts, and cleans up behind both. The dead one's
	// ready file would be taken for the new one's.
	sockets := second.sockets(t)
	if err := os.Remove(filepath.Join(dir, "ready.json")); err != nil {
		t.Fatal(err)
	}
	third, err := start(dir)
	if err != nil {
		t.Fatal(err)
	}
	sockets = append(sockets, third.sockets(t)...)
	third.stop()
	empty(t, dir)
	for _, s := range sockets {
		if _, err := os.Stat(s); !os.IsNotExist(err) {
			t.Errorf("the demos left %s: %v", s, err)
		}
	}
	if a := get(t, h1, l.ready.Regions["tr-istanbul"].Gateway+"/v1/messages", l.token(t, "two", "SA")); a.status != 200 {
		t.Errorf("the first demo after all that: %s", a)
	}
}
