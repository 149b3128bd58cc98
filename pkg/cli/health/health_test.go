package health

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/domicile-dev/domicile/pkg/control"
	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/xds"
)

// Everything that may be said is said in both languages.
func TestBothLanguages(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	soon := now.Add(time.Hour)
	list := append(Judge(control.Status{}, now), Judge(control.Status{
		Policy:  &control.PolicyStatus{Table: "t", NextBoundary: &soon, OtherLaw: []string{"a", "b", "c", "d", "e", "f"}},
		Store:   control.StoreStatus{Connected: true},
		Refused: &control.Refusal{Sequence: 7},
		Proxies: []xds.Proxy{
			{ID: "a", State: xds.Synced, Table: "t", Target: "t"}, {ID: "b", State: xds.Synced, Table: "u", Target: "t", ConnectedSince: now},
			{ID: "c", State: xds.Synced, ConnectedSince: now}, {ID: "d", State: xds.Pending, Target: "t"},
		},
	}, now)...)
	if len(list) < 12 {
		t.Errorf("only %d findings", len(list))
	}
	for _, f := range list {
		if zh := f.Message.In(lang.Chinese); zh == f.Message.En || !strings.ContainsFunc(zh, func(r rune) bool { return r > 0x4E00 }) {
			t.Errorf("%q is said as %q", f.Message.En, zh)
		}
		if f.State != "ok" && f.Fix.IsZero() {
			t.Errorf("%q has no fix", f.Message.En)
		}
	}
}

// The names of the fields are a contract.
func TestFindingJSON(t *testing.T) {
	p := &control.PolicyStatus{OtherLaw: []string{"law/sa.yaml"}}
	got, err := json.Marshal(judgePolicy(p, time.Time{}))
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"state":"warn","message":"the policy was packed with law files that are not those of this version: law/sa.yaml",` +
		`"messageZh":"打包策略所用的法律文件与本版本的不同：law/sa.yaml",` +
		`"fix":"apply the policy again, packed with this version, after domicile plan has shown what that changes",` +
		`"fixZh":"先用 domicile plan 查看变化，再以本版本重新打包并应用策略"}]`
	if d := cmp.Diff(want, string(got)); d != "" {
		t.Error(d)
	}
}
