package demo

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/domicile-dev/domicile/pkg/residency"
)

// stop is one stop of the tour: a user at home somewhere, connected somewhere,
// and what the policies decide.
type stop struct {
	name, home, path, entry string
	decision                residency.Decision
}

// serve is the region that serves; "" for a refusal.
func (s stop) serve() string { return s.decision.Region }

var touristNames = map[string]string{"SA": "amal", "TR": "deniz", "DE": "lena", "FR": "chloe"}

// homes lists the homes of which the demo can make tokens, in their order.
func (d *demo) homes() []string {
	return slices.DeleteFunc(d.release.Table.Homes(), func(home string) bool {
		return !slices.ContainsFunc(d.issuers, func(i issuer) bool { return slices.Contains(i.Homes, home) })
	})
}

// stops are up to three users who are served, by different regions where
// possible, each at a gateway of another region where the policy allows one; and
// one who is refused, if anybody is.
func (d *demo) stops() (served []stop, refused *stop) {
	for _, distinct := range []bool{true, false} {
		for _, home := range d.homes() {
			known := slices.ContainsFunc(served, func(s stop) bool { return s.home == home })
			s, ok := d.servedAt(home)
			taken := slices.ContainsFunc(served, func(o stop) bool { return o.serve() == s.serve() })
			if ok && !known && !(distinct && taken) && len(served) < 3 {
				served = append(served, s)
			}
		}
	}
	for _, home := range d.homes() {
		for _, s := range d.visits(home) {
			if !s.decision.Allowed() {
				return served, &s
			}
		}
	}
	return served, nil
}

// servedAt is a visit at which a home's user is served, away from the region
// that serves if there is one.
func (d *demo) servedAt(home string) (best stop, ok bool) {
	for _, s := range d.visits(home) {
		if s.decision.Allowed() && (!ok || best.entry == best.serve() && s.entry != s.serve()) {
			best, ok = s, true
		}
	}
	return best, ok
}

// visits are the requests that a home's user can make by a plain GET, at every
// gateway, with what the table decides.
func (d *demo) visits(home string) []stop {
	name := touristNames[home]
	if name == "" {
		name = "user-" + strings.ToLower(fileName(home))
	}
	var out []stop
	routes := d.release.Table.Routes()
	for i, r := range routes {
		m := r.Match
		path := m.Path + m.PathPrefix
		if r.Subject != residency.SubjectCaller || r.LongLived || path == "" || m.Host != "" || m.Method != "" && m.Method != "GET" ||
			slices.ContainsFunc(routes[:i], func(r residency.Route) bool { return mayTake(r.Match, path) }) {
			continue
		}
		for _, r := range d.regions {
			v := d.release.Table.DecideRoute(i, residency.Query{Home: home, Entry: r.name})
			out = append(out, stop{name: name, home: home, path: path, entry: r.name, decision: v})
		}
	}
	return out
}

// mayTake tells whether a match might take a request with this path. Of methods
// and hosts it does not ask: a stop left out is better than one that misleads.
func mayTake(m residency.Match, path string) bool {
	switch {
	case m.Path != "":
		return m.Path == path
	case m.PathPrefix != "":
		return strings.HasPrefix(path, m.PathPrefix)
	case m.GRPCService != "":
		return strings.HasPrefix(path, "/"+m.GRPCService+"/")
	case m.PathTemplate != "":
		fixed, _, _ := strings.Cut(m.PathTemplate, "{")
		return strings.HasPrefix(path, fixed)
	}
	return true
}

