package policy

import (
	"bytes"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/domicile-dev/domicile/pkg/policy/internal/codes"
	"github.com/domicile-dev/domicile/pkg/policy/signer"
)

var update = flag.Bool("update", false, "write the golden files anew")

// valid returns the files of testdata/valid.
func valid(t testing.TB) fstest.MapFS {
	t.Helper()
	out := fstest.MapFS{}
	root := os.DirFS("testdata/valid")
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		src, err := fs.ReadFile(root, name)
		out[name] = &fstest.MapFile{Data: src}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// line is a problem as the golden file has it.
func line(p Problem) string {
	s := fmt.Sprintf("%s %s %s: %s", where(p.Pos), p.Severity, p.Code, p.Message)
	if !p.Why.IsZero() {
		s += " | why " + p.Why.En
	}
	return s + " | fix " + p.Fix.En
}

func listing(problems []Problem) string {
	var b strings.Builder
	for _, p := range problems {
		fmt.Fprintf(&b, "  %s\n", line(p))
	}
	return b.String()
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; -update writes it anew):\n%s", file, diff)
	}
}

// TestT24Refused reads testdata/valid with the files of each archive laid over
// it. Each archive is broken in the one way that its name says.
func TestT24Refused(t *testing.T) {
	archives, err := filepath.Glob("testdata/refused/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatal("no archives", err)
	}
	warnings := []string{"home-unquoted", "jwks-missing", "stray-file", "stray-yml", "stray-in-subdirectory", "stray-directory", "not-carried-out", "review-after-end", "approvals-without-signers", "waiver-in-subdirectory", "pins-nobody-needs", "token-in-query", "pin-keys-missing"}
	var got strings.Builder
	seen := map[string]bool{}
	for _, name := range archives {
		a, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		fsys := valid(t)
		for _, f := range a.Files {
			fsys[f.Name] = &fstest.MapFile{Data: f.Data}
		}
		_, problems := Parse(fsys, nil)
		short := strings.TrimSuffix(filepath.Base(name), ".txtar")
		if len(problems) == 0 {
			t.Errorf("%s is accepted", short)
		}
		if HasErrors(problems) == slices.Contains(warnings, short) {
			t.Errorf("%s: errors are %v, want the opposite", short, HasErrors(problems))
		}
		for _, p := range problems {
			seen[p.Code] = true
			if p.Line < 1 || p.Column < 1 || p.File == "" || p.Fix.IsZero() {
				t.Errorf("%s: problem without a place or a fix: %+v", short, p)
			}
			if p.Code == codes.Missing && strings.HasSuffix(p.Fix.En, ":") {
				t.Errorf("%s: the fix shows no value: %+v", short, p)
			}
			if _, ok := ExplainCode(p.Code); !ok {
				t.Errorf("%s: code %s is not explained", short, p.Code)
			}
		}
		fmt.Fprintf(&got, "%s\n%s", short, listing(problems))
	}
	golden(t, "testdata/refused.golden", got.String())
	// Codes that need what an archive cannot hold have tests of their own.
	elsewhere := []string{codes.TooLarge, codes.Unreadable, codes.TooManyProblems, codes.NoDeployment, codes.Internal}
	for _, c := range Codes() {
		if !seen[c.Code] && !slices.Contains(elsewhere, c.Code) {
			t.Errorf("no archive shows %s (%s)", c.Code, c.Title)
		}
	}
}

