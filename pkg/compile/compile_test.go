package compile

import (
	"math/rand"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/policy/law"
	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/topology"
)

var (
	now    = time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	ending = time.Date(2027, 11, 24, 0, 0, 0, 0, time.UTC)
)

// line makes a position that a test can recognise.
func line(n int) policy.Pos { return policy.Pos{File: "x.yaml", Line: n, Column: 1} }

func texts(values ...string) []policy.Text {
	out := make([]policy.Text, len(values))
	for i, v := range values {
		out[i] = policy.Text{Value: v, Pos: line(len(v))}
	}
	return out
}

// sample is a deployment of three regions with the homes SA (served at home,
// entered everywhere, profiles cached in Frankfurt) and DE.
func sample() *policy.Set {
	backends := func(net string) map[string][]string {
		return map[string][]string{"message": {net + ".2:1", net + ".1:1"}, "profile": {net + ".1:2"}}
	}
	return &policy.Set{
		Laws: map[string]*law.Law{
			"SA": {
				Code: "SA", Title: "PDPL 2023", TitleZh: "《2023 年个人数据保护法》", Articles: map[string]law.Article{"pdpl-29": {ID: "pdpl-29", Citation: "PDPL Art. 29"}},
				Duty: "conditional", Mechanisms: []string{"adequacy", "scc"}, ReviewBy: ending, Pos: line(1),
			},
			"EU": {Code: "EU", Title: "GDPR", TitleZh: "《通用数据保护条例》", Mechanisms: []string{"adequacy", "scc"}, Adequate: []string{"JP", "LIST"}, ReviewBy: ending, Pos: line(2)},
		},
		Groups: map[string]*law.Group{
			"EEA":  {Name: "EEA", FreeMovement: true, Members: []law.GroupMember{{Code: "DE"}, {Code: "FR"}}, Pos: line(3)},
			"LIST": {Name: "LIST", Members: []law.GroupMember{{Code: "GB", Until: ending.AddDate(4, 0, 0)}}, Pos: line(4)},
		},
		Deployment: &policy.Deployment{
			Name: "test", Pos: line(10),
			Regions: []policy.Region{
				{Name: "me-riyadh", Country: "SA", Host: "sa.example.com", Peer: "peer.sa.example.com:8443", Backends: backends("10.0.1"), Pos: line(11)},
				{Name: "tr-istanbul", Country: "TR", Host: "tr.example.com", Peer: "peer.tr.example.com:8443", Backends: backends("10.0.2"), Pos: line(12)},
				{Name: "eu-frankfurt", Country: "DE", Host: "eu.example.com", Peer: "peer.eu.example.com:8443", Backends: backends("10.0.0"), Pos: line(13)},
			},
			Classes: []policy.ClassRoute{
				{Class: "message", PathPrefix: "/v1/messages", Subject: "caller", Pos: line(21)},
				{Class: "message", Path: "/ws", Subject: "caller", LongLived: true, Carries: texts("message", "presence"), Pos: line(22)},
				{Class: "presence", PathPrefix: "/v1/presence", Subject: "caller", Service: "message", Pos: line(23)},
				{Class: "profile", PathTemplate: "/v1/profiles/{user}", Subject: "path.user", Pos: line(24)},
				{Class: "health", Path: "/healthz", Subject: "none", Service: "message", Serve: texts("me-riyadh", "eu-frankfurt"), Pos: line(25)},
			},
			Issuers: []policy.Issuer{{
				Issuer: "https://id.example.com", JWKS: []byte(`{"keys":[]}`), Audiences: []string{"im"}, HomeClaim: "home",
				Homes: texts("SA", "DE", "QA"), Pos: line(31),
			}},
		},
		Jurisdictions: map[string]*policy.Jurisdiction{
			"SA": {
				Code: "SA", Laws: texts("SA"), ReviewEvery: 90 * 24 * time.Hour, ReviewLast: now, Pos: line(41),
				Rules: map[string]*policy.Rule{
					"message":  saRule("message"),
					"presence": saRule("presence"),
					"profile": {
						Class: "profile", Serve: texts("me-riyadh"), Entry: texts("me-riyadh"), Basis: texts("chosen"), Pos: line(44),
						Cache: &policy.Cache{Edges: texts("eu-frankfurt"), Fields: texts("displayName"), TTL: time.Minute, Pos: line(45)},
					},
				},
				Transfers: []*policy.Transfer{
					{
						ID: "roam", To: texts("EEA", "TR"), Classes: texts("message", "presence"), For: texts("entry"),
						Mechanism: "scc", Reference: "SCC-14", ReviewBy: ending, Until: ending, Pos: line(46),
					},
					{
						ID: "card", To: texts("DE"), Classes: texts("profile"), For: texts("cache"),
						Mechanism: "scc", Reference: "SCC-14", ReviewBy: ending, Until: ending, Pos: line(47),
					},
				},
			},
			"DE": {
				Code: "DE", Laws: texts("EU"), Pos: line(61),
				Rules: map[string]*policy.Rule{
					"message":  {Class: "message", Serve: texts("eu-frankfurt"), Basis: texts("chosen"), Pos: line(62)},
					"presence": {Class: "presence", Serve: texts("eu-frankfurt"), Basis: texts("chosen"), Pos: line(63)},
					"profile":  {Class: "profile", Serve: texts("eu-frankfurt"), Basis: texts("chosen"), Pos: line(64)},
				},
			},
		},
	}
}

