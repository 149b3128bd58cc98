package plan

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/domicile-dev/domicile/pkg/residency"
)

// streams compares the routes that carry several classes: the strictest rule of
// them governs, so that their decisions are not those of one class.
func (c *comparison) streams() {
	for i, r := range c.is.routes {
		if len(r.Carries) < 2 {
			continue
		}
		j := slices.IndexFunc(c.was.routes, func(o residency.Route) bool { return o.Match == r.Match && reflect.DeepEqual(o.Carries, r.Carries) })
		if j < 0 {
			continue // another route: routes compares it
		}
		for _, home := range c.homes {
			for _, entry := range c.regions {
				q := residency.Query{Home: home, Entry: entry}
				c.decisions(Stream, home, r.Class, entry, shape(r.Match), c.was.table.DecideRoute(j, q), c.is.table.DecideRoute(i, q))
			}
		}
	}
}

// hosts compares the routes for which the host name's homes decide.
func (c *comparison) hosts() {
	for i, r := range c.is.routes {
		j := slices.IndexFunc(c.was.routes, func(o residency.Route) bool { return o.Match == r.Match && o.Subject == r.Subject })
		if r.Subject != residency.SubjectHost || j < 0 {
			continue
		}
		for _, host := range c.regions {
			for _, entry := range c.regions {
				c.decisions(Host, "", r.Class, entry, "host name of "+host,
					c.was.table.DecideHost(j, host, entry), c.is.table.DecideHost(i, host, entry))
			}
		}
	}
}

// request is a request of some shape: what the route tables look at.
type request struct {
	method, host, path string
	grpc               bool
}

func (r request) String() string {
	s := strings.TrimSpace(r.method + " " + r.host + r.path)
	if r.grpc {
		s = "gRPC " + s
	}
	return s
}

// routes judges a request of every shape that either route table knows by both.
func (c *comparison) routes() {
	if reflect.DeepEqual(c.was.routes, c.is.routes) {
		c.out.Compared += len(samples(c.is.routes))
		return
	}
	for _, r := range samples(slices.Concat(c.was.routes, c.is.routes)) {
		c.out.Compared++
		i, j := first(c.was.routes, r), first(c.is.routes, r)
		before, after := class(c.was.routes, i), class(c.is.routes, j)
		if before == after {
			continue
		}
		x := Change{Effect: c.rerouted(i, j), Kind: Route, What: r.String(), Before: before, After: after}
		if j >= 0 {
			x.Class = c.is.routes[j].Class
		} else {
			x.Class = c.was.routes[i].Class
		}
		c.add(x)
	}
}

// rerouted judges the same request on two routes, for every home and entry. Whose
// home governs is a question of its own: where that changes, nothing can be said
// about the homes one by one, and it counts as loosened unless it is refused now.
func (c *comparison) rerouted(i, j int) Effect {
	switch {
	case j < 0:
		return Tightens
	case i < 0:
		return Loosens
	}
	a, b := c.was.routes[i], c.is.routes[j]
	if a.Subject != b.Subject {
		return Loosens
	}
	effect := Neutral
	judge := func(was, is residency.Decision) {
		switch gain(c.reached(c.was, was), c.reached(c.is, is)) {
		case Loosens:
			effect = Loosens
		case Tightens:
			if effect == Neutral {
				effect = Tightens
			}
		}
	}
	if a.Subject == residency.SubjectNone {
		judge(residency.Everywhere(a.Serve), residency.Everywhere(b.Serve))
	}
	for _, entry := range c.regions {
		for _, home := range c.homes {
			q := residency.Query{Home: home, Entry: entry}
			if a.Subject != residency.SubjectNone {
				judge(c.was.table.DecideRoute(i, q), c.is.table.DecideRoute(j, q))
			}
		}
		for _, host := range c.regions {
			if a.Subject == residency.SubjectHost {
				judge(c.was.table.DecideHost(i, host, entry), c.is.table.DecideHost(j, host, entry))
			}
		}
	}
	return effect
}

// class says what a route makes of a request.
func class(routes []residency.Route, i int) string {
	if i < 0 {
		return "deny " + string(residency.NoClass)
	}
	r := routes[i]
	out := fmt.Sprintf("class %s of subject %s, service %s", r.Class, r.Subject, r.Service)
	if len(r.Carries) > 0 {
		out += ", carries " + strings.Join(r.Carries, "+")
	}
	if r.LongLived {
		out += ", long-lived"
	}
	if len(r.Serve) > 0 {
		out += ", served by " + strings.Join(r.Serve, " > ")
	}
	return out
}

// shape is a match as people read it.
func shape(m residency.Match) string {
	s := m.PathPrefix + m.Path + m.PathTemplate + m.GRPCService
	if m.PathPrefix != "" {
		s += "/…"
	}
	return strings.TrimSpace(m.Method + " " + m.Host + s)
}

