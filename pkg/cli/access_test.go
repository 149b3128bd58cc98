package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/domicile-dev/domicile/pkg/cli/exit"
	"github.com/domicile-dev/domicile/pkg/cli/session"
	"github.com/domicile-dev/domicile/pkg/control"
	"github.com/domicile-dev/domicile/pkg/control/clock"
	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/store"
	"github.com/domicile-dev/domicile/pkg/xds"
)

var testNow = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// run types one command line and returns what a user sees.
func run(ctx context.Context, env map[string]string, args ...string) (code int, out, err string) {
	var o, e bytes.Buffer
	code = Run(ctx, session.Env{
		Args: args, Out: &o, Err: &e,
		Getenv: func(k string) string { return env[k] }, Now: func() time.Time { return testNow },
	})
	return code, o.String(), e.String()
}

// answer is a control plane that gives one answer to everything.
func answer(t *testing.T, status int, body string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// TestExitCodesOfAnswers is the contract that scripts rely on.
func TestExitCodesOfAnswers(t *testing.T) {
	problem := func(title string) string { return `{"title":"` + title + `","detail":"why","fix":"do this"}` }
	for _, c := range []struct {
		name   string
		status int
		body   string
		code   int
		says   string
	}{
		{"done", 200, `[]`, exit.Done, ""},
		{"malformed", 400, problem("bad"), exit.Usage, "error: bad: why (next: do this)"},
		{"no certificate", 401, problem("not permitted"), exit.Forbidden, "not permitted"},
		{"not an operator", 403, problem("not permitted"), exit.Forbidden, "not permitted"},
		{"unknown", 404, problem("no such thing"), exit.Findings, "no such thing"},
		{"stale", 409, problem("the policy has changed since"), exit.Stale, "has changed"},
		{"rejected", 422, problem("rejected"), exit.Findings, "rejected"},
		{"store down", 503, problem("the policy store does not answer"), exit.Unreachable, "does not answer"},
		{"a proxy's page", 502, "<html>", exit.Unreachable, "Bad Gateway"},
		{"bug there", 500, problem("internal error"), exit.Bug, "internal error"},
		{"redirect", 302, "", exit.Bug, "302"},
		{"not this API", 200, "<html>", exit.Bug, "not of this API"},
	} {
		code, _, errs := run(t.Context(), nil, "history", "--control", answer(t, c.status, c.body))
		if code != c.code || !strings.Contains(errs, c.says) {
			t.Errorf("%s: exit %d, %q; want exit %d, %q", c.name, code, errs, c.code, c.says)
		}
	}
}

func TestUnreachable(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close() // its port refuses now
	for _, args := range [][]string{
		{"status"}, {"history"}, {"rollback"}, {"check"}, {"explain", "--home", "SA", "--class", "message"},
	} {
		code, out, errs := run(t.Context(), map[string]string{"DOMICILE_CONTROL": s.URL}, args...)
		if code != exit.Unreachable || out != "" || !strings.Contains(errs, "unreachable") {
			t.Errorf("%v: exit %d, stdout %q, stderr %q", args, code, out, errs)
		}
	}
	code, _, errs := run(t.Context(), nil, "verify", "--envoy", s.URL, "--policies", filepath.Join("..", "..", "policies"))
	if code != exit.Unreachable {
		t.Errorf("verify: exit %d, %s", code, errs)
	}
}

// TestSilentControlPlane does not wait for longer than the contract's 5 s.
func TestSilentControlPlane(t *testing.T) {
	gone := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-gone:
		}
	}))
	defer s.Close()
	defer close(gone)
	start := time.Now()
	code, _, errs := run(t.Context(), nil, "status", "--control", s.URL)
	if took := time.Since(start); code != exit.Unreachable || took > 5*time.Second {
		t.Errorf("exit %d after %s: %s", code, took, errs)
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}))
	defer s.Close()
	if code, _, errs := run(ctx, nil, "status", "--control", s.URL); code != exit.Interrupted {
		t.Errorf("exit %d: %s", code, errs)
	}
}

