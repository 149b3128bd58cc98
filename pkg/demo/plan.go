package demo

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/domicile-dev/domicile/pkg/demo/elsewhere"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// plan says which local stand-ins a deployment gets.
type plan struct {
	trustDomain string
	etcdClient  string // host:port, as all addresses here
	etcdPeer    string
	admin, xds  string
	api         string // of the control plane, by mTLS
	regions     []regionPlan
	today       map[string]string // service → host:port of the backends before Domicile
	issuers     []issuer
}

type regionPlan struct {
	name     string
	host     string // public name, "" where there is none
	passed   bool   // other regions pass the host's TLS through
	listen   topology.Listen
	admin    string // of the gateway Envoy
	sideMin  string // of the sidecar Envoy
	agent    string
	moves    string // of the agent, by mTLS
	socket   string
	pinKeys  string            // public
	backends map[string]string // service → host:port, of what the demo runs
	// elsewhere are the services whose backends others run: service → host:port list.
	elsewhere map[string][]string
}

// makePlan gives every part an address. Take hands out ports. What runs elsewhere
// gets no stand-in.
func makePlan(d *policy.Deployment, others elsewhere.Backends, sockets string, take func() (string, error)) (*plan, error) {
	var failed error
	port := func() string {
		addr, err := take()
		failed = cmp.Or(failed, err)
		return addr
	}
	p := &plan{
		trustDomain: cmp.Or(d.TrustDomain, topology.TrustDomain),
		etcdClient:  port(), etcdPeer: port(), admin: port(), xds: port(), api: port(),
		today: map[string]string{},
	}
	for i, r := range d.Regions {
		rp := regionPlan{
			name: r.Name, host: r.Host, passed: r.TLS != "",
			listen: topology.Listen{Plain: port(), TLS: port(), Peer: port(), Egress: port(), Sidecar: port()},
			admin:  port(), sideMin: port(), agent: port(), moves: port(),
			// Numbered, because a region's name may be too long for a socket's path.
			socket:    filepath.Join(sockets, fmt.Sprintf("a%d.sock", i)),
			backends:  map[string]string{},
			elsewhere: map[string][]string{},
		}
		for _, s := range d.Streams {
			if rp.listen.Streams == nil {
				rp.listen.Streams = map[string]string{}
			}
			rp.listen.Streams[s.Name] = port()
		}
		for _, service := range slices.Sorted(maps.Keys(r.Backends)) {
			if addrs := others.Of(r.Name, service); len(addrs) > 0 {
				rp.elsewhere[service] = addrs
			} else {
				rp.backends[service] = port()
			}
		}
		p.regions = append(p.regions, rp)
	}
	for _, service := range slices.Sorted(maps.Keys(d.Today)) {
		p.today[service] = port()
	}
	for _, i := range d.Issuers {
		out := issuer{Issuer: i.Issuer, HomeClaim: i.HomeClaim, UserClaim: cmp.Or(i.UserClaim, "sub"), Nameless: i.Nameless}
		if len(i.Audiences) > 0 {
			out.Audience = i.Audiences[0]
		}
		for _, h := range i.Homes {
			out.Homes = append(out.Homes, h.Value)
		}
		p.issuers = append(p.issuers, out)
	}
	return p, failed
}

// overlay is what domicile-control puts in the place of the deployment's
// addresses and keys.
func (p *plan) overlay(jwks []byte) *topology.Overlay {
	o := &topology.Overlay{
		TrustDomain: p.trustDomain, JWKS: string(jwks), Expose: true, Regions: map[string]topology.RegionOverlay{},
	}
	for service, addr := range p.today {
		if o.Today == nil {
			o.Today = map[string][]string{}
		}
		o.Today[service] = []string{addr}
	}
	for _, r := range p.regions {
		ro := topology.RegionOverlay{
			Aliases: []string{"127.0.0.1", "localhost"}, Peer: r.listen.Peer, Agent: r.socket, Listen: &r.listen, PinKeys: r.pinKeys,
			Backends: maps.Clone(r.elsewhere),
		}
		if r.passed {
			ro.TLS = r.listen.TLS
		}
		for service, addr := range r.backends {
			ro.Backends[service] = []string{addr}
		}
		o.Regions[r.name] = ro
	}
	return o
}

// ready is the ready file without process ids.
func (p *plan) ready(caFile string) *Ready {
	out := &Ready{
		Control: ReadyControl{Admin: "http://" + p.admin, XDS: p.xds, API: p.api},
		Etcd:    []string{"http://" + p.etcdClient}, Regions: map[string]ReadyRegion{}, CAFile: caFile,
	}
	for _, r := range p.regions {
		rr := ReadyRegion{
			Gateway: "http://" + r.listen.Plain, GatewayTLS: r.listen.TLS, Sidecar: "http://" + r.listen.Sidecar,
			EnvoyAdmin: "http://" + r.admin, Agent: "http://" + r.agent, AgentPeer: r.moves, Backends: map[string]ReadyBackend{},
			Streams: r.listen.Streams,
		}
		for service, addr := range r.backends {
			rr.Backends[service] = ReadyBackend{Address: addr}
		}
		for service, addrs := range r.elsewhere {
			rr.Backends[service] = ReadyBackend{Address: addrs[0]}
		}
		out.Regions[r.name] = rr
	}
	for service, addr := range p.today {
		if out.Today == nil {
			out.Today = map[string]ReadyBackend{}
		}
		out.Today[service] = ReadyBackend{Address: addr}
	}
	return out
}

// fileName makes a name that is safe in a path.
func fileName(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '_'
	}, s)
}
