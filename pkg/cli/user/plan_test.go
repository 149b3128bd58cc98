package user

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/domicile-dev/domicile/pkg/residency"
)

func TestPlanMove(t *testing.T) {
	table, err := residency.New(residency.Spec{
		Regions: []residency.Region{{Name: "eu", Country: "DE"}, {Name: "sa", Country: "SA"}, {Name: "tr", Country: "TR"}},
		Routes: []residency.Route{
			{Class: "message", Match: residency.Match{Path: "/ws"}, Subject: residency.SubjectCaller, Service: "message", LongLived: true},
			{Class: "profile", Match: residency.Match{Path: "/p"}, Subject: residency.SubjectCaller, Service: "profile"},
		},
		Issuers: []residency.Issuer{{Issuer: "i", Homes: []string{"SA", "TR", "QA"}}},
		Rules: []residency.Rule{
			{Home: "SA", Class: "message", Serve: []string{"sa"}, Entry: []string{"sa", "eu"}, MaxAge: time.Hour},
			{Home: "SA", Class: "profile", Serve: []string{"sa"}, Entry: []string{"sa"}},
			{Home: "TR", Class: "message", Serve: []string{"tr"}, Entry: []string{"tr"}},
			{Home: "TR", Class: "profile"},
			{Home: "DE", Class: "message", Serve: []string{"eu"}, Entry: []string{"eu"}},
			{Home: "DE", Class: "profile", Serve: []string{"eu"}, Entry: []string{"eu"}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := planMove(table, "SA", "TR")
	want := plan{
		From: "SA", To: "TR", Regions: []string{"eu", "sa"},
		Classes: []class{
			{Class: "message", From: []string{"sa"}, To: []string{"tr"}, Session: time.Hour, Ends: "within 1h0m0s"},
			{Class: "profile", From: []string{"sa"}, To: []string{}, Session: -1, Ends: "at once: there are none"},
		},
		Against: []obstacle{{"profile", residency.Forbidden}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for home, reasons := range map[string][]residency.Reason{
		"QA": {residency.NoRule, residency.NoRule},
		"DE": {residency.IssuerNotEntitled},
	} {
		var why []residency.Reason
		for _, a := range planMove(table, "SA", home).Against {
			why = append(why, a.Reason)
		}
		if d := cmp.Diff(reasons, why); d != "" {
			t.Errorf("a move to %s: %s", home, d)
		}
	}
	if back := planMove(table, "TR", "SA"); len(back.Against) > 0 || back.Classes[0].Ends != "when the client or the server ends them" {
		t.Errorf("a move back: %+v", back)
	}
}