// TestExitCodesOfOtherCommands: commands from other packages say a code, or none.
func TestExitCodesOfOtherCommands(t *testing.T) {
	for _, c := range []struct {
		fail func() error
		code int
	}{
		{func() error { return nil }, exit.Done},
		{func() error { return errors.New("could not start") }, exit.Findings},
		{func() error { return exitError(4) }, exit.Unreachable},
		{func() error { panic("bug") }, exit.Bug},
	} {
		var o, e bytes.Buffer
		cmd := &cobra.Command{Use: "other", RunE: func(*cobra.Command, []string) error { return c.fail() }}
		got := Run(t.Context(), session.Env{Args: []string{"other"}, Out: &o, Err: &e, Getenv: os.Getenv, Now: time.Now}, cmd)
		if got != c.code || (got == exit.Done) != (e.Len() == 0) {
			t.Errorf("exit %d, want %d: %s", got, c.code, e.String())
		}
	}
}

// TestGlobalFlagsOfOtherCommands: they are judged for all commands alike.
func TestGlobalFlagsOfOtherCommands(t *testing.T) {
	for _, flags := range [][]string{{"--output", "json"}, {"--output", "bogus"}, {"--lang", "fr"}} {
		var o, e bytes.Buffer
		sub := &cobra.Command{Use: "sub", RunE: func(*cobra.Command, []string) error { return nil }}
		cmd := &cobra.Command{Use: "other"}
		cmd.AddCommand(sub)
		args := append([]string{"other", "sub"}, flags...)
		if got := Run(t.Context(), session.Env{Args: args, Out: &o, Err: &e, Getenv: os.Getenv, Now: time.Now}, cmd); got != exit.Usage {
			t.Errorf("%v: exit %d, %s", flags, got, e.String())
		}
	}
}

func TestShowPolicyCleansWhatItPrints(t *testing.T) {
	var b bytes.Buffer
	fsys := os.DirFS(filepath.Join("..", "..", "policies"))
	ShowPolicy(&b, "/p", fsys, []policy.Problem{
		{Pos: policy.Pos{File: "deployment.yaml", Line: 1, Column: 1}, Severity: policy.Error, Code: "DP1", Message: lang.Same("bad\x1b[2J")},
		{Severity: policy.Warning, Code: "DP2", Message: lang.Same("only a warning")},
	}, nil)
	if got := b.String(); !strings.HasPrefix(got, "error[DP1]: bad\\u001b[2J\n  --> /p/deployment.yaml:1:1\n    1 | ") || strings.Contains(got, "warning") {
		t.Errorf("%q", got)
	}
}

type exitError int

func (e exitError) Error() string { return "other" }
func (e exitError) ExitCode() int { return int(e) }

