package compile

import (
	"testing"

	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/policy/law"
)

// TestFreeFlow: where no law of a home asks for a mechanism, a transfer may name
// any of them, but adequacy stays a claim that a list must back.
func TestFreeFlow(t *testing.T) {
	free := &law.Fact{Text: "No mechanism required."}
	for _, c := range []struct {
		name      string
		mechanism string
		laws      []*law.Law
		want      string // code of the error; "" for none
	}{
		{"free", "scc", []*law.Law{{Code: "SA", FreeFlow: free}}, ""},
		{"free, with a list for some data", "scc", []*law.Law{{Code: "SA", FreeFlow: free, Mechanisms: []string{"approval"}}}, ""},
		{"free, and one that adds nothing", "scc", []*law.Law{{Code: "SA", FreeFlow: free}, {Code: "SA-X"}}, ""},
		{"free, and one that asks", "consent", []*law.Law{{Code: "SA", FreeFlow: free}, {Code: "EU", Mechanisms: []string{"scc"}}}, CodeMechanism},
		{"silent", "scc", []*law.Law{{Code: "SA"}}, CodeMechanism},
		{"free is no list of adequate places", "adequacy", []*law.Law{{Code: "SA", FreeFlow: free}}, CodeNotAdequate},
	} {
		t.Run(c.name, func(t *testing.T) {
			set := sample()
			set.Laws = map[string]*law.Law{"EU": set.Laws["EU"]}
			var named []policy.Text
			for _, l := range c.laws {
				l.Articles = map[string]law.Article{"pdpl-29": {ID: "pdpl-29"}}
				set.Laws[l.Code] = l
				named = append(named, policy.Text{Value: l.Code})
			}
			set.Jurisdictions["SA"].Laws = named
			for _, x := range set.Jurisdictions["SA"].Transfers {
				x.Mechanism = c.mechanism
			}
			got := ""
			_, problems := Compile(set, now)
			for _, p := range problems {
				if p.Severity == policy.Error {
					got = p.Code
				}
			}
			if got != c.want {
				t.Errorf("error %q, want %q: %+v", got, c.want, problems)
			}
		})
	}
}
