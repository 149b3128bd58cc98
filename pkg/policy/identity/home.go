package identity

import (
	"slices"
	"strings"
	"time"

	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy/internal/codes"
	"github.com/domicile-dev/domicile/pkg/policy/internal/form"
	"github.com/domicile-dev/domicile/pkg/policy/internal/yamlpos"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// MaxPin is the longest life of a pin.
const MaxPin = 10 * time.Minute

// pins reads how pins are issued; nil where nothing is said.
func (r *Reader) pins(spec *form.Object) *Pins {
	o := spec.Object("pins", false)
	if o == nil {
		return nil
	}
	p := &Pins{topology.Pins{TTL: MaxPin, Cookie: topology.PinCookie, Header: topology.PinHeader}, r.Pos(o.Node)}
	if d := o.Duration("ttl", false); d > MaxPin && !r.Recording() {
		r.Fail(o.Node.Get("ttl"), codes.Duration, lang.T("write 10m or less"), lang.T("ttl of pins is more than 10 minutes: a pin cannot be called back one by one"))
	} else if d > 0 {
		p.TTL = d
	}
	if s, ok := r.scalar(o, "cookie", r.cookieName); ok {
		p.Cookie = s
	}
	if s, ok := r.scalar(o, "header", r.headerName); ok {
		p.Header = s
	}
	o.Done()
	if p.Header == "authorization" {
		r.Fail(o.Node.Get("header"), codes.Misplaced, lang.T("use another name"), lang.T("a pin stands beside the token, never in its place: authorization is the token's"))
	}
	return p
}

// directory reads where homes are looked up; nil where nothing is said.
func (r *Reader) directory(spec *form.Object) *Directory {
	o := spec.Object("directory", false)
	if o == nil {
		return nil
	}
	d := &Directory{Pos: r.Pos(o.Node)}
	d.Kind = o.Choice("kind", true, "static", "redis", "http")
	file, at := o.File("file", d.Kind == "static")
	if d.File = file; at != nil {
		d.FilePos = r.Pos(at)
	}
	d.Addresses = form.Values(o.Texts("addresses", d.Kind == "redis", false, r.Address))
	d.Cluster, d.TLS = o.Flag("cluster"), o.Flag("tls")
	d.URL = r.url(o, "url", d.Kind == "http", false)
	d.SecretFile = r.secretFile(o, "directory", "secretFile", false)
	d.Timeout, d.Positive, d.Negative = o.Timeout("timeout"), o.Duration("positive", false), o.Duration("negative", false)
	o.Done()
	if r.Recording() {
		return d
	}
	r.kindFields(d, o)
	if d.URL != "" && strings.Count(d.URL, "{hash}") != 1 {
		r.Fail(o.Node.Get("url"), codes.URL, lang.T("write {hash} where the keyed hash of the user goes, as in https://directory.example.com/v1/{hash}"),
			lang.T("url %q does not hold {hash} exactly once", d.URL))
	}
	for _, x := range []struct {
		field string
		value time.Duration
		most  time.Duration
	}{{"timeout", d.Timeout, 10 * time.Second}, {"positive", d.Positive, time.Hour}, {"negative", d.Negative, time.Hour}} {
		if x.value > x.most {
			r.Fail(o.Node.Get(x.field), codes.Duration, lang.T("write %s or less", x.most.String()), lang.T("%s of the directory is more than %s", x.field, x.most.String()))
		}
	}
	return d
}

// kindFields refuses fields of another kind of directory.
func (r *Reader) kindFields(d *Directory, o *form.Object) {
	if d.Kind == "" {
		return
	}
	for _, x := range []struct {
		field string
		kinds []string
	}{
		{"file", []string{"static"}},
		{"addresses", []string{"redis"}},
		{"cluster", []string{"redis"}},
		{"tls", []string{"redis"}},
		{"url", []string{"http"}},
		{"secretFile", []string{"redis", "http"}},
		{"timeout", []string{"redis", "http"}},
		{"positive", []string{"redis", "http"}},
		{"negative", []string{"redis", "http"}},
	} {
		if o.Has(x.field) && !slices.Contains(x.kinds, d.Kind) {
			r.Fail(o.Node.Get(x.field), codes.Misplaced, lang.T("remove it, or write kind: %s", x.kinds[0]), lang.T("%s says nothing in a directory of kind %s", x.field, d.Kind))
		}
	}
}

// check is what can be said only when issuers, pins and directory have been read: at
// are the places of the issuers.
func (r *Reader) check(s Said, at []*yamlpos.Node, spec *form.Object) {
	if r.Recording() {
		return
	}
	needed := false
	for n, i := range s.Issuers {
		if i.Issuer == "" || !i.verified() {
			continue // told already
		}
		why := i.asksAgent()
		needed = needed || !why.IsZero()
		switch {
		case s.Pins != nil:
			r.apart(s.Pins, i, at[n])
		case !why.IsZero() && !spec.Has("pins"):
			r.Fail(at[n], codes.FirstContact, lang.T("add pins: {} to the deployment: the agent finds the home at the first contact, and a pin carries it from then on"),
				lang.T("issuer %s needs pins: %s", i.Issuer, why))
		}
		if i.HomeClaim == "" && i.CountryClaim == "" && s.Directory == nil && !spec.Has("directory") {
			fix := lang.T("add homeClaim or countryClaim to the issuer, or a directory to the deployment")
			if i.Whoami != nil {
				fix = lang.T("add a directory to the deployment")
			}
			r.Fail(at[n], codes.FirstContact, fix, lang.T("nothing says where the users of issuer %s are at home: no claim names it, and there is no directory", i.Issuer))
		}
	}
	if s.Pins != nil && !needed && len(s.Issuers) > 0 {
		r.Warn(spec.Node.Get("pins"), codes.NobodyAsks, lang.T("remove pins, or the homeClaim of issuers whose tokens name no home"), lang.T("pins are issued to nobody: every token names its home, and Envoy reads it"))
	}
	if s.GeoIP != nil && !spec.Has("pins") {
		r.Warn(spec.Node.Get("geoip"), codes.NobodyAsks, lang.T("remove geoip, or add pins: {}"), lang.T("geoip is asked by nobody: without pins there are no first contacts"))
	}
}

// verified tells whether the reader understood how tokens are verified.
func (i Issuer) verified() bool {
	return i.JWKS != nil || i.JWKSFile != "" || i.Remote != nil || i.Secret != nil || i.Introspection != nil || i.Whoami != nil
}

// asksAgent says why Envoy alone cannot tell the home of each user of an issuer;
// zero where it can.
func (i Issuer) asksAgent() lang.Text {
	switch {
	case !i.Topology().AsksAgent():
		return lang.Text{}
	case i.Whoami != nil:
		return lang.T("only its IM server knows whose a token is (whoami)")
	case i.Introspection != nil:
		return lang.T("only its server can read a token (introspection)")
	case i.Nameless:
		return lang.T("its tokens do not name their issuer (nameless)")
	case i.UserClaim != "" && i.UserClaim != "sub":
		return lang.T("only of the claim sub is Envoy sure that it is text (userClaim)")
	case i.HomeClaim == "":
		return lang.T("its tokens name no home (no homeClaim)")
	case i.CountryClaim != "":
		return lang.T("some of its tokens name no home (countryClaim)")
	}
	return lang.T("Envoy cannot read tokens inside JSON (json)")
}

// apart refuses a pin where a token stands.
func (r *Reader) apart(p *Pins, i Issuer, at *yamlpos.Node) {
	for _, s := range i.Sources {
		if s.Header == p.Header || s.Cookie == p.Cookie {
			r.Fail(at.Get("from"), codes.Misplaced, lang.T("give pins another name: pins: {cookie: …, header: …}"), lang.T("issuer %s has its tokens where pins stand (%s)", i.Issuer, s.Header+s.Cookie))
		}
	}
}
