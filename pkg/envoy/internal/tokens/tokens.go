// Package tokens makes the filter that says who is calling: it verifies tokens and
// turns their claims into headers that only Envoy sets.
package tokens

import (
	"cmp"
	"maps"
	"slices"
	"time"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	headermutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	jwtauthnv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/domicile-dev/domicile/pkg/envoy/internal/packing"
	"github.com/domicile-dev/domicile/pkg/topology"
)

const (
	// FilterName is the filter's name, and that of its resource.
	FilterName = "domicile.jwt"

	// Type is that of the filter's configuration.
	Type     = "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"
	rbacType = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"

	// clockSkew is Envoy's default, written down so that it cannot drift.
	clockSkew = time.Minute
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

// Name is that of the filter at users' listeners, or at peers'. Those differ where
// there are pins: a user's counts where it was issued only.
func Name(top *topology.Topology, peer bool) string {
	if peer && top.Pins != nil {
		return FilterName + ".peer"
	}
	return FilterName
}

// ByECDS takes a filter from the control plane, so that a new key or issuer drains
// nobody. Until it has come, everything is denied.
func ByECDS(p *packing.Packer, name, kind string, from *corev3.ConfigSource) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_ConfigDiscovery{
		ConfigDiscovery: &corev3.ExtensionConfigSource{
			ConfigSource:                     from,
			DefaultConfig:                    p.Pack(denyAll()),
			ApplyDefaultConfigWithoutWarming: true,
			TypeUrls:                         []string{kind, rbacType},
		},
	}}
}

// WithoutTrailers removes what begins with Prefix from the trailers of a request, which
// no early mutation sees: HTTP/2 brings them to the backend of a gRPC service, and
// there they may be read as headers.
func WithoutTrailers(p *packing.Packer) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: "trailers", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: p.Pack(&headermutationv3.HeaderMutation{
		Mutations: &headermutationv3.Mutations{RequestTrailersMutations: []*mutationv3.HeaderMutation{Without(Prefix)}},
	})}}
}

// Without removes all headers that begin with a prefix.
func Without(prefix string) *mutationv3.HeaderMutation {
	return &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_RemoveOnMatch_{
		RemoveOnMatch: &mutationv3.HeaderMutation_RemoveOnMatch{KeyMatcher: &matcherv3.StringMatcher{
			MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: prefix},
		}},
	}}
}

// denyAll allows nothing: an ALLOW list without an entry.
func denyAll() *httprbacv3.RBAC {
	return &httprbacv3.RBAC{Rules: &rbacv3.RBAC{Action: rbacv3.RBAC_ALLOW}}
}

// Filter verifies tokens and pins, and writes what they claim into headers of their
// own. Without any key nothing can be verified, and everything is denied. Keys that
// are shared secrets are used in their own regions only.
func Filter(p *packing.Packer, top *topology.Topology, region string, peer bool) *corev3.TypedExtensionConfig {
	providers := map[string]*jwtauthnv3.JwtProvider{}
	var any []*jwtauthnv3.JwtRequirement
	for _, i := range top.Issuers {
		if keys := keysOf(i, region); keys != nil {
			providers[i.Issuer] = provider(i, keys)
			any = append(any, name(i.Issuer))
		}
	}
	named := pins(top, region, peer, providers, any)
	if len(providers) == 0 {
		return &corev3.TypedExtensionConfig{Name: Name(top, peer), TypedConfig: p.Pack(denyAll())}
	}
	filter := &jwtauthnv3.JwtAuthentication{Providers: providers, RequirementMap: named}
	if len(any) == 0 {
		any = []*jwtauthnv3.JwtRequirement{nobody(slices.Sorted(maps.Keys(providers))[0])}
	}
	filter.Rules = []*jwtauthnv3.RequirementRule{{
		Match:           &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
		RequirementType: &jwtauthnv3.RequirementRule_Requires{Requires: anyOf(any)},
	}}
	return &corev3.TypedExtensionConfig{Name: Name(top, peer), TypedConfig: p.Pack(filter)}
}

