package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	extensionv3 "github.com/envoyproxy/go-control-plane/envoy/service/extension/v3"

	"github.com/domicile-dev/domicile/pkg/agent/moves"
	"github.com/domicile-dev/domicile/pkg/fence"
	"github.com/domicile-dev/domicile/pkg/identity"
	"github.com/domicile-dev/domicile/pkg/pin"
	"github.com/domicile-dev/domicile/pkg/token"
	"github.com/domicile-dev/domicile/pkg/topology"
)

func TestFirstContacts(t *testing.T) {
	s := newSite(t)
	s.enter("amal", "SA")
	s.enter("deniz", "TR")
	s.start()
	public, err := token.ParseKeys([]byte(s.pinPublic))
	if err != nil {
		t.Fatal(err)
	}
	a := s.ask("amal", "", "cookie", "x=y; domicile-pin=old")
	if a.home != "SA" || a.set["x-domicile-user"] != "amal" || a.set["x-domicile-issuer"] != issuer || a.set["cookie"] != "x=y" {
		t.Fatalf("%+v", a)
	}
	c, err := pin.Verify(a.set["domicile-pin"], public, region, time.Now())
	if err != nil || c.Home != "SA" || c.User != identity.UserHash(s.hashKey, "amal") {
		t.Errorf("pin: %+v %v", c, err)
	}
	if a.back["domicile-pin"] != a.set["domicile-pin"] {
		t.Errorf("the client gets another pin: %v", a.back)
	}
	want := "domicile-pin=" + a.set["domicile-pin"] + "; Path=/; Max-Age=300; HttpOnly; Secure; SameSite=Lax"
	if a.back["set-cookie"] != want {
		t.Errorf("cookie: %s, want %s", a.back["set-cookie"], want)
	}
	if a := s.ask("amal", "", "cookie", "domicile-pin=old"); len(a.removed) != 1 || a.removed[0] != "cookie" {
		t.Errorf("the stale pin stays: %+v", a)
	}
	for name, c := range map[string]struct {
		got    answer
		reason string
		status int
	}{
		"in no directory": {s.ask("nobody", ""), "no-home", 403},
		"no token":        {s.askWith(nil), "no-identity", 401},
		"not verified":    {s.askWith(map[string]string{"authorization": "Bearer x"}), "bad-token", 401},
		"two":             {s.ask("amal", "", "authorization", "Bearer a,Bearer b"), "two-identities", 401},
		"not entitled":    {s.ask("new", `,"country":"US"`), "issuer-not-entitled", 403},
	} {
		var body map[string]any
		if err := json.Unmarshal([]byte(c.got.body), &body); err != nil || c.got.reason != c.reason || c.got.status != c.status || body["reason"] != c.reason || body["policy"] != s.published.Table {
			t.Errorf("%s: %+v %v", name, c.got, err)
		}
	}
	if a := s.ask("new", `,"country":"DE"`); a.home != "DE" {
		t.Errorf("declared: %+v", a)
	}
	if err := os.Rename(s.path("users.yaml"), s.path("gone")); err != nil {
		t.Fatal(err)
	}
	if a := s.ask("amal", ""); a.reason != "not-decidable" || a.status != 503 || a.back["retry-after"] == "" {
		t.Errorf("without the directory: %+v", a)
	}
	if code, body := s.get("/readyz"); code != 503 || body == "" {
		t.Errorf("readyz: %d %s", code, body)
	}
	_, metrics := s.get("/metrics")
	for _, want := range []string{
		`domicile_agent_resolutions_total{reason="",source="directory"} 2`, `domicile_agent_resolutions_total{reason="no-home",source=""} 1`,
		"domicile_agent_policy_sequence 1", "domicile_agent_control_connected 1", "domicile_agent_policy_behind 0",
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d: %s", code, s.logged())
	}
	for _, personal := range []string{"amal", "deniz", "nobody", c.User, "Bearer"} {
		if strings.Contains(metrics+s.logged(), personal) {
			t.Errorf("%q stands in metrics or log:\n%s", personal, s.logged())
		}
	}
}

