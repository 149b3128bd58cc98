package plan

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/domicile-dev/domicile/pkg/residency"
)

var (
	someRegions = []string{"a", "b", "c"}
	someHomes   = []string{"H1", "H2", "H3"}
	someClasses = []string{"m", "p"}
	someFields  = []string{"name", "avatar"}
)

func table(t testing.TB, s residency.Spec) *residency.Table {
	t.Helper()
	out, err := residency.New(s)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// some returns a random part of a list, in random order.
func some(r *rand.Rand, list []string) []string {
	out := slices.Clone(list)
	r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out[:r.IntN(len(out)+1)]
}

// random returns a random policy over three regions, homes and two classes.
func random(r *rand.Rand) residency.Spec {
	s := residency.Spec{ObserveEnds: map[string]time.Time{}, Routes: []residency.Route{
		{Class: "m", Match: residency.Match{PathPrefix: "/m"}, Subject: residency.SubjectCaller, Service: "m"},
		{Class: "p", Match: residency.Match{PathPrefix: "/p"}, Subject: residency.SubjectCaller, Service: "p"},
		{Class: "m", Match: residency.Match{Path: "/ws"}, Subject: residency.SubjectCaller, Service: "m", LongLived: true, Carries: []string{"m", "p"}},
	}}
	for _, name := range someRegions {
		s.Regions = append(s.Regions, residency.Region{Name: name, Country: "C" + name})
	}
	for _, home := range someHomes {
		for _, class := range someClasses {
			if r.IntN(4) == 0 {
				continue
			}
			rule := residency.Rule{Home: home, Class: class, Serve: some(r, someRegions), Entry: some(r, someRegions)}
			if r.IntN(3) == 0 {
				rule.Cache = &residency.Cache{Edges: some(r, someRegions), Fields: some(r, someFields), TTL: time.Duration(1+r.IntN(2)) * time.Minute}
			}
			s.Rules = append(s.Rules, rule)
		}
		if r.IntN(3) == 0 {
			s.Observed = append(s.Observed, home)
			if n := r.IntN(4); n > 0 {
				s.ObserveEnds[home] = time.Unix(int64(n), 0)
			}
		}
		if r.IntN(2) == 0 {
			s.Transfers = append(s.Transfers, residency.Transfer{
				ID: "t", Home: home, To: some(r, []string{"Ca", "Cb", "X"}), Classes: some(r, someClasses), For: some(r, []string{"serve", "deliver"}), Lapsed: r.IntN(4) == 0,
			})
		}
	}
	s.Issuers = []residency.Issuer{{Issuer: "i", Homes: some(r, someHomes)}, {Issuer: "j", Homes: some(r, someHomes)}}
	return s
}

// may enumerates, by asking the table for every set of dead regions, what may
// happen: an independent and naive account of what a table allows.
func may(t *residency.Table, s residency.Spec) map[Change]bool {
	out := map[Change]bool{}
	for _, home := range someHomes {
		for _, class := range someClasses {
			for _, entry := range someRegions {
				for dead := range 1 << len(someRegions) {
					var down []string
					for i, name := range someRegions {
						if dead&(1<<i) != 0 {
							down = append(down, name)
						}
					}
					d := t.Decide(residency.Query{Home: home, Class: class, Entry: entry, Down: down})
					if d.Allowed() {
						out[Change{Kind: Serve, Home: home, Class: class, Entry: entry, After: d.Region}] = true
					}
					if d.Passes() {
						out[Change{Kind: Serve, Home: home, Class: class, Entry: entry, After: today}] = true
					}
				}
			}
			for _, to := range []string{"Ca", "Cb", "Cc", "X"} {
				for _, purpose := range purposes {
					if x, _ := t.Transfer(home, class, to, purpose); x != nil {
						out[Change{Kind: Transfer, Home: home, Class: class, Entry: to, What: purpose}] = true
					}
				}
			}
		}
		for second := int64(1); second < 5 && t.Observed(home); second++ {
			if end := t.ObserveEnd(home); end.IsZero() || end.Unix() >= second {
				out[Change{Kind: Observe, Home: home, After: fmt.Sprint(second)}] = true
			}
		}
		for _, issuer := range []string{"i", "j"} {
			if _, why := t.Home(issuer, home); why == "" {
				out[Change{Kind: Issuer, Home: home, What: issuer}] = true
			}
		}
	}
	for _, r := range s.Rules {
		if r.Cache == nil {
			continue
		}
		for _, edge := range r.Cache.Edges {
			for _, field := range r.Cache.Fields {
				for d := time.Minute; d <= r.Cache.TTL; d += time.Minute {
					out[Change{Kind: Cache, Home: r.Home, Class: r.Class, Entry: edge, What: field, After: d.String()}] = true
				}
			}
		}
	}
	return out
}

// key is a change without what it became.
func key(c Change) Change {
	return Change{Kind: c.Kind, Home: c.Home, Class: c.Class, Entry: c.Entry, What: c.What}
}

// The report agrees with the naive account in every combination: what is gained
// anywhere is loosened there, what is only lost is tightened, and nothing else is.
func TestAgreesWithEnumeration(t *testing.T) {
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 1))
		before, after := random(r), random(r)
		if seed%3 == 0 { // one change only
			after = before
			after.Rules = slices.Clone(before.Rules)
			if len(after.Rules) > 0 {
				after.Rules[r.IntN(len(after.Rules))].Serve = some(r, someRegions)
			}
		}
		a, b := table(t, before), table(t, after)
		was, is := may(a, before), may(b, after)
		gained, lost := map[Change]bool{}, map[Change]bool{}
		for c := range is {
			if !was[c] {
				gained[key(c)] = true
			}
		}
		for c := range was {
			if !is[c] {
				lost[key(c)] = true
			}
		}
		got := map[Change]Effect{}
		for _, c := range Compare(a, b).Changes {
			if c.Kind != Stream {
				got[key(c)] = c.Effect
			}
		}
		for k := range gained {
			if got[k] != Loosens {
				t.Fatalf("seed %d: %+v was gained, and is %q", seed, k, got[k])
			}
		}
		for k := range lost {
			if !gained[k] && got[k] != Tightens {
				t.Fatalf("seed %d: %+v was lost, and is %q", seed, k, got[k])
			}
		}
		for k, e := range got {
			if e == Loosens && !gained[k] || e == Tightens && !lost[k] {
				t.Fatalf("seed %d: %+v %s, and nothing of it changed", seed, k, e)
			}
		}
	}
}

