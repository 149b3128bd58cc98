package e2e_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/domicile-dev/domicile/pkg/identity"
)

const (
	typeCluster   = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	typeListener  = "type.googleapis.com/envoy.config.listener.v3.Listener"
	typeRoute     = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
	typeExtension = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
	typeSecret    = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
)

// proxy is a small delta ADS client.
type proxy struct {
	node   string
	stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
}

// connect opens a delta ADS stream to the demo's control plane.
func (l *lab) connect(t testing.TB, creds credentials.TransportCredentials, node string) (*proxy, error) {
	t.Helper()
	conn, err := grpc.NewClient(l.ready.Control.XDS, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	return &proxy{node, stream}, err
}

// toControl are the credentials of a client that knows whom it talks to.
func toControl(t testing.TB, p identity.PEM) *tls.Config {
	t.Helper()
	c, err := identity.ClientTLS(p, trustDomain, identity.Role(identity.RoleControl))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// ask subscribes to names of a type ("*" for all), and acknowledges.
func (p *proxy) ask(typeURL string, names ...string) (*discoveryv3.DeltaDiscoveryResponse, error) {
	node := &corev3.Node{Id: p.node}
	if err := p.stream.Send(&discoveryv3.DeltaDiscoveryRequest{Node: node, TypeUrl: typeURL, ResourceNamesSubscribe: names}); err != nil {
		_, err = p.stream.Recv() // which says why
		return nil, err
	}
	for {
		resp, err := p.stream.Recv()
		if err != nil {
			return nil, err
		}
		if err := p.stream.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: resp.TypeUrl, ResponseNonce: resp.Nonce}); err != nil {
			return nil, err
		}
		if resp.TypeUrl == typeSecret && len(resp.Resources) > 0 {
			return nil, fmt.Errorf("secrets were sent: %v", resp.Resources[0].Name)
		}
		if resp.TypeUrl == typeURL && len(resp.Resources)+len(resp.RemovedResources) > 0 {
			return resp, nil
		}
	}
}

// T31: a proxy gets the resources of its own region and nothing that only
// others need: neither their backends, nor their listeners, nor any key.
func TestT31_AProxyGetsItsOwnRegionOnly(t *testing.T) {
	l := own(t) // proxies that were here stay in the status for a while
	onlyItself(t, l)
	at := l.overlay(t).Regions
	for region := range l.ready.Regions {
		node := region + "/gateway/t31"
		p, err := l.connect(t, credentials.NewTLS(toControl(t, l.certificate(t, node))), node)
		if err != nil {
			t.Fatal(err)
		}
		must := func(typeURL string, names ...string) *discoveryv3.DeltaDiscoveryResponse {
			t.Helper()
			resp, err := p.ask(typeURL, names...)
			if err != nil {
				t.Fatalf("%s asks for %s: %v", node, typeURL, err)
			}
			for _, r := range resp.Resources {
				if strings.Contains(string(r.Resource.Value), "PRIVATE KEY") {
					t.Errorf("%s got a private key in %s", node, r.Name)
				}
				if r.Version == "" {
					t.Errorf("%s got %s without a version", node, r.Name)
				}
			}
			return resp
		}
		endpoints := clusterAddresses(t, must(typeCluster, "*"))
		for other, r := range l.ready.Regions {
			for service, b := range r.Backends {
				if got, want := endpoints[b.Address] != "", other == region; got != want {
					t.Errorf("%s knows the backend %s of %s: %t", node, service, other, got)
				}
			}
			if got, want := endpoints[at[other].Peer] != "", other != region; got != want {
				t.Errorf("%s knows the peer of %s: %t", node, other, got)
			}
		}
		listens, routes, filters := listenerNames(t, must(typeListener, "*"))
		for other, o := range at {
			for _, address := range []string{o.Listen.Plain, o.Listen.TLS, o.Listen.Peer} {
				if got, want := listens[address], other == region; got != want {
					t.Errorf("%s listens on %s of %s: %t", node, address, other, got)
				}
			}
		}
		if n := len(must(typeRoute, routes...).Resources); n == 0 || n != len(routes) {
			t.Errorf("%s asked for the route tables %q and got %d", node, routes, n)
		}
		if n := len(must(typeExtension, filters...).Resources); n == 0 || n != len(filters) {
			t.Errorf("%s asked for the filters %q and got %d", node, filters, n)
		}
	}
}

// clusterAddresses are all endpoints of clusters, and the cluster of each.
func clusterAddresses(t testing.TB, resp *discoveryv3.DeltaDiscoveryResponse) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, r := range resp.Resources {
		var c clusterv3.Cluster
		if err := r.Resource.UnmarshalTo(&c); err != nil {
			t.Fatal(err)
		}
		for _, group := range c.GetLoadAssignment().GetEndpoints() {
			for _, e := range group.LbEndpoints {
				if a := e.GetEndpoint().GetAddress().GetSocketAddress(); a != nil {
					out[fmt.Sprintf("%s:%d", a.Address, a.GetPortValue())] = c.Name
				}
			}
		}
	}
	return out
}

