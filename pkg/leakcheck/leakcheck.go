// Package leakcheck proves that the configuration of one Envoy keeps every
// request inside the regions that a residency table allows, or names each way
// out that it finds.
//
// It is the second opinion on package envoy and shares no code with it: it
// reads Envoy's own configuration, whoever wrote it, and follows the data path
// by abstract interpretation: listener, filter chain, route, cluster, endpoint,
// place. Paths, hosts and methods are treated as languages, so the question
// "which class can a request on this route have?" is answered exactly, not by
// comparing spellings.
//
// What it guarantees: an empty result means that no request which the
// configuration can forward reaches a place that the table does not allow for
// the request's home and class at its entry, that today's backends get only what
// the table passes by observation, and only from an entry, and that the headers on
// which this rests can be written by Envoy only. What it does not understand it reports:
// a field, filter, cluster type or endpoint outside the closed set that it
// knows is a finding, never a guess. Health, weights, panic thresholds and
// timeouts are ignored: whatever can be reached in any state counts as reached.
//
// What is missing (a cluster, a listener, a route table or an extension that
// was never delivered) reaches nothing, and is no finding: Envoy refuses then.
//
// A Prover proves the branch of a home once and takes the proof over wherever an
// equal branch comes again: in other Envoys, and under the next policy. It does the
// same with all the rest of a configuration, so that of one that differs in the
// branches of few homes these alone are walked. This is sound for three reasons. Its
// memory only ever says "proved": where a run finds anything at all, it is thrown
// away and everything is walked without memory, so every finding is that of a cold
// run. A proof is named by all that its walk read, and names are compared whole. For
// a branch: its bytes, what the table says of the home for every class route at the
// entries in question and of the issuers that may name it, the places that each
// cluster named there reaches, whether its streams can be closed, the conditions
// under which a request comes to the branch, the class routes, the role, and the
// filters before it. For the rest: its bytes, the region, the topology, and the class
// routes; with the proof stand the answers about host names that it rests on, which
// are asked again, and whether a manager was proved as one that forwards and knows
// callers. And what a name cannot hold is not remembered: routes that name a home of
// their own, in the branch of a home classes whose subject is the host, configuration
// of filters outside the routes, homes inside a listener. Clusters, internal
// listeners, branches and packed bytes that lie where they lay are taken for the
// same: nobody may write into what a Prover was given.
//
// The package is pure; its functions may be called concurrently.
package leakcheck

