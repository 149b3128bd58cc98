// Package counted names the counters of what passes by observation: one for each
// home, class and reason, and nothing of any user. Prometheus sees them as
//
//	envoy_vhost_route_upstream_rq_total{envoy_route="observed",domicile_home="SA",domicile_class="message",domicile_reason="no-rule"}
//
// It is pure.
package counted

import (
	"strings"

	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"

	"github.com/domicile-dev/domicile/pkg/residency"
)

// prefix is the first part of the name of a route that counts.
const prefix = "observed"

// Route is the name under which a route counts.
func Route(home, class string, why residency.Reason) string {
	return strings.Join([]string{prefix, home, class, string(why)}, ".")
}

// Tags make labels of the parts of a name.
func Tags() *metricsv3.StatsConfig {
	const part = `[^.]+`
	before := `^vhost\.` + part + `\.route\.` + prefix + `\.`
	out := &metricsv3.StatsConfig{}
	for _, label := range []string{"domicile.home", "domicile.class", "domicile.reason"} {
		out.StatsTags = append(out.StatsTags, &metricsv3.TagSpecifier{
			TagName: label, TagValue: &metricsv3.TagSpecifier_Regex{Regex: before + `((` + part + `)\.)`},
		})
		before += part + `\.`
	}
	return out
}
