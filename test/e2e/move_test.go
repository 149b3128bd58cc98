package e2e_test

import (
	"encoding/json"
	"strings"
	"testing"
)

// A user who has moved is served by the new home, and nothing that names the old one
// counts any more: not a token that is good for another hour, through no door.
func TestT07_AUserWhoMoved(t *testing.T) {
	l := own(t)
	old, other := l.token(t, "amal", "SA"), l.token(t, "badr", "SA")
	move := func(code int, says string, args ...string) string {
		t.Helper()
		out, errs, got := run(t, append([]string{"user", "move", "--user", "amal", "--dir", l.dir}, args...)...)
		if got != code || !strings.Contains(out+errs, says) {
			t.Fatalf("user move %v: exit %d, want %d and %q:\n%s%s", args, got, code, says, out, errs)
		}
		return out
	}
	move(0, "Nothing was changed", "--to", "TR", "--validate-only")
	move(5, "no-rule", "--to", "QA")
	move(1, "the policy knows no home XX", "--to", "XX")
	move(1, "says SA already", "--to", "SA")
	for door, url := range l.doors() {
		if a := get(t, h1, url+"/v1/messages", old); a.status != 200 {
			t.Fatalf("before the move, through %s: %s", door, a)
		}
	}

	var done struct {
		Done   bool
		Fenced []struct{ Region string }
	}
	if err := json.Unmarshal([]byte(move(0, "", "--to", "TR", "--output", "json")), &done); err != nil || !done.Done || len(done.Fenced) != 3 {
		t.Fatalf("%+v, %v", done, err)
	}
	before := l.counted(t)
	for door, url := range l.doors() {
		if a := get(t, h1, url+"/v1/messages", old); a.status != 401 || a.reason() != "bad-token" {
			t.Errorf("the old token through %s: %s", door, a)
		}
	}
	only(t, l.reached(t, before), "")
	next := l.token(t, "amal", "TR")
	before = l.counted(t)
	for door, url := range l.doors() {
		if a := get(t, h1, url+"/v1/messages", next); a.status != 200 {
			t.Errorf("the new token through %s: %s", door, a)
		}
	}
	only(t, l.reached(t, before), "tr-istanbul")
	before = l.counted(t)
	if a := get(t, h1, l.ready.Regions["eu-frankfurt"].Gateway+"/v1/messages", other); a.status != 200 {
		t.Errorf("somebody else: %s", a)
	}
	only(t, l.reached(t, before), "me-riyadh")

	move(1, "says TR already", "--to", "TR")
	move(0, "has moved", "--to", "TR", "--from", "SA")
}
