package topology

import (
	"cmp"
	"slices"
	"time"
)

// Issuer is how the identities of one issuer are verified. Its tokens are checked in
// Envoy where they are signed (RFC 7519) and name their issuer; otherwise the agent
// checks them at the first contact, and a pin stands in for the home from then on.
type Issuer struct {
	Issuer    string   `json:"issuer"`
	Audiences []string `json:"audiences,omitempty"`
	// HomeClaim names the claim that holds the home; empty where tokens name none
	// and the directory must be asked.
	HomeClaim string `json:"homeClaim,omitempty"`
	// Nameless is set where tokens have no iss claim (OpenIM): only the agent, which
	// tries this issuer's keys, can tell whose they are.
	Nameless bool `json:"nameless,omitempty"`
	// UserClaim names the claim that holds the user's id; empty means "sub". Tokens with
	// another one are read by the agent.
	UserClaim string `json:"userClaim,omitempty"`
	// CountryClaim names the claim that holds the country declared at sign-up; it
	// makes a home where token and directory are silent. Empty: none.
	CountryClaim string `json:"countryClaim,omitempty"`
	// JWKS is the inline key set (RFC 7517); empty means that no token of this
	// issuer verifies, unless it has a Secret.
	JWKS string `json:"jwks,omitempty"`
	// Remote says where the control plane fetches JWKS from; nil where it is inline.
	Remote *RemoteKeys `json:"remote,omitempty"`
	// Secret is set where tokens are signed with a symmetric key, which is never in a
	// bundle and never leaves its regions.
	Secret *Secret `json:"secret,omitempty"`
	// Sources lists where tokens stand; empty means the Authorization header.
	Sources []TokenSource `json:"sources,omitempty"`
	// MaxLifetime bounds how long a token may still be valid, and Skew how far clocks
	// may differ; 0 means 90 days and 60 s.
	MaxLifetime time.Duration `json:"maxLifetime,omitempty"`
	Skew        time.Duration `json:"skew,omitempty"`
	// Forward lets the token reach the backend, for IM servers that check it
	// themselves. Default: it is stripped at the last hop.
	Forward bool `json:"forward,omitempty"`
	// Introspection and Whoami ask about tokens that only a server can read; at most
	// one is set, and then neither JWKS nor Secret is.
	Introspection *Introspection `json:"introspection,omitempty"`
	Whoami        *Whoami        `json:"whoami,omitempty"`
}

// RemoteKeys is a key set that is fetched by the control plane, not by Envoy, so that
// every key that counts is one that the control plane has published.
type RemoteKeys struct {
	URL   string        `json:"url"`   // https
	Every time.Duration `json:"every"` // between two looks
	// Keep is how long the last good set counts while URL does not answer.
	Keep time.Duration `json:"keep"`
}

// Secret is a key set file (RFC 7517, kty "oct") on the machines of some regions:
// those that serve every home that the issuer may name, since whoever holds the key
// can mint tokens.
type Secret struct {
	File    string   `json:"file"`
	Regions []string `json:"regions"`
}

// TokenSource is one place where a token may stand. Exactly one of Header, Cookie,
// Query and Subprotocol is set.
type TokenSource struct {
	Header string `json:"header,omitempty"` // lower case
	Prefix string `json:"prefix,omitempty"` // before the token in Header, such as "Bearer "
	Cookie string `json:"cookie,omitempty"`
	Query  string `json:"query,omitempty"`
	// Subprotocol is the text before the token in one item of
	// Sec-WebSocket-Protocol, such as "bearer.".
	Subprotocol string `json:"subprotocol,omitempty"`
	// JSON is set where the value is base64 of a JSON object, and names the member
	// that holds the token (OpenIM's ?v=). Only the agent reads such a source.
	JSON string `json:"json,omitempty"`
}

// Introspection asks an OAuth 2.0 server (RFC 7662).
type Introspection struct {
	URL      string `json:"url"`
	ClientID string `json:"clientID,omitempty"`
	// SecretFile holds the client's secret on the machines of the agents.
	SecretFile string `json:"secretFile,omitempty"`
}