func TestDemoDirectory(t *testing.T) {
	dir := t.TempDir()
	if code, _, errs := run(t.Context(), nil, "history", "--dir", dir); code != exit.Usage || !strings.Contains(errs, "no demo runs in") {
		t.Errorf("empty directory: exit %d, %s", code, errs)
	}
	ready := `{"control":{"admin":"` + answer(t, 200, "[]") + `"},"console":null}`
	if err := os.WriteFile(filepath.Join(dir, "demo.json"), []byte(ready), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := run(t.Context(), nil, "history", "--dir", dir); code != exit.Done || !strings.Contains(out, "No policy was ever applied") {
		t.Errorf("exit %d, %s%s", code, out, errs)
	}
}

func TestStatusAndCheck(t *testing.T) {
	since := testNow.Add(-90 * time.Second)
	healthy := control.Status{
		Policy:  &control.PolicyStatus{Sequence: 7, Bundle: "sha256:b", Table: "sha256:t", At: since, Since: since, Author: "kim"},
		Store:   control.StoreStatus{Connected: true, Since: since, Sequence: 7},
		Proxies: []xds.Proxy{{ID: "eu-frankfurt/gateway/0", State: xds.Synced, Table: "sha256:t", Target: "sha256:t", Since: since, ConnectedSince: since}},
	}
	soon := testNow.Add(24 * time.Hour)
	for _, c := range []struct {
		name   string
		change func(*control.Status)
		code   int
		says   []string
	}{
		{"healthy", func(*control.Status) {}, exit.Done, []string{"sequence 7", "eu-frankfurt/gateway/0  synced  t (current)", "answers"}},
		{"emptied", func(s *control.Status) {
			s.Proxies = []xds.Proxy{{ID: "p", State: xds.Synced, Since: since, ConnectedSince: since}}
		}, exit.Findings, []string{"has no place in this policy"}},
		{"another policy", func(s *control.Status) {
			s.Proxies = []xds.Proxy{{ID: "p", State: xds.Synced, Since: since, ConnectedSince: since, Table: "sha256:o", Target: "sha256:o"}}
		}, exit.Findings, []string{"p      synced  o       90s"}},
		{"no policy", func(s *control.Status) { s.Policy = nil }, exit.Findings, []string{"everything is refused"}},
		{"store lost", func(s *control.Status) { s.Store = control.StoreStatus{Error: "timeout", Since: since} }, exit.Findings, []string{"DOES NOT ANSWER for 90s: timeout"}},
		{"refused", func(s *control.Status) { s.Refused = &control.Refusal{Sequence: 8, Error: "two leaks"} }, exit.Findings, []string{"sequence 8", "two leaks"}},
		{"rejected", func(s *control.Status) {
			s.Proxies = []xds.Proxy{{ID: "p", State: xds.Rejected, Since: since, Error: &xds.Rejection{Version: "x@1", Detail: "bad\x1b[2J"}}}
		}, exit.Findings, []string{"p refused x@1", `bad\u001b[2J`}},
		{"a wrong clock", func(s *control.Status) {
			s.Clock = &clock.Status{AheadSeconds: 86400, Sequence: 7}
		}, exit.Findings, []string{"clock    this control plane's clock was 24h0m0s ahead of"}},
		{"other law", func(s *control.Status) { p := *s.Policy; p.OtherLaw = []string{"law/sa.yaml"}; s.Policy = &p }, exit.Done,
			[]string{"\n         the policy was packed with law files that are not those of this version: law/sa.yaml\n"}},
		{"lapses soon", func(s *control.Status) { p := *s.Policy; p.NextBoundary = &soon; s.Policy = &p }, exit.Done, []string{"2026-11-25T12:00:00Z"}},
	} {
		s := healthy
		c.change(&s)
		body, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		url := answer(t, 200, string(body))
		code, out, errs := run(t.Context(), nil, "status", "--control", url)
		if code != exit.Done {
			t.Errorf("%s: status exits %d: %s", c.name, code, errs)
		}
		for _, want := range c.says {
			if !strings.Contains(out, want) {
				t.Errorf("%s: %q is not in\n%s", c.name, want, out)
			}
		}
		if code, out, errs := run(t.Context(), nil, "check", "--control", url); code != c.code {
			t.Errorf("%s: check exits %d, want %d:\n%s%s", c.name, code, c.code, out, errs)
		}
		var back statusResult
		if _, out, _ = run(t.Context(), nil, "status", "--output", "json", "--control", url); json.Unmarshal([]byte(out), &back) != nil || back.FormatVersion != "1.0" {
			t.Errorf("%s: status --output json gave %s", c.name, out)
		}
	}
}

// In Chinese the columns stand where they stand in English, and an error says so.
func TestStatusAndCheckInChinese(t *testing.T) {
	since := testNow.Add(-90 * time.Second)
	body, err := json.Marshal(control.Status{Store: control.StoreStatus{Connected: true, Since: since}, Proxies: []xds.Proxy{{ID: "p", State: xds.Pending, Since: since}}})
	if err != nil {
		t.Fatal(err)
	}
	url := answer(t, 200, string(body))
	_, out, _ := run(t.Context(), nil, "status", "--lang", "zh-CN", "--control", url)
	want := "策略     没有生效的策略：一切都被拒绝\n存储     有应答 (已 90s)\n\n代理  状态     策略  持续  已连接\np     pending  -     90s   否\n"
	if d := cmp.Diff(want, out); d != "" {
		t.Error(d)
	}
	code, out, _ := run(t.Context(), nil, "check", "--lang", "zh-CN", "--control", url)
	if want := "  FAIL  没有策略生效：一切都被拒绝\n        修复：domicile apply DIR\n"; code != exit.Findings || !strings.HasPrefix(out, want) || !strings.Contains(out, "\n5 项检查：3 项正常，0 个警告，2 项失败。\n") {
		t.Errorf("exit %d:\n%s", code, out)
	}
	if _, _, errs := run(t.Context(), nil, "status", "--lang", "zh-CN", "--control", "ftp://x"); !strings.HasPrefix(errs, "错误：") {
		t.Error(errs)
	}
}

func TestWaitForProxies(t *testing.T) {
	for _, c := range []struct {
		proxies string
		code    int
		says    string
	}{
		{`{"synced":2,"pending":0}`, exit.Done, ""},
		{`{"synced":1,"pending":1}`, exit.Findings, "1 connected proxy does not run it after 2s"},
		{`{"synced":0,"pending":3}`, exit.Findings, "3 connected proxies do not run it after 2s"},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body := `{}`
			if r.Method == http.MethodPost && r.URL.Query().Get("wait") == "2s" {
				body = `{"sequence":2,"rollbackOf":1,"proxies":` + c.proxies + `}`
			}
			_, _ = w.Write([]byte(body))
		}))
		code, out, errs := run(t.Context(), nil, "rollback", "--wait", "2s", "--control", s.URL)
		s.Close()
		if code != c.code || !strings.Contains(errs, c.says) || !strings.Contains(out, "as sequence 2") {
			t.Errorf("%s: exit %d, %q, %q", c.proxies, code, out, errs)
		}
	}
}

