package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// How long stop waits: for children to end by themselves, and after SIGKILL.
// Both together stay below the ten seconds that the demo has.
const (
	termTimeout = 6 * time.Second
	killTimeout = 2 * time.Second
)

// child is one process of the demo.
type child struct {
	name string
	pid  int
	proc *os.Process
	done chan struct{} // closed when the process has been reaped
	err  error         // how it ended; read after done
}

// alive tells whether the process still runs.
func (c *child) alive() bool {
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

// supervisor starts the demo's processes and ends them. They stay in the demo's
// process group. It restarts nothing, and a child that dies is reported once.
type supervisor struct {
	logs   string // directory of NAME.log
	report func(string)

	orders chan order
	idle   chan struct{} // closed when the starting thread has ended

	mu       sync.Mutex
	children []*child
	stopping bool
}

type order struct {
	cmd *exec.Cmd
	err chan error
}

func newSupervisor(logs string, report func(string)) *supervisor {
	s := &supervisor{logs: logs, report: report, orders: make(chan order), idle: make(chan struct{})}
	go s.startAll()
	return s
}

// startAll starts every child from one OS thread that lives as long as the demo.
// The kernel sends Pdeathsig when the *thread* that made the child ends, not the
// process; the Go runtime ends and reuses threads as it likes, so a child started
// from an ordinary goroutine could be killed at any time. A goroutine that never
// unlocks its thread keeps it, and the thread ends with this function, or with
// the process: killed by SIGKILL too, it takes all children along.
func (s *supervisor) startAll() {
	defer close(s.idle)
	runtime.LockOSThread()
	for o := range s.orders {
		o.err <- o.cmd.Start()
	}
}

// start runs a program with its output in NAME.log.
func (s *supervisor) start(name, path string, args ...string) (*child, error) {
	log, err := os.OpenFile(filepath.Join(s.logs, name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	defer log.Close() // the child has its own
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return nil, fmt.Errorf("start %s: the demo stops", name)
	}
	o := order{cmd: cmd, err: make(chan error, 1)}
	s.orders <- o
	if err := <-o.err; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	c := &child{name: name, pid: cmd.Process.Pid, proc: cmd.Process, done: make(chan struct{})}
	s.children = append(s.children, c)
	go s.wait(c, cmd)
	return c, nil
}

func (s *supervisor) wait(c *child, cmd *exec.Cmd) {
	c.err = cmd.Wait()
	close(c.done)
	// Ctrl-C reaches the whole process group at once: give the demo a moment to
	// learn of it before a child's end counts as news.
	time.Sleep(300 * time.Millisecond)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopping {
		how := "exit status 0"
		if c.err != nil {
			how = c.err.Error()
		}
		s.report(fmt.Sprintf("%s (pid %d) has ended: %s; it is not restarted. Its log: %s", c.name, c.pid, how, filepath.Join(s.logs, c.name+".log")))
	}
}

// stop ends all children, by SIGTERM and then by SIGKILL, and returns when none
// is left. It is safe to call twice.
func (s *supervisor) stop() error {
	s.mu.Lock()
	first := !s.stopping
	s.stopping = true
	children := s.children
	s.mu.Unlock()
	if first {
		// The thread must outlive the children, or they would be killed before
		// they could end by themselves.
		defer func() { close(s.orders); <-s.idle }()
	}
	if signalAll(children, syscall.SIGTERM, termTimeout) || signalAll(children, syscall.SIGKILL, killTimeout) {
		return nil
	}
	var errs []error
	for _, c := range children {
		if c.alive() {
			errs = append(errs, fmt.Errorf("stop %s: pid %d does not end", c.name, c.pid))
		}
	}
	return errors.Join(errs...)
}

// signalAll tells whether all have ended within the time. Process.Signal knows
// whether the process has been reaped, so no stranger with its pid is hit.
func signalAll(children []*child, sig syscall.Signal, within time.Duration) bool {
	for _, c := range children {
		_ = c.proc.Signal(sig) // an error says that it has ended
	}
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	for _, c := range children {
		select {
		case <-c.done:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// tail copies the end of a child's log, for the report of a failed start.
func (s *supervisor) tail(w io.Writer, name string) {
	const most = 4 << 10
	data, err := os.ReadFile(filepath.Join(s.logs, name+".log"))
	if err != nil || len(data) == 0 {
		return
	}
	if len(data) > most {
		data = data[len(data)-most:]
	}
	fmt.Fprintf(w, "--- end of %s.log ---\n%s\n", name, data)
}