func saRule(class string) *policy.Rule {
	return &policy.Rule{
		Class: class, Serve: texts("me-riyadh"), Entry: texts("me-riyadh", "eu-frankfurt", "tr-istanbul"),
		Basis: texts("pdpl-29"), Pos: line(43),
	}
}

func mustCompile(t *testing.T, set *policy.Set, at time.Time) *Result {
	t.Helper()
	r, problems := Compile(set, at)
	if r == nil {
		t.Fatalf("does not compile: %+v", problems)
	}
	return r
}

func TestSampleCompiles(t *testing.T) {
	r, problems := Compile(sample(), now)
	if len(problems) > 0 {
		t.Errorf("problems: %+v", problems)
	}
	if !r.NextBoundary.Equal(ending) {
		t.Errorf("next boundary %s, want %s", r.NextBoundary, ending)
	}
	want := residency.Spec{
		Regions: []residency.Region{{Name: "eu-frankfurt", Country: "DE"}, {Name: "me-riyadh", Country: "SA"}, {Name: "tr-istanbul", Country: "TR"}},
		Routes: []residency.Route{
			{Class: "message", Match: residency.Match{PathPrefix: "/v1/messages"}, Subject: "caller", Service: "message"},
			{Class: "message", Match: residency.Match{Path: "/ws"}, Subject: "caller", Service: "message", LongLived: true, Carries: []string{"message", "presence"}},
			{Class: "presence", Match: residency.Match{PathPrefix: "/v1/presence"}, Subject: "caller", Service: "message"},
			{Class: "profile", Match: residency.Match{PathTemplate: "/v1/profiles/{user}"}, Subject: "path.user", Service: "profile"},
			{Class: "health", Match: residency.Match{Path: "/healthz"}, Subject: "none", Service: "message", Serve: []string{"me-riyadh", "eu-frankfurt"}},
		},
		Issuers: []residency.Issuer{{Issuer: "https://id.example.com", Homes: []string{"DE", "QA", "SA"}}},
		Rules: []residency.Rule{
			{Home: "DE", Class: "message", Serve: []string{"eu-frankfurt"}, Entry: []string{"eu-frankfurt"}},
			{Home: "DE", Class: "presence", Serve: []string{"eu-frankfurt"}, Entry: []string{"eu-frankfurt"}},
			{Home: "DE", Class: "profile", Serve: []string{"eu-frankfurt"}, Entry: []string{"eu-frankfurt"}},
			{Home: "SA", Class: "message", Serve: []string{"me-riyadh"}, Entry: []string{"eu-frankfurt", "me-riyadh", "tr-istanbul"}},
			{Home: "SA", Class: "presence", Serve: []string{"me-riyadh"}, Entry: []string{"eu-frankfurt", "me-riyadh", "tr-istanbul"}},
			{
				Home: "SA", Class: "profile", Serve: []string{"me-riyadh"}, Entry: []string{"me-riyadh"},
				Cache: &residency.Cache{Edges: []string{"eu-frankfurt"}, Fields: []string{"displayName"}, TTL: time.Minute},
			},
		},
		Transfers: []residency.Transfer{
			{ID: "card", Home: "SA", To: []string{"DE"}, Classes: []string{"profile"}, For: []string{"cache"}, Mechanism: "scc", Reference: "SCC-14", Until: ending},
			{ID: "roam", Home: "SA", To: []string{"DE", "FR", "TR"}, Classes: []string{"message", "presence"}, For: []string{"entry"}, Mechanism: "scc", Reference: "SCC-14", Until: ending},
		},
	}
	if d := cmp.Diff(want, r.Table.Spec()); d != "" {
		t.Error(d)
	}
	if got := r.Places[[2]string{"SA", "message"}]; got != line(43) {
		t.Errorf("place of SA, message: %+v", got)
	}
	wantRegion := topology.Region{
		Name: "eu-frankfurt", Country: "DE", Host: "eu.example.com", Peer: "peer.eu.example.com:8443",
		Backends: map[string][]string{"message": {"10.0.0.1:1", "10.0.0.2:1"}, "profile": {"10.0.0.1:2"}},
		Agent:    topology.DefaultAgent, Listen: topology.DefaultListen(),
	}
	if d := cmp.Diff(wantRegion, r.Topology.Regions[0]); d != "" {
		t.Error(d)
	}
	wantIssuers := []topology.Issuer{{Issuer: "https://id.example.com", Audiences: []string{"im"}, HomeClaim: "home", JWKS: `{"keys":[]}`}}
	if d := cmp.Diff(wantIssuers, r.Topology.Issuers); d != "" {
		t.Error(d)
	}
	if r.Topology.TrustDomain != topology.TrustDomain || r.Topology.Expose {
		t.Errorf("trust domain %q, expose %v", r.Topology.TrustDomain, r.Topology.Expose)
	}
}

