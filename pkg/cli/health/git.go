package health

import (
	"time"

	"github.com/domicile-dev/domicile/pkg/cli/show"
	"github.com/domicile-dev/domicile/pkg/gitsync"
	"github.com/domicile-dev/domicile/pkg/lang"
)

// Git judges how following a git repository stands, for check and for status.
func Git(g *gitsync.Status, now time.Time) Finding {
	what := lang.Same(g.Repository + " " + g.Ref)
	if g.Commit != nil {
		what = lang.T("%s at %.12s %q by %s", what, g.Commit.Hash, g.Commit.Subject, g.Commit.Author)
	}
	age := now.Sub(g.Since).Round(time.Second).String()
	switch g.State {
	case gitsync.Applied:
		return Finding{State: "ok", Message: lang.T("%s is applied (sequence %d)", what, g.Sequence)}
	case gitsync.Refused:
		f := Finding{"fail", lang.T("%s is refused for %s: %s", what, age, g.Error), lang.T("mend it with a new commit; domicile lint and domicile plan show more")}
		if len(g.Problems) > 0 {
			p := g.Problems[0]
			f.Message = lang.T("%s: %s %s %s", f.Message, show.Place{}.Position(p.Pos), p.Code, p.Message)
			f.Fix = p.Fix
		}
		return f
	case gitsync.Unreachable:
		return Finding{"fail", lang.T("%s cannot be asked for %s: %s", what, age, g.Error), lang.T("look at the repository and the credentials; what is in force stays in force meanwhile")}
	default:
		return Finding{"warn", lang.T("%s is waiting for %s: %s", what, age, g.Error), lang.T("wait a moment")}
	}
}