// listenerNames are the addresses of listeners, and the names of the route
// tables and filters that they ask for.
func listenerNames(t testing.TB, resp *discoveryv3.DeltaDiscoveryResponse) (listens map[string]bool, routes, filters []string) {
	t.Helper()
	listens = map[string]bool{}
	seen := map[string]bool{}
	add := func(list *[]string, name string) {
		if name != "" && !seen[name] {
			seen[name], *list = true, append(*list, name)
		}
	}
	for _, r := range resp.Resources {
		var l listenerv3.Listener
		if err := r.Resource.UnmarshalTo(&l); err != nil {
			t.Fatal(err)
		}
		if a := l.GetAddress().GetSocketAddress(); a != nil {
			listens[fmt.Sprintf("%s:%d", a.Address, a.GetPortValue())] = true
		}
		for _, chain := range l.FilterChains {
			for _, f := range chain.Filters {
				var hcm hcmv3.HttpConnectionManager
				if !f.GetTypedConfig().MessageIs(&hcm) {
					continue
				}
				if err := f.GetTypedConfig().UnmarshalTo(&hcm); err != nil {
					t.Fatal(err)
				}
				add(&routes, hcm.GetRds().GetRouteConfigName())
				for _, h := range hcm.HttpFilters {
					if h.GetConfigDiscovery().GetConfigSource().GetAds() != nil { // not the fence, which is the agent's
						add(&filters, h.Name)
					}
				}
			}
		}
	}
	return listens, routes, filters
}

// T31: a client that is not who it says it is gets no byte of configuration.
func TestT31_RogueClientsGetNothing(t *testing.T) {
	l := shared(t)
	eu := l.certificate(t, "eu-frankfurt/gateway/rogue")
	tlsOf := func(p identity.PEM) credentials.TransportCredentials { return credentials.NewTLS(toControl(t, p)) }
	bare := toControl(t, eu)
	bare.Certificates = nil
	id := identity.ID{Region: "eu-frankfurt", Role: identity.RoleGateway, Name: "rogue"}
	public, err := l.authority(t).IssueServer(identity.Options{DNS: []string{"eu.im.example.com"}})
	if err != nil {
		t.Fatal(err)
	}
	const self = "eu-frankfurt/gateway/rogue"
	for _, c := range []struct {
		name  string
		creds credentials.TransportCredentials
		node  string
		code  codes.Code
	}{
		{"another region", tlsOf(eu), "me-riyadh/gateway/rogue", codes.PermissionDenied},
		{"another role", tlsOf(eu), "eu-frankfurt/sidecar/rogue", codes.PermissionDenied},
		{"another name", tlsOf(eu), "eu-frankfurt/gateway/demo", codes.PermissionDenied},
		{"no node id", tlsOf(eu), "", codes.PermissionDenied},
		{"a path in the node id", tlsOf(eu), "eu-frankfurt/gateway/rogue/../../me-riyadh", codes.PermissionDenied},
		{"another case", tlsOf(eu), "EU-FRANKFURT/gateway/rogue", codes.PermissionDenied},
		{"an agent", tlsOf(l.certificate(t, "eu-frankfurt/agent/rogue")), "eu-frankfurt/agent/rogue", codes.PermissionDenied},
		{"an operator", tlsOf(l.certificate(t, "-/operator/rogue")), "-/operator/rogue", codes.PermissionDenied},
		{"the control plane", tlsOf(l.certificate(t, "-/control/rogue")), "-/control/rogue", codes.PermissionDenied},
		{"another trust domain", tlsOf(l.signed(t, "spiffe://evil.example/"+self)), self, codes.PermissionDenied},
		{"two names", tlsOf(l.signed(t, "spiffe://domicile.local/"+self, "spiffe://domicile.local/me-riyadh/gateway/rogue")), self, codes.PermissionDenied},
		{"no name", tlsOf(l.signed(t)), self, codes.PermissionDenied},
		{"another authority", tlsOf(l.foreign(t, trustDomain, id)), self, codes.Unavailable},
		{"another authority and trust domain", tlsOf(l.foreign(t, "evil.example", id)), self, codes.Unavailable},
		{"a public certificate", tlsOf(public), self, codes.Unavailable},
		{"no certificate", credentials.NewTLS(bare), self, codes.Unavailable},
		{"no TLS", insecure.NewCredentials(), self, codes.Unavailable},
	} {
		p, err := l.connect(t, c.creds, c.node)
		var resp *discoveryv3.DeltaDiscoveryResponse
		if err == nil {
			resp, err = p.ask(typeCluster, "*")
		}
		if got := grpcstatus.Code(err); err == nil || got != c.code && !(c.code == codes.PermissionDenied && got == codes.Unavailable) {
			t.Errorf("%s: %v, and %d resources", c.name, err, len(resp.GetResources()))
		}
	}
	for _, proxy := range l.status(t).Proxies {
		if strings.Contains(proxy.ID, "rogue") {
			t.Errorf("the control plane lists %s as a proxy", proxy.ID)
		}
	}
}

// onlyItself: secrets are sent to nobody, and a stream cannot become somebody
// else's half-way.
func onlyItself(t *testing.T, l *lab) {
	const node = "eu-frankfurt/gateway/t31"
	creds := credentials.NewTLS(toControl(t, l.certificate(t, node)))
	p, err := l.connect(t, creds, node)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.stream.Send(&discoveryv3.DeltaDiscoveryRequest{
		Node: &corev3.Node{Id: node}, TypeUrl: typeSecret, ResourceNamesSubscribe: []string{"domicile_node", "domicile_public", "domicile_ca"},
	}); err != nil {
		t.Fatal(err)
	}
	if resp, err := p.ask(typeCluster, "*"); grpcstatus.Code(err) != codes.InvalidArgument {
		t.Errorf("a question for secrets: %v %v", err, resp.GetResources())
	}
	if p, err = l.connect(t, creds, node); err != nil {
		t.Fatal(err)
	}
	if _, err := p.ask(typeCluster, "*"); err != nil {
		t.Fatal(err)
	}
	p.node = "me-riyadh/gateway/t31"
	if resp, err := p.ask(typeListener, "*"); grpcstatus.Code(err) != codes.PermissionDenied {
		t.Errorf("a stream that changed its node id: %v %v", err, resp.GetResources())
	}
}
