// Package sources judges where configuration comes from that Envoy fetches by itself.
// It is pure.
package sources

import (
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/findings"
)

// refusal is the type of the filter that can only refuse.
const refusal = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"

// Control tells whether a source is the stream of the control plane, or a file of
// this machine: what comes from there is judged where it has come.
func Control(s *corev3.ConfigSource) bool {
	return s == nil || s.GetAds() != nil || s.GetPathConfigSource() != nil
}

// Filter judges where a filter's configuration comes from. Whoever is not the control
// plane may send what can only refuse. It returns the clusters that are asked for it,
// which must be the agent's.
func Filter(found *findings.List, where string, d *corev3.ExtensionConfigSource) (clusters []string) {
	s := d.GetConfigSource()
	if Control(s) {
		return nil
	}
	if slices.ContainsFunc(d.GetTypeUrls(), func(u string) bool { return u != refusal }) || len(d.GetTypeUrls()) == 0 {
		found.Unjudged(where, "what is not from the control plane may do more than refuse: it may be of types %v", d.GetTypeUrls())
	}
	services := s.GetApiConfigSource().GetGrpcServices()
	for _, g := range services {
		clusters = append(clusters, g.GetEnvoyGrpc().GetClusterName())
	}
	if len(services) == 0 || s.GetApiConfigSource().GetClusterNames() != nil || slices.Contains(clusters, "") {
		found.Unjudged(where, "its configuration comes from no cluster")
	}
	return clusters
}
