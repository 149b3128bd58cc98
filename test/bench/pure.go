package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/text/language"

	"github.com/domicile-dev/domicile/pkg/envoy"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/release"
	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/policies"

	"github.com/domicile-dev/domicile/test/bench/figures"
)

// The policy of P16 and P17.
const (
	manyHomes   = 250
	manyRegions = 50
	// buildTime is after which no further round of P17 begins.
	buildTime = time.Minute
)

// decide measures P16: one decision in Go.
func (b *bench) decide(ctx context.Context) error {
	t, err := table(manyHomes)
	if err != nil {
		return err
	}
	queries := make([]residency.Query, 4096)
	for i := range queries {
		queries[i] = residency.Query{
			Home: homeName(i * 7 % manyHomes), Class: classNames[i%len(classNames)], Entry: []string{here, elsewhere}[i/2%2],
		}
	}
	var ns, allocations figures.Series
	for range b.rounds {
		if err := ctx.Err(); err != nil {
			return err
		}
		refused := false
		r := testing.Benchmark(func(tb *testing.B) {
			tb.ReportAllocs()
			for i := 0; tb.Loop(); i++ {
				refused = refused || !t.Decide(queries[i%len(queries)]).Allowed()
			}
		})
		if refused || r.N == 0 {
			return errors.New("a decision that the table allows was refused")
		}
		ns = append(ns, float64(r.T.Nanoseconds())/float64(r.N))
		allocations = append(allocations, float64(r.AllocsPerOp()))
	}
	b.report.Add("P16", "one decision in Go, 250 homes × 6 classes", "ns", ns, figures.AtMost(200))
	b.report.Add("P16", "allocations of one decision", "", allocations, figures.AtMost(0))
	return nil
}

// build measures P17: release.Build reads, compiles, translates for every node
// and checks every node's configuration for leaks.
func (b *bench) build(ctx context.Context) error {
	files, at := manyPolicies(), time.Now()
	var cold, changed, read, translate figures.Series
	began := time.Now()
	for len(cold) < b.rounds && time.Since(began) < buildTime {
		if err := ctx.Err(); err != nil {
			return err
		}
		took, r, err := buildOnce(files, at)
		if err != nil {
			return err
		}
		cold = append(cold, took)
		translating := time.Now()
		for _, n := range envoy.Nodes(r.Topology) {
			if _, err := envoy.Translate(envoy.Input{Table: r.Table, Topology: r.Topology, Node: n}); err != nil {
				return err
			}
		}
		translate = append(translate, time.Since(translating).Seconds())
		reading := time.Now()
		if _, problems := policy.Parse(files, policies.Shipped()); policy.HasErrors(problems) {
			return fmt.Errorf("read: %s", problems[0].Message)
		}
		read = append(read, time.Since(reading).Seconds())
		for name, f := range files { // any one
			if text := strings.Replace(string(f.Data), "media: {}", "media: {serve: []}", 1); text != string(f.Data) {
				files[name] = &fstest.MapFile{Data: []byte(text)}
				break
			}
		}
		if took, _, err = buildOnce(files, at); err != nil {
			return err
		}
		changed = append(changed, took*1000)
	}
	b.report.Add("P17", fmt.Sprintf("%d homes × %d regions × %d classes, all nodes: read, compile, translate, leak check",
		min(manyHomes, len(countries())), manyRegions, len(classNames)), "s", cold, figures.AtMost(1))
	b.report.Add("P17", "of that: read the files", "s", read, nil)
	b.report.Add("P17", "of that: translate for every node", "s", translate, nil)
	b.report.Add("P17", "the same after one file has changed", "ms", changed, figures.AtMost(100))
	return nil
}

func buildOnce(files fs.FS, at time.Time) (seconds float64, r *release.Release, err error) {
	began := time.Now()
	r = release.Build(release.Input{FS: files, At: at})
	took := time.Since(began).Seconds()
	for _, p := range r.Problems {
		if p.Severity == policy.Error {
			return 0, nil, fmt.Errorf("%s:%d: %s", p.Pos.File, p.Pos.Line, p.Message)
		}
	}
	if !r.Publishable() {
		return 0, nil, fmt.Errorf("the synthetic policy has %d leaks, the first: %v", len(r.Leaks), r.Leaks[0])
	}
	return took, r, nil
}

// manyPolicies writes a policy directory: every home is served by one region and
// may enter in every one, by a transfer.
func manyPolicies() fstest.MapFS {
	codes := countries()
	out := fstest.MapFS{}
	file := func(name, format string, args ...any) {
		out[name] = &fstest.MapFile{Data: []byte(fmt.Sprintf(format, args...))}
	}
	homes := codes[:min(manyHomes, len(codes))]
	var regions, classes, all, rules strings.Builder
	for i, c := range codes[:manyRegions] {
		fmt.Fprintf(&regions, "    - {name: region-%d, country: %q, kms: local, gateway: {host: r%d.example.com, peer: \"peer.r%d.example.com:8443\"}, backends: {im: [\"10.%d.1.1:8080\"]}}\n", i, c, i, i, i)
		fmt.Fprintf(&all, "region-%d, ", i)
	}
	names := strings.Join(classNames, ", ")
	for _, c := range classNames {
		fmt.Fprintf(&classes, "    - {class: %s, match: {pathPrefix: /v1/%s}, subject: caller, service: im}\n", c, c)
		fmt.Fprintf(&rules, "    %s: {}\n", c)
	}
	file("deployment.yaml", `apiVersion: domicile.dev/v1
kind: Deployment
metadata: {name: bench}
spec:
  regions:
%s  classes:
%s  issuers:
    - {issuer: %q, jwks: {file: jwks.json}, audiences: [im], homeClaim: home, homes: [%s]}
`, regions.String(), classes.String(), issuer, quoted(homes))
	keys, _ := fs.ReadFile(policies.Library(), "jwks.json") // a missing one is a problem that Build reports
	out["jwks.json"] = &fstest.MapFile{Data: keys}
	for i, home := range homes {
		file("jurisdictions/"+strings.ToLower(home)+".yaml", `apiVersion: domicile.dev/v1
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
`, home, time.Now().Format(time.DateOnly), i%manyRegions, strings.TrimSuffix(all.String(), ", "), rules.String(), quoted(without(codes[:manyRegions], home)), names)
	}
	return out
}

func without(list []string, x string) []string {
	var out []string
	for _, s := range list {
		if s != x {
			out = append(out, s)
		}
	}
	return out
}

func quoted(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = fmt.Sprintf("%q", s)
	}
	return strings.Join(out, ", ")
}

// countries are the 249 codes of ISO 3166-1.
func countries() []string {
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
