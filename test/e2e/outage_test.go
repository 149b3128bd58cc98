package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func kill(t testing.TB, pid int, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, sig); err != nil {
		t.Fatalf("kill %d: %v", pid, err)
	}
}

// T14 and T40: all endpoints of the only allowed region are down while others
// are healthy and idle. Every protocol is refused, from every door, for as long
// as it takes, and nobody else counts anything.
func TestT14_T40_NoSpillOver(t *testing.T) {
	l := own(t)
	token := l.token(t, "amal", "SA")
	tr := l.token(t, "ayse", "TR")
	before := l.counted(t)
	kill(t, l.ready.Regions["me-riyadh"].Backends["message"].PID, syscall.SIGKILL)
	for until := time.Now().Add(8 * time.Second); time.Now().Before(until); {
		for door, url := range l.doors() {
			for name, c := range map[string]*http.Client{"HTTP/1.1": h1, "HTTP/2": h2c} {
				a := get(t, c, url+"/v1/messages", token)
				if a.status != 503 || a.reason() != "region-unavailable" || a.field("reason") != "region-unavailable" || a.header.Get("retry-after") == "" {
					t.Fatalf("through %s by %s: %s", door, name, a)
				}
			}
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			if _, resp, err := dial(ctx, url, token); err == nil || resp == nil || resp.StatusCode != 503 || resp.Header.Get("x-domicile-reason") != "region-unavailable" {
				t.Fatalf("WebSocket through %s: %v %v", door, resp, err)
			}
			cancel()
		}
	}
	for door, url := range l.doors() {
		if a := get(t, h1, url+"/v1/messages", tr); a.status != 200 {
			t.Errorf("others go on: through %s: %s", door, a)
		}
	}
	only(t, l.reached(t, before), "tr-istanbul")
}

// T14: a paused backend accepts and never answers; nothing fails over either.
func TestT14_APausedBackendIsNotReplaced(t *testing.T) {
	l := own(t)
	token := l.token(t, "amal", "SA")
	before := l.counted(t)
	pid := l.ready.Regions["me-riyadh"].Backends["message"].PID
	kill(t, pid, syscall.SIGSTOP)
	defer kill(t, pid, syscall.SIGCONT)
	client := &http.Client{Timeout: 2 * time.Second}
	var wg sync.WaitGroup
	for _, url := range l.doors() {
		wg.Go(func() {
			if a, err := try(client, http.MethodGet, url+"/v1/messages", token, ""); err == nil && a.status == 200 {
				t.Errorf("somebody else answered: %s", a)
			}
		})
	}
	wg.Wait()
	kill(t, pid, syscall.SIGCONT)
	reached := l.reached(t, before)
	delete(reached, "me-riyadh") // what had been accepted may count at home
	only(t, reached, "")
}

// Failover goes where the policy lists it, in its order, and nowhere else.
func TestT14_FailoverAsListedOnly(t *testing.T) {
	dir := policies(t,
		[3]string{"jurisdictions/tr.yaml", "serve: [tr-istanbul]", "serve: [tr-istanbul, eu-frankfurt]"},
		[3]string{"jurisdictions/tr.yaml", "for: [entry], mechanism", "for: [entry, serve], mechanism"},
		[3]string{"jurisdictions/tr.yaml", "relation: {entry: [tr-istanbul]}", "relation: {serve: [tr-istanbul], entry: [tr-istanbul]}"},
	)
	l := own(t, "--policies", dir)
	token := l.token(t, "ayse", "TR")
	for door, url := range l.doors() {
		// Until its first health check has passed a region counts as down.
		eventually(t, 10*time.Second, func() error {
			if a := get(t, h1, url+"/v1/messages", token); a.status != 200 || a.header.Get("x-domicile-region") != "tr-istanbul" {
				return fmt.Errorf("first choice through %s: %s", door, a)
			}
			return nil
		})
	}
	before := l.counted(t)
	for _, url := range l.doors() {
		get(t, h1, url+"/v1/messages", token)
	}
	only(t, l.reached(t, before), "tr-istanbul")
	before = l.counted(t)
	kill(t, l.ready.Regions["tr-istanbul"].Backends["message"].PID, syscall.SIGKILL)
	for door, url := range l.doors() {
		eventually(t, 10*time.Second, func() error {
			a := get(t, h1, url+"/v1/messages", token)
			if a.status != 200 || a.header.Get("x-domicile-region") != "eu-frankfurt" {
				return fmt.Errorf("second choice through %s: %s", door, a)
			}
			return nil
		})
		// Sockets have a health check of their own.
		eventually(t, 10*time.Second, func() error {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			c, _, err := dial(ctx, url, token)
			if err != nil {
				return fmt.Errorf("WebSocket through %s: %w", door, err)
			}
			defer c.CloseNow()
			if got, err := say(c, "x"); got != "eu-frankfurt:x" {
				return fmt.Errorf("WebSocket through %s: %q %w", door, got, err)
			}
			return nil
		})
	}
	only(t, l.reached(t, before), "eu-frankfurt")
	before = l.counted(t)
	kill(t, l.ready.Regions["eu-frankfurt"].Backends["message"].PID, syscall.SIGKILL)
	for door, url := range l.doors() {
		eventually(t, 10*time.Second, func() error {
			if a := get(t, h1, url+"/v1/messages", token); a.status != 503 || a.reason() != "region-unavailable" {
				return fmt.Errorf("through %s: %s", door, a)
			}
			return nil
		})
	}
	only(t, l.reached(t, before), "")
}

