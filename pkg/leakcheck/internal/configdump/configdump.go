// Package configdump reads what a live Envoy says it runs: the answer of its
// admin endpoint /config_dump?include_eds.
package configdump

import (
	"encoding/json"
	"fmt"
	"slices"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// The parts of a dump that say how requests move. The others (secrets, the
// bootstrap, whose static resources stand in these parts too) are not read.
var dumpParts = map[string]func() dumpPart{
	"envoy.admin.v3.ListenersConfigDump":    func() dumpPart { return &listenersPart{} },
	"envoy.admin.v3.ClustersConfigDump":     func() dumpPart { return &clustersPart{} },
	"envoy.admin.v3.RoutesConfigDump":       func() dumpPart { return &routesPart{} },
	"envoy.admin.v3.EndpointsConfigDump":    func() dumpPart { return &endpointsPart{} },
	"envoy.admin.v3.EcdsConfigDump":         func() dumpPart { return &extensionsPart{} },
	"envoy.admin.v3.ScopedRoutesConfigDump": func() dumpPart { return &scopedPart{} },
}

type dumpPart interface {
	message() proto.Message
	into(c *Config) error
}

// Config holds the resources of one Envoy, static and by xDS.
type Config struct {
	Listeners  []*listenerv3.Listener
	Clusters   []*clusterv3.Cluster
	Endpoints  []*endpointv3.ClusterLoadAssignment
	Routes     []*routev3.RouteConfiguration
	Extensions []*corev3.TypedExtensionConfig
}

const typePrefix = "type.googleapis.com/"

// Read reads the answer of an Envoy's admin endpoint
// /config_dump?include_eds: everything active or warming, static or dynamic.
// Listeners that only drain take no new request and are left out. node is the
// Node.id of the Envoy.
//
// An error means that the dump, or something in it, cannot be judged: JSON that
// is no dump, a type or field that this version does not know, or a route table
// that a listener uses and the dump does not hold.
func Read(dump []byte) (c Config, node string, err error) {
	var outer struct {
		Configs []json.RawMessage `json:"configs"`
	}
	if err := json.Unmarshal(dump, &outer); err != nil {
		return Config{}, "", fmt.Errorf("read config dump: %w", err)
	}
	seen := map[string]bool{}
	for _, raw := range outer.Configs {
		var head struct {
			Type      string `json:"@type"`
			Bootstrap struct {
				Node struct {
					ID string `json:"id"`
				} `json:"node"`
			} `json:"bootstrap"`
		}
		if err := json.Unmarshal(raw, &head); err != nil {
			return Config{}, "", fmt.Errorf("read config dump: %w", err)
		}
		name := head.Type[min(len(head.Type), len(typePrefix)):]
		seen[name] = true
		if head.Bootstrap.Node.ID != "" {
			node = head.Bootstrap.Node.ID
		}
		newPart := dumpParts[name]
		if newPart == nil {
			continue
		}
		part := newPart()
		var any anypb.Any
		if err := protojson.Unmarshal(raw, &any); err != nil {
			return Config{}, "", fmt.Errorf("read config dump, part %s: cannot be judged: %w", name, err)
		}
		if err := any.UnmarshalTo(part.message()); err != nil {
			return Config{}, "", fmt.Errorf("read config dump, part %s: %w", name, err)
		}
		if err := part.into(&c); err != nil {
			return Config{}, "", fmt.Errorf("read config dump, part %s: cannot be judged: %w", name, err)
		}
	}
	for _, must := range []string{"envoy.admin.v3.ListenersConfigDump", "envoy.admin.v3.ClustersConfigDump"} {
		if !seen[must] {
			return Config{}, "", fmt.Errorf("read config dump: part %s is missing", must)
		}
	}
	return c, node, c.complete()
}

// take unpacks one resource of a dump into a list; a resource that was never
// accepted is absent.
func take[T proto.Message](list *[]T, into T, any *anypb.Any) error {
	if any == nil {
		return nil
	}
	if err := any.UnmarshalTo(into); err != nil {
		return fmt.Errorf("resource of type %s: %w", any.GetTypeUrl(), err)
	}
	*list = append(*list, into)
	return nil
}

type listenersPart struct{ adminv3.ListenersConfigDump }

func (p *listenersPart) message() proto.Message { return &p.ListenersConfigDump }
func (p *listenersPart) into(c *Config) error {
	var list []*anypb.Any
	for _, l := range p.GetStaticListeners() {
		list = append(list, l.GetListener())
	}
	for _, l := range p.GetDynamicListeners() {
		list = append(list, l.GetActiveState().GetListener(), l.GetWarmingState().GetListener())
	}
	for _, l := range list {
		if err := take(&c.Listeners, &listenerv3.Listener{}, l); err != nil {
			return err
		}
	}
	return nil
}

type clustersPart struct{ adminv3.ClustersConfigDump }

func (p *clustersPart) message() proto.Message { return &p.ClustersConfigDump }
func (p *clustersPart) into(c *Config) error {
	var list []*anypb.Any
	for _, x := range p.GetStaticClusters() {
		list = append(list, x.GetCluster())
	}
	for _, x := range slices.Concat(p.GetDynamicActiveClusters(), p.GetDynamicWarmingClusters()) {
		list = append(list, x.GetCluster())
	}
	for _, x := range list {
		if err := take(&c.Clusters, &clusterv3.Cluster{}, x); err != nil {
			return err
		}
	}
	return nil
}

type routesPart struct{ adminv3.RoutesConfigDump }

func (p *routesPart) message() proto.Message { return &p.RoutesConfigDump }
func (p *routesPart) into(c *Config) error {
	// Static ones are those that stand inside a connection manager as well.
	for _, x := range p.GetDynamicRouteConfigs() {
		if err := take(&c.Routes, &routev3.RouteConfiguration{}, x.GetRouteConfig()); err != nil {
			return err
		}
	}
	return nil
}

type endpointsPart struct{ adminv3.EndpointsConfigDump }

func (p *endpointsPart) message() proto.Message { return &p.EndpointsConfigDump }
func (p *endpointsPart) into(c *Config) error {
	for _, x := range p.GetDynamicEndpointConfigs() {
		if err := take(&c.Endpoints, &endpointv3.ClusterLoadAssignment{}, x.GetEndpointConfig()); err != nil {
			return err
		}
	}
	return nil
}

type extensionsPart struct{ adminv3.EcdsConfigDump }

func (p *extensionsPart) message() proto.Message { return &p.EcdsConfigDump }
func (p *extensionsPart) into(c *Config) error {
	for _, x := range p.GetEcdsFilters() {
		if err := take(&c.Extensions, &corev3.TypedExtensionConfig{}, x.GetEcdsFilter()); err != nil {
			return err
		}
	}
	return nil
}

type scopedPart struct{ adminv3.ScopedRoutesConfigDump }

func (p *scopedPart) message() proto.Message { return &p.ScopedRoutesConfigDump }
func (p *scopedPart) into(*Config) error {
	if len(p.GetInlineScopedRouteConfigs())+len(p.GetDynamicScopedRouteConfigs()) > 0 {
		return fmt.Errorf("scoped routes")
	}
	return nil
}

// complete reports a route table that is used and was not dumped. Envoy shows
// none that it does not have, so this is a dump with a part cut out.
func (c Config) complete() error {
	for _, l := range c.Listeners {
		for _, chain := range append(slices.Clone(l.GetFilterChains()), l.GetDefaultFilterChain()) {
			for _, f := range chain.GetFilters() {
				var m hcmv3.HttpConnectionManager
				if !f.GetTypedConfig().MessageIs(&m) || f.GetTypedConfig().UnmarshalTo(&m) != nil {
					continue
				}
				name := m.GetRds().GetRouteConfigName()
				has := slices.ContainsFunc(c.Routes, func(rc *routev3.RouteConfiguration) bool { return rc.GetName() == name })
				if name != "" && !has {
					return fmt.Errorf("read config dump: route table %s of listener %s is missing: cannot be judged", name, l.GetName())
				}
			}
		}
	}
	return nil
}
