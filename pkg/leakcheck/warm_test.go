package leakcheck

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// warm has seen every configuration of these tests before the present one: the
// good ones, and those with other leaks.
var warm = new(Prover)

// agreed checks with and without memory; they must agree to the word.
func agreed(t *testing.T, c Config, table *residency.Table, top *topology.Topology) []Finding {
	t.Helper()
	warm.Check(plan{}.build(), table, top, eu) // the good one is fresh in its memory
	found := Check(c, table, top, eu)
	if diff := cmp.Diff(found, warm.Check(c, table, top, eu)); diff != "" {
		t.Errorf("with memory the verdict is another (-without +with):\n%s", diff)
	}
	return found
}

// TestMemorySeesWhatNoBranchHolds: the configuration stays, or leads to the same
// places, and what makes it good is gone.
func TestMemorySeesWhatNoBranchHolds(t *testing.T) {
	for name, change := range map[string]func(*residency.Spec, *Config){
		"nobody may name the home": func(s *residency.Spec, _ *Config) {
			for i := range s.Issuers {
				s.Issuers[i].Homes = []string{"XX"}
			}
		},
		"requests are of other classes": func(s *residency.Spec, _ *Config) {
			for i := range s.Routes {
				if s.Routes[i].Subject == residency.SubjectCaller {
					s.Routes[i].Match = residency.Match{PathPrefix: "/elsewhere"}
				}
			}
		},
		"streams pass no internal listener": func(_ *residency.Spec, c *Config) {
			for i, x := range c.Clusters {
				if x.GetName() == "live/DE" {
					c.Clusters[i] = proto.CloneOf(clusterNamed(c, "message@eu"))
					c.Clusters[i].Name = "live/DE"
				}
			}
		},
	} {
		p, spec, c := new(Prover), worldSpec(), plan{}.build()
		table, err := residency.New(spec)
		if err != nil {
			t.Fatal(err)
		}
		if found := p.Check(c, table, worldTopology(), eu); len(found) > 0 {
			t.Fatalf("%s: not good before: %v", name, found[0])
		}
		spec = worldSpec()
		change(&spec, &c)
		if table, err = residency.New(spec); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		cold := Check(c, table, worldTopology(), eu)
		if diff := cmp.Diff(cold, p.Check(c, table, worldTopology(), eu)); diff != "" || len(cold) == 0 {
			t.Errorf("%s: %d findings (-without memory +with):\n%s", name, len(cold), diff)
		}
	}
}
