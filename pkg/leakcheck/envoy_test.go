package leakcheck_test

import (
	"os"
	"slices"
	"testing"
	"time"

	"github.com/domicile-dev/domicile/pkg/compile"
	"github.com/domicile-dev/domicile/pkg/envoy"
	"github.com/domicile-dev/domicile/pkg/leakcheck"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/topology"
	"github.com/domicile-dev/domicile/policies"
)

func shippedPolicies(t *testing.T) *compile.Result {
	t.Helper()
	set, problems := policy.Parse(os.DirFS("../../policies"), policies.Shipped())
	if policy.HasErrors(problems) {
		t.Fatal(problems)
	}
	out, problems := compile.Compile(set, time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC))
	if out == nil {
		t.Fatal(problems)
	}
	return out
}

func translate(t *testing.T, table *residency.Table, top *topology.Topology, node envoy.Node) leakcheck.Config {
	t.Helper()
	r, err := envoy.Translate(envoy.Input{Table: table, Topology: top, Node: node})
	if err != nil {
		t.Fatal(err)
	}
	return leakcheck.Config{Listeners: r.Listeners, Clusters: r.Clusters, Routes: r.Routes, Extensions: r.Extensions}
}

// TestTranslationOfShippedPolicies: what the translator makes of the shipped
// policies is proved for every node.
func TestTranslationOfShippedPolicies(t *testing.T) {
	out := shippedPolicies(t)
	for _, node := range envoy.Nodes(out.Topology) {
		for _, f := range leakcheck.Check(translate(t, out.Table, out.Topology, node), out.Table, out.Topology, node.Region) {
			t.Errorf("%s: %s", node, f)
		}
	}
}

// TestTranslationOfAnotherPolicy: the same configuration judged by a policy
// that differs in one cell. Every difference that forwards must be seen.
func TestTranslationOfAnotherPolicy(t *testing.T) {
	out := shippedPolicies(t)
	configs := map[string]leakcheck.Config{}
	for _, node := range envoy.Nodes(out.Topology) {
		if node.Role == envoy.Gateway {
			configs[node.Region] = translate(t, out.Table, out.Topology, node)
		}
	}
	for i, r := range out.Table.Spec().Rules {
		spec := out.Table.Spec()
		spec.Rules = slices.Clone(spec.Rules)
		spec.Rules[i].Serve = nil
		if len(r.Serve) == 0 {
			continue
		}
		strict, err := residency.New(spec)
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for region, c := range configs {
			found += len(leakcheck.Check(c, strict, out.Topology, region))
		}
		routed := slices.ContainsFunc(spec.Routes, func(x residency.Route) bool {
			// Of subject host, another home of the same host may still allow it.
			return x.Subject != residency.SubjectHost && (x.Class == r.Class && len(x.Carries) == 0 || slices.Contains(x.Carries, r.Class))
		})
		if routed && found == 0 {
			t.Errorf("%s %s is forbidden, and nothing was found", r.Home, r.Class)
		}
	}
}
