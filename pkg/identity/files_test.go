package identity_test

import (
	"bytes"
	"crypto/tls"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/domicile-dev/domicile/pkg/identity"
)

// meet lets a client and a server shake hands, and returns what each says.
func meet(t *testing.T, client, server *tls.Config) (byClient, byServer error) {
	t.Helper()
	a, b := net.Pipe()
	c, s := tls.Client(a, client), tls.Server(b, server)
	done := make(chan error, 1)
	go func() {
		err := s.Handshake()
		if err == nil {
			_, err = s.Write([]byte("x"))
		}
		done <- err
		b.Close()
	}()
	byClient = c.Handshake()
	if byClient == nil {
		_, byClient = c.Read(make([]byte, 1)) // a refusal of the server comes with the first read
	}
	a.Close()
	return byClient, <-done
}

func TestFilesAreFollowed(t *testing.T) {
	dir := t.TempDir()
	authority := func(name string) *identity.Authority {
		a, err := identity.NewAuthority("x.local")
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	ca, other := authority("ca"), authority("other")
	save := func(a *identity.Authority, name string, id identity.ID) {
		t.Helper()
		p, err := a.Issue(id, identity.Options{})
		if err == nil {
			err = p.Save(filepath.Join(dir, name))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	agent := identity.ID{Region: "me-riyadh", Role: identity.RoleAgent, Name: "a0"}
	control := identity.ID{Region: identity.NoRegion, Role: identity.RoleControl, Name: "c0"}
	save(ca, "agent", agent)
	save(ca, "control", control)
	issued := time.Now()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(issued) + time.Minute) // a bubble begins long ago
		var log bytes.Buffer
		open := func(name string) *identity.Files {
			t.Helper()
			f, err := identity.OpenFiles(filepath.Join(dir, name, "cert.pem"), filepath.Join(dir, name, "key.pem"), filepath.Join(dir, name, "ca.pem"), "x.local", slog.New(slog.NewTextHandler(&log, nil)))
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
		a, c := open("agent"), open("control")
		if a.ID() != agent {
			t.Errorf("id %s", a.ID())
		}
		ask := func(client, server string) bool {
			t.Helper()
			byClient, byServer := meet(t, a.Client(identity.Role(client)), c.Server(identity.Role(server)))
			return byClient == nil && byServer == nil
		}
		if !ask(identity.RoleControl, identity.RoleAgent) || ask(identity.RoleGateway, identity.RoleAgent) || ask(identity.RoleControl, identity.RoleGateway) {
			t.Fatal("roles do not decide")
		}
		// The agent's credential comes from another authority now; the control
		// plane's follows later.
		save(other, "agent", agent)
		time.Sleep(2 * time.Second)
		if ask(identity.RoleControl, identity.RoleAgent) {
			t.Error("a certificate of another authority is accepted, or the new one is not used")
		}
		save(other, "control", control)
		time.Sleep(2 * time.Second)
		if !ask(identity.RoleControl, identity.RoleAgent) {
			t.Error("the new certificates are not used")
		}
		// Half a rotation, and another node's credential, leave what was there.
		if err := os.WriteFile(filepath.Join(dir, "agent", "key.pem"), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if !ask(identity.RoleControl, identity.RoleAgent) || !strings.Contains(log.String(), "cannot be used; the old ones stay") {
			t.Errorf("half a rotation: %s", log.String())
		}
		save(other, "agent", identity.ID{Region: "eu-frankfurt", Role: identity.RoleAgent, Name: "a0"})
		time.Sleep(2 * time.Second)
		if !ask(identity.RoleControl, identity.RoleAgent) || a.ID() != agent || !strings.Contains(log.String(), "and it was") {
			t.Errorf("another node's: %s %s", a.ID(), log.String())
		}
	})
}