// samples makes requests that tell any two orders of these routes apart: one of
// the most general shape that each pair of matches has in common, since a request
// that two tables judge differently is taken by one match in the first and by
// another in the second. Where a shape is open at its end it is tried as it is, one
// segment longer, and longer than any other shape; by the methods and on the hosts
// that any route names, and by others. Sorted, no two alike.
func samples(routes []residency.Route) []request {
	methods, hosts := named(routes)
	longest := 0
	var shapes []pattern
	for _, r := range routes {
		p := patternOf(r.Match)
		shapes, longest = append(shapes, p), max(longest, len(p.segments))
	}
	seen := map[request]bool{}
	var out []request
	add := func(r request) {
		if !seen[r] {
			seen[r] = true
			out = append(out, r)
		}
	}
	for i, a := range shapes {
		for _, b := range shapes[i:] {
			both, ok := a.and(b)
			if !ok {
				continue
			}
			for _, path := range both.paths(longest) {
				for _, host := range hosts {
					for _, method := range methods {
						add(request{method, host, path, false})
						add(request{method, host, path, true})
					}
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b request) int { return strings.Compare(a.String(), b.String()) })
	return out
}

// named lists the methods and hosts that routes name, and one of each that stands
// for all others.
func named(routes []residency.Route) (methods, hosts []string) {
	methods, hosts = []string{"GET", "PATCH"}, []string{""}
	for _, r := range routes {
		if r.Match.Method != "" {
			methods = append(methods, r.Match.Method)
		}
		hosts = append(hosts, r.Match.Host)
	}
	slices.Sort(methods)
	slices.Sort(hosts)
	return slices.Compact(methods), slices.Compact(hosts)
}

// pattern is the shape of a path: its segments, "" for any, and whether more may
// follow.
type pattern struct {
	segments []string
	open     bool
}

func patternOf(m residency.Match) pattern {
	var p pattern
	text := m.Path + m.PathTemplate + m.PathPrefix
	switch {
	case m.GRPCService != "":
		return pattern{[]string{m.GRPCService, ""}, true}
	case m.PathPrefix != "":
		p.open = true
		text = strings.TrimSuffix(text, "/")
	}
	if text == "" {
		return p
	}
	for _, s := range strings.Split(strings.TrimPrefix(text, "/"), "/") {
		if m.PathTemplate != "" && strings.HasPrefix(s, "{") {
			s = ""
		}
		p.segments = append(p.segments, s)
	}
	return p
}

// and is what two shapes have in common.
func (p pattern) and(q pattern) (pattern, bool) {
	if len(p.segments) > len(q.segments) {
		p, q = q, p
	}
	if len(p.segments) < len(q.segments) && !p.open {
		return pattern{}, false
	}
	out := pattern{slices.Clone(q.segments), p.open && q.open}
	for i, s := range p.segments {
		switch {
		case s == "" || s == out.segments[i]:
		case out.segments[i] == "":
			out.segments[i] = s
		default:
			return pattern{}, false
		}
	}
	return out, true
}

// paths are requests of a shape, with segments that no route names.
func (p pattern) paths(longest int) []string {
	var path string
	for _, s := range p.segments {
		if s == "" {
			s = "any"
		}
		path += "/" + s
	}
	if path == "" {
		path = "/"
	}
	if !p.open {
		return []string{path}
	}
	below := strings.TrimSuffix(path, "/")
	return []string{path, below + "/below", below + strings.Repeat("/below", longest+1)}
}

// first is the route that takes a request; -1 for none.
func first(routes []residency.Route, r request) int {
	return slices.IndexFunc(routes, func(x residency.Route) bool { return takes(x.Match, r) })
}

func takes(m residency.Match, r request) bool {
	if m.Method != "" && m.Method != r.method || m.Host != "" && m.Host != r.host {
		return false
	}
	switch {
	case m.Path != "":
		return r.path == m.Path
	case m.GRPCService != "":
		return r.grpc && strings.HasPrefix(r.path, "/"+m.GRPCService+"/")
	case m.PathTemplate != "":
		want, got := strings.Split(m.PathTemplate, "/"), strings.Split(r.path, "/")
		return len(want) == len(got) && segments(want, got)
	default:
		rest, ok := strings.CutPrefix(r.path, strings.TrimSuffix(m.PathPrefix, "/"))
		return ok && (rest == "" || rest[0] == '/')
	}
}

func segments(want, got []string) bool {
	for i, w := range want {
		if w != got[i] && (!strings.HasPrefix(w, "{") || got[i] == "") {
			return false
		}
	}
	return true
}
