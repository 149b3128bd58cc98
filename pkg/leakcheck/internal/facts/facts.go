// Package facts reads single facts out of Envoy's messages, without judging them.
package facts

import (
	"bytes"
	"encoding/json"
	"net"
	"slices"
	"strconv"
	"strings"

	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	internalupstreamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/internal_upstream/v3"
	proxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/proxy_protocol/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
)

// Normal spells host:port in one way.
func Normal(hostPort string) string {
	h, p, err := net.SplitHostPort(hostPort)
	if err != nil {
		return strings.ToLower(hostPort)
	}
	if ip := net.ParseIP(h); ip != nil {
		h = ip.String()
	}
	return net.JoinHostPort(strings.ToLower(h), p)
}

// AddressText spells an address; a port or path makes it one of ours.
func AddressText(a *corev3.Address) string {
	switch t := a.GetAddress().(type) {
	case *corev3.Address_SocketAddress:
		s := t.SocketAddress
		if s.GetNamedPort() != "" || s.GetResolverName() != "" || s.GetProtocol() != corev3.SocketAddress_TCP {
			return odd(s.String())
		}
		return Normal(net.JoinHostPort(s.GetAddress(), strconv.Itoa(int(s.GetPortValue()))))
	case *corev3.Address_Pipe:
		return "unix:" + t.Pipe.GetPath()
	}
	return odd(a.String())
}

// odd spells an address that is none of ours; the text form of a message varies
// in its spaces on purpose.
func odd(text string) string { return "odd:" + strings.Join(strings.Fields(text), " ") }

// Validation returns the validation of certificates, and whether an authority
// is named for it.
func Validation(c *tlsv3.CommonTlsContext) (v *tlsv3.CertificateValidationContext, ca bool) {
	if combined := c.GetCombinedValidationContext(); combined != nil {
		v = combined.GetDefaultValidationContext()
		return v, combined.GetValidationContextSdsSecretConfig() != nil || v.GetTrustedCa() != nil
	}
	if c.GetValidationContextSdsSecretConfig() != nil {
		return &tlsv3.CertificateValidationContext{}, true
	}
	v = c.GetValidationContext()
	return v, v.GetTrustedCa() != nil
}

// Chains are all filter chains of a listener.
func Chains(l *listenerv3.Listener) []*listenerv3.FilterChain {
	out := slices.Clone(l.GetFilterChains())
	if d := l.GetDefaultFilterChain(); d != nil {
		out = append(out, d)
	}
	return out
}

// TLS tells whether a chain ends TLS.
func TLS(c *listenerv3.FilterChain) bool {
	return c.GetTransportSocket().GetTypedConfig().MessageIs(&tlsv3.DownstreamTlsContext{})
}

// Inside tells whether a cluster leads to internal listeners only.
func Inside(c *clusterv3.Cluster) bool {
	static := c.GetClusterType() == nil && c.GetType() != clusterv3.Cluster_EDS
	for _, group := range c.GetLoadAssignment().GetEndpoints() {
		for _, e := range group.GetLbEndpoints() {
			static = static && e.GetEndpoint().GetAddress().GetEnvoyInternalAddress() != nil && len(e.GetEndpoint().GetAdditionalAddresses()) == 0
		}
	}
	return static
}

// InternalListeners are the names of those that a cluster leads to.
func InternalListeners(c *clusterv3.Cluster) []string {
	var out []string
	for _, group := range c.GetLoadAssignment().GetEndpoints() {
		for _, e := range group.GetLbEndpoints() {
			if a := e.GetEndpoint().GetAddress().GetEnvoyInternalAddress(); a != nil {
				out = append(out, a.GetServerListenerName())
			}
		}
	}
	return out
}

// BelievesAddress tells whether a listener takes the client's address from what comes
// before the first byte (the PROXY protocol).
func BelievesAddress(l *listenerv3.Listener) bool {
	return slices.ContainsFunc(l.GetListenerFilters(), func(f *listenerv3.ListenerFilter) bool {
		return f.GetTypedConfig().GetTypeUrl() == "type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"
	})
}

// WritesAddress tells whether a transport does nothing but write the client's address
// before what goes to an internal listener.
func WritesAddress(ts *corev3.TransportSocket) bool {
	var w proxyv3.ProxyProtocolUpstreamTransport
	var to internalupstreamv3.InternalUpstreamTransport
	return ts.GetTypedConfig().UnmarshalTo(&w) == nil && w.GetTransportSocket().GetTypedConfig().UnmarshalTo(&to) == nil
}

// SameKeys compares key sets as JSON. No keys at all verify nothing.
func SameKeys(a, b string) bool {
	var x, y any
	if json.Unmarshal([]byte(a), &x) != nil {
		return strings.TrimSpace(a) == ""
	}
	if set, ok := x.(map[string]any); ok {
		if keys, ok := set["keys"].([]any); ok && len(keys) == 0 {
			return true
		}
	}
	if json.Unmarshal([]byte(b), &y) != nil {
		return false
	}
	ax, errX := json.Marshal(x)
	by, errY := json.Marshal(y)
	return errX == nil && errY == nil && bytes.Equal(ax, by)
}

// DeniesAll tells whether a filter lets nobody through: an ALLOW list without an entry.
func DeniesAll(r *httprbacv3.RBAC) bool {
	return r.GetRules() != nil && r.GetRules().GetAction() == rbacv3.RBAC_ALLOW && len(r.GetRules().GetPolicies()) == 0 &&
		r.GetMatcher() == nil
}

// Total tells whether everything that comes here is taken, so that nothing
// falls through to what stands after.
func Total(on *xdsmatcherv3.Matcher_OnMatch) bool {
	if m := on.GetMatcher(); m != nil {
		return m.GetOnNoMatch() != nil && Total(m.GetOnNoMatch())
	}
	return on.GetAction() != nil
}
