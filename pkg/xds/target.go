package xds

import (
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/domicile-dev/domicile/pkg/envoy"
)

// Type URLs of the resources that are served: those that are translated. A
// subscription to any other type ends the stream with InvalidArgument.
const (
	ClusterType   = envoy.ClusterType
	ListenerType  = envoy.ListenerType
	RouteType     = envoy.RouteType
	ExtensionType = envoy.ExtensionType
)

// Group is the set of proxies that get the same configuration. A proxy's group
// is read from its certificate.
type Group struct {
	Region, Role string // Role is gateway, peer or sidecar
}

// Resource is one named piece of Envoy configuration, marshalled once for all
// proxies. Version is a hash of the content, equal on every replica.
type Resource struct {
	Name, Version string
	Body          *anypb.Any
}

// Snapshot is everything that a proxy of one group should have. It must not be
// changed after it was handed over.
type Snapshot struct {
	Table     string                // digest of the table that the resources say
	Resources map[string][]Resource // by type URL
}

// Target is where a group should go.
type Target struct {
	Final *Snapshot
	// Revoke gives the first step for a proxy that runs fromTable: routes and
	// listeners that allow only what fromTable and Final both allow, and that
	// use only clusters of fromTable. Nil, as a function or as an answer, means
	// that fromTable is not known: the proxy is then sent the routes of Final
	// first, which is as safe, but may answer 503 until the clusters follow. It
	// is called at most once for each table, from any goroutine.
	//
	// Envoy ignores the removal of a route configuration. So a snapshot that
	// takes a route configuration away must take away its listeners as well.
	Revoke func(fromTable string) *Snapshot
}
