package approval

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/policy/identity"
	"github.com/domicile-dev/domicile/pkg/topology"
)

var statement = Statement{
	Deployment: "demo", Action: Apply, Sequence: 7, Previous: "sha256:" + strings.Repeat("a", 64), Bundle: "sha256:" + strings.Repeat("b", 64),
	Message: "why", GitCommit: "c0ffee", At: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC),
}

func newKey(t testing.TB) *Key {
	t.Helper()
	k, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func p256(t *testing.T) *Key {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k, err := keyOf(private)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func sign(t testing.TB, envelope []byte, s Statement, k *Key) []byte {
	t.Helper()
	out, err := Sign(context.Background(), envelope, s, k)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func names(approvals []Approval) (out []string) {
	for _, a := range approvals {
		out = append(out, a.Signer)
	}
	return out
}

func TestSignAndVerify(t *testing.T) {
	kim, lee, stranger := newKey(t), p256(t), newKey(t)
	signers := []policy.Signer{{Name: "lee", Key: lee.public, Roles: []string{"compliance"}}, {Name: "kim", Key: kim.public, Roles: []string{"author"}}, {Name: "max", Key: newKey(t).public}}
	envelope := sign(t, nil, statement, kim)
	envelope = sign(t, envelope, statement, stranger)
	envelope = sign(t, envelope, statement, lee)
	envelope = sign(t, envelope, statement, kim) // twice is once
	s, who, err := Verify(t.Context(), envelope, signers)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(statement, s); d != "" {
		t.Error(d)
	}
	if !slices.Equal(names(who), []string{"kim", "lee"}) {
		t.Errorf("signed by %v", who)
	}
	if s, who, err := Verify(t.Context(), envelope, nil); err != nil || len(who) > 0 || s.Sequence != 7 {
		t.Errorf("nobody counts: %v %v %v", s, who, err)
	}
	other := statement
	other.Sequence++
	if _, err := Sign(t.Context(), envelope, other, kim); !errors.Is(err, ErrOther) {
		t.Errorf("another change: %v", err)
	}
}

func TestKeysComeBack(t *testing.T) {
	for _, k := range []*Key{newKey(t), p256(t)} {
		data, err := k.PEM()
		if err != nil {
			t.Fatal(err)
		}
		back, err := ReadKey(data)
		if err != nil || back.Public() != k.Public() {
			t.Errorf("%v", err)
		}
		der, err := base64.StdEncoding.DecodeString(k.Public())
		if err != nil {
			t.Fatal(err)
		}
		if s, ok := back.Signer([]policy.Signer{{Name: "x"}, {Name: "kim", Key: der}}); !ok || s.Name != "kim" {
			t.Errorf("signer %v", s)
		}
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keyOf(p384); err == nil {
		t.Error("P-384 was taken")
	}
	for _, bad := range []string{"", "x", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"} {
		if _, err := ReadKey([]byte(bad)); err == nil || strings.Contains(err.Error(), "AAAA") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// T18: every flipped bit of an envelope, and everything cut off or added, leaves
// nobody's approval of anything else than what was signed.
func TestT18SpoiledEnvelopes(t *testing.T) {
	kim := newKey(t)
	signers := []policy.Signer{{Name: "kim", Key: kim.public, Roles: []string{"author"}}}
	good := sign(t, nil, statement, kim)
	harmless := func(spoiled []byte) {
		t.Helper()
		s, who, err := Verify(t.Context(), spoiled, signers)
		if err == nil && len(who) > 0 && s != statement {
			t.Fatalf("approved: %+v by %v", s, who)
		}
	}
	for i := range good {
		for bit := range 8 {
			spoiled := bytes.Clone(good)
			spoiled[i] ^= 1 << bit
			harmless(spoiled)
		}
		harmless(good[:i])
	}
	for _, more := range []string{"x", "{}", "}trailing", "]", "\x00"} {
		if _, who, err := Verify(t.Context(), append(bytes.Clone(good), more...), signers); err == nil && len(who) > 0 {
			t.Errorf("something follows: %q", more)
		}
	}
	// A signature over another payload, or by a key under another's id.
	var e map[string]any
	if err := json.Unmarshal(good, &e); err != nil {
		t.Fatal(err)
	}
	other := statement
	other.Bundle = "sha256:" + strings.Repeat("c", 64)
	var stolen map[string]any
	if err := json.Unmarshal(sign(t, nil, other, newKey(t)), &stolen); err != nil {
		t.Fatal(err)
	}
	stolen["signatures"] = e["signatures"]
	swapped, err := json.Marshal(stolen)
	if err != nil {
		t.Fatal(err)
	}
	if _, who, _ := Verify(t.Context(), swapped, signers); len(who) > 0 {
		t.Error("a signature was moved to another statement")
	}
	if _, _, err := Verify(t.Context(), bytes.Repeat([]byte(" "), MaxEnvelope+1), signers); err == nil {
		t.Error("a huge envelope was read")
	}
}

func TestNeededAndMissing(t *testing.T) {
	d := &policy.Deployment{
		Signers:   []policy.Signer{{Name: "kim"}},
		Approvals: map[string][]string{"apply": {"author"}, "loosen": {"author", "compliance"}, "emergencyDeny": {"oncall", "compliance"}},
	}
	by := func(roles ...string) Approval { return Approval{Signer: strings.Join(roles, "+"), Roles: roles} }
	for name, c := range map[string]struct {
		d       *policy.Deployment
		action  Action
		loosens bool
		by      []Approval
		missing int
	}{
		"no signers":                      {&policy.Deployment{Approvals: d.Approvals}, Apply, true, nil, 0},
		"signers, and no roles asked for": {&policy.Deployment{Signers: []policy.Signer{{Name: "kim", Roles: []string{"author"}}}}, Apply, true, nil, 1},
		"any of them":                     {&policy.Deployment{Signers: []policy.Signer{{Name: "kim", Roles: []string{"author"}}}}, Apply, true, []Approval{by("author")}, 0},
		"nobody signed":                   {d, Apply, false, nil, 1},
		"the author":                      {d, Apply, false, []Approval{by("author")}, 0},
		"the author alone":                {d, Apply, true, []Approval{by("author")}, 1},
		"two":                             {d, Apply, true, []Approval{by("author"), by("compliance")}, 0},
		"one with both roles":             {d, Apply, true, []Approval{by("author", "compliance")}, 1},
		"both have both":                  {d, Rollback, true, []Approval{by("author", "compliance"), by("author", "compliance")}, 0},
		"needs a swap":                    {d, Apply, true, []Approval{by("author", "compliance"), by("author")}, 0},
		"brake":                           {d, Deny, false, []Approval{by("oncall")}, 0},
		"brake by another":                {d, Deny, false, []Approval{by("compliance")}, 0},
		"brake by the author":             {d, Deny, false, []Approval{by("author")}, 1},
		"brake that loosens":              {d, Deny, true, []Approval{by("oncall")}, 2},
		"a role that is not asked":        {d, Apply, false, []Approval{by("oncall")}, 1},
	} {
		if got := Missing(Needed(c.d, c.action, c.loosens), c.by); len(got) != c.missing {
			t.Errorf("%s: missing %v", name, got)
		}
	}
}

func TestGoverned(t *testing.T) {
	base := func() *policy.Deployment {
		return &policy.Deployment{Signers: []policy.Signer{{Name: "kim", Key: []byte("k"), Roles: []string{"a", "b"}}}, Approvals: map[string][]string{"loosen": {"a", "b"}}}
	}
	same := base()
	same.Approvals["loosen"] = []string{"b", "a"}
	if !Governed(base(), same) || !Governed(nil, nil) || Governed(nil, same) {
		t.Error("order has no meaning, and nothing is not something")
	}
	for name, change := range map[string]func(*policy.Deployment){
		"a signer more": func(d *policy.Deployment) { d.Signers = append(d.Signers, policy.Signer{Name: "lee"}) },
		"none":          func(d *policy.Deployment) { d.Signers = nil },
		"another key":   func(d *policy.Deployment) { d.Signers[0].Key = []byte("x") },
		"a role more":   func(d *policy.Deployment) { d.Signers[0].Roles = []string{"a", "b", "c"} },
		"roles":         func(d *policy.Deployment) { d.Approvals["loosen"] = []string{"a"} },
		"no roles":      func(d *policy.Deployment) { delete(d.Approvals, "loosen") },
		"waivers":       func(d *policy.Deployment) { d.AllowWaivers = true },
	} {
		d := base()
		change(d)
		if Governed(base(), d) {
			t.Errorf("%s was not noticed", name)
		}
	}
}

func TestWidens(t *testing.T) {
	base := func() *policy.Deployment {
		return &policy.Deployment{
			Regions: []policy.Region{{Name: "r", Peer: "p:1", Backends: map[string][]string{"m": {"a:1"}}, PinKeys: identity.PinKeys{File: "r.json", JWKS: []byte("{}")}}},
			Issuers: []policy.Issuer{{Issuer: "i", JWKS: []byte("{}"), Audiences: []string{"im", "web"}, HomeClaim: "home", Forward: true, Sources: []topology.TokenSource{{Header: "authorization"}}}},
			Streams: []policy.Stream{{Name: "mqtt", Class: policy.Text{Value: "m"}, Service: policy.Text{Value: "m"}, Port: 8883}},
			Pins:    &identity.Pins{Pins: topology.Pins{TTL: time.Minute}}, Directory: &identity.Directory{Directory: topology.Directory{Kind: "http", URL: "https://d/{hash}"}},
			GeoIP: &identity.GeoIP{},
		}
	}
	for name, change := range map[string]func(*policy.Deployment){
		"nothing":          func(*policy.Deployment) {},
		"another place":    func(d *policy.Deployment) { d.Pins.Pos.Line, d.Directory.Pos.Line, d.Issuers[0].Pos.Line = 7, 7, 7 },
		"an audience less": func(d *policy.Deployment) { d.Issuers[0].Audiences = []string{"web"} },
		"forwarded less":   func(d *policy.Deployment) { d.Issuers[0].Forward = false },
		"a stream less":    func(d *policy.Deployment) { d.Streams = nil },
		"an issuer less":   func(d *policy.Deployment) { d.Issuers = nil },
	} {
		d := base()
		if change(d); Widens(base(), d) {
			t.Errorf("%s widens", name)
		}
	}
	for name, change := range map[string]func(*policy.Deployment){
		"a backend":       func(d *policy.Deployment) { d.Regions[0].Backends["m"] = []string{"b:1"} },
		"TLS":             func(d *policy.Deployment) { d.Regions[0].TLS = "x:1" },
		"pin keys":        func(d *policy.Deployment) { d.Regions[0].PinKeys.JWKS = []byte("{ }") },
		"a region's keys": func(d *policy.Deployment) { d.Regions = append(d.Regions, d.Regions[0]); d.Regions[1].Name = "s" },
		"keys":            func(d *policy.Deployment) { d.Issuers[0].JWKS = []byte("{ }") },
		"fetched keys": func(d *policy.Deployment) {
			d.Issuers[0].JWKS, d.Issuers[0].Remote = nil, &topology.RemoteKeys{URL: "https://k/"}
		},
		"a secret":         func(d *policy.Deployment) { d.Issuers[0].Secret = &identity.Secret{File: "/k"} },
		"introspection":    func(d *policy.Deployment) { d.Issuers[0].Introspection = &topology.Introspection{URL: "https://k/"} },
		"whoami":           func(d *policy.Deployment) { d.Issuers[0].Whoami = &topology.Whoami{Service: "m"} },
		"an audience more": func(d *policy.Deployment) { d.Issuers[0].Audiences = []string{"im", "web", "x"} },
		"any audience":     func(d *policy.Deployment) { d.Issuers[0].Audiences = nil },
		"another claim":    func(d *policy.Deployment) { d.Issuers[0].HomeClaim = "x" },
		"another user":     func(d *policy.Deployment) { d.Issuers[0].UserClaim = "x" },
		"a country":        func(d *policy.Deployment) { d.Issuers[0].CountryClaim = "x" },
		"nameless":         func(d *policy.Deployment) { d.Issuers[0].Nameless = true },
		"a source": func(d *policy.Deployment) {
			d.Issuers[0].Sources = append(d.Issuers[0].Sources, topology.TokenSource{Query: "t"})
		},
		"a longer life":      func(d *policy.Deployment) { d.Issuers[0].MaxLifetime = time.Hour },
		"skew":               func(d *policy.Deployment) { d.Issuers[0].Skew = time.Minute },
		"pins":               func(d *policy.Deployment) { d.Pins.TTL = time.Hour },
		"a directory":        func(d *policy.Deployment) { d.Directory.URL = "https://e/{hash}" },
		"no directory":       func(d *policy.Deployment) { d.Directory = nil },
		"a trusted hop":      func(d *policy.Deployment) { d.GeoIP.TrustedHops = 1 },
		"a stream":           func(d *policy.Deployment) { d.Streams[0].Port = 1 },
		"a stream's class":   func(d *policy.Deployment) { d.Streams[0].Class.Value = "x" },
		"a stream's service": func(d *policy.Deployment) { d.Streams[0].Service.Value = "x" },
	} {
		d := base()
		if change(d); !Widens(base(), d) {
			t.Errorf("%s was not noticed", name)
		}
	}
}

func FuzzVerify(f *testing.F) {
	kim := newKey(f)
	f.Add(sign(f, nil, statement, kim))
	f.Add([]byte(`{"payloadType":"application/vnd.in-toto+json","payload":"e30=","signatures":[]}`))
	signers := []policy.Signer{{Name: "kim", Key: kim.public}}
	f.Fuzz(func(t *testing.T, envelope []byte) {
		s, who, err := Verify(t.Context(), envelope, signers)
		if err == nil && len(who) > 0 && s != statement {
			t.Fatalf("approved: %+v", s)
		}
	})
}
