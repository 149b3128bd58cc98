package identity_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/topology"
)

const (
	ed25519 = `{"kty":"OKP","crv":"Ed25519","kid":"%s","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
	p256    = `{"kty":"EC","crv":"P-256","kid":"%s","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`
)

func keys(list ...string) string { return `{"keys":[` + strings.Join(list, ",") + `]}` }

// deployment has one region and one issuer: what stands in the issuer after its name,
// and what stands in the spec after the issuers.
func deployment(issuer, spec string) fstest.MapFS {
	return fstest.MapFS{
		"deployment.yaml": {Data: []byte(`apiVersion: domicile.dev/v1
kind: Deployment
metadata: {name: example}
spec:
  regions:
    - {name: me-riyadh, country: "SA", gateway: {host: sa.example.com}, backends: {message: ["10.1.1.1:8080"]}, pins: {jwks: {file: pins.json}}}
  classes:
    - {class: message, match: {pathPrefix: /v1/messages}, subject: caller}
  issuers:
    - {issuer: "https://id.example.com", homes: ["SA"], ` + issuer + `}
` + spec + "\n")},
		"jwks.json": {Data: []byte(keys(fmt.Sprintf(ed25519, "a")))},
		"pins.json": {Data: []byte(keys(fmt.Sprintf(ed25519, "p")))},
	}
}

const (
	plain  = `jwks: {file: jwks.json}, audiences: [im], homeClaim: home`
	silent = `jwks: {file: jwks.json}, audiences: [im]`
	pins   = "  pins: {}\n"
	users  = "  directory: {kind: static, file: users.yaml}\n"
)

func listing(problems []policy.Problem) string {
	var b strings.Builder
	for _, p := range problems {
		fmt.Fprintf(&b, "%s:%d:%d %s %s: %s | fix %s\n", p.File, p.Line, p.Column, p.Severity, p.Code, p.Message.En, p.Fix.En)
	}
	return b.String()
}

// TestAccepted: what real IM servers need, without a word of complaint.
func TestAccepted(t *testing.T) {
	for name, x := range map[string]struct{ issuer, spec string }{
		"a home claim":             {plain, ""},
		"a home claim, users":      {plain, users},
		"inline keys":              {`jwks: {inline: '` + keys(fmt.Sprintf(p256, "a")) + `'}, audiences: [im], homeClaim: home`, ""},
		"remote keys":              {`jwks: {url: "https://id.example.com/keys", every: 10s, keep: 10s}, audiences: [im], homeClaim: home`, ""},
		"a directory":              {silent, pins + users},
		"a country":                {silent + `, countryClaim: country`, pins},
		"a home or a country":      {plain + `, countryClaim: country`, pins},
		"OpenIM":                   {`secret: {file: /etc/domicile/im.json, regions: [me-riyadh]}, nameless: true, userClaim: UserID, from: [{header: token}]`, pins + users},
		"introspection of homes":   {`introspection: {url: "https://sso.example.com/introspect"}, homeClaim: home`, pins},
		"introspection on the box": {`introspection: {url: "http://127.0.0.1:8081/introspect"}, audiences: [im]`, pins + users},
		"Matrix":                   {`whoami: {service: message, path: /_matrix/client/v3/account/whoami, member: user_id}`, pins + users},
		"JSON in a cookie":         {plain + `, from: [{cookie: v, json: token}]`, pins},
		"redis":                    {silent, pins + `  directory: {kind: redis, addresses: ["10.1.1.9:6379"], cluster: true, secretFile: /etc/redis, timeout: 100ms, positive: 1h, negative: 1h}`},
		"http":                     {silent, pins + `  directory: {kind: http, url: "https://dir.example.com/v1/{hash}"}`},
		"names for pins":           {silent, users + "  pins: {ttl: 10m, cookie: __Host-pin, header: X-Pin}\n  geoip: {}"},
	} {
		if _, problems := policy.Parse(deployment(x.issuer, x.spec), nil); len(problems) > 0 {
			t.Errorf("%s:\n%s", name, listing(problems))
		}
	}
}

// refusals: each is one problem and no other.
var refusals = map[string]struct{ issuer, spec, code, says string }{
	"no verification":           {`audiences: [im], homeClaim: home`, "", "DP1011", "none of jwks, secret"},
	"jwks that says nothing":    {`jwks: {}, audiences: [im], homeClaim: home`, "", "DP1011", "none of file, inline and url"},
	"file and url":              {`jwks: {file: jwks.json, url: "https://id.example.com/keys"}, audiences: [im], homeClaim: home`, "", "DP1030", "both file and url"},
	"every without a url":       {`jwks: {file: jwks.json, every: 5m}, audiences: [im], homeClaim: home`, "", "DP1030", "every says nothing without url"},
	"asked too often":           {`jwks: {url: "https://id.example.com/keys", every: 9s}, audiences: [im], homeClaim: home`, "", "DP1015", "less than 10 seconds"},
	"kept too short":            {`jwks: {url: "https://id.example.com/keys", every: 1h, keep: 59m}, audiences: [im], homeClaim: home`, "", "DP1015", "keep is shorter"},
	"kept too short by every":   {`jwks: {url: "https://id.example.com/keys", every: 25h}, audiences: [im], homeClaim: home`, "", "DP1015", "keep is shorter"},
	"keys over http":            {`jwks: {url: "http://127.0.0.1/keys"}, audiences: [im], homeClaim: home`, "", "DP4008", "https://"},
	"a password in a url":       {`jwks: {url: "https://a:b@id.example.com/keys"}, audiences: [im], homeClaim: home`, "", "DP4008", "password"},
	"a fragment":                {`jwks: {url: "https://id.example.com/keys#"}, audiences: [im], homeClaim: home`, "", "DP4008", "fragment"},
	"no url":                    {`jwks: {url: "id.example.com/keys"}, audiences: [im], homeClaim: home`, "", "DP4008", "no absolute URL"},
	"a blank in a url":          {`jwks: {url: "https://id.example.com/ keys"}, audiences: [im], homeClaim: home`, "", "DP4008", "no absolute URL"},
	"an inline secret":          {`jwks: {inline: '` + keys(`{"kty":"oct","k":"AAAA"}`) + `'}, audiences: [im], homeClaim: home`, "", "DP4003", "inline is a secret"},
	"an inline private key":     {`jwks: {inline: '` + keys(`{"kty":"OKP","crv":"Ed25519","x":"AA","d":"AA"}`) + `'}, audiences: [im], homeClaim: home`, "", "DP4003", "inline is a secret"},
	"inline, and no keys":       {`jwks: {inline: "{}"}, audiences: [im], homeClaim: home`, "", "DP4002", "inline is no key set"},
	"no audience":               {`jwks: {file: jwks.json}, homeClaim: home`, "", "DP1011", "issuer has no audiences"},
	"claims beside whoami":      {`whoami: {service: message, path: /whoami, member: id}, userClaim: sub`, pins + users, "DP1030", "userClaim says nothing beside whoami"},
	"nameless introspection":    {`introspection: {url: "https://sso.example.com/"}, nameless: true`, pins + users, "DP1030", "nameless says nothing beside introspection"},
	"a user who may be no text": {plain + `, userClaim: uid`, "", "DP2009", "only of the claim sub"},
	"one claim for both":        {plain + `, countryClaim: home`, pins, "DP1030", "claim of homeClaim"},
	"skew":                      {plain + `, skew: 11m`, "", "DP1015", "skew is more than 10 minutes"},
	"introspection over http":   {`introspection: {url: "http://sso.example.com/"}`, pins + users, "DP4008", "https://"},
	"whoami of no service":      {`whoami: {service: mesage, path: /whoami, member: id}`, pins + users, "DP4009", `service "mesage"`},
	"a secret beside the files": {`secret: {file: im.json, regions: [me-riyadh]}, audiences: [im], homeClaim: home`, "", "DP4005", "no absolute path"},
	"a secret that climbs":      {`secret: {file: /etc/../im.json, regions: [me-riyadh]}, audiences: [im], homeClaim: home`, "", "DP4005", "no absolute path"},
	"a secret by another name":  {`secret: {file: /repo/jwks.json, regions: [me-riyadh]}, audiences: [im], homeClaim: home`, "", "DP4005", "as jwks.json"},
	"a secret without regions":  {`secret: {file: /etc/im.json}, audiences: [im], homeClaim: home`, "", "DP1011", "secret has no regions"},

	"a place that is none":      {plain + `, from: [{prefix: "Bearer "}]`, "", "DP1011", "none of header"},
	"two places in one":         {plain + `, from: [{header: token, cookie: token}]`, "", "DP1030", "both header and cookie"},
	"a place twice":             {plain + `, from: [{header: token}, {header: Token}]`, "", "DP1023", "one place twice"},
	"too many places":           {plain + `, from: [{cookie: a}, {cookie: b}, {cookie: c}, {cookie: d}, {cookie: e}, {cookie: f}, {cookie: g}, {cookie: h}, {cookie: i}]`, "", "DP1001", "more than 8"},
	"prefix of a cookie":        {plain + `, from: [{cookie: token, prefix: "a "}]`, "", "DP1030", "prefix says nothing without header"},
	"JSON in a subprotocol":     {plain + `, from: [{subprotocol: "a.", json: token}]`, "", "DP1030", "json says nothing beside subprotocol"},
	"our header":                {plain + `, from: [{header: X-Domicile-Home}]`, "", "DP1019", "is removed"},
	"a header of others":        {plain + `, from: [{header: Cookie}]`, "", "DP1019", "something else"},
	"a header with underscores": {plain + `, from: [{header: x_token}]`, "", "DP1019", "no name of a header"},
	"a header that is none":     {plain + `, from: [{header: "x token"}]`, "", "DP1019", "no name of a header"},
	"a prefix with a comma":     {plain + `, from: [{header: token, prefix: "a,"}]`, "", "DP1019", "cannot stand before"},
	"a cookie that is none":     {plain + `, from: [{cookie: "a;b"}]`, "", "DP1019", "no name of a cookie"},
	"a cookie of ours":          {plain + `, from: [{cookie: "X-Domicile-A"}]`, "", "DP1019", "is removed"},
	"a subprotocol of two":      {plain + `, from: [{subprotocol: "a, b"}]`, "", "DP1019", "cannot stand in a subprotocol"},

	"pins needed":                {silent, users, "DP2009", "no homeClaim"},
	"pins needed for a country":  {plain + `, countryClaim: country`, "", "DP2009", "countryClaim"},
	"pins needed for JSON":       {plain + `, from: [{cookie: v, json: token}]`, "", "DP2009", "json"},
	"pins needed for nameless":   {`secret: {file: /etc/im.json, regions: [me-riyadh]}, nameless: true, homeClaim: home`, "", "DP2009", "nameless"},
	"a home from nowhere":        {silent, pins, "DP2009", "nothing says where"},
	"a home from an address":     {silent, pins + "  geoip: {}", "DP2009", "nothing says where"},
	"Matrix without a directory": {`whoami: {service: message, path: /whoami, member: id}`, pins, "DP2009", "nothing says where"},
	"pins that live too long":    {silent, users + "  pins: {ttl: 11m}", "DP1015", "more than 10 minutes"},
	"pins in our header":         {silent, users + "  pins: {header: x-domicile-pin}", "DP1019", "is removed"},
	"pins in place of the token": {silent, users + "  pins: {header: Authorization}", "DP1030", "beside the token"},
	"a pin where the token is":   {silent + `, from: [{cookie: session}]`, users + "  pins: {cookie: session}", "DP1030", "where pins stand"},
	"pins that nobody gets":      {plain, pins, "DP2008", "issued to nobody"},
	"geoip without pins":         {plain, "  geoip: {trustedHops: 1}", "DP2008", "geoip is asked by nobody"},
	"too many hops":              {silent, pins + users + "  geoip: {trustedHops: 17}", "DP1029", "trustedHops"},

	"redis without addresses":    {silent, pins + "  directory: {kind: redis}", "DP1011", "directory has no addresses"},
	"http without hash":          {silent, pins + `  directory: {kind: http, url: "https://dir.example.com/"}`, "DP4008", "{hash}"},
	"a directory over http":      {silent, pins + `  directory: {kind: http, url: "http://dir.example.com/{hash}"}`, "DP4008", "https://"},
	"a file of redis":            {silent, pins + `  directory: {kind: redis, addresses: ["a:1"], file: users.yaml}`, "DP1030", "file says nothing in a directory of kind redis"},
	"a directory that waits":     {silent, pins + `  directory: {kind: redis, addresses: ["a:1"], timeout: 11s}`, "DP1015", "timeout of the directory"},
	"a timeout in minutes":       {silent, pins + `  directory: {kind: redis, addresses: ["a:1"], timeout: 1m}`, "DP1015", "no time of that kind"},
	"users in the key set":       {plain, "  directory: {kind: static, file: jwks.json}", "DP1030", "part of every bundle"},
	"users in the pin keys":      {plain, "  directory: {kind: static, file: pins.json}", "DP1030", "part of every bundle"},
	"a secret of the directory":  {silent, pins + `  directory: {kind: redis, addresses: ["a:1"], secretFile: redis}`, "DP4005", "directory.secretFile"},
	"a stream of no class":       {plain, "  streams: [{name: mqtt, class: chat, service: message, port: 8883}]", "DP2004", "stream mqtt"},
	"a stream of no service":     {plain, "  streams: [{name: mqtt, class: message, service: mqtt, port: 8883}]", "DP4009", `"mqtt"`},
	"a stream on a gateway port": {plain, "  streams: [{name: mqtt, class: message, service: message, port: 8443}]", "DP1030", "port 8443"},
	"a stream on port 0":         {plain, "  streams: [{name: mqtt, class: message, service: message, port: 0}]", "DP1029", "port is 0"},
	"a stream without a port":    {plain, "  streams: [{name: mqtt, class: message, service: message}]", "DP1011", "stream has no port"},
	"two streams on a port":      {plain, "  streams: [{name: a, class: message, service: message, port: 1}, {name: b, class: message, service: message, port: 1}]", "DP1023", "port 1"},
	"two streams of a name":      {plain, "  streams: [{name: a, class: message, service: message, port: 1}, {name: a, class: message, service: message, port: 2}]", "DP1023", `stream "a"`},
}

func TestRefused(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(refusals)) {
		x := refusals[name]
		_, problems := policy.Parse(deployment(x.issuer, x.spec), nil)
		if len(problems) != 1 || problems[0].Code != x.code || !strings.Contains(problems[0].Message.En, x.says) || problems[0].Fix.IsZero() {
			t.Errorf("%s: want one %s that says %q, got\n%s", name, x.code, x.says, listing(problems))
		}
		for _, p := range problems {
			if p.Message.Zh == p.Message.En || p.Fix.Zh == "" || p.Fix.Zh == p.Fix.En {
				t.Errorf("%s: not in Chinese: %+v", name, p)
			}
		}
	}
}

