package compile

import (
	"testing"

	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/policy/law"
	"github.com/domicile-dev/domicile/pkg/residency"
)

// TestT25NobodyHasTwoAnswers: where two entries could answer for one user, the set
// does not compile, or the request is refused; which of them comes first in a map
// is no answer.
func TestT25NobodyHasTwoAnswers(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*policy.Set)
		code   string
	}{
		{"one region twice", func(s *policy.Set) {
			s.Deployment.Regions = append(s.Deployment.Regions, policy.Region{Name: "me-riyadh", Country: "DE", Pos: line(71)})
		}, CodeTwice},
		{"one host in two countries", func(s *policy.Set) { s.Deployment.Regions[1].Host = "SA.example.com" }, CodeTwice},
		{"one peer in two countries", func(s *policy.Set) { s.Deployment.Regions[1].Peer = s.Deployment.Regions[0].Peer }, CodeTwice},
		{"one issuer twice", func(s *policy.Set) {
			s.Deployment.Issuers = append(s.Deployment.Issuers, policy.Issuer{Issuer: "https://id.example.com", Homes: texts("DE"), Pos: line(71)})
		}, CodeTwice},
		{"one transfer twice", func(s *policy.Set) { sa(s).Transfers[1].ID = sa(s).Transfers[0].ID }, CodeTwice},
		{"a group that is a country too", func(s *policy.Set) {
			s.Groups["DE"] = &law.Group{Name: "DE", Members: []law.GroupMember{{Code: "RU"}}, Pos: line(71)}
		}, CodeAmbiguousGroup},
		{"an open route over one that asks whose data it is", func(s *policy.Set) {
			open := policy.ClassRoute{Class: "health", PathPrefix: "/v1", Subject: "none", Service: "message", Serve: texts("me-riyadh"), Pos: line(71)}
			s.Deployment.Classes = append([]policy.ClassRoute{open}, s.Deployment.Classes...)
		}, CodeOpenShadows},
	} {
		s := sample()
		c.change(s)
		r, problems := Compile(s, now)
		if p, ok := find(problems, c.code); r != nil || !ok || p.Severity != policy.Error {
			t.Errorf("%s: result %t, %+v", c.name, r != nil, problems)
		}
	}
	s := sample()
	s.Deployment.Classes[0].Subject = "host"
	s.Deployment.Regions[1].Country = "FR"
	sa(s).Transfers[0].To = texts("EEA")
	s.Jurisdictions["FR"] = &policy.Jurisdiction{Code: "FR", Laws: texts("EU"), Pos: line(71), Rules: map[string]*policy.Rule{
		"message": {Serve: texts("eu-frankfurt", "tr-istanbul"), Basis: texts("chosen")}, "presence": {}, "profile": {},
	}}
	s.Deployment.Issuers[0].Homes = texts("SA", "DE", "FR")
	r, problems := Compile(s, now)
	if p, ok := find(problems, CodeHostDisagrees); r == nil || !ok || p.Severity != policy.Warning {
		t.Fatalf("homes of one host that disagree: %+v", problems)
	}
	if d := r.Table.DecideHost(0, "eu-frankfurt", "eu-frankfurt"); d.Reason != residency.NoHome {
		t.Errorf("a host whose homes disagree gives %+v", d)
	}
}

// TestT25NobodyIsForgottenInSilence: a home or class without an answer is refused,
// and whoever wrote the policy is told.
func TestT25NobodyIsForgottenInSilence(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*policy.Set)
		code   string
		q      residency.Query
		want   residency.Reason
	}{
		{"a class without a rule", func(s *policy.Set) { delete(sa(s).Rules, "profile"); sa(s).Transfers = sa(s).Transfers[:1] }, CodeNoRule,
			residency.Query{Home: "SA", Class: "profile", Entry: "me-riyadh"}, residency.NoRule},
		{"a home without rules", func(*policy.Set) {}, "", residency.Query{Home: "QA", Class: "message", Entry: "me-riyadh"}, residency.NoRule},
		{"a home without an issuer", func(s *policy.Set) { s.Deployment.Issuers[0].Homes = texts("DE") }, CodeNoIssuer,
			residency.Query{Home: "QA", Class: "message", Entry: "me-riyadh"}, residency.NoRule},
		{"a class that nothing defines", func(*policy.Set) {}, "", residency.Query{Home: "SA", Class: "media", Entry: "me-riyadh"}, residency.NoClass},
		{"a home without a name", func(*policy.Set) {}, "", residency.Query{Class: "message", Entry: "me-riyadh"}, residency.NoRule},
		{"a serving region without a backend", func(s *policy.Set) { s.Deployment.Regions[0].Backends = nil }, CodeNoBackend,
			residency.Query{Home: "SA", Class: "message", Entry: "nowhere"}, residency.EntryNotAllowed},
	} {
		s := sample()
		c.change(s)
		r, problems := Compile(s, now)
		if _, told := find(problems, c.code); r == nil || c.code != "" && !told {
			t.Errorf("%s: %+v", c.name, problems)
			continue
		}
		if d := r.Table.Decide(c.q); d.Allowed() || d.Passes() || d.Reason != c.want {
			t.Errorf("%s: %+v, want %s", c.name, d, c.want)
		}
	}
}