func TestATableAgainstItself(t *testing.T) {
	for seed := range uint64(200) {
		a := table(t, random(rand.New(rand.NewPCG(seed, 2))))
		r := Compare(a, a)
		if len(r.Changes) > 0 || r.Compared == 0 || r.Loosens() {
			t.Fatalf("seed %d: %+v", seed, r)
		}
	}
}

// What loosens one way tightens, or moves, the other way.
func TestTheOtherWayRound(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 3))
		a, b := table(t, random(r)), table(t, random(r))
		there, back := Compare(a, b), Compare(b, a)
		if there.Compared != back.Compared || len(there.Changes) != len(back.Changes) {
			t.Fatalf("seed %d: %d of %d and %d of %d", seed, len(there.Changes), there.Compared, len(back.Changes), back.Compared)
		}
		for i, c := range there.Changes {
			d := back.Changes[i]
			if c.Before != d.After || c.After != d.Before || c.Effect == Tightens && d.Effect != Loosens || c.Effect == Neutral && d.Effect != Neutral {
				t.Fatalf("seed %d: %+v and %+v", seed, c, d)
			}
		}
	}
}

// base is a policy in which each case below changes one thing.
func base() residency.Spec {
	return residency.Spec{
		Regions: []residency.Region{{Name: "ber", Country: "DE"}, {Name: "ist", Country: "TR"}, {Name: "ruh", Country: "SA"}},
		Routes: []residency.Route{
			{Class: "health", Match: residency.Match{Path: "/healthz"}, Subject: residency.SubjectNone, Service: "m", Serve: []string{"ruh"}},
			{Class: "login", Match: residency.Match{PathPrefix: "/login"}, Subject: residency.SubjectHost, Service: "m"},
			{Class: "m", Match: residency.Match{Path: "/ws"}, Subject: residency.SubjectCaller, Service: "m", LongLived: true, Carries: []string{"m", "p"}},
			{Class: "m", Match: residency.Match{PathPrefix: "/m"}, Subject: residency.SubjectCaller, Service: "m"},
			{Class: "p", Match: residency.Match{PathTemplate: "/p/{user}"}, Subject: residency.SubjectUser, Service: "p"},
		},
		Rules: []residency.Rule{
			{Home: "SA", Class: "login", Serve: []string{"ruh"}, Entry: []string{"ruh"}},
			{Home: "SA", Class: "m", Serve: []string{"ruh"}, Entry: []string{"ist", "ruh"}},
			{Home: "SA", Class: "p", Serve: []string{"ruh"}, Entry: []string{"ruh"}, Cache: &residency.Cache{Edges: []string{"ber"}, Fields: []string{"name"}, TTL: time.Minute}},
		},
		Issuers: []residency.Issuer{{Issuer: "i", Homes: []string{"SA"}}},
	}
}

