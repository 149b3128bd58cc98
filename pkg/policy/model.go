// Package policy reads the YAML that policy authors write and turns it into a
// model with positions: law files (facts), groups, the deployment, jurisdictions
// (the operator's choices) and policy tests.
//
// Parse is strict and reports every problem of a run at once, sorted, each with
// file, line, column, a stable code and a remedy; nothing is half applied: a Set
// with an error-level problem must not be compiled. Anchors, aliases, merge
// keys, tags, duplicate and unknown keys are errors, and size and depth are
// bounded, so hostile input costs bounded time and memory and never panics.
//
// The package is pure: files come as an fs.FS, and time is an argument. YAML
// stays in internal/yamlpos; the model knows nothing of it.
package policy

import (
	"time"

	"github.com/domicile-dev/domicile/pkg/policy/identity"
	"github.com/domicile-dev/domicile/pkg/policy/law"
	"github.com/domicile-dev/domicile/pkg/policy/signer"
	"github.com/domicile-dev/domicile/pkg/policy/source"
)

// Pos is a place in a policy file. The name is an alias, because law files, whose
// package this one imports, have places too.
type Pos = source.Pos

// Text is a string from a file and where it stands.
type Text = source.Text

// Set is everything that one policy directory says, the shipped library merged in.
type Set struct {
	Laws          map[string]*law.Law      // by code
	Groups        map[string]*law.Group    // by name
	Deployment    *Deployment              // nil when missing, which is an error
	Jurisdictions map[string]*Jurisdiction // by code
	Tests         []*PolicyTest            // sorted by file
	Waivers       []*Waiver                // sorted by id
	Denials       []Denial                 // sorted by home and class
	// Files holds what a bundle of this set contains: the policy files and the
	// key sets that they name, by slash path; never the directory of users. They
	// are the operator's own files only: the shipped library is in the binary.
	Files map[string][]byte
}

// Deployment is the operator's installation.
type Deployment struct {
	Name            string
	TrustDomain     string
	Regions         []Region
	Classes         []ClassRoute
	Streams         []Stream
	Issuers         []Issuer
	Pins            *identity.Pins      // nil where none are issued
	Directory       *identity.Directory // nil where there is none
	GeoIP           *identity.GeoIP     // nil where addresses propose nothing
	ResponseHeaders bool                // x-domicile-region, -policy, -home on allowed responses
	// Approvals names the roles that must sign, by action: apply (every change),
	// loosen, emergencyDeny. It binds where Signers is not empty.
	Approvals map[string][]string
	Signers   []Signer
	// AllowWaivers is false unless the deployment says so.
	AllowWaivers bool
	// Today holds the backends, by service, that served before Domicile: requests
	// of homes under observation that would be refused go there.
	Today map[string][]string
	Pos   Pos
}

// Signer is a person or machine whose signature counts, in its roles.
type Signer = signer.Signer

// Waiver excuses one finding, in a scope, until a date.
type Waiver struct {
	ID, Owner    string
	Code         string // of the finding
	Home         string
	Classes      []Text // empty: every class of the home
	Reason       string
	Reference    string
	ApprovedBy   []string
	Since, Until time.Time // at most 90 days apart
	Pos          Pos
}

// Denial is the emergency brake, pulled: it forbids a home's class whatever the
// rules say.
type Denial struct {
	Home, Class string // Class is empty for every class of the home
	Reason, By  string
	At          time.Time
	Pos         Pos
}

// Region is a place where the operator runs.
type Region struct {
	Name, Country string
	Host, Peer    string // Host in lower case
	TLS           string // where others pass Host through, undecrypted
	KMS           string
	Backends      map[string][]string // service → host:port
	PinKeys       identity.PinKeys
	Pos           Pos
}

// ClassRoute is one row of the route table; the first match wins.
type ClassRoute struct {
	Class        string
	PathPrefix   string
	Path         string
	PathTemplate string
	GRPCService  string
	Method       string
	Host         string
	Subject      string // caller, path.user, host, none
	Service      string // default: the class
	LongLived    bool
	Carries      []Text
	Serve        []Text // subject none: the regions that serve
	Pos          Pos
}

// Issuer is an issuer of tokens and the homes that it may name.
type Issuer = identity.Issuer

// Stream is a service over TCP that is reached by TLS server name.
type Stream struct {
	Name           string
	Class, Service Text
	Port           int
	Pos            Pos
}

// Jurisdiction is the operator's choice for one home.
type Jurisdiction struct {
	Code        string
	Owner       string
	Laws        []Text
	Enforcement string // enforce or observe
	// ObserveUntil ends observation: from that instant the policy is enforced.
	// Zero under enforce.
	ObserveUntil time.Time
	ReviewEvery  time.Duration
	ReviewLast   time.Time
	ReviewPos    Pos              // of review; zero without one
	Rules        map[string]*Rule // by class, the defaults already merged in
	Transfers    []*Transfer
	PinEpoch     uint64 // a higher one ends all pins of the home
	Pos          Pos
}

// Rule is what a jurisdiction says for one class, defaults merged in.
type Rule struct {
	Class  string
	Serve  []Text // regions, in failover order; empty and present = forbidden
	Entry  []Text // regions
	Basis  []Text
	MaxAge time.Duration
	Cache  *Cache
	Pos    Pos
}

// Cache is the edge cache of a rule.
type Cache struct {
	Edges  []Text
	Fields []Text
	TTL    time.Duration
	Pos    Pos
}

// Transfer is a permitted crossing.
type Transfer struct {
	ID        string
	To        []Text // codes or groups
	Classes   []Text
	For       []Text // serve, entry, cache, directory, deliver
	Mechanism string
	Reference string
	ReviewBy  time.Time
	Until     time.Time // zero: open; at this instant it lapses
	Pos       Pos
}

// PolicyTest is a test file beside a jurisdiction.
type PolicyTest struct {
	Name  string // free text
	Cases []TestCase
	Pos   Pos
}

// TestCase is one expectation. Entry asks where a request is served, Edge and
// Field whether a field may be cached there, To and For whether a transfer covers
// a crossing: exactly one of Entry, Edge and To is set. Of what is expected exactly
// one is set, too: AllowRegion (with Entry), CacheTTL or CacheNone (with Edge),
// Transfer (with To), or DenyReason (with Entry or To).
type TestCase struct {
	Name               string
	Home, Class, Entry string
	Down               []string
	Edge, Field        string
	To, For            string
	AllowRegion        string
	DenyReason         string
	CacheTTL           time.Duration
	CacheNone          bool
	Transfer           string // id
	Pos                Pos
}
