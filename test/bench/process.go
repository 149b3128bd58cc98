package main

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
)

// site is a group of processes with a directory and ports of its own. They die
// with us, however we end.
type site struct {
	dir   string
	sup   *supervise.Supervisor
	ports supervise.Ports
}

func newSite() (*site, error) {
	dir, err := os.MkdirTemp("", "domicile-bench-")
	if err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	return &site{dir: dir, sup: supervise.New(dir, func(string) {})}, nil
}

// close ends the processes and removes what they wrote.
func (s *site) close() error {
	err := s.sup.Stop()
	s.ports.Release()
	return errors.Join(err, os.RemoveAll(s.dir))
}

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

// self starts this program in another role.
func (s *site) self(role string, args ...string) (*supervise.Child, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	return s.sup.Start(role, exe, append([]string{role}, args...)...)
}

// await waits until ok says so; it fails with the child's log when the child
// ends before that.
func (s *site) await(ctx context.Context, c *supervise.Child, within time.Duration, ok func(context.Context) bool) error {
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

// listens tells whether something takes connections.
func listens(network, addr string) func(context.Context) bool {
	return func(ctx context.Context) bool {
		c, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, network, addr)
		if err != nil {
			return false
		}
		return c.Close() == nil
	}
}

// cpuOf is the time that the processes have had on a core, together.
func cpuOf(list []*supervise.Child) (time.Duration, error) {
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

func machineOf() machine {
	m := machine{CPU: "unknown CPU", Cores: runtime.NumCPU(), OS: runtime.GOOS + "/" + runtime.GOARCH}
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

// loadAverage is the machine's load over the last minute; -1 where it is not told.
func loadAverage() float64 {
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

// firstLine runs a program that tells its version.
func firstLine(ctx context.Context, path string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, path, args...).Output()
	if err != nil {
		return "", fmt.Errorf("version of %s: %w", filepath.Base(path), err)
	}
	line, _, _ := bytes.Cut(bytes.TrimSpace(out), []byte("\n"))
	return strings.TrimSpace(string(line)), nil
}

// fetch returns the body of a loopback URL that answers 200.
func fetch(ctx context.Context, url string) ([]byte, error) {
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