func TestWhatEachChangeDoes(t *testing.T) {
	at := func(s *residency.Spec, i int) *residency.Rule { return &s.Rules[i] }
	for name, c := range map[string]struct {
		change func(*residency.Spec)
		want   []string
	}{
		"nothing":                  {func(*residency.Spec) {}, nil},
		"another order of entries": {func(s *residency.Spec) { at(s, 1).Entry = []string{"ruh", "ist"} }, nil},
		"an entry more": {func(s *residency.Spec) { at(s, 1).Entry = []string{"ber", "ist", "ruh"} }, []string{
			"loosens serve SA m ber : deny entry-not-allowed -> allow ruh",
		}},
		"an entry less": {func(s *residency.Spec) { at(s, 1).Entry = []string{"ruh"} }, []string{
			"tightens serve SA m ist : allow ruh -> deny entry-not-allowed",
		}},
		"failover": {func(s *residency.Spec) { at(s, 1).Serve = []string{"ruh", "ist"} }, []string{
			"loosens serve SA m ist : allow ruh -> allow ruh > ist",
			"loosens serve SA m ruh : allow ruh -> allow ruh > ist",
		}},
		"a rule for a stream's other class": {func(s *residency.Spec) { at(s, 2).Entry = []string{"ist", "ruh"} }, []string{
			"loosens serve SA p ist : deny entry-not-allowed -> allow ruh",
			"loosens stream SA m ist /ws: deny entry-not-allowed -> allow ruh",
		}},
		"a field more": {func(s *residency.Spec) {
			at(s, 2).Cache = &residency.Cache{Edges: []string{"ber"}, Fields: []string{"name", "phone"}, TTL: time.Minute}
		}, []string{
			"loosens cache SA p ber phone: not cached -> cached for 1m",
		}},
		"a shorter copy": {func(s *residency.Spec) {
			at(s, 2).Cache = &residency.Cache{Edges: []string{"ber"}, Fields: []string{"name"}, TTL: time.Second}
		}, []string{
			"tightens cache SA p ber name: cached for 1m -> cached for 1s",
		}},
		"a longer session":    {func(s *residency.Spec) { at(s, 1).MaxAge = time.Hour }, []string{"neutral session SA m  : no bound -> 1h"}},
		"an epoch that rises": {func(s *residency.Spec) { s.Epochs = map[string]uint64{"SA": 2} }, []string{"tightens pins SA   : epoch 0 -> epoch 2"}},
		"a home more for an issuer": {func(s *residency.Spec) { s.Issuers[0].Homes = []string{"SA", "TR"} }, []string{
			"loosens issuer TR   i: deny issuer-not-entitled -> may name it",
		}},
		"a region in another country": {func(s *residency.Spec) { s.Regions[2].Country = "AE" }, []string{
			"loosens serve SA login ruh : allow ruh in SA at ruh in SA -> allow ruh in AE at ruh in AE",
			"loosens serve SA m ist : allow ruh in SA -> allow ruh in AE",
			"loosens serve SA m ruh : allow ruh in SA at ruh in SA -> allow ruh in AE at ruh in AE",
			"loosens serve SA p ruh : allow ruh in SA at ruh in SA -> allow ruh in AE at ruh in AE",
			"loosens stream SA m ruh /ws: allow ruh in SA at ruh in SA -> allow ruh in AE at ruh in AE",
			"loosens host  login ruh host name of ruh: allow ruh in SA at ruh in SA -> allow ruh in AE at ruh in AE",
		}},
		"observation": {func(s *residency.Spec) { s.Observed = []string{"SA"}; s.Rules = s.Rules[:2] }, nil},
	} {
		after := base()
		c.change(&after)
		var got []string
		for _, x := range Compare(table(t, base()), table(t, after)).Changes {
			got = append(got, fmt.Sprintf("%s %s %s %s %s %s: %s -> %s", x.Effect, x.Kind, x.Home, x.Class, x.Entry, x.What, x.Before, x.After))
		}
		if name == "observation" {
			if !slices.Contains(got, "loosens serve SA p ruh : allow ruh -> observe no-rule (today's backend)") {
				t.Errorf("%s: %q", name, got)
			}
			continue
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s:\n%s", name, d)
		}
	}
}

