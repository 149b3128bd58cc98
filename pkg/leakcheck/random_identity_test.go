package leakcheck_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/domicile-dev/domicile/pkg/envoy"
	"github.com/domicile-dev/domicile/pkg/leakcheck"
	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// identified gives a random world tokens in all places, issuers of all kinds, and pins.
func identified(seed uint64, spec *residency.Spec, top *topology.Topology) {
	r := rand.New(rand.NewPCG(seed, 23))
	top.Pins = &topology.Pins{TTL: 5 * time.Minute, Cookie: topology.PinCookie, Header: topology.PinHeader}
	for i := range top.Regions {
		if r.IntN(4) > 0 {
			top.Regions[i].PinKeys = `{"keys":[{"kty":"OKP","kid":"` + top.Regions[i].Name + `"}]}`
		}
	}
	spec.Epochs = map[string]uint64{"AA": uint64(r.IntN(3)), "CC": 7}
	places := []topology.TokenSource{
		{Header: "authorization", Prefix: "Bearer "}, {Header: "x-token"}, {Cookie: "session"}, {Cookie: "s"}, {Query: "access_token"},
		{Query: "token"}, {Subprotocol: "bearer."}, {Query: "v", JSON: "token"}, {Header: "authorization", Prefix: "Token "},
	}
	some := func() []topology.TokenSource {
		var out []topology.TokenSource
		for _, i := range r.Perm(len(places))[:r.IntN(4)] {
			out = append(out, places[i])
		}
		return out
	}
	for i := range top.Issuers {
		top.Issuers[i].Sources = some()
	}
	homes := []string{"AA", "BB", "CC", "DD"}
	keys := top.Issuers[0].JWKS
	for _, i := range []topology.Issuer{
		{Issuer: "https://nohome.example", JWKS: keys, Audiences: []string{"im"}, MaxLifetime: time.Hour, Skew: 5 * time.Second},
		{Issuer: "https://secret.example", HomeClaim: "h", Secret: &topology.Secret{File: "/etc/k.json", Regions: []string{top.Regions[0].Name}}},
		{Issuer: "https://opaque.example", Whoami: &topology.Whoami{Service: "message", Path: "/me", Member: "u"}},
		{Issuer: "https://nameless.example", Nameless: true, HomeClaim: "home", JWKS: keys, Forward: true},
		{Issuer: "https://introspected.example", Introspection: &topology.Introspection{URL: "https://sso.example/i"}},
	} {
		if r.IntN(2) > 0 {
			continue
		}
		i.Sources = some()
		top.Issuers = append(top.Issuers, i)
		spec.Issuers = append(spec.Issuers, residency.Issuer{Issuer: i.Issuer, Homes: homes[:1+r.IntN(4)]})
	}
	if r.IntN(4) == 0 { // nothing that Envoy can verify
		keep := func(i string) bool {
			return slices.Contains([]string{"https://one.example", "https://two.example", "https://nohome.example", "https://secret.example"}, i)
		}
		top.Issuers = slices.DeleteFunc(top.Issuers, func(i topology.Issuer) bool { return keep(i.Issuer) })
		spec.Issuers = slices.DeleteFunc(spec.Issuers, func(i residency.Issuer) bool { return keep(i.Issuer) })
	}
	slices.SortFunc(top.Issuers, func(a, b topology.Issuer) int {
		if a.Issuer < b.Issuer {
			return -1
		}
		return 1
	})
}

// TestTranslationOfRandomIdentities: translator and leak check agree on whatever
// issuers and places of tokens a deployment names.
func TestTranslationOfRandomIdentities(t *testing.T) {
	first, reached := 0, 0
	warm, shared := new(leakcheck.Prover), new(envoy.Memory)
	for seed := range uint64(4) {
		spec, top := randomWorld(t, seed%3)
		identified(seed, &spec, top)
		table := tableOf(t, spec)
		if top.FirstContacts() {
			first++
		}
		for _, node := range envoy.Nodes(top) {
			n, _ := proved(t, envoy.Input{Table: table, Topology: top, Node: node})
			reached += n
			res := translatedAlike(t, envoy.Input{Table: table, Topology: top, Node: node, Memory: shared})
			for _, f := range warm.Check(leakcheck.Config{Listeners: res.Listeners, Clusters: res.Clusters, Routes: res.Routes, Extensions: res.Extensions}, table, top, node.Region) {
				t.Errorf("with memory: %s", f)
			}
		}
	}
	if first < 2 || reached == 0 {
		t.Errorf("%d deployments with first contacts, %d clusters: too little to prove", first, reached)
	}
}
