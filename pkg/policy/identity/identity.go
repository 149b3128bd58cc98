// Package identity is the model and the reader of what a deployment says about who
// its users are: the issuers of tokens and how these are verified, the pins that
// stand in for a home, and where homes are looked up that no token names.
//
// The package is pure. A Reader reports what is wrong through its form.Reader and
// goes on; what it returns then lacks the faulty part. Secrets are named by files on
// the machines that need them; none is ever read here, and one that lies in the
// policy directory is an error, because what lies there is read by everybody.
package identity

import (
	"slices"
	"time"

	"github.com/domicile-dev/domicile/pkg/policy/internal/form"
	"github.com/domicile-dev/domicile/pkg/policy/internal/place"
	"github.com/domicile-dev/domicile/pkg/policy/internal/yamlpos"
	"github.com/domicile-dev/domicile/pkg/policy/source"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// Issuer is an issuer of tokens and the homes that it may name. Exactly one of JWKS
// (by JWKSFile, inline or Remote), Secret, Introspection and Whoami says how its
// tokens are verified.
type Issuer struct {
	Issuer   string
	JWKSFile string // "" where the keys are inline or fetched
	JWKS     []byte // the key set; nil where it is fetched, or JWKSFile does not exist
	Remote   *topology.RemoteKeys
	Secret   *Secret
	// Introspection and Whoami ask a server about tokens that only it can read.
	Introspection *topology.Introspection
	Whoami        *topology.Whoami
	Audiences     []string
	HomeClaim     string // "" where no token names a home
	UserClaim     string // "" means sub
	CountryClaim  string // "" for none
	Homes         []source.Text
	Sources       []topology.TokenSource // empty: the Authorization header
	// MaxLifetime and Skew are 0 where nothing is said.
	MaxLifetime, Skew time.Duration
	Nameless          bool // its tokens have no iss claim
	Forward           bool
	Pos               source.Pos
}

// Topology is how the issuer's tokens are verified, in a canonical order.
func (i Issuer) Topology() topology.Issuer {
	out := topology.Issuer{
		Issuer: i.Issuer, Audiences: slices.Compact(slices.Sorted(slices.Values(i.Audiences))),
		HomeClaim: i.HomeClaim, UserClaim: i.UserClaim, CountryClaim: i.CountryClaim, Nameless: i.Nameless,
		JWKS: string(i.JWKS), Remote: i.Remote, Introspection: i.Introspection, Whoami: i.Whoami,
		Sources: i.Sources, MaxLifetime: i.MaxLifetime, Skew: i.Skew, Forward: i.Forward,
	}
	if i.Secret != nil {
		out.Secret = &topology.Secret{File: i.Secret.File}
		for _, r := range i.Secret.Regions {
			out.Secret.Regions = append(out.Secret.Regions, r.Value)
		}
		slices.Sort(out.Secret.Regions)
	}
	return out
}

// Secret is a symmetric key on the machines of some regions.
type Secret struct {
	File    string // absolute, on those machines
	Regions []source.Text
}

// Pins says how pins are issued, defaults merged in.
type Pins struct {
	topology.Pins
	Pos source.Pos
}

// Directory is where homes are looked up.
type Directory struct {
	topology.Directory
	Pos, FilePos source.Pos
}

// GeoIP lets addresses propose homes.
type GeoIP struct {
	topology.GeoIP
	Pos source.Pos
}

// PinKeys are the public keys that a region's pins are signed with.
type PinKeys struct {
	File string
	JWKS []byte // nil where File does not exist or is not to be used
}

// Files is what a Reader asks of the policy directory. Both say false for a name that
// is not there; Read reports what it cannot read, and says then that there is
// nothing.
type Files struct {
	Has  func(name string) bool
	Read func(name string, at *yamlpos.Node) (src []byte, found bool)
}

// Said is what one deployment says.
type Said struct {
	Issuers   []Issuer
	Pins      *Pins      // nil where there are none
	Directory *Directory // nil where there is none
	GeoIP     *GeoIP     // nil where addresses propose nothing
}

// Reader reads one deployment.
type Reader struct {
	*form.Reader
	known place.Known
	files Files
	kids  map[string]source.Pos // of the regions' pin keys
}

// NewReader reads codes by what is known, and key sets from files.
func NewReader(f *form.Reader, known place.Known, files Files) *Reader {
	return &Reader{Reader: f, known: known, files: files, kids: map[string]source.Pos{}}
}

// Read reads issuers, pins, directory and geoip of a deployment's spec.
func (r *Reader) Read(spec *form.Object) Said {
	var s Said
	var at []*yamlpos.Node
	for _, n := range spec.Items("issuers", true, false) {
		if i := r.issuer(n, s.Issuers); i != nil {
			s.Issuers, at = append(s.Issuers, *i), append(at, n)
		}
	}
	s.Pins = r.pins(spec)
	s.Directory = r.directory(spec)
	if o := spec.Object("geoip", false); o != nil {
		s.GeoIP = &GeoIP{topology.GeoIP{TrustedHops: o.Number("trustedHops", maxHops)}, r.Pos(o.Node)}
		o.Done()
	}
	r.check(s, at, spec)
	return s
}

// maxHops is more proxies than stand before any gateway.
const maxHops = 16