// keysOf are the keys that an Envoy of the region verifies an issuer's tokens with; nil
// where it has none.
func keysOf(i topology.Issuer, region string) *corev3.DataSource {
	switch {
	case !i.InEnvoy():
		return nil
	case i.Secret != nil && slices.Contains(i.Secret.Regions, region):
		return &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: i.Secret.File}}
	case i.Secret == nil && i.JWKS != "":
		return inline(i.JWKS)
	}
	return nil
}

func inline(jwks string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: jwks}}
}

func name(provider string) *jwtauthnv3.JwtRequirement {
	return &jwtauthnv3.JwtRequirement{RequiresType: &jwtauthnv3.JwtRequirement_ProviderName{ProviderName: provider}}
}

// nobody is a requirement that nothing meets, where nothing but pins can be verified:
// a pin by itself is no identity.
func nobody(provider string) *jwtauthnv3.JwtRequirement {
	return &jwtauthnv3.JwtRequirement{RequiresType: &jwtauthnv3.JwtRequirement_ProviderAndAudiences{
		ProviderAndAudiences: &jwtauthnv3.ProviderWithAudiences{ProviderName: provider, Audiences: []string{"-"}},
	}}
}

func anyOf(list []*jwtauthnv3.JwtRequirement) *jwtauthnv3.JwtRequirement {
	if len(list) == 1 {
		return list[0]
	}
	return &jwtauthnv3.JwtRequirement{RequiresType: &jwtauthnv3.JwtRequirement_RequiresAny{RequiresAny: &jwtauthnv3.JwtRequirementOrList{Requirements: list}}}
}

func provider(i topology.Issuer, keys *corev3.DataSource) *jwtauthnv3.JwtProvider {
	out := verified(i.Issuer, i.Audiences, keys)
	out.ClockSkewSeconds = uint32(cmp.Or(i.Skew, clockSkew) / time.Second)
	out.MaxLifetime = durationpb.New(cmp.Or(i.MaxLifetime, maxLifetime))
	if i.HomeClaim != "" {
		out.ClaimToHeaders = append(out.ClaimToHeaders, &jwtauthnv3.JwtClaimToHeader{HeaderName: HomeHeader, ClaimName: i.HomeClaim})
	}
	out.ClaimToHeaders = append(out.ClaimToHeaders,
		&jwtauthnv3.JwtClaimToHeader{HeaderName: IssuerHeader, ClaimName: "iss"},
		&jwtauthnv3.JwtClaimToHeader{HeaderName: UserHeader, ClaimName: i.User()})
	// All are named, because Envoy would look into ?access_token= by itself.
	for _, s := range i.EnvoySources() {
		switch {
		case s.Header != "":
			out.FromHeaders = append(out.FromHeaders, &jwtauthnv3.JwtHeader{Name: s.Header, ValuePrefix: s.Prefix})
		case s.Cookie != "":
			out.FromCookies = append(out.FromCookies, s.Cookie)
		case s.Query != "":
			out.FromParams = append(out.FromParams, s.Query)
		case s.Subprotocol != "":
			out.FromHeaders = append(out.FromHeaders, &jwtauthnv3.JwtHeader{Name: "sec-websocket-protocol", ValuePrefix: s.Subprotocol})
		}
	}
	return out
}

// verified is what holds for tokens and pins alike.
func verified(issuer string, audiences []string, keys *corev3.DataSource) *jwtauthnv3.JwtProvider {
	return &jwtauthnv3.JwtProvider{
		Issuer:              issuer,
		Audiences:           audiences,
		JwksSourceSpecifier: &jwtauthnv3.JwtProvider_LocalJwks{LocalJwks: keys},
		// The peer verifies again; the last hop strips it.
		Forward:           true,
		ClearRouteCache:   true,
		RequireExpiration: true,
		JwtCacheConfig:    &jwtauthnv3.JwtCacheConfig{JwtCacheSize: tokenCache, JwtMaxTokenSize: maxToken},
	}
}

// Off turns the filter off for a route.
func Off(p *packing.Packer) *anypb.Any {
	return p.Pack(&jwtauthnv3.PerRouteConfig{RequirementSpecifier: &jwtauthnv3.PerRouteConfig_Disabled{Disabled: true}})
}
