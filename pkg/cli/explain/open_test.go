package explain

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/residency"
)

func askOpen(t *testing.T, q residency.Query) *Explanation {
	t.Helper()
	table, err := residency.New(residency.Spec{
		Regions: []residency.Region{{Name: "a", Country: "AA"}, {Name: "b", Country: "BB"}},
		Routes: []residency.Route{
			{Class: "health", Match: residency.Match{Path: "/h"}, Subject: residency.SubjectNone, Service: "m", Serve: []string{"a", "b"}},
			{Class: "login", Match: residency.Match{PathPrefix: "/l"}, Subject: residency.SubjectHost, Service: "m"},
		},
		Rules: []residency.Rule{
			{Home: "AA", Class: "login", Serve: []string{"a"}, Entry: []string{"a"}},
			{Home: "BB", Class: "login", Serve: []string{"b"}, Entry: []string{"b"}},
			{Home: "CC", Class: "login", Serve: []string{"b", "a"}, Entry: []string{"b"}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return Explain(Policy{
		Table: table, Bundle: "sha256:b", Set: &policy.Set{}, Shown: func(f string) string { return f },
		Places: map[[2]string]policy.Pos{{"AA", "login"}: {File: "aa.yaml", Line: 7}},
		Hosts:  []Host{{"a", "a.example"}, {"b", "b.example"}},
	}, q, "1.0")
}

// TestOpenClasses: no rule of a home decides where nobody has to say who calls.
func TestOpenClasses(t *testing.T) {
	for _, c := range []struct {
		q       residency.Query
		allowed bool
		region  string
		head    string
	}{
		{residency.Query{Home: "AA", Class: "health"}, true, "a", "ALLOWED  health is no personal data: served by a, then b, whoever asks."},
		{residency.Query{Home: "ZZ", Class: "health", Down: []string{"a"}}, true, "b", "ALLOWED  health is no personal data: served by b, through a, whoever asks."},
		{residency.Query{Home: "AA", Class: "health", Down: []string{"a", "b"}}, false, "", "DENIED  health is no personal data: refused with 503 region-unavailable: "},
		{residency.Query{Home: "AA", Class: "login"}, true, "a", "ALLOWED  login is decided by the host name; at that of AA, a.example, it is served by a, through a."},
		{residency.Query{Home: "AA", Class: "login", Entry: "b"}, false, "", "DENIED  login is decided by the host name; at that of AA, a.example, it is refused with 403 entry-not-allowed: "},
		{residency.Query{Home: "AA", Class: "login", Down: []string{"a"}}, false, "", "DENIED  login is decided by the host name; at that of AA, a.example, it is refused with 503 region-unavailable: "},
		// BB and CC share a host name and do not agree.
		{residency.Query{Home: "BB", Class: "login"}, false, "", "DENIED  login is decided by the host name; at that of BB, b.example, it is refused with "},
		{residency.Query{Home: "ZZ", Class: "login"}, false, "", "DENIED  login is decided by the host name, and no host name stands for users at home in ZZ."},
	} {
		e := askOpen(t, c.q)
		var b strings.Builder
		e.Text(&b)
		if e.Allowed != c.allowed || e.Region != c.region || (e.Reason == "") != c.allowed || !strings.HasPrefix(b.String(), c.head) {
			t.Errorf("%+v: %v %q %q\n%s", c.q, e.Allowed, e.Region, e.Reason, b.String())
		}
	}
}

func TestOpenText(t *testing.T) {
	e := askOpen(t, residency.Query{Home: "AA", Class: "login"})
	var b strings.Builder
	e.Text(&b)
	want := `ALLOWED  login is decided by the host name; at that of AA, a.example, it is served by a, through a.

  who      nobody is known yet: the homes of the host name decide
  what     class login
  where    served by a
           may enter through a
  open     a.example/l* (homes AA): served by a, through a
           b.example/l* (homes BB, CC): refused with ` + refusedWith(residency.NoHome) + `
  why      rule aa.yaml:7
  policy   table ` + e.Policy + `
           bundle sha256:b
`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Error(d)
	}
}

func refusedWith(r residency.Reason) string {
	return strings.TrimPrefix(Open{Reason: r}.outcome(), "refused with ")
}
