// Package redistest runs real Redis or Valkey servers on loopback for tests.
package redistest

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for a server.
const patience = 20 * time.Second

// find returns the paths of the server and its command line: in $REDIS_BIN, on PATH, or
// what make fetched. A test that needs them is skipped where there are none.
func find(t testing.TB) (server, cli string) {
	t.Helper()
	var dirs []string
	if dir := os.Getenv("REDIS_BIN"); dir != "" {
		dirs = append(dirs, dir)
	}
	dirs = append(dirs, filepath.SplitList(os.Getenv("PATH"))...)
	if out, err := exec.Command("go", "env", "GOMOD").Output(); err == nil {
		dirs = append(dirs, filepath.Join(filepath.Dir(strings.TrimSpace(string(out))), ".cache", "redis", "bin"))
	}
	for _, dir := range dirs {
		for _, name := range []string{"redis", "valkey"} {
			server, cli = filepath.Join(dir, name+"-server"), filepath.Join(dir, name+"-cli")
			if executable(server) && executable(cli) {
				return server, cli
			}
		}
	}
	t.Skip("no Redis and no Valkey: run make test, which fetches one, or install redis-server")
	return "", ""
}

func executable(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0
}

// Server is one server. Its data survives Stop.
type Server struct {
	Addr string // host:port

	bin, cli string
	args     []string
	plain    bool // it speaks without TLS and password, so that CLI works
	cmd      *exec.Cmd
	log      bytes.Buffer
}

// Start runs a server until the test ends. More are further arguments of it.
func Start(t testing.TB, more ...string) *Server {
	t.Helper()
	s := &Server{Addr: freeAddr(t), plain: true}
	s.bin, s.cli = find(t)
	dir := t.TempDir()
	_, port, _ := net.SplitHostPort(s.Addr)
	s.args = []string{"--bind", "127.0.0.1", "--dir", dir, "--save", "", "--appendonly", "yes", "--appendfsync", "always", "--port", port}
	for _, m := range more {
		if m == "--requirepass" || m == "--tls-port" {
			s.plain = false
		}
		s.args = append(s.args, strings.ReplaceAll(m, "PORT", port))
	}
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			t.Logf("server %s:\n%s", s.Addr, s.log.String())
		}
	})
	s.Start(t)
	return s
}

// freeAddr finds a port that is free, as is the one of a Cluster's bus above it.
func freeAddr(t testing.TB) string {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		port := l.Addr().(*net.TCPAddr).Port
		bus, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+10000))
		if port < 55000 && err == nil {
			bus.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no free port")
	return ""
}

// Start starts a server that was stopped, and returns when it answers.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	s.cmd = exec.Command(s.bin, s.args...)
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.until(t, s.answers)
}

// Stop kills the server.
func (s *Server) Stop(testing.TB) { s.kill() }

func (s *Server) kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill() // it may have ended by itself
		_ = s.cmd.Wait()         // tells that it was killed
		s.cmd = nil
	}
}

// Freeze stops the server's process without ending it: connections stay open and
// nobody answers. Thaw ends that.
func (s *Server) Freeze(t testing.TB) { s.signal(t, syscall.SIGSTOP) }

// Thaw lets a frozen server go on.
func (s *Server) Thaw(t testing.TB) { s.signal(t, syscall.SIGCONT) }

func (s *Server) signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) until(t testing.TB, yes func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !yes(); time.Sleep(5 * time.Millisecond) { // a wait for a condition, bounded
		if time.Now().After(deadline) {
			t.Fatalf("server %s is not ready:\n%s", s.Addr, s.log.String())
		}
	}
}

// answers tells whether the server answers at all: with a pong, or by asking who we are.
func (s *Server) answers() bool {
	c, err := net.DialTimeout("tcp", s.Addr, time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	if !s.plain {
		return true
	}
	if c.SetDeadline(time.Now().Add(time.Second)) != nil {
		return false
	}
	fmt.Fprint(c, "PING\r\n")
	line, err := bufio.NewReader(c).ReadString('\n')
	return err == nil && strings.HasPrefix(line, "+PONG")
}

// CLI runs one command of a server without TLS and password, and returns its answer.
func (s *Server) CLI(t testing.TB, args ...string) string {
	t.Helper()
	_, port, _ := net.SplitHostPort(s.Addr)
	out, err := exec.Command(s.cli, append([]string{"-e", "-p", port}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("redis-cli %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// StartCluster runs n servers that form a Cluster in which each has a share of the
// slots, until the test ends.
func StartCluster(t testing.TB, n int) []*Server {
	t.Helper()
	var servers []*Server
	create := []string{"--cluster", "create"}
	for range n {
		s := Start(t, "--cluster-enabled", "yes", "--cluster-config-file", "nodes-PORT.conf", "--cluster-node-timeout", "1000")
		servers = append(servers, s)
		create = append(create, s.Addr)
	}
	servers[0].CLI(t, append(create, "--cluster-yes")...)
	well(t, servers)
	return servers
}

// well waits until all servers of a Cluster say so.
func well(t testing.TB, servers []*Server) {
	t.Helper()
	for _, s := range servers {
		s.until(t, func() bool { return strings.Contains(s.CLI(t, "cluster", "info"), "cluster_state:ok") })
	}
}

// Empty makes a Cluster as it was when it was new: servers that are stopped are
// started, and all data is gone.
func Empty(t testing.TB, servers []*Server) {
	t.Helper()
	for _, s := range servers {
		if s.cmd == nil {
			s.Start(t)
		}
	}
	well(t, servers)
	for _, s := range servers {
		s.CLI(t, "flushall")
	}
}
