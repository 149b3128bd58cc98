package envoy_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/domicile-dev/domicile/pkg/envoy"
	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// named is place where gateways pass connections on, and MQTT is a stream.
func named() *topology.Topology {
	p := place()
	for i := range p.Regions {
		p.Regions[i].TLS = p.Regions[i].Name + ".im.example:8443"
	}
	p.Streams = []topology.Stream{{Name: "mqtt", Class: "message", Service: "message", Port: 8883}}
	return p
}

var byName = []string{"pass/", "entry/", "flow/"}

func innerNames(r *envoy.Resources) []string {
	var out []string
	for _, l := range r.Listeners {
		if slices.ContainsFunc(byName, func(p string) bool { return strings.HasPrefix(l.GetName(), p) }) {
			out = append(out, l.GetName())
		}
	}
	return out
}

// A policy change alters no byte of the listeners that connections come to, and closes
// exactly the internal listeners of those that lost their permission.
func TestPolicyClosesConnectionsByName(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*residency.Spec, *topology.Topology)
		gone   []string // at eu
	}{
		"nothing": {func(*residency.Spec, *topology.Topology) {}, nil},
		"TR keeps a class to itself": {func(s *residency.Spec, _ *topology.Topology) {
			for i := range s.Rules {
				if s.Rules[i].Home == "TR" && s.Rules[i].Class == "presence" {
					s.Rules[i].Entry = []string{"tr"}
				}
			}
		}, []string{"entry/tr.im.example"}},
		"everybody may decrypt SA": {func(s *residency.Spec, _ *topology.Topology) {
			for i := range s.Rules {
				s.Rules[i].Entry = []string{"eu", "sa", "tr"}
			}
		}, []string{"pass/sa.im.example"}},
		"messages of SA are forbidden": {func(s *residency.Spec, _ *topology.Topology) { forbid(s, "SA", "message") }, []string{"flow/mqtt/sa.im.example"}},
		"messages of SA move": {func(s *residency.Spec, _ *topology.Topology) {
			for i := range s.Rules {
				if s.Rules[i].Home == "SA" && s.Rules[i].Class == "message" {
					s.Rules[i].Serve = []string{"tr"}
				}
			}
		}, []string{"entry/tr.im.example", "flow/mqtt/sa.im.example"}}, // SA's profiles keep eu out
		"another address of Riyadh": {func(_ *residency.Spec, p *topology.Topology) { p.Regions[1].TLS = "sa.im.example:443" },
			[]string{"pass/sa.im.example"}}, // the stream's address has another port, and stays
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			node := envoy.Node{Region: "eu", Role: envoy.Gateway}
			before := translate(t, envoy.Input{Table: table(t, spec()), Topology: named(), Node: node})
			s, p := spec(), named()
			c.change(&s, p)
			after := translate(t, envoy.Input{Table: table(t, s), Topology: p, Node: node})
			was, is := versions(t, before, envoy.ListenerType), versions(t, after, envoy.ListenerType)
			for _, l := range []string{"gateway_tls", "stream_mqtt", "entry/-"} {
				if was[l] != is[l] || was[l] == "" {
					t.Errorf("listener %s changed", l)
				}
			}
			var gone []string
			for _, l := range innerNames(before) {
				if is[l] == "" {
					if i := strings.LastIndexByte(l, '/'); !strings.HasPrefix(l, "entry/") {
						l = l[:i] // without the digest of where it leads
					}
					gone = append(gone, l)
				} else if was[l] != is[l] {
					t.Errorf("listener %s changed in place", l)
				}
			}
			if !slices.Equal(gone, c.gone) {
				t.Errorf("%v are gone, want %v", gone, c.gone)
			}
		})
	}
}

// Where no region has an address for it, a gateway passes nothing on, and its
// listener is what it was before there was such a thing.
func TestWithoutAddressesNothingIsPassedOn(t *testing.T) {
	res := translate(t, envoy.Input{Table: table(t, spec()), Topology: place(), Node: envoy.Node{Region: "eu", Role: envoy.Gateway}})
	if got := innerNames(res); got != nil {
		t.Error(got)
	}
	for _, l := range res.Listeners {
		if l.GetDefaultFilterChain() != nil || len(l.GetListenerFilters()) > 0 {
			t.Errorf("listener %s goes by names", l.GetName())
		}
	}
}

// During a roll-out a gateway decrypts only what both tables let it.
func TestStepDecryptsWhatBothLet(t *testing.T) {
	s := spec()
	for i := range s.Rules {
		if s.Rules[i].Home == "SA" {
			s.Rules[i].Serve = []string{"tr"} // and nothing says any more whose host sa's is
		}
	}
	from, to := table(t, spec()), table(t, s)
	mid, err := residency.Meet(from, to)
	if err != nil {
		t.Fatal(err)
	}
	got := innerNames(translate(t, envoy.Input{Table: mid, Opening: to, Topology: named(), Node: envoy.Node{Region: "eu", Role: envoy.Gateway}}))
	if slices.Contains(got, "entry/tr.im.example") { // SA's profiles, which are tr's in the end, keep eu out
		t.Errorf("decrypted in the step: %v", got)
	}
}

// A region without a host has no name of its own to end TLS for.
func TestGatewayWithoutAName(t *testing.T) {
	p := named()
	p.Regions[0].Host, p.Regions[0].Aliases = "", []string{"127.0.0.1", "[::1]:80"}
	res := translate(t, envoy.Input{Table: table(t, spec()), Topology: p, Node: envoy.Node{Region: "eu", Role: envoy.Gateway}})
	for _, l := range res.Listeners {
		if l.GetName() == "gateway_tls" && (len(l.GetFilterChains()) > 0 || l.GetDefaultFilterChain() == nil) {
			t.Errorf("%d chains end TLS", len(l.GetFilterChains()))
		}
	}
}
