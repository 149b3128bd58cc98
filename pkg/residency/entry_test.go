package residency

import "testing"

// entrySpec: SA is served in sa, which alone may decrypt its relations; DE and FR are
// served in eu, and everybody may decrypt.
func entrySpec() Spec {
	all := []string{"eu", "sa", "tr"}
	rule := func(home, class, serve string, entry []string) Rule {
		return Rule{Home: home, Class: class, Serve: []string{serve}, Entry: entry}
	}
	return Spec{
		Regions: []Region{{Name: "eu", Country: "DE"}, {Name: "sa", Country: "SA"}, {Name: "tr", Country: "TR"}},
		Routes: []Route{
			{Class: "message", Match: Match{PathPrefix: "/m"}, Subject: SubjectCaller, Service: "im"},
			{Class: "relation", Match: Match{PathPrefix: "/r"}, Subject: SubjectCaller, Service: "im"},
		},
		Rules: []Rule{
			rule("SA", "message", "sa", all), rule("SA", "relation", "sa", []string{"sa"}),
			rule("DE", "message", "eu", all), rule("DE", "relation", "eu", all), rule("FR", "message", "eu", all),
		},
	}
}

func (s *Spec) rule(home, class string) *Rule {
	for i := range s.Rules {
		if s.Rules[i].Home == home && s.Rules[i].Class == class {
			return &s.Rules[i]
		}
	}
	panic("no such rule")
}

// brake is what compile does for an emergency denial.
func (s *Spec) brake(home, class string) {
	r := s.rule(home, class)
	r.Stopped, r.Serve, r.Braked = r.Serve, nil, true
}

func TestMayDecrypt(t *testing.T) {
	for name, c := range map[string]struct {
		change      func(*Spec)
		host, entry string
		want        bool
	}{
		"a class that lists others only":  {nil, "sa", "eu", false},
		"the entry that is listed":        {nil, "sa", "sa", true},
		"everybody is listed":             {nil, "eu", "tr", true},
		"a host without homes":            {nil, "tr", "eu", true},
		"the class is forbidden":          {func(s *Spec) { s.rule("SA", "relation").Serve = nil }, "sa", "eu", true},
		"the class is braked":             {func(s *Spec) { s.brake("SA", "relation") }, "sa", "eu", false},
		"all classes are braked":          {func(s *Spec) { s.brake("SA", "relation"); s.brake("SA", "message") }, "sa", "eu", false},
		"the transfer for serving lapsed": {func(s *Spec) { r := s.rule("SA", "relation"); r.LapsedServe, r.Serve = r.Serve, nil }, "sa", "eu", false},
		"the transfer for entry lapsed":   {func(s *Spec) { r := s.rule("DE", "message"); r.Entry, r.LapsedEntry = []string{"eu"}, []string{"tr"} }, "eu", "tr", false},
		"a home under observation":        {func(s *Spec) { s.Observed = []string{"SA"} }, "sa", "eu", true},
		"observed, but braked":            {func(s *Spec) { s.Observed = []string{"SA"}; s.brake("SA", "relation") }, "sa", "eu", false},
		"another class is served elsewhere": {func(s *Spec) {
			r := s.rule("SA", "relation")
			r.Serve, r.Entry = []string{"tr"}, []string{"tr"}
		}, "sa", "eu", false},
	} {
		s := entrySpec()
		if c.change != nil {
			c.change(&s)
		}
		table, err := New(s)
		if err != nil {
			t.Fatal(err)
		}
		if got := table.MayDecrypt(c.host, c.entry); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if (*Table)(nil).MayDecrypt("sa", "sa") {
		t.Error("no table, and everybody may decrypt")
	}
}

func TestEnds(t *testing.T) {
	for name, c := range map[string]struct {
		change      func(*Spec)
		host, class string
		want        Reason
	}{
		"served where the name says":    {nil, "sa", "message", ""},
		"the entry needs no permission": {nil, "sa", "relation", ""},
		"a name of no home":             {nil, "tr", "message", NoHome},
		"a class without rules":         {nil, "sa", "profile", NoHome},
		"a name of no region":           {nil, "us", "message", NoHome},
		"one home of the name is braked": {func(s *Spec) { s.brake("FR", "message") },
			"eu", "message", Forbidden},
		"one home of the name has lapsed": {func(s *Spec) { r := s.rule("FR", "message"); r.LapsedServe, r.Serve = r.Serve, nil },
			"eu", "message", Lapsed},
		"the second region's name": {func(s *Spec) { s.rule("SA", "message").Serve = []string{"sa", "tr"} }, "tr", "message", NoHome},
	} {
		s := entrySpec()
		if c.change != nil {
			c.change(&s)
		}
		table, err := New(s)
		if err != nil {
			t.Fatal(err)
		}
		d := table.Ends(c.host, c.class)
		if d.Reason != c.want || d.Allowed() != (c.want == "") || d.Allowed() && d.Region != c.host {
			t.Errorf("%s: %+v", name, d)
		}
	}
	if d := (*Table)(nil).Ends("sa", "message"); d.Allowed() || d.Reason != NotDecidable {
		t.Errorf("no table: %+v", d)
	}
}
