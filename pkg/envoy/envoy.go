// Package envoy translates a residency table and a topology into the
// configuration of one Envoy: listeners, clusters, routes and filters.
//
// It is pure and deterministic: equal meaning gives equal bytes, whatever the
// order of its sources, so that a version (the content's hash) is the same on
// every replica and a policy written in another order reaches no Envoy at all.
//
// What it guarantees, and what the tests hold on the real Envoy (see DESIGN.md
// in this folder for the measured reasons):
//   - The user-facing listeners hold nothing of the policy: routes travel by
//     RDS, token verification by ECDS with a default that denies everything.
//     A policy change alters none of their bytes and closes no socket of theirs.
//   - A request is routed by headers that only Envoy sets, from a verified
//     token. Clients' headers of that name are removed before any filter.
//   - Every cluster holds endpoints of the regions that one rule names, in its
//     order. There is no shared fallback, no panic mode, no retry elsewhere.
//   - A long-lived stream runs through an internal listener of its own home,
//     class route and destination. Removing that listener closes exactly those
//     streams; nothing else in Envoy does.
//   - What is denied is answered by a route that names its reason.
package envoy

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sort"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/domicile-dev/domicile/pkg/envoy/internal/branches"
	"github.com/domicile-dev/domicile/pkg/envoy/internal/credentials"
	"github.com/domicile-dev/domicile/pkg/envoy/internal/match"
	"github.com/domicile-dev/domicile/pkg/envoy/internal/packing"
	"github.com/domicile-dev/domicile/pkg/envoy/internal/upstream"
	"github.com/domicile-dev/domicile/pkg/envoy/internal/wellknown"
	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// The roles of an Envoy that Translate knows.
const (
	Gateway = "gateway" // user-facing, and the peer of other regions' gateways
	Sidecar = "sidecar" // next to an app
	Peer    = "peer"    // facing other regions' gateways only
)

// Node is a group of Envoys that run the same configuration.
type Node struct{ Region, Role string }

// String returns REGION/ROLE.
func (n Node) String() string { return n.Region + "/" + n.Role }

// Nodes returns every node of a topology, sorted by region, then role.
func Nodes(top *topology.Topology) []Node {
	var out []Node
	for _, r := range top.Regions {
		out = append(out, Node{r.Name, Gateway}, Node{r.Name, Peer}, Node{r.Name, Sidecar})
	}
	return out
}

// Input is what one Envoy's configuration is made from.
type Input struct {
	// Table is the policy to enforce.
	Table *residency.Table
	// Opening is the table that a roll-out is on its way to, when Table is a
	// step towards it (residency.Meet): what Opening allows and Table does not
	// yet is answered with region-unavailable, and the digest shown is its own.
	Opening  *residency.Table
	Topology *topology.Topology
	Node     Node
	// Memory shares with other translations; nil for none.
	Memory *Memory
}

// Memory lets translations share what is equal in them: Envoys of one table, and
// one table and the next. Resources made with one share messages, which must not
// be changed. It is for one translation at a time; the zero Memory is ready.
type Memory struct {
	shared branches.Memory
	hosts  wellknown.Memory
}

// Resources is the configuration of one Envoy, each list sorted by name.
type Resources struct {
	Listeners  []*listenerv3.Listener
	Clusters   []*clusterv3.Cluster
	Routes     []*routev3.RouteConfiguration
	Extensions []*corev3.TypedExtensionConfig
}

// The type URLs of the resources, in the order in which Envoy wants additions.
const (
	ClusterType   = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	ListenerType  = "type.googleapis.com/envoy.config.listener.v3.Listener"
	ExtensionType = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
	RouteType     = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
)

// Translate makes the configuration of in.Node. It returns an error for a
// region or role that does not exist; never a partial result.
func Translate(in Input) (*Resources, error) {
	region, ok := in.Topology.Region(in.Node.Region)
	if !ok {
		return nil, fmt.Errorf("translate %s: region %q is not in the deployment", in.Node, in.Node.Region)
	}
	if !slices.Contains([]string{Gateway, Sidecar, Peer}, in.Node.Role) {
		return nil, fmt.Errorf("translate %s: role %q is not one of gateway, peer, sidecar", in.Node, in.Node.Role)
	}
	if in.Memory == nil || in.Opening != nil { // steps are apart: a refusal may be another
		in.Memory = new(Memory)
	}
	in.Memory.shared.Begin(in.Table, in.Topology)
	t := begin(in, region)
	if err := t.run(); err != nil {
		return nil, fmt.Errorf("translate %s: %w", in.Node, err)
	}
	return t.out, nil
}

