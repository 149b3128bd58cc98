package policies_test

import (
	"encoding/json"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/domicile-dev/domicile/pkg/compile"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/policytest"
	"github.com/domicile-dev/domicile/policies"
)

var released = time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)

func parse(t *testing.T) *policy.Set {
	t.Helper()
	set, problems := policy.Parse(policies.Library(), policies.Shipped())
	if len(problems) > 0 {
		t.Fatalf("parse: %+v", problems)
	}
	return set
}

func TestLibraryIsCleanAndCovered(t *testing.T) {
	set := parse(t)
	r, problems := compile.Compile(set, released)
	if len(problems) > 0 {
		t.Fatalf("compile: %+v", problems)
	}
	report := policytest.Run(set, r.Table)
	if !report.OK() || report.Passed == 0 {
		t.Errorf("tests: %+v", report)
	}
	if c := report.Coverage; c.Rules != 20 || c.Covered != c.Rules || c.Percent() != 100 {
		t.Errorf("coverage: %+v", c)
	}
}

// TestEveryRuleIsTested: without any one rule, at least one shipped test fails;
// and so it does when any one rule admits one entry less, serves nowhere, or caches
// something else or for another time.
func TestEveryRuleIsTested(t *testing.T) {
	set := parse(t)
	fails := func(what string, change func(*policy.Set)) {
		changed := copied(set)
		change(changed)
		r, problems := compile.Compile(changed, released)
		if r == nil {
			t.Fatalf("%s: %+v", what, problems)
		}
		if policytest.Run(changed, r.Table).OK() {
			t.Errorf("%s: all shipped tests pass", what)
		}
	}
	for home, j := range set.Jurisdictions {
		for class, rule := range j.Rules {
			fails("without "+home+"/"+class, func(s *policy.Set) { delete(s.Jurisdictions[home].Rules, class) })
			fails(home+"/"+class+" forbidden", func(s *policy.Set) { s.Jurisdictions[home].Rules[class].Serve = []policy.Text{} })
			if c := rule.Cache; c != nil {
				cache := func(s *policy.Set) *policy.Cache { return s.Jurisdictions[home].Rules[class].Cache }
				fails(home+"/"+class+" without its cache", func(s *policy.Set) { s.Jurisdictions[home].Rules[class].Cache = nil })
				fails(home+"/"+class+" cached for longer", func(s *policy.Set) { cache(s).TTL *= 2 })
				fails(home+"/"+class+" cached with telephone numbers", func(s *policy.Set) { cache(s).Fields = append(cache(s).Fields, policy.Text{Value: "phone"}) })
				for i, x := range c.Edges {
					fails(home+"/"+class+" without edge "+x.Value, func(s *policy.Set) { cache(s).Edges = slices.Delete(cache(s).Edges, i, i+1) })
				}
				for i, x := range c.Fields {
					fails(home+"/"+class+" without field "+x.Value, func(s *policy.Set) { cache(s).Fields = slices.Delete(cache(s).Fields, i, i+1) })
				}
			}
			for i, entry := range rule.Entry {
				fails(home+"/"+class+" without entry "+entry.Value, func(s *policy.Set) {
					r := s.Jurisdictions[home].Rules[class]
					r.Entry = slices.Delete(r.Entry, i, i+1)
				})
			}
		}
	}
}

// copied copies the rules of a set, so that a change of them does not reach it.
func copied(set *policy.Set) *policy.Set {
	out := *set
	out.Jurisdictions = maps.Clone(set.Jurisdictions)
	for home, j := range out.Jurisdictions {
		own := *j
		own.Rules = maps.Clone(j.Rules)
		for class, r := range own.Rules {
			rule := *r
			rule.Serve, rule.Entry = slices.Clone(r.Serve), slices.Clone(r.Entry)
			if r.Cache != nil {
				rule.Cache = &policy.Cache{Edges: slices.Clone(r.Cache.Edges), Fields: slices.Clone(r.Cache.Fields), TTL: r.Cache.TTL, Pos: r.Cache.Pos}
			}
			own.Rules[class] = &rule
		}
		out.Jurisdictions[home] = &own
	}
	return &out
}

// TestEveryTransferIsNeeded: without any one transfer the library does not compile.
func TestEveryTransferIsNeeded(t *testing.T) {
	for home, j := range parse(t).Jurisdictions {
		for i, x := range j.Transfers {
			set := parse(t)
			own := set.Jurisdictions[home]
			own.Transfers = slices.Delete(own.Transfers, i, i+1)
			if r, _ := compile.Compile(set, released); r != nil {
				t.Errorf("compiles without transfer %s of %s", x.ID, home)
			}
		}
	}
}

// TestAnOwnRepositoryNeedsNoLaw: what is shipped is merged into a directory that
// holds choices only, and means the same there.
func TestAnOwnRepositoryNeedsNoLaw(t *testing.T) {
	own := fstest.MapFS{}
	err := fs.WalkDir(policies.Library(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || name == "groups.yaml" || strings.HasPrefix(name, "law/") {
			return err
		}
		body, err := fs.ReadFile(policies.Library(), name)
		own[name] = &fstest.MapFile{Data: body}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	set, problems := policy.Parse(own, policies.Shipped())
	if len(problems) > 0 {
		t.Fatalf("parse: %+v", problems)
	}
	got, problems := compile.Compile(set, released)
	if len(problems) > 0 {
		t.Fatalf("compile: %+v", problems)
	}
	want, _ := compile.Compile(parse(t), released)
	if got.Table.Digest() != want.Table.Digest() {
		t.Errorf("digest %s, want %s", got.Table.Digest(), want.Table.Digest())
	}
}

func TestShippedIsFactsOnly(t *testing.T) {
	var names []string
	err := fs.WalkDir(policies.Shipped(), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(names, "groups.yaml") {
		t.Errorf("no groups in %v", names)
	}
	regions := parse(t).Deployment.Regions
	for _, name := range names {
		if name != "groups.yaml" && !strings.HasPrefix(name, "law/") {
			t.Errorf("%s is shipped to everybody", name)
		}
		body, err := fs.ReadFile(policies.Shipped(), name)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range regions {
			if strings.Contains(string(body), r.Name) {
				t.Errorf("%s names region %s", name, r.Name)
			}
		}
	}
}

func TestGroups(t *testing.T) {
	g := parse(t).Groups
	if eea := g["EEA"]; len(eea.Members) != 30 || !eea.FreeMovement {
		t.Errorf("EEA: %d members, free movement %v", len(eea.Members), eea.FreeMovement)
	}
	for name, x := range g {
		if name != "EEA" && x.FreeMovement {
			t.Errorf("%s has free movement", name)
		}
		for _, m := range x.Members {
			if m.Source == "" {
				t.Errorf("%s: %s without a source", name, m.Code)
			}
		}
	}
}

func TestKeySetIsPublic(t *testing.T) {
	body, err := fs.ReadFile(policies.Library(), "jwks.json")
	if err != nil {
		t.Fatal(err)
	}
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal(body, &set); err != nil || len(set.Keys) != 1 {
		t.Fatalf("%v, %d keys", err, len(set.Keys))
	}
	if k := set.Keys[0]; k["kty"] != "EC" || k["crv"] != "P-256" || k["kid"] != "example" || k["d"] != "" {
		t.Errorf("%v", k)
	}
}
