package e2e_test

import (
	"context"
	"maps"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
)

// silently adds an issuer whose tokens name no home.
var silently = [3]string{
	"deployment.yaml", "  directory: {kind: static",
	`    - {issuer: "https://silent.example.com", jwks: {file: jwks.json}, audiences: [im], homes: ["SA", "TR", "DE", "FR", "QA"]}
  pins: {}
  directory: {kind: static`,
}

// silent is a token that says who the user is, and not where.
func (l *lab) silent(t testing.TB, user string, set map[string]any) string {
	t.Helper()
	claims := map[string]any{"iss": "https://silent.example.com", "aud": "im", "sub": user, "iat": time.Now().Unix(), "exp": time.Now().Unix() + 600}
	maps.Copy(claims, set)
	return l.forge(t, l.es256(), claims)
}

// A user whose token names no home is looked up by the agent once; the pin that it
// answers with does for the next requests, and for nobody else.
func TestT07_PinsFromTheAgent(t *testing.T) {
	l := own(t, "--policies", policies(t, silently))
	l.token(t, "amal", "SA") // enters the directory
	l.token(t, "ayse", "TR")
	amal, ayse := l.silent(t, "amal", nil), l.silent(t, "ayse", nil)
	for door, url := range l.doors() {
		before := l.counted(t)
		first := get(t, h1, url+"/v1/messages", amal)
		only(t, l.reached(t, before), "me-riyadh")
		pin := first.header.Get("domicile-pin")
		cookie := first.header.Get("Set-Cookie")
		if first.status != 200 || pin == "" || !strings.Contains(cookie, pin) || !strings.Contains(cookie, "HttpOnly") || !strings.Contains(cookie, "Secure") {
			t.Fatalf("%s: first contact: %s, cookie %q", door, first, cookie)
		}
		// Behind a peer it is the pin that names the home.
		if h := first.backendHeaders(t); h["x-domicile-home"]+h["x-domicile-pin-home"] != "SA" || h["x-domicile-user"] != "amal" || h["authorization"] != "" || h["domicile-pin"] != "" {
			t.Errorf("%s: the backend saw %v", door, h)
		}
		other := get(t, h1, url+"/v1/messages", ayse).header.Get("domicile-pin")
		for _, c := range []struct{ name, token, header, value, region string }{
			{"again", amal, "domicile-pin", pin, "me-riyadh"},
			{"again, as a cookie", amal, "Cookie", "a=b; domicile-pin=" + pin, "me-riyadh"},
			{"somebody else's pin", amal, "domicile-pin", other, "me-riyadh"},
			{"my pin for somebody else", ayse, "domicile-pin", pin, "tr-istanbul"},
			{"a home of my own", amal, "x-domicile-home", "TR", "me-riyadh"},
		} {
			before := l.counted(t)
			if a := get(t, h1, url+"/v1/messages", c.token, c.header, c.value); a.status != 200 {
				t.Errorf("%s, %s: %s", door, c.name, a)
			}
			only(t, l.reached(t, before), c.region)
		}
		before = l.counted(t)
		for name, c := range map[string]struct{ token, reason string }{
			"a user whom nobody knows": {l.silent(t, "nobody", nil), "no-home"},
			"an expired token":         {l.silent(t, "amal", map[string]any{"exp": 1}), "bad-token"},
			"no token":                 {"", "no-identity"},
		} {
			if a := get(t, h1, url+"/v1/messages", c.token, "domicile-pin", pin); a.reason() != c.reason {
				t.Errorf("%s, %s: %s", door, name, a)
			}
		}
		only(t, l.reached(t, before), "")
		// Pins of one region are nothing in another; the agent there is asked.
		for elsewhere, url := range l.doors() {
			if strings.Split(elsewhere, " ")[0] != strings.Split(door, " ")[0] {
				if a := get(t, h1, url+"/v1/messages", amal, "domicile-pin", pin); a.status != 200 || a.header.Get("domicile-pin") == "" {
					t.Errorf("the pin of %s at %s: %s", door, elsewhere, a)
				}
			}
		}
	}
	streamsOfFirstContacts(t, l, amal)
	withoutAgents(t, l, amal)
}

// streamsOfFirstContacts: a stream goes home as well, whatever it speaks.
func streamsOfFirstContacts(t *testing.T, l *lab, token string) {
	t.Helper()
	for door, url := range l.doors() {
		before := l.counted(t)
		ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+token), 10*time.Second)
		c, _, err := dial(ctx, url, token)
		if err != nil {
			t.Fatalf("WebSocket through %s: %v", door, err)
		}
		if got, err := say(c, "hi"); err != nil || got != "me-riyadh:hi" {
			t.Errorf("WebSocket through %s: %q %v", door, got, err)
		}
		_ = c.CloseNow()
		conn, err := grpc.NewClient(strings.TrimPrefix(url, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		health := grpc_health_v1.NewHealthClient(conn)
		if r, err := health.Check(ctx, &grpc_health_v1.HealthCheckRequest{}); err != nil || r.Status != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("Check through %s: %v %v", door, r, err)
		}
		watch, err := health.Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
		if err == nil {
			_, err = watch.Recv()
		}
		if err != nil {
			t.Errorf("Watch through %s: %v", door, err)
		}
		_ = conn.Close()
		cancel()
		only(t, l.reached(t, before), "me-riyadh")
	}
}

// withoutAgents: who has a pin needs no agent; who has none is refused without one.
func withoutAgents(t *testing.T, l *lab, amal string) {
	t.Helper()
	url := l.ready.Regions["eu-frankfurt"].Gateway + "/v1/messages"
	pin := get(t, h1, url, amal).header.Get("domicile-pin")
	for name, region := range l.ready.Regions {
		if err := syscall.Kill(region.PIDs.Agent, syscall.SIGSTOP); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		defer func() { _ = syscall.Kill(region.PIDs.Agent, syscall.SIGCONT) }()
	}
	before := l.counted(t)
	if a := get(t, h1, url, amal, "domicile-pin", pin); a.status != 200 {
		t.Errorf("with a pin, without agents: %s", a)
	}
	only(t, l.reached(t, before), "me-riyadh")
	before = l.counted(t)
	if a := get(t, h1, url, amal); a.status != 503 || a.reason() != "not-decidable" {
		t.Errorf("without a pin, without agents: %s", a)
	}
	only(t, l.reached(t, before), "")
}