// TestPinKeys: only public keys that pins are signed with, each kid once.
func TestPinKeys(t *testing.T) {
	for name, x := range map[string]struct{ file, code, says string }{
		"an Ed25519 key":        {keys(fmt.Sprintf(ed25519, "a")), "", ""},
		"one that is coming":    {keys(fmt.Sprintf(ed25519, "a"), fmt.Sprintf(p256, "b")), "", ""},
		"no key":                {keys(), "DP4007", "has 0 keys"},
		"no set":                {`[]`, "DP4002", "no key set"},
		"too many":              {keys(slices.Repeat([]string{fmt.Sprintf(ed25519, "a")}, 9)...), "DP4007", "has 9 keys"},
		"no kid":                {keys(fmt.Sprintf(ed25519, "")), "DP4007", "no kid"},
		"a kid that is no text": {keys(strings.Replace(ed25519, `"%s"`, `1`, 1)), "DP4007", "no kid"},
		"a kid twice":           {keys(fmt.Sprintf(ed25519, "a"), fmt.Sprintf(p256, "a")), "DP1023", `pin key "a"`},
		"RSA":                   {keys(`{"kty":"RSA","kid":"a","n":"AQAB","e":"AQAB"}`), "DP4007", "no public key of"},
		"P-384":                 {keys(strings.Replace(fmt.Sprintf(p256, "a"), "P-256", "P-384", 1)), "DP4007", "no public key of"},
		"no point of the curve": {keys(strings.Replace(fmt.Sprintf(p256, "a"), "f83O", "f83P", 1)), "DP4007", "no public key of"},
		"another algorithm":     {keys(strings.Replace(fmt.Sprintf(p256, "a"), `"kid"`, `"alg":"ES384","kid"`, 1)), "DP4007", "no public key of"},
		"a short key":           {keys(`{"kty":"OKP","crv":"Ed25519","kid":"a","x":"AAAA"}`), "DP4007", "no public key of"},
		"a private key":         {keys(strings.Replace(fmt.Sprintf(ed25519, "a"), `"kid"`, `"d":"AA","kid"`, 1)), "DP4003", "is a secret"},
		"a shared secret":       {keys(`{"kty":"oct","k":"AA","kid":"a"}`), "DP4003", "is a secret"},
	} {
		fsys := deployment(silent, pins+users)
		fsys["pins.json"] = &fstest.MapFile{Data: []byte(x.file)}
		set, problems := policy.Parse(fsys, nil)
		switch {
		case x.code == "":
			if len(problems) > 0 || string(set.Files["pins.json"]) != x.file {
				t.Errorf("%s: in the bundle is %q\n%s", name, set.Files["pins.json"], listing(problems))
			}
		case len(problems) != 1 || problems[0].Code != x.code || !strings.Contains(problems[0].Message.En, x.says):
			t.Errorf("%s: want one %s that says %q, got\n%s", name, x.code, x.says, listing(problems))
		case set.Files["pins.json"] != nil:
			t.Errorf("%s: part of the bundle", name)
		}
	}
}

