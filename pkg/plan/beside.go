package plan

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/domicile-dev/domicile/pkg/topology"
)

// The kinds of what is not part of a table.
const (
	Address Kind = "address" // of a backend, a peer, a host name, a directory, a service over TCP
	Keys    Kind = "keys"    // of an issuer or of pins, and how they are used
)

// Beside compares what a table does not hold: where the regions run, and whose
// keys make tokens. All of it is neutral: no policy can say in which country an
// address lies, or who holds a key; people have to look.
func Beside(before, after *topology.Topology) []Change {
	was, is := facts(before), facts(after)
	out := []Change{}
	for _, key := range union(was, is) {
		if was[key] != is[key] {
			out = append(out, Change{Effect: Neutral, Kind: key.kind, What: key.what, Before: orNone(was[key]), After: orNone(is[key])})
		}
	}
	return out
}

type fact struct {
	kind Kind
	what string
}

func facts(t *topology.Topology) map[fact]string {
	out := map[fact]string{}
	if t == nil {
		return out
	}
	for _, r := range t.Regions {
		out[fact{Address, "host of " + r.Name}] = r.Host
		out[fact{Address, "peer of " + r.Name}] = r.Peer
		out[fact{Address, "TLS of " + r.Name}] = r.TLS
		if r.PinKeys != "" {
			out[fact{Keys, "pins of " + r.Name}] = digest(r.PinKeys)
		}
		for service, addresses := range r.Backends {
			out[fact{Address, "backends of " + service + " in " + r.Name}] = strings.Join(addresses, ", ")
		}
	}
	for service, addresses := range t.Today {
		out[fact{Address, "today's backends of " + service}] = strings.Join(addresses, ", ")
	}
	for _, i := range t.Issuers {
		out[fact{Keys, "issuer " + i.Issuer}] = verification(i) + ", audiences " + strings.Join(i.Audiences, ", ")
		out[fact{Keys, "tokens of " + i.Issuer}] = tokens(i)
	}
	for _, s := range t.Streams {
		out[fact{Address, "stream " + s.Name}] = fmt.Sprintf("port %d, class %s, service %s", s.Port, s.Class, s.Service)
	}
	if p := t.Pins; p != nil {
		out[fact{Keys, "pins"}] = fmt.Sprintf("for %s, in cookie %s and header %s", short(p.TTL), p.Cookie, p.Header)
	}
	if d := t.Directory; d != nil {
		out[fact{Address, "directory"}] = directory(d)
	}
	if t.GeoIP != nil {
		out[fact{Address, "geoip"}] = fmt.Sprintf("behind %d trusted proxies", t.GeoIP.TrustedHops)
	}
	return out
}

func digest(keys string) string { return fmt.Sprintf("sha256:%.12x", sha256.Sum256([]byte(keys))) }

// verification says whose word counts for the tokens of an issuer.
func verification(i topology.Issuer) string {
	switch {
	case i.Remote != nil:
		return fmt.Sprintf("keys of %s every %s, kept for %s", i.Remote.URL, short(i.Remote.Every), short(i.Remote.Keep))
	case i.Secret != nil:
		return "secret " + i.Secret.File + " in " + strings.Join(i.Secret.Regions, ", ")
	case i.Introspection != nil:
		return strings.Join([]string{"introspection by " + i.Introspection.URL, i.Introspection.ClientID, i.Introspection.SecretFile}, " ")
	case i.Whoami != nil:
		return fmt.Sprintf("whoami by %s %s %s", i.Whoami.Service, i.Whoami.Path, i.Whoami.Member)
	}
	return digest(i.JWKS)
}

// tokens says where the tokens of an issuer stand and what is read of them.
func tokens(i topology.Issuer) string {
	var parts []string
	for _, s := range i.Sources {
		place := strings.TrimSpace(fmt.Sprintf("%s %s", s.Header, strings.TrimSpace(s.Prefix)))
		for _, x := range [][2]string{{"cookie", s.Cookie}, {"query", s.Query}, {"subprotocol", s.Subprotocol}} {
			if x[1] != "" {
				place = x[0] + " " + x[1]
			}
		}
		if s.JSON != "" {
			place += " (JSON: " + s.JSON + ")"
		}
		parts = append(parts, place)
	}
	for _, x := range [][2]string{{"home", i.HomeClaim}, {"user", i.UserClaim}, {"country", i.CountryClaim}} {
		if x[1] != "" {
			parts = append(parts, x[0]+" in "+x[1])
		}
	}
	if i.MaxLifetime > 0 {
		parts = append(parts, "for at most "+short(i.MaxLifetime))
	}
	if i.Skew > 0 {
		parts = append(parts, "skew "+short(i.Skew))
	}
	if i.Nameless {
		parts = append(parts, "without iss")
	}
	if i.Forward {
		parts = append(parts, "passed on")
	}
	return strings.Join(parts, ", ")
}

func directory(d *topology.Directory) string {
	parts := []string{d.Kind}
	for _, s := range append(slices.Clone(d.Addresses), d.File, d.URL, d.SecretFile) {
		if s != "" {
			parts = append(parts, s)
		}
	}
	if d.Cluster {
		parts = append(parts, "cluster")
	}
	if d.TLS {
		parts = append(parts, "TLS")
	}
	for _, x := range []struct {
		name  string
		value time.Duration
	}{{"timeout", d.Timeout}, {"positive", d.Positive}, {"negative", d.Negative}} {
		if x.value > 0 {
			parts = append(parts, x.name+" "+short(x.value))
		}
	}
	return strings.Join(parts, ", ")
}

func union(a, b map[fact]string) []fact {
	var out []fact
	for k := range a {
		out = append(out, k)
	}
	for k := range b {
		if _, both := a[k]; !both {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, func(x, y fact) int { return strings.Compare(string(x.kind)+x.what, string(y.kind)+y.what) })
	return out
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