func TestParseAcceptsValid(t *testing.T) {
	set, problems := Parse(valid(t), nil)
	if len(problems) > 0 {
		t.Fatalf("problems:\n%s", listing(problems))
	}
	files := slices.Sorted(maps.Keys(set.Files))
	want := []string{
		"denials.yaml", "deployment.yaml", "groups.yaml", "jurisdictions/sa.yaml", "jurisdictions/sa_test.yaml", "jwks.json",
		"law/ae-difc.yaml", "law/sa.yaml", "waivers/sa-review.yaml",
	}
	if diff := cmp.Diff(want, files); diff != "" {
		t.Errorf("a bundle would hold (-want +got):\n%s", diff)
	}
	d := set.Deployment
	if d.Regions[0].Host != "sa.im.example.com" || !d.ResponseHeaders || d.TrustDomain != "im.example.com" ||
		!d.Issuers[0].Forward || len(d.Issuers[0].JWKS) == 0 || d.Classes[4].GRPCService != "im.v1.Messages" ||
		d.Classes[1].Method != "POST" || d.Classes[1].Host != "login.example.com" || d.Classes[2].Service != "message" {
		t.Errorf("deployment is read wrongly: %+v", d)
	}
	if s := d.Signers; len(s) != 2 || s[0].Name != "kim" || len(s[0].Key) != 44 || len(s[1].Key) != 91 || !slices.Equal(s[0].Roles, []string{"author", "oncall"}) ||
		!slices.Equal(d.Approvals[signer.Loosen], []string{"author", "compliance"}) || len(d.Approvals[signer.Apply]) != 1 || !d.AllowWaivers ||
		!slices.Equal(d.Today["message"], []string{"10.9.1.1:8080"}) {
		t.Errorf("signers and approvals are read wrongly: %+v", d)
	}
	if w := set.Waivers; len(w) != 1 || w[0].ID != "sa-review" || w[0].Code != "DP3101" || w[0].Home != "SA" || w[0].Classes[0].Value != "profile" ||
		w[0].Owner != "compliance-mea" || w[0].Reference != "CASE-12" || w[0].Until.Sub(w[0].Since) != MaxWaiver || w[0].ApprovedBy[0] != "policy-ci" {
		t.Errorf("waivers are read wrongly: %+v", w)
	}
	ten := time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)
	var denied []string
	for _, x := range set.Denials {
		denied = append(denied, x.Home+"/"+x.Class)
		if x.At != ten || x.By != "kim" || x.Reason == "" || x.Pos.Line == 0 {
			t.Errorf("a denial is read wrongly: %+v", x)
		}
	}
	if !slices.Equal(denied, []string{"NO/", "SA/login", "SA/message"}) {
		t.Errorf("denials are read wrongly: %v", denied)
	}
	if l := set.Laws["SA"]; l.Duty != "conditional" || l.Breach.AuthorityHours != 72 || l.DSR.ErasureDays != 0 || l.Articles["pdpl-29"].Citation != "PDPL Art. 29" ||
		!slices.Equal(l.Mechanisms, []string{"scc", "adequacy"}) || !slices.Equal(l.Adequate, []string{"EEA", "JP"}) || l.Retention.Text != "records of processing" {
		t.Errorf("law is read wrongly: %+v", l)
	}
	if l := set.Laws["AE-DIFC"]; !l.SeparateTerritory || l.Country != "AE" {
		t.Errorf("territory is read wrongly: %+v", l)
	}
	if g := set.Groups["EEA"]; !g.FreeMovement || len(g.Members) != 2 || g.Members[1].Code != "NO" || g.Members[1].Since.IsZero() {
		t.Errorf("group is read wrongly: %+v", g)
	}
}

