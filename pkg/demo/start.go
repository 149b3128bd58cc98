package demo

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/domicile-dev/domicile/pkg/demo/supervise"
	"github.com/domicile-dev/domicile/pkg/identity"
	"github.com/domicile-dev/domicile/pkg/policy"
)

// maxAnswer bounds what is read of the control plane's answers, in bytes.
const maxAnswer = 1 << 20

// start starts all processes at once, applies the policies and waits until all
// of it serves.
func (d *demo) start(ctx context.Context) (*Ready, error) {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	fmt.Fprintf(d.Err, "demo: starting %d regions in %s\n", len(d.regions), d.place.dir)
	ready := d.ready(d.place.path(dirAuthority, identity.CAFile))
	if err := d.startAll(ready); err != nil {
		return nil, err
	}
	what := "" // is not ready yet
	err := func() error {
		for _, p := range []probe{{"etcd", httpOK("http://" + d.etcdClient + "/health")}, {"domicile-control", httpOK("http://" + d.admin + "/healthz")}} {
			what = p.name
			if err := d.wait(ctx, p.ok); err != nil {
				return err
			}
		}
		if err := d.apply(ctx); err != nil {
			return err
		}
		for _, p := range d.probes() {
			what = p.name
			if err := d.wait(ctx, p.ok); err != nil {
				return err
			}
		}
		return nil
	}()
	if dead := d.sup.Dead(); dead != nil && errors.Is(err, errDead) {
		d.sup.Tail(d.Err, dead.Name)
		return nil, &exitError{exitFindings, fmt.Errorf("start demo: %s has ended: %s", dead.Name, dead.How())}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		d.sup.Tail(d.Err, "control")
		return nil, &exitError{exitUnreachable, fmt.Errorf("start demo: %s is not ready after %v", what, readyTimeout)}
	}
	if err != nil {
		return nil, err
	}
	return ready, nil
}

// startAll starts the processes and notes their ids.
func (d *demo) startAll(ready *Ready) error {
	etcd, err := d.sup.Start("etcd", d.self, "demo-etcd", "--data", d.place.path(dirEtcd),
		"--client", "http://"+d.etcdClient, "--peer", "http://"+d.etcdPeer)
	if err != nil {
		return err
	}
	certs := func(name string) string { return d.place.path(dirCerts, "control", name) }
	control, err := d.sup.Start("control", d.control, "--etcd", "http://"+d.etcdClient, "--xds", d.xds, "--admin", d.admin,
		"--cert", certs(identity.CertFile), "--key", certs(identity.KeyFile), "--ca", certs(identity.CAFile),
		"--trust-domain", d.trustDomain, "--api", d.api, "--overlay", d.place.path(fileOverlay), "--state", certs("newest-policy.json"))
	if err != nil {
		return err
	}
	ready.PIDs.Etcd, ready.PIDs.Control = etcd.PID, control.PID
	// Before Domicile nobody asked where a user is at home: without agent and egress.
	for service, addr := range d.today {
		backend, err := d.sup.Start("today-"+fileName(service), d.self, "demo-backend", "--region", "today", "--listen", addr,
			"--key", d.place.path(fileUsersKey))
		if err != nil {
			return err
		}
		ready.Today[service] = ReadyBackend{Address: addr, PID: backend.PID}
	}
	for _, r := range d.regions {
		rr := ready.Regions[r.name]
		if err := d.startRegion(r, &rr); err != nil {
			return err
		}
		ready.Regions[r.name] = rr
	}
	return nil
}

func (d *demo) startRegion(r regionPlan, ready *ReadyRegion) error {
	name := fileName(r.name)
	gateway, err := d.startEnvoy(gatewayID(r.name))
	if err != nil {
		return err
	}
	if _, err := d.startEnvoy(sidecarID(r.name)); err != nil {
		return err
	}
	agent, err := d.startAgent(r)
	if err != nil {
		return err
	}
	ready.PIDs.Envoy, ready.PIDs.Agent = gateway.PID, agent.PID
	for service, addr := range r.backends {
		backend, err := d.sup.Start(name+"-"+fileName(service), d.self, "demo-backend", "--region", r.name, "--listen", addr,
			"--agent", "http://"+r.agent, "--egress", "http://"+r.listen.Egress, "--key", d.place.path(fileUsersKey))
		if err != nil {
			return err
		}
		ready.Backends[service] = ReadyBackend{Address: addr, PID: backend.PID}
	}
	return nil
}

func (d *demo) startAgent(r regionPlan) (*supervise.Child, error) {
	id := agentID(r.name)
	certs := func(name string) string { return d.place.path(dirCerts, agentName(id), name) }
	keeps := func(what string) string { return d.place.path(dirAgents, fileName(r.name)+what) }
	return d.sup.Start(agentName(id), d.agent, "--id", id.String(), "--socket", r.socket, "--listen", r.agent, "--peer", r.moves,
		"--control", "https://"+d.api, "--cert", certs(identity.CertFile), "--key", certs(identity.KeyFile), "--ca", certs(identity.CAFile),
		"--trust-domain", d.trustDomain, "--state", keeps("-policy.json"), "--fence", keeps("-fence.json"), "--pin-key", keeps(pinKeySuffix),
		"--directory", d.place.path(fileUsers), "--directory-key", d.place.path(fileUsersKey))
}

