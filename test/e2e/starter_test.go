package e2e_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"
)

// What domicile init writes runs as it is: each user is served at home, and comes
// in nowhere else.
func TestStarterRuns(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "policies")
	if out, errs, code := run(t, "init", dir, "--jurisdictions", "SA,DE,FR"); code != 0 {
		t.Fatalf("exit %d: %s%s", code, out, errs)
	}
	l := own(t, "--policies", dir)
	if len(l.ready.Regions) != 2 {
		t.Fatalf("regions: %v", l.ready.Regions)
	}
	for home, region := range map[string]string{"SA": "sa-1", "FR": "eea-1"} {
		token := l.token(t, "user-of-"+home, home)
		for name, r := range l.ready.Regions {
			eventually(t, 10*time.Second, func() error {
				a := get(t, h1, r.Gateway+"/v1/messages", token)
				switch {
				case name == region && a.status == 200 && a.header.Get("x-domicile-region") == region:
				case name != region && a.status == 403 && a.reason() == "entry-not-allowed":
				default:
					return fmt.Errorf("%s through %s: %s", home, name, a)
				}
				return nil
			})
		}
	}
}
