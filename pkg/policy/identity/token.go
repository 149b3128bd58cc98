package identity

import (
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy/internal/codes"
	"github.com/domicile-dev/domicile/pkg/policy/internal/form"
	"github.com/domicile-dev/domicile/pkg/policy/internal/yamlpos"
	"github.com/domicile-dev/domicile/pkg/policy/shape"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// maxSources is in how many places tokens of one issuer may stand.
const maxSources = 8

// sources reads where the tokens of an issuer stand.
func (r *Reader) sources(issuer *form.Object) (out []topology.TokenSource) {
	for _, n := range issuer.Items("from", false, false) {
		o := r.Object(n, "from")
		if o == nil {
			continue
		}
		s, ok := r.source(o)
		o.Done()
		switch {
		case !ok:
		case slices.Contains(out, s):
			r.Fail(n, codes.Twice, lang.T("remove one"), lang.T("from names one place twice"))
		case len(out) == maxSources:
			r.Fail(n, codes.TooLarge, lang.T("keep those that clients use"), lang.T("from has more than %d places", maxSources))
		default:
			out = append(out, s)
		}
	}
	return out
}

// places are the fields of which a source has exactly one.
var places = []string{"header", "cookie", "query", "subprotocol"}

func (r *Reader) source(o *form.Object) (s topology.TokenSource, ok bool) {
	var header, cookie, query, protocol bool
	s.Header, header = r.scalar(o, "header", r.headerName)
	s.Prefix, _ = r.scalar(o, "prefix", r.prefix)
	s.Cookie, cookie = r.scalar(o, "cookie", r.cookieName)
	s.Query, query = r.scalar(o, "query", r.Ident)
	s.Subprotocol, protocol = r.scalar(o, "subprotocol", r.protocol)
	s.JSON, _ = r.scalar(o, "json", r.Ident)
	if r.Recording() {
		return s, false
	}
	var said []string
	for _, field := range places {
		if o.Has(field) {
			said = append(said, field)
		}
	}
	switch {
	case len(said) == 0:
		r.Fail(o.Node, codes.Missing, lang.T(`write one, as in {header: authorization, prefix: "Bearer "}`), lang.T("from has none of %s", strings.Join(places, ", ")))
		return s, false
	case len(said) > 1:
		r.Fail(o.Node.Get(said[1]), codes.Misplaced, lang.T("write a place of its own for the other"), lang.T("from has both %s and %s: a place is one of them", said[0], said[1]))
		return s, false
	case o.Has("prefix") && !o.Has("header"):
		r.Fail(o.Node.Get("prefix"), codes.Misplaced, lang.T("remove it"), lang.T("%s says nothing without %s", "prefix", "header"))
		return s, false
	case o.Has("json") && said[0] == "subprotocol":
		r.Fail(o.Node.Get("json"), codes.Misplaced, lang.T("remove it"), lang.T("%s says nothing beside %s", "json", "subprotocol"))
		return s, false
	}
	if query {
		r.Warn(o.Node.Get("query"), codes.TokenInURL, lang.T("use a header where clients can send one; otherwise keep query strings out of those logs, and lifetimes short"),
			lang.T("a token in the query string stands in the logs of every proxy before Domicile, in histories and in Referer"))
	}
	return s, header || cookie || query || protocol
}

// scalar reads an optional field with the reader of one.
func (r *Reader) scalar(o *form.Object, field string, one func(n *yamlpos.Node, what string) (string, bool)) (string, bool) {
	v := o.Get(field)
	if v == nil {
		return "", false
	}
	return one(v, field)
}

// isToken tells whether s is a token as in RFC 9110: the name of a header or cookie,
// or a subprotocol.
func isToken(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return true
}

// ours begins every header that only Domicile sets; clients' are removed.
const ours = "x-domicile-"

// taken are headers that carry something else.
var taken = []string{
	"host", "cookie", "set-cookie", "connection", "upgrade", "te", "trailer", "transfer-encoding", "content-length", "content-type", "keep-alive",
	"sec-websocket-protocol", "sec-websocket-key", "sec-websocket-version", "sec-websocket-extensions", "forwarded", "x-forwarded-for",
	"x-forwarded-proto", "x-forwarded-host", "x-request-id", "accept", "origin", "referer", "user-agent",
}

// headerName reads the name of a header and returns it in lower case.
func (r *Reader) headerName(n *yamlpos.Node, what string) (string, bool) {
	s, ok := r.Text(n, what)
	if !ok || r.Recording() {
		return s, ok
	}
	name := strings.ToLower(s)
	switch {
	case !isToken(name) || strings.ContainsAny(name, "_"):
		r.Fail(n, codes.Name, lang.T("write letters, digits and hyphens, as in authorization"), lang.T("%s %q is no name of a header%s", what, s, form.Odd(s)))
	case strings.HasPrefix(name, ours):
		r.Fail(n, codes.Name, lang.T("use another name"), lang.T("%s %q begins with %s: what clients send under it is removed", what, s, ours))
	case slices.Contains(taken, name):
		r.Fail(n, codes.Name, lang.T("use a header of its own; cookie: and subprotocol: name places in others"), lang.T("the header %q carries something else", s))
	default:
		return name, true
	}
	return "", false
}

func (r *Reader) cookieName(n *yamlpos.Node, what string) (string, bool) {
	s, ok := r.Word(n, what)
	if !ok || r.Recording() {
		return s, ok
	}
	switch {
	case !isToken(s):
		r.Fail(n, codes.Name, lang.T("write letters, digits, hyphens and underscores, as in session"), lang.T("%s %q is no name of a cookie%s", what, s, form.Odd(s)))
	case strings.HasPrefix(strings.ToLower(s), ours):
		r.Fail(n, codes.Name, lang.T("use another name"), lang.T("%s %q begins with %s: what clients send under it is removed", what, s, ours))
	default:
		return s, true
	}
	return "", false
}

// prefix reads what stands before a token in a header; a blank at its end counts.
func (r *Reader) prefix(n *yamlpos.Node, what string) (string, bool) {
	if _, ok := r.Text(n, what); !ok || r.Recording() {
		return n.Value, ok
	}
	if s := n.Value; len(s) > 64 || strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c > '~' || c == ',' }) || s[0] == ' ' {
		r.Fail(n, codes.Name, lang.T(`write it with its blank, as in "Bearer "`), lang.T("%s %q cannot stand before a token%s", what, s, form.Odd(s)))
		return "", false
	}
	return n.Value, true
}

