package im_test

import (
	"bytes"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// prosody is one real XMPP server of another make than ejabberd, willing to serve
// the domains of all regions.
type prosody struct {
	domain string
	web    *relay
	dir    string
	cmd    *exec.Cmd
	ended  chan struct{}
}

const prosodyConfig = `
daemonize = false
run_as_root = true
data_path = "%[1]s/data"
certificates = "%[1]s"
log = { info = "%[1]s/log" }
http_interfaces = { "127.0.0.1" }
http_ports = { %[2]s }
https_ports = {}
c2s_ports = {}
c2s_direct_tls_ports = {}
http_paths = { websocket = "/ws" }
consider_websocket_secure = true
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
authentication = "internal_plain"
modules_enabled = { "roster", "saslauth", "disco", "vcard_legacy", "vcard4", "pep", "offline", "websocket" }
modules_disabled = { "s2s" }
`

// startProsody starts a server for the users of a domain.
func startProsody(t testing.TB, domain string) *prosody {
	t.Helper()
	program, err := exec.LookPath("prosody")
	if err != nil {
		absent(t, "Prosody is not installed: Debian package prosody")
	}
	dir, err := os.MkdirTemp("", "im-")
	if err != nil {
		t.Fatal(err)
	}
	p := &prosody{domain: domain, dir: dir, ended: make(chan struct{})}
	addr := freeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	config := fmt.Sprintf(prosodyConfig, dir, port)
	for _, host := range slices.Sorted(maps.Values(hostOf)) {
		config += fmt.Sprintf("VirtualHost %q\n", host)
	}
	file := filepath.Join(dir, "prosody.cfg.lua")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	p.cmd = exec.Command(program, "--config", file, "-F")
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out bytes.Buffer
	p.cmd.Stdout, p.cmd.Stderr = &out, &out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = p.cmd.Wait(); close(p.ended) }()
	eventually(t, 30*time.Second, func() error {
		select {
		case <-p.ended:
			t.Fatalf("Prosody ended: %s\n%s", p.cmd.ProcessState, out.String())
		default:
		}
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err
	})
	p.web = front(t, "tcp", addr)
	return p
}

func (p *prosody) serves() map[string]string { return map[string]string{"xmpp": p.web.addr()} }

func (p *prosody) stop() {
	p.web.stop()
	_ = p.cmd.Process.Kill()
	<-p.ended
	_ = os.RemoveAll(p.dir)
}

// seen counts, as the server's log says, who logged in and whose streams are open.
func (p *prosody) seen(t testing.TB) seen {
	t.Helper()
	s := passed(p.web)
	log, err := os.ReadFile(filepath.Join(p.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	s.users = int64(strings.Count(string(log), "Authenticated as "))
	s.sessions = int64(strings.Count(string(log), "Client connected") - strings.Count(string(log), "Client disconnected"))
	return s
}

// register enters a user as the server keeps it.
func (p *prosody) register(t testing.TB, user string) string {
	t.Helper()
	dir := filepath.Join(p.dir, "data", strings.ReplaceAll(p.domain, ".", "%2e"), "accounts")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, user+".dat"), fmt.Appendf(nil, "return { [\"password\"] = %q; };\n", password), 0o600); err != nil {
		t.Fatal(err)
	}
	return user + "@" + p.domain
}