// To be not enforced for longer is to loosen, although nothing passes today that did
// not yesterday.
func TestTheEndOfObservation(t *testing.T) {
	end := time.Date(2027, 2, 24, 0, 0, 0, 0, time.UTC)
	observed := func(ends ...time.Time) *residency.Table {
		s := base()
		for _, e := range ends {
			s.Observed, s.ObserveEnds = []string{"SA"}, map[string]time.Time{"SA": e}
		}
		return table(t, s)
	}
	for _, c := range []struct {
		before, after *residency.Table
		want          string
	}{
		{observed(), observed(), ""},
		{observed(end), observed(end), ""},
		{observed(), observed(end), "loosens SA: enforced -> not enforced until 2027-02-24T00:00:00Z"},
		{observed(end), observed(end.Add(time.Hour)), "loosens SA: not enforced until 2027-02-24T00:00:00Z -> not enforced until 2027-02-24T01:00:00Z"},
		{observed(end), observed(end.Add(-time.Hour)), "tightens SA: not enforced until 2027-02-24T00:00:00Z -> not enforced until 2027-02-23T23:00:00Z"},
		{observed(end), observed(), "tightens SA: not enforced until 2027-02-24T00:00:00Z -> enforced"},
		{nil, observed(end), "loosens SA: enforced -> not enforced until 2027-02-24T00:00:00Z"},
	} {
		got := ""
		for _, x := range Compare(c.before, c.after).Changes {
			if x.Kind == Observe {
				got = fmt.Sprintf("%s %s: %s -> %s", x.Effect, x.Home, x.Before, x.After)
			}
		}
		if got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

// A changed route table moves requests from class to class.
func TestRoutes(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*residency.Spec)
		want   Effect
		path   string
	}{
		"open to everybody": {func(s *residency.Spec) {
			s.Routes[3].Subject, s.Routes[3].Serve = residency.SubjectNone, []string{"ber"}
		}, Loosens, "GET /m"},
		"one region more": {func(s *residency.Spec) { s.Routes[0].Serve = []string{"ruh", "ber"} }, Loosens, "GET /healthz"},
		"gone":            {func(s *residency.Spec) { s.Routes = slices.Delete(s.Routes, 3, 4) }, Tightens, "GET /m/below"},
		"new": {func(s *residency.Spec) {
			s.Routes = append(s.Routes, residency.Route{Class: "m", Match: residency.Match{PathPrefix: "/n"}, Subject: residency.SubjectCaller, Service: "m"})
		}, Loosens, "PATCH /n"},
		"shadowed by one before": {func(s *residency.Spec) {
			s.Routes = slices.Insert(s.Routes, 0, residency.Route{Class: "login", Match: residency.Match{PathPrefix: "/m/below"}, Subject: residency.SubjectCaller, Service: "m"})
		}, Tightens, "GET /m/below"},
		"for one method only": {func(s *residency.Spec) { s.Routes[3].Match.Method = "GET" }, Tightens, "PATCH /m"},
	} {
		after := base()
		c.change(&after)
		found := false
		for _, x := range Compare(table(t, base()), table(t, after)).Changes {
			if x.Kind == Route && x.What == c.path {
				found = true
				if x.Effect != c.want {
					t.Errorf("%s: %+v", name, x)
				}
			}
		}
		if !found {
			t.Errorf("%s: %s is not among the changes", name, c.path)
		}
	}
}