// TestDefaultsAreMerged checks the value of each rule and the place where it stands.
func TestDefaultsAreMerged(t *testing.T) {
	set, _ := Parse(valid(t), nil)
	rules := set.Jurisdictions["SA"].Rules
	at := func(texts []Text) string {
		if texts == nil {
			return "-"
		}
		parts := []string{}
		for _, x := range texts {
			parts = append(parts, fmt.Sprintf("%s@%d:%d", x.Value, x.Pos.Line, x.Pos.Column))
		}
		return "[" + strings.Join(parts, " ") + "]"
	}
	got := map[string]string{}
	for name, r := range rules {
		got[name] = fmt.Sprintf("%d:%d serve %s entry %s basis %s maxAge %v", r.Pos.Line, r.Pos.Column, at(r.Serve), at(r.Entry), at(r.Basis), r.MaxAge)
	}
	want := map[string]string{
		"login":    "14:5 serve [me-riyadh@9:13] entry [me-riyadh@10:13 eu-frankfurt@10:24] basis [chosen@11:13] maxAge 12h0m0s",
		"presence": "15:5 serve [me-riyadh@9:13] entry [me-riyadh@10:13 eu-frankfurt@10:24] basis [pdpl-29@15:48] maxAge 1m30s",
		"message":  "16:5 serve [me-riyadh@9:13] entry [me-riyadh@16:23] basis [chosen@11:13] maxAge 12h0m0s",
		"profile":  "17:5 serve [me-riyadh@9:13] entry [me-riyadh@10:13 eu-frankfurt@10:24] basis [chosen@11:13] maxAge 12h0m0s",
		"health":   "18:5 serve [] entry [me-riyadh@10:13 eu-frankfurt@10:24] basis [chosen@11:13] maxAge 12h0m0s",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if c := rules["profile"].Cache; c == nil || c.TTL != 10*time.Minute || at(c.Edges) != "[eu-frankfurt@17:31]" || rules["login"].Cache != nil {
		t.Errorf("cache is read wrongly: %+v", c)
	}
	rules["login"].Entry[0].Value = "changed"
	if rules["profile"].Entry[0].Value == "changed" {
		t.Error("two rules share one list of the defaults")
	}
}

func TestTwoParsesAreEqual(t *testing.T) {
	fsys := valid(t)
	fsys["jurisdictions/zz.yaml"] = &fstest.MapFile{Data: []byte("a: b\nc: d\nkind: x\n")}
	a, pa := Parse(fsys, nil)
	b, pb := Parse(fsys, nil)
	if diff := cmp.Diff(a, b); diff != "" {
		t.Errorf("sets differ:\n%s", diff)
	}
	if diff := cmp.Diff(pa, pb); diff != "" {
		t.Errorf("problems differ:\n%s", diff)
	}
}

func TestShippedLibrary(t *testing.T) {
	shipped := fstest.MapFS{}
	own := fstest.MapFS{}
	for name, f := range valid(t) {
		if strings.HasPrefix(name, "law/") || name == "groups.yaml" {
			shipped[name] = f
		} else {
			own[name] = f
		}
	}
	shipped["deployment.yaml"] = &fstest.MapFile{Data: []byte("not read")}
	set, problems := Parse(own, shipped)
	if len(problems) > 0 {
		t.Fatalf("merged:\n%s", listing(problems))
	}
	if len(set.Laws) != 2 || len(set.Groups) != 2 || set.Files["law/sa.yaml"] != nil {
		t.Errorf("got %d laws, %d groups, files %v", len(set.Laws), len(set.Groups), slices.Sorted(maps.Keys(set.Files)))
	}

	own["law/saudi.yaml"], own["groups.yaml"] = shipped["law/sa.yaml"], shipped["groups.yaml"]
	set, problems = Parse(own, shipped)
	if len(problems) > 0 {
		t.Errorf("identical copies:\n%s", listing(problems))
	}
	if got := set.Laws["SA"].Pos.File; got != "law/saudi.yaml" {
		t.Errorf("the law stands in %s", got)
	}

	tr := bytes.Replace(shipped["law/sa.yaml"].Data, []byte(`{name: "SA"}`), []byte(`{name: "TR"}`), 1)
	other := bytes.Replace(shipped["law/sa.yaml"].Data, []byte("72"), []byte("48"), 1)
	group := bytes.Replace(shipped["groups.yaml"].Data, []byte(`{code: "SA"}, `), nil, 1)
	own["law/tr.yaml"], own["law/saudi.yaml"] = &fstest.MapFile{Data: tr}, &fstest.MapFile{Data: other}
	own["groups.yaml"] = &fstest.MapFile{Data: group}
	set, problems = Parse(own, shipped)
	if set.Laws["TR"] == nil {
		t.Error("a law that the library lacks was not added")
	}
	var codes []string
	for _, p := range problems {
		codes = append(codes, where(p.Pos)+" "+p.Code)
	}
	if diff := cmp.Diff([]string{"groups.yaml:12:14 DP2006", "law/saudi.yaml:3:18 DP2002"}, codes); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// find returns the problems with a code.
func find(problems []Problem, code string) (out []Problem) {
	for _, p := range problems {
		if p.Code == code {
			out = append(out, p)
		}
	}
	return out
}

func TestNoDeployment(t *testing.T) {
	fsys := valid(t)
	delete(fsys, "deployment.yaml")
	set, problems := Parse(fsys, nil)
	if set == nil || len(find(problems, codes.NoDeployment)) != 1 {
		t.Errorf("got:\n%s", listing(problems))
	}
	if set, problems = Parse(fstest.MapFS{}, nil); set == nil || len(find(problems, codes.NoDeployment)) != 1 {
		t.Errorf("an empty directory:\n%s", listing(problems))
	}
}

// broken is a file system in which one file cannot be read.
type broken struct {
	fs.FS
	name string
}

func (b broken) Open(name string) (fs.File, error) {
	if name == b.name {
		return nil, &fs.PathError{Op: "open", Path: "/secret/place/" + name, Err: fs.ErrPermission}
	}
	return b.FS.Open(name)
}

func TestUnreadableFilesAreProblems(t *testing.T) {
	for _, name := range []string{"deployment.yaml", "jurisdictions/sa.yaml", "jurisdictions", "law", ".", "jwks.json"} {
		_, problems := Parse(broken{valid(t), name}, nil)
		found := find(problems, codes.Unreadable)
		if len(found) == 0 || !HasErrors(problems) {
			t.Errorf("%s: got\n%s", name, listing(problems))
			continue
		}
		if strings.Contains(found[0].Message.En, "/secret/place") {
			t.Errorf("%s: the message shows a path of the machine: %s", name, found[0].Message)
		}
	}
	fsys := valid(t)
	fsys["jurisdictions/dir.yaml/x"] = &fstest.MapFile{}
	if _, problems := Parse(fsys, nil); HasErrors(problems) {
		t.Errorf("a directory named like a file:\n%s", listing(problems))
	}
}

func TestT24LargeFilesAreNotParsed(t *testing.T) {
	fsys := valid(t)
	big := "apiVersion: domicile.dev/v1\n" + strings.Repeat("# filler\n", 3<<20/9)
	fsys["jurisdictions/big.yaml"] = &fstest.MapFile{Data: []byte(big)}
	start := time.Now()
	set, problems := Parse(fsys, nil)
	if took := time.Since(start); took > 15*time.Second {
		t.Errorf("took %v", took)
	}
	found := find(problems, codes.TooLarge)
	if len(problems) != 1 || len(found) != 1 || found[0].File != "jurisdictions/big.yaml" || !strings.Contains(found[0].Message.En, "1 MiB") {
		t.Errorf("got:\n%s", listing(problems))
	}
	if set.Files["jurisdictions/big.yaml"] != nil {
		t.Error("the large file is kept")
	}
	fsys = valid(t)
	for i := range MaxFiles + 1 {
		fsys[fmt.Sprintf("jurisdictions/f%d.yaml", i)] = &fstest.MapFile{Data: []byte("a")}
	}
	if _, problems := Parse(fsys, nil); len(find(problems, codes.TooLarge)) != 1 || len(problems) > MaxProblems {
		t.Errorf("too many files: %d problems", len(problems))
	}
}

func TestT24AliasBombAndDepthCostBoundedTime(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c <= 'z'; c++ {
		bomb += fmt.Sprintf("%c: &%[1]c [%s]\n", c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c,", c-1), 9), ","))
	}
	for name, src := range map[string]string{
		"bomb":     bomb,
		"flow":     strings.Repeat("[", 100_000),
		"maps":     strings.Repeat("{a: ", 100_000),
		"anchors":  strings.Repeat("a: &a x\n", 100_000),
		"problems": "apiVersion: domicile.dev/v1\nkind: Jurisdiction\nmetadata: {name: \"TR\"}\nspec: {law: [" + strings.Repeat("x,", 200_000) + "]}\n",
	} {
		fsys := valid(t)
		fsys["jurisdictions/x.yaml"] = &fstest.MapFile{Data: []byte(src)}
		start := time.Now()
		_, problems := Parse(fsys, nil)
		if took := time.Since(start); took > 30*time.Second {
			t.Errorf("%s took %v", name, took)
		}
		if !HasErrors(problems) || len(problems) > MaxProblems {
			t.Errorf("%s: %d problems", name, len(problems))
		}
		if name == "problems" && len(find(problems, codes.TooManyProblems)) != 1 {
			t.Errorf("%s: nothing says that more were found", name)
		}
	}
}

func TestShippedFilesOfThisRepository(t *testing.T) {
	dir := "../../policies"
	if _, err := os.Stat(filepath.Join(dir, "deployment.yaml")); err != nil {
		t.Fatal(err)
	}
	_, problems := Parse(os.DirFS(dir), os.DirFS(dir))
	if len(problems) > 0 {
		t.Errorf("got:\n%s", listing(problems))
	}
}

func FuzzParse(f *testing.F) {
	fsys := valid(f)
	names := slices.Sorted(maps.Keys(fsys))
	for i, name := range names {
		f.Add(uint8(i), fsys[name].Data)
	}
	archives, _ := filepath.Glob("testdata/refused/*.txtar")
	for _, name := range archives {
		if a, err := txtar.ParseFile(name); err == nil && len(a.Files) == 1 {
			f.Add(uint8(max(0, slices.Index(names, a.Files[0].Name))), a.Files[0].Data)
		}
	}
	f.Fuzz(func(t *testing.T, file uint8, src []byte) {
		fsys := maps.Clone(fsys)
		fsys[names[int(file)%len(names)]] = &fstest.MapFile{Data: src}
		set, problems := Parse(fsys, nil)
		if set == nil {
			t.Fatal("no set")
		}
		for _, p := range problems {
			if p.Code == codes.Internal {
				t.Fatalf("a bug: %s", line(p))
			}
			if p.Line < 1 || p.Column < 1 || p.File == "" {
				t.Fatalf("a problem without a place: %s", line(p))
			}
		}
		if !HasErrors(problems) && (set.Deployment == nil || len(set.Deployment.Regions) == 0) {
			t.Fatal("a set without errors has no regions")
		}
	})
}
