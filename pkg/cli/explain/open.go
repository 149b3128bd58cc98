package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/domicile-dev/domicile/pkg/residency"
)

// Host is a region's public host name.
type Host struct{ Region, Name string }

// Open is the decision of a class route that does not ask who is calling: one
// without personal data, or one at one host name.
type Open struct {
	Subject residency.Subject `json:"subject"`
	Match   residency.Match   `json:"match"`
	Host    string            `json:"host,omitempty"`
	Homes   []string          `json:"homes,omitempty"` // that the host name stands for
	Allowed bool              `json:"allowed"`
	Reason  residency.Reason  `json:"reason"`
	Region  string            `json:"region"`
	Serve   []string          `json:"serve"`
	Entry   string            `json:"entry"`

	rule *residency.Rule
}

// openRoutes lists the open routes of a class, in order, each host by itself.
// Asks tells that some route of the class asks who is calling as well.
func openRoutes(p Policy, q residency.Query) (open []Open, asks bool) {
	open = []Open{}
	for i, r := range p.Table.Routes() {
		switch {
		case r.Class != q.Class && !slices.Contains(r.Carries, q.Class):
		case r.Subject == residency.SubjectNone:
			d := residency.Everywhere(r.Serve)
			open = append(open, Open{Subject: r.Subject, Match: r.Match}.decided(d, cmp.Or(q.Entry, d.Region), q.Down))
		case r.Subject == residency.SubjectHost:
			for _, h := range p.Hosts {
				o := Open{Subject: r.Subject, Match: r.Match, Host: h.Name, Homes: orEmpty(p.Table.HomesOf(h.Region, r.Class))}
				entry := cmp.Or(q.Entry, h.Region) // where the name leads
				open = append(open, o.decided(p.Table.DecideHost(i, h.Region, entry), entry, q.Down))
			}
		default:
			asks = true
		}
	}
	return open, asks
}

func (o Open) decided(d residency.Decision, entry string, down []string) Open {
	o.Allowed, o.Reason, o.Region, o.Serve, o.Entry, o.rule = d.Allowed(), d.Reason, d.Region, orEmpty(d.Serve), entry, d.Rule
	if o.Allowed {
		up := slices.IndexFunc(o.Serve, func(s string) bool { return !slices.Contains(down, s) })
		if up < 0 {
			o.Allowed, o.Reason, o.Region = false, residency.RegionUnavailable, ""
		} else {
			o.Region = o.Serve[up]
		}
	}
	return o
}

// takeOpen makes e the answer of a class whose routes are all open: that of the
// first route without personal data, else of the host name of the home.
func (e *Explanation) takeOpen(p Policy) {
	i := slices.IndexFunc(e.Open, func(o Open) bool {
		return o.Subject == residency.SubjectNone || slices.Contains(o.Homes, e.Home)
	})
	o := Open{Subject: residency.SubjectHost, Reason: residency.NoHome, Serve: []string{}, Entry: e.Entry}
	if i >= 0 {
		o = e.Open[i]
	}
	if o.Subject == residency.SubjectNone {
		for _, r := range p.Table.Regions() {
			e.Entries = append(e.Entries, r.Name)
		}
	} else if i >= 0 {
		e.because(p, p.Table.Decide(residency.Query{Home: e.Home, Class: e.Class, Entry: o.Entry}).Rule)
	}
	e.Allowed, e.Reason, e.Region, e.Serve, e.Entry = o.Allowed, string(o.Reason), o.Region, o.Serve, o.Entry
	e.open = &o
}

// outcome says in words what becomes of a request.
func (o Open) outcome() string {
	switch {
	case o.Allowed && o.Subject == residency.SubjectNone && o.Region == o.Serve[0]:
		return "served by " + strings.Join(o.Serve, ", then ")
	case o.Allowed:
		return fmt.Sprintf("served by %s, through %s", o.Region, o.Entry)
	}
	return fmt.Sprintf("refused with %d %s: %s", o.Reason.Status(), o.Reason, o.Reason.Title())
}

// headline is the first line for a class whose routes are all open.
func (o Open) headline(home, class string) string {
	verdict := "DENIED"
	if o.Allowed {
		verdict = "ALLOWED"
	}
	switch {
	case o.Subject == residency.SubjectNone:
		return fmt.Sprintf("%s  %s is no personal data: %s, whoever asks.", verdict, class, o.outcome())
	case o.Host == "":
		return fmt.Sprintf("%s  %s is decided by the host name, and no host name stands for users at home in %s.", verdict, class, home)
	}
	return fmt.Sprintf("%s  %s is decided by the host name; at that of %s, %s, it is %s.", verdict, class, home, o.Host, o.outcome())
}

// row is one line of the list of open routes.
func (o Open) row() string {
	m := o.Match
	where := strings.TrimSpace(m.Method + " " + o.Host + m.Host + m.Path + m.PathTemplate)
	switch {
	case m.PathPrefix != "":
		where += m.PathPrefix + "*"
	case m.GRPCService != "":
		where += "/" + m.GRPCService + "/*"
	}
	if o.Subject == residency.SubjectHost {
		homes := "no home"
		if len(o.Homes) > 0 {
			homes = "homes " + strings.Join(o.Homes, ", ")
		}
		where += " (" + homes + ")"
	}
	return where + ": " + o.outcome()
}
