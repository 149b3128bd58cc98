// Package credentials says where in a request tokens and pins stand, and what of it
// contradicts itself: a request with two of them is nobody's.
package credentials

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/domicile-dev/domicile/pkg/envoy/internal/match"
	"github.com/domicile-dev/domicile/pkg/envoy/internal/pattern"
	"github.com/domicile-dev/domicile/pkg/topology"
)

const (
	authorization = "authorization"
	subprotocols  = "sec-websocket-protocol"
)

// Places are those of a deployment's tokens and pins.
type Places struct {
	match.Tree
	list []place
	pins *topology.Pins
}

// place is one header, cookie, query parameter, or prefix of a subprotocol, with what
// is known of the tokens there.
type place struct {
	header, cookie, query, subprotocol string
	prefixes                           []string // of tokens in header
	envoy, agent                       bool     // who reads tokens there
	forward                            bool     // some backend wants them
}

// Of returns the places of a topology, in a fixed order.
func Of(tree match.Tree, top *topology.Topology) *Places {
	byName := map[string]*place{}
	for _, i := range top.Issuers {
		sources := i.Sources
		if len(sources) == 0 {
			sources = i.EnvoySources()
		}
		for _, s := range sources {
			name := strings.Join([]string{s.Header, s.Cookie, s.Query, s.Subprotocol}, "\x00")
			p := byName[name]
			if p == nil {
				p = &place{header: strings.ToLower(s.Header), cookie: s.Cookie, query: s.Query, subprotocol: s.Subprotocol}
				byName[name] = p
			}
			if !slices.Contains(p.prefixes, s.Prefix) {
				p.prefixes = append(p.prefixes, s.Prefix)
			}
			inEnvoy := i.InEnvoy() && s.JSON == ""
			p.envoy, p.agent, p.forward = p.envoy || inEnvoy, p.agent || !inEnvoy, p.forward || i.Forward
		}
	}
	if len(byName) == 0 { // what looks like a credential is never passed on
		byName[""] = &place{header: authorization, envoy: true}
	}
	out := &Places{Tree: tree, pins: top.Pins}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		p := byName[name]
		slices.Sort(p.prefixes)
		out.list = append(out.list, *p)
	}
	// Headers first: whether one is there costs as much as it is long, so it is asked
	// last of all (see Second).
	slices.SortStableFunc(out.list, func(a, b place) int { return cmp.Compare(b.header, a.header) })
	return out
}

// Headers are the names of the headers that hold a token and nothing else: a pin
// beside one of them can be told to belong to it.
func (p *Places) Headers() []string {
	var out []string
	for _, x := range p.list {
		if x.header != "" {
			out = append(out, x.header)
		}
	}
	return out
}

// Stripped are the headers with tokens that no backend wants, and the pin's.
func (p *Places) Stripped() []string {
	var out []string
	for _, x := range p.list {
		if x.header != "" && !x.forward {
			out = append(out, x.header)
		}
	}
	if p.pins != nil {
		out = append(out, p.pins.Header)
	}
	return out
}

// usual is true where tokens stand in the Authorization header only, and no pins.
func (p *Places) usual() bool {
	return p.pins == nil && (len(p.list) == 0 || len(p.list) == 1 && p.list[0].header == authorization)
}

// Second is true for a request with more than one credential: two in one place, in
// two places, or one beside something in the query or the cookies that looks like a
// token. Cheap tests stand first. Peers take the pin of the client and that of the
// agent beside the entry.
func (p *Places) Second(peer bool) *match.Predicate {
	elsewhere := match.Or(
		match.And(p.Contains(":path", pattern.TokenStart), p.Header(":path", pattern.TokenInQuery(p.names(func(x place) string { return x.query })))),
		match.And(p.Contains("cookie", pattern.TokenStart), p.Header("cookie", pattern.TokenInCookies(p.cookies()))))
	if p.usual() {
		return match.Or(p.Contains(authorization, ","), match.And(elsewhere, p.Header(authorization, ".+")))
	}
	var any, present []*match.Predicate
	for _, x := range p.list {
		any, present = append(any, p.repeated(x)), append(present, p.present(x))
	}
	for i := range present {
		if rest := present[i+1:]; len(rest) > 0 {
			any = append(any, match.And(match.Or(rest...), present[i]))
		}
	}
	if len(present) > 0 {
		any = append(any, match.And(elsewhere, match.Or(present...)))
	}
	if p.pins != nil && !peer {
		any = append(any, p.repeated(place{header: p.pins.Header}), p.repeated(place{cookie: p.pins.Cookie}),
			match.And(p.pinHeader(), p.present(place{cookie: p.pins.Cookie})))
	}
	return match.Or(any...)
}

