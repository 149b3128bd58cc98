package open_test

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/domicile-dev/domicile/pkg/directory"
	"github.com/domicile-dev/domicile/pkg/directory/directorytest"
	"github.com/domicile-dev/domicile/pkg/directory/open"
	"github.com/domicile-dev/domicile/pkg/directory/redis/redistest"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// TestEachKind: what a deployment says leads to a directory that answers.
func TestEachKind(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path == "/"+directorytest.Hash("amal") {
			w.Write([]byte(`{"home": "SA"}`))
			return
		}
		w.WriteHeader(404)
		w.Write([]byte(`{"home": null}`))
	}))
	defer srv.Close()
	file := filepath.Join(t.TempDir(), "users.yaml")
	redis := redistest.Start(t)
	for name, c := range map[string]struct {
		said  topology.Directory
		local open.Local
		fixed bool // others write it
	}{
		"static":          {topology.Directory{Kind: "static", File: "users.yaml"}, open.Local{StandIn: file}, false},
		"stand-in":        {topology.Directory{Kind: "redis", Addresses: []string{"127.0.0.1:1"}}, open.Local{StandIn: file}, false},
		"stand-in by URL": {topology.Directory{Kind: "static", File: "users.yaml"}, open.Local{StandIn: srv.URL + "/{hash}"}, true},
		"http":            {topology.Directory{Kind: "http", URL: srv.URL + "/{hash}"}, open.Local{}, true},
		"redis":           {topology.Directory{Kind: "redis", Addresses: []string{redis.Addr}}, open.Local{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			c.said.Timeout = 2e9
			d, err := open.Open(c.said, c.local)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			if (d.Editor == nil) != c.fixed {
				t.Fatalf("editor %v", d.Editor)
			}
			want := func(user, home string) {
				t.Helper()
				if got, _, err := d.Lookup(t.Context(), directorytest.Hash(user)); got != home || err != nil {
					t.Errorf("%s: home %q, error %v; want %q", user, got, err, home)
				}
			}
			if d.Editor == nil {
				want("amal", "SA")
				want("deniz", "")
				return
			}
			set := func(home string) {
				if _, err := d.Editor.Put(t.Context(), directory.Entry{Hash: directorytest.Hash("amal"), Home: home}); err != nil {
					t.Fatal(err)
				}
			}
			set("SA")
			want("amal", "SA")
			want("deniz", "")
			set("TR")
			d.Forget(directorytest.Hash("amal"))
			want("amal", "TR")
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	for want, d := range map[string]topology.Directory{
		"--directory FILE": {Kind: "static", File: "users.yaml"},
		`kind "ldap"`:      {Kind: "ldap"},
		"no address":       {Kind: "redis"},
		"must hold {hash}": {Kind: "http", URL: "https://dir.example.com/"},
	} {
		if _, err := open.Open(d, open.Local{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", d, err, want)
		}
	}
}