// T13: a tightening while requests are under way and clients retry: no request
// that began after the acknowledgement arrives anywhere.
func TestT13_NoRequestSlipsPastATightening(t *testing.T) {
	l := own(t)
	token := l.token(t, "ayse", "TR")
	var closed atomic.Bool
	var after, before atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for _, url := range l.doors() {
		wg.Go(func() {
			c := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{}}
			for {
				select {
				case <-stop:
					return
				default:
				}
				late := closed.Load()
				a, err := try(c, http.MethodGet, url+"/v1/messages", token, "", "x-envoy-retry-on", "5xx", "x-envoy-max-retries", "5")
				if err == nil && a.status == 200 {
					if before.Add(1); late {
						after.Add(1)
					}
				}
			}
		})
	}
	time.Sleep(200 * time.Millisecond) // let traffic run; nothing is asserted by it
	l.apply(t, forbidMessages(t))
	closed.Store(true)
	counted := l.counted(t)
	time.Sleep(500 * time.Millisecond) // the window in which a late request would arrive
	close(stop)
	wg.Wait()
	if n := after.Load(); n != 0 || before.Load() == 0 {
		t.Errorf("%d requests were allowed after every proxy had acknowledged (%d before)", n, before.Load())
	}
	only(t, l.reached(t, counted), "")
}

func TestControlPlaneDeadTrafficGoesOn(t *testing.T) {
	l := own(t)
	kill(t, l.ready.PIDs.Control, syscall.SIGKILL)
	for home, region := range regionOf {
		token := l.token(t, "late-"+home, home) // works while control is dead
		for door, url := range l.doors() {
			before := l.counted(t)
			if a := get(t, h1, url+"/v1/messages", token); a.status != 200 {
				t.Errorf("%s through %s: %s", home, door, a)
			}
			only(t, l.reached(t, before), region)
		}
	}
	began := time.Now()
	if _, errs, code := run(t, "status", "--dir", l.dir); code != 4 || time.Since(began) > 7*time.Second {
		t.Errorf("status without a control plane: exit %d after %s: %s", code, time.Since(began), errs)
	}
}

func TestEtcdDeadTrafficGoesOnAndApplyChangesNothing(t *testing.T) {
	l := own(t)
	was := l.status(t).Policy
	kill(t, l.ready.PIDs.Etcd, syscall.SIGKILL)
	dir := policies(t, [3]string{"jurisdictions/tr.yaml", "    message: {session: {maxAge: 24h}}", "    message: {session: {maxAge: 12h}}"})
	began := time.Now()
	if out, errs, code := run(t, "apply", dir, "--dir", l.dir); code != 4 || time.Since(began) > 8*time.Second {
		t.Errorf("apply without etcd: exit %d after %s: %s%s", code, time.Since(began), out, errs)
	}
	if now := l.status(t); now.Policy != was {
		t.Errorf("apply failed and yet %+v became %+v", was, now.Policy)
	}
	eventually(t, 10*time.Second, func() error {
		if l.status(t).Store.Connected {
			return fmt.Errorf("status does not say that the store is lost")
		}
		return nil
	})
	for home, region := range regionOf {
		before := l.counted(t)
		for door, url := range l.doors() {
			if a := get(t, h1, url+"/v1/messages", l.token(t, "late", home)); a.status != 200 {
				t.Errorf("%s through %s: %s", home, door, a)
			}
		}
		only(t, l.reached(t, before), region)
	}
}

func TestAgentDeadProfilesAreRefused(t *testing.T) {
	l := own(t)
	token := l.token(t, "owner", "SA")
	kill(t, l.ready.Regions["eu-frankfurt"].PIDs.Agent, syscall.SIGKILL)
	before := l.counted(t)
	if a := get(t, h1, l.ready.Regions["eu-frankfurt"].Gateway+"/v1/profiles/owner", token); a.status != 503 || a.reason() != "not-decidable" {
		t.Errorf("profile without an agent: %s", a)
	}
	only(t, l.reached(t, before), "")
	if a := get(t, h1, l.ready.Regions["eu-frankfurt"].Gateway+"/v1/messages", token); a.status != 200 {
		t.Errorf("messages need no agent: %s", a)
	}
}

func TestDemoLeavesNoProcessAndNoFile(t *testing.T) {
	dir := t.TempDir()
	l, err := start(dir)
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, r := range l.ready.Regions {
		pids = append(pids, r.PIDs.Envoy, r.PIDs.Agent)
		for _, b := range r.Backends {
			pids = append(pids, b.PID)
		}
	}
	pids = append(pids, l.ready.PIDs.Control, l.ready.PIDs.Etcd)
	began := time.Now()
	l.stop()
	if d := time.Since(began); d > 10*time.Second {
		t.Errorf("stopping took %s", d)
	}
	for _, pid := range pids {
		if syscall.Kill(pid, 0) == nil {
			t.Errorf("process %d is left", pid)
		}
	}
	empty(t, dir)
}
