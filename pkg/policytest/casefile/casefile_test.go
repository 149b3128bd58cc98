package casefile

import (
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/domicile-dev/domicile/pkg/policy"
)

// read reads a file of tests; its cases without places.
func read(t *testing.T, src []byte) []policy.TestCase {
	t.Helper()
	set, problems := policy.Parse(fstest.MapFS{"a_test.yaml": &fstest.MapFile{Data: src}}, nil)
	for _, p := range problems {
		if p.File == "a_test.yaml" {
			t.Fatalf("%d:%d: %s\n%s", p.Line, p.Column, p.Message, src)
		}
	}
	return set.Tests[0].Cases
}

var cases = []policy.TestCase{
	{Name: "at home", Home: "SA", Class: "message", Entry: "me-riyadh", AllowRegion: "me-riyadh"},
	{Name: "no: spill-over, [really]", Home: "NO", Class: "message", Entry: "no-oslo", Down: []string{"no-oslo", "me-riyadh"}, DenyReason: "region-unavailable"},
	{Name: "no", Home: "SA", Class: "profile", Edge: "eu-frankfurt", Field: "displayName", CacheTTL: 10 * time.Minute},
	{Name: "12", Home: "SA", Class: "profile", Edge: "eu-frankfurt", Field: "on", CacheNone: true},
	{Name: `电话 "号码" & 头像`, Home: "SA", Class: "profile", To: "DE", For: "cache", Transfer: "card"},
	{Name: "null", Home: "SA", Class: "profile", To: "NO", For: "serve", DenyReason: "transfer-not-allowed"},
}

var noPlaces = cmpopts.IgnoreFields(policy.TestCase{}, "Pos")

// TestRoundTrip: what is written is read back as it was, in a new file and behind
// the cases of another.
func TestRoundTrip(t *testing.T) {
	src := New("everything: here", cases[0])
	for i, c := range cases[1:] {
		old := read(t, src)
		out, line, ok := Append(src, old[len(old)-1].Pos, c)
		if !ok {
			t.Fatalf("refused:\n%s", src)
		}
		src = out
		got := read(t, src)
		if d := cmp.Diff(cases[:i+2], got, noPlaces); d != "" {
			t.Fatalf("%s\n%s", d, src)
		}
		if at := got[i+1].Pos.Line; at != line {
			t.Errorf("line %d, and it says %d", at, line)
		}
	}
}

// TestAppendKeepsTheRest: nothing that stood in the file is changed.
func TestAppendKeepsTheRest(t *testing.T) {
	const head = "# 测试 tests\napiVersion: domicile.dev/v1\nkind: PolicyTest\n"
	one := `{name: at home, home: "SA", class: message, entry: me-riyadh, expect: {allow: me-riyadh}}`
	added := `- {name: new, home: "SA", class: login, entry: me-riyadh, expect: {deny: no-rule}}`
	block := "- name: at home\n    home: \"SA\"\n    class: message\n    entry: me-riyadh\n    expect:\n      allow: me-riyadh # stays\n"
	for name, c := range map[string]struct{ src, want string }{
		"last in the file": {head + "metadata: {name: t}\ncases:\n  - " + one + "\n", head + "metadata: {name: t}\ncases:\n  - " + one + "\n  " + added + "\n"},
		"no final newline": {head + "metadata: {name: t}\ncases:\n  - " + one, head + "metadata: {name: t}\ncases:\n  - " + one + "\n  " + added + "\n"},
		"comment behind":   {head + "metadata: {name: t}\ncases:\n  - " + one + "\n\n# the end\n", head + "metadata: {name: t}\ncases:\n  - " + one + "\n  " + added + "\n\n# the end\n"},
		"not last":         {head + "cases:\n- " + one + "\n# about it\nmetadata: {name: t}\n", head + "cases:\n- " + one + "\n" + added + "\n# about it\nmetadata: {name: t}\n"},
		"block":            {head + "metadata: {name: t}\ncases:\n  " + block + "    # deeper\n\n", head + "metadata: {name: t}\ncases:\n  " + block + "    # deeper\n  " + added + "\n\n"},
		"windows":          {"apiVersion: domicile.dev/v1\r\nkind: PolicyTest\r\nmetadata: {name: t}\r\ncases:\r\n  - " + one + "\r\n", "apiVersion: domicile.dev/v1\r\nkind: PolicyTest\r\nmetadata: {name: t}\r\ncases:\r\n  - " + one + "\r\n  " + added + "\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			old := read(t, []byte(c.src))
			out, _, ok := Append([]byte(c.src), old[len(old)-1].Pos, policy.TestCase{Name: "new", Home: "SA", Class: "login", Entry: "me-riyadh", DenyReason: "no-rule"})
			if !ok {
				t.Fatal("refused")
			}
			if d := cmp.Diff(c.want, string(out)); d != "" {
				t.Error(d)
			}
			if got := read(t, out); len(got) != len(old)+1 {
				t.Errorf("%d cases", len(got))
			}
		})
	}
	src := head + "metadata: {name: t}\ncases: [" + one + "]\n"
	if out, _, ok := Append([]byte(src), read(t, []byte(src))[0].Pos, cases[0]); ok {
		t.Errorf("a list in brackets became\n%s", out)
	}
}
