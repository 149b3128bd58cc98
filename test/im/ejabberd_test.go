package im_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ejabberd is one real server, willing to serve the domains of all regions: nothing
// but the way to it keeps them apart. It listens on Unix sockets only, and without
// Erlang's own network, so that nothing reaches it but by its relays.
type ejabberd struct {
	domain string
	web    *relay // /ws (XMPP) and /mqtt, as WebSockets
	xmpps  *relay // XMPP inside TLS
	mqtts  *relay // MQTT inside TLS
	dir    string
	cmd    *exec.Cmd
	ended  chan struct{}
	api    *http.Client
}

const ejabberdConfig = `
hosts: [%[1]s]
loglevel: info
certfiles: [%[2]s/public.pem]
listen:
  - {port: "unix:%[2]s/web", module: ejabberd_http, request_handlers: {/ws: ejabberd_http_ws, /mqtt: mod_mqtt}}
  - {port: "unix:%[2]s/api", module: ejabberd_http, request_handlers: {/api: mod_http_api}}
  - {port: "unix:%[2]s/xmpps", module: ejabberd_c2s, tls: true}
  - {port: "unix:%[2]s/mqtts", module: mod_mqtt, tls: true}
auth_method: internal
auth_password_format: plain
s2s_access: none
acl: {local: {user_regexp: ""}}
access_rules: {local: {allow: local}}
api_permissions: {test: {from: [mod_http_api], who: all, what: "*"}}
modules:
  mod_admin_extra: {}
  mod_disco: {}
  mod_http_api: {}
  mod_mqtt: {}
  mod_offline: {}
  mod_roster: {}
  mod_vcard: {}
`

// startEjabberd starts a server, of which domain is the name in its certificate.
func startEjabberd(t testing.TB, domain string) *ejabberd {
	t.Helper()
	apps, _ := filepath.Glob("/usr/lib/*/ejabberd-*/ebin/ejabberd.app")
	erl, err := exec.LookPath("erl")
	if err != nil || len(apps) == 0 {
		absent(t, "ejabberd is not installed: Debian package ejabberd")
	}
	dir, err := os.MkdirTemp("", "im-") // short: a Unix socket's path has 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	e := &ejabberd{domain: domain, dir: dir, ended: make(chan struct{})}
	authority.issue(t, filepath.Join(dir, "public.pem"), domain)
	config := filepath.Join(dir, "ejabberd.yml")
	if err := os.WriteFile(config, fmt.Appendf(nil, ejabberdConfig, strings.Join(slices.Sorted(maps.Values(hostOf)), ", "), dir), 0o600); err != nil {
		t.Fatal(err)
	}
	e.cmd = exec.Command(erl, "+S", "1:1", "+sbwt", "none", "-noinput", "-mnesia", "dir", fmt.Sprintf("%q", filepath.Join(dir, "spool")), "-s", "ejabberd")
	e.cmd.Env = append(os.Environ(), "EJABBERD_CONFIG_PATH="+config, "EJABBERD_LOG_PATH="+filepath.Join(dir, "ejabberd.log"),
		"ERL_LIBS="+filepath.Dir(filepath.Dir(filepath.Dir(apps[0]))), "ERL_CRASH_DUMP_BYTES=0", "HOME="+dir)
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out bytes.Buffer
	e.cmd.Stdout, e.cmd.Stderr = &out, &out
	if err := e.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = e.cmd.Wait(); close(e.ended) }()
	e.api = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, "api"))
	}}}
	e.web, e.xmpps, e.mqtts = front(t, "unix", filepath.Join(dir, "web")), front(t, "unix", filepath.Join(dir, "xmpps")), front(t, "unix", filepath.Join(dir, "mqtts"))
	eventually(t, 60*time.Second, func() error {
		select {
		case <-e.ended:
			t.Fatalf("ejabberd ended: %s\n%s", e.cmd.ProcessState, out.String())
		default:
		}
		return e.ask("status", nil, nil)
	})
	return e
}

// serves maps the services of testdata/policies to where they are served.
func (e *ejabberd) serves() map[string]string {
	return map[string]string{"xmpp": e.web.addr(), "mqtt": e.web.addr(), "xmpps": e.xmpps.addr(), "mqtts": e.mqtts.addr()}
}

func (e *ejabberd) stop() {
	for _, r := range []*relay{e.web, e.xmpps, e.mqtts} {
		r.stop()
	}
	_ = e.cmd.Process.Kill()
	<-e.ended
	_ = os.RemoveAll(e.dir)
}

// ask calls a command of ejabberd's HTTP interface.
func (e *ejabberd) ask(command string, args map[string]any, into any) error {
	body, err := json.Marshal(args)
	if err != nil || args == nil {
		body = []byte("{}")
	}
	resp, err := e.api.Post("http://ejabberd/api/"+command, "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s %w", command, resp.Status, data, err)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(data, into)
}

const password = "a password of no use elsewhere"

// register enters a user of the server's own domain, whose JID it returns.
func (e *ejabberd) register(t testing.TB, user string) string {
	t.Helper()
	return e.registerAt(t, user, e.domain)
}

func (e *ejabberd) registerAt(t testing.TB, user, domain string) string {
	t.Helper()
	if err := e.ask("register", map[string]any{"user": user, "host": domain, "password": password}, nil); err != nil {
		t.Fatal(err)
	}
	return user + "@" + domain
}

// seen asks the server and its relays.
func (e *ejabberd) seen(t testing.TB) seen {
	t.Helper()
	s := passed(e.web, e.xmpps, e.mqtts)
	var sessions struct {
		N int64 `json:"num_sessions"`
	}
	if err := e.ask("connected_users_number", nil, &sessions); err != nil {
		t.Fatal(err)
	}
	var users struct{ Stat int64 }
	if err := e.ask("stats", map[string]any{"name": "registeredusers"}, &users); err != nil {
		t.Fatal(err)
	}
	s.sessions, s.users = sessions.N, users.Stat
	return s
}
