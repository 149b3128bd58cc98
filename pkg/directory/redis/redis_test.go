package redis_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/domicile-dev/domicile/pkg/directory"
	"github.com/domicile-dev/domicile/pkg/directory/directorytest"
	"github.com/domicile-dev/domicile/pkg/directory/redis"
	"github.com/domicile-dev/domicile/pkg/directory/redis/redistest"
	"github.com/domicile-dev/domicile/pkg/identity"
)

// key is where a user's home stands.
func key(hash string) string { return "domicile:home:" + hash }

func open(t *testing.T, cfg redis.Config) *redis.Directory {
	t.Helper()
	if cfg.Timeout == 0 {
		cfg.Timeout = time.Second
	}
	d, err := redis.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func put(t *testing.T, d *redis.Directory, user, home string) {
	t.Helper()
	if _, err := d.Put(t.Context(), directory.Entry{Hash: directorytest.Hash(user), Home: home}); err != nil {
		t.Fatal(err)
	}
}

// plants are values that are no homes.
func plants(on func(hash string) *redistest.Server) map[string]func(*testing.T, string) {
	out := map[string]func(*testing.T, string){}
	for name, command := range map[string][]string{
		"empty":    {"set", ""},
		"too long": {"set", strings.Repeat("x", directory.MaxHome+1)},
		"latin-1":  {"set", "\xe9"},
		"a list":   {"rpush", "SA"},
		"a hash":   {"hset", "home", "SA"},
		"a stream": {"xadd", "*", "home", "SA"},
		"100 MB":   {"setrange", "104857599", "x"},
	} {
		out[name] = func(t *testing.T, hash string) {
			on(hash).CLI(t, append([]string{command[0], key(hash)}, command[1:]...)...)
		}
	}
	return out
}

func TestSuite(t *testing.T) {
	directorytest.Run(t, func(t *testing.T) directorytest.Target {
		s := redistest.Start(t)
		return directorytest.Target{
			Open: func(t *testing.T) directory.Directory { return open(t, redis.Config{Addresses: []string{s.Addr}}) },
			Set:  func(t *testing.T, hash, home string) { s.CLI(t, "set", key(hash), home) },
			Stop: func(t *testing.T) { s.Stop(t) }, Start: func(t *testing.T) { s.Start(t) },
			Plant: plants(func(string) *redistest.Server { return s }),
		}
	})
}

func TestClusterSuite(t *testing.T) {
	servers := redistest.StartCluster(t, 3) // one for all: making it takes seconds
	directorytest.Run(t, func(t *testing.T) directorytest.Target {
		redistest.Empty(t, servers)
		set := func(t *testing.T, hash, home string) { servers[0].CLI(t, "-c", "set", key(hash), home) }
		all := func(f func(*redistest.Server)) func(*testing.T) {
			return func(*testing.T) {
				for _, s := range servers {
					f(s)
				}
			}
		}
		return directorytest.Target{
			Open: func(t *testing.T) directory.Directory {
				return open(t, redis.Config{Addresses: []string{servers[0].Addr, servers[1].Addr, servers[2].Addr}, Cluster: true})
			},
			Set:  set,
			Stop: all(func(s *redistest.Server) { s.Stop(t) }), Start: all(func(s *redistest.Server) { s.Start(t) }),
			Plant: plants(func(hash string) *redistest.Server { return owner(t, servers, key(hash)) }),
		}
	})
}

// owner is the server of a Cluster that holds a key.
func owner(t *testing.T, servers []*redistest.Server, key string) *redistest.Server {
	t.Helper()
	for _, s := range servers {
		if !strings.HasPrefix(s.CLI(t, "-c", "--raw", "cluster", "info"), "cluster_state:ok") {
			t.Fatal("the Cluster is not well")
		}
	}
	slot := servers[0].CLI(t, "cluster", "keyslot", key)
	for _, s := range servers {
		me := s.CLI(t, "cluster", "myid")
		for line := range strings.Lines(s.CLI(t, "cluster", "nodes")) {
			if strings.HasPrefix(line, me) && holds(line, slot) {
				return s
			}
		}
	}
	t.Fatalf("nobody holds slot %s", slot)
	return nil
}

// holds tells whether a line of CLUSTER NODES lists a slot.
func holds(line, slot string) bool {
	var n, first, last int
	fmt.Sscan(slot, &n)
	for _, f := range strings.Fields(line)[8:] {
		switch c, _ := fmt.Sscanf(f, "%d-%d", &first, &last); {
		case c == 2 && first <= n && n <= last, c == 1 && first == n:
			return true
		}
	}
	return false
}

// TestSlow: a server that hangs costs a lookup no more than its time-out, and is used
// again when it goes on.
func TestSlow(t *testing.T) {
	s := redistest.Start(t)
	d := open(t, redis.Config{Addresses: []string{s.Addr}, Timeout: 50 * time.Millisecond})
	put(t, d, "amal", "SA")
	s.Freeze(t)
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			began := time.Now()
			_, found, err := d.Lookup(t.Context(), directorytest.Hash("amal"))
			if found || !errors.Is(err, directory.ErrUnavailable) {
				t.Errorf("found %v, error %v", found, err)
			}
			if took := time.Since(began); took > time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
	wg.Wait()
	s.Thaw(t)
	for deadline := time.Now().Add(20 * time.Second); ; {
		home, _, err := d.Lookup(t.Context(), directorytest.Hash("amal"))
		if err == nil {
			if home != "SA" {
				t.Errorf("home %q", home)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// TestLaterServer: the directory is opened before its server is there.
func TestLaterServer(t *testing.T) {
	s := redistest.Start(t)
	s.Stop(t)
	d := open(t, redis.Config{Addresses: []string{s.Addr}})
	if _, _, err := d.Lookup(t.Context(), directorytest.Hash("amal")); !errors.Is(err, directory.ErrUnavailable) {
		t.Errorf("error %v", err)
	}
	s.Start(t)
	put(t, d, "amal", "SA")
	if home, _, err := d.Lookup(t.Context(), directorytest.Hash("amal")); home != "SA" || err != nil {
		t.Errorf("home %q, error %v", home, err)
	}
}

// TestHugeValueTakesNoMemory: what stands in a user's place is never read whole.
func TestHugeValueTakesNoMemory(t *testing.T) {
	s := redistest.Start(t)
	d := open(t, redis.Config{Addresses: []string{s.Addr}})
	s.CLI(t, "setrange", key(directorytest.Hash("amal")), "104857599", "x")
	d.Lookup(t.Context(), directorytest.Hash("amal")) // connects
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 10 {
		if _, _, err := d.Lookup(t.Context(), directorytest.Hash("amal")); !errors.Is(err, directory.ErrCorrupt) {
			t.Fatalf("error %v", err)
		}
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
		t.Errorf("ten lookups took %d bytes", got)
	}
}

// TestReshard: while slots move from server to server, every lookup answers the truth.
func TestReshard(t *testing.T) {
	servers := redistest.StartCluster(t, 3)
	d := open(t, redis.Config{Addresses: []string{servers[0].Addr}, Cluster: true, Timeout: 5 * time.Second})
	const users = 300
	var entries []directory.Entry
	for i := range users {
		entries = append(entries, directory.Entry{Hash: directorytest.Hash(fmt.Sprint(i)), Home: fmt.Sprintf("H%d", i%5)})
	}
	if done, err := d.Put(t.Context(), entries...); done != users || err != nil {
		t.Fatalf("Put: %d, %v", done, err)
	}
	moving := make(chan struct{})
	go func() {
		defer close(moving)
		servers[0].CLI(t, "--cluster", "reshard", servers[0].Addr, "--cluster-from", servers[0].CLI(t, "cluster", "myid"),
			"--cluster-to", servers[1].CLI(t, "cluster", "myid"), "--cluster-slots", "1500", "--cluster-yes")
	}()
	asked := 0
	for done := false; !done; {
		select {
		case <-moving:
			done = true
		default:
		}
		for i := range users {
			asked++
			home, found, err := d.Lookup(t.Context(), directorytest.Hash(fmt.Sprint(i)))
			if err != nil || !found || home != fmt.Sprintf("H%d", i%5) {
				t.Fatalf("user %d: home %q, found %v, error %v", i, home, found, err)
			}
			if _, found, err := d.Lookup(t.Context(), directorytest.Hash(fmt.Sprint("nobody", i))); found || err != nil {
				t.Fatalf("nobody %d: found %v, error %v", i, found, err)
			}
		}
	}
	t.Logf("%d lookups while 1,500 slots moved", asked)
}

// TestHalfMovedSlot: in a slot whose keys are partly here and partly there, both are
// found, and who is nowhere is not.
func TestHalfMovedSlot(t *testing.T) {
	servers := redistest.StartCluster(t, 3)
	d := open(t, redis.Config{Addresses: []string{servers[0].Addr}, Cluster: true})
	hash := directorytest.Hash("amal")
	put(t, d, "amal", "SA")
	from := owner(t, servers, key(hash))
	to := servers[0]
	if to == from {
		to = servers[1]
	}
	slot := from.CLI(t, "cluster", "keyslot", key(hash))
	to.CLI(t, "cluster", "setslot", slot, "importing", from.CLI(t, "cluster", "myid"))
	from.CLI(t, "cluster", "setslot", slot, "migrating", to.CLI(t, "cluster", "myid"))
	expect := func(want string) {
		t.Helper()
		if home, _, err := d.Lookup(t.Context(), hash); home != want || err != nil {
			t.Errorf("home %q, error %v; want %q", home, err, want)
		}
	}
	expect("SA")
	host, port, _ := strings.Cut(to.Addr, ":")
	from.CLI(t, "migrate", host, port, key(hash), "0", "5000")
	expect("SA") // by ASK
	put(t, d, "amal", "TR")
	expect("TR")
	if err := d.Remove(t.Context(), hash); err != nil {
		t.Fatal(err)
	}
	expect("")
}

// TestNotSaidToBeACluster: the remedy stands in the error.
func TestNotSaidToBeACluster(t *testing.T) {
	servers := redistest.StartCluster(t, 3)
	d := open(t, redis.Config{Addresses: []string{servers[0].Addr}})
	failed := 0
	for i := range 20 {
		_, _, err := d.Lookup(t.Context(), directorytest.Hash(fmt.Sprint(i)))
		if err != nil && errors.Is(err, directory.ErrUnavailable) && strings.Contains(err.Error(), "Cluster") {
			failed++
		}
	}
	if failed == 0 {
		t.Error("no lookup says that the server is one of a Cluster")
	}
}

func TestPassword(t *testing.T) {
	s := redistest.Start(t, "--requirepass", "s3cret")
	secret := filepath.Join(t.TempDir(), "secret")
	for content, ok := range map[string]bool{"s3cret\n": true, "guess": false, "": false} {
		if err := os.WriteFile(secret, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		d := open(t, redis.Config{Addresses: []string{s.Addr}, SecretFile: secret})
		err := directory.Check(t.Context(), d)
		if (err == nil) != ok || err != nil && !errors.Is(err, directory.ErrUnavailable) {
			t.Errorf("%q: %v", content, err)
		}
		if err != nil && (strings.Contains(err.Error(), "guess") || strings.Contains(err.Error(), "s3cret")) {
			t.Errorf("the error shows the secret: %v", err)
		}
		if !ok { // the right one comes later: no restart is needed
			if err := os.WriteFile(secret, []byte("s3cret"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := directory.Check(t.Context(), d); err != nil {
				t.Errorf("after %q: %v", content, err)
			}
		}
	}
	if err := directory.Check(t.Context(), open(t, redis.Config{Addresses: []string{s.Addr}})); !errors.Is(err, directory.ErrUnavailable) {
		t.Errorf("without a password: %v", err)
	}
}

// TestTLS: the server proves who it is, and one that cannot is not asked.
func TestTLS(t *testing.T) {
	authority, err := identity.NewAuthority("example.test")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := authority.IssueServer(identity.Options{DNS: []string{"localhost"}})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := cert.Save(dir); err != nil {
		t.Fatal(err)
	}
	s := redistest.Start(t, "--port", "0", "--tls-port", "PORT", "--tls-auth-clients", "no",
		"--tls-cert-file", filepath.Join(dir, "cert.pem"), "--tls-key-file", filepath.Join(dir, "key.pem"), "--tls-ca-cert-file", filepath.Join(dir, "ca.pem"))
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority.CertPEM()) {
		t.Fatal("no certificate")
	}
	for name, c := range map[string]struct {
		tls *tls.Config
		ok  bool
	}{
		"all right":         {&tls.Config{RootCAs: roots, ServerName: "localhost"}, true},
		"another name":      {&tls.Config{RootCAs: roots, ServerName: "example.com"}, false},
		"another authority": {&tls.Config{RootCAs: x509.NewCertPool(), ServerName: "localhost"}, false},
		"no TLS":            {nil, false},
	} {
		d := open(t, redis.Config{Addresses: []string{s.Addr}, TLS: c.tls})
		if err := directory.Check(t.Context(), d); (err == nil) != c.ok || err != nil && !errors.Is(err, directory.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, bad := range []redis.Config{{}, {Addresses: []string{"a:1", "b:1"}}, {Addresses: []string{"a"}}} {
		if _, err := redis.Open(bad); err == nil {
			t.Errorf("%v is taken", bad)
		}
	}
	d := open(t, redis.Config{Addresses: []string{"127.0.0.1:1"}})
	d.Close()
	if _, _, err := d.Lookup(t.Context(), directorytest.Hash("amal")); !errors.Is(err, directory.ErrUnavailable) {
		t.Errorf("closed: %v", err)
	}
}
