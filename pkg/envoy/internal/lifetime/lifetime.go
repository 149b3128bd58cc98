// Package lifetime bounds how long streams last. It is pure.
package lifetime

import (
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Most is a bound.
func Most(d time.Duration) *routev3.RouteAction_MaxStreamDuration {
	return &routev3.RouteAction_MaxStreamDuration{MaxStreamDuration: durationpb.New(d)}
}

// Spread bounds the streams of a route. The bound is spread over the last eighth of
// it, so that sessions that began together do not end together: each of the routes
// that stand for the one takes its share of the new streams.
func Spread(route *routev3.Route, most time.Duration) []*routev3.Route {
	if most == 0 || route.GetRoute() == nil {
		return []*routev3.Route{route}
	}
	const shares = 4
	var out []*routev3.Route
	for i := range shares {
		v := proto.Clone(route).(*routev3.Route)
		v.GetRoute().MaxStreamDuration = Most(most - most/8*time.Duration(i)/(shares-1))
		if left := shares - i; left > 1 {
			v.Match.RuntimeFraction = &corev3.RuntimeFractionalPercent{DefaultValue: &typev3.FractionalPercent{
				Numerator: uint32(1_000_000 / left), Denominator: typev3.FractionalPercent_MILLION,
			}}
		}
		out = append(out, v)
	}
	return out
}
