package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/domicile-dev/domicile/pkg/bundle"
	"github.com/domicile-dev/domicile/pkg/control"
	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/leakcheck"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/policytest"
	"github.com/domicile-dev/domicile/pkg/release"
	"github.com/domicile-dev/domicile/pkg/store"
	"github.com/domicile-dev/domicile/pkg/topology"
	"github.com/domicile-dev/domicile/pkg/xds"
)

// plane is a Control that answers what a test put into it and remembers what it
// was asked.
type plane struct {
	status    control.Status
	ready     bool
	err       error
	records   []store.Record
	archive   []byte
	changes   []control.Change
	back      []uint64
	by        control.By
	awaited   uint64
	after     string
	published release.Published
	deadline  time.Duration
	checking  time.Duration // how long the newest change may take
}

func (p *plane) Status() control.Status { return p.status }
func (p *plane) Ready() bool            { return p.ready }

func (p *plane) Apply(ctx context.Context, c control.Change) (control.Outcome, error) {
	p.checking = left(ctx)
	p.changes = append(p.changes, c)
	return control.Outcome{Record: store.Record{Sequence: 7, Bundle: bundle.Digest(c.Archive), Author: c.Author}}, p.err
}

func (p *plane) Rollback(ctx context.Context, to uint64, by control.By) (control.Outcome, error) {
	p.checking = left(ctx)
	p.back, p.by = append(p.back, to), by
	return control.Outcome{Record: store.Record{Sequence: 8, RollbackOf: to}}, p.err
}

// left is how long a context still has; 0 means for ever.
func left(ctx context.Context) time.Duration {
	d, ok := ctx.Deadline()
	if !ok {
		return 0
	}
	return time.Until(d)
}

func (p *plane) Await(ctx context.Context, sequence uint64) control.Spread {
	p.awaited = sequence
	p.deadline = left(ctx)
	return control.Spread{Synced: 3, Pending: 1}
}

func (p *plane) History(_ context.Context, limit int) ([]store.Record, error) {
	return p.records[:min(limit, len(p.records))], p.err
}

func (p *plane) Bundle(context.Context, string) ([]byte, error) { return p.archive, p.err }

func (p *plane) Published(ctx context.Context, after string) (release.Published, bool) {
	p.deadline, p.after = left(ctx), after
	return p.published, p.published.Sequence > 0
}

func admin(p *plane) http.Handler {
	return Admin(Config{Control: p, Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler), Hosts: []string{"domicile.test"}})
}

// request is one from a program on this machine, unless edit changes it.
func request(method, target string, body []byte, edit func(*http.Request)) *http.Request {
	r := httptest.NewRequest(method, target, bytes.NewReader(body))
	r.Host = "127.0.0.1:15011"
	r.Header.Set(Header, "test")
	if edit != nil {
		edit(r)
	}
	return r
}

