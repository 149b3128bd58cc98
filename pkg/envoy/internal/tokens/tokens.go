// Package tokens makes the filter that says who is calling: it verifies tokens and
// turns their claims into headers that only Envoy sets.
package tokens

import (
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	jwtauthnv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/domicile-dev/domicile/pkg/envoy/internal/packing"
	"github.com/domicile-dev/domicile/pkg/topology"
)

const (
	// FilterName is the filter's name, and that of its resource.
	FilterName = "domicile.jwt"

	jwtType  = "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"
	rbacType = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"

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

// Headers that only Envoy sets. Everything that begins with Prefix is removed from
// what a client sends before any filter sees it.
const (
	Prefix       = "x-domicile-"
	HomeHeader   = "x-domicile-home"
	IssuerHeader = "x-domicile-issuer"
	UserHeader   = "x-domicile-user"
)

// FilterByECDS takes the token filter from the control plane, so that a new key or
// issuer drains nobody. Until it has come, everything is denied.
func FilterByECDS(p *packing.Packer, from *corev3.ConfigSource) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: FilterName, ConfigType: &hcmv3.HttpFilter_ConfigDiscovery{
		ConfigDiscovery: &corev3.ExtensionConfigSource{
			ConfigSource:                     from,
			DefaultConfig:                    p.Pack(denyAll()),
			ApplyDefaultConfigWithoutWarming: true,
			TypeUrls:                         []string{jwtType, rbacType},
		},
	}}
}

// denyAll allows nothing: an ALLOW list without an entry.
func denyAll() *httprbacv3.RBAC {
	return &httprbacv3.RBAC{Rules: &rbacv3.RBAC{Action: rbacv3.RBAC_ALLOW}}
}

// Filter verifies tokens and writes home, issuer and user into headers of their own.
// Without any key nothing can be verified, and everything is denied.
func Filter(p *packing.Packer, top *topology.Topology) *corev3.TypedExtensionConfig {
	providers := map[string]*jwtauthnv3.JwtProvider{}
	var any []*jwtauthnv3.JwtRequirement
	for _, i := range top.Issuers {
		if i.JWKS == "" {
			continue
		}
		providers[i.Issuer] = provider(i)
		any = append(any, &jwtauthnv3.JwtRequirement{RequiresType: &jwtauthnv3.JwtRequirement_ProviderName{ProviderName: i.Issuer}})
	}
	if len(any) == 0 {
		return &corev3.TypedExtensionConfig{Name: FilterName, TypedConfig: p.Pack(denyAll())}
	}
	need := any[0]
	if len(any) > 1 {
		need = &jwtauthnv3.JwtRequirement{RequiresType: &jwtauthnv3.JwtRequirement_RequiresAny{RequiresAny: &jwtauthnv3.JwtRequirementOrList{Requirements: any}}}
	}
	return &corev3.TypedExtensionConfig{Name: FilterName, TypedConfig: p.Pack(&jwtauthnv3.JwtAuthentication{
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
			{HeaderName: HomeHeader, ClaimName: i.HomeClaim},
			{HeaderName: IssuerHeader, ClaimName: "iss"},
			{HeaderName: UserHeader, ClaimName: "sub"},
		},
		ClearRouteCache:   true,
		ClockSkewSeconds:  clockSkew,
		RequireExpiration: true,
		MaxLifetime:       durationpb.New(maxLifetime),
		JwtCacheConfig:    &jwtauthnv3.JwtCacheConfig{JwtCacheSize: tokenCache, JwtMaxTokenSize: maxToken},
	}
}

// Off turns the filter off for a route.
func Off(p *packing.Packer) *anypb.Any {
	return p.Pack(&jwtauthnv3.PerRouteConfig{RequirementSpecifier: &jwtauthnv3.PerRouteConfig_Disabled{Disabled: true}})
}
