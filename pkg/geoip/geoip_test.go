package geoip_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/domicile-dev/domicile/pkg/geoip"
)

// TestT22ClientAddress: what a client writes itself is never read.
func TestT22ClientAddress(t *testing.T) {
	for name, c := range map[string]struct {
		xff  string
		hops int
		want string // "" for unknown
	}{
		"who connected":          {"8.8.8.8", 0, "8.8.8.8"},
		"spoofed":                {"1.1.1.1, 8.8.8.8", 0, "8.8.8.8"},
		"spoofed, no space":      {"1.1.1.1,8.8.8.8", 0, "8.8.8.8"},
		"one proxy":              {"8.8.8.8, 10.0.0.1", 1, "8.8.8.8"},
		"one proxy, spoofed":     {"1.1.1.1, 9.9.9.9, 8.8.8.8, 10.0.0.1", 1, "8.8.8.8"},
		"two proxies":            {"1.1.1.1, 8.8.8.8, 10.0.0.2, 10.0.0.1", 2, "8.8.8.8"},
		"went around the proxy":  {"8.8.8.8", 1, ""},
		"around one of two":      {"8.8.8.8, 10.0.0.1", 2, ""},
		"nothing":                {"", 0, ""},
		"negative":               {"8.8.8.8", -1, ""},
		"hundred hops":           {strings.Repeat("1.1.1.1, ", 100) + "8.8.8.8", 0, "8.8.8.8"},
		"trusting a hundred":     {strings.Repeat("1.1.1.1, ", 99) + "8.8.8.8", 100, ""},
		"junk on the left":       {"<script>, ;;, 8.8.8.8", 0, "8.8.8.8"},
		"junk on the right":      {"8.8.8.8, unknown", 0, ""},
		"junk between":           {"8.8.8.8, _hidden, 10.0.0.1", 2, ""},
		"empty at the end":       {"8.8.8.8,", 0, ""},
		"empty between":          {"8.8.8.8, , 10.0.0.1", 2, ""},
		"port":                   {"8.8.8.8:4711", 0, "8.8.8.8"},
		"v6 and port":            {"[2606:4700::1111]:4711", 0, "2606:4700::1111"},
		"v6":                     {"2606:4700::1111", 0, "2606:4700::1111"},
		"v6 in brackets":         {"[2606:4700::1111]", 0, ""},
		"v4-mapped":              {"::ffff:8.8.8.8", 0, "8.8.8.8"},
		"v4-mapped in hex":       {"::ffff:808:808", 0, "8.8.8.8"},
		"v4-mapped and port":     {"[::ffff:8.8.8.8]:1", 0, "8.8.8.8"},
		"zone":                   {"fe80::1%eth0", 0, ""},
		"zone of a public one":   {"2606:4700::1111%1", 0, ""},
		"zone of a mapped one":   {"::ffff:8.8.8.8%1", 0, ""},
		"octal":                  {"010.8.8.8", 0, ""},
		"hex":                    {"0x8.8.8.8", 0, ""},
		"short":                  {"8.8", 0, ""},
		"as a number":            {"134744072", 0, ""},
		"full-width":             {"\uff18.8.8.8", 0, ""},
		"Forwarded's form":       {"for=8.8.8.8;proto=https", 0, ""},
		"two in one":             {"8.8.8.8 9.9.9.9", 0, ""},
		"NUL":                    {"8.8.8.8\x00", 0, ""},
		"very long":              {strings.Repeat("1", 1<<20), 0, ""},
		"tab":                    {"1.1.1.1,\t8.8.8.8\t", 0, "8.8.8.8"},
		"semicolon no separator": {"1.1.1.1; 8.8.8.8", 0, ""},
	} {
		got, ok := geoip.Client(c.xff, c.hops)
		if ok != (c.want != "") || ok && got.String() != c.want {
			t.Errorf("%s: %v, %v; want %q", name, got, ok, c.want)
		}
	}
}

// TestT22Unknown: an address that names nobody proposes nothing, whatever the database
// says of it.
func TestT22Unknown(t *testing.T) {
	everything := geoip.Memory{netip.MustParsePrefix("0.0.0.0/0"): "SA", netip.MustParsePrefix("::/0"): "SA"}
	for _, a := range []string{
		"0.0.0.0", "10.1.2.3", "100.64.0.1", "100.127.255.255", "127.0.0.1", "169.254.1.1", "172.16.0.1", "172.31.255.255", "192.0.0.8",
		"192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.7", "203.0.113.9", "224.0.0.1", "240.0.0.1", "255.255.255.255",
		"::", "::1", "::ffff:10.0.0.1", "64:ff9b::808:808", "64:ff9b:1::1", "100::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:20::1",
		"2001:db8::1", "2002:808:808::1", "3fff::1", "5f00::1", "fc00::1", "fd12::1", "fe80::1", "fec0::1", "ff02::1", "::8.8.8.8", "4000::1",
	} {
		if got := geoip.Propose(everything, a, 0); got != "" {
			t.Errorf("%s proposes %s", a, got)
		}
	}
	for _, a := range []string{"8.8.8.8", "100.63.255.255", "100.128.0.0", "172.32.0.1", "2606:4700::1111", "2001:200::1", "::ffff:8.8.8.8"} {
		if got := geoip.Propose(everything, a, 0); got != "SA" {
			t.Errorf("%s proposes %q", a, got)
		}
	}
	for _, xff := range []string{"8.8.8.8, 10.0.0.1", "8.8.8.8, 127.0.0.1", ""} {
		if got := geoip.Propose(everything, xff, 0); got != "" {
			t.Errorf("%s proposes %s", xff, got)
		}
	}
}

func TestMemory(t *testing.T) {
	m := geoip.Memory{netip.MustParsePrefix("8.0.0.0/8"): "US", netip.MustParsePrefix("8.8.0.0/16"): "SA"}
	for a, want := range map[string]string{"8.8.8.8": "SA", "8.9.8.8": "US", "9.9.9.9": ""} {
		if got := m.Country(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s: %q", a, got)
		}
	}
}

func FuzzClient(f *testing.F) {
	f.Add("1.1.1.1, 8.8.8.8", 1)
	f.Add("[::ffff:8.8.8.8]:1", 0)
	f.Add(",,,", 3)
	f.Fuzz(func(t *testing.T, xff string, hops int) {
		a, ok := geoip.Client(xff, hops)
		if ok && (!a.IsValid() || a.Is4In6() || a.Zone() != "") {
			t.Errorf("%q, %d: %v", xff, hops, a)
		}
		if !ok && a.IsValid() {
			t.Errorf("%q, %d: unknown, and yet %v", xff, hops, a)
		}
		// Whatever a client writes to the left changes nothing that is known.
		if b, _ := geoip.Client("6.6.6.6, "+xff, hops); ok && b != a {
			t.Errorf("%q, %d: %v, and with more on the left %v", xff, hops, a, b)
		}
	})
}