func answer(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func problem(t *testing.T, w *httptest.ResponseRecorder) Problem {
	t.Helper()
	var p Problem
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Header().Get("Content-Type") != "application/problem+json" {
		t.Fatalf("no problem: %d %s %q", w.Code, w.Header().Get("Content-Type"), w.Body)
	}
	if p.Status != w.Code || p.Title == "" {
		t.Errorf("status %d: %+v", w.Code, p)
	}
	return p
}

func TestPublished(t *testing.T) {
	p := &plane{}
	w := answer(admin(p), request("GET", "/v1/bundle", nil, nil))
	if got := problem(t, w); got.Status != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "1" {
		t.Errorf("before the first policy: %d", w.Code)
	}
	p.published = release.Published{Sequence: 7, Bundle: "sha256:b", Table: "sha256:t", Overlay: &topology.Overlay{JWKS: "{}"}}
	w = answer(admin(p), request("GET", "/v1/bundle?after=sha256:x&wait=20s", nil, nil))
	var got release.Published
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK || !cmp.Equal(got, p.published) {
		t.Errorf("%d %s %v", w.Code, w.Body, err)
	}
	if p.after != "sha256:x" || p.deadline < 15*time.Second || p.deadline > 20*time.Second {
		t.Errorf("asked after %q for %v", p.after, p.deadline)
	}
	if w = answer(admin(p), request("GET", "/v1/bundle?wait=1h", nil, nil)); p.deadline > waitMost || w.Code != http.StatusOK {
		t.Errorf("waits for %v", p.deadline)
	}
	if w = answer(admin(p), request("GET", "/v1/bundle?wait=soon", nil, nil)); w.Code != http.StatusBadRequest {
		t.Errorf("wait=soon: %d", w.Code)
	}
}

func TestStatusIsAContract(t *testing.T) {
	at := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	next := at.AddDate(1, 0, 0)
	full := control.Status{
		Policy: &control.PolicyStatus{
			Sequence: 6, Bundle: "sha256:b6", Table: "sha256:t6", At: at, Author: "ana", Message: "open DE", Since: at.Add(time.Second),
			NextBoundary: &next, OtherLaw: []string{"law/sa.yaml"}, Warnings: []policy.Problem{{Pos: policy.Pos{File: "jurisdictions/sa.yaml", Line: 3, Column: 5}, Code: "DP2031", Severity: policy.Warning, Message: lang.Text{En: "unused transfer", Zh: "没有用到的跨境传输"}}},
		},
		Store: control.StoreStatus{Error: "store is unavailable", Since: at.Add(time.Hour), Sequence: 7},
		Refused: &control.Refusal{
			Sequence: 7, Bundle: "sha256:b7", Since: at.Add(time.Minute),
			Leaks: []leakcheck.Finding{{Code: "denied", Where: "gateway › gateway", Home: "SA", Message: "forwarded although the table refuses"}},
		},
		Proxies: []xds.Proxy{{
			ID: "eu-frankfurt/gateway/a", Region: "eu-frankfurt", Role: "gateway", Name: "a", State: xds.Synced, Table: "sha256:t6", Target: "sha256:t6",
			Since: at, ConnectedSince: at, EnvoyVersion: "1.40.0",
		}},
	}
	for name, status := range map[string]control.Status{
		"status-full.json":  full,
		"status-empty.json": {Store: control.StoreStatus{Connected: true, Since: at}, Proxies: []xds.Proxy{}},
	} {
		t.Run(name, func(t *testing.T) {
			w := answer(admin(&plane{status: status}), request("GET", "/v1/status", nil, nil))
			var indented bytes.Buffer
			if err := json.Indent(&indented, w.Body.Bytes(), "", "  "); err != nil {
				t.Fatal(err)
			}
			golden(t, name, indented.Bytes())
		})
	}
}

// golden compares with testdata; UPDATE=1 writes it.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Error(d)
	}
}

func TestApplyPassesOnWhatWasSent(t *testing.T) {
	p := &plane{}
	w := answer(admin(p), request("POST", "/v1/apply?author=ana&message=why&commit=c0ffee&base=6&digest=sha256:x&wait=5s", []byte("archive"), nil))
	if w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	base := uint64(6)
	want := control.Change{By: control.By{Author: "ana", Message: "why", GitCommit: "c0ffee"}, Archive: []byte("archive"), Digest: "sha256:x", Base: &base}
	if d := cmp.Diff([]control.Change{want}, p.changes); d != "" {
		t.Error(d)
	}
	var out struct {
		store.Record
		Proxies control.Spread
	}
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
		t.Fatal(err)
	}
	if out.Sequence != 7 || out.Author != "ana" || out.Proxies != (control.Spread{Synced: 3, Pending: 1}) {
		t.Errorf("answer %s", w.Body)
	}
	if p.awaited != 7 || p.deadline <= 4*time.Second || p.deadline > 5*time.Second {
		t.Errorf("waited for %d at most %v", p.awaited, p.deadline)
	}
	// Without base and wait: the present head, and no waiting.
	w = answer(admin(p), request("POST", "/v1/apply", []byte("archive"), nil))
	if p.changes[1].Base != nil || strings.Contains(w.Body.String(), "proxies") {
		t.Errorf("base %v, answer %s", p.changes[1].Base, w.Body)
	}
}

