package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	grpcstatus "google.golang.org/grpc/status"
)

// doors are all ways into a region: its gateway and its sidecar.
func (l *lab) doors() map[string]string {
	out := map[string]string{}
	for name, r := range l.ready.Regions {
		out[name+" gateway"], out[name+" sidecar"] = r.Gateway, r.Sidecar
	}
	return out
}

// lies are what a client may claim without being believed.
var lies = []string{
	"X-Domicile-Home", "DE", "x-domicile-home", "SA", "X-Domicile-Region", "eu-frankfurt", "X-Domicile-Pin", "eyJ",
	"X-Domicile-Entry", "spiffe://domicile.local/tr-istanbul/gateway/x", "X-Forwarded-For", "88.230.0.1", "X-Real-Ip", "88.230.0.1",
	"X-Envoy-Retry-On", "5xx", "X-Envoy-Upstream-Alt-Stat-Name", "x",
}

func TestEveryHomeFromEveryDoorLandsAtHome(t *testing.T) {
	l := shared(t)
	for home, region := range regionOf {
		user := "pin-" + strings.ToLower(home)
		token := l.token(t, user, home)
		for door, url := range l.doors() {
			for name, client := range map[string]*http.Client{"HTTP/1.1": h1, "HTTP/2": h2c} {
				before := l.counted(t)
				a := get(t, client, url+"/v1/messages", token, lies...)
				if a.status != 200 || a.header.Get("x-backend-region") != region {
					t.Errorf("%s user through %s by %s: %s", home, door, name, a)
				}
				for h, want := range map[string]string{"x-domicile-region": region, "x-domicile-home": home} {
					if got := a.header.Values(h); len(got) != 1 || got[0] != want {
						t.Errorf("%s user through %s by %s: %s is %q", home, door, name, h, got)
					}
				}
				only(t, l.reached(t, before), region)
			}
		}
	}
}

func TestGRPCLandsAtHome(t *testing.T) {
	l := shared(t)
	for home, region := range regionOf {
		token := l.token(t, "grpc-"+strings.ToLower(home), home)
		for door, url := range l.doors() {
			before := l.counted(t)
			conn, err := grpc.NewClient(strings.TrimPrefix(url, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				t.Fatal(err)
			}
			health := grpc_health_v1.NewHealthClient(conn)
			ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+token), 10*time.Second)
			if r, err := health.Check(ctx, &grpc_health_v1.HealthCheckRequest{}); err != nil || r.Status != grpc_health_v1.HealthCheckResponse_SERVING {
				t.Errorf("%s user through %s: Check: %v %v", home, door, r, err)
			}
			watch, err := health.Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
			if err == nil {
				_, err = watch.Recv()
			}
			if err != nil {
				t.Errorf("%s user through %s: Watch: %v", home, door, err)
			}
			only(t, l.reached(t, before), region)
			none, stop := context.WithTimeout(context.Background(), 10*time.Second)
			if _, err := health.Check(none, &grpc_health_v1.HealthCheckRequest{}); grpcstatus.Code(err) != codes.Unauthenticated {
				t.Errorf("without a token through %s: %v", door, err)
			}
			stop()
			cancel()
			conn.Close()
		}
	}
}

// dial opens a WebSocket at a door.
func dial(ctx context.Context, url, token string) (*websocket.Conn, *http.Response, error) {
	h := http.Header{}
	if token != "" {
		h.Set("Authorization", "Bearer "+token)
	}
	return websocket.Dial(ctx, "ws"+strings.TrimPrefix(url, "http")+"/ws", &websocket.DialOptions{HTTPHeader: h})
}

// say sends a text and returns the answer.
func say(c *websocket.Conn, text string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := c.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		return "", err
	}
	_, data, err := c.Read(ctx)
	return string(data), err
}

func TestWebSocketsLandAtHome(t *testing.T) {
	l := shared(t)
	for home, region := range regionOf {
		token := l.token(t, "ws-"+strings.ToLower(home), home)
		for door, url := range l.doors() {
			before := l.counted(t)
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			c, _, err := dial(ctx, url, token)
			if err != nil {
				t.Errorf("%s user through %s: %v", home, door, err)
				cancel()
				continue
			}
			for i := range 3 {
				if got, err := say(c, fmt.Sprint(i)); err != nil || got != fmt.Sprintf("%s:%d", region, i) {
					t.Errorf("%s user through %s: %q %v", home, door, got, err)
				}
			}
			c.CloseNow()
			cancel()
			only(t, l.reached(t, before), region)
		}
	}
}

