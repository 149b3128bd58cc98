package mend_test

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/policy/mend"
	"github.com/domicile-dev/domicile/pkg/release"
	"github.com/domicile-dev/domicile/policies"
)

func judge(fsys fs.FS) mend.Verdict {
	r := release.Build(release.Input{FS: fsys, At: time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC), TableOnly: true})
	v := mend.Verdict{Problems: r.Problems}
	if r.Result != nil {
		v.Digest = r.Table.Digest()
	}
	return v
}

// own is the shipped deployment and its jurisdictions, without the library.
func own(t *testing.T) fstest.MapFS {
	t.Helper()
	out := fstest.MapFS{}
	for _, name := range []string{"deployment.yaml", "jwks.json", "jurisdictions/sa.yaml", "jurisdictions/de.yaml", "jurisdictions/sa_test.yaml"} {
		src, err := fs.ReadFile(policies.Library(), name)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = &fstest.MapFile{Data: src}
	}
	return out
}

func change(t *testing.T, m fstest.MapFS, name, old, new string) {
	t.Helper()
	src := string(m[name].Data)
	if !strings.Contains(src, old) {
		t.Fatalf("%s holds no %q", name, old)
	}
	m[name] = &fstest.MapFile{Data: []byte(strings.Replace(src, old, new, 1))}
}

func with(m fstest.MapFS, files []mend.File) fstest.MapFS {
	out := fstest.MapFS{}
	for name, f := range m {
		out[name] = f
	}
	for _, f := range files {
		out[f.Name] = &fstest.MapFile{Data: f.After}
	}
	return out
}

func judgeText(files []mend.File, i int) string {
	if i < 0 {
		return "unchanged"
	}
	return string(files[i].After)
}

func TestNothingToMend(t *testing.T) {
	r, err := mend.Files(own(t), judge)
	if err != nil || len(r.Files) > 0 || r.Fixed != 0 {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestFiles(t *testing.T) {
	const sa = "jurisdictions/sa.yaml"
	for name, c := range map[string]struct {
		old, new string
		want     string // in the result; "" when the file must not change
		fixed    int    // -1: not looked at
	}{
		"unquoted code":       {`law: ["SA"]`, `law: [SA]`, `law: ["SA"]`, 1},
		"unquoted home":       {`name: "SA"`, `name: SA`, `name: "SA"`, 1},
		"layout":              {"  law: [\"SA\"]\n", "  law:   [ \"SA\" ] # 法律\n", "  law: [\"SA\"] # 法律\n", 0},
		"field misspelt":      {"  enforcement:", "  enforcemnt:", "  enforcement:", 1},
		"field of two places": {"  defaults:", "  default:", "  defaults:", -1},
		"field far off":       {"  enforcement:", "  zzz:", "", 0},
		"field there already": {"  enforcement: enforce\n", "  enforcement: enforce\n  enforcemen: enforce\n", "", 0},
		"name of no help":     {"  enforcement: enforce\n", "  enforcement: enforce\n  observeUntl: 2027-02-24\n", "", 0}, // one error for another
		"region misspelt":     {"[me-riyadh]", "[me-riyad]", "", 0},
		"code in lower case":  {`name: "SA"`, `name: "sa"`, "", 0},
		"no YAML":             {"spec:", "spec: [", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			m := own(t)
			change(t, m, sa, c.old, c.new)
			before := judge(m)
			r, err := mend.Files(m, judge)
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(r.Files, func(f mend.File) bool { return f.Name == sa })
			switch {
			case c.want == "" && i >= 0:
				t.Fatalf("it was changed:\n%s", cmp.Diff(string(r.Files[i].Before), string(r.Files[i].After)))
			case c.want != "" && (i < 0 || !strings.Contains(string(r.Files[i].After), c.want)):
				t.Fatalf("%q is not in the result:\n%s", c.want, judgeText(r.Files, i))
			}
			if c.fixed >= 0 && r.Fixed != c.fixed {
				t.Errorf("fixed %d, want %d", r.Fixed, c.fixed)
			}
			after := judge(with(m, r.Files))
			if before.Digest != "" && before.Digest != after.Digest {
				t.Error("what is decided has changed")
			}
			again, err := mend.Files(with(m, r.Files), judge)
			if err != nil || len(again.Files) > 0 {
				t.Errorf("the second run changes %+v, %v", again, err)
			}
		})
	}
}

// TestAmbiguous: two fields are as near as each other.
func TestAmbiguous(t *testing.T) {
	m := own(t)
	change(t, m, "deployment.yaml", "subject: host, service: message", "subject: host, servce: message")
	r, err := mend.Files(m, judge)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Files {
		if f.Name == "deployment.yaml" {
			t.Errorf("servce became serve or service:\n%s", cmp.Diff(string(f.Before), string(f.After)))
		}
	}
}

// TestNoDecisionChanges: whatever is unquoted, misspelt, or laid out otherwise.
func TestNoDecisionChanges(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for range 25 {
		m := own(t)
		for name, f := range m {
			lines := strings.Split(string(f.Data), "\n")
			for i, line := range lines {
				switch rnd.IntN(6) {
				case 0:
					lines[i] = strings.NewReplacer(`"SA"`, "SA", `"DE"`, "DE", `"TR"`, "TR").Replace(line)
				case 1:
					lines[i] = strings.ReplaceAll(line, ", ", " ,  ")
				case 2:
					lines[i] = line + "  # 注"
				}
			}
			if strings.HasSuffix(name, ".yaml") {
				m[name] = &fstest.MapFile{Data: []byte(strings.Join(lines, "\n"))}
			}
		}
		before := judge(m)
		r, err := mend.Files(m, judge)
		if err != nil {
			t.Fatal(err)
		}
		after := judge(with(m, r.Files))
		if before.Digest == "" || before.Digest != after.Digest {
			t.Fatalf("digest %q became %q: %v", before.Digest, after.Digest, before.Problems)
		}
		if slices.ContainsFunc(after.Problems, func(p policy.Problem) bool { return p.Fixable() }) {
			t.Errorf("left: %v", after.Problems)
		}
	}
}

// TestDecisionMustStay: when the judge says that it has changed, nothing is.
func TestDecisionMustStay(t *testing.T) {
	m := own(t)
	change(t, m, "jurisdictions/sa.yaml", `law: ["SA"]`, `law: [SA]`)
	n := 0
	r, err := mend.Files(m, func(fs.FS) mend.Verdict {
		n++
		return mend.Verdict{Digest: string(rune('a' + n))}
	})
	if r != nil || !errors.Is(err, mend.ErrDecision) {
		t.Errorf("got %v, %v", r, err)
	}
}
