package proofs

import (
	"testing"

	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/requests"
	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// TestAnswersAreAskedAgain: what one table said of host names stands under another
// only where that says the same.
func TestAnswersAreAskedAgain(t *testing.T) {
	table := func(message, profile residency.Rule) *residency.Table {
		message.Home, message.Class, profile.Home, profile.Class = "DE", "message", "DE", "profile"
		out, err := residency.New(residency.Spec{
			Regions: []residency.Region{{Name: "eu", Country: "DE"}, {Name: "tr", Country: "TR"}},
			Routes:  []residency.Route{{Class: "message", Match: residency.Match{Path: "/m"}, Subject: residency.SubjectHost, Service: "im"}},
			Rules:   []residency.Rule{message, profile},
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	both := []string{"eu", "tr"}
	rule := residency.Rule{Serve: both, Entry: both}
	ask := map[string]func(*Table){
		"DecideHost": func(t *Table) { t.DecideHost(0, "eu", "eu") },
		"MayDecrypt": func(t *Table) { t.MayDecrypt("eu", "eu") },
		"Ends":       func(t *Table) { t.Ends("eu", "message") },
	}
	top := &topology.Topology{Regions: []topology.Region{{Name: "eu"}, {Name: "tr"}}}
	for name, x := range map[string]struct {
		message, profile residency.Rule
		fall             []string
	}{
		"the same":                    {rule, rule, nil},
		"another class is another":    {rule, residency.Rule{Serve: both, Entry: both, MaxAge: 1}, nil},
		"another class enters less":   {rule, residency.Rule{Serve: both, Entry: []string{"tr"}}, []string{"MayDecrypt"}},
		"the class is served less":    {residency.Rule{Serve: []string{"eu"}, Entry: both}, rule, []string{"DecideHost"}},
		"the class is served nowhere": {residency.Rule{}, rule, []string{"DecideHost", "Ends"}},
		"the class is served in tr":   {residency.Rule{Serve: []string{"tr"}, Entry: both}, rule, []string{"DecideHost", "Ends"}},
		"the class is entered in tr":  {residency.Rule{Serve: both, Entry: []string{"tr"}}, rule, []string{"DecideHost", "MayDecrypt"}},
	} {
		for question, do := range ask {
			was, is := table(rule, rule), table(x.message, x.profile)
			asked := NewTable(was)
			do(asked)
			var m Book
			a := requests.New(is, top, top.Regions[0])
			m.Begin(was, top, a)
			if !m.Stands(asked.Asked) {
				t.Errorf("%s: %s does not stand under its own table", name, question)
			}
			m.Begin(is, top, a)
			falls := false
			for _, q := range x.fall {
				falls = falls || q == question
			}
			if m.Stands(asked.Asked) == falls {
				t.Errorf("%s: %s falls %v, want %v", name, question, !falls, falls)
			}
		}
	}
}
