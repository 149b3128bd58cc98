package xds

import (
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"go.uber.org/goleak"
	rpc "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/domicile-dev/domicile/pkg/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// harness is a server in the test's bubble; "who" in the metadata stands for
// the certificate.
type harness struct {
	t      *testing.T
	server *Server
	listen *bufconn.Listener
}

func claimed(ctx context.Context) (identity.ID, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	id, err := identity.ParseID(strings.Join(md.Get("who"), ","))
	if err != nil {
		return id, status.Error(codes.PermissionDenied, err.Error())
	}
	return id, nil
}

func start(t *testing.T, config Config) *harness {
	config.Authenticate = claimed
	h := &harness{t: t, server: New(config), listen: bufconn.Listen(64 << 10)}
	g := grpc.NewServer(ServerOptions()...)
	h.server.Register(g)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = g.Serve(h.listen)
	}()
	t.Cleanup(func() {
		h.server.Close()
		g.Stop()
		<-done
	})
	return h
}

func (h *harness) publish(w world, earlier ...world) {
	h.server.Publish(map[Group]*Target{eu: w.target(earlier...)})
}

var eu = Group{"eu-frankfurt", "gateway"}

// proxy finds the status of one proxy.
func (h *harness) proxy(id string) Proxy {
	for _, p := range h.server.Proxies() {
		if p.ID == id {
			return p
		}
	}
	h.t.Fatalf("%s is not in the status", id)
	return Proxy{}
}

// verdict is how a client answers a response.
type verdict func(*discoveryv3.DeltaDiscoveryResponse) error

var errNoAnswer = errors.New("no answer")

func accept(*discoveryv3.DeltaDiscoveryResponse) error { return nil }

// client is a small Envoy: it subscribes, applies, answers.
type client struct {
	id   string
	conn *grpc.ClientConn
	raw  discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	stop context.CancelFunc

	mu     sync.Mutex
	answer verdict
	have   [kinds]map[string]string
	log    []string // what came, in words
	nonces []string
	gate   chan struct{} // when set, nothing is read before it is closed
	err    error         // how the stream ended
}

func short(typeURL string) string {
	return map[string]string{ClusterType: "CDS", ListenerType: "LDS", RouteType: "RDS", ExtensionType: "ECDS"}[typeURL]
}

// dial opens a stream without a word.
func (h *harness) dial(id string) *client {
	h.t.Helper()
	conn, err := grpc.NewClient("passthrough:///xds", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return h.listen.DialContext(ctx) }))
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(metadata.AppendToOutgoingContext(h.t.Context(), "who", id))
	raw, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		h.t.Fatal(err)
	}
	c := &client{id: id, conn: conn, raw: raw, stop: stop, answer: accept}
	for k := range c.have {
		c.have[k] = map[string]string{}
	}
	h.t.Cleanup(c.close)
	return c
}

func (c *client) close() {
	c.stop()
	_ = c.conn.Close()
}

// join is a proxy that subscribes to everything; from is the one whose
// resources it holds, nil for none.
func (h *harness) join(id string, from *client, edit ...func(*client)) *client {
	c := h.dial(id)
	if from != nil {
		for k := range from.have {
			c.have[k] = maps.Clone(from.have[k])
		}
	}
	for _, e := range edit {
		e(c)
	}
	names := [kinds][]string{routes: {"gateway", "peer"}, extensions: {"domicile.jwt"}}
	for k, typeURL := range typeURLs {
		c.send(&discoveryv3.DeltaDiscoveryRequest{
			Node: &corev3.Node{Id: id}, TypeUrl: typeURL,
			ResourceNamesSubscribe: names[k], InitialResourceVersions: c.have[k],
		})
	}
	go c.run()
	synctest.Wait()
	return c
}

func (c *client) send(req *discoveryv3.DeltaDiscoveryRequest) { _ = c.raw.Send(req) }

func (c *client) run() {
	if c.gate != nil {
		<-c.gate
	}
	for {
		resp, err := c.raw.Recv()
		if err != nil {
			c.mu.Lock()
			c.err = err
			c.mu.Unlock()
			return
		}
		if req := c.take(resp); req != nil {
			c.send(req)
		}
	}
}

func (c *client) take(resp *discoveryv3.DeltaDiscoveryResponse) *discoveryv3.DeltaDiscoveryRequest {
	c.mu.Lock()
	defer c.mu.Unlock()
	words := []string{short(resp.TypeUrl)}
	for _, r := range resp.Resources {
		words = append(words, "+"+r.Name)
	}
	for _, name := range resp.RemovedResources {
		words = append(words, "-"+name)
	}
	c.log = append(c.log, strings.Join(words, " "))
	c.nonces = append(c.nonces, resp.Nonce)
	req := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: resp.TypeUrl, ResponseNonce: resp.Nonce}
	switch err := c.answer(resp); {
	case errors.Is(err, errNoAnswer):
		return nil
	case err != nil:
		req.ErrorDetail = &rpc.Status{Code: 3, Message: err.Error()}
		return req
	}
	have := c.have[slices.Index(typeURLs[:], resp.TypeUrl)]
	for _, r := range resp.Resources {
		have[r.Name] = r.Version
	}
	for _, name := range resp.RemovedResources {
		delete(have, name)
	}
	return req
}

// answering changes how the client answers from now on.
func (c *client) answering(v verdict) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer = v
}

// got returns what came since the last time, when nothing moves any more.
func (c *client) got() []string {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	log := c.log
	c.log = nil
	return log
}

func (c *client) ended() error {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// rejects makes a verdict that refuses responses with a resource.
func rejects(typeURL, name, why string) verdict {
	return func(resp *discoveryv3.DeltaDiscoveryResponse) error {
		for _, r := range resp.Resources {
			if resp.TypeUrl == typeURL && r.Name == name {
				return errors.New(why)
			}
		}
		return nil
	}
}

// ignores makes a verdict that never answers a type.
func ignores(typeURL string) verdict {
	return func(resp *discoveryv3.DeltaDiscoveryResponse) error {
		if resp.TypeUrl == typeURL {
			return errNoAnswer
		}
		return nil
	}
}