// TestDigestIgnoresOrder shuffles everything whose order has no meaning.
func TestDigestIgnoresOrder(t *testing.T) {
	want := mustCompile(t, sample(), now)
	rnd := rand.New(rand.NewSource(1))
	for range 200 {
		s := sample()
		shuffle(rnd, s.Deployment.Regions)
		shuffle(rnd, s.Groups["EEA"].Members)
		shuffle(rnd, s.Deployment.Issuers[0].Homes)
		for _, r := range s.Deployment.Regions {
			shuffle(rnd, r.Backends["message"])
		}
		for _, j := range s.Jurisdictions {
			shuffle(rnd, j.Transfers)
			for _, x := range j.Transfers {
				shuffle(rnd, x.To)
				shuffle(rnd, x.Classes)
				x.To = append(x.To, x.To[0])
			}
			for _, r := range j.Rules {
				shuffle(rnd, r.Entry)
				r.Serve = append(r.Serve, r.Serve[0])
			}
		}
		got := mustCompile(t, s, now)
		if got.Table.Digest() != want.Table.Digest() {
			t.Fatal(cmp.Diff(want.Table.Spec(), got.Table.Spec()))
		}
		if d := cmp.Diff(want.Topology, got.Topology); d != "" {
			t.Fatal(d)
		}
	}
}

func shuffle[T any](rnd *rand.Rand, list []T) {
	rnd.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
}

// TestFailoverOrderIsMeaning guards the test above from passing for nothing.
func TestFailoverOrderIsMeaning(t *testing.T) {
	digest := func(serve ...string) string {
		s := sample()
		s.Deployment.Regions[1].Country = "FR"
		s.Jurisdictions["DE"].Rules["message"].Serve = texts(serve...)
		return mustCompile(t, s, now).Table.Digest()
	}
	if digest("eu-frankfurt", "tr-istanbul") == digest("tr-istanbul", "eu-frankfurt") {
		t.Error("the order of serving regions does not change the digest")
	}
}

func codes(problems []policy.Problem) []string {
	var out []string
	for _, p := range problems {
		out = append(out, p.Code)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func find(problems []policy.Problem, code string) (policy.Problem, bool) {
	i := slices.IndexFunc(problems, func(p policy.Problem) bool { return p.Code == code })
	if i < 0 {
		return policy.Problem{}, false
	}
	return problems[i], true
}

func says(p policy.Problem, words ...string) bool {
	all := strings.Join([]string{p.Message.En, p.Why.En, p.Law, p.Fix.En}, " | ")
	return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(all, w) })
}
