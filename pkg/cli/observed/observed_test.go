package observed

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/domicile-dev/domicile/pkg/cli/exit"
	"github.com/domicile-dev/domicile/pkg/lang"
)

func envoy(t *testing.T, stats string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.Path != "/stats" || !strings.Contains(r.URL.Query().Get("filter"), "observed") {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(stats))
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestEnvoysAreAddedUp(t *testing.T) {
	one := envoy(t, "vhost.guard.route.observed.TR.relation.entry-not-allowed.upstream_rq_total: 2\n"+
		"vhost.users.route.observed.TR.message.forbidden.upstream_rq_total: 3\nvhost.users.route.observed.QA.message.no-rule.upstream_rq_total: 0\n")
	two := envoy(t, "vhost.users.route.observed.TR.message.forbidden.upstream_rq_total: 4\n")
	none := envoy(t, "")
	s := Source{[]string{one, two, none}}
	got, err := s.Collect(t.Context(), &cobra.Command{}, "")
	if err != nil {
		t.Fatal(err)
	}
	want := Report{3, 9, []Count{{"TR", "message", "forbidden", 7}, {"TR", "relation", "entry-not-allowed", 2}}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	var b strings.Builder
	got.Text(&b, lang.English)
	if !strings.HasPrefix(b.String(), "Under observation, 9 requests passed at 3 Envoys that enforcing would have refused:\n") || !strings.Contains(b.String(), "relation") {
		t.Error(b.String())
	}
	b.Reset()
	Report{Envoys: 1}.Text(&b, lang.Chinese)
	if !strings.Contains(b.String(), "观察") {
		t.Error(b.String())
	}
}

// A count that is not the whole would be believed: whatever is wrong is an error.
func TestNothingIsCountedInPart(t *testing.T) {
	good := envoy(t, "")
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for name, c := range map[string]struct {
		urls []string
		code int
	}{
		"no URL":               {[]string{good, "127.0.0.1"}, exit.Usage},
		"no demo":              {[]string{"demo"}, exit.Usage},
		"an Envoy that is off": {[]string{good, gone.URL}, exit.Unreachable},
		"not an Envoy":         {[]string{good, envoy(t, "<html>")}, exit.Findings},
		"an absurd number":     {[]string{envoy(t, "vhost.users.route.observed.TR.message.forbidden.upstream_rq_total: 99999999999999999999999\n")}, exit.Findings},
	} {
		_, err := (&Source{c.urls}).Collect(t.Context(), &cobra.Command{}, "")
		if err == nil || exit.Code(err) != c.code {
			t.Errorf("%s: %v", name, err)
		}
	}
}
