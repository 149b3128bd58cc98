package envoy

import (
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	jwtauthnv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/domicile-dev/domicile/pkg/topology"
)

const (
	tokenFilterName = "domicile.jwt"
	authzFilterName = "domicile.authz"
	jwtType         = "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"
	rbacType        = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"

	// clockSkew is Envoy's default, written down so that it cannot drift.
	clockSkew = 60
	// maxLifetime bounds how long a token may still be valid: one that lives for
	// years cannot be taken back.
	maxLifetime = 90 * 24 * time.Hour
	// tokenCache is how many verified tokens a worker remembers: without it the
	// signature costs two thirds of the throughput (ENVOY.md).
	tokenCache = 32768
	maxToken   = 8192
)

// tokenFilterByECDS takes the token filter from the control plane, so that a
// new key or issuer drains nobody. Until it has come, everything is denied.
func (t *translation) tokenFilterByECDS() *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: tokenFilterName, ConfigType: &hcmv3.HttpFilter_ConfigDiscovery{
		ConfigDiscovery: &corev3.ExtensionConfigSource{
			ConfigSource:                     fromADS(),
			DefaultConfig:                    t.pack(denyAll()),
			ApplyDefaultConfigWithoutWarming: true,
			TypeUrls:                         []string{jwtType, rbacType},
		},
	}}
}

// denyAll allows nothing: an ALLOW list without an entry.
func denyAll() *httprbacv3.RBAC {
	return &httprbacv3.RBAC{Rules: &rbacv3.RBAC{Action: rbacv3.RBAC_ALLOW}}
}

// tokenFilter verifies tokens and writes home, issuer and user into headers of
// their own. Without any key nothing can be verified, and everything is denied.
func (t *translation) tokenFilter() *corev3.TypedExtensionConfig {
	providers := map[string]*jwtauthnv3.JwtProvider{}
	var any []*jwtauthnv3.JwtRequirement
	for _, i := range t.Topology.Issuers {
		if i.JWKS == "" {
			continue
		}
		providers[i.Issuer] = provider(i)
		any = append(any, &jwtauthnv3.JwtRequirement{RequiresType: &jwtauthnv3.JwtRequirement_ProviderName{ProviderName: i.Issuer}})
	}
	if len(any) == 0 {
		return &corev3.TypedExtensionConfig{Name: tokenFilterName, TypedConfig: t.pack(denyAll())}
	}
	need := any[0]
	if len(any) > 1 {
		need = &jwtauthnv3.JwtRequirement{RequiresType: &jwtauthnv3.JwtRequirement_RequiresAny{RequiresAny: &jwtauthnv3.JwtRequirementOrList{Requirements: any}}}
	}
	return &corev3.TypedExtensionConfig{Name: tokenFilterName, TypedConfig: t.pack(&jwtauthnv3.JwtAuthentication{
		Providers: providers,
		Rules: []*jwtauthnv3.RequirementRule{{
			Match:           &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
			RequirementType: &jwtauthnv3.RequirementRule_Requires{Requires: need},
		}},
	})}
}

func provider(i topology.Issuer) *jwtauthnv3.JwtProvider {
	return &jwtauthnv3.JwtProvider{
		Issuer:    i.Issuer,
		Audiences: i.Audiences,
		JwksSourceSpecifier: &jwtauthnv3.JwtProvider_LocalJwks{LocalJwks: &corev3.DataSource{
			Specifier: &corev3.DataSource_InlineString{InlineString: i.JWKS},
		}},
		// Named, because Envoy would look into ?access_token= as well.
		FromHeaders: []*jwtauthnv3.JwtHeader{{Name: "authorization", ValuePrefix: "Bearer "}},
		// The peer verifies again; the last hop strips it.
		Forward: true,
		ClaimToHeaders: []*jwtauthnv3.JwtClaimToHeader{
			{HeaderName: homeHeader, ClaimName: i.HomeClaim},
			{HeaderName: issuerHeader, ClaimName: "iss"},
			{HeaderName: userHeader, ClaimName: "sub"},
		},
		ClearRouteCache:   true,
		ClockSkewSeconds:  clockSkew,
		RequireExpiration: true,
		MaxLifetime:       durationpb.New(maxLifetime),
		JwtCacheConfig:    &jwtauthnv3.JwtCacheConfig{JwtCacheSize: tokenCache, JwtMaxTokenSize: maxToken},
	}
}

// agentFilter asks the agent beside this Envoy. No answer is a refusal.
func (t *translation) agentFilter() *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: authzFilterName, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: t.pack(&extauthzv3.ExtAuthz{
		TransportApiVersion: corev3.ApiVersion_V3,
		Services: &extauthzv3.ExtAuthz_GrpcService{GrpcService: &corev3.GrpcService{
			TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: agentName}},
			Timeout:         durationpb.New(time.Second),
		}},
		StatusOnError: &typev3.HttpStatus{Code: typev3.StatusCode_ServiceUnavailable},
		AllowedHeaders: &matcherv3.ListStringMatcher{Patterns: []*matcherv3.StringMatcher{{
			MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: scrubPrefix},
		}}},
	})}}
}
