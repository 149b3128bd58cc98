package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// deployment reads deployment.yaml.
func (r *reader) deployment(root *object) {
	d := &Deployment{Pos: r.pos(root.node)}
	if meta := root.object("metadata", true); meta != nil {
		d.Name = meta.name("name", true)
		meta.done()
	}
	spec := root.object("spec", true)
	root.done()
	if spec == nil {
		return
	}
	for _, n := range spec.items("regions", true, false) {
		r.region(d, n)
	}
	for _, n := range spec.items("classes", true, false) {
		r.classRoute(d, n)
	}
	for _, n := range spec.items("issuers", true, false) {
		r.issuer(d, n)
	}
	if dir := spec.object("directory", false); dir != nil {
		r.directory(d, dir)
	}
	if a := spec.object("approvals", false); a != nil {
		d.Approvals = map[string][]string{}
		for _, action := range []string{"loosen", "emergencyDeny"} {
			if roles := a.texts(action, false, false, r.name); roles != nil {
				d.Approvals[action] = values(roles)
			}
		}
		a.done()
	}
	d.ResponseHeaders = spec.flag("responseHeaders")
	if v := spec.get("trustDomain"); v != nil {
		d.TrustDomain, _ = r.host(v, "trustDomain")
	}
	d.MaxPolicyAge = spec.duration("maxPolicyAge", false)
	d.Today = spec.addresses("today")
	spec.done()
	r.p.set.Deployment = d
}

func (r *reader) directory(d *Deployment, dir *object) {
	d.DirectoryKind = dir.choice("kind", true, "static", "redis", "http")
	file, at := dir.file("file", d.DirectoryKind == "static")
	d.DirectoryFile, r.p.userDir = file, file
	if _, policy := r.p.set.Files[file]; policy {
		r.fail(at, CodeMisplaced, "move the users to a file of their own, as in users.yaml",
			"the directory of users is %s, which is a policy file: personal data would become part of every bundle", file)
	}
	dir.done()
}

// twice reports a second definition of a name.
func (r *reader) twice(n *node, what string, first Pos) {
	r.p.add(Problem{Pos: r.pos(n), Code: CodeTwice, Message: what + " is defined twice",
		Why: "first at " + where(first), Fix: "remove one, or rename it"})
}