// translation is one run: routes are made first and ask for the clusters and
// internal listeners that they need, so nothing exists that no route uses.
type translation struct {
	Input
	match.Tree
	region   topology.Region
	clusters map[string]*clusterv3.Cluster
	inner    map[string]*listenerv3.Listener // internal listeners
	creds    *credentials.Places
	out      *Resources
}

func begin(in Input, region topology.Region) *translation {
	tree := match.Tree{Packer: new(packing.Packer)}
	return &translation{
		Input: in, Tree: tree, region: region, creds: credentials.Of(tree, in.Topology),
		clusters: map[string]*clusterv3.Cluster{}, inner: map[string]*listenerv3.Listener{},
	}
}

func (t *translation) run() error {
	t.out = &Resources{Extensions: t.identityFilters()}
	switch t.Node.Role {
	case Gateway:
		t.out.Routes = []*routev3.RouteConfiguration{t.userRoutes(Gateway), t.peerRoutes(), t.egressRoutes()}
		t.out.Listeners = []*listenerv3.Listener{t.plainListener(), t.tlsListener(), t.peerListener(), t.egressListener()}
		t.addWays(t.names().Streams())
	case Peer:
		t.out.Routes = []*routev3.RouteConfiguration{t.peerRoutes()}
		t.out.Listeners = []*listenerv3.Listener{t.peerListener()}
	case Sidecar:
		t.out.Routes = []*routev3.RouteConfiguration{t.userRoutes(Sidecar)}
		t.out.Listeners = []*listenerv3.Listener{t.sidecarListener()}
	}
	if t.Node.Role != Sidecar {
		t.out.Listeners = append(t.out.Listeners, t.healthListener())
	}
	if t.Node.Role != Peer {
		t.addHosts()
	}
	if t.Topology.FirstContacts() {
		t.addResolvers()
	}
	t.addCluster(t.agentCluster())
	for _, l := range t.inner {
		t.out.Listeners = append(t.out.Listeners, l)
	}
	for _, c := range t.clusters {
		t.out.Clusters = append(t.out.Clusters, c)
	}
	sortByName(t.out.Listeners)
	sortByName(t.out.Clusters)
	sortByName(t.out.Routes)
	sortByName(t.out.Extensions)
	return t.Err()
}

// digest is the digest that decisions are shown under.
func (t *translation) digest() string {
	if t.Opening != nil {
		return t.Opening.Digest()
	}
	return t.Table.Digest()
}

func (t *translation) has(cluster string) bool { return t.clusters[cluster] != nil }

func (t *translation) addCluster(c *clusterv3.Cluster) {
	c.CommonLbConfig, c.CircuitBreakers = upstream.NoPanic(), upstream.Unlimited(maxConnections)
	t.clusters[c.GetName()] = c
}

// Named is one resource as it travels: Version is the hash of Body.
type Named struct {
	Name    string
	Version string
	Body    *anypb.Any
}

// ByType encodes the resources for xDS, by type URL, each list sorted by name.
func (r *Resources) ByType() (map[string][]Named, error) {
	out := map[string][]Named{ListenerType: {}, ClusterType: {}, RouteType: {}, ExtensionType: {}}
	err := r.each(func(url, name string, m proto.Message) error {
		body, err := packing.Pack(m)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(body.GetValue())
		out[url] = append(out[url], Named{name, hex.EncodeToString(sum[:16]), body})
		return nil
	})
	return out, err
}

// each visits every resource, by type and name, until f fails.
func (r *Resources) each(f func(url, name string, m proto.Message) error) error {
	return errors.Join(
		visit(ListenerType, r.Listeners, f), visit(ClusterType, r.Clusters, f),
		visit(RouteType, r.Routes, f), visit(ExtensionType, r.Extensions, f))
}

func visit[T interface {
	proto.Message
	GetName() string
}](url string, list []T, f func(url, name string, m proto.Message) error) error {
	for _, x := range list {
		if err := f(url, x.GetName(), x); err != nil {
			return err
		}
	}
	return nil
}

func sortByName[T interface{ GetName() string }](list []T) {
	sort.Slice(list, func(i, j int) bool { return list[i].GetName() < list[j].GetName() })
}
