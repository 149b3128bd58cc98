package e2e_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// seen is the part of home coverage's answer that is asked for here.
type seen struct {
	Homes   map[string]struct{ Users, Requests uint64 }
	Without struct{ Users, Requests uint64 }
}

func (l *lab) seen(t testing.TB) seen {
	t.Helper()
	out, errs, code := run(t, "home", "coverage", "--dir", l.dir, "--output", "json")
	var s seen
	if code != 0 || json.Unmarshal([]byte(out), &s) != nil {
		t.Fatalf("home coverage: exit %d: %s %s", code, out, errs)
	}
	return s
}

// Users with and without a home are counted by the real Envoys, however their
// requests end; what a client claims by itself counts for nothing.
func TestHomeCoverageCountsUsers(t *testing.T) {
	l := own(t) // entries come a second late: others must not count among ours
	before := l.seen(t)
	gateways := []string{l.ready.Regions["eu-frankfurt"].Gateway, l.ready.Regions["tr-istanbul"].Sidecar}
	for i := range 5 {
		token := l.token(t, fmt.Sprintf("covered-%d", i), "SA")
		for range 2 {
			get(t, h1, gateways[0]+"/v1/messages", token)
		}
		get(t, h1, gateways[1]+"/v1/messages", l.token(t, fmt.Sprintf("homeless-%d", i), ""), "x-domicile-home", "SA")
		get(t, h1, gateways[0]+"/v1/messages", "", "x-domicile-user", "nobody", "x-domicile-home", "SA")
	}
	eventually(t, 10*time.Second, func() error {
		now := l.seen(t)
		sa, without := now.Homes["SA"].Requests-before.Homes["SA"].Requests, now.Without.Requests-before.Without.Requests
		users := now.Homes["SA"].Users - before.Homes["SA"].Users
		homeless := now.Without.Users - before.Without.Users
		if sa != 10 || without != 5 || users != 5 || homeless != 5 {
			return fmt.Errorf("%d requests of %d users of SA, %d of %d without a home", sa, users, without, homeless)
		}
		return nil
	})
	out, errs, code := run(t, "home", "coverage", "--dir", l.dir, "--lang", "zh-CN")
	if code != 0 || !strings.Contains(out, "尚无归属法域") || strings.Contains(out, "covered-") {
		t.Errorf("exit %d: %s %s", code, out, errs)
	}
}
