package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// watched is the shipped policy with TR under observation, its messages forbidden,
// and backends of today.
func watched(t testing.TB) string {
	return policies(t,
		[3]string{"deployment.yaml", "  responseHeaders: true", "  responseHeaders: true\n" + `  today: {message: ["10.9.1.1:8080"], profile: ["10.9.1.2:8080"]}`},
		[3]string{"jurisdictions/tr.yaml", "enforcement: enforce", "enforcement: observe\n  observeUntil: " + time.Now().AddDate(0, 0, 40).Format(time.DateOnly)},
		[3]string{"jurisdictions/tr.yaml", "    message: {session: {maxAge: 24h}}", "    message: {serve: []}"},
	)
}

// enforced is that policy, enforced.
func enforced(t testing.TB) string {
	return policies(t,
		[3]string{"deployment.yaml", "  responseHeaders: true", "  responseHeaders: true\n" + `  today: {message: ["10.9.1.1:8080"], profile: ["10.9.1.2:8080"]}`},
		[3]string{"jurisdictions/tr.yaml", "    message: {session: {maxAge: 24h}}", "    message: {serve: []}"},
	)
}

// What the policy of an observed home refuses goes to today's backends from every
// door, and to no region; all else is decided as ever.
func TestWhatObservationPassesGoesToTodayOnly(t *testing.T) {
	l := own(t, "--policies", watched(t))
	if len(l.ready.Today) != 2 {
		t.Fatalf("stand-ins for today: %v", l.ready.Today)
	}
	for door, url := range l.doors() {
		t.Run(strings.ReplaceAll(door, " ", "-"), func(t *testing.T) { passesAt(t, l, door, url) })
	}
	t.Run("lies", func(t *testing.T) { liesPassNothing(t, l) })
	t.Run("peers", func(t *testing.T) { peersPassNothing(t, l) })
	t.Run("counted", func(t *testing.T) { countsWhatPassed(t, l) })
}

