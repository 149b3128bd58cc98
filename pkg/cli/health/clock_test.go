package health

import (
	"strings"
	"testing"
	"time"

	"github.com/domicile-dev/domicile/pkg/control"
	"github.com/domicile-dev/domicile/pkg/control/clock"
)

func TestT42Clock(t *testing.T) {
	day := &clock.Status{AheadSeconds: 86400, Sequence: 7}
	for _, c := range []struct {
		measured *clock.Status
		ahead    time.Duration
		want     []string // of the findings that fail
	}{
		{nil, 0, nil},
		{nil, -time.Minute, nil},
		{&clock.Status{AheadSeconds: 59, Sequence: 7}, 3 * time.Second, nil},
		{nil, 24 * time.Hour, []string{"24h0m0s ahead of this machine's"}},
		{nil, -61 * time.Second, []string{"1m1s behind this machine's"}},
		{day, 0, []string{"24h0m0s ahead of that of who published sequence 7"}},
		{&clock.Status{AheadSeconds: -86400, Sequence: 7}, -24 * time.Hour, []string{"24h0m0s behind this machine's", "24h0m0s behind that of who"}},
	} {
		got := Clock(c.measured, c.ahead)
		if c.want == nil {
			if len(got) != 1 || got[0].State != "ok" {
				t.Errorf("%+v, %s: %+v", c.measured, c.ahead, got)
			}
			continue
		}
		if len(got) != len(c.want) {
			t.Fatalf("%+v, %s: %+v", c.measured, c.ahead, got)
		}
		for i, f := range got {
			if f.State != "fail" || !strings.Contains(f.Message.En, c.want[i]) || f.Fix.Zh == "" {
				t.Errorf("%+v, want %q", f, c.want[i])
			}
		}
	}
}

// T42: the end of a transfer is announced 30 days ahead, as lint does.
func TestT42AnnouncedThirtyDaysAhead(t *testing.T) {
	end := time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC)
	for ahead, want := range map[time.Duration]bool{announced + 1: false, announced: true, time.Second: true} {
		said := false
		for _, f := range Judge(control.Status{Policy: &control.PolicyStatus{NextBoundary: &end}}, end.Add(-ahead)) {
			said = said || f.State == "warn" && strings.Contains(f.Message.En, end.Format(time.RFC3339))
		}
		if said != want {
			t.Errorf("%s ahead: announced: %v", ahead, said)
		}
	}
}