func TestNothingToRollBackTo(t *testing.T) {
	for sequence, says := range map[string]string{"0": "no policy was ever applied", "1": "sequence 1 is the first"} {
		url := answer(t, 200, `{"store":{"connected":true,"sequence":`+sequence+`}}`)
		if code, out, errs := run(t.Context(), nil, "rollback", "--control", url); code != exit.Findings || out != "" || !strings.Contains(errs, says) {
			t.Errorf("at %s: exit %d, %q, %q", sequence, code, out, errs)
		}
	}
}

// TestApplyWithoutTests: nothing guards such a policy, which must be said.
func TestApplyWithoutTests(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("..", "..", "policies"))); err != nil {
		t.Fatal(err)
	}
	url := answer(t, 200, `{"sequence":1}`)
	const warning = "no policy tests: nothing guards this policy"
	if code, _, errs := run(t.Context(), nil, "apply", dir, "--control", url); code != exit.Done || strings.Contains(errs, warning) {
		t.Errorf("with tests: exit %d, %s", code, errs)
	}
	own, err := filepath.Glob(filepath.Join(dir, "*_test.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	tests, err := filepath.Glob(filepath.Join(dir, "*", "*_test.yaml"))
	if err != nil || len(tests) == 0 {
		t.Fatal("no tests are shipped", err)
	}
	for _, f := range append(own, tests...) {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	if code, _, errs := run(t.Context(), nil, "apply", dir, "--control", url); code != exit.Done || !strings.Contains(errs, warning) {
		t.Errorf("without tests: exit %d, %s", code, errs)
	}
}

func TestHistory(t *testing.T) {
	body, err := json.Marshal([]store.Record{
		{Sequence: 2, Bundle: "sha256:bb", Table: "sha256:tt", At: testNow.Add(-time.Hour), Author: "kim", Message: "back", RollbackOf: 1},
		{Sequence: 1, Bundle: "sha256:b", Table: "sha256:t", At: testNow.Add(-72 * time.Hour), Author: "李"},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, out, _ := run(t.Context(), nil, "history", "--control", answer(t, 200, string(body)))
	for _, want := range []string{"2026-11-24T11:00:00Z (60m ago)", "(rollback to 1) back", "(3d ago)", "李"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
}

// T42: the clock of a control plane is compared with that of who asks.
func TestT42CheckComparesClocks(t *testing.T) {
	for _, wrong := range []time.Duration{0, -24 * time.Hour, 24 * time.Hour} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Date", time.Now().Add(wrong).UTC().Format(http.TimeFormat))
			_, _ = w.Write([]byte(`{"store":{"connected":true},"policy":{"sequence":1,"table":"sha256:t"},"proxies":[]}`))
		}))
		code, out, errs := run(t.Context(), nil, "check", "--control", s.URL)
		s.Close()
		if says := strings.Contains(out, "this machine's: one of the two is wrong"); says != (wrong != 0) || code != map[bool]int{true: exit.Findings, false: exit.Done}[says] {
			t.Errorf("%s: exit %d\n%s%s", wrong, code, out, errs)
		}
	}
}
