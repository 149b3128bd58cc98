package health

import (
	"fmt"
	"time"

	"github.com/domicile-dev/domicile/pkg/control"
)

// Clock judges the clock of a control plane: beside the asker's, from which it
// was ahead, and beside that of another replica that changed the policy. A
// transfer's end comes at the instant of each replica's own clock.
func Clock(c *control.ClockStatus, ahead time.Duration) []Finding {
	const fix = "set the clocks by NTP: a replica that is ahead refuses what a transfer still covers, one that is behind lets it pass too long"
	var out []Finding
	if ahead.Abs() > control.WrongClock {
		out = append(out, Finding{"fail", fmt.Sprintf("this control plane's clock is %s this machine's: one of the two is wrong", apart(ahead)), fix})
	}
	if c != nil {
		if d := time.Duration(c.AheadSeconds * float64(time.Second)); d.Abs() > control.WrongClock {
			out = append(out, Finding{"fail", fmt.Sprintf("this control plane's clock was %s that of who published sequence %d: one of the two is wrong", apart(d), c.Sequence), fix})
		}
	}
	if out == nil {
		out = append(out, Finding{State: "ok", Message: "its clock agrees with those that it was compared with"})
	}
	return out
}

func apart(d time.Duration) string {
	if d < 0 {
		return (-d).Round(time.Second).String() + " behind"
	}
	return d.Round(time.Second).String() + " ahead of"
}
