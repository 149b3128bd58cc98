package envoy_test

import (
	"fmt"
	"testing"

	"github.com/domicile-dev/domicile/pkg/envoy"
	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// BenchmarkTranslateLarge translates one node of 250 homes, 50 regions and 6 classes.
func BenchmarkTranslateLarge(b *testing.B) {
	s, p := residency.Spec{}, &topology.Topology{TrustDomain: "td", Issuers: place().Issuers[:1]}
	var all []string
	for i := range 50 {
		name := fmt.Sprintf("r%d", i)
		all = append(all, name)
		s.Regions = append(s.Regions, residency.Region{Name: name, Country: "DE"})
		p.Regions = append(p.Regions, topology.Region{
			Name: name, Country: "DE", Host: name + ".im", Peer: fmt.Sprintf("10.0.%d.1:8443", i), Agent: topology.DefaultAgent,
			Backends: map[string][]string{"message": {fmt.Sprintf("10.0.%d.2:80", i)}}, Listen: topology.DefaultListen(),
		})
	}
	issuer := residency.Issuer{Issuer: p.Issuers[0].Issuer}
	for c := range 6 {
		s.Routes = append(s.Routes, residency.Route{Class: fmt.Sprintf("c%d", c), Match: residency.Match{PathPrefix: fmt.Sprintf("/c%d", c)}, Subject: residency.SubjectCaller, Service: "message"})
	}
	for h := range 250 {
		issuer.Homes = append(issuer.Homes, fmt.Sprintf("H%d", h))
		for c := range 6 {
			s.Rules = append(s.Rules, residency.Rule{Home: fmt.Sprintf("H%d", h), Class: fmt.Sprintf("c%d", c), Serve: all[h%50 : h%50+1], Entry: all[:1+(h+c)%50]})
		}
	}
	s.Issuers = []residency.Issuer{issuer}
	t := table(b, s)
	for _, role := range []string{envoy.Gateway, envoy.Peer, envoy.Sidecar} {
		b.Run(role, func(b *testing.B) {
			for b.Loop() {
				translate(b, envoy.Input{Table: t, Topology: p, Node: envoy.Node{Region: "r7", Role: role}})
			}
		})
	}
}
