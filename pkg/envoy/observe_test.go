package envoy_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/domicile-dev/domicile/pkg/envoy"
	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// watched is the deployment with backends of today, and QA, which has no rule,
// under observation.
func watched() (residency.Spec, *topology.Topology) {
	s, p := spec(), place()
	s.Observed = []string{"QA"}
	p.Today = map[string][]string{"message": {"10.9.0.1:80", "10.9.0.2:80"}, "profile": {"old.example:80"}}
	return s, p
}

func todays(r *envoy.Resources) []string {
	var out []string
	for _, c := range r.Clusters {
		if strings.Contains(c.GetName(), "today/") {
			out = append(out, c.GetName())
		}
	}
	return out
}

// Only the entries of an observed home know today's backends: never a peer, and
// nobody where nothing is observed.
func TestTodayIsReachedFromEntriesOnly(t *testing.T) {
	for _, n := range envoy.Nodes(place()) {
		s, p := watched()
		got := todays(translate(t, envoy.Input{Table: table(t, s), Topology: p, Node: n}))
		if has := len(got) > 0; has != (n.Role != envoy.Peer) {
			t.Errorf("%s has %v", n, got)
		}
		s.Observed = nil
		if got := todays(translate(t, envoy.Input{Table: table(t, s), Topology: p, Node: n})); len(got) > 0 {
			t.Errorf("%s, without observation, has %v", n, got)
		}
		s.Observed, p.Today = []string{"QA"}, nil
		if got := todays(translate(t, envoy.Input{Table: table(t, s), Topology: p, Node: n})); len(got) > 0 {
			t.Errorf("%s, without today's backends, has %v", n, got)
		}
	}
}

// The end of observation, and another backend of today, close what went there and
// nothing else.
func TestTheEndOfObservationClosesItsSessions(t *testing.T) {
	node := envoy.Node{Region: "eu", Role: envoy.Gateway}
	s, p := watched()
	before := live(translate(t, envoy.Input{Table: table(t, s), Topology: p, Node: node}))
	sessions := func(l string) bool {
		return strings.HasPrefix(l, "live/QA/message/") && strings.Contains(l, "/today/message")
	}
	if n := len(slices.DeleteFunc(slices.Clone(before), func(l string) bool { return !sessions(l) })); n != 2 {
		t.Fatalf("%d sessions of today in %v, want a WebSocket's and gRPC's", n, before)
	}
	for name, change := range map[string]func(*residency.Spec, *topology.Topology){
		"enforced": func(s *residency.Spec, _ *topology.Topology) { s.Observed = nil },
		"braked": func(s *residency.Spec, _ *topology.Topology) {
			s.Rules = append(s.Rules, residency.Rule{Home: "QA", Class: "message", Braked: true})
		},
		"another backend of today": func(_ *residency.Spec, p *topology.Topology) { p.Today["message"] = []string{"10.9.0.1:80"} },
		"no backend of today":      func(_ *residency.Spec, p *topology.Topology) { delete(p.Today, "message") },
	} {
		s, p := watched()
		change(&s, p)
		after := live(translate(t, envoy.Input{Table: table(t, s), Topology: p, Node: node}))
		for _, l := range before {
			if stays := slices.Contains(after, l); stays == sessions(l) {
				t.Errorf("%s: %s stays %t", name, l, stays)
			}
		}
	}
	for name, change := range map[string]func(*residency.Spec, *topology.Topology){
		"today's backends in another order": func(_ *residency.Spec, p *topology.Topology) { slices.Reverse(p.Today["message"]) },
		"another service's backend":         func(_ *residency.Spec, p *topology.Topology) { p.Today["profile"] = nil },
		"another reason": func(s *residency.Spec, _ *topology.Topology) {
			s.Rules = append(s.Rules, residency.Rule{Home: "QA", Class: "message"})
		},
	} {
		s, p := watched()
		change(&s, p)
		if after := live(translate(t, envoy.Input{Table: table(t, s), Topology: p, Node: node})); !slices.Equal(after, before) {
			t.Errorf("%s: %v became %v", name, before, after)
		}
	}
}

// Until every proxy may open it, what will pass answers that no region can serve.
func TestObservationOpensLast(t *testing.T) {
	s, p := watched()
	to := table(t, s)
	s.Observed = nil
	mid, err := residency.Meet(table(t, s), to)
	if err != nil {
		t.Fatal(err)
	}
	res := translate(t, envoy.Input{Table: mid, Opening: to, Topology: p, Node: envoy.Node{Region: "eu", Role: envoy.Sidecar}})
	if got := todays(res); len(got) > 0 {
		t.Errorf("the step opens %v", got)
	}
	body, err := envoy.Render(res)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(body, []byte(`"region-unavailable"`)) {
		t.Error("nothing answers region-unavailable")
	}
}
