package health

import (
	"strings"
	"testing"
	"time"

	"github.com/domicile-dev/domicile/pkg/gitsync"
	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy"
)

func TestGit(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	base := gitsync.Status{
		Repository: "https://git.example.com/policies", Ref: "main", Since: now.Add(-time.Minute), Sequence: 7,
		Commit: &gitsync.Commit{Hash: "0123456789abcdef", Author: "Kim", Subject: "tighten SA"},
	}
	for _, c := range []struct {
		state gitsync.State
		want  string
		says  []string
	}{
		{gitsync.Applied, "ok", []string{"0123456789ab", "tighten SA", "sequence 7"}},
		{gitsync.Refused, "fail", []string{"for 1m0s", "rejected", "jurisdictions/sa.yaml:4:2 DP2101 leaves"}},
		{gitsync.Unreachable, "fail", []string{"cannot be asked for 1m0s"}},
		{gitsync.Waiting, "warn", []string{"is waiting"}},
		{gitsync.Starting, "warn", []string{"is waiting"}},
	} {
		g := base
		g.State = c.state
		if c.state == gitsync.Refused {
			g.Error = "rejected"
			g.Problems = []policy.Problem{{Pos: policy.Pos{File: "jurisdictions/sa.yaml", Line: 4, Column: 2}, Code: "DP2101", Message: lang.Same("leaves"), Fix: lang.Same("stay")}}
		}
		f := Git(&g, now)
		if f.State != c.want {
			t.Errorf("%s: %+v", c.state, f)
		}
		for _, s := range c.says {
			if !strings.Contains(f.Message.En, s) {
				t.Errorf("%s does not say %q: %s", c.state, s, f.Message)
			}
		}
	}
}
