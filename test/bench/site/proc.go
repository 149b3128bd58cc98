package site

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of /proc/PID/stat: USER_HZ, 100 on every platform that
// Envoy is built for.
const clockTick = 10 * time.Millisecond

// cpuTime adds up what a process has had on a core: to the nanosecond from
// schedstat of its threads, where the kernel keeps that, else in clock ticks
// from its stat.
func cpuTime(proc fs.FS, pid int) (time.Duration, error) {
	dir := strconv.Itoa(pid)
	tasks, err := fs.Glob(proc, path.Join(dir, "task", "*", "schedstat"))
	if err != nil {
		return 0, err
	}
	var sum time.Duration
	for _, name := range tasks {
		b, err := fs.ReadFile(proc, name)
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) { // a thread that has just ended
				continue
			}
			return 0, fmt.Errorf("cpu time of %d: %w", pid, err)
		}
		d, err := parseSchedstat(b)
		if err != nil {
			return 0, fmt.Errorf("cpu time of %d: %w", pid, err)
		}
		sum += d
	}
	if sum > 0 {
		return sum, nil
	}
	b, err := fs.ReadFile(proc, path.Join(dir, "stat"))
	if err != nil {
		return 0, fmt.Errorf("cpu time of %d: %w", pid, err)
	}
	return parseStat(b)
}

// parseSchedstat reads the first of three numbers: nanoseconds on a core.
func parseSchedstat(b []byte) (time.Duration, error) {
	f := strings.Fields(string(b))
	if len(f) != 3 {
		return 0, fmt.Errorf("schedstat has %d fields, want 3", len(f))
	}
	ns, err := strconv.ParseInt(f[0], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("schedstat: %w", err)
	}
	return time.Duration(ns), nil
}

// parseStat adds utime and stime. The second field is a program's name in
// parentheses and may hold anything, parentheses and spaces too.
func parseStat(b []byte) (time.Duration, error) {
	end := bytes.LastIndexByte(b, ')')
	f := strings.Fields(string(b[end+1:]))
	if end < 0 || len(f) < 13 {
		return 0, errors.New("stat has too few fields")
	}
	user, err := strconv.ParseInt(f[11], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("stat: utime: %w", err)
	}
	system, err := strconv.ParseInt(f[12], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("stat: stime: %w", err)
	}
	return time.Duration(user+system) * clockTick, nil
}
