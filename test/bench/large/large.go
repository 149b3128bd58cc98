// Package large writes the policy directory of GOALS P17: every country is a
// home, served by one region, and its users may enter in every one, by a transfer.
package large

import (
	"fmt"
	"io/fs"
	"strings"
	"testing/fstest"
	"time"

	"golang.org/x/text/language"

	"github.com/domicile-dev/domicile/policies"
)

// The size of P17. There are 249 countries.
const (
	Homes   = 249
	Regions = 50
)

// Issuer may name every home.
const Issuer = "https://id.example.com"

// Policies writes a policy directory of at most so many homes, and so many
// regions; each home has a file of its own, Jurisdiction, and a rule for each class.
// Its reviews are as of at.
func Policies(homes, regions int, classes []string, at time.Time) fstest.MapFS {
	codes := Countries()
	out := fstest.MapFS{}
	var where, matches, all, rules strings.Builder
	for i, c := range codes[:regions] {
		fmt.Fprintf(&where, "    - {name: region-%d, country: %q, kms: local, gateway: {host: r%d.example.com, peer: \"peer.r%d.example.com:8443\"}, backends: {im: [\"10.%d.1.1:8080\"]}}\n", i, c, i, i, i)
		fmt.Fprintf(&all, "region-%d, ", i)
	}
	for _, c := range classes {
		fmt.Fprintf(&matches, "    - {class: %s, match: {pathPrefix: /v1/%s}, subject: caller, service: im}\n", c, c)
		fmt.Fprintf(&rules, "    %s: {}\n", c)
	}
	codes, places := codes[:min(homes, len(codes))], codes[:regions]
	out["deployment.yaml"] = file(`apiVersion: domicile.dev/v1
kind: Deployment
metadata: {name: bench}
spec:
  regions:
%s  classes:
%s  issuers:
    - {issuer: %q, jwks: {file: jwks.json}, audiences: [im], homeClaim: home, homes: [%s]}
`, where.String(), matches.String(), Issuer, quoted(codes, ""))
	keys, _ := fs.ReadFile(policies.Library(), "jwks.json") // a missing one is a problem that is reported on reading
	out["jwks.json"] = &fstest.MapFile{Data: keys}
	for i, home := range codes {
		out[Jurisdiction(home)] = file(`apiVersion: domicile.dev/v1
kind: Jurisdiction
metadata: {name: %q, owner: bench}
spec:
  law: ["EU"]
  enforcement: enforce
  review: {every: 90d, last: %s}
  defaults:
    serve: [region-%d]
    entry: [%s]
    basis: [chosen]
  classes:
%s  transfers:
    - {id: all, to: [%s], classes: [%s], for: [serve, entry], mechanism: scc, reference: SCC-1, reviewBy: 2099-01-01, until: 2099-01-01}
`, home, at.Format(time.DateOnly), i%regions, strings.TrimSuffix(all.String(), ", "), rules.String(), quoted(places, home), strings.Join(classes, ", "))
	}
	return out
}

// Jurisdiction is the name of a home's file.
func Jurisdiction(home string) string { return "jurisdictions/" + strings.ToLower(home) + ".yaml" }

// Edit replaces the first occurrence of a text in a file, and tells whether there
// was one.
func Edit(files fstest.MapFS, name, old, text string) bool {
	was := string(files[name].Data)
	is := strings.Replace(was, old, text, 1)
	files[name] = &fstest.MapFile{Data: []byte(is)}
	return is != was
}

func file(format string, args ...any) *fstest.MapFile {
	return &fstest.MapFile{Data: fmt.Appendf(nil, format, args...)}
}

func quoted(list []string, but string) string {
	var out []string
	for _, s := range list {
		if s != but {
			out = append(out, fmt.Sprintf("%q", s))
		}
	}
	return strings.Join(out, ", ")
}

// Countries are the codes of ISO 3166-1.
func Countries() []string {
	// Reserved, retired, or left to users.
	const others = "AC AN CP CQ CS DG EA EZ FQ IC NT PC SU TA UN XK YU "
	var out []string
	for a := 'A'; a <= 'Z'; a++ {
		for z := 'A'; z <= 'Z'; z++ {
			code := string([]rune{a, z})
			r, err := language.ParseRegion(code)
			if err == nil && r.IsCountry() && r.String() == code && r.Canonicalize() == r && !strings.Contains(others, code+" ") {
				out = append(out, code)
			}
		}
	}
	return out
}
