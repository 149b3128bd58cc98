package plan

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/domicile-dev/domicile/pkg/topology"
)

// An epoch that falls lets pins count again that had been ended.
func TestAnEpochThatFalls(t *testing.T) {
	s := base()
	s.Epochs = map[string]uint64{"SA": 2, "QA": 1}
	before := table(t, s)
	s.Epochs = map[string]uint64{"SA": 1, "QA": 1}
	got := Compare(before, table(t, s)).Changes
	if want := (Change{Effect: Loosens, Kind: Pins, Home: "SA", Before: "epoch 2", After: "epoch 1"}); !slices.Equal(got, []Change{want}) {
		t.Errorf("got %+v", got)
	}
	if r := Compare(nil, before); r.Count(Loosens) == 0 {
		t.Errorf("a first policy: %+v", r)
	}
}

func somewhere() *topology.Topology {
	return &topology.Topology{
		Regions: []topology.Region{{Name: "r", TLS: "gw:1", PinKeys: "{}"}},
		Issuers: []topology.Issuer{
			{Issuer: "a", JWKS: "{}", Audiences: []string{"im"}, HomeClaim: "home"},
			{Issuer: "b", Remote: &topology.RemoteKeys{URL: "https://b/keys", Every: time.Minute, Keep: time.Hour}},
			{Issuer: "c", Secret: &topology.Secret{File: "/c", Regions: []string{"r"}}},
			{Issuer: "d", Introspection: &topology.Introspection{URL: "https://d/"}},
			{Issuer: "e", Whoami: &topology.Whoami{Service: "m", Path: "/whoami", Member: "id"}},
		},
		Pins:      &topology.Pins{TTL: time.Minute, Cookie: "pin", Header: "pin"},
		Directory: &topology.Directory{Kind: "redis", Addresses: []string{"a:1"}},
		GeoIP:     &topology.GeoIP{},
		Streams:   []topology.Stream{{Name: "mqtt", Class: "m", Service: "m", Port: 1}},
	}
}

// Whatever decides who a user is, and where it is asked, is shown when it changes.
func TestBesideShowsIdentities(t *testing.T) {
	if got := Beside(somewhere(), somewhere()); len(got) != 0 {
		t.Errorf("nothing changed: %+v", got)
	}
	for name, c := range map[string]struct {
		change func(*topology.Topology)
		what   string
	}{
		"TLS":                  {func(x *topology.Topology) { x.Regions[0].TLS = "gw:2" }, "address TLS of r"},
		"pin keys":             {func(x *topology.Topology) { x.Regions[0].PinKeys = "" }, "keys pins of r"},
		"keys":                 {func(x *topology.Topology) { x.Issuers[0].JWKS = "" }, "keys issuer a"},
		"audience":             {func(x *topology.Topology) { x.Issuers[0].Audiences = nil }, "keys issuer a"},
		"home claim":           {func(x *topology.Topology) { x.Issuers[0].HomeClaim = "land" }, "keys tokens of a"},
		"user claim":           {func(x *topology.Topology) { x.Issuers[0].UserClaim = "uid" }, "keys tokens of a"},
		"country claim":        {func(x *topology.Topology) { x.Issuers[0].CountryClaim = "land" }, "keys tokens of a"},
		"source":               {func(x *topology.Topology) { x.Issuers[0].Sources = []topology.TokenSource{{Query: "t"}} }, "keys tokens of a"},
		"lifetime":             {func(x *topology.Topology) { x.Issuers[0].MaxLifetime = time.Hour }, "keys tokens of a"},
		"skew":                 {func(x *topology.Topology) { x.Issuers[0].Skew = time.Second }, "keys tokens of a"},
		"nameless":             {func(x *topology.Topology) { x.Issuers[0].Nameless = true }, "keys tokens of a"},
		"forward":              {func(x *topology.Topology) { x.Issuers[0].Forward = true }, "keys tokens of a"},
		"URL":                  {func(x *topology.Topology) { x.Issuers[1].Remote.URL = "https://x/" }, "keys issuer b"},
		"kept":                 {func(x *topology.Topology) { x.Issuers[1].Remote.Keep = time.Minute }, "keys issuer b"},
		"secret":               {func(x *topology.Topology) { x.Issuers[2].Secret.File = "/x" }, "keys issuer c"},
		"secret's regions":     {func(x *topology.Topology) { x.Issuers[2].Secret.Regions = nil }, "keys issuer c"},
		"introspection":        {func(x *topology.Topology) { x.Issuers[3].Introspection.URL = "https://x/" }, "keys issuer d"},
		"introspection secret": {func(x *topology.Topology) { x.Issuers[3].Introspection.SecretFile = "/x" }, "keys issuer d"},
		"whoami":               {func(x *topology.Topology) { x.Issuers[4].Whoami.Member = "x" }, "keys issuer e"},
		"pins":                 {func(x *topology.Topology) { x.Pins.TTL = time.Second }, "keys pins"},
		"no pins":              {func(x *topology.Topology) { x.Pins = nil }, "keys pins"},
		"directory":            {func(x *topology.Topology) { x.Directory.Addresses = []string{"b:1"} }, "address directory"},
		"directory's memory":   {func(x *topology.Topology) { x.Directory.Positive = time.Hour }, "address directory"},
		"hops":                 {func(x *topology.Topology) { x.GeoIP.TrustedHops = 1 }, "address geoip"},
		"port":                 {func(x *topology.Topology) { x.Streams[0].Port = 2 }, "address stream mqtt"},
		"another stream":       {func(x *topology.Topology) { x.Streams = nil }, "address stream mqtt"},
	} {
		after := somewhere()
		c.change(after)
		got := Beside(somewhere(), after)
		if len(got) != 1 || string(got[0].Kind)+" "+got[0].What != c.what || got[0].Effect != Neutral || strings.Contains(got[0].Before+got[0].After, "%!") {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestEpochsAreCompared: the number of combinations says so.
func TestEpochsAreCompared(t *testing.T) {
	s := base()
	before := Compare(table(t, s), table(t, s)).Compared
	s.Epochs = map[string]uint64{"XX": 1}
	if after := Compare(table(t, s), table(t, s)).Compared; after <= before {
		t.Errorf("%d combinations with one home more, %d without", after, before)
	}
}
