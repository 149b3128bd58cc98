package cli

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/domicile-dev/domicile/pkg/bundle"
	"github.com/domicile-dev/domicile/pkg/cli/exit"
	"github.com/domicile-dev/domicile/pkg/cli/session"
	"github.com/domicile-dev/domicile/pkg/control"
	"github.com/domicile-dev/domicile/pkg/store"
)

// fake is a control plane that notes what is asked of it.
type fake struct {
	url    string
	asked  []string // method and path
	query  url.Values
	body   []byte
	status int    // of changes
	answer string // to changes
}

func newFake(t *testing.T, status int, answer string) *fake {
	t.Helper()
	f := &fake{status: status, answer: answer}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.asked = append(f.asked, r.Method+" "+r.URL.Path)
		if r.Method == http.MethodGet {
			_ = json.NewEncoder(w).Encode(control.Status{Store: control.StoreStatus{Connected: true, Sequence: 41}})
			return
		}
		f.query = r.URL.Query()
		f.body, _ = io.ReadAll(r.Body)
		w.WriteHeader(f.status)
		_, _ = io.WriteString(w, f.answer)
	}))
	t.Cleanup(s.Close)
	f.url = s.URL
	return f
}

var shipped = filepath.Join("..", "..", "policies")

func TestApplySendsTheBundleOnTopOfWhatItSaw(t *testing.T) {
	record, err := json.Marshal(control.Outcome{Record: store.Record{Sequence: 42, Bundle: "sha256:b", Table: "sha256:t"}})
	if err != nil {
		t.Fatal(err)
	}
	f := newFake(t, 200, string(record))
	code, out, errs := run(t.Context(), map[string]string{"USER": "kim"}, "apply", shipped, "--control", f.url, "-m", "why", "--commit", "abc")
	if code != exit.Done || !strings.Contains(out, "Applied as sequence 42.") {
		t.Fatalf("exit %d\n%s%s", code, out, errs)
	}
	for k, want := range map[string]string{"base": "41", "author": "kim", "message": "why", "commit": "abc", "wait": ""} {
		if got := f.query.Get(k); got != want {
			t.Errorf("%s is %q, want %q", k, got, want)
		}
	}
	b, err := bundle.Open(f.body, f.query.Get("digest"))
	if err != nil {
		t.Fatalf("what was sent is no bundle of its digest: %v", err)
	}
	if _, ok := b.Files()["deployment.yaml"]; !ok {
		t.Error("the bundle lacks the deployment")
	}
	if _, out, _ = run(t.Context(), nil, "apply", shipped, "--control", f.url, "--base", "7", "--output", "json"); f.query.Get("base") != "7" {
		t.Errorf("base is %q", f.query.Get("base"))
	}
	var back struct {
		session.Versioned
		control.Outcome
	}
	if err := json.Unmarshal([]byte(out), &back); err != nil || back.Sequence != 42 || back.FormatVersion != "1.0" {
		t.Errorf("%v in\n%s", err, out)
	}
}

// TestApplySendsNothingThatIsWrong: errors and failing tests stay here.
func TestApplySendsNothingThatIsWrong(t *testing.T) {
	for name, file := range map[string]string{
		"jurisdictions/xx.yaml": "nonsense: true\n",
		"jurisdictions/sa_more_test.yaml": `apiVersion: domicile.dev/v1
kind: PolicyTest
metadata: {name: wrong}
cases:
  - {name: abroad, home: "SA", class: message, entry: me-riyadh, expect: {allow: eu-frankfurt}}
`,
	} {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(shipped)); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		f := newFake(t, 200, "{}")
		code, out, errs := run(t.Context(), nil, "apply", dir, "--control", f.url)
		if code != exit.Findings || len(f.asked) != 0 || !strings.Contains(errs, "nothing was sent") || !strings.Contains(out, name) {
			t.Errorf("%s: exit %d, asked %v\n%s%s", name, code, f.asked, out, errs)
		}
	}
}

func TestApplyShowsWhyTheControlPlaneRejected(t *testing.T) {
	f := newFake(t, 422, `{"title":"rejected","status":422,"problems":[{"file":"deployment.yaml","line":3,"column":1,"code":"DP2001","severity":"error","message":"not here","fix":"f"}]}`)
	code, out, errs := run(t.Context(), nil, "apply", shipped, "--control", f.url)
	if code != exit.Findings || !strings.Contains(out, "error[DP2001]: not here") || !strings.Contains(errs, "1 problems, 0 leaks") {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
	_, out, _ = run(t.Context(), nil, "apply", shipped, "--control", f.url, "--output", "json")
	if !strings.Contains(out, `"code": "DP2001"`) {
		t.Errorf("machine output:\n%s", out)
	}
}

func TestChangeExitCodes(t *testing.T) {
	for status, want := range map[int]int{409: exit.Stale, 403: exit.Forbidden, 503: exit.Unreachable, 404: exit.Findings} {
		f := newFake(t, status, `{"title":"no"}`)
		if code, out, _ := run(t.Context(), nil, "rollback", "3", "--control", f.url); code != want || out != "" || f.query.Get("to") != "3" {
			t.Errorf("%d: exit %d, want %d; to=%q; stdout %q", status, code, want, f.query.Get("to"), out)
		}
	}
}

func TestRollbackText(t *testing.T) {
	f := newFake(t, 200, `{"sequence":9,"rollbackOf":4,"bundle":"sha256:b","table":"sha256:t","proxies":{"synced":5,"pending":1}}`)
	_, out, _ := run(t.Context(), nil, "rollback", "--control", f.url, "--wait", "1s")
	if !strings.Contains(out, "content of sequence 4, as sequence 9") || !strings.Contains(out, "5 run it, 1 do not yet") || f.query.Get("wait") != "1s" {
		t.Errorf("%s", out)
	}
}