// TestKidOfTwoRegions: a pin is verified by the keys of the region that issued it.
func TestKidOfTwoRegions(t *testing.T) {
	fsys := deployment(silent, pins+users)
	d := fsys["deployment.yaml"]
	d.Data = []byte(strings.Replace(string(d.Data), "  classes:", "    - {name: eu, country: \"DE\", backends: {message: [\"10.2.1.1:8080\"]}, pins: {jwks: {file: eu.json}}}\n  classes:", 1))
	fsys["eu.json"] = &fstest.MapFile{Data: []byte(keys(fmt.Sprintf(p256, "p")))}
	_, problems := policy.Parse(fsys, nil)
	if len(problems) != 1 || problems[0].Code != "DP1023" || !strings.Contains(problems[0].Why.En, "deployment.yaml:6:") {
		t.Errorf("got\n%s", listing(problems))
	}
	delete(fsys, "eu.json")
	_, problems = policy.Parse(fsys, nil)
	if len(problems) != 1 || problems[0].Code != "DP4006" || problems[0].Severity != policy.Warning {
		t.Errorf("a missing file: got\n%s", listing(problems))
	}
}

// TestSecretsAreNeverRead: neither a secret nor the users are part of a bundle.
func TestSecretsAreNeverRead(t *testing.T) {
	fsys := deployment(`secret: {file: /etc/domicile/im.json, regions: [me-riyadh]}, nameless: true`, pins+users)
	fsys["users.yaml"] = &fstest.MapFile{Data: []byte("a: SA\n")}
	set, problems := policy.Parse(fsys, nil)
	if len(problems) > 0 {
		t.Fatal(listing(problems))
	}
	if got := slices.Sorted(maps.Keys(set.Files)); !slices.Equal(got, []string{"deployment.yaml", "pins.json"}) {
		t.Errorf("in the bundle: %v", got)
	}
}

