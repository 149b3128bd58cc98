package compile_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/domicile-dev/domicile/pkg/compile"
	"github.com/domicile-dev/domicile/pkg/policy"
)

// unseen are the codes that no files can show by themselves, for package policy or
// the types of the model rule them out before.
var unseen = []string{
	compile.CodeNoDeployment, compile.CodeUnknownClass, compile.CodeUnknownPlace, compile.CodeAmbiguousGroup, compile.CodeUnknownSubject,
	compile.CodeTwice, compile.CodeRegionCountry, compile.CodeNobodyServes, compile.CodeInternal,
	// These need more than two regions or one law, and have tests of their own.
	compile.CodeHostDisagrees, compile.CodeNoLaw, compile.CodeExportLimit,
}

func archive(t *testing.T, into fstest.MapFS, name string) {
	t.Helper()
	a, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range a.Files {
		into[f.Name] = &fstest.MapFile{Data: f.Data}
	}
}

// TestFindings compiles testdata/valid.txtar with the files of each archive laid
// over it: each shows the code that is its name, in both languages.
func TestFindings(t *testing.T) {
	at := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	valid := fstest.MapFS{}
	archive(t, valid, "testdata/valid.txtar")
	set, problems := policy.Parse(valid, nil)
	if _, more := compile.Compile(set, at); len(problems)+len(more) > 0 {
		t.Fatalf("valid.txtar: %v %v", problems, more)
	}
	var got strings.Builder
	seen := map[string]bool{}
	names, _ := filepath.Glob("testdata/findings/*.txtar")
	for _, name := range names {
		fsys := fstest.MapFS{}
		archive(t, fsys, "testdata/valid.txtar")
		archive(t, fsys, name)
		set, problems := policy.Parse(fsys, nil)
		if policy.HasErrors(problems) {
			t.Errorf("%s: %v", name, problems)
			continue
		}
		code := strings.TrimSuffix(filepath.Base(name), ".txtar")
		_, problems = compile.Compile(set, at)
		fmt.Fprintln(&got, code)
		for _, p := range problems {
			seen[p.Code] = seen[p.Code] || p.Code == code
			fmt.Fprintf(&got, "  %s:%d:%d %s %s: %s\n    %s\n    fix %s\n    %s\n", p.File, p.Line, p.Column, p.Severity, p.Code, p.Message.En, p.Message.Zh, p.Fix.En, p.Fix.Zh)
			if !p.Why.IsZero() {
				fmt.Fprintf(&got, "    why %s\n    %s\n", p.Why.En, p.Why.Zh)
			}
			if p.Law != "" {
				fmt.Fprintf(&got, "    law %s\n", p.Law)
			}
			if p.File == "" || p.Line < 1 || p.Fix.IsZero() {
				t.Errorf("%s: without a place or a fix: %+v", code, p)
			}
		}
		if !seen[code] {
			t.Errorf("%s does not show it: %v", name, problems)
		}
	}
	for _, c := range compile.Codes() {
		if seen[c.Code] == slices.Contains(unseen, c.Code) {
			t.Errorf("%s: seen %t", c.Code, seen[c.Code])
		}
	}
	const golden = "testdata/findings.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got.String()); d != "" {
		t.Errorf("(-want +got; -update writes it anew):\n%s", d)
	}
}