func (r *Reader) protocol(n *yamlpos.Node, what string) (string, bool) {
	s, ok := r.Text(n, what)
	if !ok || r.Recording() {
		return s, ok
	}
	if !isToken(s) {
		r.Fail(n, codes.Name, lang.T(`write what stands before the token, as in "bearer."`), lang.T("%s %q cannot stand in a subprotocol%s", what, s, form.Odd(s)))
		return "", false
	}
	return s, true
}

// url reads an absolute URL. Plain http is for addresses of the machine itself only,
// and not even for them where strict.
func (r *Reader) url(o *form.Object, field string, required, strict bool) string {
	v := o.Find(field, required)
	if v == nil {
		return ""
	}
	if r.Note(v, shape.Shape{Type: shape.Text}) {
		return v.Value
	}
	s, ok := r.Text(v, field)
	if !ok {
		return ""
	}
	if why := urlFault(s, strict); !why.IsZero() {
		r.Fail(v, codes.URL, lang.T("write it as in https://id.example.com/keys"), lang.T("%s %q %s", field, s, why))
		return ""
	}
	return s
}

func urlFault(s string, strict bool) lang.Text {
	u, err := url.Parse(s)
	switch {
	case len(s) > 2048:
		return lang.T("has more than 2048 characters")
	case err != nil || u.Host == "" || u.Opaque != "" || strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' }):
		return lang.T("is no absolute URL")
	case u.User != nil:
		return lang.T("holds a user or a password: a secret is named by a file, never written down")
	case u.Fragment != "" || strings.HasSuffix(s, "#"):
		return lang.T("holds a fragment")
	case u.Scheme == "https" || u.Scheme == "http" && !strict && loopback(u.Hostname()):
		return lang.Text{}
	default:
		return lang.T("does not begin with https://")
	}
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// secretFile reads the path of a secret on the machines that need it. In the policy
// directory it would be in everybody's hands.
func (r *Reader) secretFile(o *form.Object, in, field string, required bool) string {
	v := o.Find(field, required)
	if v == nil {
		return ""
	}
	if r.Note(v, shape.Shape{Type: shape.Text}) {
		return v.Value
	}
	s, ok := r.Text(v, field)
	if !ok {
		return ""
	}
	fix := lang.T("write the absolute path on the machines that need it, as in /etc/domicile/keys/im.json, and keep the file out of the policy directory")
	if !path.IsAbs(s) || path.Clean(s) != s || strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c > '~' }) {
		r.Fail(v, codes.SecretHere, fix, lang.T("%s %q is no absolute path: a relative one lies in the policy directory, which goes to git, to reviewers and into bundles", in+"."+field, s))
		return ""
	}
	for rest := strings.TrimPrefix(s, "/"); rest != ""; _, rest, _ = strings.Cut(rest, "/") {
		if r.files.Has(rest) {
			r.Fail(v, codes.SecretHere, fix, lang.T("%s %q lies in the policy directory, as %s: what lies there goes to git, to reviewers and into bundles", in+"."+field, s, rest))
			return ""
		}
	}
	return s
}
