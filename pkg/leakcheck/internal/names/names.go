// Package names reads where TLS server names lead a connection. It is pure.
package names

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	setv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/set_filter_state/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"

	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/facts"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/fields"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// None is what Envoy writes for a connection without a server name.
const None = "-"

const written = "%REQUESTED_SERVER_NAME%"

// Chosen reads a chain of filters by which the server name completes the name of the
// cluster that a connection is passed on to. It is false for every other chain, and
// for one whose choice is shared with the connection's next listener.
func Chosen(filters []*listenerv3.Filter) (prefix string, tcp *tcpproxyv3.TcpProxy, ok bool) {
	if len(filters) != 2 {
		return "", nil, false
	}
	var set setv3.Config
	tcp = &tcpproxyv3.TcpProxy{}
	if filters[0].GetTypedConfig().UnmarshalTo(&set) != nil || filters[1].GetTypedConfig().UnmarshalTo(tcp) != nil {
		return "", nil, false
	}
	values := set.GetOnNewConnection()
	if len(values) != 1 || values[0].GetObjectKey() != "envoy.tcp_proxy.cluster" || values[0].GetFactoryKey() != "" {
		return "", nil, false
	}
	text := values[0].GetFormatString()
	if len(fields.Outside(&set))+len(fields.Outside(values[0]))+len(fields.Outside(text)) > 0 {
		return "", nil, false
	}
	prefix, ok = strings.CutSuffix(text.GetTextFormatSource().GetInlineString(), written)
	return prefix, tcp, ok && prefix != "" && !strings.Contains(prefix, "%")
}

// Own are the names under which a region's gateway answers, as a server name spells
// them.
func Own(r topology.Region) []string {
	var out []string
	for _, name := range append([]string{r.Host}, r.Aliases...) {
		if _, err := netip.ParseAddr(name); err != nil && name != "" {
			out = append(out, strings.ToLower(name))
		}
	}
	return out
}

// Regions are those whose host a server name is: Envoy spells names small.
func Regions(top *topology.Topology, name string) []topology.Region {
	return slices.DeleteFunc(slices.Clone(top.Regions), func(r topology.Region) bool { return strings.ToLower(r.Host) != name })
}

// Door is host:port at which a region's gateway takes a stream that comes from
// another region's; "" where there is none.
func Door(r topology.Region, s topology.Stream) string {
	at := r.Listen.Streams[s.Name]
	if i := strings.LastIndexByte(r.TLS, ':'); at == "" && i > 0 {
		at = r.TLS[:i+1] + strconv.Itoa(s.Port)
	}
	if r.TLS == "" {
		return ""
	}
	return facts.Normal(at)
}

// Stream finds the stream that a region's gateway takes at an address.
func Stream(top *topology.Topology, own topology.Region, at string) (topology.Stream, bool) {
	for _, s := range top.Streams {
		listen := own.Listen.Streams[s.Name]
		if listen == "" {
			listen = "0.0.0.0:" + strconv.Itoa(s.Port)
		}
		if facts.Normal(listen) == at {
			return s, true
		}
	}
	return topology.Stream{}, false
}

// At tells whether an address, normal as facts spells it, is one of a list.
func At(address string, list ...string) bool {
	return slices.ContainsFunc(list, func(a string) bool { return a != "" && facts.Normal(a) == address })
}
