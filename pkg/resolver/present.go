package resolver

import (
	"encoding/base64"
	"net/url"
	"slices"
	"strings"

	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/token"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// Request is what is read of a request: headers by lower-case name, as Envoy sends
// them, and the path with its query.
type Request struct {
	Headers map[string]string
	Path    string
}

// The headers that Envoy sets from a token that it has verified, and those that it
// sets itself.
const (
	headerHome   = "x-domicile-home"
	headerIssuer = "x-domicile-issuer"
	headerUser   = "x-domicile-user"

	headerCookie      = "cookie"
	headerSubprotocol = "sec-websocket-protocol"
)

// presented is the one token of a request.
type presented struct {
	token string
	// value is the header value in which it stands; empty where it stands elsewhere.
	value   string
	sources []topology.TokenSource
}

// gathering collects what a request presents.
type gathering struct {
	presented
	two, odd bool
}

func (g *gathering) add(t string, src topology.TokenSource, value string) {
	switch {
	case !readable(t):
		g.odd = true
	case g.token == "" || g.token == t:
		g.token, g.sources = t, append(g.sources, src)
		if value != "" {
			g.value = value
		}
	default:
		g.two = true
	}
}

// readable tells whether s can be a token at all (RFC 6750, b64token, and what JWTs
// are made of).
func readable(s string) bool {
	if s == "" || len(s) > token.MaxToken {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("-._~+/=:", rune(c)) {
			return false
		}
	}
	return true
}

// present finds the token of a request in the places where tokens may stand. Two
// that differ are refused, and so is a place that holds something else than a token:
// whoever is behind us may read it as one.
func present(r Request, sources []topology.TokenSource) (presented, residency.Reason) {
	var g gathering
	headers := map[string]bool{}
	for _, s := range sources {
		switch {
		case s.Header != "":
			if !headers[s.Header] {
				headers[s.Header] = true
				g.header(s.Header, r.Headers[s.Header], sources)
			}
		case s.Cookie != "":
			g.each(cookies(r.Headers[headerCookie], s.Cookie), s)
		case s.Query != "":
			values, ok := query(r.Path, s.Query)
			g.odd = g.odd || !ok
			g.each(values, s)
		case s.Subprotocol != "":
			g.each(subprotocols(r.Headers[headerSubprotocol], s.Subprotocol), s)
		}
	}
	switch {
	case g.two, g.odd && g.token != "":
		return presented{}, residency.TwoIdentities
	case g.odd:
		return presented{}, residency.BadToken
	case g.token == "":
		return presented{}, residency.NoIdentity
	}
	return g.presented, ""
}

// header reads one header, by the longest of the prefixes that it may have.
func (g *gathering) header(name, value string, sources []topology.TokenSource) {
	if value == "" {
		return
	}
	if strings.Contains(value, ",") { // two headers of one name
		g.two = true
		return
	}
	var best *topology.TokenSource
	for i, s := range sources {
		if s.Header == name && strings.HasPrefix(value, s.Prefix) && (best == nil || len(s.Prefix) > len(best.Prefix)) {
			best = &sources[i]
		}
	}
	if best == nil {
		g.odd = true
		return
	}
	g.read(value[len(best.Prefix):], *best, value)
}

// each adds the values of one place outside a header; more than one is one too many,
// even where they are equal, because nobody can tell which of them others read.
func (g *gathering) each(values []string, s topology.TokenSource) {
	g.two = g.two || len(values) > 1
	for _, v := range values {
		g.read(v, s, "")
	}
}

func (g *gathering) read(raw string, s topology.TokenSource, value string) {
	if s.JSON == "" {
		g.add(raw, s, value)
		return
	}
	// What a pin is bound to must be the end of the token, and here it is not.
	inner, ok := member(raw, s.JSON)
	if !ok {
		g.odd = true
		return
	}
	g.add(inner, s, "")
}

// member reads a text of a JSON object in base64, of whichever alphabet and padding.
func member(raw, name string) (string, bool) {
	if len(raw) > token.MaxToken {
		return "", false
	}
	raw = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(raw, "="))
	data, err := base64.RawStdEncoding.DecodeString(raw)
	if err != nil || strings.ContainsAny(raw, "\r\n") {
		return "", false
	}
	object, err := token.Object(data)
	if err != nil {
		return "", false
	}
	for other := range object { // some servers read either, and take the last
		if other != name && strings.EqualFold(other, name) {
			return "", false
		}
	}
	// A dot in the name is a dot: the source names a member, no path.
	return token.Claims{"v": object[name]}.String("v")
}

// cookies returns the values of a cookie. A comma parts cookies too: where two
// headers were joined by one, the second must not hide behind the first.
func cookies(header, name string) []string {
	var out []string
	for _, pair := range strings.FieldsFunc(header, func(r rune) bool { return r == ';' || r == ',' }) {
		if k, v, ok := strings.Cut(pair, "="); ok && strings.TrimSpace(k) == name {
			out = append(out, strings.Trim(strings.TrimSpace(v), `"`))
		}
	}
	return out
}

// query returns the values of a query parameter, its name however escaped, and
// whether they could be read.
func query(path, name string) (out []string, ok bool) {
	_, q, _ := strings.Cut(path, "?")
	q, _, _ = strings.Cut(q, "#")
	for _, pair := range strings.FieldsFunc(q, func(r rune) bool { return r == '&' || r == ';' }) {
		k, v, _ := strings.Cut(pair, "=")
		if k, err := url.QueryUnescape(k); err != nil || k != name {
			continue
		}
		// A plus is itself in base64, and a space in a form: no token has a space.
		v, err := url.PathUnescape(v)
		if err != nil {
			return nil, false
		}
		out = append(out, v)
	}
	return out, true
}

func subprotocols(header, prefix string) []string {
	var out []string
	for item := range strings.SplitSeq(header, ",") {
		if t, ok := strings.CutPrefix(strings.TrimSpace(item), prefix); ok {
			out = append(out, t)
		}
	}
	return out
}

// withoutCookie returns a Cookie header without the pairs of one name, and whether
// there were any.
func withoutCookie(header, name string) (string, bool) {
	var kept []string
	found := false
	for pair := range strings.SplitSeq(header, ";") {
		k, _, _ := strings.Cut(pair, "=")
		if strings.TrimSpace(k) == name {
			found = true
		} else if p := strings.TrimSpace(pair); p != "" {
			kept = append(kept, p)
		}
	}
	return strings.Join(kept, "; "), found
}

// sourcesOf lists where tokens of an issuer stand.
func sourcesOf(i topology.Issuer) []topology.TokenSource {
	if len(i.Sources) == 0 {
		return i.EnvoySources()
	}
	return i.Sources
}

// accepts tells whether a token that stands where p does can be one of an issuer's.
func accepts(i topology.Issuer, p presented) bool {
	return slices.ContainsFunc(sourcesOf(i), func(s topology.TokenSource) bool { return slices.Contains(p.sources, s) })
}
