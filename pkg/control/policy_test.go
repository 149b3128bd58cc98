package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/domicile-dev/domicile/pkg/bundle"
	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/leakcheck"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/xds"
)

// The loop is tested on policies in a language of four lines, so that a test
// can ask for each way in which a policy goes wrong; package release has tests
// of its own, and TestRealPolicies runs both together.
//
//	serve HOME REGION…        the home's messages are served there
//	until HOME TIME           at that instant its transfer lapses
//	observe HOME TIME         its refusals pass until that instant
//	error TEXT | leak | panic what the compiler is to do
//
// Regions "eu" and "sa" exist, and whatever "region NAME" adds.

func bundleOf(t testing.TB, lines ...string) *bundle.Bundle {
	t.Helper()
	b, err := bundle.New(map[string][]byte{"policy.txt": []byte(strings.Join(lines, "\n"))})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func buildText(_ context.Context, b *bundle.Bundle, at time.Time, strict bool) (*compiled, *Refusal) {
	text, err := fs.ReadFile(b.FS(), "policy.txt")
	if err != nil {
		return nil, &Refusal{Error: err.Error()}
	}
	spec := residency.Spec{
		Regions:     []residency.Region{{Name: "eu", Country: "DE"}, {Name: "sa", Country: "SA"}},
		ObserveEnds: map[string]time.Time{},
		Routes:      []residency.Route{{Class: "message", Match: residency.Match{PathPrefix: "/v1/messages"}, Subject: residency.SubjectCaller, Service: "message"}},
	}
	until := map[string]time.Time{}
	for line := range strings.Lines(string(text)) {
		w := strings.Fields(line)
		switch w[0] {
		case "serve":
			spec.Rules = append(spec.Rules, residency.Rule{Home: w[1], Class: "message", Serve: w[2:], Entry: []string{"eu", "sa"}})
		case "until", "observe":
			t, err := time.Parse(time.RFC3339, w[2])
			switch {
			case err != nil:
				return nil, &Refusal{Error: err.Error()}
			case w[0] == "until":
				until[w[1]] = t
			case at.Before(t):
				spec.Observed, spec.ObserveEnds[w[1]] = append(spec.Observed, w[1]), t
			}
		case "region":
			spec.Regions = append(spec.Regions, residency.Region{Name: w[1], Country: "FR"})
		case "error":
			return nil, &Refusal{Problems: []policy.Problem{{Code: "DP2000", Severity: policy.Error, Message: lang.Same(strings.Join(w[1:], " "))}}}
		case "leak":
			return nil, &Refusal{Leaks: []leakcheck.Finding{{Message: "leak"}}}
		case "panic":
			panic("the test asked for it")
		}
	}
	var next time.Time
	for i, r := range spec.Rules {
		switch u := until[r.Home]; {
		case u.IsZero():
		case !at.Before(u) && strict:
			return nil, &Refusal{Problems: []policy.Problem{{Code: "DP3000", Severity: policy.Error, Message: lang.Same("lapsed")}}}
		case !at.Before(u):
			spec.Rules[i].Serve, spec.Rules[i].LapsedServe = nil, r.Serve
		case next.IsZero() || u.Before(next):
			next = u
		}
	}
	for _, end := range spec.ObserveEnds {
		if next.IsZero() || end.Before(next) {
			next = end
		}
	}
	table, err := residency.New(spec)
	if err != nil {
		return nil, &Refusal{Error: err.Error()}
	}
	p := &compiled{table: table, next: next, final: map[xds.Group]*xds.Snapshot{}}
	for _, r := range spec.Regions {
		p.final[gateway(r.Name)] = snapshotOf(table)
	}
	p.step = func(_ xds.Group, meet *residency.Table) (*xds.Snapshot, error) { return snapshotOf(meet), nil }
	return p, nil
}

func gateway(region string) xds.Group { return xds.Group{Region: region, Role: "gateway"} }

func snapshotOf(t *residency.Table) *xds.Snapshot {
	return &xds.Snapshot{Table: t.Digest(), Resources: map[string][]xds.Resource{
		xds.RouteType: {{Name: "gateway", Version: t.Digest(), Body: &anypb.Any{}}},
	}}
}

func tableOf(t testing.TB, at time.Time, lines ...string) *residency.Table {
	t.Helper()
	p, why := buildText(t.Context(), bundleOf(t, lines...), at, false)
	if why != nil {
		t.Fatal(why)
	}
	return p.table
}

var errTest = errors.New("the test asked for it")

func TestPolicyTextIsRead(t *testing.T) {
	table := tableOf(t, time.Unix(0, 0), "serve SA sa", "serve DE eu sa")
	if d := table.Decide(residency.Query{Home: "SA", Class: "message", Entry: "eu"}); d.Region != "sa" {
		t.Errorf("SA: %+v", d)
	}
	if _, why := buildText(t.Context(), bundleOf(t, "error no"), time.Unix(0, 0), false); why == nil || len(why.Problems) != 1 {
		t.Errorf("error: %v", fmt.Sprint(why))
	}
}
