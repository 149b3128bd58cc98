package starter

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/policy/format"
	"github.com/domicile-dev/domicile/pkg/policytest"
	"github.com/domicile-dev/domicile/pkg/release"
	"github.com/domicile-dev/domicile/policies"
)

var today = time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)

func made(t *testing.T, regions []Region, codes ...string) map[string][]byte {
	t.Helper()
	set, _ := policy.Parse(fstest.MapFS{}, policies.Shipped())
	jwks, err := fs.ReadFile(policies.Library(), "jwks.json")
	if err != nil {
		t.Fatal(err)
	}
	out, err := Files(Input{Set: set, Codes: codes, Regions: regions, Today: today, JWKS: jwks, Release: "v1.2.3"})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func mapFS(files map[string][]byte) fstest.MapFS {
	out := fstest.MapFS{}
	for name, data := range files {
		out[name] = &fstest.MapFile{Data: data}
	}
	return out
}

// works requires that a starter has no problem, no leak and full coverage.
func works(t *testing.T, regions []Region, codes ...string) {
	t.Helper()
	r := release.Build(release.Input{FS: mapFS(made(t, regions, codes...)), At: today, Strict: true, TableOnly: len(codes) > 4})
	for _, p := range r.Problems {
		t.Errorf("%v: %s:%d:%d: %s %s", codes, p.File, p.Line, p.Column, p.Code, p.Message)
	}
	if len(r.Leaks) > 0 || r.Table == nil {
		t.Fatalf("%v: leaks %v", codes, r.Leaks)
	}
	report := policytest.Run(r.Set, r.Table)
	for _, c := range report.Cases {
		if !c.Pass {
			t.Errorf("%v: %s:%d %s: %s", codes, c.File, c.Line, c.Name, c.Message)
		}
	}
	if c := report.Coverage; c.Percent() != 100 || c.Cells != len(codes)*len(Classes) {
		t.Errorf("%v: coverage %+v", codes, c)
	}
}

// TestEveryHomeWorks: each home of the library can be chosen, alone or with others.
func TestEveryHomeWorks(t *testing.T) {
	set, _ := policy.Parse(fstest.MapFS{}, policies.Shipped())
	homes := Homes(set)
	if len(homes) < 60 || slices.Contains(homes, "EU") {
		t.Fatalf("homes: %v", homes)
	}
	works(t, nil, homes...)
	works(t, nil, "SA", "TR", "DE")
	works(t, nil, "AE-DIFC")
	works(t, nil, "RU", "NO", "US-CA")
}

// TestFilesAreLaidOut: what is written is what the formatter writes, and every
// other file is well-formed.
func TestFilesAreLaidOut(t *testing.T) {
	f := format.New()
	for name, data := range made(t, nil, "SA", "TR", "DE", "FR", "NO", "CN", "US-CA") {
		switch {
		case strings.HasSuffix(name, ".yaml") && !strings.HasPrefix(name, "."):
			out, problems, err := f.Source(name, data)
			if err != nil || len(problems) > 0 {
				t.Fatalf("%s: %v %v", name, problems, err)
			}
			if d := cmp.Diff(string(out), string(data)); d != "" {
				t.Errorf("%s: %s", name, d)
			}
		case strings.HasSuffix(name, ".json"):
			if !json.Valid(data) {
				t.Errorf("%s is no JSON", name)
			}
		case strings.HasSuffix(name, ".yml"), strings.HasSuffix(name, ".yaml"):
			var v any
			if err := yaml.Unmarshal(data, &v); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if bytes.Contains(data, []byte("[[")) || bytes.Contains(data, []byte("<no value>")) {
			t.Errorf("%s: a template was not filled:\n%s", name, data)
		}
	}
}

// TestRegions: one region for each country, one for all members of the EEA.
func TestRegions(t *testing.T) {
	set, _ := policy.Parse(mapFS(made(t, nil, "SA", "FR", "NO", "DE", "US-CA", "US")), policies.Shipped())
	var got []string
	for _, r := range set.Deployment.Regions {
		got = append(got, r.Name+" "+r.Country)
	}
	if d := cmp.Diff([]string{"sa-1 SA", "eea-1 FR", "us-1 US"}, got); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"EU", "NO"}, values(set.Jurisdictions["NO"].Laws)); d != "" {
		t.Error(d)
	}
}

// TestOwnRegions: a home is served by the operator's region in its country, else by
// one without a border between, else by one made up, whose name and host are free.
func TestOwnRegions(t *testing.T) {
	own := []Region{{"eu-paris", "FR"}, {"eu-frankfurt", "DE"}, {"sa", "TR"}, {"sa-2", "BR"}}
	codes := []string{"SA", "DE", "NO", "TR"}
	files := made(t, own, codes...)
	works(t, own, codes...)
	set, _ := policy.Parse(mapFS(files), policies.Shipped())
	var got []string
	for _, r := range set.Deployment.Regions {
		got = append(got, r.Name+" "+r.Country+" "+r.Host)
	}
	want := []string{
		"eu-paris FR eu-paris.im.example.com", "eu-frankfurt DE eu-frankfurt.im.example.com", "sa TR sa.im.example.com",
		"sa-2 BR sa-2.im.example.com", "sa-3 SA sa-3.im.example.com",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for home, region := range map[string]string{"SA": "sa-3", "DE": "eu-frankfurt", "NO": "eu-paris", "TR": "sa"} {
		if got := values(set.Jurisdictions[home].Rules["message"].Serve); !slices.Equal(got, []string{region}) {
			t.Errorf("%s is served in %v, want %s", home, got, region)
		}
	}
	if strings.Contains(string(files["jurisdictions/de_test.yaml"]), `to: "FR"`) {
		t.Error("a test of DE says that nothing covers serving in FR, where no border is crossed")
	}
}

func values(in []policy.Text) (out []string) {
	for _, x := range in {
		out = append(out, x.Value)
	}
	return out
}

// TestEachRuleIsGuarded: without any one rule a test of the starter fails.
func TestEachRuleIsGuarded(t *testing.T) {
	files := made(t, nil, "SA", "DE")
	for name, data := range files {
		if !strings.HasPrefix(name, "jurisdictions/") || strings.HasSuffix(name, "_test.yaml") {
			continue
		}
		for _, class := range Classes {
			changed := mapFS(files)
			var lines []string
			for line := range strings.Lines(string(data)) {
				if !strings.HasPrefix(line, "    "+class+": ") {
					lines = append(lines, line)
				}
			}
			changed[name] = &fstest.MapFile{Data: []byte(strings.Join(lines, ""))}
			r := release.Build(release.Input{FS: changed, At: today, TableOnly: true})
			if r.Table == nil {
				t.Fatalf("%s without %s: %v", name, class, r.Problems)
			}
			if policytest.Run(r.Set, r.Table).OK() {
				t.Errorf("%s without %s: all tests pass", name, class)
			}
		}
	}
}
