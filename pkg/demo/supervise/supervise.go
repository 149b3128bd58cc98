// Package supervise starts processes that must not outlive the one that starts
// them, and gives out loopback ports for them.
//
// Children stay in the starter's process group. They end with it, however it
// ends: Stop sends SIGTERM and then SIGKILL, and where Stop never runs the kernel
// kills them. Nothing is restarted; a child that ends by itself is reported once.
// A Supervisor is safe for concurrent use, Ports are not. Linux only.
package supervise

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

// How long Stop waits: for children to end by themselves, and after SIGKILL.
// Both together stay below the ten seconds that a demo has.
const (
	termTimeout = 6 * time.Second
	killTimeout = 2 * time.Second
)

// newsAfter is how long a child's end waits to be reported. Ctrl-C reaches the
// whole process group at once, and a child may be gone before Ending is called.
const newsAfter = 300 * time.Millisecond

// Child is one process.
type Child struct {
	Name string
	PID  int
	proc *os.Process
	done chan struct{} // closed when the process has been reaped
	err  error         // how it ended; read after done
}

// Err says how the process ended; nil when it runs or ended with status 0.
func (c *Child) Err() error {
	if c.Alive() {
		return nil
	}
	return c.err
}

// How says in words how the process ended.
func (c *Child) How() string {
	switch {
	case c.Alive():
		return "it runs"
	case c.err == nil:
		return "exit status 0"
	}
	return c.err.Error()
}

// Alive tells whether the process still runs.
func (c *Child) Alive() bool {
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

// Supervisor starts processes and ends them.
type Supervisor struct {
	logs   string // directory of NAME.log
	report func(string)

	orders chan order
	idle   chan struct{} // closed when the starting thread has ended

	ending  chan struct{} // closed by Ending
	endOnce sync.Once

	mu       sync.Mutex
	children []*Child
	stopping bool
}

type order struct {
	cmd *exec.Cmd
	err chan error
}

// New returns a supervisor that keeps its children's output in a directory, as
// NAME.log, and reports a child's unexpected end. Stop it.
func New(logs string, report func(string)) *Supervisor {
	s := &Supervisor{logs: logs, report: report, orders: make(chan order), idle: make(chan struct{}), ending: make(chan struct{})}
	go s.startAll()
	return s
}

// startAll starts every child from one OS thread that lives as long as the
// supervisor.
// The kernel sends Pdeathsig when the *thread* that made the child ends, not the
// process; the Go runtime ends and reuses threads as it likes, so a child started
// from an ordinary goroutine could be killed at any time. A goroutine that never
// unlocks its thread keeps it, and the thread ends with this function, or with
// the process: killed by SIGKILL too, it takes all children along.
func (s *Supervisor) startAll() {
	defer close(s.idle)
	runtime.LockOSThread()
	for o := range s.orders {
		o.err <- o.cmd.Start()
	}
}

// Start runs a program with its output in NAME.log.
func (s *Supervisor) Start(name, path string, args ...string) (*Child, error) {
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
		return nil, fmt.Errorf("start %s: everything is being stopped", name)
	}
	o := order{cmd: cmd, err: make(chan error, 1)}
	s.orders <- o
	if err := <-o.err; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	c := &Child{Name: name, PID: cmd.Process.Pid, proc: cmd.Process, done: make(chan struct{})}
	s.children = append(s.children, c)
	go s.wait(c, cmd)
	return c, nil
}

func (s *Supervisor) wait(c *Child, cmd *exec.Cmd) {
	c.err = cmd.Wait()
	close(c.done)
	news := time.NewTimer(newsAfter)
	defer news.Stop()
	select {
	case <-s.ending:
	case <-news.C:
		s.report(fmt.Sprintf("%s (pid %d) has ended: %s; it is not restarted. Its log: %s", c.Name, c.PID, c.How(), filepath.Join(s.logs, c.Name+".log")))
	}
}

// Ending says that all is about to be stopped: a child that ends is no news from
// now on. It is safe to call more than once; Stop calls it.
func (s *Supervisor) Ending() { s.endOnce.Do(func() { close(s.ending) }) }

// Stop ends all children, by SIGTERM and then by SIGKILL, and returns when none
// is left. It is safe to call twice.
func (s *Supervisor) Stop() error {
	s.Ending()
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
		if c.Alive() {
			errs = append(errs, fmt.Errorf("stop %s: pid %d does not end", c.Name, c.PID))
		}
	}
	return errors.Join(errs...)
}

// signalAll tells whether all have ended within the time. Process.Signal knows
// whether the process has been reaped, so no stranger with its pid is hit.
func signalAll(children []*Child, sig syscall.Signal, within time.Duration) bool {
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

// Dead returns a child that has ended, the first that was started, or nil.
func (s *Supervisor) Dead() *Child {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.children {
		if !c.Alive() {
			return c
		}
	}
	return nil
}

// Tail copies the end of a child's log, for the report of a failed start.
func (s *Supervisor) Tail(w io.Writer, name string) {
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