func (r *reader) region(d *Deployment, n *node) {
	o := r.object(n, "region")
	if o == nil {
		return
	}
	x := Region{Pos: r.pos(n)}
	if v := o.need("name"); v != nil {
		x.Name, _ = r.name(v, "region")
	}
	if v := o.need("country"); v != nil {
		x.Country, _ = r.code(useCountry)(v, "country")
	}
	if g := o.object("gateway", false); g != nil {
		if v := g.get("host"); v != nil {
			x.Host, _ = r.host(v, "host")
		}
		if v := g.get("peer"); v != nil {
			x.Peer, _ = r.address(v, "peer")
		}
		g.done()
	}
	x.KMS = o.text("kms", false)
	x.Backends = o.addresses("backends")
	o.done()
	for _, y := range d.Regions {
		switch {
		case x.Name != "" && x.Name == y.Name:
			r.twice(o.node.Get("name"), fmt.Sprintf("region %q", x.Name), y.Pos)
			return
		case x.Host != "" && x.Host == y.Host:
			r.twice(o.node.Get("gateway").Get("host"), fmt.Sprintf("gateway host %q", x.Host), y.Pos)
		case x.Peer != "" && x.Peer == y.Peer:
			r.twice(o.node.Get("gateway").Get("peer"), fmt.Sprintf("gateway peer %q", x.Peer), y.Pos)
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
	o := r.object(n, "class")
	if o == nil {
		return
	}
	c := ClassRoute{Pos: r.pos(n)}
	c.Class = o.name("class", true)
	if m := o.object("match", true); m != nil {
		r.match(&c, m)
	}
	c.Subject = o.choice("subject", true, subjectCaller, subjectUser, subjectHost, subjectNone)
	if c.Service = o.name("service", false); c.Service == "" {
		c.Service = c.Class
	}
	c.LongLived = o.flag("longLived")
	c.Carries = o.texts("carries", false, false, r.name)
	c.Serve = o.texts("serve", c.Subject == subjectNone, false, r.name)
	o.done()
	if v := o.node.Get("serve"); v != nil && c.Subject != subjectNone && c.Subject != "" {
		r.fail(v, CodeMisplaced, "remove it: jurisdictions say where a class is served", "serve of a class is for subject none only, and the subject is %s", c.Subject)
	}
	if c.Subject == subjectUser && !slices.Contains(strings.Split(c.PathTemplate, "/"), "{user}") {
		r.fail(o.node.Get("subject"), CodeMisplaced, `write match: {pathTemplate: "/…/{user}"}`, "subject path.user needs a pathTemplate with a {user} segment")
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
		{"path", &c.Path, func(n *node, what string) (string, bool) { return r.path(n, what, false) }},
		{"pathPrefix", &c.PathPrefix, func(n *node, what string) (string, bool) { return r.path(n, what, false) }},
		{"pathTemplate", &c.PathTemplate, func(n *node, what string) (string, bool) { return r.path(n, what, true) }},
		{"grpcService", &c.GRPCService, r.ident},
	} {
		if m.has(f.field) {
			count++
		}
		if v := m.get(f.field); v != nil {
			*f.into, _ = f.read(v, f.field)
		}
	}
	c.Method = m.choice("method", false, methods...)
	if v := m.get("host"); v != nil {
		c.Host, _ = r.host(v, "host")
	}
	m.done()
	switch {
	case count > 1:
		r.fail(m.node, CodeMisplaced, "keep one, and write a second entry for the other", "match has more than one of path, pathPrefix, pathTemplate and grpcService")
	case count == 0 && !m.has("host"):
		r.fail(m.node, CodeMissing, "add pathPrefix:, path:, pathTemplate: or grpcService:", "match says nothing of the path or the gRPC service")
	}
}

func (r *reader) issuer(d *Deployment, n *node) {
	o := r.object(n, "issuer")
	if o == nil {
		return
	}
	x := Issuer{Pos: r.pos(n)}
	x.Issuer = o.text("issuer", true)
	if k := o.object("jwks", true); k != nil {
		var at *node
		if x.JWKSFile, at = k.file("file", true); at != nil {
			x.JWKS = r.keySet(x.JWKSFile, at)
		}
		k.done()
	}
	x.Audiences = values(o.texts("audiences", true, false, r.text))
	x.HomeClaim = o.ident("homeClaim", true)
	x.Homes = o.texts("homes", true, false, r.code(useHome))
	x.Forward = o.flag("forward")
	o.done()
	for _, y := range d.Issuers {
		if x.Issuer != "" && x.Issuer == y.Issuer {
			r.twice(o.node.Get("issuer"), fmt.Sprintf("issuer %q", x.Issuer), y.Pos)
			return
		}
	}
	d.Issuers = append(d.Issuers, x)
}

// keySet reads the public keys of an issuer; nil when there is no such file, with
// which no token verifies.
func (r *reader) keySet(name string, at *node) []byte {
	if _, err := fs.Stat(r.p.fsys, name); errors.Is(err, fs.ErrNotExist) {
		r.warn(at, CodeNoKeys, "put the issuer's public keys (RFC 7517) there", "%s does not exist: no token of this issuer will verify", name)
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
		r.fail(at, CodeBadKeys, `write {"keys": [...]} as in RFC 7517`, "%s is no key set: it should be a JSON object with a list of keys", name)
		return nil
	}
	for i, k := range set.Keys {
		var kind string
		if json.Unmarshal(k["kty"], &kind) != nil || kind == "" {
			r.fail(at, CodeBadKeys, "give each key its kty, as in RFC 7517", "key %d of %s has no kty", i+1, name)
			return nil
		}
		for _, secret := range []string{"d", "k", "p", "q", "dp", "dq", "qi", "oth", "priv"} {
			if _, found := k[secret]; found || kind == "oct" {
				r.fail(at, CodePrivateKey, "keep public members only; a secret that stood in a file is to be replaced",
					"key %d of %s is a secret: who reads the policy could make tokens of any home", i+1, name)
				return nil
			}
		}
	}
	r.p.set.Files[name] = src
	return src
}
