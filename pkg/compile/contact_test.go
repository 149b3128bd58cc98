package compile_test

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/domicile-dev/domicile/pkg/compile"
	"github.com/domicile-dev/domicile/pkg/policy"
)

// contacts is a policy that says everything about who its users are.
func contacts(t *testing.T) fstest.MapFS {
	t.Helper()
	fsys := fstest.MapFS{}
	archive(t, fsys, "testdata/valid.txtar")
	archive(t, fsys, "testdata/identity.txtar")
	return fsys
}

// TestContacts: each field arrives where the other packages look for it, defaults and
// order included. Only the tokens in query strings are worth a warning.
func TestContacts(t *testing.T) {
	fsys := contacts(t)
	set, problems := policy.Parse(fsys, nil)
	for _, p := range problems {
		if p.Code != "DP3005" {
			t.Errorf("%s:%d: %s %s", p.File, p.Line, p.Code, p.Message)
		}
	}
	r, more := compile.Compile(set, time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC))
	if r == nil || len(more) > 0 {
		t.Fatalf("%v", more)
	}
	got, err := json.MarshalIndent(r.Topology, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	const golden = "testdata/identity.json"
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("(-want +got; -update writes it anew):\n%s", d)
	}
	if d := cmp.Diff(map[string]uint64{"SA": 2}, r.Table.Spec().Epochs); d != "" {
		t.Error(d)
	}
	if !r.Topology.FirstContacts() {
		t.Error("no first contacts")
	}
	files := slices.Sorted(maps.Keys(set.Files))
	if d := cmp.Diff([]string{"deployment.yaml", "jurisdictions/de.yaml", "jurisdictions/sa.yaml", "jwks.json", "law/sa.yaml", "pins/eu-frankfurt.json", "pins/me-riyadh.json"}, files); d != "" {
		t.Errorf("what a bundle holds: %s", d)
	}
}

// TestContactsIgnoreOrder: what has no order may be written in any.
func TestContactsIgnoreOrder(t *testing.T) {
	digest := func(change func(string) string) string {
		fsys := contacts(t)
		src := string(fsys["deployment.yaml"].Data)
		fsys["deployment.yaml"].Data = []byte(change(src))
		set, _ := policy.Parse(fsys, nil)
		r, problems := compile.Compile(set, time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC))
		if r == nil {
			t.Fatal(problems)
		}
		out, err := json.Marshal(r.Topology)
		if err != nil {
			t.Fatal(err)
		}
		return r.Table.Digest() + string(out)
	}
	swap := func(a, b string) func(string) string {
		return func(s string) string {
			if !strings.Contains(s, a) || !strings.Contains(s, b) {
				t.Fatalf("no %q or %q", a, b)
			}
			return strings.NewReplacer(a, b, b, a).Replace(s)
		}
	}
	want := digest(func(s string) string { return s })
	for name, change := range map[string]func(string) string{
		"directory's addresses": swap(`"10.1.1.9:6379"`, `"10.1.1.9:6380"`),
		"streams":               swap(`{name: xmpp, class: message, service: message, port: 5223}`, `{name: mqtt, class: message, service: mqtt, port: 8883}`),
	} {
		if digest(change) != want {
			t.Errorf("the order of %s changes what it means", name)
		}
	}
}

// TestStreamWithoutBackend: it is said once, where the stream stands.
func TestStreamWithoutBackend(t *testing.T) {
	fsys := contacts(t)
	f := fsys["deployment.yaml"]
	f.Data = []byte(strings.Replace(string(f.Data), `, mqtt: ["10.3.1.2:8883"]`, "", 1))
	set, _ := policy.Parse(fsys, nil)
	_, problems := compile.Compile(set, time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC))
	if len(problems) != 1 || problems[0].Code != compile.CodeNoBackend || problems[0].Line != set.Deployment.Streams[1].Pos.Line || !strings.Contains(problems[0].Message.En, "eu-frankfurt serves class message and has no backend for service mqtt") {
		t.Errorf("%v", problems)
	}
}

