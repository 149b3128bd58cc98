package policy

import (
	"encoding/json"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy/internal/codes"
	"github.com/domicile-dev/domicile/pkg/policy/internal/form"
	"github.com/domicile-dev/domicile/pkg/policy/internal/place"
	"github.com/domicile-dev/domicile/pkg/policy/signer"
)

// deployment reads deployment.yaml.
func (r *reader) deployment(root *object) {
	d := &Deployment{Pos: r.pos(root.Node)}
	if meta := root.Object("metadata", true); meta != nil {
		d.Name = meta.Text("name", true)
		meta.Done()
	}
	spec := root.Object("spec", true)
	root.Done()
	if spec == nil {
		return
	}
	for _, n := range spec.Items("regions", true, false) {
		r.region(d, n)
	}
	for _, n := range spec.Items("classes", true, false) {
		r.classRoute(d, n)
	}
	for _, n := range spec.Items("issuers", true, false) {
		r.issuer(d, n)
	}
	if dir := spec.Object("directory", false); dir != nil {
		r.directory(d, dir)
	}
	d.Signers, d.Approvals = signer.Read(r.Reader, spec)
	if w := spec.Object("waivers", false); w != nil {
		d.AllowWaivers = w.Flag("allow")
		w.Done()
	}
	d.Today = spec.Addresses("today")
	d.ResponseHeaders = spec.Flag("responseHeaders")
	if v := spec.Get("trustDomain"); v != nil {
		d.TrustDomain, _ = r.Host(v, "trustDomain")
	}
	r.notCarriedOut(spec)
	spec.Done()
	r.p.set.Deployment = d
}

// notCarriedOut checks the settings that change nothing in this version, and says
// so: whoever wrote them relies on them.
func (r *reader) notCarriedOut(spec *object) {
	spec.Duration("maxPolicyAge", false)
	if v := spec.Node.Get("maxPolicyAge"); v != nil {
		r.Warn(v, codes.NotCarriedOut, lang.T("watch the metric domicile_policy_age_seconds, and remove it until then"),
			lang.T("this version does not enforce maxPolicyAge yet: proxies keep serving an old policy"))
	}
}

func (r *reader) directory(d *Deployment, dir *object) {
	d.DirectoryKind = dir.Choice("kind", true, "static", "redis", "http")
	file, at := dir.File("file", d.DirectoryKind == "static")
	d.DirectoryFile, r.p.userDir = file, file
	if _, policy := r.p.set.Files[file]; policy {
		r.Fail(at, codes.Misplaced, lang.T("move the users to a file of their own, as in users.yaml"),
			lang.T("the directory of users is %s, which is a policy file: personal data would become part of every bundle", file))
	}
	dir.Done()
}

// twice reports a second definition of a name.
func (r *reader) twice(n *node, what lang.Text, first Pos) { r.Twice(n, what, first) }

func (r *reader) region(d *Deployment, n *node) {
	o := r.Object(n, "region")
	if o == nil {
		return
	}
	x := Region{Pos: r.pos(n)}
	if v := o.Need("name"); v != nil {
		x.Name, _ = r.Name(v, "region")
	}
	if v := o.Need("country"); v != nil {
		x.Country, _ = r.code(place.Country)(v, "country")
	}
	if g := o.Object("gateway", false); g != nil {
		if v := g.Get("host"); v != nil {
			x.Host, _ = r.Host(v, "host")
		}
		if v := g.Get("peer"); v != nil {
			x.Peer, _ = r.Address(v, "peer")
		}
		g.Done()
	}
	x.KMS = o.Text("kms", false)
	x.Backends = o.Addresses("backends")
	o.Done()
	for _, y := range d.Regions {
		switch {
		case x.Name != "" && x.Name == y.Name:
			r.twice(o.Node.Get("name"), lang.T("region %q", x.Name), y.Pos)
			return
		case x.Host != "" && x.Host == y.Host:
			r.twice(o.Node.Get("gateway").Get("host"), lang.T("gateway host %q", x.Host), y.Pos)
		case x.Peer != "" && x.Peer == y.Peer:
			r.twice(o.Node.Get("gateway").Get("peer"), lang.T("gateway peer %q", x.Peer), y.Pos)
		}
	}
	d.Regions = append(d.Regions, x)
}

// The subjects of a route.
const (
	subjectCaller = "caller"
	subjectUser   = "path.user"
	subjectHost   = "host"
	subjectNone   = "none"
)

