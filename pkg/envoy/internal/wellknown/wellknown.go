// Package wellknown makes the answers to GET /.well-known/domicile, which tells a
// client the host of a home: of its own, where the request says whose it is, and of
// all homes otherwise. They hold public facts of the policy only. It is pure.
package wellknown

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/domicile-dev/domicile/pkg/envoy/internal/lifetime"
	"github.com/domicile-dev/domicile/pkg/envoy/internal/match"
	"github.com/domicile-dev/domicile/pkg/envoy/internal/reply"
	"github.com/domicile-dev/domicile/pkg/envoy/internal/tokens"
	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// Path is where clients ask, and Methods how.
const (
	Path    = "/.well-known/domicile"
	Methods = "GET|HEAD"
)

// Name is that of the route table, of the internal listener that answers, and of the
// cluster that leads there.
const Name = "wellknown"

// Asked is the condition of the requests for it.
func Asked(t match.Tree) *match.Predicate {
	return match.And(t.Header(":path", regexp.QuoteMeta(Path)+`(?:\?.*)?`), t.Header(":method", Methods))
}

// Route matches them in a list of routes.
func Route() *routev3.RouteMatch {
	return &routev3.RouteMatch{
		PathSpecifier: &routev3.RouteMatch_Path{Path: Path}, Headers: []*routev3.HeaderMatcher{match.HeaderIs(":method", Methods)},
	}
}

// Takes tells whether a class route would take them too.
func Takes(m residency.Match) bool {
	if m.GRPCService != "" || m.Method != "" && m.Method != "GET" && m.Method != "HEAD" {
		return false
	}
	prefix := strings.TrimSuffix(m.PathPrefix, "/")
	segments := strings.Split(m.PathTemplate, "/")
	switch {
	case m.Path != "":
		return m.Path == Path
	case m.PathTemplate != "":
		return len(segments) == strings.Count(Path, "/")+1
	}
	return Path == prefix || strings.HasPrefix(Path, prefix+"/")
}

// hostHeader tells the listener that answers the host of the home.
const hostHeader = "x-domicile-host"

// Ask leads to the internal listener that answers, with the host of a home that is
// known; "" for none. Its metadata would say why, were there no answer.
func Ask(m *routev3.RouteMatch, host string) *routev3.Route {
	r := reply.Deny(m, residency.NotDecidable, "", "")
	r.Action = &routev3.Route_Route{Route: &routev3.RouteAction{
		ClusterSpecifier:  &routev3.RouteAction_Cluster{Cluster: Name},
		Timeout:           durationpb.New(time.Second),
		MaxStreamDuration: lifetime.Most(time.Second),
	}}
	if host != "" {
		r.RequestHeadersToAdd = []*corev3.HeaderValueOption{set(hostHeader, host)}
	}
	return r
}

// Manager is the listener's: it holds nothing of the policy.
func Manager(from *corev3.ConfigSource, router *hcmv3.HttpFilter) *hcmv3.HttpConnectionManager {
	return &hcmv3.HttpConnectionManager{
		StatPrefix:     Name,
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{RouteConfigName: Name, ConfigSource: from}},
		HttpFilters:    []*hcmv3.HttpFilter{router},
	}
}

// mostBytes is how long an answer may be where Envoy is not told otherwise.
const mostBytes = 4096

// Table answers with the home that the token, or the pin, says and with its host, and
// with those of all homes where nothing says one.
func Table(table *residency.Table, top *topology.Topology) (*routev3.RouteConfiguration, error) {
	hosts := map[string]string{}
	for _, home := range table.Homes() {
		if host := HostOf(home, table, top); host != "" {
			hosts[home] = host
		}
	}
	body, err := json.Marshal(struct {
		Homes map[string]string `json:"homes"`
	}{hosts})
	if err != nil {
		return nil, fmt.Errorf("hosts of homes: %w", err)
	}
	said := &structpb.Struct{Fields: map[string]*structpb.Value{
		"home": structpb.NewStringValue("%REQ(" + tokens.HomeHeader + "?" + tokens.PinHomeHeader + ")%"),
		"host": structpb.NewStringValue("%REQ(" + hostHeader + ")%"),
	}}
	own := &routev3.DirectResponseAction{Status: 200, BodyFormat: &corev3.SubstitutionFormatString{
		Format: &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: said}, OmitEmptyValues: true, ContentType: jsonType,
	}}
	all := &routev3.DirectResponseAction{Status: 200, Body: &corev3.DataSource{
		Specifier: &corev3.DataSource_InlineString{InlineString: string(body) + "\n"},
	}}
	rc := &routev3.RouteConfiguration{Name: Name, VirtualHosts: []*routev3.VirtualHost{{Name: Name, Domains: []string{"*"}, Routes: []*routev3.Route{
		answer(own, tokens.HomeHeader), answer(own, tokens.PinHomeHeader), answer(all, ""),
	}}}}
	if len(body) >= mostBytes {
		rc.MaxDirectResponseBodySizeBytes = wrapperspb.UInt32(uint32(len(body) + 1))
	}
	return rc, nil
}

// Memory makes a Table once for all Envoys of a policy. The zero Memory is ready; it
// must not be used concurrently.
type Memory struct {
	table *residency.Table
	top   *topology.Topology
	made  *routev3.RouteConfiguration
}

// Table is the function Table; what it returns must not be changed.
func (m *Memory) Table(table *residency.Table, top *topology.Topology) (*routev3.RouteConfiguration, error) {
	if m.made != nil && m.table == table && m.top == top {
		return m.made, nil
	}
	made, err := Table(table, top)
	if err == nil {
		*m = Memory{table, top, made}
	}
	return made, err
}

// HostOf is the host of the region that serves a home first, in the first class
// route that is served at all.
func HostOf(home string, table *residency.Table, top *topology.Topology) string {
	for i, r := range table.Routes() {
		if r.Subject != residency.SubjectCaller && r.Subject != residency.SubjectUser {
			continue
		}
		rule := table.DecideRoute(i, residency.Query{Home: home}).Rule
		if rule == nil || len(rule.Serve) == 0 {
			continue
		}
		if region, ok := top.Region(rule.Serve[0]); ok && region.Host != "" {
			return region.Host
		}
	}
	return ""
}

const jsonType = "application/json"

// answer is for requests with a header, "" for all.
func answer(what *routev3.DirectResponseAction, with string) *routev3.Route {
	m := match.AnyPath()
	if with != "" {
		m.Headers = []*routev3.HeaderMatcher{match.HeaderIs(with, ".+")}
	}
	return &routev3.Route{
		Match: m, Action: &routev3.Route_DirectResponse{DirectResponse: what},
		ResponseHeadersToAdd: []*corev3.HeaderValueOption{set("content-type", jsonType), set("cache-control", "no-store")},
	}
}

func set(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header: &corev3.HeaderValue{Key: name, Value: value}, AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}
