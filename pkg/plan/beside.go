package plan

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"github.com/domicile-dev/domicile/pkg/topology"
)

// The kinds of what is not part of a table.
const (
	Address Kind = "address" // of a backend, a peer, a host name
	Keys    Kind = "keys"    // of an issuer
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
		for service, addresses := range r.Backends {
			out[fact{Address, "backends of " + service + " in " + r.Name}] = strings.Join(addresses, ", ")
		}
	}
	for service, addresses := range t.Today {
		out[fact{Address, "today's backends of " + service}] = strings.Join(addresses, ", ")
	}
	for _, i := range t.Issuers {
		out[fact{Keys, "issuer " + i.Issuer}] = fmt.Sprintf("sha256:%.12x, audiences %s", sha256.Sum256([]byte(i.JWKS)), strings.Join(i.Audiences, ", "))
	}
	return out
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
