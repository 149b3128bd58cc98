package identity

import (
	"strings"
	"time"

	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy/internal/codes"
	"github.com/domicile-dev/domicile/pkg/policy/internal/form"
	"github.com/domicile-dev/domicile/pkg/policy/internal/place"
	"github.com/domicile-dev/domicile/pkg/policy/internal/yamlpos"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// maxSkew bounds by how much clocks may differ: an expired token lives on as long.
const maxSkew = 10 * time.Minute

// ways are the fields that say how tokens are verified.
var ways = []string{"jwks", "secret", "introspection", "whoami"}

// issuer reads one issuer; nil when it is no map, or has the name of an earlier one.
func (r *Reader) issuer(n *yamlpos.Node, earlier []Issuer) *Issuer {
	o := r.Object(n, "issuer")
	if o == nil {
		return nil
	}
	x := &Issuer{Pos: r.Pos(n)}
	x.Issuer = o.Text("issuer", true)
	oneWay := r.verification(x, o)
	x.Nameless = o.Flag("nameless")
	answers := x.Introspection != nil || x.Whoami != nil
	x.Audiences = form.Values(o.Texts("audiences", !x.Nameless && !answers, false, r.Text))
	x.HomeClaim, x.UserClaim, x.CountryClaim = o.Ident("homeClaim", false), o.Ident("userClaim", false), o.Ident("countryClaim", false)
	x.Homes = r.Placed(o.Texts("homes", true, false, r.known.Code(r.Reader, place.Home)))
	x.Sources = r.sources(o)
	x.MaxLifetime = o.Duration("maxLifetime", false)
	if x.Skew = o.Duration("skew", false); x.Skew > maxSkew && !r.Recording() {
		r.Fail(o.Node.Get("skew"), codes.Duration, lang.T("write at most 10m, and set the clocks"), lang.T("skew is more than 10 minutes: a token would live on for as long after its end"))
	}
	x.Forward = o.Flag("forward")
	o.Done()
	if oneWay {
		r.beside(x, o)
	} else { // whichever counted, the rest would be judged by it
		x.JWKS, x.JWKSFile, x.Remote, x.Secret, x.Introspection, x.Whoami = nil, "", nil, nil, nil, nil
	}
	for _, y := range earlier {
		if x.Issuer != "" && x.Issuer == y.Issuer {
			r.Twice(o.Node.Get("issuer"), lang.T("issuer %q", x.Issuer), y.Pos)
			return nil
		}
	}
	return x
}

// verification reads how tokens are verified, and tells whether in exactly one way.
func (r *Reader) verification(x *Issuer, o *form.Object) bool {
	if k := o.Object("jwks", false); k != nil {
		r.keys(x, k)
	}
	if s := o.Object("secret", false); s != nil {
		x.Secret = &Secret{File: r.secretFile(s, "secret", "file", true)}
		x.Secret.Regions = r.Placed(s.Texts("regions", true, false, r.Name))
		s.Done()
	}
	if q := o.Object("introspection", false); q != nil {
		x.Introspection = &topology.Introspection{URL: r.url(q, "url", true, false), ClientID: q.Text("clientID", false), SecretFile: r.secretFile(q, "introspection", "secretFile", false)}
		q.Done()
	}
	if w := o.Object("whoami", false); w != nil {
		x.Whoami = &topology.Whoami{Service: w.Name("service", true)}
		if v := w.Need("path"); v != nil {
			x.Whoami.Path, _ = r.Path(v, "path", false)
		}
		x.Whoami.Member = w.Ident("member", true)
		w.Done()
	}
	if r.Recording() {
		return true
	}
	var said []string
	for _, way := range ways {
		if o.Has(way) {
			said = append(said, way)
		}
	}
	switch {
	case len(said) == 0:
		r.Fail(o.Node, codes.Missing, lang.T("add one of them, as in jwks: {file: jwks.json}"), lang.T("issuer does not say how its tokens are verified: it has none of %s", strings.Join(ways, ", ")))
	case len(said) > 1:
		r.Fail(o.Node.Get(said[1]), codes.Misplaced, lang.T("keep one, and make another issuer for the other tokens"), lang.T("issuer has both %s and %s: its tokens are verified in one way", said[0], said[1]))
	}
	return len(said) == 1
}

// beside refuses what says nothing beside another field.
func (r *Reader) beside(x *Issuer, o *form.Object) {
	if r.Recording() {
		return
	}
	misplaced := func(field, other string) {
		if o.Has(field) && o.Has(other) {
			r.Fail(o.Node.Get(field), codes.Misplaced, lang.T("remove it"), lang.T("%s says nothing beside %s", field, other))
		}
	}
	for _, field := range []string{"homeClaim", "userClaim", "countryClaim", "audiences", "maxLifetime", "skew", "nameless"} {
		misplaced(field, "whoami")
	}
	misplaced("nameless", "introspection")
	if x.HomeClaim != "" && x.HomeClaim == x.CountryClaim {
		r.Fail(o.Node.Get("countryClaim"), codes.Misplaced, lang.T("remove it: homeClaim is asked first"), lang.T("countryClaim is the claim of homeClaim"))
	}
}

// keys reads where the public keys of an issuer are.
func (r *Reader) keys(x *Issuer, k *form.Object) {
	file, at := k.File("file", false)
	if x.JWKSFile = file; at != nil {
		x.JWKS = r.keyFile(file, at)
	}
	if v := k.Get("inline"); v != nil {
		if text, ok := r.Text(v, "inline"); ok && !r.Recording() {
			x.JWKS = r.keySet("inline", []byte(text), v)
		}
	}
	if url := r.url(k, "url", false, true); url != "" {
		x.Remote = &topology.RemoteKeys{URL: url, Every: 5 * time.Minute, Keep: 24 * time.Hour}
	}
	every, keep := k.Duration("every", false), k.Duration("keep", false)
	k.Done()
	if r.Recording() {
		return
	}
	var said []string
	for _, field := range []string{"file", "inline", "url"} {
		if k.Has(field) {
			said = append(said, field)
		}
	}
	switch {
	case len(said) == 0:
		r.Fail(k.Node, codes.Missing, lang.T("add one of them, as in file: jwks.json"), lang.T("jwks has none of file, inline and url"))
	case len(said) > 1:
		r.Fail(k.Node.Get(said[1]), codes.Misplaced, lang.T("keep one"), lang.T("jwks has both %s and %s: which keys count?", said[0], said[1]))
	}
	for _, field := range []string{"every", "keep"} {
		if k.Has(field) && !k.Has("url") {
			r.Fail(k.Node.Get(field), codes.Misplaced, lang.T("remove it"), lang.T("%s says nothing without %s", field, "url"))
		}
	}
	if x.Remote != nil {
		r.interval(x.Remote, k, every, keep)
	}
}

// leastEvery is how often keys may be fetched at most.
const leastEvery = 10 * time.Second

func (r *Reader) interval(m *topology.RemoteKeys, k *form.Object, every, keep time.Duration) {
	if every > 0 {
		m.Every = every
	}
	if keep > 0 {
		m.Keep = keep
	}
	if m.Every < leastEvery {
		r.Fail(k.Node.Get("every"), codes.Duration, lang.T("write 10s or more"), lang.T("every is less than 10 seconds: the issuer would be asked too often"))
	}
	if m.Keep < m.Every {
		at := k.Node.Get("keep")
		if at == nil {
			at = k.Node.Get("every")
		}
		r.Fail(at, codes.Duration, lang.T("write keep at least as long as every"), lang.T("keep is shorter than every: between two looks no key would count"))
	}
}
