// Package sample makes the access log by which an Envoy shows a sample of its
// requests to the agent beside it, which counts users by home (package
// agent/coverage). It holds nothing of the policy, and is the only access log.
package sample

import (
	"fmt"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	grpclogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

// Runtime is the key of Envoy's runtime that sets how many of 100 requests are
// shown; 1 where it is not set.
const Runtime = "domicile.coverage"

// Log returns the access log. Requests without the user header, which Envoy sets
// from a verified token, are not shown. Of what Envoy sends, the agent keeps
// counts only.
func Log(agentCluster, userHeader, homeHeader string) (*accesslogv3.AccessLog, error) {
	config, err := anypb.New(&grpclogv3.HttpGrpcAccessLogConfig{
		CommonConfig: &grpclogv3.CommonGrpcAccessLogConfig{
			LogName:             "coverage",
			TransportApiVersion: corev3.ApiVersion_V3,
			GrpcService: &corev3.GrpcService{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
				EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: agentCluster},
			}},
		},
		AdditionalRequestHeadersToLog: []string{userHeader, homeHeader},
	})
	if err != nil {
		return nil, fmt.Errorf("access log: %w", err)
	}
	return &accesslogv3.AccessLog{
		Name: "coverage",
		Filter: &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_AndFilter{
			AndFilter: &accesslogv3.AndFilter{Filters: []*accesslogv3.AccessLogFilter{
				{FilterSpecifier: &accesslogv3.AccessLogFilter_RuntimeFilter{RuntimeFilter: &accesslogv3.RuntimeFilter{
					RuntimeKey:               Runtime,
					PercentSampled:           &typev3.FractionalPercent{Numerator: 1},
					UseIndependentRandomness: true,
				}}},
				{FilterSpecifier: &accesslogv3.AccessLogFilter_HeaderFilter{HeaderFilter: &accesslogv3.HeaderFilter{
					Header: &routev3.HeaderMatcher{
						Name: userHeader, HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true},
					},
				}}},
			}},
		}},
		ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: config},
	}, nil
}
