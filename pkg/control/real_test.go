package control

import (
	"bytes"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/domicile-dev/domicile/pkg/bundle"
	"github.com/domicile-dev/domicile/pkg/envoy"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/store"
	"github.com/domicile-dev/domicile/pkg/xds"
	"github.com/domicile-dev/domicile/policies"
)

// shipped returns the files of the shipped deployment, as apply sends them.
func shipped(t testing.TB) map[string][]byte {
	t.Helper()
	set, problems := policy.Parse(policies.Library(), policies.Shipped())
	if policy.HasErrors(problems) {
		t.Fatal(problems)
	}
	return set.Files
}

func packed(t testing.TB, files map[string][]byte) *bundle.Bundle {
	t.Helper()
	b, err := bundle.New(files)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestRealPolicies runs the shipped policies through the whole pipeline, the
// revoke step and its leak check included.
func TestRealPolicies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC))) // of the bubble's clock: the shipped dates are about that day
		out, memory := &recorder{}, store.NewMemory()
		c, err := New(Config{Store: memory, Publisher: out, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		go func() { _ = c.Run(t.Context()) }()
		apply := func(files map[string][]byte) (Outcome, error) {
			o, err := c.Apply(t.Context(), Change{Archive: packed(t, files).Archive()})
			synctest.Wait()
			return o, err
		}
		files := shipped(t)
		first, err := apply(files)
		if err != nil {
			t.Fatal(err)
		}
		if p := c.Status().Policy; p == nil || p.Table != first.Table {
			t.Fatalf("in force: %+v", c.Status())
		}
		groups := out.published[0]
		for _, g := range []xds.Group{{Region: "me-riyadh", Role: "gateway"}, {Region: "tr-istanbul", Role: "sidecar"}, {Region: "eu-frankfurt", Role: "peer"}} {
			if groups[g] == nil || len(groups[g].Final.Resources[xds.ListenerType]) == 0 {
				t.Errorf("%v: no listeners", g)
			}
		}

		broken := clone(files)
		broken["deployment.yaml"] = append(broken["deployment.yaml"], "\nunknown: true\n"...)
		var rejected *Rejected
		if _, err := apply(broken); !errors.As(err, &rejected) || !policy.HasErrors(rejected.Problems) {
			t.Errorf("broken: %v", err)
		}
		failing := clone(files)
		failing["jurisdictions/sa_test.yaml"] = []byte("apiVersion: domicile.dev/v1\nkind: PolicyTest\nmetadata: {name: fails}\ncases:\n" +
			"  - {name: abroad, home: \"SA\", class: message, entry: eu-frankfurt, expect: {allow: eu-frankfurt}}\n")
		if _, err := apply(failing); !errors.As(err, &rejected) || rejected.Tests == nil || rejected.Tests.Failed == 0 {
			t.Errorf("failing test: %v", err)
		}

		// Turkey's messages are forbidden: they are served nowhere.
		tightened := clone(files)
		delete(tightened, "jurisdictions/tr_test.yaml")
		tightened["jurisdictions/tr.yaml"] = bytes.Replace(files["jurisdictions/tr.yaml"],
			[]byte("message: {session: {maxAge: 24h}}"), []byte("message: {serve: []}"), 1)
		if bytes.Equal(tightened["jurisdictions/tr.yaml"], files["jurisdictions/tr.yaml"]) {
			t.Fatal("tr.yaml says something else about messages than this test knows")
		}
		second, err := apply(tightened)
		if err != nil {
			errors.As(err, &rejected)
			t.Fatalf("%v\n%+v", err, rejected.Problems)
		}
		gateway := xds.Group{Region: "eu-frankfurt", Role: "gateway"}
		tight := out.published[1][gateway]
		if tight.Final.Table != second.Table || names(tight.Final, envoy.ListenerType) == nil {
			t.Fatalf("second: %+v", tight.Final)
		}
		// And allowed again: what opens waits for a step that has it closed.
		if _, err := apply(files); err != nil {
			t.Fatal(err)
		}
		step := out.published[2][gateway].Revoke(second.Table)
		if step == nil {
			t.Fatal("no step from the tightened policy")
		}
		if got, want := names(step, envoy.ListenerType), names(tight.Final, envoy.ListenerType); !slices.Equal(got, want) {
			t.Errorf("the step's listeners %v, the tightened policy's %v", got, want)
		}
	})
}

func clone(files map[string][]byte) map[string][]byte {
	out := map[string][]byte{}
	for name, data := range files {
		out[name] = bytes.Clone(data)
	}
	return out
}

func names(s *xds.Snapshot, url string) (out []string) {
	for _, r := range s.Resources[url] {
		out = append(out, r.Name)
	}
	return out
}