func TestPolicyAndKeysAreFollowed(t *testing.T) {
	s := newSite(t)
	s.enter("amal", "SA")
	s.start()
	if a := s.ask("amal", ""); a.set["domicile-pin"] == "" {
		t.Fatalf("%+v", a)
	}
	// Another region's key comes in the place of this one: no pin is signed that
	// nobody could verify.
	s.mu.Lock()
	o := *s.published.Overlay
	other := newKey(t)
	o.Regions = map[string]topology.RegionOverlay{region: {PinKeys: other}}
	s.published.Overlay, s.published.Sequence = &o, 2
	s.mu.Unlock()
	s.wait("followed", func() bool { return s.ask("amal", "").set["domicile-pin"] == "" })
	a := s.ask("amal", "")
	if a.home != "SA" || len(a.back) > 0 || len(a.removed) != 1 || a.removed[0] != "domicile-pin" {
		t.Errorf("without a key in force: %+v", a)
	}
	if _, why := s.get("/readyz"); !strings.Contains(why, "pins are not issued") {
		t.Errorf("readyz: %s", why)
	}
	s.stop()
	// The control plane is away at the next start.
	s.plane.Close()
	s.mu.Lock()
	s.log.Reset()
	s.mu.Unlock()
	s.startUntil(func() bool {
		_, why := s.get("/readyz")
		return strings.Contains(why, "pins are not issued")
	})
	if a := s.ask("amal", ""); a.home != "SA" {
		t.Errorf("by the policy that was kept: %+v", a)
	}
}

func newKey(t *testing.T) string {
	t.Helper()
	private, err := pin.NewKey("pin-1", "EdDSA")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := pin.ParseKeys(private)
	if err != nil {
		t.Fatal(err)
	}
	public, err := keys.Public()
	if err != nil {
		t.Fatal(err)
	}
	return string(public)
}

func TestMovesAndErasures(t *testing.T) {
	s := newSite(t)
	s.enter("amal", "SA")
	s.start()
	envoy, err := extensionv3.NewExtensionConfigDiscoveryServiceClient(s.rpc).StreamExtensionConfigs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := envoy.Send(&discoveryv3.DiscoveryRequest{ResourceNames: []string{fence.FilterName}}); err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			r, err := envoy.Recv()
			if err != nil {
				return
			}
			if err := envoy.Send(&discoveryv3.DiscoveryRequest{ResourceNames: []string{fence.FilterName}, VersionInfo: r.VersionInfo, ResponseNonce: r.Nonce}); err != nil {
				return
			}
		}
	}()
	from := region
	post := func(role, path, body string) (int, string) {
		t.Helper()
		r := from
		if role == identity.RoleOperator || role == identity.RoleControl {
			r = identity.NoRegion
		}
		p := s.issue("client", identity.ID{Region: r, Role: role, Name: "x"})
		config, err := identity.ClientTLS(p, topology.TrustDomain, identity.Role(identity.RoleAgent))
		if err != nil {
			t.Fatal(err)
		}
		return postWith(t, config, "https://"+s.peer+path, body)
	}
	code, body := post(identity.RoleOperator, "/v1/users/move?wait=5s", `{"user":"amal","from":["SA"],"to":"TR"}`)
	var done moves.Done
	if err := json.Unmarshal([]byte(body), &done); err != nil || code != 200 || done.Envoys != (fence.Spread{Connected: 1, Current: 1}) {
		t.Fatalf("move: %d %s %v", code, body, err)
	}
	if left := time.Until(done.Until); left < 90*24*time.Hour || left > 91*24*time.Hour {
		t.Errorf("fenced for %v", left)
	}
	if a := s.ask("amal", ""); a.reason != "not-decidable" {
		t.Errorf("the directory still says SA: %+v", a)
	}
	s.enter("amal", "TR")
	if a := s.ask("amal", ""); a.home != "TR" {
		t.Errorf("moved: %+v", a)
	}
	for name, c := range map[string]struct {
		role, path, body string
		want             int
	}{
		"by a gateway":      {identity.RoleGateway, "/v1/users/move", `{"user":"amal","from":["TR"],"to":"SA"}`, 0},
		"by control":        {identity.RoleControl, "/v1/users/move", `{"user":"amal","from":["TR"],"to":"SA"}`, 0},
		"to nowhere":        {identity.RoleAgent, "/v1/users/move", `{"user":"amal","from":["TR"],"to":"XX"}`, 404},
		"from nowhere":      {identity.RoleAgent, "/v1/users/move", `{"user":"amal","from":["XX"],"to":"SA"}`, 404},
		"of no issuer":      {identity.RoleAgent, "/v1/users/move", `{"user":"amal","from":["TR"],"to":"SA","issuer":"https://typo.example.com"}`, 404},
		"from no home":      {identity.RoleAgent, "/v1/users/move", `{"user":"amal","to":"SA"}`, 400},
		"nobody":            {identity.RoleAgent, "/v1/users/move", `{"from":["TR"],"to":"SA"}`, 400},
		"unknown field":     {identity.RoleAgent, "/v1/users/move", `{"user":"amal","form":["TR"],"to":"SA"}`, 400},
		"two":               {identity.RoleAgent, "/v1/users/move", `{"user":"amal","from":["TR"],"to":"SA"}{}`, 400},
		"a bad wait":        {identity.RoleAgent, "/v1/users/move?wait=soon", `{"user":"amal","from":["TR"],"to":"SA"}`, 400},
		"erase with a home": {identity.RoleAgent, "/v1/users/erase", `{"user":"amal","from":["TR"]}`, 400},
		"no such path":      {identity.RoleAgent, "/v1/users", `{}`, 404},
	} {
		if code, body := post(c.role, c.path, c.body); code != c.want || strings.Contains(body, "amal") {
			t.Errorf("%s: %d %s", name, code, body)
		}
	}
	from = "tr-istanbul"
	if code, body := post(identity.RoleAgent, "/v1/users/erase", `{"user":"amal"}`); code != 0 {
		t.Errorf("T31: erased by the agent of another region: %d %s", code, body)
	}
	from = region
	if code, body = post(identity.RoleAgent, "/v1/users/erase?wait=5s", `{"user":"amal"}`); code != 200 {
		t.Fatalf("erase: %d %s", code, body)
	}
	if a := s.ask("amal", ""); a.reason != "erased" || a.status != 410 {
		t.Errorf("erased: %+v", a)
	}
	s.stop()
	s.start()
	if a := s.ask("amal", ""); a.reason != "erased" {
		t.Errorf("after a restart: %+v", a)
	}
	if strings.Contains(s.logged(), "amal") {
		t.Errorf("a user stands in the log:\n%s", s.logged())
	}
}

