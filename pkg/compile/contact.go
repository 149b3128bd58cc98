package compile

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// compileContacts says how homes are found that no token names, what carries them
// from then on, and which services are reached by server name.
func (b *builder) compileContacts() {
	d := b.set.Deployment
	if d.Pins != nil {
		p := d.Pins.Pins
		b.topo.Pins = &p
	}
	if d.Directory != nil {
		x := d.Directory.Directory
		x.Addresses = slices.Compact(slices.Sorted(slices.Values(x.Addresses)))
		b.topo.Directory = &x
	}
	if d.GeoIP != nil {
		g := d.GeoIP.GeoIP
		b.topo.GeoIP = &g
	}
	for _, s := range d.Streams {
		b.topo.Streams = append(b.topo.Streams, topology.Stream{Name: s.Name, Class: s.Class.Value, Service: s.Service.Value, Port: s.Port})
	}
	slices.SortFunc(b.topo.Streams, func(x, y topology.Stream) int { return cmp.Compare(x.Name, y.Name) })
	b.eachJurisdiction(func(home string, j *policy.Jurisdiction) {
		if j.PinEpoch == 0 {
			return
		}
		if b.spec.Epochs == nil {
			b.spec.Epochs = map[string]uint64{}
		}
		b.spec.Epochs[home] = j.PinEpoch
	})
}

// checkStreams warns of streams that no backend takes where their class is served.
func (b *builder) checkStreams() {
	for _, s := range b.set.Deployment.Streams {
		for _, rule := range b.spec.Rules {
			if rule.Class != s.Class.Value {
				continue
			}
			for _, region := range rule.Serve {
				b.needBackend(s.Pos, region, residency.Route{Class: rule.Class, Service: s.Service.Value})
			}
		}
	}
}

// checkSecrets refuses a symmetric key in a region that does not serve all that is
// served of every home of its issuer: whoever holds the key there could make a token of
// a home whose data the region must not have.
func (b *builder) checkSecrets() {
	for _, i := range b.set.Deployment.Issuers {
		if i.Secret == nil {
			continue
		}
		b.known(i.Secret.Regions)
		for _, r := range i.Secret.Regions {
			if _, ok := b.regions[r.Value]; !ok {
				continue
			}
			var not []string
			for _, home := range unique(i.Homes) {
				if missing := b.unserved(r.Value, home); missing != "" {
					not = append(not, missing)
				}
			}
			if len(not) > 0 {
				b.add(policy.Problem{
					Pos: r.Pos, Code: CodeSecretAbroad, Severity: policy.Error,
					Message: lang.T("the key of issuer %s would lie in %s, which does not serve %s: whoever holds it there can make tokens of these homes", i.Issuer, r.Value, strings.Join(not, ", ")),
					Fix:     lang.T("remove %s, or make an issuer with a key of its own for the homes that it serves", r.Value),
				})
			}
		}
	}
}

// unserved names the first class of a home that is served, and not by a region; ""
// where there is none. It goes by what the rules say, whatever has lapsed or is denied
// by now: neither may keep a policy from being compiled. A home that is served nowhere
// has no data that a token of it could reach.
func (b *builder) unserved(region, home string) string {
	j := b.set.Jurisdictions[home]
	if j == nil {
		return ""
	}
	for _, class := range slices.Sorted(maps.Keys(j.Rules)) {
		r := j.Rules[class]
		if r == nil || len(r.Serve) == 0 {
			continue
		}
		if !slices.ContainsFunc(r.Serve, func(t policy.Text) bool { return t.Value == region }) {
			return home + " (" + class + ")"
		}
	}
	return ""
}

// checkDirectory warns where the directory of a home's users is open to a region in
// another territory. All agents ask one directory, of whatever kind it is, so what it
// answers is at hand in every region.
func (b *builder) checkDirectory() {
	d := b.set.Deployment
	if d.Directory == nil || !b.topo.FirstContacts() {
		return
	}
	countries := map[string]bool{}
	for _, r := range b.regions {
		countries[r.Country] = true
	}
	var open []string
	b.eachJurisdiction(func(home string, _ *policy.Jurisdiction) {
		if !b.homes[home] {
			return
		}
		for _, country := range slices.Sorted(maps.Keys(countries)) {
			if b.directoryTo(home, country) != covered {
				open = append(open, home+" → "+country)
			}
		}
	})
	if len(open) == 0 {
		return
	}
	list := lang.Same(strings.Join(open[:min(8, len(open))], ", "))
	if more := len(open) - 8; more > 0 {
		list = lang.T("%s and %d more", list, more)
	}
	b.warn(d.Directory.Pos, CodeDirectoryAbroad,
		lang.T("add directory to the for: of transfers of these homes, or give the users homes in their tokens"),
		lang.T("agents of every region ask this directory, and no transfer covers what it says for: [directory]: %s", list))
}

// directoryTo says how far the homes of a home's users may be known in a country: of
// whichever class the transfer is, the directory holds the home alone.
func (b *builder) directoryTo(home, country string) cover {
	best := b.freedom(home, country)
	for _, c := range b.transfers[home] {
		for _, class := range c.Classes {
			best = max(best, c.covers(class.Value, country, forDirectory))
		}
	}
	return best
}
