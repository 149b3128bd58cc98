package policy

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/domicile-dev/domicile/pkg/policy/internal/codes"
)

// TestEveryMissingFieldHasAnExample reads files in which everything is missing.
func TestEveryMissingFieldHasAnExample(t *testing.T) {
	fsys := fstest.MapFS{}
	for name, text := range map[string]string{
		"deployment.yaml":           "kind: Deployment\nmetadata: {}\nspec: {regions: [{}], classes: [{}, {subject: none}], issuers: [{}, {jwks: {}}], directory: {}, signers: [{}]}",
		"jurisdictions/a.yaml":      "kind: Jurisdiction\nmetadata: {}\nspec: {review: {}, classes: {a: {session: {}, cache: {}}}, transfers: [{}]}",
		"jurisdictions/b.yaml":      "kind: Jurisdiction\nmetadata: {}\nspec: {}",
		"jurisdictions/c.yaml":      "kind: Jurisdiction",
		"jurisdictions/d.yaml":      "metadata: {}",
		"law/a.yaml":                "kind: Law\nmetadata: {}\nspec: {titlesLocal: [{}], localisation: {variants: [{}]}, freeFlow: {}, exportLimits: [{}], articles: [{}], mechanisms: [{}], retention: {}, lawfulAccess: {}}",
		"law/b.yaml":                "kind: Law\nmetadata: {}\nspec: {}",
		"law/c.yaml":                "kind: Law",
		"groups.yaml":               "kind: Groups\nspec: {groups: [{}, {name: G, members: [{}]}]}",
		"jurisdictions/a_test.yaml": "kind: PolicyTest\nmetadata: {}\ncases: [{}]",
		"waivers/a.yaml":            "kind: Waiver\nmetadata: {}\nspec: {}",
		"waivers/b.yaml":            "kind: Waiver",
		"denials.yaml":              "kind: Denials\nspec: {denials: [{}]}",
		"b_test.yaml":               "kind: PolicyTest",
	} {
		fsys[name] = &fstest.MapFile{Data: []byte("apiVersion: domicile.dev/v1\n" + text + "\n")}
	}
	_, problems := Parse(fsys, nil)
	missing := find(problems, codes.Missing)
	for _, p := range missing {
		_, field, named := strings.Cut(p.Message.En, " has no ")
		if !named && strings.Contains(p.Fix.En, ", as in ") {
			continue // one of several
		}
		if !strings.Contains(p.Fix.En, ", as in "+field+": ") && !strings.Contains(field, "neither have the defaults") {
			t.Errorf("%s: the fix shows no value", line(p))
		}
	}
	if len(missing) < 60 {
		t.Errorf("only %d fields are missing", len(missing))
	}
}