// Pin is true for a request with something that may be a pin.
func (p *Places) Pin() *match.Predicate {
	return match.Or(p.pinHeader(), p.Contains("cookie", p.pins.Cookie+"="))
}

// Any is true for a request with something where a token may stand.
func (p *Places) Any() *match.Predicate {
	any := []*match.Predicate{p.present(place{header: authorization})}
	for _, x := range p.list {
		if x.header != authorization {
			any = append(any, p.present(x))
		}
	}
	return match.Or(any...)
}

// pinHeader: what has no dot is no signed token.
func (p *Places) pinHeader() *match.Predicate { return p.Contains(p.pins.Header, ".") }

// Asked are the requests with a credential that only an agent can read: in a header,
// where a pin can be told to belong to it, and elsewhere. Either is nil where there is
// no such place.
func (p *Places) Asked() (header, elsewhere *match.Predicate) {
	var in, out []*match.Predicate
	for _, x := range p.list {
		if !x.agent {
			continue
		}
		is := p.present(x)
		if x.header != "" {
			is = p.Header(x.header, alternatives(x.prefixes)+".+")
		}
		if x.envoy {
			is = match.And(match.Not(p.signed(x)), is)
		}
		if x.header != "" {
			in = append(in, is)
		} else {
			out = append(out, is)
		}
	}
	return orNil(in), orNil(out)
}

func orNil(list []*match.Predicate) *match.Predicate {
	if len(list) == 0 {
		return nil
	}
	return match.Or(list...)
}

// present is true where something stands in a place.
func (p *Places) present(x place) *match.Predicate {
	switch {
	case x.header != "":
		return p.Header(x.header, ".+")
	case x.cookie != "":
		return match.And(p.Contains("cookie", x.cookie+"="), p.Header("cookie", pattern.Cookie(x.cookie)+`.*`))
	case x.query != "":
		return match.And(p.Contains(":path", "?"), p.Header(":path", pattern.Query(x.query)+`(?:[=&;#].*)?`))
	default:
		return p.Contains(subprotocols, x.subprotocol)
	}
}

// repeated is true where two stand in one place; Envoy joins the values of headers of
// one name by commas.
func (p *Places) repeated(x place) *match.Predicate {
	switch {
	case x.header != "":
		return p.Contains(x.header, ",")
	case x.cookie != "":
		return match.And(p.Contains("cookie", x.cookie+"="), p.Header("cookie", pattern.Cookie(x.cookie)+`.*[;, \t]`+regexp.QuoteMeta(x.cookie)+`=.*`))
	case x.query != "":
		again := pattern.Name(x.query) + `(?:[=&;#].*)?`
		return match.And(p.Contains(":path", "?"), p.Header(":path", pattern.Query(x.query)+`(?:=[^&;]*)?[&;](?:.*[&;])?`+again))
	default:
		quoted := regexp.QuoteMeta(x.subprotocol)
		return match.And(p.Contains(subprotocols, x.subprotocol), p.Header(subprotocols, `.*`+quoted+`.*`+quoted+`.*`))
	}
}

// signed is true where what stands in a place has the form of a signed token.
func (p *Places) signed(x place) *match.Predicate {
	switch {
	case x.header != "":
		return p.Header(x.header, alternatives(x.prefixes)+pattern.Token)
	case x.cookie != "":
		return p.Header("cookie", pattern.Cookie(x.cookie)+pattern.Token+`(?:[;, \t].*)?`)
	case x.query != "":
		return p.Header(":path", pattern.Query(x.query)+`=`+pattern.Token+`(?:[&;#].*)?`)
	default:
		return p.Header(subprotocols, `.*`+regexp.QuoteMeta(x.subprotocol)+pattern.Token+`(?:[, \t].*)?`)
	}
}

func alternatives(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = regexp.QuoteMeta(s)
	}
	return `(?:` + strings.Join(quoted, "|") + `)`
}

func (p *Places) names(of func(place) string) []string {
	var out []string
	for _, x := range p.list {
		if n := of(x); n != "" {
			out = append(out, n)
		}
	}
	return out
}

// cookies are the names of those that hold a token or a pin.
func (p *Places) cookies() []string {
	out := p.names(func(x place) string { return x.cookie })
	if p.pins != nil {
		out = append(out, p.pins.Cookie)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