// TestDefaults: what nothing is said of.
func TestDefaults(t *testing.T) {
	set, _ := policy.Parse(deployment(`jwks: {url: "https://id.example.com/keys"}, audiences: [b, a], from: [{header: Authorization, prefix: 'Bearer '}]`, pins+users), nil)
	d := set.Deployment
	if diff := cmp.Diff(topology.Pins{TTL: 10 * time.Minute, Cookie: "domicile-pin", Header: "domicile-pin"}, d.Pins.Pins); diff != "" {
		t.Error(diff)
	}
	want := topology.Issuer{
		Issuer: "https://id.example.com", Audiences: []string{"a", "b"},
		Remote:  &topology.RemoteKeys{URL: "https://id.example.com/keys", Every: 5 * time.Minute, Keep: 24 * time.Hour},
		Sources: []topology.TokenSource{{Header: "authorization", Prefix: "Bearer "}},
	}
	if diff := cmp.Diff(want, d.Issuers[0].Topology()); diff != "" {
		t.Error(diff)
	}
}

// TestAgreesWithTopology: what the reader says needs an agent, the topology says too.
func TestAgreesWithTopology(t *testing.T) {
	for name, x := range refusals {
		if x.code != "DP2009" && x.code != "DP2008" {
			continue
		}
		set, _ := policy.Parse(deployment(x.issuer, x.spec), nil)
		if asks := set.Deployment.Issuers[0].Topology().AsksAgent(); asks != (x.code == "DP2009") {
			t.Errorf("%s: AsksAgent is %v", name, asks)
		}
	}
}

