package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/domicile-dev/domicile/pkg/demo"
	"github.com/domicile-dev/domicile/pkg/demo/supervise"
	"github.com/domicile-dev/domicile/pkg/envoy"
	"github.com/domicile-dev/domicile/pkg/identity"
	"github.com/domicile-dev/domicile/pkg/topology"

	"github.com/domicile-dev/domicile/test/bench/figures"
	"github.com/domicile-dev/domicile/test/bench/load"
	"github.com/domicile-dev/domicile/test/bench/site"
)

// The sides of the comparisons.
const (
	pinnedSide  = "pinned"  // the product, 10 homes × 6 classes
	bigSide     = "big"     // the product, 1,000 homes × 6 classes
	bareSide    = "bare"    // one static route
	callOutSide = "callout" // ext_authz
	luaSide     = "lua"
	haproxySide = "haproxy"
)

const localCluster = service + "@" + here

// bench is one run.
type bench struct {
	options
	report *figures.Report
	envoy  string
	mint   *mint
	sites  []*site.Site
}

// side is one way through a proxy to the backend.
type side struct {
	name  string
	addr  string
	admin string                   // of its Envoy; empty for HAProxy
	procs []*supervise.Child       // whose CPU time a request costs
	load  *load.Requests           // warm
	cold  func(int) *load.Requests // of a round; nil where that is not measured
	conns []*load.Wire
}

func (b *bench) prepare(ctx context.Context) error {
	path, err := demo.FindEnvoy(ctx, "bin")
	if err != nil {
		return err
	}
	of, err := site.FirstLine(ctx, path, "--version")
	if err != nil {
		return err
	}
	_, of, _ = strings.Cut(of, "version: ")
	b.envoy, b.report.Machine = path, site.Machine()
	b.report.Measured("Domicile", revision(ctx))
	b.report.Measured("Envoy", of)
	b.report.Measured("Go", runtime.Version())
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if d.Path == "github.com/valyala/fasthttp" || d.Path == "google.golang.org/grpc" {
				b.report.Measured(d.Path, d.Version)
			}
		}
	}
	b.mint, err = newMint()
	return err
}

// revision is what git calls this tree.
func revision(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "of unknown revision"
	}
	return strings.TrimSpace(string(out))
}

func (b *bench) newSite() (*site.Site, error) {
	s, err := site.New()
	if err == nil {
		b.sites = append(b.sites, s)
	}
	return s, err
}

// close ends every process of the run.
func (b *bench) close() {
	for _, s := range b.sites {
		if err := s.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "bench: clean up:", err)
		}
	}
	b.sites = nil
}

// traffic measures P1 to P6.
func (b *bench) traffic(ctx context.Context) error {
	s, err := b.newSite()
	if err != nil {
		return err
	}
	defer b.close()
	sides, err := b.sides(ctx, s)
	if err != nil {
		return err
	}
	if b.wants("P1", "P2", "P3", "P5") {
		if err := b.requestRows(ctx, sides); err != nil {
			return err
		}
	}
	if b.wants("P4") {
		if err := b.latencyRows(ctx, sides[0], sides[1]); err != nil {
			return err
		}
	}
	if b.wants("P6") {
		return b.socketRows(ctx, sides[:2])
	}
	return nil
}

// coldTokens is how many tokens a round uses that no Envoy has seen.
func (b *bench) coldTokens() int { return min(1000, b.tokens/4) }

// sides starts backend, proxies and the call-out server: pinned first, then
// bare, then what the chosen rows need.
func (b *bench) sides(ctx context.Context, s *site.Site) ([]*side, error) {
	backend, err := s.Ports.Take()
	if err != nil {
		return nil, err
	}
	c, err := s.Self(backendRole, backend)
	if err != nil {
		return nil, err
	}
	if err := s.Await(ctx, c, 10*time.Second, site.Listens("tcp", backend)); err != nil {
		return nil, err
	}
	r := rivals{addresses: map[string]string{}, homes: smallHomes, routeTime: durationpb.New(time.Minute)}
	names := []string{bareSide}
	if b.wants("P3") {
		names = append(names, callOutSide, luaSide)
	}
	for _, name := range names {
		if r.addresses[name], err = s.Ports.Take(); err != nil {
			return nil, err
		}
	}
	var server *supervise.Child
	if b.wants("P3") {
		if server, err = b.startCallOut(ctx, s, r); err != nil {
			return nil, err
		}
	}
	pinned, err := b.startEnvoy(ctx, s, pinnedSide, smallHomes, backend, r)
	if err != nil {
		return nil, err
	}
	out := []*side{pinned}
	for _, name := range names {
		x := &side{name: name, addr: r.addresses[name], admin: pinned.admin, procs: slices.Clone(pinned.procs)}
		if name == callOutSide {
			x.procs = append(x.procs, server)
		}
		out = append(out, x)
	}
	if b.wants("P3") {
		x, err := b.startHAProxy(ctx, s, r, backend)
		if err != nil {
			return nil, err
		}
		if x != nil {
			out = append(out, x)
		}
	}
	for _, more := range []struct {
		row, side string
		homes     int
	}{{"P2", pinSide, smallHomes}, {"P5", bigSide, bigHomes}} {
		if !b.wants(more.row) {
			continue
		}
		x, err := b.startEnvoy(ctx, s, more.side, more.homes, backend, rivals{})
		if err != nil {
			return nil, err
		}
		out = append(out, x)
	}
	return out, nil
}

