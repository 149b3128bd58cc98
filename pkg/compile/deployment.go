package compile

import (
	"maps"
	"slices"
	"strings"

	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// compileRegions makes the places out of the deployment's regions.
func (b *builder) compileRegions() {
	d := b.set.Deployment
	b.topo.TrustDomain = topology.TrustDomain
	if d.TrustDomain != "" {
		b.topo.TrustDomain = d.TrustDomain
	}
	b.topo.Expose = d.ResponseHeaders
	hosts, peers := map[string]string{}, map[string]string{}
	for _, r := range d.Regions {
		if first, dup := b.regions[r.Name]; dup {
			b.twice(r.Pos, lang.T("region %s", r.Name), first.Pos)
			continue
		}
		b.regions[r.Name] = r
		if l := b.set.Laws[r.Country]; !isCountry(r.Country) && (l == nil || !l.SeparateTerritory) {
			b.add(policy.Problem{
				Pos: r.Pos, Code: CodeRegionCountry, Severity: policy.Error,
				Message: lang.T("region %s lies in %q, which is no country code", r.Name, r.Country),
				Fix:     lang.T(`write the two capitals of its country, quoted: "SA"`),
			})
		}
		if host := strings.ToLower(r.Host); host != "" {
			if other, dup := hosts[host]; dup {
				b.twice(r.Pos, lang.T("gateway host %s", r.Host), b.regions[other].Pos)
			}
			hosts[host] = r.Name
		}
		if peer := strings.ToLower(r.Peer); peer != "" {
			if other, dup := peers[peer]; dup {
				b.twice(r.Pos, lang.T("gateway peer %s", r.Peer), b.regions[other].Pos)
			}
			peers[peer] = r.Name
		}
		b.spec.Regions = append(b.spec.Regions, residency.Region{Name: r.Name, Country: r.Country})
		b.topo.Regions = append(b.topo.Regions, place(r))
	}
	slices.SortFunc(b.topo.Regions, func(x, y topology.Region) int { return strings.Compare(x.Name, y.Name) })
}

// checkAddresses warns of an address that stands in two regions.
func (b *builder) checkAddresses() {
	first := map[string]policy.Region{}
	for _, r := range b.set.Deployment.Regions {
		for _, list := range r.Backends {
			for _, a := range list {
				key := strings.ToLower(a)
				other, dup := first[key]
				if dup && other.Name != r.Name {
					b.add(policy.Problem{
						Pos: r.Pos, Code: CodeSharedAddress, Severity: policy.Warning,
						Message: lang.T("backend %s stands in region %s and in region %s", a, other.Name, r.Name),
						Why:     lang.T("also at %s:%d", other.Pos.File, other.Pos.Line),
						Fix:     lang.T("right only if each region has a network of its own; otherwise one of them is not where it says"),
					})
				}
				if !dup {
					first[key] = r
				}
			}
		}
	}
}

// isOpen tells whether a route serves requests without asking whose they are.
func isOpen(c policy.ClassRoute) bool {
	s := residency.Subject(c.Subject)
	return s == residency.SubjectNone || s == residency.SubjectHost
}

// checkShadows refuses open routes that take the requests of later ones.
func (b *builder) checkShadows() {
	classes, gateways := b.set.Deployment.Classes, map[string]bool{}
	for _, r := range b.set.Deployment.Regions {
		gateways[strings.ToLower(r.Host)] = true
	}
	for i, open := range classes {
		if !isOpen(open) {
			continue
		}
		for _, later := range classes[i+1:] {
			if open.Host != "" && later.Host == "" && !gateways[strings.ToLower(open.Host)] {
				continue // a host of its own, for static files or the like
			}
			if !isOpen(later) && covers(open, later) {
				b.add(policy.Problem{
					Pos: open.Pos, Code: CodeOpenShadows, Severity: policy.Error,
					Message: lang.T("class %s, which needs no token, takes the requests of class %s", open.Class, later.Class),
					Why:     lang.T("%s:%d comes later, and the first match wins", later.Pos.File, later.Pos.Line),
					Fix:     lang.T("move it behind that class, or make its match narrower"),
				})
				break
			}
		}
	}
}

// checkUnreachable warns of routes that an earlier one takes every request of,
// and of rules for classes whose requests belong to nobody.
func (b *builder) checkUnreachable() {
	classes := b.set.Deployment.Classes
	for i, x := range classes {
		for _, first := range classes[:i] {
			if covers(first, x) && (first.Host == "" || strings.EqualFold(first.Host, x.Host)) {
				if isOpen(first) && !isOpen(x) {
					break // an error of its own
				}
				b.add(policy.Problem{
					Pos: x.Pos, Code: CodeShadowedRoute, Severity: policy.Warning,
					Message: lang.T("this route of class %s is never reached", x.Class),
					Why:     lang.T("%s:%d comes first and takes all of its requests, and the first match wins", first.Pos.File, first.Pos.Line),
					Fix:     lang.T("move it before that route, or remove it"),
				})
				break
			}
		}
	}
	b.eachJurisdiction(func(home string, j *policy.Jurisdiction) {
		for _, class := range slices.Sorted(maps.Keys(j.Rules)) {
			if r := j.Rules[class]; r != nil && b.classes[class] && !b.subjects[class] {
				b.warn(r.Pos, CodeUnreachableRule, lang.T("remove it, or give a route of the class a subject"),
					lang.T("the rule of %s for class %s is never asked: requests of that class belong to nobody (subject: none)", home, class))
			}
		}
	})
}

// covers tells whether a takes every request of x, or every one at a host that
// both accept.
func covers(a, x policy.ClassRoute) bool {
	if a.Method != "" && a.Method != x.Method || a.Host != "" && x.Host != "" && !strings.EqualFold(a.Host, x.Host) {
		return false
	}
	path := x.Path + x.PathPrefix + x.PathTemplate
	if x.GRPCService != "" {
		path = "/" + x.GRPCService
	}
	switch {
	case a.GRPCService != "":
		return a.GRPCService == x.GRPCService
	case a.Path != "":
		return a.Path == x.Path
	case a.PathTemplate != "":
		return a.PathTemplate == x.PathTemplate
	}
	prefix := strings.TrimSuffix(a.PathPrefix, "/")
	return prefix == "" || path == prefix || strings.HasPrefix(path, prefix+"/")
}

func place(r policy.Region) topology.Region {
	out := topology.Region{
		Name: r.Name, Country: r.Country, Host: r.Host, Peer: r.Peer, TLS: r.TLS, PinKeys: string(r.PinKeys.JWKS),
		Backends: map[string][]string{}, Agent: topology.DefaultAgent, Listen: topology.DefaultListen(),
	}
	for service, addresses := range r.Backends {
		if len(addresses) > 0 {
			out.Backends[service] = slices.Compact(slices.Sorted(slices.Values(addresses)))
		}
	}
	return out
}

func (b *builder) twice(at policy.Pos, what lang.Text, first policy.Pos) {
	b.add(policy.Problem{
		Pos: at, Code: CodeTwice, Severity: policy.Error, Message: lang.T("%s is defined twice", what),
		Why: lang.T("first at %s:%d", first.File, first.Line), Fix: lang.T("remove or rename one of them"),
	})
}

// compileRoutes makes the route table. A stream's own class is always one of
// those that it carries.
func (b *builder) compileRoutes() {
	for _, c := range b.set.Deployment.Classes {
		r := residency.Route{
			Class: c.Class, Subject: residency.Subject(c.Subject), Service: c.Service, LongLived: c.LongLived,
			Match: residency.Match{
				PathPrefix: c.PathPrefix, Path: c.Path, PathTemplate: c.PathTemplate,
				GRPCService: c.GRPCService, Method: c.Method, Host: c.Host,
			},
		}
		if r.Service == "" {
			r.Service = c.Class
		}
		r.Carries = carried(c)
		for _, name := range append([]string{c.Class}, r.Carries...) {
			b.classes[name] = true
			b.subjects[name] = b.subjects[name] || r.Subject != residency.SubjectNone
		}
		b.checkSubject(c)
		if r.Subject == residency.SubjectNone {
			r.Serve = b.known(c.Serve)
		}
		b.routes = append(b.routes, r)
	}
}

func carried(c policy.ClassRoute) []string {
	list := unique(c.Carries)
	if !slices.Contains(list, c.Class) {
		list = append([]string{c.Class}, list...)
	}
	if len(list) == 1 {
		return nil
	}
	return list
}

func (b *builder) checkSubject(c policy.ClassRoute) {
	switch residency.Subject(c.Subject) {
	case residency.SubjectCaller, residency.SubjectUser, residency.SubjectHost:
	case residency.SubjectNone:
		if len(c.Serve) == 0 {
			b.add(policy.Problem{
				Pos: c.Pos, Code: CodeNobodyServes, Severity: policy.Error,
				Message: lang.T("class %s has no subject and names no region that serves it", c.Class), Fix: lang.T("add serve: [region]"),
			})
		}
	default:
		b.add(policy.Problem{
			Pos: c.Pos, Code: CodeUnknownSubject, Severity: policy.Error,
			Message: lang.T("class %s has the unknown subject %q", c.Class, c.Subject), Fix: lang.T("write caller, path.user, host or none"),
		})
	}
}

// known returns the names without repetition, and reports those that are no
// region of the deployment.
func (b *builder) known(list []policy.Text) []string {
	var out []string
	for _, t := range list {
		if _, ok := b.regions[t.Value]; !ok {
			b.unknown(t, CodeUnknownRegion, lang.T("region"), slices.Collect(maps.Keys(b.regions)))
			continue
		}
		if !slices.Contains(out, t.Value) {
			out = append(out, t.Value)
		}
	}
	return out
}

func unique(list []policy.Text) []string {
	var out []string
	for _, t := range list {
		if !slices.Contains(out, t.Value) {
			out = append(out, t.Value)
		}
	}
	return out
}

// compileIssuers says who may name which homes, and how tokens are verified. A
// home without a jurisdiction is no problem: it has no rule, so it is refused.
func (b *builder) compileIssuers() {
	seen := map[string]policy.Pos{}
	for _, i := range b.set.Deployment.Issuers {
		if strings.ContainsFunc(i.Issuer, func(r rune) bool { return r <= ' ' || r > '~' }) {
			b.add(policy.Problem{
				Pos: i.Pos, Code: CodeOddIssuer, Severity: policy.Error,
				Message: lang.T("issuer %q has characters that no header carries", i.Issuer),
				Fix:     lang.T("write the iss claim of its tokens, in printable ASCII without spaces"),
			})
		}
		if first, dup := seen[i.Issuer]; dup {
			b.twice(i.Pos, lang.T("issuer %s", i.Issuer), first)
			continue
		}
		seen[i.Issuer] = i.Pos
		homes := unique(i.Homes)
		for _, h := range homes {
			b.homes[h] = true
		}
		b.spec.Issuers = append(b.spec.Issuers, residency.Issuer{Issuer: i.Issuer, Homes: homes})
		b.topo.Issuers = append(b.topo.Issuers, i.Topology())
	}
	slices.SortFunc(b.topo.Issuers, func(x, y topology.Issuer) int { return strings.Compare(x.Issuer, y.Issuer) })
}