func postWith(t *testing.T, config *tls.Config, url, body string) (int, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
	resp, err := client.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, ""
	}
	return resp.StatusCode, string(out)
}

func TestWhatCannotStartSaysWhy(t *testing.T) {
	s := newSite(t)
	s.issue("other", identity.ID{Region: region, Role: identity.RoleGateway, Name: "x"})
	id := []string{"--id", region + "/agent/a0", "--socket", filepath.Join(s.sockets, "b.sock"), "--listen", "127.0.0.1:0"}
	creds := []string{"--cert", s.path("agent/cert.pem"), "--key", s.path("agent/key.pem"), "--ca", s.path("agent/ca.pem")}
	s.write("broken", []byte("{"))
	with := func(lists ...[]string) (out []string) {
		for _, l := range lists {
			out = append(out, l...)
		}
		return out
	}
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no id":           {nil, 2, "--id"},
		"an argument":     {with(id, []string{"x"}), 2, "unexpected argument"},
		"an unknown flag": {[]string{"--frobnicate"}, 2, "frobnicate"},
		"half a pair":     {with(id, creds[:2]), 2, "belong together"},
		"peer alone":      {with(id, []string{"--peer", ":0"}), 2, "--peer needs"},
		"peer, no key":    {with(id, creds, []string{"--peer", ":0"}), 2, "--directory-key"},
		"peer, no fence":  {with(id, creds, []string{"--peer", ":0", "--control", "https://x", "--directory-key", "k"}), 2, "--peer needs --fence"},
		"control alone":   {with(id, creds, []string{"--control", "https://x"}), 2, "--control needs --directory-key"},
		"control, plain":  {with(id, []string{"--control", "http://x", "--directory-key", "k"}), 2, "only loopback"},
		"control, no TLS": {with(id, creds, []string{"--control", "http://127.0.0.1:1", "--directory-key", "k"}), 2, "https://"},
		"pins alone":      {with(id, []string{"--pin-key", "x"}), 2, "--pin-key needs"},
		"no such key":     {with(id, []string{"--directory-key", s.path("none")}), 1, "no such file"},
		"a broken fence":  {with(id, []string{"--fence", s.path("broken")}), 1, "read fence"},
		"another's":       {with(id, []string{"--cert", s.path("other/cert.pem"), "--key", s.path("other/key.pem"), "--ca", s.path("other/ca.pem")}), 1, "--id is"},
	} {
		var out bytes.Buffer
		if code := run(t.Context(), c.args, io.Discard, &out); code != c.code || !strings.Contains(out.String(), c.want) {
			t.Errorf("%s: exit %d: %s", name, code, out.String())
		}
	}
	for _, flag := range []string{"--version", "--help"} {
		var out bytes.Buffer
		if code := run(t.Context(), []string{flag}, &out, io.Discard); code != 0 || !strings.Contains(out.String(), "domicile-agent") {
			t.Errorf("%s: exit %d: %s", flag, code, out.String())
		}
	}
}
