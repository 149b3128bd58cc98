package policy

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/domicile-dev/domicile/pkg/lang"
)

// TestProblemJSON: both languages lie flat beside each other, and come back.
func TestProblemJSON(t *testing.T) {
	p := Problem{
		Pos: Pos{File: "a.yaml", Line: 2, Column: 3}, Code: "DP1001", Severity: Error, Waiver: "w-1", Law: "PDPL Art. 29",
		Edit:    Edit{Line: 2, Column: 3, EndColumn: 5, New: `"SA"`},
		Message: lang.Text{En: "m", Zh: "消息"}, Why: lang.Text{En: "w", Zh: "因"}, Fix: lang.Text{En: "f", Zh: "改"},
	}
	data, err := json.Marshal([]Problem{p})
	if err != nil {
		t.Fatal(err)
	}
	const want = `[{"file":"a.yaml","line":2,"column":3,"code":"DP1001","severity":"error","message":"m","messageZh":"消息",` +
		`"why":"w","whyZh":"因","law":"PDPL Art. 29","fix":"f","fixZh":"改","waiver":"w-1","edit":{"line":2,"column":3,"endColumn":5,"new":"\"SA\""}}]`
	if string(data) != want {
		t.Errorf("got  %s\nwant %s", data, want)
	}
	var back []Problem
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Problem{p}, back); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := json.Unmarshal([]byte(`[{"line": "x"}]`), &back); err == nil {
		t.Error("a line that is no number is read")
	}
}