// TestSecretAndTheBrake: neither a denial nor the end of a transfer may keep a policy
// from being compiled because of where a key lies.
func TestSecretAndTheBrake(t *testing.T) {
	secret := func(regions string) func(fstest.MapFS) {
		return func(fsys fstest.MapFS) {
			f := fsys["deployment.yaml"]
			f.Data = []byte(strings.Replace(string(f.Data), "regions: [me-riyadh]}, nameless", "regions: ["+regions+"]}, nameless", 1))
		}
	}
	both := func(fsys fstest.MapFS) { // Frankfurt too serves SA, until the transfer ends
		f := fsys["jurisdictions/sa.yaml"]
		f.Data = []byte(strings.NewReplacer("serve: [me-riyadh]", "serve: [me-riyadh, eu-frankfurt]", "for: [directory]", "for: [directory, serve]", "reviewBy: 2027-11-24", "reviewBy: 2027-11-24, until: 2027-11-24").Replace(string(f.Data)))
	}
	for name, c := range map[string]struct {
		change []func(fstest.MapFS)
		at     time.Time
		fails  bool
	}{
		"where it is served":     {nil, time.Time{}, false},
		"elsewhere":              {[]func(fstest.MapFS){secret("me-riyadh, eu-frankfurt")}, time.Time{}, true},
		"in both":                {[]func(fstest.MapFS){secret("me-riyadh, eu-frankfurt"), both}, time.Time{}, false},
		"in both, one lapsed":    {[]func(fstest.MapFS){secret("me-riyadh, eu-frankfurt"), both}, time.Date(2028, 1, 1, 0, 0, 0, 0, time.UTC), false},
		"the home is denied":     {[]func(fstest.MapFS){denied}, time.Time{}, false},
		"the home is forbidden":  {[]func(fstest.MapFS){forbidden}, time.Time{}, false},
		"elsewhere, and denied":  {[]func(fstest.MapFS){secret("eu-frankfurt"), denied}, time.Time{}, true},
		"nowhere that there is":  {[]func(fstest.MapFS){secret("me-riyadh, mars")}, time.Time{}, true},
		"elsewhere, for nothing": {[]func(fstest.MapFS){secret("eu-frankfurt"), forbidden}, time.Time{}, false},
	} {
		fsys := contacts(t)
		for _, change := range c.change {
			change(fsys)
		}
		if c.at.IsZero() {
			c.at = time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
		}
		set, problems := policy.Parse(fsys, nil)
		if policy.HasErrors(problems) {
			t.Fatalf("%s: %v", name, problems)
		}
		r, problems := compile.Compile(set, c.at)
		said := slices.ContainsFunc(problems, func(p policy.Problem) bool {
			return p.Code == compile.CodeSecretAbroad || p.Code == compile.CodeUnknownRegion
		})
		if (r == nil) != c.fails || said != c.fails {
			t.Errorf("%s: compiled is %v: %v", name, r != nil, problems)
		}
	}
}

func denied(fsys fstest.MapFS) {
	fsys["denials.yaml"] = &fstest.MapFile{Data: []byte("apiVersion: domicile.dev/v1\nkind: Denials\nspec: {denials: [{home: \"SA\", reason: INC-31, by: max, at: 2026-11-24T12:00:00Z}]}\n")}
}

func forbidden(fsys fstest.MapFS) {
	f := fsys["jurisdictions/sa.yaml"]
	f.Data = []byte(strings.Replace(string(f.Data), "serve: [me-riyadh]", "serve: []", 1))
}

// TestEpochsOnlyWhereSaid: a policy without them has the table that it had.
func TestEpochsOnlyWhereSaid(t *testing.T) {
	digest := func(change func(string) string) string {
		fsys := contacts(t)
		f := fsys["jurisdictions/sa.yaml"]
		f.Data = []byte(change(string(f.Data)))
		set, _ := policy.Parse(fsys, nil)
		r, problems := compile.Compile(set, time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC))
		if r == nil {
			t.Fatal(problems)
		}
		return r.Table.Digest()
	}
	two := digest(func(s string) string { return s })
	zero := digest(func(s string) string { return strings.Replace(s, "epoch: 2", "epoch: 0", 1) })
	none := digest(func(s string) string { return strings.Replace(s, "  pins: {epoch: 2}\n", "", 1) })
	if zero != none || two == none {
		t.Errorf("two %s, zero %s, none %s", two, zero, none)
	}
}
