package supervise

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestStopEndsEverybody(t *testing.T) {
	s, reports := testSupervisor(t)
	var pids []int
	for _, kind := range []string{"fake-sleeper", "fake-stubborn", "fake-sleeper"} {
		c := startFake(t, s, kind, kind+strconv.Itoa(len(pids)))
		awaitLog(t, s, c.Name, "asleep")
		group, err := syscall.Getpgid(c.PID)
		if err != nil || group != syscall.Getpgrp() {
			t.Errorf("%s is in process group %d, want the demo's %d (%v)", kind, group, syscall.Getpgrp(), err)
		}
		pids = append(pids, c.PID)
	}
	begun := time.Now()
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(begun); d > termTimeout+killTimeout {
		t.Errorf("stop took %v", d)
	}
	for _, pid := range pids {
		if running(pid) {
			t.Errorf("process %d outlived stop", pid)
		}
	}
	if err := s.Stop(); err != nil {
		t.Errorf("second stop: %v", err)
	}
	if exe, err := os.Executable(); err != nil {
		t.Fatal(err)
	} else if _, err := s.Start("late", exe, "fake-sleeper"); err == nil {
		t.Error("a child was started after stop")
	}
	if got := reports(); len(got) != 0 {
		t.Errorf("a child that was stopped is news: %v", got)
	}
}

func TestADeadChildIsReportedOnceAndNotRestarted(t *testing.T) {
	s, reports := testSupervisor(t)
	other := startFake(t, s, "fake-sleeper", "other")
	c := startFake(t, s, "fake-failure", "broken")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if !poll(ctx, func() bool { return len(reports()) > 0 }) {
		t.Fatal("nobody told")
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	got := reports()
	if len(got) != 1 || !strings.Contains(got[0], "broken") || !strings.Contains(got[0], "exit status 3") {
		t.Errorf("reports: %v", got)
	}
	if c.Alive() || other.Err() != nil {
		t.Errorf("broken alive: %v; other ended with %v", c.Alive(), other.Err())
	}
	if len(s.children) != 2 {
		t.Errorf("%d children were started, want 2", len(s.children))
	}
	var out strings.Builder
	s.Tail(&out, "broken")
	if !strings.Contains(out.String(), "it broke") {
		t.Errorf("tail: %q", out.String())
	}
}

// TestChildrenOutliveThreads ends OS threads of the demo as the runtime may at
// any time. The kernel would kill a child with the thread that started it.
func TestChildrenOutliveThreads(t *testing.T) {
	s, _ := testSupervisor(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var children []*Child
	for i := range 4 {
		var wg sync.WaitGroup
		wg.Go(func() {
			runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
			c, err := s.Start("c"+strconv.Itoa(i), exe, "fake-sleeper")
			if err != nil {
				t.Error(err)
				return
			}
			children = append(children, c)
		})
		wg.Wait()
	}
	for _, c := range children {
		awaitLog(t, s, c.Name, "asleep")
		if !c.Alive() {
			t.Errorf("%s died with a thread: %v", c.Name, c.Err())
		}
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, c := range children {
		if c.Err() != nil {
			t.Errorf("%s did not end by SIGTERM: %v", c.Name, c.Err())
		}
	}
}

func TestSIGKILLOfTheDemoLeavesNobody(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "fake-demo", t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pids []int
	for lines := bufio.NewScanner(out); len(pids) < 3 && lines.Scan(); {
		pid, err := strconv.Atoi(lines.Text())
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	for _, pid := range pids {
		if !running(pid) {
			t.Errorf("child %d does not run", pid)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	if len(pids) != 3 {
		t.Fatalf("started %v", pids)
	}
	for _, pid := range pids {
		gone(t, pid)
	}
}

func TestPorts(t *testing.T) {
	var a, b Ports
	defer a.Release()
	defer b.Release()
	seen := map[string]bool{}
	for i := range 3 * blockSize {
		p := &a
		if i%2 == 1 {
			p = &b
		}
		addr, err := p.Take()
		if err != nil {
			t.Fatal(err)
		}
		if seen[addr] {
			t.Fatalf("%s was given out twice", addr)
		}
		seen[addr] = true
		port, err := strconv.Atoi(strings.TrimPrefix(addr, "127.0.0.1:"))
		if err != nil || port < firstPort || port >= lastPort {
			t.Fatalf("port of %s is out of range", addr)
		}
	}
}

func testSupervisor(t *testing.T) (*Supervisor, func() []string) {
	t.Helper()
	var mu sync.Mutex
	var reports []string
	s := New(t.TempDir(), func(r string) {
		mu.Lock()
		defer mu.Unlock()
		reports = append(reports, r)
	})
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), reports...)
	}
}

func startFake(t *testing.T, s *Supervisor, kind, name string) *Child {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.Start(name, exe, kind)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// awaitLog waits until a child has said something.
func awaitLog(t *testing.T, s *Supervisor, name, word string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if !poll(ctx, func() bool {
		data, _ := os.ReadFile(filepath.Join(s.logs, name+".log"))
		return strings.Contains(string(data), word)
	}) {
		t.Fatalf("%s never said %q", name, word)
	}
}
