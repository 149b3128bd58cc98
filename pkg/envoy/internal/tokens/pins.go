package tokens

import (
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	statev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	jwtauthnv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	setstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_filter_state/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/domicile-dev/domicile/pkg/envoy/internal/packing"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// Headers with the claims of a verified pin. A pin routes; it never says who calls.
const (
	PinPrefix           = "x-domicile-pin-" // of all of them
	PinHomeHeader       = "x-domicile-pin-home"
	PinEpochHeader      = "x-domicile-pin-epoch"
	PinIssuerHeader     = "x-domicile-pin-issuer"
	PinUserHeader       = "x-domicile-pin-user"
	PinCredentialHeader = "x-domicile-pin-credential"
)

const (
	// PinFilterName is the name of the filter that ties a pin to its token, and that
	// of its resource.
	PinFilterName = "domicile.pin"
	// PinFilterType is that of its configuration.
	PinFilterType = "type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config"
	// PinState is the key of the filter state in which it says "true" of a pin that was
	// issued for the token beside it.
	PinState = "domicile.pin"

	pinLifetime = 10 * time.Minute
	pinSkew     = 10 * time.Second
)

// Requirement is what a route of the first walk asks of a request.
type Requirement string

const (
	// PinOnly is for credentials that only an agent can read: a pin, if there is a good
	// one.
	PinOnly Requirement = "pins"
	// TokenAndPin is for tokens with a pin beside them: a good token, and the pin if it
	// is good. Neither hides the other.
	TokenAndPin Requirement = "pinned"
)

// at is the requirement for pins of a region; at a peer there is one for each.
func (r Requirement) at(region string, peer bool) string {
	if !peer {
		return string(r)
	}
	return string(r) + "/" + region
}

// PinRegions are the regions whose pins can be verified: at users' listeners their own,
// at peers' those of all.
func PinRegions(top *topology.Topology, region string, peer bool) []string {
	var out []string
	if top.Pins == nil { // asked once a home
		return nil
	}
	for _, r := range top.Regions {
		if r.PinKeys != "" && (peer || r.Name == region) {
			out = append(out, r.Name)
		}
	}
	return out
}

// pins adds the providers of pins, and returns the requirements that name them.
func pins(top *topology.Topology, region string, peer bool, providers map[string]*jwtauthnv3.JwtProvider, tokens []*jwtauthnv3.JwtRequirement) map[string]*jwtauthnv3.JwtRequirement {
	var out map[string]*jwtauthnv3.JwtRequirement
	for _, from := range PinRegions(top, region, peer) {
		r, _ := top.Region(from)
		issuer := topology.PinIssuer(from)
		providers[issuer] = pinProvider(issuer, r, top.Pins)
		if out == nil {
			out = map[string]*jwtauthnv3.JwtRequirement{}
		}
		pin := anyOf([]*jwtauthnv3.JwtRequirement{name(issuer), {RequiresType: &jwtauthnv3.JwtRequirement_AllowMissingOrFailed{}}})
		out[PinOnly.at(from, peer)] = pin
		if len(tokens) > 0 {
			out[TokenAndPin.at(from, peer)] = &jwtauthnv3.JwtRequirement{RequiresType: &jwtauthnv3.JwtRequirement_RequiresAll{
				RequiresAll: &jwtauthnv3.JwtRequirementAndList{Requirements: []*jwtauthnv3.JwtRequirement{anyOf(tokens), pin}},
			}}
		}
	}
	return out
}

// pinProvider verifies the pins of one region; their audience is the region, too.
func pinProvider(issuer string, r topology.Region, where *topology.Pins) *jwtauthnv3.JwtProvider {
	out := verified(issuer, []string{r.Name}, inline(r.PinKeys))
	out.ClockSkewSeconds = uint32(pinSkew / time.Second)
	out.MaxLifetime = durationpb.New(pinLifetime)
	out.FromHeaders = []*jwtauthnv3.JwtHeader{{Name: where.Header}}
	out.FromCookies = []string{where.Cookie}
	out.ClaimToHeaders = []*jwtauthnv3.JwtClaimToHeader{
		{HeaderName: PinHomeHeader, ClaimName: "home"},
		{HeaderName: PinEpochHeader, ClaimName: "epoch"},
		{HeaderName: PinIssuerHeader, ClaimName: "idp"},
		{HeaderName: PinUserHeader, ClaimName: "sub"},
		{HeaderName: PinCredentialHeader, ClaimName: "cred"},
	}
	return out
}

// PinFilter compares a verified pin with the token beside it, for tokens in the
// headers given, and has the route chosen again. Only routes of the first walk that
// saw something like a pin turn it on.
func PinFilter(p *packing.Packer, headers []string) *corev3.TypedExtensionConfig {
	ends := make([]string, len(headers))
	for i, h := range headers {
		ends[i] = "request.headers['" + h + "'].endsWith(request.headers['" + PinCredentialHeader + "'])"
	}
	if len(ends) == 0 {
		ends = []string{"false"}
	}
	return &corev3.TypedExtensionConfig{Name: PinFilterName, TypedConfig: p.Pack(&setstatev3.Config{
		OnRequestHeaders: []*statev3.FilterStateValue{{
			Key:        &statev3.FilterStateValue_ObjectKey{ObjectKey: PinState},
			FactoryKey: "envoy.string",
			Value: &statev3.FilterStateValue_FormatString{FormatString: &corev3.SubstitutionFormatString{
				Format: &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: &corev3.DataSource{
					Specifier: &corev3.DataSource_InlineString{InlineString: "%CEL(" + strings.Join(ends, " || ") + ")%"},
				}},
			}},
		}},
		ClearRouteCache: true,
	})}
}

// With is what a route of the first walk says so that a request is verified by a
// requirement, with the pins of a region, and its pin compared with its token.
func With(p *packing.Packer, top *topology.Topology, r Requirement, region string, peer bool) map[string]*anypb.Any {
	return map[string]*anypb.Any{
		Name(top, peer): p.Pack(&jwtauthnv3.PerRouteConfig{RequirementSpecifier: &jwtauthnv3.PerRouteConfig_RequirementName{RequirementName: r.at(region, peer)}}),
		PinFilterName:   p.Pack(&routev3.FilterConfig{Config: &anypb.Any{}}),
	}
}
