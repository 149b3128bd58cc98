package leakcheck

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// testdata/config_dump.json is the answer of a real Envoy 1.40.0 that was
// started with listeners, clusters, routes, endpoints and an extension from
// files; only the list of its built-in extensions is cut out, and where tokens stand
// and how long they live is added.
func realDump(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "config_dump.json"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func dumpTopology() *topology.Topology {
	top := worldTopology()
	top.Regions[0].Backends["message"] = []string{"localhost:8080"}
	top.Issuers[0].JWKS = `{"keys":[{"crv":"P-256","kid":"1","kty":"EC","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}`
	return top
}

func checkDump(t *testing.T, dump string) []Finding {
	t.Helper()
	c, node, err := FromConfigDump([]byte(dump))
	if err != nil {
		t.Fatal(err)
	}
	if node != "eu-frankfurt/gateway/dump" {
		t.Errorf("node %q", node)
	}
	table, err := residency.New(worldSpec())
	if err != nil {
		t.Fatal(err)
	}
	return Check(c, table, dumpTopology(), eu)
}

func TestConfigDumpOfARealEnvoy(t *testing.T) {
	c, _, err := FromConfigDump([]byte(realDump(t)))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Listeners) != 2 || len(c.Clusters) != 4 || len(c.Routes) != 1 || len(c.Endpoints) != 3 || len(c.Extensions) != 1 {
		t.Fatalf("dump gives %d listeners, %d clusters, %d routes, %d endpoints, %d extensions",
			len(c.Listeners), len(c.Clusters), len(c.Routes), len(c.Endpoints), len(c.Extensions))
	}
	found := checkDump(t, realDump(t))
	// The hand-made configuration asks no agent about profiles and bounds no stream;
	// nothing else is wrong.
	for _, f := range found {
		if f.Code != Endless && (f.Code != AgentBypassed || f.Class != "profile") {
			t.Errorf("got %v", f)
		}
	}
	if len(found) < 2 {
		t.Errorf("got %v", found)
	}
}

func TestConfigDumpWithSomethingPlanted(t *testing.T) {
	for _, c := range []struct{ name, old, new, code string }{
		{"route", `"path_separated_prefix": "/v1/messages"`, `"prefix": "/"`, NoClass},
		{"endpoint by EDS", `"address": "10.2.1.2"`, `"address": "10.1.1.2"`, AroundPeer},
		{"unknown endpoint", `"address": "localhost"`, `"address": "evil.example.com"`, UnknownEndpoint},
		{"token key", `f83OJ3D2`, `f83OJ3D3`, TokenUnproved},
		{"scrub", `"prefix": "x-domicile-"`, `"prefix": "x-domicile-h"`, HeaderTrust},
		{"home", `"DE": {`, `"SA": {`, RegionNotAllowed},
	} {
		dump := strings.ReplaceAll(realDump(t), c.old, c.new)
		if dump == realDump(t) {
			t.Fatalf("%s: nothing planted", c.name)
		}
		found := checkDump(t, dump)
		has := false
		for _, f := range found {
			has = has || f.Code == c.code
		}
		if !has {
			t.Errorf("%s planted: no finding %s in %v", c.name, c.code, found)
		}
	}
}

func TestConfigDumpThatCannotBeJudged(t *testing.T) {
	for _, c := range []struct{ name, dump, want string }{
		{"no JSON", "<html>", "read config dump"},
		{"empty", "{}", "ListenersConfigDump is missing"},
		{"unknown type", strings.ReplaceAll(realDump(t), "filters.http.router.v3.Router", "filters.http.router.v9.Router"), "cannot be judged"},
		{"unknown field", strings.ReplaceAll(realDump(t), `"stat_prefix": "gateway"`, `"stat_prefiks": "gateway"`), "cannot be judged"},
		{"route table cut out", strings.ReplaceAll(realDump(t), "RoutesConfigDump", "RoutesConfigGone"), "route table gateway of listener gateway is missing"},
		{"clusters cut out", strings.ReplaceAll(realDump(t), "ClustersConfigDump", "ClustersConfigGone"), "ClustersConfigDump is missing"},
	} {
		if _, _, err := FromConfigDump([]byte(c.dump)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func FuzzFromConfigDump(f *testing.F) {
	b, err := os.ReadFile(filepath.Join("testdata", "config_dump.json"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	table, err := residency.New(worldSpec())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(_ *testing.T, dump []byte) {
		if c, _, err := FromConfigDump(dump); err == nil {
			Check(c, table, dumpTopology(), eu)
		}
	})
}
