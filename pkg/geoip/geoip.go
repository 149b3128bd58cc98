// Package geoip finds the country of a client's address. It proposes: an address says
// where a device is, not whose data it carries, so a country found here never makes a
// home and never overrides one.
//
// The client's address is taken from X-Forwarded-For as our own Envoy leaves it: its
// last element is who connected to the gateway, and before it stand as many as there
// are trusted proxies. Whatever stands further left was written by the client and is
// not read. What is missing, malformed or no address of the public Internet is unknown.
package geoip

import (
	"net/netip"
	"strings"
)

// Database finds countries. Its methods may be called by many goroutines at once.
type Database interface {
	// Country returns the code (ISO 3166-1, two capitals) of the country in which an
	// address is registered; "" where the database does not say.
	Country(netip.Addr) string
}

// Memory is a Database for tests.
type Memory map[netip.Prefix]string

// Country finds the code of the longest prefix.
func (m Memory) Country(a netip.Addr) string {
	country, bits := "", -1
	for p, c := range m {
		if p.Contains(a) && p.Bits() > bits {
			country, bits = c, p.Bits()
		}
	}
	return country
}

// Propose returns the country of the client, "" where it is unknown: xff is the value
// of X-Forwarded-For, hops the number of trusted proxies before the gateway.
func Propose(db Database, xff string, hops int) string {
	a, ok := Client(xff, hops)
	if !ok || !Public(a) {
		return ""
	}
	return db.Country(a)
}

// Client returns the client's address, an IPv4 address always in its own form, and
// whether there is one. It looks at no more than hops+1 elements.
func Client(xff string, hops int) (netip.Addr, bool) {
	if hops < 0 {
		return netip.Addr{}, false
	}
	for {
		i := strings.LastIndexByte(xff, ',')
		a, ok := parse(strings.Trim(xff[i+1:], " \t"))
		switch {
		case !ok: // also a proxy that does not name whom it speaks for
			return netip.Addr{}, false
		case hops == 0:
			return a, true
		case i < 0: // fewer proxies than there must be: somebody went around them
			return netip.Addr{}, false
		}
		xff, hops = xff[:i], hops-1
	}
}

// parse reads an address, with a port as some proxies write it.
func parse(s string) (netip.Addr, bool) {
	if len(s) > 64 {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		ap, err := netip.ParseAddrPort(s)
		if err != nil {
			return netip.Addr{}, false
		}
		a = ap.Addr()
	}
	// A zone is of one machine, and none of the client's is known here.
	if a.Zone() != "" {
		return netip.Addr{}, false
	}
	return a.Unmap(), true
}

// special are the addresses that name nobody on the public Internet, or through whose
// form somebody else speaks (IANA's registries of special-purpose addresses; RFC 6890
// and its successors). IPv6 outside of 2000::/3 is not given out at all.
var special = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
	"192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24",
	"203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
	"2001::/23",         // protocol assignments: Teredo, benchmarking, ORCHID
	"2001:db8::/32",     // documentation
	"2002::/16",         // 6to4: whoever runs a relay says which IPv4 address it is
	"2620:4f:8000::/48", // AS112
	"3fff::/20",         // documentation
)

var assigned = netip.MustParsePrefix("2000::/3")

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// Public tells whether an address names somebody on the public Internet.
func Public(a netip.Addr) bool {
	a = a.Unmap()
	if !a.IsValid() || a.Zone() != "" || a.Is6() && !assigned.Contains(a) {
		return false
	}
	for _, p := range special {
		if p.Contains(a) {
			return false
		}
	}
	return true
}
