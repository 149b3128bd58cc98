package main

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/release"
	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/policies"

	"github.com/domicile-dev/domicile/test/bench/figures"
	"github.com/domicile-dev/domicile/test/bench/large"
)

const (
	manyHomes = 250 // of P16
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
// and checks every node's configuration for leaks. Cold is without any memory;
// changed is by a control plane that has built the files before, of which one home's
// is now another.
func (b *bench) build(ctx context.Context) error {
	at := time.Now()
	files := large.Policies(large.Homes, large.Regions, classNames, at)
	var cold, changed, read figures.Series
	memory, trees := new(release.Memory), new(policy.Trees)
	_, last, err := buildOnce(release.Input{FS: files, At: at, Memory: memory, Trees: trees})
	if err != nil {
		return err
	}
	began := time.Now()
	for homes := large.Countries(); len(cold) < b.rounds && time.Since(began) < buildTime; homes = homes[1:] {
		if err := ctx.Err(); err != nil {
			return err
		}
		took, _, err := buildOnce(release.Input{FS: files, At: at})
		if err != nil {
			return err
		}
		cold = append(cold, took)
		reading := time.Now()
		if _, problems := policy.Parse(files, policies.Shipped()); policy.HasErrors(problems) {
			return fmt.Errorf("read: %s", problems[0].Message)
		}
		read = append(read, time.Since(reading).Seconds())
		if !large.Edit(files, large.Jurisdiction(homes[0]), "media: {}", "media: {serve: []}") {
			return fmt.Errorf("the file of %s does not change", homes[0])
		}
		if took, last, err = buildOnce(release.Input{FS: files, At: at, Memory: memory, Trees: trees, Last: last}); err != nil {
			return err
		}
		if last.Unchanged {
			return fmt.Errorf("the change to %s changed nothing", homes[0])
		}
		changed = append(changed, took*1000)
	}
	b.report.Add("P17", fmt.Sprintf("%d homes × %d regions × %d classes, all nodes: read, compile, translate, leak check",
		large.Homes, large.Regions, len(classNames)), "s", cold, figures.AtMost(1))
	b.report.Add("P17", "of that: read the files", "s", read, nil)
	b.report.Add("P17", "the same after one file has changed, with memory", "ms", changed, figures.AtMost(100))
	return nil
}

func buildOnce(in release.Input) (seconds float64, r *release.Release, err error) {
	began := time.Now()
	r = release.Build(in)
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
