package sarif

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"

	"github.com/domicile-dev/domicile/pkg/policytest"
)

func TestWrite(t *testing.T) {
	findings := []Finding{
		{File: "policies/sa.yaml", Line: 14, Column: 17, Code: "DP2107", Error: true, Key: "m", Message: "m\nfix: f"},
		{File: "policies/a b.yaml", Code: "DP1001", Key: "m", Message: "m"},
		{File: "policies/sa.yaml", Line: 20, Column: 1, Code: "DP2107", Error: true, Key: "m", Message: "m\nfix: f"},
	}
	var b bytes.Buffer
	if err := Write(&b, "1.2.3", findings); err != nil {
		t.Fatal(err)
	}
	report, err := sarif.FromBytes(b.Bytes(), sarif.WithStrictValidation())
	if err != nil {
		t.Fatalf("the report does not read back: %v\n%s", err, b.Bytes())
	}
	if err := report.Validate(); err != nil {
		t.Errorf("the report breaks the schema: %v", err)
	}
	var got struct {
		Runs []struct {
			ColumnKind string
			Tool       struct {
				Driver struct {
					Rules []struct {
						ID      string `json:"id"`
						HelpURI string `json:"helpUri"`
						Help    struct{ Text, Markdown string }
					}
				}
			}
			Results []struct {
				RuleID              string `json:"ruleId"`
				RuleIndex           int
				Level               string
				Message             struct{ Text string }
				PartialFingerprints map[string]string
				Locations           []struct {
					PhysicalLocation struct {
						ArtifactLocation struct{ URI string }
						Region           struct{ StartLine, StartColumn int }
					}
				}
			}
		}
	}
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	run := got.Runs[0]
	if run.ColumnKind != "unicodeCodePoints" {
		t.Errorf("columnKind %q", run.ColumnKind)
	}
	for _, r := range run.Tool.Driver.Rules {
		info, _ := policytest.ExplainCode(r.ID)
		for _, part := range []string{info.Title.En, info.Page.En, info.Title.Zh, info.Page.Zh} {
			if !strings.Contains(r.Help.Markdown, part) || part == "" {
				t.Errorf("%s: help lacks %q:\n%s", r.ID, part, r.Help.Markdown)
			}
		}
		if r.HelpURI == "" || r.Help.Text == "" {
			t.Errorf("%s: %+v", r.ID, r)
		}
	}
	if n := len(run.Tool.Driver.Rules); n != 2 {
		t.Errorf("%d rules", n)
	}
	var rows [][]any
	fingerprints := map[string]bool{}
	for _, r := range run.Results {
		at := r.Locations[0].PhysicalLocation
		rows = append(rows, []any{r.RuleID, r.RuleIndex, r.Level, r.Message.Text, at.ArtifactLocation.URI, at.Region.StartLine, at.Region.StartColumn})
		fingerprints[r.PartialFingerprints["domicile/v1"]] = true
	}
	want := [][]any{
		{"DP2107", 0, "error", "m\nfix: f", "policies/sa.yaml", 14, 17},
		{"DP1001", 1, "warning", "m", "policies/a%20b.yaml", 1, 1},
		{"DP2107", 0, "error", "m\nfix: f", "policies/sa.yaml", 20, 1},
	}
	if d := cmp.Diff(want, rows); d != "" {
		t.Error(d)
	}
	if len(fingerprints) != len(findings) {
		t.Errorf("%d fingerprints for %d findings", len(fingerprints), len(findings))
	}
}

func TestFingerprintIgnoresLine(t *testing.T) {
	a := fingerprint(Finding{File: "f", Line: 1, Code: "c", Message: "m"}, map[string]int{})
	b := fingerprint(Finding{File: "f", Line: 9, Code: "c", Message: "m"}, map[string]int{})
	if a != b {
		t.Errorf("a finding that moved is another one: %s, %s", a, b)
	}
}