func (b *bench) startCallOut(ctx context.Context, s *site.Site, r rivals) (*supervise.Child, error) {
	regions, err := json.Marshal(r.regionMap())
	if err != nil {
		return nil, err
	}
	c, err := s.Self(callOutRole, s.Path("agent.sock"), string(regions))
	if err != nil {
		return nil, err
	}
	return c, s.Await(ctx, c, 10*time.Second, site.Listens("unix", s.Path("agent.sock")))
}

// startEnvoy runs the translation of a policy for so many homes, with rivals.
func (b *bench) startEnvoy(ctx context.Context, s *site.Site, name string, homes int, backend string, r rivals) (*side, error) {
	x := &side{name: name}
	nobody := ""
	for _, p := range []*string{&x.addr, &x.admin, &nobody} {
		var err error
		if *p, err = s.Ports.Take(); err != nil {
			return nil, err
		}
	}
	t, err := table(homes)
	if err != nil {
		return nil, err
	}
	top := place(b.mint.JWKS, x.addr, backend, s.Path("agent.sock"), nobody)
	if name == pinSide {
		withPins(top, b.mint.JWKS)
	}
	res, err := envoy.Translate(envoy.Input{Table: t, Node: envoy.Node{Region: here, Role: envoy.Gateway}, Topology: top})
	if err != nil {
		return nil, err
	}
	// Nobody connects to these, and each would hold the whole route table again.
	res.Listeners = slices.DeleteFunc(res.Listeners, func(l *listenerv3.Listener) bool {
		return slices.Contains([]string{"gateway_tls", "peer", "egress"}, l.GetName())
	})
	spec, err := bootstrapSpec(x.admin)
	if err != nil {
		return nil, err
	}
	config, err := envoy.StaticBootstrap(spec, res)
	if err == nil {
		config, err = r.addTo(config)
	}
	if err == nil {
		err = os.WriteFile(s.Path(name+".json"), config, 0o600)
	}
	if err != nil {
		return nil, err
	}
	c, err := s.Start("envoy-"+name, b.envoy, "-c", s.Path(name+".json"),
		"--concurrency", "1", "--disable-hot-restart", "--log-level", "error")
	if err != nil {
		return nil, err
	}
	x.procs = []*supervise.Child{c}
	return x, s.Await(ctx, c, time.Minute, func(ctx context.Context) bool {
		_, err := site.Fetch(ctx, "http://"+x.admin+"/ready")
		return err == nil
	})
}

func bootstrapSpec(admin string) (envoy.BootstrapSpec, error) {
	s := envoy.BootstrapSpec{Cluster: "bench", Admin: admin, TrustDomain: topology.TrustDomain}
	a, err := identity.NewAuthority(topology.TrustDomain)
	if err != nil {
		return s, err
	}
	id := identity.ID{Region: here, Role: identity.RoleGateway, Name: "bench"}
	node, err := a.Issue(id, identity.Options{})
	if err != nil {
		return s, err
	}
	public, err := a.IssueServer(identity.Options{DNS: []string{host}})
	if err != nil {
		return s, err
	}
	pair := func(p identity.PEM) envoy.KeyPair {
		return envoy.KeyPair{Certificate: envoy.PEM{Inline: string(p.Cert)}, Key: envoy.PEM{Inline: string(p.Key)}}
	}
	s.ID, s.Node, s.Public, s.CA = id.String(), pair(node), pair(public), envoy.PEM{Inline: string(a.CertPEM())}
	return s, nil
}

// startHAProxy returns nil, and says why, where there is none that can do it.
func (b *bench) startHAProxy(ctx context.Context, s *site.Site, r rivals, backend string) (*side, error) {
	path, err := exec.LookPath("haproxy")
	if errors.Is(err, exec.ErrNotFound) {
		b.report.Note("P3 against HAProxy: not measured: no haproxy on PATH.")
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	x := &side{name: haproxySide}
	if x.addr, err = s.Ports.Take(); err != nil {
		return nil, err
	}
	key, err := b.mint.publicPEM()
	if err != nil {
		return nil, err
	}
	var regions strings.Builder
	for home, region := range r.regionMap() {
		fmt.Fprintf(&regions, "%s %s\n", home, region)
	}
	for name, body := range map[string]string{
		"key.pem": string(key), "regions.map": regions.String(),
		"haproxy.cfg": r.haproxyConfig(x.addr, backend, s.Path("key.pem"), s.Path("regions.map")),
	} {
		if err := os.WriteFile(s.Path(name), []byte(body), 0o600); err != nil {
			return nil, err
		}
	}
	if out, err := exec.CommandContext(ctx, path, "-c", "-f", s.Path("haproxy.cfg")).CombinedOutput(); err != nil {
		b.report.Note("P3 against HAProxy: not measured: %s does not take the configuration (built without jwt_verify?): %s", path, out)
		return nil, nil //nolint:nilerr // noted: the row is left out, the run goes on
	}
	v, err := site.FirstLine(ctx, path, "-v")
	if err != nil {
		return nil, err
	}
	b.report.Measured("HAProxy", strings.TrimPrefix(v, "HAProxy version "))
	c, err := s.Start("haproxy", path, "-db", "-f", s.Path("haproxy.cfg"))
	if err != nil {
		return nil, err
	}
	x.procs = []*supervise.Child{c}
	return x, s.Await(ctx, c, 10*time.Second, site.Listens("tcp", x.addr))
}
