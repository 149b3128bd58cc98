package reply

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/domicile-dev/domicile/pkg/residency"
)

// Deny answers with a reason. The listener's local reply makes the body from the
// route's metadata.
func Deny(m *routev3.RouteMatch, why residency.Reason, class, home string) *routev3.Route {
	return &routev3.Route{
		Match:    m,
		Action:   &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: uint32(why.Status())}},
		Metadata: Explain(why, class, home),
	}
}

// Explain is the metadata of a route on which an answer of Envoy's own means why.
// Class and home may be empty.
func Explain(why residency.Reason, class, home string) *corev3.Metadata {
	fields := map[string]string{Reason: string(why), Title: why.Title()}
	if class != "" {
		fields[Class] = class
	}
	if home != "" {
		fields[Home] = home
	}
	return Metadata(fields)
}

// Metadata holds fields under Namespace.
func Metadata(fields map[string]string) *corev3.Metadata {
	s := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	for k, v := range fields {
		s.Fields[k] = structpb.NewStringValue(v)
	}
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{Namespace: s}}
}