func passesAt(t *testing.T, l *lab, door, url string) {
	user := "watched-" + strings.ReplaceAll(door, " ", "-")
	tr := l.token(t, user, "TR")
	entry, _, _ := strings.Cut(door, " ")
	for _, c := range []struct {
		name, path, token string
		status            int
		observed, refusal string
		reaches           string
	}{
		{name: "forbidden", path: "/v1/messages", token: tr, status: 200, observed: "forbidden", reaches: "today"},
		{name: "allowed", path: "/v1/profiles/" + user, token: tr, status: 200, reaches: "tr-istanbul"},
		{name: "somebody else's", path: "/v1/friends/somebody", token: tr, status: 503, refusal: "not-decidable"},
		{name: "no class", path: "/v2/messages", token: tr, status: 403, refusal: "no-class"},
		{name: "enforced", path: "/v1/messages", token: l.token(t, user, "QA"), status: 403, refusal: "no-rule"},
		{name: "nobody's", path: "/v1/messages", status: 401, refusal: "no-identity"},
		{name: "no home", path: "/v1/messages", token: l.token(t, user, ""), status: 403, refusal: "no-home"},
		{name: "bad", path: "/v1/messages;x", token: tr, status: 400, refusal: "bad-request"},
		{name: "two identities", path: "/v1/messages?t=" + tr, token: tr, status: 401, refusal: "two-identities"},
	} {
		before := l.counted(t)
		a := get(t, h1, url+c.path, c.token)
		observed := a.header.Get("x-domicile-observed")
		if c.refusal == "not-decidable" {
			observed = "" // the agent's refusal may carry it
		}
		if a.status != c.status || a.reason() != c.refusal || observed != c.observed {
			t.Errorf("%s: %s, observed %q", c.name, a, observed)
		}
		only(t, l.reached(t, before), c.reaches)
	}
	// Relations may enter in Istanbul only; elsewhere observation lets them pass, to
	// their owner.
	before := l.counted(t)
	a := get(t, h1, url+"/v1/friends/"+user, tr)
	want, observed := "today", "entry-not-allowed"
	if entry == "tr-istanbul" {
		want, observed = "tr-istanbul", ""
	}
	if a.status != 200 || a.header.Get("x-domicile-observed") != observed {
		t.Errorf("relations: %s, observed %q", a, a.header.Get("x-domicile-observed"))
	}
	only(t, l.reached(t, before), want)

	// A WebSocket, and gRPC.
	before = l.counted(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	ws, resp, err := dial(ctx, url, tr)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := say(ws, "x"); got != "today:x" || resp.Header.Get("x-domicile-observed") != "forbidden" {
		t.Errorf("a WebSocket: %q %v", got, err)
	}
	ws.Close(websocket.StatusNormalClosure, "")
	if ended := l.watch(t, url, "TR"); ended.Load() {
		t.Error("a gRPC stream ended at once")
	}
	only(t, l.reached(t, before), "today")
}

// No header of a client's own makes another home pass.
func liesPassNothing(t *testing.T, l *lab) {
	before := l.counted(t)
	for _, door := range l.doors() {
		for _, home := range []string{"QA", ""} {
			for _, c := range []*http.Client{h1, h2c} {
				a := get(t, c, door+"/v1/messages", l.token(t, "liar", home), "x-domicile-home", "TR", "X-Domicile-Issuer", "https://id.example.com",
					"x-domicile-observed", "forbidden", "x-domicile-user", "liar")
				if a.status != 403 || a.header.Get("x-domicile-observed") != "" {
					t.Errorf("home %q: %s", home, a)
				}
			}
		}
		if a := get(t, h1, door+"/v1/messages", "", "x-domicile-home", "TR", "x-domicile-issuer", "https://id.example.com"); a.status != 401 {
			t.Errorf("without a token: %s", a)
		}
	}
	only(t, l.reached(t, before), "")
}

// A peer passes nothing, whichever gateway asks.
func peersPassNothing(t *testing.T, l *lab) {
	before := l.counted(t)
	for _, region := range []string{"tr-istanbul", "me-riyadh"} {
		peer := overTLS(t, toPeer(t, l.certificate(t, "eu-frankfurt/gateway/observe"), region), true)
		a := get(t, peer, "https://"+l.overlay(t).Regions[region].Peer+"/v1/messages", l.token(t, "peered", "TR"))
		if a.status != 403 || a.reason() != "forbidden" {
			t.Errorf("the peer of %s: %s", region, a)
		}
	}
	only(t, l.reached(t, before), "")
}

// countsWhatPassed: by home, class and reason, on the Envoy that passed it, and
// with labels for Prometheus. Nobody is named.
func countsWhatPassed(t *testing.T, l *lab) {
	eu := l.ready.Regions["eu-frankfurt"]
	text := get(t, h1, eu.EnvoyAdmin+"/stats/prometheus?filter=observed", "").body
	for _, want := range []string{ // at each: a message, a WebSocket, a gRPC stream; and one's own relations
		`envoy_vhost_route_upstream_rq_total{envoy_virtual_host="users",envoy_route="observed",domicile_home="TR",domicile_class="message",domicile_reason="forbidden"} 3`,
		`envoy_vhost_route_upstream_rq_total{envoy_virtual_host="guard",envoy_route="observed",domicile_home="TR",domicile_class="relation",domicile_reason="entry-not-allowed"} 1`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	plan, errs, code := run(t, "plan", enforced(t), "--dir", l.dir, "--observed", "demo")
	if code != 0 || !strings.Contains(plan, "that enforcing would have refused:") || !strings.Contains(plan, "entry-not-allowed") || !strings.Contains(plan, "0 loosened") {
		t.Errorf("plan: exit %d: %s%s", code, plan, errs)
	}
	if out, errs, code := run(t, "plan", enforced(t), "--dir", l.dir, "--observed", eu.EnvoyAdmin, "--output", "json"); code != 0 || !strings.Contains(out, `"requests": 4`) {
		t.Errorf("plan of one Envoy: exit %d: %s%s", code, out, errs)
	}
	if strings.Contains(text, "watched-") || strings.Contains(text, `home="SA"`) {
		t.Errorf("the counts name a user, or an enforced home:\n%s", text)
	}
}

// T12, T36: the end of observation closes what it opened, and nothing else, and
// from then on the policy is enforced.
func TestT36_TheEndOfObservationClosesItsSessions(t *testing.T) {
	l := own(t, "--policies", watched(t))
	var passed, others []*socket
	doors := []string{l.ready.Regions["eu-frankfurt"].Gateway, l.ready.Regions["tr-istanbul"].Sidecar}
	for _, url := range doors {
		passed = append(passed, l.open(t, url, "TR", 100)...)
		others = append(others, l.open(t, url, "SA", 20)...)
		others = append(others, l.open(t, url, "DE", 20)...)
	}
	for _, s := range others {
		if err := s.alive(); err != nil {
			t.Fatal(err)
		}
	}
	status, _, _ := run(t, "status", "--dir", l.dir)
	if !strings.Contains(status, "TR is NOT ENFORCED until ") {
		t.Errorf("status does not say that TR is not enforced:\n%s", status)
	}
	for region, r := range l.ready.Regions {
		if out, errs, code := run(t, "verify", "--envoy", r.EnvoyAdmin, "--policies", watched(t), "--dir", l.dir); code != 0 {
			t.Errorf("verify %s: exit %d: %s%s", region, code, out, errs)
		}
		if out, _, code := run(t, "verify", "--envoy", r.EnvoyAdmin, "--policies", enforced(t), "--dir", l.dir, "--output", "json"); code != 1 || !strings.Contains(out, "not-observed") {
			t.Errorf("verify %s as if enforced: exit %d: %s", region, code, out)
		}
	}
	began := time.Now()
	l.apply(t, enforced(t))
	eventually(t, 5*time.Second, func() error {
		for _, s := range passed {
			if s.closed.Load() == 0 {
				return fmt.Errorf("a socket to today is still open")
			}
		}
		return nil
	})
	var last time.Duration
	for _, s := range passed {
		last = max(last, time.Unix(0, s.closed.Load()).Sub(began))
	}
	t.Logf("%d sockets to today closed at the latest %s after apply began", len(passed), last.Round(time.Millisecond))
	if last > 3*time.Second {
		t.Errorf("the last socket to today closed after %s", last)
	}
	for _, s := range others {
		if err := s.alive(); err != nil {
			t.Error(err)
		}
	}
	before := l.counted(t)
	for _, url := range doors {
		if a := get(t, h1, url+"/v1/messages", l.token(t, "late", "TR")); a.status != 403 || a.reason() != "forbidden" {
			t.Errorf("after the end: %s", a)
		}
	}
	only(t, l.reached(t, before), "")
	// And back: nothing reaches a region on the way.
	l.apply(t, watched(t))
	before = l.counted(t)
	for _, url := range doors {
		if a := get(t, h1, url+"/v1/messages", l.token(t, "again", "TR")); a.status != 200 || a.header.Get("x-domicile-observed") != "forbidden" {
			t.Errorf("observed again: %s", a)
		}
	}
	only(t, l.reached(t, before), "today")
	l.apply(t, enforced(t))
	var s struct {
		Policy struct{ NotEnforced []json.RawMessage }
	}
	if out, _, _ := run(t, "status", "--dir", l.dir, "--output", "json"); json.Unmarshal([]byte(out), &s) != nil || len(s.Policy.NotEnforced) != 0 {
		t.Errorf("status after the end: %s", out)
	}
}