// Whoami asks the IM server of the agent's own region who a token belongs to, and no
// other region's: a token is not shown around.
type Whoami struct {
	Service string `json:"service"` // of the region's backends
	Path    string `json:"path"`    // GET, with the token as Authorization: Bearer
	Member  string `json:"member"`  // of the JSON answer that holds the user's id
}

// Pins says how the agents issue pins: Cookie and Header name where they stand.
type Pins struct {
	TTL    time.Duration `json:"ttl"` // at most 10 minutes
	Cookie string        `json:"cookie"`
	Header string        `json:"header"` // lower case
}

// The names under which pins stand when a deployment gives no others. They do not
// begin with x-domicile-: what does is removed from what clients send.
const (
	PinCookie = "domicile-pin"
	PinHeader = "domicile-pin"
)

// PinIssuer is the iss claim of a region's pins; their aud claim is the region.
func PinIssuer(region string) string { return "urn:domicile:pin:" + region }

// Directory is where the keyed hash of a user id leads to a home, and nothing else.
type Directory struct {
	Kind string `json:"kind"` // static, redis, http
	// File (static), Addresses and Cluster (redis), URL (http, {hash} in it) and
	// SecretFile (a password, or a bearer token) are read by the agents.
	File       string        `json:"file,omitempty"`
	Addresses  []string      `json:"addresses,omitempty"`
	Cluster    bool          `json:"cluster,omitempty"`
	TLS        bool          `json:"tls,omitempty"` // redis: the servers are asked over TLS
	URL        string        `json:"url,omitempty"`
	SecretFile string        `json:"secretFile,omitempty"`
	Timeout    time.Duration `json:"timeout,omitempty"`  // 0: 100 ms
	Negative   time.Duration `json:"negative,omitempty"` // how long "unknown" is believed; 0: 5 s
	Positive   time.Duration `json:"positive,omitempty"` // how long a home is believed; 0: 60 s
}

// GeoIP lets the country of the client's address propose a home. It never makes one.
type GeoIP struct {
	// TrustedHops is how many proxies before the gateway write X-Forwarded-For.
	TrustedHops int `json:"trustedHops,omitempty"`
}

// Stream is a service over TCP: TLS is not ended at the gateway, the server name
// (a region's host) says whose it is, and the backend of that region ends it.
type Stream struct {
	Name    string `json:"name"`
	Class   string `json:"class"`
	Service string `json:"service"`
	Port    int    `json:"port"`
}

// InEnvoy tells whether Envoy itself can verify this issuer's tokens. Only of the claim
// sub is it sure that it is text (RFC 7519): of any other Envoy writes numbers, rounded
// to 53 bits, and lists into headers as well, so that two users could become one.
func (i Issuer) InEnvoy() bool {
	return i.Introspection == nil && i.Whoami == nil && !i.Nameless && i.User() == "sub" && len(i.EnvoySources()) > 0
}

// User is the claim that holds the user's id.
func (i Issuer) User() string { return cmp.Or(i.UserClaim, "sub") }

// EnvoySources lists the places of tokens that Envoy can read; the Authorization
// header where none is named.
func (i Issuer) EnvoySources() []TokenSource {
	if len(i.Sources) == 0 {
		return []TokenSource{{Header: "authorization", Prefix: "Bearer "}}
	}
	return slices.DeleteFunc(slices.Clone(i.Sources), func(s TokenSource) bool { return s.JSON != "" })
}

// FirstContacts tells whether there are users whose home no token names, so that an
// agent has to find it.
func (t *Topology) FirstContacts() bool {
	return t.Pins != nil && slices.ContainsFunc(t.Issuers, Issuer.AsksAgent)
}

// AsksAgent tells whether Envoy alone cannot tell the home of each user of this
// issuer: some tokens name none, or only the agent can read them.
func (i Issuer) AsksAgent() bool {
	return i.HomeClaim == "" || i.CountryClaim != "" || !i.InEnvoy() || slices.ContainsFunc(i.Sources, func(s TokenSource) bool { return s.JSON != "" })
}
