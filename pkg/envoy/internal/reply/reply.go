// Package reply gives every answer that Envoy makes itself a reason of the closed
// set, as application/problem+json (RFC 9457).
//
// Reason, class, home and title come from the metadata of the route on which the
// answer was made, so nothing of the policy stands in the listener. What a route
// cannot know is told by Envoy's response code details.
package reply

import (
	"fmt"
	"slices"
	"strings"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	celv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/cel/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/domicile-dev/domicile/pkg/residency"
)

// The metadata of routes that answers are made from, under Namespace.
const (
	Namespace = "domicile"
	Reason    = "reason"
	Title     = "title"
	Class     = "class"
	Home      = "home"
	Policy    = "policy" // of the virtual host
)

func fromRoute(key string) string { return "%METADATA(ROUTE:" + Namespace + ":" + key + ")%" }

// FromVirtualHost is the digest in the virtual host's metadata, for Config.
const FromVirtualHost = "%METADATA(VIRTUAL_HOST:" + Namespace + ":" + Policy + ")%"

// details is true for response code details that begin with one of the prefixes.
func details(prefixes ...string) string {
	var out []string
	for _, p := range prefixes {
		out = append(out, fmt.Sprintf("response.code_details.startsWith(%q)", p))
	}
	return "(" + strings.Join(out, " || ") + ")"
}

// row is what answers are given where a condition holds.
type row struct {
	when   string
	status uint32
	why    residency.Reason
}

// fenced are the answers of the fence: of a user who was erased, and of one who moved
// and whose token names the home that was.
var fenced = []row{
	{details("rbac_access_denied_matched_policy[erased]"), 410, residency.Erased},
	{details("rbac_access_denied_matched_policy[moved]"), 401, residency.BadToken},
}

// Config types Envoy's own answers. Policy is the format of the table's digest; fence
// tells whether there is one.
func Config(policy string, fence bool) (*hcmv3.LocalReplyConfig, error) {
	const always5xx = "response.code >= 500"
	ours, longest := details("direct_response"), details("max_duration_timeout")
	rows := []row{
		{details("jwt_authn_access_denied") + " && !" + details("jwt_authn_access_denied{Jwt_is_missing"), 401, residency.BadToken},
		{details("ext_authz_denied"), 0, ""}, // the agent has said it all
		{details("ext_authz_error", "rbac_access_denied", "route_not_found", "route_configuration_not_found", "overload"), 503, residency.NotDecidable},
		{"(response.code < 500 || " + details("http1.", "http2.") + ") && !" + details("direct_response", "jwt_authn", "max_duration_timeout"), 400, residency.BadRequest},
		{"(response.code >= 500 || " + longest + ") && !" + ours, 503, residency.RegionUnavailable},
		{always5xx, 0, residency.Reason(fromRoute(Reason))},
		{"true", 0, residency.Reason(fromRoute(Reason))},
	}
	if fence {
		rows = slices.Concat(fenced, rows)
	}
	out := &hcmv3.LocalReplyConfig{BodyFormat: problem(fromRoute(Reason), fromRoute(Title), policy)}
	for _, r := range rows {
		m, err := mapper(r.when)
		if err != nil {
			return nil, err
		}
		switch {
		case r.why == "":
			m.BodyFormatOverride = &corev3.SubstitutionFormatString{
				ContentType: "application/problem+json",
				Format: &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: &corev3.DataSource{
					Specifier: &corev3.DataSource_InlineString{InlineString: "%LOCAL_REPLY_BODY%"},
				}},
			}
		case r.status != 0:
			m.StatusCode = wrapperspb.UInt32(r.status)
			m.BodyFormatOverride = problem(string(r.why), r.why.Title(), policy)
			fallthrough
		default:
			m.HeadersToAdd = []*corev3.HeaderValueOption{header("x-domicile-reason", string(r.why))}
		}
		if r.status >= 500 || r.when == always5xx {
			m.HeadersToAdd = append(m.HeadersToAdd, header("retry-after", "5"))
		}
		out.Mappers = append(out.Mappers, m)
	}
	return out, nil
}

// mapper maps the answers for which a CEL expression is true.
func mapper(when string) (*hcmv3.ResponseMapper, error) {
	cel := &anypb.Any{}
	if err := anypb.MarshalFrom(cel, &celv3.ExpressionFilter{Expression: when}, proto.MarshalOptions{Deterministic: true}); err != nil {
		return nil, fmt.Errorf("encode expression: %w", err)
	}
	return &hcmv3.ResponseMapper{Filter: &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ExtensionFilter{
		ExtensionFilter: &accesslogv3.ExtensionFilter{
			Name: "cel", ConfigType: &accesslogv3.ExtensionFilter_TypedConfig{TypedConfig: cel},
		},
	}}}, nil
}

func header(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header: &corev3.HeaderValue{Key: name, Value: value}, AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

// problem is the body.
func problem(reason, title, policy string) *corev3.SubstitutionFormatString {
	s := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	for k, v := range map[string]string{
		"status": "%RESPONSE_CODE%", Title: title, Reason: reason, Class: fromRoute(Class), Home: fromRoute(Home), Policy: policy,
	} {
		s.Fields[k] = structpb.NewStringValue(v)
	}
	return &corev3.SubstitutionFormatString{
		ContentType:     "application/problem+json",
		OmitEmptyValues: true,
		Format:          &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: s},
	}
}