// randomRoutes returns a random route table over few names, so that its routes
// overlap in every way.
func randomRoutes(r *rand.Rand) []residency.Route {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	var out []residency.Route
	for range 1 + r.IntN(4) {
		m := residency.Match{Method: pick("", "", "GET", "PUT"), Host: pick("", "", "h")}
		switch r.IntN(4) {
		case 0:
			m.Path = "/" + pick("a", "b") + pick("", "/a", "/b")
		case 1:
			m.PathPrefix = pick("/", "/a", "/b", "/a/b")
		case 2:
			m.PathTemplate = pick("/{x}", "/{x}/a", "/a/{x}", "/{x}/{y}", "/{x}/{y}/b")
		case 3:
			m.GRPCService = pick("a", "b")
		}
		out = append(out, residency.Route{Class: pick("m", "p"), Match: m, Subject: residency.SubjectCaller, Service: "s"})
	}
	return out
}

// naive is the class that a table of routes gives to a request, by its words.
func naive(routes []residency.Route, q request) string {
	for _, r := range routes {
		m := r.Match
		segments := strings.Split(q.path[1:], "/")
		want := strings.Split(strings.TrimPrefix(m.PathTemplate, "/"), "/")
		fits := m.Path != "" && m.Path == q.path ||
			m.PathPrefix != "" && (m.PathPrefix == "/" || q.path == m.PathPrefix || strings.HasPrefix(q.path, m.PathPrefix+"/")) ||
			m.GRPCService != "" && q.grpc && len(segments) > 1 && segments[0] == m.GRPCService
		if m.PathTemplate != "" && len(want) == len(segments) {
			fits = true
			for i := range want {
				fits = fits && (want[i][0] == '{' && segments[i] != "" || want[i] == segments[i])
			}
		}
		if fits && (m.Method == "" || m.Method == q.method) && (m.Host == "" || m.Host == q.host) {
			return r.Class
		}
	}
	return "none"
}