func (r *reader) classRoute(d *Deployment, n *node) {
	o := r.Object(n, "class")
	if o == nil {
		return
	}
	c := ClassRoute{Pos: r.pos(n)}
	c.Class = o.Name("class", true)
	if m := o.Object("match", true); m != nil {
		r.match(&c, m)
	}
	c.Subject = o.Choice("subject", true, subjectCaller, subjectUser, subjectHost, subjectNone)
	if c.Service = o.Name("service", false); c.Service == "" {
		c.Service = c.Class
	}
	c.LongLived = o.Flag("longLived")
	c.Carries = r.texts(o.Texts("carries", false, false, r.Name))
	c.Serve = r.texts(o.Texts("serve", c.Subject == subjectNone, false, r.Name))
	o.Done()
	if v := o.Node.Get("serve"); v != nil && c.Subject != subjectNone && c.Subject != "" {
		r.Fail(v, codes.Misplaced, lang.T("remove it: jurisdictions say where a class is served"), lang.T("serve of a class is for subject none only, and the subject is %s", c.Subject))
	}
	if c.Subject == subjectUser && !slices.Contains(strings.Split(c.PathTemplate, "/"), "{user}") {
		r.Fail(o.Node.Get("subject"), codes.Misplaced, lang.T(`write match: {pathTemplate: "/…/{user}"}`), lang.T("subject path.user needs a pathTemplate with a {user} segment"))
	}
	d.Classes = append(d.Classes, c)
}

var methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT"}

func (r *reader) match(c *ClassRoute, m *object) {
	count := 0
	for _, f := range []struct {
		field string
		into  *string
		read  func(n *node, what string) (string, bool)
	}{
		{"path", &c.Path, func(n *node, what string) (string, bool) { return r.Path(n, what, false) }},
		{"pathPrefix", &c.PathPrefix, func(n *node, what string) (string, bool) { return r.Path(n, what, false) }},
		{"pathTemplate", &c.PathTemplate, func(n *node, what string) (string, bool) { return r.Path(n, what, true) }},
		{"grpcService", &c.GRPCService, r.Ident},
	} {
		if m.Has(f.field) {
			count++
		}
		if v := m.Get(f.field); v != nil {
			*f.into, _ = f.read(v, f.field)
		}
	}
	c.Method = m.Choice("method", false, methods...)
	if v := m.Get("host"); v != nil {
		c.Host, _ = r.Host(v, "host")
	}
	m.Done()
	switch {
	case count > 1:
		r.Fail(m.Node, codes.Misplaced, lang.T("keep one, and write a second entry for the other"), lang.T("match has more than one of path, pathPrefix, pathTemplate and grpcService"))
	case count == 0 && !m.Has("host"):
		r.Fail(m.Node, codes.Missing, lang.T("add pathPrefix:, path:, pathTemplate: or grpcService:, as in pathPrefix: /v1/messages"), lang.T("match says nothing of the path or the gRPC service"))
	}
}

func (r *reader) issuer(d *Deployment, n *node) {
	o := r.Object(n, "issuer")
	if o == nil {
		return
	}
	x := Issuer{Pos: r.pos(n)}
	x.Issuer = o.Text("issuer", true)
	if k := o.Object("jwks", true); k != nil {
		var at *node
		if x.JWKSFile, at = k.File("file", true); at != nil {
			x.JWKS = r.keySet(x.JWKSFile, at)
		}
		k.Done()
	}
	x.Audiences = form.Values(o.Texts("audiences", true, false, r.Text))
	x.HomeClaim = o.Ident("homeClaim", true)
	x.Homes = r.texts(o.Texts("homes", true, false, r.code(place.Home)))
	x.Forward = o.Flag("forward")
	o.Done()
	for _, y := range d.Issuers {
		if x.Issuer != "" && x.Issuer == y.Issuer {
			r.twice(o.Node.Get("issuer"), lang.T("issuer %q", x.Issuer), y.Pos)
			return
		}
	}
	d.Issuers = append(d.Issuers, x)
}

// keySet reads the public keys of an issuer; nil when there is no such file, with
// which no token verifies.
func (r *reader) keySet(name string, at *node) []byte {
	if _, err := fs.Stat(r.p.fsys, name); errors.Is(err, fs.ErrNotExist) {
		r.Warn(at, codes.NoKeys, lang.T("put the issuer's public keys (RFC 7517) there"), lang.T("%s does not exist: no token of this issuer will verify", name))
		return nil
	}
	src, ok := r.p.slurp(r.p.fsys, name, name, r.pos(at))
	if !ok {
		return nil
	}
	var set struct {
		Keys []map[string]json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(src, &set); err != nil || set.Keys == nil {
		r.Fail(at, codes.BadKeys, lang.T(`write {"keys": [...]} as in RFC 7517`), lang.T("%s is no key set: it should be a JSON object with a list of keys", name))
		return nil
	}
	for i, k := range set.Keys {
		var kind string
		if json.Unmarshal(k["kty"], &kind) != nil || kind == "" {
			r.Fail(at, codes.BadKeys, lang.T("give each key its kty, as in RFC 7517"), lang.T("key %d of %s has no kty", i+1, name))
			return nil
		}
		for _, secret := range []string{"d", "k", "p", "q", "dp", "dq", "qi", "oth", "priv"} {
			if _, found := k[secret]; found || kind == "oct" {
				r.Fail(at, codes.PrivateKey, lang.T("keep public members only; a secret that stood in a file is to be replaced"),
					lang.T("key %d of %s is a secret: who reads the policy could make tokens of any home", i+1, name))
				return nil
			}
		}
	}
	r.p.set.Files[name] = src
	return src
}