import (
	"cmp"
	"slices"
	"strings"

	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"google.golang.org/protobuf/proto"

	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/conditions"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/configdump"
	_ "github.com/domicile-dev/domicile/pkg/leakcheck/internal/extensions" // what Any can hold
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/findings"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/places"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/proofs"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/requests"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/resources"
	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// Config is the configuration of one Envoy: what it got by xDS, and the static
// resources of its bootstrap when a live one is judged. Two resources of one
// name (one active, one warming) are both judged.
type Config struct {
	Listeners  []*listenerv3.Listener
	Clusters   []*clusterv3.Cluster
	Endpoints  []*endpointv3.ClusterLoadAssignment
	Routes     []*routev3.RouteConfiguration
	Extensions []*corev3.TypedExtensionConfig
}

// FromConfigDump reads the answer of an Envoy's admin endpoint
// /config_dump?include_eds: everything active or warming, static or dynamic.
// Listeners that only drain take no new request and are left out. node is the
// Node.id of the Envoy.
//
// An error means that the dump, or something in it, cannot be judged: JSON that
// is no dump, a type or field that this version does not know, or a route table
// that a listener uses and the dump does not hold.
func FromConfigDump(dump []byte) (c Config, node string, err error) {
	read, node, err := configdump.Read(dump)
	return Config(read), node, err
}

// The codes of findings.
const (
	RegionNotAllowed = findings.RegionNotAllowed // a region that the rule does not list
	Denied           = findings.Denied           // forwarded although the table refuses
	NoClass          = findings.NoClass          // forwarded although no class covers it
	NoHome           = findings.NoHome           // forwarded although nothing says whose data it is
	NotEntitled      = findings.NotEntitled      // the issuer is unknown, or may not name the home
	UnknownEndpoint  = findings.UnknownEndpoint  // an address that the topology does not know
	AroundPeer       = findings.AroundPeer       // another region's backend, past its peer gateway
	Onward           = findings.Onward           // a peer that forwards to another region
	PeerUnproved     = findings.PeerUnproved     // a peer whose certificate is not checked
	HeaderTrust      = findings.HeaderTrust      // a trusted header that a client can write
	PinUnproved      = findings.PinUnproved      // a pin that counts for more than it was issued for
	TokenUnproved    = findings.TokenUnproved    // a token that is not checked as the topology says
	Decrypted        = findings.Decrypted        // a connection that the policy lets others decrypt
	Endless          = findings.Endless          // a stream that no policy change can end
	AgentBypassed    = findings.AgentBypassed    // a route that must ask the agent and does not
	NotObserved      = findings.NotObserved      // today's backend, for requests that no observation passes
	NotJudged        = findings.NotJudged        // configuration outside the closed set
)

// Finding is one way out, or one thing that keeps the proof from being made.
type Finding = findings.Finding

// Check judges the configuration of an Envoy that runs in region. An empty
// result means proved. The result is in the order of the configuration, without
// duplicates, and the same for the same input.
func Check(c Config, t *residency.Table, top *topology.Topology, region string) []Finding {
	return new(Prover).check(c, t, top, region, false)
}

// Prover checks like Check and remembers what it worked out about paths, hosts
// and certificates, and which homes' branches it proved, and what else: the Envoys of
// a deployment and the next policy mostly share them. What it was given must not be
// changed afterwards. Its memory is bounded. The zero Prover is ready; it must not be
// used concurrently.
type Prover struct {
	memory   requests.Memory
	branches proofs.Book
	wholes   map[string]*whole
}

// Check is the function Check, with the memory of p.
func (p *Prover) Check(c Config, t *residency.Table, top *topology.Topology, region string) []Finding {
	if len(p.check(c, t, top, region, true)) == 0 {
		return nil
	}
	return p.check(c, t, top, region, false) // memory proves, and never accuses
}

// check is one run; where it remembers nothing it walks everything.
func (p *Prover) check(c Config, t *residency.Table, top *topology.Topology, region string, remember bool) []Finding {
	var own topology.Region
	known := false
	if top != nil {
		own, known = top.Region(region)
	}
	if !known || t == nil {
		return []Finding{{Code: NotJudged, Where: "region " + region, Message: "the region is not in the deployment, so nothing here is allowed"}}
	}
	a := p.memory.Algebra(t, top, own)
	if !remember {
		return newChecker(c, t, top, own, a).walk(c)
	}
	p.begin(t, top, a)
	begin := func() *checker {
		k := newChecker(c, t, top, own, a)
		k.remembered = &p.branches
		return k
	}
	var name []byte
	var trees []*xdsmatcherv3.Matcher_MatcherTree
	ok := false
	if top.Pins == nil { // else their branches hang on what the table says of homes
		name, trees, ok = p.branches.Whole(region, c.Listeners, c.Clusters, c.Endpoints, c.Routes, c.Extensions)
	}
	if ok && p.recall(name, trees, begin) {
		return nil
	}
	k := begin()
	found := k.walk(c)
	if ok && len(found) == 0 {
		p.keep(name, trees, k)
	}
	return found
}

func (k *checker) walk(c Config) []Finding {
	for _, l := range c.Listeners {
		k.listener(l)
	}
	for len(k.inside) > 0 {
		w := k.inside[0]
		k.inside = k.inside[1:]
		w.prove()
	}
	k.proveResolvers()
	return k.Found()
}

// checker is one run. Everything that many routes share is worked out once.
type checker struct {
	table *proofs.Table
	top   *topology.Topology
	own   topology.Region

	*resources.Set
	places  *places.Map
	reached map[string][]places.Hit // by cluster name
	open    map[string]bool         // clusters whose walk is not finished: guards cycles

	*conditions.Reader
	classes []*requests.Formula // of the table's routes, in order
	decoded map[string]proto.Message

	inside    []*managerWalk                            // behind internal listeners that end TLS, to be proved
	managed   map[string]bool                           // connection managers, see firstTime
	entered   map[*listenerv3.Listener]bool             // internal ones
	resolvers map[string][]*hcmv3.HttpConnectionManager // by listener: where the agent says whose data it is
	leads     map[resolution]*requests.Formula          // by which requests
	pending   []resolution

	remembered *proofs.Book   // nil: walk everything
	walking    *proofs.Walk   // the home's branch that is walked; nil: none
	meanings   map[string]int // by cluster name
	scratch    []byte
	sites      map[*xdsmatcherv3.Matcher_MatcherTree][]*site
	odd        bool // branches of homes were walked that cannot be remembered
}

func newChecker(c Config, t *residency.Table, top *topology.Topology, own topology.Region, a *requests.Algebra) *checker {
	k := &checker{
		table: proofs.NewTable(t), top: top, own: own,
		Set:    resources.New(c.Listeners, c.Clusters, c.Endpoints, c.Routes, c.Extensions),
		places: places.New(top, own), reached: map[string][]places.Hit{}, open: map[string]bool{},
		Reader:  &conditions.Reader{Algebra: a, List: new(findings.List)},
		decoded: map[string]proto.Message{}, managed: map[string]bool{},
		resolvers: map[string][]*hcmv3.HttpConnectionManager{}, leads: map[resolution]*requests.Formula{},
		entered: map[*listenerv3.Listener]bool{}, meanings: map[string]int{}, sites: map[*xdsmatcherv3.Matcher_MatcherTree][]*site{},
	}
	for _, r := range t.Routes() {
		k.classes = append(k.classes, k.Class(r.Match))
	}
	return k
}

// join makes the trail of a Where.
func join(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), " › ")
}

func named(kind, name string) string { return kind + " " + cmp.Or(name, "(unnamed)") }