// tour tells a newcomer what runs and what to try: lines for another shell, and
// sentences that the policies make true.
func (d *demo) tour(took time.Duration) {
	p := func(format string, a ...any) { fmt.Fprintf(d.Out, format+"\n", a...) }
	p("Domicile is ready after %s. Each region has an Envoy gateway, an Envoy sidecar, an", within(took))
	p("agent and sample backends. In a second terminal:")
	p("")
	p("  export D=%s", shellQuote(d.place.dir))
	vars := d.variables()
	for _, r := range d.regions {
		p("  export %s=http://%s", vars[r.name], r.listen.Plain)
	}
	self := "domicile"
	if strings.Contains(os.Args[0], "/") {
		self = shellQuote(os.Args[0]) // it is not on PATH: show what was typed
	}
	visit := func(s stop, outcome string) {
		p("")
		p("  # %s, at home in %s, at the gateway of %s: %s", s.name, s.home, s.entry, outcome)
		p("  TOKEN=$(%s demo token --user %s --home %s --dir \"$D\")", self, shellQuote(s.name), shellQuote(s.home))
		p("  curl -i -H \"Authorization: Bearer $TOKEN\" $%s%s", vars[s.entry], shellQuote(s.path))
	}
	served, refused := d.stops()
	if len(served) > 0 {
		p("")
		p("The policy of a user's home decides which region serves, whichever gateway takes the")
		p("request. Watch the header x-backend-region:")
	}
	for _, s := range served {
		visit(s, "served by "+s.serve())
	}
	if len(served) == 0 {
		d.tourHosts(p, vars)
	}
	p("")
	p("What is not allowed, or cannot be decided, is refused with a reason in")
	p("x-domicile-reason.")
	if refused != nil {
		why := refused.decision.Reason
		visit(*refused, fmt.Sprintf("refused with %d %s", why.Status(), why))
	}
	if len(served) > 0 {
		s := served[0]
		p("")
		p("  # nobody knows who is calling: 401 no-identity")
		p("  curl -i $%s%s", vars[s.entry], shellQuote(s.path))
		p("")
		p("  # a home that the client invents does not count: still 401")
		p("  curl -i -H %s $%s%s", shellQuote("x-domicile-home: "+s.home), vars[s.entry], shellQuote(s.path))
	}
	p("")
	p("More users:      %s demo token --user NAME --home HOME --dir \"$D\"", self)
	p("What runs:       %s status --dir \"$D\"", self)
	p("Other policies:  %s apply DIRECTORY --dir \"$D\"", self)
	p("Sidecars:        sidecar in demo.json of that directory")
	p("Logs:            %s", d.place.path(dirLogs))
	p("Ctrl-C stops all of it and removes its files.")
}

// tourHosts shows the host names of policies under which nobody shows a token: each
// at another region's gateway, where the policies let it in there.
func (d *demo) tourHosts(p func(format string, a ...any), vars map[string]string) {
	routes := d.release.Table.Routes()
	i := slices.IndexFunc(routes, func(r residency.Route) bool {
		return r.Subject == residency.SubjectHost && r.Match.Path+r.Match.PathPrefix != "" && r.Match.Host == "" && (r.Match.Method == "" || r.Match.Method == "GET")
	})
	if i < 0 {
		return
	}
	p("")
	p("Before anybody has logged in, the host name decides which region serves, whichever")
	p("gateway takes the request:")
	p("")
	for n, r := range d.regions {
		for m := range d.regions {
			entry := d.regions[(n+1+m)%len(d.regions)]
			if to := d.release.Table.DecideHost(i, r.name, entry.name); r.host != "" && to.Allowed() {
				p("  curl -i -H %s $%s%s    # served by %s", shellQuote("Host: "+r.host), vars[entry.name], shellQuote(routes[i].Match.Path+routes[i].Match.PathPrefix), to.Region)
				break
			}
		}
	}
}

// variables gives each region a shell variable: eu-frankfurt is EU_FRANKFURT.
func (d *demo) variables() map[string]string {
	out, taken := map[string]string{}, map[string]bool{"D": true, "TOKEN": true, "PATH": true, "HOME": true}
	for _, r := range d.regions {
		name := strings.ToUpper(strings.ReplaceAll(fileName(r.name), "-", "_"))
		if name == "" || name[0] >= '0' && name[0] <= '9' {
			name = "R_" + name
		}
		for taken[name] {
			name += "_"
		}
		taken[name], out[r.name] = true, name
	}
	return out
}

// shellQuote leaves words that a shell reads as they are.
func shellQuote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-:,@%+", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
