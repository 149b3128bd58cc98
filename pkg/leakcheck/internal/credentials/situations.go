package credentials

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/conditions"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/requests"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/tokens"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// situation is what a request is known to hold: a signed token in one place and
// nothing in the others, or something in each of two places.
type situation struct {
	one, two string // the places, for people; two is empty for one token
	// Issuers are those whose token Envoy could verify in the one place.
	issuers []string
	// What headers hold, what they do not hold, and which of them are absent.
	says   map[string]*requests.Language
	lacks  map[string][]*requests.Language
	absent []string
}

// place is one where the deployment says that tokens may stand. Its prefixes are
// those of tokens in a header.
type place struct {
	header, cookie, query, subprotocol string
	prefixes                           []string
	issuers                            []string // that Envoy can read there
}

// signed has the form of a signed token.
const signed = `[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*`

func situations(r *conditions.Reader, top *topology.Topology) []situation {
	var out []situation
	list := placesOf(top)
	for i, p := range list {
		if len(p.issuers) > 0 {
			out = append(out, alone(r, list, i))
		}
		for _, q := range list[i:] {
			s := situation{one: p.String(), two: q.String(), says: map[string]*requests.Language{}}
			if p.in() == q.in() {
				s.says[p.in()] = r.Compile(p.beside(q)+`|`+q.beside(p), false)
			} else {
				s.says[p.in()], s.says[q.in()] = r.Compile(p.occupied(), false), r.Compile(q.occupied(), false)
			}
			out = append(out, s)
		}
	}
	return out
}

// alone is the situation of a signed token in one place.
func alone(r *conditions.Reader, list []place, at int) situation {
	p := list[at]
	s := situation{one: p.String(), issuers: p.issuers, lacks: map[string][]*requests.Language{}}
	s.says = map[string]*requests.Language{p.in(): r.Compile(p.holds(), false)}
	for i, q := range list {
		switch {
		case i == at:
		case q.header != "":
			s.absent = append(s.absent, q.header)
		default:
			s.lacks[q.in()] = append(s.lacks[q.in()], r.Compile(q.occupied(), false))
		}
	}
	return s
}

func placesOf(top *topology.Topology) []place {
	var out []place
	for _, i := range top.Issuers {
		for _, s := range tokens.Sources(i) {
			header := strings.ToLower(s.Header)
			at := slices.IndexFunc(out, func(p place) bool {
				return p.header == header && p.cookie == s.Cookie && p.query == s.Query && p.subprotocol == s.Subprotocol
			})
			if at < 0 {
				at = len(out)
				out = append(out, place{header: header, cookie: s.Cookie, query: s.Query, subprotocol: s.Subprotocol})
			}
			out[at].prefixes = append(out[at].prefixes, regexp.QuoteMeta(s.Prefix))
			if i.InEnvoy() && s.JSON == "" {
				out[at].issuers = append(out[at].issuers, i.Issuer)
			}
		}
	}
	return out
}

// String names a place for people.
func (p place) String() string {
	switch {
	case p.header != "":
		return "header " + p.header
	case p.cookie != "":
		return "cookie " + p.cookie
	case p.query != "":
		return "query parameter " + p.query
	}
	return "subprotocol " + p.subprotocol
}

// in is the header in whose value the place is.
func (p place) in() string {
	switch {
	case p.header != "":
		return p.header
	case p.cookie != "":
		return "cookie"
	case p.query != "":
		return ":path"
	}
	return "sec-websocket-protocol"
}

// What parts cookies and parameters: more than Envoy takes, for others take it.
const (
	cookieBefore = `(?:.*[;, \t])?`
	queryBefore  = `/[^?#]*\?(?:[^#]*[&;])?`
)

// occupied are the values in which something stands in the place.
func (p place) occupied() string {
	switch {
	case p.header != "":
		return `.+`
	case p.cookie != "":
		return cookieBefore + regexp.QuoteMeta(p.cookie) + `=.*`
	case p.query != "":
		return queryBefore + spelt(p.query) + `(?:[=&;#].*)?`
	}
	return `.*` + regexp.QuoteMeta(p.subprotocol) + `.*`
}

// holds are the values in which a signed token does.
func (p place) holds() string {
	switch {
	case p.header != "":
		return `(?:` + strings.Join(p.prefixes, "|") + `)` + signed
	case p.cookie != "":
		return cookieBefore + regexp.QuoteMeta(p.cookie) + `=` + signed + `(?:[;, \t].*)?`
	case p.query != "":
		return queryBefore + spelt(p.query) + `=` + signed + `(?:[&;#].*)?`
	}
	return `(?:.*[, \t])?` + regexp.QuoteMeta(p.subprotocol) + signed + `(?:[, \t].*)?`
}

// beside are the values in which something stands in the place, and in another behind
// it. Envoy joins headers of one name by commas.
func (p place) beside(q place) string {
	switch {
	case p.header != "":
		return `.+,.+`
	case p.cookie != "":
		return cookieBefore + regexp.QuoteMeta(p.cookie) + `=.*[;, \t]` + regexp.QuoteMeta(q.cookie) + `=.*`
	case p.query != "":
		return queryBefore + spelt(p.query) + `(?:=[^&;#]*)?[&;](?:[^#]*[&;])?` + spelt(q.query) + `(?:[=&;#].*)?`
	}
	return `.*` + regexp.QuoteMeta(p.subprotocol) + `.*` + regexp.QuoteMeta(q.subprotocol) + `.*`
}

// spelt is the name of a query parameter, in every way to escape it.
func spelt(name string) string {
	var out strings.Builder
	for _, b := range []byte(name) {
		fmt.Fprintf(&out, `(?:%s|%%(?i:%02x))`, regexp.QuoteMeta(string(b)), b)
	}
	return out.String()
}
