package health

import (
	"time"

	"github.com/domicile-dev/domicile/pkg/control/clock"
	"github.com/domicile-dev/domicile/pkg/lang"
)

// Clock judges the clock of a control plane: beside the asker's, from which it
// was ahead, and beside that of another replica that changed the policy. A
// transfer's end comes at the instant of each replica's own clock.
func Clock(c *clock.Status, ahead time.Duration) []Finding {
	fix := lang.T("set the clocks by NTP: a replica that is ahead refuses what a transfer still covers, one that is behind lets it pass too long")
	var out []Finding
	if ahead.Abs() > clock.Wrong {
		out = append(out, Finding{"fail", apart(ahead,
			lang.T("this control plane's clock is %s ahead of this machine's: one of the two is wrong", span(ahead)),
			lang.T("this control plane's clock is %s behind this machine's: one of the two is wrong", span(ahead))), fix})
	}
	if c != nil {
		if d := time.Duration(c.AheadSeconds * float64(time.Second)); d.Abs() > clock.Wrong {
			out = append(out, Finding{"fail", apart(d,
				lang.T("this control plane's clock was %s ahead of that of who published sequence %d: one of the two is wrong", span(d), c.Sequence),
				lang.T("this control plane's clock was %s behind that of who published sequence %d: one of the two is wrong", span(d), c.Sequence)), fix})
		}
	}
	if out == nil {
		out = append(out, Finding{State: "ok", Message: lang.T("its clock agrees with those that it was compared with")})
	}
	return out
}

func apart(d time.Duration, ahead, behind lang.Text) lang.Text {
	if d < 0 {
		return behind
	}
	return ahead
}

func span(d time.Duration) string { return d.Abs().Round(time.Second).String() }
