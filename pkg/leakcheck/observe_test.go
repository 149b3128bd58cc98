package leakcheck

import (
	"slices"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// observedWorld is the world with SA and TR under observation. In Frankfurt SA's
// relations are refused for their entry, and all messages of TR, which have no rule.
func observedWorld() (residency.Spec, *topology.Topology) {
	s, top := worldSpec(), worldTopology()
	s.Observed = []string{"SA", "TR"}
	s.Rules = slices.DeleteFunc(s.Rules, func(r residency.Rule) bool { return r.Home == "TR" && r.Class == "message" })
	top.Today = map[string][]string{"message": {"10.9.1.1:8080", "10.2.1.1:8080"}, "profile": {"old.example.com:8080"}}
	return s, top
}

// observing is the good configuration of that world, changed by more.
func observing(more plan) plan {
	p := more
	p.list = func(table, home string, r []*routev3.Route) []*routev3.Route {
		switch {
		case table == "gateway" && home == "SA":
			r[4] = asking(to(isRelation(), "today/profile"))
		case table == "gateway" && home == "TR":
			r[0], r[1], r[2] = to(isMessage(), "today/message"), to(isSocket(), "live/TR/today"), to(isChat(), "today/message")
		case table == "peer" && home == "TR":
			r = classes("", "", "", "", "")
		}
		if more.list != nil {
			r = more.list(table, home, r)
		}
		return r
	}
	p.config = func(c *Config) {
		c.Clusters = append(c.Clusters,
			cluster("today/message", "10.9.1.1:8080", "10.2.1.1:8080"), cluster("today/profile", "old.example.com:8080"), internalCluster("live/TR/today"))
		c.Listeners = append(c.Listeners, tcpListener("live/TR/today", "today/message"))
		if more.config != nil {
			more.config(c)
		}
	}
	return p
}

func checkObserved(t *testing.T, p plan, change func(*residency.Spec)) []Finding {
	t.Helper()
	spec, top := observedWorld()
	if change != nil {
		change(&spec)
	}
	table, err := residency.New(spec)
	if err != nil {
		t.Fatal(err)
	}
	return agreed(t, p.build(), table, top)
}

func TestObservationIsProved(t *testing.T) {
	for _, f := range checkObserved(t, observing(plan{}), nil) {
		t.Error(f)
	}
}

// One way at a time in which today's backends could get what they must not.
func TestTodayGetsOnlyWhatObservationPasses(t *testing.T) {
	route := func(table, home string, i int, r *routev3.Route) plan {
		return inList(table, home, func(list []*routev3.Route) []*routev3.Route { list[i] = r; return list })
	}
	for _, l := range []leak{
		{"a home that is enforced", route("gateway", "DE", 0, to(isMessage(), "today/message")), NotObserved},
		{"an allowed class of an observed home", route("gateway", "SA", 0, to(isMessage(), "today/message")), NotObserved},
		{"another service's backend", route("gateway", "SA", 4, asking(to(isRelation(), "today/message"))), Denied},
		{"a region beside it", route("gateway", "TR", 0, to(isMessage(), "peer@tr-istanbul")), Denied},
		{"a mirror beside it", inList("gateway", "TR", func(r []*routev3.Route) []*routev3.Route {
			r[0].GetRoute().RequestMirrorPolicies = []*routev3.RouteAction_RequestMirrorPolicy{{Cluster: "peer@tr-istanbul"}}
			return r
		}), Denied},
		{"from a peer", route("peer", "TR", 0, from(to(isMessage(), "today/message"), tr, eu)), NotObserved},
		{"a stream without a listener of its own", inList("gateway", "TR", func(r []*routev3.Route) []*routev3.Route {
			r[1].GetRoute().ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: "today/message"}
			return r
		}), Endless},
		{"past the agent", route("gateway", "SA", 4, to(isRelation(), "today/profile")), AgentBypassed},
		{"no class", inList("gateway", "TR", before(to(below("/debug"), "today/message"))), NoClass},
		{"nobody's requests", openFirst("gateway", branch{when(":path", `/healthz`), act(withoutToken(to(prefix("/"), "today/message")))}), NotObserved},
		{"by host name", openFirst("gateway", branch{when(":path", `/v1/login`), act(withoutToken(to(prefix("/"), "today/message")))}), NotObserved},
		{"without a home", openFirst("gateway", branch{when(":path", `/v1/messages`), act(withoutToken(to(prefix("/"), "today/message")))}), NoHome},
	} {
		t.Run(l.name, func(t *testing.T) {
			found := checkObserved(t, observing(l.plan), nil)
			if !slices.ContainsFunc(found, func(f Finding) bool { return f.Code == l.code }) {
				t.Errorf("no finding %s, got %v", l.code, found)
			}
		})
	}
	for name, change := range map[string]func(*residency.Spec){
		"the end of observation": func(s *residency.Spec) { s.Observed = []string{"SA"} },
		"the emergency brake": func(s *residency.Spec) {
			s.Rules = append(s.Rules, residency.Rule{Home: "TR", Class: "message", Braked: true})
		},
		"a step that holds it": func(s *residency.Spec) {
			s.Held = []residency.Held{{Home: "TR", Route: 2, Entries: []string{eu}}}
		},
		"a rule that allows it": func(s *residency.Spec) {
			s.Rules = append(s.Rules, residency.Rule{Home: "TR", Class: "message", Serve: []string{tr}, Entry: []string{eu, tr}})
		},
	} {
		found := checkObserved(t, observing(plan{}), change)
		if !slices.ContainsFunc(found, func(f Finding) bool { return f.Code == NotObserved && f.Home == "TR" }) {
			t.Errorf("%s: nothing found, got %v", name, found)
		}
	}
	// An address that served before and serves a region now is judged as the region's
	// where the table does not pass.
	spec, top := observedWorld()
	table, err := residency.New(spec)
	if err != nil {
		t.Fatal(err)
	}
	top.Today["message"] = []string{"10.3.1.1:8080"}
	c := observing(route("gateway", "DE", 0, to(isMessage(), "around"))).build()
	c.Clusters = append(c.Clusters, cluster("around", "10.3.1.1:8080"))
	if found := Check(c, table, top, eu); !slices.ContainsFunc(found, func(f Finding) bool { return f.Code == AroundPeer && f.Home == "DE" }) {
		t.Errorf("another region's backend: %v", found)
	}
}