// FuzzIdentity: no input panics, and what is accepted says how tokens are verified.
func FuzzIdentity(f *testing.F) {
	f.Add(plain, pins+users, keys(fmt.Sprintf(ed25519, "p")))
	for _, x := range refusals {
		f.Add(x.issuer, x.spec, keys(fmt.Sprintf(p256, "p")))
	}
	f.Fuzz(func(t *testing.T, issuer, spec, pinKeys string) {
		fsys := deployment(issuer, spec)
		fsys["pins.json"] = &fstest.MapFile{Data: []byte(pinKeys)}
		set, problems := policy.Parse(fsys, nil)
		for _, p := range problems {
			if p.Code == "DP9001" {
				t.Fatal(listing(problems))
			}
		}
		if policy.HasErrors(problems) {
			return
		}
		for _, i := range set.Deployment.Issuers {
			ways := 0
			for _, has := range []bool{i.JWKSFile != "" || i.JWKS != nil || i.Remote != nil, i.Secret != nil, i.Introspection != nil, i.Whoami != nil} {
				if has {
					ways++
				}
			}
			if ways != 1 {
				t.Errorf("issuer %q is verified in %d ways", i.Issuer, ways)
			}
			if i.Topology().AsksAgent() && set.Deployment.Pins == nil {
				t.Errorf("issuer %q asks the agent, and there are no pins", i.Issuer)
			}
		}
		if p := set.Deployment.Pins; p != nil && (p.TTL <= 0 || p.TTL > 10*time.Minute || strings.HasPrefix(p.Header, "x-domicile-") || p.Header == "" || p.Cookie == "") {
			t.Errorf("pins %+v", p)
		}
	})
}