// startEnvoy starts one Envoy. The short, immediate drain is what closes the
// sessions that a policy forbids within seconds.
func (d *demo) startEnvoy(id identity.ID) (*supervise.Child, error) {
	return d.sup.Start(envoyName(id), d.envoy, "-c", d.bootstrapFile(id), "--concurrency", "1",
		"--drain-time-s", "0", "--drain-strategy", "immediate", "--disable-hot-restart", "--log-level", "warn")
}

// probe is one thing that must be so before the demo is ready.
type probe struct {
	name string
	ok   func(context.Context) bool
}

func (d *demo) probes() []probe {
	var out []probe
	for _, r := range d.regions {
		out = append(out,
			probe{r.name + "-gateway", httpOK("http://" + r.admin + "/ready")},
			probe{r.name + "-sidecar", httpOK("http://" + r.sideMin + "/ready")},
			probe{r.name + "-agent", httpOK("http://" + r.agent + "/readyz")},
		)
		for _, addr := range []string{r.listen.Plain, r.listen.TLS, r.listen.Peer, r.listen.Sidecar} {
			out = append(out, probe{r.name + " at " + addr, listens(addr)})
		}
		for _, addr := range r.listen.Streams {
			out = append(out, probe{r.name + " at " + addr, listens(addr)})
		}
		for service, addr := range r.backends {
			out = append(out, probe{r.name + "-" + service, listens(addr)})
		}
	}
	for service, addr := range d.today {
		out = append(out, probe{"today-" + service, listens(addr)})
	}
	return append(out, probe{"each Envoy's configuration", d.synced})
}

// errDead says that a process has ended while the demo was starting.
var errDead = errors.New("a process has ended")

// wait polls until ok, or returns why it gave up: ctx ended, or a process did.
func (d *demo) wait(ctx context.Context, ok func(context.Context) bool) error {
	var dead bool
	done := poll(ctx, func() bool {
		dead = d.sup.Dead() != nil
		return dead || ok(ctx)
	})
	switch {
	case dead:
		return errDead
	case !done:
		return ctx.Err()
	}
	return nil
}

func httpOK(url string) func(context.Context) bool {
	return func(ctx context.Context) bool {
		code, err := getStatus(ctx, url)
		return err == nil && code == http.StatusOK
	}
}

func listens(addr string) func(context.Context) bool {
	return func(ctx context.Context) bool {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err != nil {
			return false
		}
		c.Close()
		return true
	}
}

// synced tells whether every Envoy of the demo runs the policy.
func (d *demo) synced(ctx context.Context) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+d.admin+"/v1/status", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	var s struct {
		Proxies []struct {
			ID    string `json:"id"`
			State string `json:"state"`
		} `json:"proxies"`
	}
	if json.NewDecoder(resp.Body).Decode(&s) != nil {
		return false
	}
	state := map[string]string{}
	for _, p := range s.Proxies {
		state[p.ID] = p.State
	}
	return !slices.ContainsFunc(d.regions, func(r regionPlan) bool {
		return state[gatewayID(r.name).String()] != "synced" || state[sidecarID(r.name).String()] != "synced"
	})
}

// apply publishes the policies by the control plane's own interface, and tries
// again while the control plane or the store is not up yet.
func (d *demo) apply(ctx context.Context) error {
	archive, err := d.archive()
	if err != nil {
		return err
	}
	target := "http://" + d.admin + "/v1/apply?" + url.Values{"author": {"demo"}, "message": {"the demo's first policy"}}.Encode()
	var failed error
	err = d.wait(ctx, func(ctx context.Context) bool {
		var again bool
		again, failed = d.post(ctx, target, archive)
		return !again
	})
	return cmp.Or(err, failed)
}

// post tells whether trying again may help.
func (d *demo) post(ctx context.Context, target string, archive []byte) (again bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(archive))
	if err != nil {
		return false, err
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return true, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	switch {
	case err != nil:
		return true, err
	case resp.StatusCode == http.StatusOK:
		return false, nil
	case resp.StatusCode == http.StatusServiceUnavailable:
		return true, errors.New("apply policies: the store does not answer")
	}
	var rejected struct {
		Title    string           `json:"title"`
		Detail   string           `json:"detail"`
		Problems []policy.Problem `json:"problems"`
	}
	if json.Unmarshal(body, &rejected) == nil {
		d.show(rejected.Problems, nil)
	}
	return false, &exitError{exitFindings, fmt.Errorf("apply policies: status %d: %s: %s", resp.StatusCode, rejected.Title, rejected.Detail)}
}

// within formats a duration for people.
func within(t time.Duration) string { return t.Round(100 * time.Millisecond).String() }
