package health_test

import (
	"strings"
	"testing"
	"time"

	"github.com/domicile-dev/domicile/pkg/cli/health"
	"github.com/domicile-dev/domicile/pkg/jwks"
)

func TestKeys(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	seen := jwks.Status{Issuer: "https://id.example.com", Fetched: now.Add(-time.Minute), Until: now.Add(time.Hour), Since: now.Add(-30 * time.Second)}
	failing, gone := seen, seen
	failing.Error, gone.Error, gone.Until = "no route", "no route", time.Time{}
	for _, c := range []struct {
		k           jwks.Status
		state, says string
	}{
		{jwks.Status{Issuer: "x"}, "warn", "being fetched"},
		{seen, "ok", "1m0s ago"},
		{failing, "warn", "cannot be fetched for 30s, those of 1m0s ago count until 2026-11-24T13:00:00Z: no route"},
		{gone, "fail", "no token verifies"},
	} {
		if f := health.Keys(c.k, now); f.State != c.state || !strings.Contains(f.Message.En, c.says) {
			t.Errorf("%+v: %+v", c.k, f)
		}
	}
}