func TestRollbackPassesOnWhatWasSent(t *testing.T) {
	p := &plane{}
	for _, target := range []string{"/v1/rollback?to=3&author=bo", "/v1/rollback"} {
		if w := answer(admin(p), request("POST", target, nil, nil)); w.Code != http.StatusOK {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
	}
	if d := cmp.Diff([]uint64{3, 0}, p.back); d != "" {
		t.Error(d)
	}
}

// A check that takes longer than an answer can be given helps nobody.
func TestAChangeIsGivenUpWhileItCanStillBeTold(t *testing.T) {
	for _, path := range []string{"/v1/apply", "/v1/rollback"} {
		p := &plane{}
		answer(admin(p), request("POST", path, []byte("x"), nil))
		if p.checking <= 0 || p.checking+waitMost >= writeMost {
			t.Errorf("%s: the check may take %v, then the wait %v; no answer after %v", path, p.checking, waitMost, writeMost)
		}
	}
}

func TestErrorsHaveOneOutwardForm(t *testing.T) {
	rejected := &control.Rejected{
		Problems: []policy.Problem{{Pos: policy.Pos{File: "deployment.yaml", Line: 4, Column: 9}, Code: "DP1002", Severity: policy.Error, Message: lang.Same("unknown field")}},
		Tests:    &policytest.Report{Failed: 1},
	}
	for name, c := range map[string]struct {
		err    error
		status int
		retry  bool
	}{
		"rejected":    {fmt.Errorf("apply: %w", rejected), 422, false},
		"stale":       {store.Stale(3, store.Record{Sequence: 4}), 409, false},
		"unavailable": {fmt.Errorf("publish: %w", store.ErrUnavailable), 503, true},
		"too late":    {context.DeadlineExceeded, 503, true},
		"unchecked":   {fmt.Errorf("%w: %w", control.ErrUnchecked, context.Canceled), 503, true},
		"no bundle":   {fmt.Errorf("%w: %w", control.ErrBundle, bundle.ErrDigest), 400, false},
		"nothing":     {control.ErrNothingBefore, 404, false},
		"not found":   {store.ErrNotFound, 404, false},
		"corrupt":     {store.ErrCorrupt, 500, false},
		"other":       {errors.New("secret inner cause"), 500, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := answer(admin(&plane{err: c.err}), request("POST", "/v1/apply", []byte("x"), nil))
			p := problem(t, w)
			if w.Code != c.status || (w.Header().Get("Retry-After") != "") != c.retry || p.Fix == "" {
				t.Errorf("%d, Retry-After %q: %+v", w.Code, w.Header().Get("Retry-After"), p)
			}
			if strings.Contains(w.Body.String(), "secret") {
				t.Errorf("inner cause shown: %s", w.Body)
			}
			if c.status == 422 {
				if d := cmp.Diff(rejected, p.Rejected, cmpopts.IgnoreUnexported(policytest.Coverage{})); d != "" {
					t.Error(d)
				}
			}
		})
	}
}

