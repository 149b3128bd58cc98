package policy

import (
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy/identity"
	"github.com/domicile-dev/domicile/pkg/policy/internal/codes"
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
	id := identity.NewReader(r.Reader, r.p.known, r.files())
	for _, n := range spec.Items("regions", true, false) {
		r.region(d, n, id)
	}
	for _, n := range spec.Items("classes", true, false) {
		r.classRoute(d, n)
	}
	for _, n := range spec.Items("streams", false, false) {
		r.stream(d, n)
	}
	r.identity(d, id.Read(spec))
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

// files lets key sets be read, of what lies in the policy directory.
func (r *reader) files() identity.Files {
	return identity.Files{
		Has: func(name string) bool {
			_, err := fs.Stat(r.p.fsys, name)
			return !errors.Is(err, fs.ErrNotExist)
		},
		Read: func(name string, at *node) ([]byte, bool) { return r.p.slurp(r.p.fsys, name, name, r.pos(at)) },
	}
}

// identity enters who the users are. The key sets become part of bundles; the
// directory of users never does.
func (r *reader) identity(d *Deployment, s identity.Said) {
	d.Issuers, d.Pins, d.Directory, d.GeoIP = s.Issuers, s.Pins, s.Directory, s.GeoIP
	for _, i := range d.Issuers {
		if i.JWKSFile != "" && i.JWKS != nil {
			r.p.set.Files[i.JWKSFile] = i.JWKS
		}
	}
	for _, x := range d.Regions {
		if x.PinKeys.JWKS != nil {
			r.p.set.Files[x.PinKeys.File] = x.PinKeys.JWKS
		}
		if d.Pins != nil && x.PinKeys.File == "" && x.Name != "" {
			r.p.add(Problem{Pos: x.Pos, Code: codes.NoPinKeys, Severity: Warning, Fix: lang.T("add pins: {jwks: {file: pins/%s.json}} with the public keys of its agents", x.Name),
				Message: lang.T("region %s has no pin keys: no pin of this region will verify", x.Name)})
		}
	}
	if d.Directory == nil || d.Directory.File == "" {
		return
	}
	file := d.Directory.File
	r.p.userDir = file
	if _, policy := r.p.set.Files[file]; policy {
		r.p.add(Problem{Pos: d.Directory.FilePos, Code: codes.Misplaced, Fix: lang.T("move the users to a file of their own, as in users.yaml"),
			Message: lang.T("the directory of users is %s, which is a policy file: personal data would become part of every bundle", file)})
	}
}

// gatewayPorts are what gateways and sidecars listen on for themselves.
var gatewayPorts = []int{8080, 8443, 9443, 15001, 15002}

// stream reads a service over TCP that is reached by TLS server name.
func (r *reader) stream(d *Deployment, n *node) {
	o := r.Object(n, "stream")
	if o == nil {
		return
	}
	x := Stream{Pos: r.pos(n), Name: o.Name("name", true)}
	x.Class, x.Service = Text{Value: o.Name("class", true)}, Text{Value: o.Name("service", true)}
	at := o.Need("port")
	x.Port = o.Number("port", 65535)
	o.Done()
	if r.Recording() {
		return
	}
	for _, f := range []struct {
		text  *Text
		field string
	}{{&x.Class, "class"}, {&x.Service, "service"}} {
		if f.text.Value != "" {
			f.text.Pos = r.pos(n.Get(f.field))
		}
	}
	switch {
	case at == nil:
	case slices.Contains(gatewayPorts, x.Port):
		r.Fail(at, codes.Misplaced, lang.T("use another port, as in 8883"), lang.T("port %d is one that gateways listen on for HTTP", x.Port))
	case x.Port == 0 && at.Value == "0":
		r.Fail(at, codes.Number, lang.T("write a port from 1 to 65535"), lang.T("port is 0"))
	}
	for _, y := range d.Streams {
		switch {
		case x.Name != "" && x.Name == y.Name:
			r.twice(n.Get("name"), lang.T("stream %q", x.Name), y.Pos)
			return
		case x.Port != 0 && x.Port == y.Port:
			r.twice(at, lang.T("port %d", x.Port), y.Pos)
			return
		}
	}
	if x.Class.Value != "" {
		r.p.uses = append(r.p.uses, classUse{x.Class, lang.T("stream %s", x.Name)})
	}
	d.Streams = append(d.Streams, x)
}

// twice reports a second definition of a name.
func (r *reader) twice(n *node, what lang.Text, first Pos) { r.Twice(n, what, first) }

func (r *reader) region(d *Deployment, n *node, id *identity.Reader) {
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
		if v := g.Get("tls"); v != nil {
			x.TLS, _ = r.Address(v, "tls")
		}
		g.Done()
	}
	x.KMS = o.Text("kms", false)
	x.Backends = o.Addresses("backends")
	x.PinKeys = id.Region(o)
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
		case x.TLS != "" && x.TLS == y.TLS:
			r.twice(o.Node.Get("gateway").Get("tls"), lang.T("gateway tls %q", x.TLS), y.Pos)
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
