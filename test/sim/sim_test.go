// Package sim proves promise 1 by chance: random requests, most of them hostile,
// go to the real Envoys of a running demo, and an oracle that shares no code with
// the product says of each what may happen to it. In the end the backends'
// counters have to be the oracle's, to the request.
package sim_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const workers = 6

// tally is what happened, by the oracle's judgement.
type tally struct {
	places    map[place]int
	outcomes  map[string]int
	disagreed int
	traces    []string
}

// R1. DOMICILE_SIM_REQUESTS sets how many requests (50,000; with -short 10,000),
// DOMICILE_SIM_SEED what they are (1, so that a change and not chance turns a run
// red; make proof draws one), DOMICILE_SIM_POLICIES runs the demo with other
// policies than those that the oracle knows, to see that it notices.
//
// Seen red, with seed 1 and -short: FR served in me-riyadh, and TR's relations
// taken at every entry: 268 and 32 of 10,000 requests disagreed, all of that home,
// and its users' counters (55 and 22) were wrong in the regions that were reached.
func TestR1_RandomRequestsAgainstTheOracle(t *testing.T) {
	total := number(t, "DOMICILE_SIM_REQUESTS", 50_000)
	if testing.Short() {
		total = number(t, "DOMICILE_SIM_REQUESTS", 10_000)
	}
	simulate(t, start(t, os.Getenv("DOMICILE_SIM_POLICIES")), total, number(t, "DOMICILE_SIM_SEED", 1))
}

// R1 with QA under observation: all that is refused to its users for want of a rule
// reaches today's backends, and nothing else does.
//
// Seen red, with seed 1: QA enforced, and an oracle that believed TR to be observed:
// 203 and 179 of 5,000 requests disagreed, in the latter 62 counters were wrong.
func TestR1_UnderObservation(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "policies")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("..", "..", "policies"))); err != nil {
		t.Fatal(err)
	}
	// It says what becomes of QA without a rule.
	if err := os.Remove(filepath.Join(dir, "deployment_test.yaml")); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	deployment := filepath.Join(dir, "deployment.yaml")
	text, err := os.ReadFile(deployment)
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, "  today: {message: [\"10.9.1.1:8080\"], profile: [\"10.9.1.2:8080\"]}\n"...)
	qa := "apiVersion: domicile.dev/v1\nkind: Jurisdiction\nmetadata: {name: \"QA\", owner: test}\nspec:\n  law: [\"QA\"]\n  enforcement: observe\n" +
		"  observeUntil: " + time.Now().AddDate(0, 0, 40).Format(time.DateOnly) + "\n  classes: {login: {serve: []}}\n"
	for name, data := range map[string][]byte{deployment: text, filepath.Join(dir, "jurisdictions", "qa.yaml"): []byte(qa)} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	observed = "QA"
	defer func() { observed = "" }()
	d := start(t, dir)
	if simulate(t, d, number(t, "DOMICILE_SIM_REQUESTS", 50_000)/10, number(t, "DOMICILE_SIM_SEED", 1)); len(d.counted(t)) == 0 {
		t.Error("nothing was counted")
	}
}

// simulate sends total requests, drawn by seed, and compares.
func simulate(t *testing.T, d *demo, total, seed uint64) {
	t.Helper()
	p := mint(t, d.dir)
	if findable {
		p.unsay(t, d.dir)
	}
	before := d.counted(t)
	began := time.Now()
	results := make([]tally, workers)
	var group sync.WaitGroup
	for i := range results {
		n := total / workers
		if uint64(i) < total%workers {
			n++
		}
		group.Go(func() {
			g := &generator{Rand: rand.New(rand.NewPCG(seed, uint64(i))), doors: d.doors(), pool: p, name: strconv.Itoa(i)}
			results[i] = work(g, n)
		})
	}
	group.Wait()
	took := time.Since(began)

	all := tally{places: map[place]int{}, outcomes: map[string]int{}}
	for _, r := range results {
		for k, n := range r.places {
			all.places[k] += n
		}
		for k, n := range r.outcomes {
			all.outcomes[k] += n
		}
		all.disagreed += r.disagreed
		all.traces = append(all.traces, r.traces...)
	}
	for _, trace := range all.traces[:min(10, len(all.traces))] {
		t.Error(trace)
	}
	wrong := compare(t, d.counted(t), before, all.places)
	t.Logf("R1: %d requests in %s, seed %d: %d disagreements, %d counters wrong", total, took.Round(time.Millisecond), seed, all.disagreed, wrong)
	for _, k := range slices.Sorted(maps.Keys(all.outcomes)) {
		t.Logf("%7d %s", all.outcomes[k], k)
	}
	if all.disagreed > 0 {
		t.Errorf("%d of %d requests were not judged as the oracle judges them; repeat with DOMICILE_SIM_SEED=%d", all.disagreed, total, seed)
	}
}

// work sends n requests one after another.
func work(g *generator, n uint64) tally {
	out := tally{places: map[place]int{}, outcomes: map[string]int{}}
	c := newClient()
	defer c.close()
	for range n {
		addr, w := g.next()
		said := judge(w, g.pool)
		a := c.send(addr, w)
		o, err := check(w, a, said)
		name := o.String()
		if err != nil {
			name = "DISAGREEMENT"
			out.disagreed++
			if len(out.traces) < 10 {
				out.traces = append(out.traces, fmt.Sprintf("%v\nto the %s of %s, HTTP/2 %t:\n%.3000s\nanswer: %s\noracle: %s", err, w.role, w.region, w.h2, w.bytes(), a, said))
			}
		}
		if o.class != "" {
			out.places[place{o.region, o.user, o.class}]++
		}
		out.outcomes[name]++
	}
	return out
}

// compare holds the backends' counters against the tally.
func compare(t *testing.T, after, before, tally map[place]int) (wrong int) {
	t.Helper()
	all := map[place]bool{}
	for k := range after {
		all[k] = true
	}
	for k := range tally {
		all[k] = true
	}
	for k := range all {
		if got := after[k] - before[k]; got != tally[k] {
			if wrong++; wrong <= 10 {
				t.Errorf("%s: the backends counted %d, the oracle %d", k, got, tally[k])
			}
		}
	}
	return wrong
}

func number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(strings.ReplaceAll(s, "_", ""), 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// String names an outcome by what matters of it.
func (o outcome) String() string {
	switch {
	case o == outcome{}:
		return "reset"
	case o.region == "":
		return fmt.Sprintf("%d %s", o.status, o.reason)
	}
	return strings.Join(strings.Fields(fmt.Sprintf("%d %s from %s %s", o.status, o.reason, o.region, o.class)), " ")
}
