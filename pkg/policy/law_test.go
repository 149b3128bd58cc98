package policy

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/domicile-dev/domicile/pkg/policy/law"
	"github.com/domicile-dev/domicile/pkg/policy/source"
)

// TestLawIsRead: what a law file says about the place of data and the ways out.
func TestLawIsRead(t *testing.T) {
	set, problems := Parse(os.DirFS("testdata/valid"), nil)
	if HasErrors(problems) {
		t.Fatal(problems)
	}
	got := set.Laws["SA"]
	want := law.Localisation{
		Duty: "conditional", Keeps: "copy", Scope: "sectors", Trigger: "public sector", Citation: "PDPL Art. 29", Verified: "mixed",
		Classes:  map[string]string{"message": "none", "payment": "conditional"},
		Variants: []law.Variant{{AppliesTo: "banks", Duty: "required", Keeps: "only", Trigger: "licence", Citation: "SAMA"}},
	}
	if diff := cmp.Diff(want, got.Localisation); diff != "" {
		t.Errorf("localisation (-want +got):\n%s", diff)
	}
	titles := []law.LocalTitle{{Lang: "ar", Title: "نظام حماية البيانات الشخصية"}, {Lang: "zh-Hant", Title: "個人資料保護法"}}
	if diff := cmp.Diff(titles, got.TitlesLocal); diff != "" {
		t.Errorf("titles (-want +got):\n%s", diff)
	}
	if got.NotLaw || *got.FreeFlow != (law.Fact{Text: "within limits", Citation: "Art. 15", Verified: "mixed"}) {
		t.Errorf("not law %v, free flow %+v", got.NotLaw, got.FreeFlow)
	}
	limits := got.ExportLimits
	for i := range limits {
		for j := range limits[i].Destinations {
			limits[i].Destinations[j].Pos = source.Pos{}
		}
	}
	wantLimits := []law.ExportLimit{{
		Citation: "Art. 9", Condition: "above 1,000 persons", Verified: "knowledge", Destinations: []source.Text{{Value: "JP"}, {Value: "EEA"}},
	}}
	if diff := cmp.Diff(wantLimits, limits); diff != "" {
		t.Errorf("export limits (-want +got):\n%s", diff)
	}
}