func TestRequestsAreChecked(t *testing.T) {
	for _, c := range []struct {
		method, target string
		status         int
	}{
		{"POST", "/v1/apply?base=-1", 400},
		{"POST", "/v1/apply?base=x", 400},
		{"POST", "/v1/apply?wait=soon", 400},
		{"POST", "/v1/apply?wait=-5s", 400},
		{"POST", "/v1/apply?author=%1b%5b2J", 400},
		{"POST", "/v1/apply?author=%ff", 400},
		{"POST", "/v1/apply?message=" + strings.Repeat("x", messageMost+1), 400},
		{"POST", "/v1/rollback?to=x", 400},
		{"GET", "/v1/history?limit=many", 400},
		{"GET", "/v1/bundle/latest", 400},
		{"GET", "/v1/bundle/sha256:" + strings.Repeat("A", 64), 400},
		{"GET", "/v1/apply", 405},
		{"DELETE", "/v1/apply", 405},
		{"POST", "/v1/status", 405},
		{"PUT", "/healthz", 405},
		{"GET", "/", 404},
		{"GET", "/v1/overlay", 404},
		{"GET", "/v1/status/", 404},
	} {
		p := &plane{}
		w := answer(admin(p), request(c.method, c.target, []byte("x"), nil))
		if w.Code != c.status {
			t.Errorf("%s %.60s: %d %s", c.method, c.target, w.Code, w.Body)
			continue
		}
		problem(t, w)
		if (w.Code == 405) != (w.Header().Get("Allow") != "") {
			t.Errorf("%s %s: Allow %q", c.method, c.target, w.Header().Get("Allow"))
		}
		if len(p.changes)+len(p.back) > 0 {
			t.Errorf("%s %s: something was changed", c.method, c.target)
		}
	}
}

func TestABundleThatIsTooLargeIsNotRead(t *testing.T) {
	p := &plane{}
	r := request("POST", "/v1/apply", nil, nil)
	r.Body = io.NopCloser(io.LimitReader(zeros{}, bundle.MaxArchive+1))
	w := answer(admin(p), r)
	if problem(t, w); w.Code != 413 || len(p.changes) > 0 {
		t.Errorf("%d, %d changes", w.Code, len(p.changes))
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func TestABodyThatEndsEarlyChangesNothing(t *testing.T) {
	p := &plane{}
	r := request("POST", "/v1/apply", nil, nil)
	r.Body = io.NopCloser(io.MultiReader(strings.NewReader("half"), broken{}))
	if w := answer(admin(p), r); w.Code != 400 || len(p.changes) > 0 {
		t.Errorf("%d, %d changes", w.Code, len(p.changes))
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestHealthAndReadiness(t *testing.T) {
	p, serving := &plane{}, false
	h := Admin(Config{Control: p, Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler), Serving: func() bool { return serving }})
	check := func(path string, want int) {
		t.Helper()
		if w := answer(h, request("GET", path, nil, nil)); w.Code != want {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	check("/healthz", 200)
	check("/readyz", 503)
	p.ready = true
	check("/readyz", 503)
	serving = true
	check("/readyz", 200)
	check("/metrics", 200)
}

func TestHistoryAndBundles(t *testing.T) {
	b, err := bundle.New(map[string][]byte{"deployment.yaml": []byte("kind: Deployment\n")})
	if err != nil {
		t.Fatal(err)
	}
	p := &plane{records: []store.Record{{Sequence: 2}, {Sequence: 1}}, archive: b.Archive()}
	var list []store.Record
	w := answer(admin(p), request("GET", "/v1/history?limit=1", nil, nil))
	if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil || len(list) != 1 || list[0].Sequence != 2 {
		t.Errorf("history: %s, %v", w.Body, err)
	}
	p.records = nil
	if w := answer(admin(p), request("GET", "/v1/history", nil, nil)); strings.TrimSpace(w.Body.String()) != "[]" {
		t.Errorf("empty history: %s", w.Body)
	}
	w = answer(admin(p), request("GET", "/v1/bundle/"+b.Digest(), nil, nil))
	if w.Code != 200 || w.Header().Get("Content-Type") != "application/octet-stream" || !bytes.Equal(w.Body.Bytes(), b.Archive()) {
		t.Errorf("bundle: %d, %d bytes", w.Code, w.Body.Len())
	}
	p.archive = []byte("spoiled")
	if w := answer(admin(p), request("GET", "/v1/bundle/"+b.Digest(), nil, nil)); w.Code != 500 {
		t.Errorf("spoiled bundle: %d", w.Code)
	}
}
