package compile_test

import (
	"encoding/json"
	"flag"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/domicile-dev/domicile/pkg/compile"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/policies"
)

var update = flag.Bool("update", false, "write the golden file")

// TestLibraryGolden pins what the shipped policies mean.
func TestLibraryGolden(t *testing.T) {
	set, problems := policy.Parse(policies.Library(), policies.Shipped())
	if len(problems) > 0 {
		t.Fatalf("parse: %+v", problems)
	}
	r, problems := compile.Compile(set, time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC))
	if len(problems) > 0 {
		t.Fatalf("compile: %+v", problems)
	}
	got, err := json.MarshalIndent(r.Table.Spec(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	const golden = "testdata/library.json"
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
		t.Errorf("the meaning of the shipped policies changed (go test -update writes the new one):\n%s", d)
	}
}
