package sim_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// demo is a running demo of three regions.
type demo struct {
	dir     string
	today   map[string]struct{ Address string }
	regions map[string]struct {
		Gateway, Sidecar, AgentPeer string
		Backends                    map[string]struct{ Address string }
	}
}

// start starts bin/domicile demo and waits until it is ready.
func start(t *testing.T, policies string) *demo {
	t.Helper()
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	d, file := &demo{dir: filepath.Join(dir, "demo")}, filepath.Join(dir, "ready.json")
	args := []string{"demo", "--dir", d.dir, "--ready-file", file}
	if policies != "" {
		args = append(args, "--policies", policies)
	}
	cmd := exec.Command(filepath.Join(wd, "..", "..", "bin", "domicile"), args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatalf("start demo (make build first): %v", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(12 * time.Second):
			_ = cmd.Process.Kill()
			t.Error("the demo does not end")
		}
	})
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	late := time.After(90 * time.Second)
	for {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("the demo ended: %v\n%s", err, out.String())
		case <-late:
			t.Fatal("the demo is not ready after 90 s")
		case <-poll.C:
		}
		data, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		var ready struct{ Regions, Today json.RawMessage }
		if err := json.Unmarshal(data, &ready); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(ready.Regions, &d.regions); err != nil {
			t.Fatal(err)
		}
		if len(ready.Today) > 0 {
			if err := json.Unmarshal(ready.Today, &d.today); err != nil {
				t.Fatal(err)
			}
		}
		return d
	}
}

// door is one Envoy listener that takes users' or applications' requests.
type door struct{ region, role, addr string }

func (d *demo) doors() []door {
	var out []door
	for _, name := range []string{"eu-frankfurt", "me-riyadh", "tr-istanbul"} { // in one order, for the seed's sake
		r := d.regions[name]
		out = append(out, door{name, "gateway", strings.TrimPrefix(r.Gateway, "http://")}, door{name, "sidecar", strings.TrimPrefix(r.Sidecar, "http://")})
	}
	return out
}

// place is where a backend counts: its region, a user, a class.
type place struct{ region, user, class string }

// counted asks every backend what reached it, those of today as the region "today".
func (d *demo) counted(t *testing.T) map[place]int {
	t.Helper()
	out := map[place]int{}
	backends := map[string]map[string]struct{ Address string }{"today": d.today}
	for name, r := range d.regions {
		backends[name] = r.Backends
	}
	for name, list := range backends {
		for _, b := range list {
			resp, err := http.Get("http://" + b.Address + "/__stats")
			if err != nil {
				t.Fatal(err)
			}
			var stats map[string]map[string]int
			err = json.NewDecoder(resp.Body).Decode(&stats)
			resp.Body.Close()
			if err != nil {
				t.Fatalf("stats of %s: %v", name, err)
			}
			for user, classes := range stats {
				for class, n := range classes {
					out[place{name, user, class}] += n
				}
			}
		}
	}
	return out
}

func (p place) String() string {
	return fmt.Sprintf("user %s, class %s in %s", p.user, p.class, p.region)
}
