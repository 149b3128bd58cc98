package envoy_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/domicile-dev/domicile/pkg/envoy"
	"github.com/domicile-dev/domicile/pkg/identity"
	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/topology"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const jwks = `{"keys":[{"kty":"EC","crv":"P-256","kid":"k","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}`

func spec() residency.Spec {
	all := []string{"eu", "sa", "tr"}
	s := residency.Spec{
		Regions: []residency.Region{{Name: "eu", Country: "DE"}, {Name: "sa", Country: "SA"}, {Name: "tr", Country: "TR"}},
		Routes: []residency.Route{
			{Class: "health", Match: residency.Match{Path: "/healthz"}, Subject: residency.SubjectNone, Service: "message", Serve: all},
			{Class: "login", Match: residency.Match{PathPrefix: "/v1/login"}, Subject: residency.SubjectHost, Service: "message"},
			{Class: "message", Match: residency.Match{PathPrefix: "/v1/messages"}, Subject: residency.SubjectCaller, Service: "message"},
			{Class: "message", Match: residency.Match{Path: "/ws"}, Subject: residency.SubjectCaller, Service: "message", LongLived: true, Carries: []string{"message", "presence"}},
			{Class: "message", Match: residency.Match{GRPCService: "im.Chat"}, Subject: residency.SubjectCaller, Service: "message", LongLived: true},
			{Class: "profile", Match: residency.Match{PathTemplate: "/v1/profiles/{user}", Method: "GET"}, Subject: residency.SubjectUser, Service: "profile"},
		},
		Issuers: []residency.Issuer{{Issuer: "https://id", Homes: []string{"SA", "TR", "QA"}}, {Issuer: "https://de", Homes: []string{"DE"}}},
	}
	for home, serve := range map[string][]string{"SA": {"sa"}, "TR": {"tr", "eu"}, "DE": {"eu"}} {
		for _, c := range []string{"login", "message", "presence", "profile"} {
			r := residency.Rule{Home: home, Class: c, Serve: serve, Entry: all}
			if home == "SA" && c == "profile" {
				r.Entry = []string{"sa"}
			}
			s.Rules = append(s.Rules, r)
		}
	}
	return s
}

func place() *topology.Topology {
	t := &topology.Topology{TrustDomain: "td", Expose: true, Issuers: []topology.Issuer{
		{Issuer: "https://de", Audiences: []string{"im"}, HomeClaim: "home", JWKS: jwks},
		{Issuer: "https://id", Audiences: []string{"im"}, HomeClaim: "home", JWKS: jwks},
	}}
	for i, r := range []string{"eu", "sa", "tr"} {
		n := string(rune('1' + i))
		t.Regions = append(t.Regions, topology.Region{
			Name: r, Country: map[string]string{"eu": "DE", "sa": "SA", "tr": "TR"}[r], Host: r + ".im.example", Peer: "peer." + r + ".example:8443",
			Backends: map[string][]string{"message": {"10." + n + ".0.1:80", "10." + n + ".0.2:80"}, "profile": {"10." + n + ".0.3:80"}},
			Agent:    topology.DefaultAgent, Listen: topology.DefaultListen(),
		})
	}
	return t
}

// pinnedPlace is place with pins, and with issuers whose tokens name no home.
func pinnedPlace() *topology.Topology {
	pinned := place()
	pinned.Pins = &topology.Pins{TTL: 10 * time.Minute, Cookie: topology.PinCookie, Header: topology.PinHeader}
	pinned.Issuers = append(pinned.Issuers,
		topology.Issuer{Issuer: "https://opaque", Whoami: &topology.Whoami{Service: "message", Path: "/whoami", Member: "user_id"}},
		topology.Issuer{Issuer: "https://silent", Audiences: []string{"im"}, JWKS: jwks, Sources: []topology.TokenSource{
			{Header: "authorization", Prefix: "Bearer "}, {Cookie: "session"}, {Query: "token"}, {Subprotocol: "bearer."}, {Query: "v", JSON: "token"},
		}})
	for i := range pinned.Regions {
		pinned.Regions[i].PinKeys = jwks
	}
	return pinned
}

func table(t testing.TB, s residency.Spec) *residency.Table {
	t.Helper()
	out, err := residency.New(s)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func translate(t testing.TB, in envoy.Input) *envoy.Resources {
	t.Helper()
	out, err := envoy.Translate(in)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestRolesOfEnvoys: the control plane admits the roles that Translate makes
// configurations of, and no others.
func TestRolesOfEnvoys(t *testing.T) {
	var got []string
	for _, n := range envoy.Nodes(&topology.Topology{Regions: []topology.Region{{Name: "eu"}}}) {
		got = append(got, n.Role)
	}
	if !slices.Equal(got, identity.Envoys()) {
		t.Errorf("Translate knows %v, identities are %v", got, identity.Envoys())
	}
}

func TestGolden(t *testing.T) {
	for _, n := range []struct {
		envoy.Node
		place *topology.Topology
		file  string
	}{
		{envoy.Node{Region: "eu", Role: envoy.Gateway}, place(), "eu-gateway"},
		{envoy.Node{Region: "sa", Role: envoy.Sidecar}, place(), "sa-sidecar"},
		{envoy.Node{Region: "eu", Role: envoy.Gateway}, pinnedPlace(), "eu-gateway-pins"},
	} {
		t.Run(n.file, func(t *testing.T) {
			res := translate(t, envoy.Input{Table: table(t, spec()), Topology: n.place, Node: n.Node})
			got, err := envoy.Render(res)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", n.file+".json")
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s differs from its golden file; run go test ./pkg/envoy -update and read the diff", file)
			}
		})
	}
}

// versions returns name → version of one type.
func versions(t testing.TB, r *envoy.Resources, url string) map[string]string {
	t.Helper()
	all, err := r.ByType()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, x := range all[url] {
		out[x.Name] = x.Version
	}
	return out
}

// No policy change may alter one byte of a listener on which users' or peers'
// sockets live: Envoy would close them all.
func TestPolicyNeverTouchesASocketListener(t *testing.T) {
	changes := map[string]func(*residency.Spec, *topology.Topology){
		"message of TR forbidden": func(s *residency.Spec, _ *topology.Topology) { forbid(s, "TR", "message") },
		"home moved":              func(s *residency.Spec, _ *topology.Topology) { serve(s, "TR", "eu") },
		"home without rules":      func(s *residency.Spec, _ *topology.Topology) { s.Rules = nil },
		"another class":           func(s *residency.Spec, _ *topology.Topology) { s.Routes = s.Routes[:3] },
		"another issuer":          func(s *residency.Spec, p *topology.Topology) { s.Issuers, p.Issuers = s.Issuers[1:], p.Issuers[:1] },
		"another key": func(_ *residency.Spec, p *topology.Topology) {
			p.Issuers[0].JWKS = strings.Replace(jwks, `"k"`, `"l"`, 1)
		},
		"no key at all": func(_ *residency.Spec, p *topology.Topology) { p.Issuers = nil },
		"another backend": func(_ *residency.Spec, p *topology.Topology) {
			p.Regions[0].Backends["message"] = []string{"10.9.9.9:1"}
		},
		"another service's list":   func(s *residency.Spec, _ *topology.Topology) { serve(s, "SA", "sa", "eu") },
		"no response headers":      func(_ *residency.Spec, p *topology.Topology) { p.Expose = false },
		"another region and peer":  func(_ *residency.Spec, p *topology.Topology) { p.Regions[2].Peer = "elsewhere:1" },
		"another gateway's host":   func(_ *residency.Spec, p *topology.Topology) { p.Regions[1].Host = "other.example" },
		"a session bound in place": func(s *residency.Spec, _ *topology.Topology) { s.Rules[0].MaxAge = 1e9 },
		"another epoch":            func(s *residency.Spec, _ *topology.Topology) { s.Epochs = map[string]uint64{"SA": 1} },
		"another pin key": func(_ *residency.Spec, p *topology.Topology) {
			p.Regions[0].PinKeys = strings.Replace(jwks, `"k"`, `"l"`, 1)
		},
		"other pins' lifetime": func(_ *residency.Spec, p *topology.Topology) {
			if p.Pins != nil {
				p.Pins.TTL = time.Minute
			}
		},
		"tokens in another place": func(_ *residency.Spec, p *topology.Topology) {
			p.Issuers[0].Sources = []topology.TokenSource{{Header: "x-session"}, {Cookie: "im"}}
		},
		"another longest life": func(_ *residency.Spec, p *topology.Topology) { p.Issuers[0].MaxLifetime = time.Hour },
		"a shared secret": func(_ *residency.Spec, p *topology.Topology) {
			p.Issuers[0].Secret = &topology.Secret{File: "/k", Regions: []string{"eu"}}
		},
		"a home under observation": func(s *residency.Spec, p *topology.Topology) {
			s.Observed, p.Today = []string{"QA"}, map[string][]string{"message": {"10.9.0.1:80"}}
		},
	}
	for name, change := range changes {
		for _, base := range []func() *topology.Topology{place, pinnedPlace} {
			s, p := spec(), base()
			change(&s, p)
			for _, n := range envoy.Nodes(base()) {
				before := versions(t, translate(t, envoy.Input{Table: table(t, spec()), Topology: base(), Node: n}), envoy.ListenerType)
				after := versions(t, translate(t, envoy.Input{Table: table(t, s), Topology: p, Node: n}), envoy.ListenerType)
				for _, l := range []string{"gateway", "gateway_tls", "sidecar", "peer", "egress"} {
					if before[l] != after[l] {
						t.Errorf("%s: listener %s of %s changed (pins: %v)", name, l, n, p.Pins != nil)
					}
				}
			}
		}
	}
}

func forbid(s *residency.Spec, home, class string) {
	for i := range s.Rules {
		if s.Rules[i].Home == home && s.Rules[i].Class == class {
			s.Rules[i].Serve = nil
		}
	}
}

func serve(s *residency.Spec, home string, regions ...string) {
	for i := range s.Rules {
		if s.Rules[i].Home == home {
			s.Rules[i].Serve = regions
		}
	}
}

func live(r *envoy.Resources) []string {
	var out []string
	for _, l := range r.Listeners {
		if strings.HasPrefix(l.GetName(), "live/") {
			out = append(out, l.GetName())
		}
	}
	return out
}

// Exactly the internal listeners of what lost its permission, or moved, go away.
func TestOnlyRevokedSessionsLoseTheirListener(t *testing.T) {
	node := envoy.Node{Region: "eu", Role: envoy.Gateway}
	before := live(translate(t, envoy.Input{Table: table(t, spec()), Topology: place(), Node: node}))
	gone := func(name string, change func(*residency.Spec, *topology.Topology)) []string {
		s, p := spec(), place()
		change(&s, p)
		after := live(translate(t, envoy.Input{Table: table(t, s), Topology: p, Node: node}))
		var out []string
		for _, l := range before {
			if !slices.Contains(after, l) {
				out = append(out, l)
			}
		}
		t.Logf("%s closes %v", name, out)
		return out
	}
	only := func(list []string, home string, want int) {
		t.Helper()
		if len(list) != want {
			t.Errorf("%d listeners gone, want %d", len(list), want)
		}
		for _, l := range list {
			if !strings.HasPrefix(l, "live/"+home+"/") {
				t.Errorf("%s is not of home %s", l, home)
			}
		}
	}
	// As an entry towards tr, and as the peer that serves TR when tr is down.
	only(gone("forbidding messages of TR", func(s *residency.Spec, _ *topology.Topology) { forbid(s, "TR", "message") }), "TR", 4)
	only(gone("forbidding presence of TR", func(s *residency.Spec, _ *topology.Topology) { forbid(s, "TR", "presence") }), "TR", 2)
	only(gone("moving SA", func(s *residency.Spec, _ *topology.Topology) { serve(s, "SA", "tr") }), "SA", 2)
	only(gone("a region in another country", func(s *residency.Spec, p *topology.Topology) {
		s.Regions[1].Country, p.Regions[1].Country = "AE", "AE"
	}), "SA", 2)
	only(gone("a longer session", func(s *residency.Spec, _ *topology.Topology) { s.Rules[0].MaxAge = 1e12 }), "-", 0)
	only(gone("classes in another order", func(s *residency.Spec, _ *topology.Topology) {
		s.Routes[3], s.Routes[4] = s.Routes[4], s.Routes[3]
	}), "-", 0)
	only(gone("one backend more", func(_ *residency.Spec, p *topology.Topology) {
		p.Regions[0].Backends["message"] = append(p.Regions[0].Backends["message"], "10.1.0.9:80")
	}), "-", 0)
}

func TestSameMeaningSameBytes(t *testing.T) {
	node := envoy.Node{Region: "eu", Role: envoy.Gateway}
	want := translate(t, envoy.Input{Table: table(t, spec()), Topology: place(), Node: node})
	for range 20 {
		s, p := spec(), place()
		slices.Reverse(s.Rules)
		slices.Reverse(s.Regions)
		slices.Reverse(p.Regions[0].Backends["message"])
		got := translate(t, envoy.Input{Table: table(t, s), Topology: p, Node: node})
		for _, url := range []string{envoy.ClusterType, envoy.ListenerType, envoy.RouteType, envoy.ExtensionType} {
			a, b := versions(t, want, url), versions(t, got, url)
			for name, v := range a {
				if b[name] != v {
					t.Fatalf("%s %s: %s became %s", url, name, v, b[name])
				}
			}
		}
	}
}

// While a roll-out is under way, what is not open yet answers 503, and the
// digest shown is that of the policy on its way.
func TestOpeningAnswersRegionUnavailable(t *testing.T) {
	s := spec()
	serve(&s, "SA", "tr")
	from, to := table(t, spec()), table(t, s)
	mid, err := residency.Meet(from, to)
	if err != nil {
		t.Fatal(err)
	}
	res := translate(t, envoy.Input{Table: mid, Opening: to, Topology: place(), Node: envoy.Node{Region: "eu", Role: envoy.Sidecar}})
	body, err := envoy.Render(res)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(body, []byte(to.Digest())) || bytes.Contains(body, []byte(mid.Digest())) {
		t.Error("the step does not show the digest of its target")
	}
	for _, l := range live(res) {
		if strings.HasPrefix(l, "live/SA/") {
			t.Errorf("%s is open although SA moves", l)
		}
	}
	if !bytes.Contains(body, []byte(`"region-unavailable"`)) {
		t.Error("nothing answers region-unavailable")
	}
}

func TestTranslateRefusesWhatIsNotThere(t *testing.T) {
	for _, n := range []envoy.Node{{Region: "us", Role: envoy.Gateway}, {Region: "eu", Role: "egress"}, {}} {
		if _, err := envoy.Translate(envoy.Input{Table: table(t, spec()), Topology: place(), Node: n}); err == nil {
			t.Errorf("node %s was translated", n)
		}
	}
	p := place()
	p.Regions[0].Backends["message"] = []string{"no-port"}
	if _, err := envoy.Translate(envoy.Input{Table: table(t, spec()), Topology: p, Node: envoy.Node{Region: "eu", Role: envoy.Gateway}}); err == nil {
		t.Error("an address without a port was taken")
	}
}

func TestEverythingValidates(t *testing.T) {
	type validator interface{ ValidateAll() error }
	var seen []envoy.Node // first without pins, then with
	for _, n := range append(envoy.Nodes(place()), envoy.Nodes(place())...) {
		s, p := watched()
		if pins := pinnedPlace(); len(seen) >= len(envoy.Nodes(place())) {
			p.Pins, p.Issuers, p.Regions = pins.Pins, pins.Issuers, pins.Regions
		}
		seen = append(seen, n)
		res := translate(t, envoy.Input{Table: table(t, s), Topology: p, Node: n})
		var all []proto.Message
		for _, x := range res.Listeners {
			all = append(all, x)
		}
		for _, x := range res.Clusters {
			all = append(all, x)
		}
		for _, x := range res.Routes {
			all = append(all, x)
		}
		for _, m := range all {
			if err := m.(validator).ValidateAll(); err != nil {
				t.Errorf("%s: %v", n, err)
			}
		}
	}
}
