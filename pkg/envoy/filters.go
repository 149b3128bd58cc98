package envoy

import (
	"slices"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/domicile-dev/domicile/pkg/envoy/internal/tokens"
)

const authzFilterName = "domicile.authz"

// agentFilter asks the agent beside this Envoy. No answer is a refusal.
func (t *translation) agentFilter() *hcmv3.HttpFilter { return t.authz(authzFilterName, t.askAgent()) }

func (t *translation) authz(name string, config *extauthzv3.ExtAuthz) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: t.Pack(config)}}
}

func (t *translation) askAgent() *extauthzv3.ExtAuthz {
	return &extauthzv3.ExtAuthz{
		TransportApiVersion: corev3.ApiVersion_V3,
		Services: &extauthzv3.ExtAuthz_GrpcService{GrpcService: &corev3.GrpcService{
			TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: agentName}},
			Timeout:         durationpb.New(time.Second),
		}},
		StatusOnError: &typev3.HttpStatus{Code: typev3.StatusCode_ServiceUnavailable},
		AllowedHeaders: &matcherv3.ListStringMatcher{Patterns: []*matcherv3.StringMatcher{{
			MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: tokens.Prefix},
		}}},
	}
}

// resolveFilter asks the agent whose request it is, and has the route chosen by its
// answer. The agent sees what tokens and pins stand in, and where the client is.
func (t *translation) resolveFilter() *hcmv3.HttpFilter {
	config := t.askAgent()
	config.ClearRouteCache = true
	for _, name := range slices.Concat(t.creds.Headers(), []string{t.Topology.Pins.Header, "cookie", "sec-websocket-protocol", "x-forwarded-for"}) {
		config.AllowedHeaders.Patterns = append(config.AllowedHeaders.Patterns, &matcherv3.StringMatcher{
			MatchPattern: &matcherv3.StringMatcher_Exact{Exact: name},
		})
	}
	return t.authz(authzFilterName, config)
}

// told is what a route tells the agent.
func (t *translation) told(context map[string]string) *anypb.Any {
	return t.Pack(&extauthzv3.ExtAuthzPerRoute{
		Override: &extauthzv3.ExtAuthzPerRoute_CheckSettings{CheckSettings: &extauthzv3.CheckSettings{ContextExtensions: context}},
	})
}
