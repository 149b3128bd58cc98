package control

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A home under observation is shown, with its end; at that instant, without a new
// policy, it is enforced.
func TestObservationIsShownAndEnds(t *testing.T) {
	run(t, func(t *testing.T, s *stand) {
		until := s.now().Add(2 * time.Hour).Truncate(time.Second)
		lines := []string{"serve DE eu", "observe SA " + until.Format(time.RFC3339)}
		s.put(lines...)
		if d := cmp.Diff([]NotEnforced{{"SA", until}}, s.Status().Policy.NotEnforced); d != "" {
			t.Error(d)
		}
		got := s.gather()
		if got["domicile_observed_homes"] != 1 || got["domicile_observe_until_timestamp_seconds"] != float64(until.Unix()) {
			t.Errorf("metrics: %v", got)
		}
		observing := s.Status().Policy.Table
		s.pass(time.Hour)
		s.wantInForce(1, lines...)
		if now := s.Status().Policy; now.Table != observing || len(now.NotEnforced) != 1 {
			t.Errorf("after an hour: %+v", now)
		}
		s.pass(time.Hour)
		s.wantInForce(1, lines...)
		now := s.Status().Policy
		if now.Table == observing || len(now.NotEnforced) != 0 || now.Sequence != 1 {
			t.Errorf("after the end: %+v", now)
		}
		got = s.gather()
		if _, shown := got["domicile_observe_until_timestamp_seconds"]; shown || got["domicile_observed_homes"] != 0 {
			t.Errorf("metrics: %v", got)
		}
	})
}

// Proxies that run the old table keep it until all may open what observation
// passes; its end is no step, but the new table itself.
func TestObservationOpensLastAndClosesFirst(t *testing.T) {
	run(t, func(t *testing.T, s *stand) {
		observe := "observe SA " + s.now().Add(time.Hour).Format(time.RFC3339)
		s.put("serve DE eu", "serve SA")
		enforced := s.Status().Policy.Table
		s.put("serve DE eu", "serve SA", observe)
		step := s.out.last("eu").Revoke(enforced)
		if step == nil || step.Table != enforced {
			t.Errorf("on the way into observation: %+v, want the old table", step)
		}
		observed := s.Status().Policy.Table
		s.put("serve DE eu", "serve SA sa", observe)
		step = s.out.last("eu").Revoke(observed)
		if step == nil || step.Table == observed || step.Table == s.Status().Policy.Table {
			t.Errorf("a rule for what passed: %+v, want a step that neither passes nor serves it", step)
		}
		s.put("serve DE eu", "serve SA")
		if step := s.out.last("eu").Revoke(observed); step != nil {
			t.Errorf("out of observation: %+v, want the new table at once", step)
		}
	})
}
