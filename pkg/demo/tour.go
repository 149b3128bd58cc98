package demo

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/domicile-dev/domicile/pkg/residency"
)

// tourist is a user of the tour: at home somewhere, connected elsewhere.
type tourist struct {
	name, home, path, entry, serve string
}

// tourTTL is how long the tour's tokens are good for.
const tourTTL = 24 * time.Hour

var touristNames = map[string]string{"SA": "amal", "TR": "deniz", "DE": "lena", "FR": "chloe"}

// tourists are up to three users, served by different regions where possible,
// each at a gateway of another region where the policy allows one.
func (d *demo) tourists() []tourist {
	var out []tourist
	for _, distinct := range []bool{true, false} {
		for _, home := range slices.Sorted(maps.Keys(d.release.Set.Jurisdictions)) {
			known := slices.ContainsFunc(out, func(t tourist) bool { return t.home == home })
			t, ok := d.touristOf(home)
			taken := slices.ContainsFunc(out, func(o tourist) bool { return o.serve == t.serve })
			if ok && !known && !(distinct && taken) && len(out) < 3 {
				out = append(out, t)
			}
		}
	}
	return out
}

// touristOf finds a path and an entry by which a home's user can be served.
func (d *demo) touristOf(home string) (tourist, bool) {
	if !slices.ContainsFunc(d.issuers, func(i issuer) bool { return slices.Contains(i.Homes, home) }) {
		return tourist{}, false
	}
	name := touristNames[home]
	if name == "" {
		name = "user-" + strings.ToLower(fileName(home))
	}
	for _, c := range d.release.Set.Deployment.Classes {
		path := c.Path + c.PathPrefix
		if c.Subject != "caller" || c.LongLived || path == "" || c.Host != "" || c.Method != "" && c.Method != "GET" {
			continue
		}
		best := tourist{}
		for _, r := range d.regions {
			v := d.release.Table.Decide(residency.Query{Home: home, Class: c.Class, Entry: r.name})
			if v.Allowed() && (best.entry == "" || best.entry == best.serve) {
				best = tourist{name: name, home: home, path: path, entry: r.name, serve: v.Region}
			}
		}
		if best.entry != "" {
			return best, true
		}
	}
	return tourist{}, false
}

// enterTourists puts the tour's users into the directory.
func (d *demo) enterTourists() error {
	for _, t := range d.tourists() {
		if _, err := enter(d.place.dir, t.name, t.home); err != nil {
			return err
		}
	}
	return nil
}

// tour tells a newcomer what runs and what to try.
func (d *demo) tour(took time.Duration) {
	m, err := openMint(d.place.dir)
	if err != nil {
		fmt.Fprintln(d.Err, "demo: no tour:", err)
		return
	}
	p := func(format string, a ...any) { fmt.Fprintf(d.Out, format+"\n", a...) }
	p("Domicile is ready after %s. Each region has an Envoy gateway, an Envoy sidecar, an", within(took))
	p("agent and sample backends:")
	p("")
	for _, r := range d.regions {
		p("  %-16s gateway http://%s   sidecar http://%s", r.name, r.listen.Plain, r.listen.Sidecar)
	}
	p("")
	p("A user's traffic is served at home, whichever gateway takes it. Watch the header")
	p("x-backend-region:")
	gateways := map[string]string{}
	for _, r := range d.regions {
		gateways[r.name] = "http://" + r.listen.Plain
	}
	tourists := d.tourists()
	for _, t := range tourists {
		token, err := m.token(t.name, t.home, nil, time.Now(), tourTTL)
		if err != nil {
			fmt.Fprintln(d.Err, "demo: no token:", err)
			continue
		}
		p("")
		p("  # %s, at home in %s, at the gateway of %s: served by %s", t.name, t.home, t.entry, t.serve)
		p("  curl -i %s%s -H 'Authorization: Bearer %s'", gateways[t.entry], t.path, token)
	}
	p("")
	p("What cannot be decided is refused, with a reason in x-domicile-reason:")
	p("")
	if len(tourists) > 0 {
		t := tourists[0]
		p("  # nobody knows who is calling: 401 no-identity")
		p("  curl -i %s%s", gateways[t.entry], t.path)
		p("")
		p("  # a home that the client invents does not count: still 401")
		p("  curl -i %s%s -H 'x-domicile-home: %s'", gateways[t.entry], t.path, t.home)
		p("")
	}
	self := "domicile"
	if strings.Contains(os.Args[0], "/") {
		self = os.Args[0] // it is not on PATH: show what was typed
	}
	p("More users:      %s demo token --user NAME --home HOME --dir %s", self, d.place.dir)
	p("What runs:       %s status --dir %s", self, d.place.dir)
	p("Other policies:  %s apply DIRECTORY --dir %s", self, d.place.dir)
	p("Logs:            %s", d.place.path(dirLogs))
	p("Ctrl-C stops all of it and removes its files.")
}