func TestRefusalsAreTyped(t *testing.T) {
	l := shared(t)
	for door, url := range l.doors() {
		for _, c := range []struct {
			name, token, path, reason string
			status                    int
			home                      string
		}{
			{"no token", "", "/v1/messages", "no-identity", 401, ""},
			{"rubbish", "rubbish", "/v1/messages", "bad-token", 401, ""},
			{"a home without a rule", l.token(t, "q", "QA"), "/v1/messages", "no-rule", 403, "QA"},
			{"a home the issuer may not name", l.token(t, "u", "US"), "/v1/messages", "issuer-not-entitled", 403, ""},
			{"no home", l.token(t, "nobody", ""), "/v1/messages", "no-home", 403, ""},
			{"no class", l.token(t, "amal", "SA"), "/nowhere", "no-class", 403, "SA"},
			{"almost a class", l.token(t, "amal", "SA"), "/v1/messagesfoo", "no-class", 403, "SA"},
			{"two hosts", l.token(t, "amal", "SA"), "/v1/messages", "bad-request", 400, ""},
		} {
			before := l.counted(t)
			var extra []string
			if c.name == "two hosts" {
				extra = []string{"Host", "a.example,b.example"}
			}
			a := get(t, h1, url+c.path, c.token, extra...)
			if a.status != c.status || a.reason() != c.reason || a.field("reason") != c.reason || a.field("home") != c.home {
				t.Errorf("%s through %s: %s", c.name, door, a)
			}
			if ct := a.header.Get("content-type"); ct != "application/problem+json" {
				t.Errorf("%s through %s: content type %q", c.name, door, ct)
			}
			if c.reason != "bad-request" && !strings.HasPrefix(a.field("policy"), "sha256:") {
				t.Errorf("%s through %s: policy %q", c.name, door, a.field("policy"))
			}
			only(t, l.reached(t, before), "")
		}
	}
}

func TestRefusedWebSocketIsTyped(t *testing.T) {
	l := shared(t)
	for home, reason := range map[string]string{"QA": "no-rule", "US": "issuer-not-entitled"} {
		for door, url := range l.doors() {
			before := l.counted(t)
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			_, resp, err := dial(ctx, url, l.token(t, "ws", home))
			if err == nil || resp == nil || resp.StatusCode != 403 || resp.Header.Get("x-domicile-reason") != reason {
				t.Errorf("%s through %s: %v %v", home, door, resp, err)
			}
			cancel()
			only(t, l.reached(t, before), "")
		}
	}
}

func TestLoginGoesWhereTheHostNameSays(t *testing.T) {
	l := shared(t)
	for region, r := range l.ready.Regions {
		before := l.counted(t)
		if a := get(t, h1, r.Gateway+"/v1/login", ""); a.status != 200 || a.header.Get("x-backend-region") != region {
			t.Errorf("login at %s: %s", region, a)
		}
		only(t, l.reached(t, before), region)
		before = l.counted(t)
		if a := get(t, h1, r.Gateway+"/v1/login", "", "Host", "sa.im.example.com"); a.status != 200 || a.header.Get("x-backend-region") != "me-riyadh" {
			t.Errorf("login at %s for the host of me-riyadh: %s", region, a)
		}
		only(t, l.reached(t, before), "me-riyadh")
	}
}

// The owner sees a profile through any allowed entry; everybody else is refused
// until the edge cache exists.
func TestProfilesAreTheOwnersOnly(t *testing.T) {
	l := shared(t)
	for door, url := range l.doors() {
		before := l.counted(t)
		a := get(t, h1, url+"/v1/profiles/owner-sa", l.token(t, "owner-sa", "SA"))
		if a.status != 200 || a.field("phone") == "" || a.header.Get("x-backend-region") != "me-riyadh" {
			t.Errorf("owner through %s: %s", door, a)
		}
		only(t, l.reached(t, before), "me-riyadh")
		before = l.counted(t)
		for _, who := range [][2]string{{"other-sa", "SA"}, {"other-tr", "TR"}} {
			a := get(t, h1, url+"/v1/profiles/owner-sa", l.token(t, who[0], who[1]))
			if a.status != 503 || a.reason() != "not-decidable" || a.field("class") != "profile" || a.field("home") != "" || strings.Contains(a.body, "phone") {
				t.Errorf("%s through %s: %s", who[0], door, a)
			}
		}
		only(t, l.reached(t, before), "")
	}
}

func TestMessagesAcrossBordersAreRefusedToTheSender(t *testing.T) {
	l := shared(t)
	l.token(t, "ayse", "TR")
	l.token(t, "badr", "SA")
	amal := l.token(t, "amal", "SA")
	url := l.ready.Regions["eu-frankfurt"].Gateway + "/v1/messages"
	before := l.counted(t)
	if a := send(t, h1, http.MethodPost, url, amal, `{"to":"badr","text":"hi"}`); a.status != 200 || a.field("delivered") != "true" {
		t.Errorf("to the same home: %s", a)
	}
	if a := send(t, h1, http.MethodPost, url, amal, `{"to":"ayse","text":"hi"}`); a.status != 403 || a.reason() != "transfer-not-allowed" {
		t.Errorf("to another home: %s", a)
	}
	only(t, l.reached(t, before), "me-riyadh")
}
