// Package site starts the processes of a measurement, and asks the kernel about
// them and about the machine. Linux only. A Site is used by one goroutine.
package site

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/domicile-dev/domicile/pkg/demo/supervise"
	"github.com/domicile-dev/domicile/test/bench/figures"
)

// Site is a group of processes with a directory and ports of its own. They die
// with us, however we end.
type Site struct {
	dir   string
	sup   *supervise.Supervisor
	Ports supervise.Ports
}

// New makes an empty site. Close it.
func New() (*Site, error) {
	dir, err := os.MkdirTemp("", "domicile-bench-")
	if err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	return &Site{dir: dir, sup: supervise.New(dir, func(string) {})}, nil
}

// Close ends the processes and removes what they wrote.
func (s *Site) Close() error {
	err := s.sup.Stop()
	s.Ports.Release()
	return errors.Join(err, os.RemoveAll(s.dir))
}

// Path names a file in the directory.
func (s *Site) Path(name string) string { return filepath.Join(s.dir, name) }

// Start runs a program.
func (s *Site) Start(name, path string, args ...string) (*supervise.Child, error) {
	return s.sup.Start(name, path, args...)
}

// Self starts this program in another role.
func (s *Site) Self(role string, args ...string) (*supervise.Child, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	return s.sup.Start(role, exe, append([]string{role}, args...)...)
}

// Await waits until ok says so; it fails with the child's log when the child
// ends before that.
func (s *Site) Await(ctx context.Context, c *supervise.Child, within time.Duration, ok func(context.Context) bool) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok(ctx) {
		why := ctx.Err()
		if !c.Alive() {
			why = errors.New(c.How())
		}
		if why != nil {
			var log strings.Builder
			s.sup.Tail(&log, c.Name)
			return fmt.Errorf("start %s: %w\n%s", c.Name, why, log.String())
		}
		<-tick.C
	}
	return nil
}

// Listens tells whether something takes connections.
func Listens(network, addr string) func(context.Context) bool {
	return func(ctx context.Context) bool {
		c, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, network, addr)
		if err != nil {
			return false
		}
		return c.Close() == nil
	}
}

// CPU is the time that the processes have had on a core, together.
func CPU(list []*supervise.Child) (time.Duration, error) {
	var sum time.Duration
	for _, c := range list {
		d, err := cpuTime(os.DirFS("/proc"), c.PID)
		if err != nil {
			return 0, err
		}
		sum += d
	}
	return sum, nil
}

// Machine tells what this machine is.
func Machine() figures.Machine {
	m := figures.Machine{CPU: "unknown CPU", Cores: runtime.NumCPU(), OS: runtime.GOOS + "/" + runtime.GOARCH}
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if name := field(string(b), "model name"); name != "" {
			m.CPU = name
		}
	}
	return m
}

// field returns the value of the first "name : value" line.
func field(text, name string) string {
	for l := range strings.Lines(text) {
		if k, v, ok := strings.Cut(l, ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// LoadAverage is the machine's load over the last minute; -1 where it is not told.
func LoadAverage() float64 {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return -1
	}
	first, _, _ := strings.Cut(string(b), " ")
	x, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return -1
	}
	return x
}

// FirstLine runs a program that tells its version.
func FirstLine(ctx context.Context, path string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, path, args...).Output()
	if err != nil {
		return "", fmt.Errorf("version of %s: %w", filepath.Base(path), err)
	}
	line, _, _ := bytes.Cut(bytes.TrimSpace(out), []byte("\n"))
	return strings.TrimSpace(string(line)), nil
}

// Fetch returns the body of a loopback URL that answers 200.
func Fetch(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", url, resp.Status, body)
	}
	return body, err
}
