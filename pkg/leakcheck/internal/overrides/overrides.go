// Package overrides reads the configuration of filters that stands on routes, virtual
// hosts and route tables. It is pure.
package overrides

import (
	"maps"
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	jwtauthnv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/findings"
)

// InForce tells whether a filter runs under a list of configurations, outermost first.
func InForce(filter string, disabled bool, list []map[string]*anypb.Any) bool {
	on := !disabled
	for _, configs := range list {
		if c, ok := configs[filter]; ok {
			on = !turnsOff(c)
		}
	}
	return on
}

func unpack(a *anypb.Any) proto.Message {
	m, err := a.UnmarshalNew()
	if err != nil {
		return nil
	}
	return m
}

func turnsOff(a *anypb.Any) bool {
	switch cfg := unpack(a).(type) {
	case *jwtauthnv3.PerRouteConfig:
		return cfg.GetDisabled()
	case *extauthzv3.ExtAuthzPerRoute:
		return cfg.GetDisabled()
	case *routev3.FilterConfig:
		return cfg.GetDisabled() || !plainlyOn(cfg) && cfg.GetConfig() != nil && turnsOff(cfg.GetConfig())
	}
	return true // unknown: Judge reports it, and nobody should rely on it
}

// plainlyOn tells whether a filter is turned on and nothing of it changed.
func plainlyOn(c *routev3.FilterConfig) bool {
	return c.GetConfig() != nil && c.GetConfig().GetTypeUrl() == "" && len(c.GetConfig().GetValue()) == 0 && !c.GetDisabled()
}

// Judge reports what is not understood.
func Judge(found *findings.List, where string, configs map[string]*anypb.Any) {
	for _, name := range slices.Sorted(maps.Keys(configs)) {
		judge(found, where+" › filter "+name, configs[name])
	}
}

func judge(found *findings.List, where string, a *anypb.Any) {
	switch cfg := unpack(a).(type) {
	case *jwtauthnv3.PerRouteConfig:
	case *extauthzv3.ExtAuthzPerRoute:
		if c := cfg.GetCheckSettings(); c != nil {
			found.Known(where, c)
		}
	case *routev3.FilterConfig:
		if cfg.GetConfig() != nil && !plainlyOn(cfg) {
			judge(found, where, cfg.GetConfig())
		}
	default:
		found.Unjudged(where, "configuration of type %s", a.GetTypeUrl())
	}
}