// Whatever order routes stand in, a request that two tables judge differently is
// found by the samples, if there is one at all.
func TestSamplesTellRouteTablesApart(t *testing.T) {
	var all []request
	paths := []string{"/"}
	for _, a := range []string{"a", "b", "z"} {
		paths = append(paths, "/"+a)
		for _, b := range []string{"a", "b", "z"} {
			paths = append(paths, "/"+a+"/"+b)
			for _, c := range []string{"a", "b", "z"} {
				paths = append(paths, "/"+a+"/"+b+"/"+c, "/"+a+"/"+b+"/"+c+"/z")
			}
		}
	}
	for _, path := range paths {
		for _, method := range []string{"GET", "PUT", "DELETE"} {
			for _, host := range []string{"h", "other"} {
				all = append(all, request{method, host, path, false}, request{method, host, path, true})
			}
		}
	}
	found := 0
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 5))
		before := random(r)
		after := before
		before.Routes, after.Routes = randomRoutes(r), randomRoutes(r)
		if r.IntN(2) == 0 {
			after.Routes = slices.Clone(before.Routes)
			r.Shuffle(len(after.Routes), func(i, j int) { after.Routes[i], after.Routes[j] = after.Routes[j], after.Routes[i] })
		}
		differs := slices.IndexFunc(all, func(q request) bool { return naive(before.Routes, q) != naive(after.Routes, q) })
		changes := 0
		for _, c := range Compare(table(t, before), table(t, after)).Changes {
			if c.Kind == Route {
				changes++
			}
		}
		if differs >= 0 && changes == 0 {
			t.Fatalf("seed %d: %s is judged differently by\n%+v\nand\n%+v", seed, all[differs], before.Routes, after.Routes)
		}
		if differs < 0 && changes > 0 {
			t.Fatalf("seed %d: %d changes between\n%+v\nand\n%+v", seed, changes, before.Routes, after.Routes)
		}
		if differs >= 0 {
			found++
		}
	}
	if found < 500 {
		t.Fatalf("only %d pairs differed", found)
	}
}

func TestNothingBefore(t *testing.T) {
	r := Compare(nil, table(t, base()))
	if !r.Loosens() || r.Count(Tightens) > 0 {
		t.Errorf("%+v", r)
	}
	if r := Compare(nil, nil); len(r.Changes) > 0 {
		t.Errorf("%+v", r)
	}
}

// A later end of a transfer lets data out for longer.
func TestEndsOfTransfers(t *testing.T) {
	until := func(d time.Time) *residency.Table {
		s := base()
		s.Transfers = []residency.Transfer{{ID: "x", Home: "SA", To: []string{"TR"}, Classes: []string{"m"}, For: []string{"entry"}, Mechanism: "scc", Until: d}}
		return table(t, s)
	}
	a, b := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2028, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		before, after time.Time
		want          Effect
	}{{a, b, Loosens}, {b, a, Tightens}, {a, time.Time{}, Loosens}, {time.Time{}, a, Tightens}} {
		r := Compare(until(c.before), until(c.after))
		if len(r.Changes) != 1 || r.Changes[0].Effect != c.want || r.Changes[0].Kind != Transfer {
			t.Errorf("%v to %v: %+v", c.before, c.after, r.Changes)
		}
	}
	if r := Compare(until(a), until(a)); len(r.Changes) > 0 {
		t.Errorf("%+v", r.Changes)
	}
}

// Large tables of which little differs are compared at once.
func BenchmarkCompare(b *testing.B) {
	s := residency.Spec{Routes: base().Routes}
	for i := range 50 {
		s.Regions = append(s.Regions, residency.Region{Name: fmt.Sprintf("r%d", i), Country: fmt.Sprintf("C%d", i)})
	}
	s.Routes[0].Serve = []string{"r0"}
	for h := range 250 {
		home := fmt.Sprintf("H%d", h)
		for _, class := range []string{"login", "m", "p", "q", "r", "s"} {
			s.Rules = append(s.Rules, residency.Rule{Home: home, Class: class, Serve: []string{s.Regions[h%50].Name}, Entry: []string{"r0", "r1", "r2"}})
		}
		s.Transfers = append(s.Transfers, residency.Transfer{ID: "t", Home: home, To: []string{"C1"}, Classes: []string{"m"}, For: []string{"entry"}})
	}
	before := table(b, s)
	s.Rules = slices.Clone(s.Rules)
	s.Rules[7].Entry = []string{"r0"}
	after := table(b, s)
	for b.Loop() {
		if r := Compare(before, after); len(r.Changes) != 4 { // two of the class, two of the stream that carries it
			b.Fatalf("%+v", r.Changes)
		}
	}
}
