package supervise

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The test binary plays the children, by its first argument.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "fake-sleeper":
			fmt.Println("asleep")
			ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
			<-ctx.Done()
			stop()
			os.Exit(0)
		case "fake-stubborn":
			signal.Ignore(syscall.SIGTERM)
			fmt.Println("asleep")
			select {}
		case "fake-failure":
			fmt.Println("it broke")
			os.Exit(3)
		case "fake-demo":
			fmt.Fprintln(os.Stderr, fakeDemo())
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// fakeDemo starts three children, prints their ids, and waits to be killed.
func fakeDemo() error {
	s := New(os.Args[2], func(string) {})
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	for _, kind := range []string{"fake-sleeper", "fake-stubborn", "fake-sleeper"} {
		c, err := s.Start(kind, exe, kind)
		if err != nil {
			return err
		}
		fmt.Println(c.PID)
	}
	select {}
}

// poll asks until it hears yes or ctx ends; it tells which.
func poll(ctx context.Context, yes func() bool) bool {
	for !yes() {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(5 * time.Millisecond):
		}
	}
	return true
}

// gone waits until a process has ended; one that nobody has reaped yet counts.
func gone(t *testing.T, pid int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if !poll(ctx, func() bool { return !running(pid) }) {
		t.Errorf("process %d is still there", pid)
	}
}

func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, ok := strings.Cut(string(stat), ") ")
	return ok && !strings.HasPrefix(rest, "Z")
}
