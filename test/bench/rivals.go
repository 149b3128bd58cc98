package main

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	luav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/lua/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/domicile-dev/domicile/pkg/envoy"
)

// regionHeader is where a rival writes what its map said.
const regionHeader = "x-region"

// rivals adds to a static bootstrap the listeners that the gateway is compared
// with; addresses says which, and where.
type rivals struct {
	addresses map[string]string // by side
	homes     int
	routeTime *durationpb.Duration
}

// addTo writes the listeners beside the gateway's own.
func (r rivals) addTo(bootstrap []byte) ([]byte, error) {
	b := &bootstrapv3.Bootstrap{}
	if err := protojson.Unmarshal(bootstrap, b); err != nil {
		return nil, fmt.Errorf("read bootstrap: %w", err)
	}
	list := b.GetStaticResources().GetListeners()
	at := slices.IndexFunc(list, func(l *listenerv3.Listener) bool { return l.GetName() == envoy.Gateway })
	if at < 0 {
		return nil, fmt.Errorf("read bootstrap: no listener %s", envoy.Gateway)
	}
	gateway := list[at]
	hcm := &hcmv3.HttpConnectionManager{}
	if err := gateway.GetFilterChains()[0].GetFilters()[0].GetTypedConfig().UnmarshalTo(hcm); err != nil {
		return nil, fmt.Errorf("read gateway: %w", err)
	}
	filters := hcm.GetHttpFilters()
	token, router := filters[0], filters[len(filters)-1]
	for _, side := range []string{bareSide, callOutSide, luaSide} {
		addr, ok := r.addresses[side]
		if !ok {
			continue
		}
		own, routes, err := r.filters(side)
		if err != nil {
			return nil, err
		}
		if own != nil {
			own = []*hcmv3.HttpFilter{token, own[0]}
		}
		l, err := rival(gateway, hcm, side, addr, append(own, router), routes)
		if err != nil {
			return nil, err
		}
		b.StaticResources.Listeners = append(b.StaticResources.Listeners, l)
	}
	return envoy.JSON(b)
}

// rival is the gateway's listener with other filters and routes. What makes its
// typed refusals and scrubs its headers is left out; the hardening stays.
func rival(gateway *listenerv3.Listener, hcm *hcmv3.HttpConnectionManager, side, addr string, filters []*hcmv3.HttpFilter, routes []*routev3.Route) (*listenerv3.Listener, error) {
	l := proto.Clone(gateway).(*listenerv3.Listener)
	h := proto.Clone(hcm).(*hcmv3.HttpConnectionManager)
	host, port, err := splitPort(addr)
	if err != nil {
		return nil, err
	}
	l.Name, h.StatPrefix = side, side
	l.Address = &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
	h.HttpFilters, h.EarlyHeaderMutationExtensions, h.LocalReplyConfig = filters, nil, nil
	h.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{
		Name: side, VirtualHosts: []*routev3.VirtualHost{{Name: side, Domains: []string{"*"}, Routes: routes}},
	}}
	body, err := anypb.New(h)
	if err != nil {
		return nil, fmt.Errorf("encode listener %s: %w", side, err)
	}
	l.FilterChains[0].Filters[0].ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: body}
	return l, nil
}

// filters is what one rival has beside token filter and router, and its routes.
func (r rivals) filters(side string) ([]*hcmv3.HttpFilter, []*routev3.Route, error) {
	var m proto.Message
	switch side {
	case bareSide:
		return nil, []*routev3.Route{r.toHere(nil)}, nil
	case callOutSide:
		m = &extauthzv3.ExtAuthz{
			TransportApiVersion: corev3.ApiVersion_V3, ClearRouteCache: true,
			Services: &extauthzv3.ExtAuthz_GrpcService{GrpcService: &corev3.GrpcService{
				TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: "agent"}},
				Timeout:         durationpb.New(time.Second),
			}},
			AllowedHeaders: &matcherv3.ListStringMatcher{Patterns: []*matcherv3.StringMatcher{{
				MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "x-domicile-home"},
			}}},
		}
	case luaSide:
		m = &luav3.Lua{DefaultSourceCode: &corev3.DataSource{
			Specifier: &corev3.DataSource_InlineString{InlineString: r.lua()},
		}}
	default:
		return nil, nil, fmt.Errorf("no rival is called %q", side)
	}
	body, err := anypb.New(m)
	if err != nil {
		return nil, nil, fmt.Errorf("encode filter of %s: %w", side, err)
	}
	pinned := r.toHere([]*routev3.HeaderMatcher{{
		Name: regionHeader,
		HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: &matcherv3.StringMatcher{
			MatchPattern: &matcherv3.StringMatcher_Exact{Exact: here},
		}},
	}})
	refused := &routev3.Route{
		Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
		Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 403}},
	}
	return []*hcmv3.HttpFilter{{Name: side, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: body}}},
		[]*routev3.Route{pinned, refused}, nil
}

func (r rivals) toHere(headers []*routev3.HeaderMatcher) *routev3.Route {
	return &routev3.Route{
		Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}, Headers: headers},
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: localCluster}, Timeout: r.routeTime,
		}},
	}
}

// regionMap is what each rival knows: home to region.
func (r rivals) regionMap() map[string]string {
	out := map[string]string{}
	for i := range r.homes {
		if out[homeName(i)] = elsewhere; homeHere(i) {
			out[homeName(i)] = here
		}
	}
	return out
}

func (r rivals) lua() string {
	var b strings.Builder
	b.WriteString("local regions = {\n")
	for i := range r.homes {
		fmt.Fprintf(&b, "  [%q] = %q,\n", homeName(i), r.regionMap()[homeName(i)])
	}
	fmt.Fprintf(&b, `}
function envoy_on_request(handle)
  local headers = handle:headers()
  local region = regions[headers:get("x-domicile-home")]
  if region == nil then
    handle:respond({[":status"] = "403"}, "refused")
    return
  end
  headers:replace(%q, region)
end
`, regionHeader)
	return b.String()
}

// haproxyConfig verifies each token and maps its home; a second backend stands
// for the other region.
func (r rivals) haproxyConfig(addr, backend, key, regions string) string {
	return fmt.Sprintf(`global
  nbthread 1
defaults
  mode http
  timeout client 60s
  timeout server 60s
  timeout connect 2s
  http-reuse always
frontend pinned
  bind %s
  http-request set-var(txn.token) http_auth_bearer
  http-request deny deny_status 401 unless { var(txn.token),jwt_header_query('$.alg') -m str ES256 }
  http-request deny deny_status 401 unless { var(txn.token),jwt_payload_query('$.iss') -m str %s }
  http-request deny deny_status 401 unless { var(txn.token),jwt_verify("ES256",%q) 1 }
  http-request set-var(txn.region) var(txn.token),jwt_payload_query('$.home'),map_str(%s)
  http-request deny deny_status 403 unless { var(txn.region) -m found }
  use_backend %%[var(txn.region)]
backend %s
  server local %s
backend %s
  http-request deny deny_status 503
`, addr, issuer, key, regions, here, backend, elsewhere)
}

func splitPort(addr string) (string, uint32, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("port of %s: %w", addr, err)
	}
	return host, uint32(n), nil
}
