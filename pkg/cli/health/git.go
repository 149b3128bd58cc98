package health

import (
	"fmt"
	"time"

	"github.com/domicile-dev/domicile/pkg/cli/show"
	"github.com/domicile-dev/domicile/pkg/gitsync"
)

// Git judges how following a git repository stands, for check and for status.
func Git(g *gitsync.Status, now time.Time) Finding {
	what := g.Repository + " " + g.Ref
	if g.Commit != nil {
		what += fmt.Sprintf(" at %.12s %q by %s", g.Commit.Hash, g.Commit.Subject, g.Commit.Author)
	}
	age := now.Sub(g.Since).Round(time.Second)
	switch g.State {
	case gitsync.Applied:
		return Finding{"ok", fmt.Sprintf("%s is applied (sequence %d)", what, g.Sequence), ""}
	case gitsync.Refused:
		f := Finding{"fail", fmt.Sprintf("%s is refused for %s: %s", what, age, g.Error), "mend it with a new commit; domicile lint and domicile plan show more"}
		if len(g.Problems) > 0 {
			p := g.Problems[0]
			f.Message += fmt.Sprintf(": %s %s %s", show.Place{}.Position(p.Pos), p.Code, p.Message)
			f.Fix = p.Fix.En
		}
		return f
	case gitsync.Unreachable:
		return Finding{"fail", fmt.Sprintf("%s cannot be asked for %s: %s", what, age, g.Error), "look at the repository and the credentials; what is in force stays in force meanwhile"}
	default:
		return Finding{"warn", fmt.Sprintf("%s is waiting for %s: %s", what, age, g.Error), "wait a moment"}
	}
}
