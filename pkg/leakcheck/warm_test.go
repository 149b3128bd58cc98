package leakcheck

import (
	"testing"

	"github.com/google/go-cmp/cmp"

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
