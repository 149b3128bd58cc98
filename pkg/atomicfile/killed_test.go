package atomicfile

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The roles in which this test starts itself.
const (
	writer  = "write-until-killed" // PATH
	limited = "write-too-much"     // PATH
)

// size of what is written: large enough to be caught half-way.
const size = 4 << 20

func content(n byte) []byte { return bytes.Repeat([]byte{'a' + n%2}, size) }

func TestMain(m *testing.M) {
	if len(os.Args) == 3 {
		switch path := os.Args[2]; os.Args[1] {
		case writer:
			for n := byte(0); ; n++ {
				if err := Write(path, content(n), 0o600); err != nil {
					os.Exit(3)
				}
			}
		case limited: // as a full disk does, the write fails when half of it is there
			if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: size / 2, Max: size / 2}); err != nil {
				os.Exit(3)
			}
			if err := Write(path, content(1), 0o600); err == nil || !strings.Contains(err.Error(), "write "+path) {
				os.Exit(4)
			}
			os.Exit(0)
		}
	}
	os.Exit(m.Run())
}

// temporary counts the files that were left behind, and removes them.
func temporary(t *testing.T, dir string) int {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(dir, ".tmp-*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range left {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	return len(left)
}

// T18: whoever is killed while it writes leaves the old content or the new.
//
// Seen red: writing to the path itself.
func TestT18KilledWhileWriting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	if err := Write(path, content(0), 0o600); err != nil {
		t.Fatal(err)
	}
	caught, seen := 0, map[byte]int{}
	for i := range 20 {
		cmd := exec.Command(os.Args[0], writer, path)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(10+7*i) * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(data, content(0)) && !bytes.Equal(data, content(1)) {
			t.Fatalf("%d bytes of neither content", len(data))
		}
		seen[data[0]]++
		caught += temporary(t, filepath.Dir(path))
	}
	t.Logf("%d of 20 kills hit a write; contents left: %v", caught, seen)
	if caught == 0 || len(seen) != 2 {
		t.Error("no kill hit a write, or only one content was ever left")
	}
}

// T18: a write that fails half-way, as on a full disk, leaves the old content and
// nothing beside it.
func TestT18FullDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	if err := Write(path, content(0), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(os.Args[0], limited, path).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if data, err := os.ReadFile(path); err != nil || !bytes.Equal(data, content(0)) {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	if n := temporary(t, filepath.Dir(path)); n > 0 {
		t.Errorf("%d files left", n)
	}
}
