package fence

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	extensionv3 "github.com/envoyproxy/go-control-plane/envoy/service/extension/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
)

// typeURL is that of the one resource.
const typeURL = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"

// Server gives the fence to the Envoys of the region, by ECDS in either form. It
// serves on the agent's Unix socket: who may open that is known.
type Server struct {
	extensionv3.UnimplementedExtensionConfigDiscoveryServiceServer
	fence *Fence
	log   *slog.Logger

	mu      sync.Mutex
	streams map[*subscription]bool
	moved   chan struct{} // closed when a stream comes, goes or acknowledges

	ended  chan struct{}
	ending sync.Once
}

// subscription is one Envoy's.
type subscription struct {
	accepted string // the version that it runs; "" before the first
}

// NewServer returns a Server of a fence.
func NewServer(f *Fence, log *slog.Logger) *Server {
	return &Server{fence: f, log: log, streams: map[*subscription]bool{}, moved: make(chan struct{}), ended: make(chan struct{})}
}

// Register offers the fence to Envoys.
func (s *Server) Register(to *grpc.Server) {
	extensionv3.RegisterExtensionConfigDiscoveryServiceServer(to, s)
}

// Close ends the streams, so that a graceful stop has nothing to wait for. The Envoys
// keep the fence that they have.
func (s *Server) Close() { s.ending.Do(func() { close(s.ended) }) }

// Spread tells how many Envoys are connected, and how many of them run the fence as
// it is.
type Spread struct {
	Connected int `json:"connected"`
	Current   int `json:"current"`
}

// Await returns when every Envoy that is connected runs the fence as it is now, or
// when ctx ends.
func (s *Server) Await(ctx context.Context) Spread {
	for {
		want, _, err := s.fence.current()
		s.mu.Lock()
		out, moved := Spread{Connected: len(s.streams)}, s.moved
		for sub := range s.streams {
			if err == nil && sub.accepted == want.version {
				out.Current++
			}
		}
		s.mu.Unlock()
		if out.Current == out.Connected {
			return out
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return out
		}
	}
}

// note changes what is known of the streams.
func (s *Server) note(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.moved)
	s.moved = make(chan struct{})
}

// request is what both forms of the protocol say.
type request struct {
	node    *corev3.Node
	wants   bool // it subscribes to the fence
	has     string
	nonce   string
	refused *status.Status
}

// StreamExtensionConfigs serves the state-of-the-world form.
func (s *Server) StreamExtensionConfigs(stream extensionv3.ExtensionConfigDiscoveryService_StreamExtensionConfigsServer) error {
	return s.serve(stream.Context(), func() (request, error) {
		r, err := stream.Recv()
		return request{
			node: r.GetNode(), nonce: r.GetResponseNonce(), refused: r.GetErrorDetail(),
			wants: r.GetResponseNonce() == "" && slices.Contains(r.GetResourceNames(), FilterName),
		}, err
	}, func(f *filter, nonce string) error {
		return stream.Send(&discoveryv3.DiscoveryResponse{
			VersionInfo: f.version, TypeUrl: typeURL, Nonce: nonce, Resources: resources(f),
		})
	})
}

// DeltaExtensionConfigs serves the incremental form.
func (s *Server) DeltaExtensionConfigs(stream extensionv3.ExtensionConfigDiscoveryService_DeltaExtensionConfigsServer) error {
	return s.serve(stream.Context(), func() (request, error) {
		r, err := stream.Recv()
		return request{
			node: r.GetNode(), nonce: r.GetResponseNonce(), refused: r.GetErrorDetail(),
			has: r.GetInitialResourceVersions()[FilterName], wants: slices.Contains(r.GetResourceNamesSubscribe(), FilterName),
		}, err
	}, func(f *filter, nonce string) error {
		return stream.Send(&discoveryv3.DeltaDiscoveryResponse{
			SystemVersionInfo: f.version, TypeUrl: typeURL, Nonce: nonce,
			Resources: []*discoveryv3.Resource{{Name: FilterName, Version: f.version, Resource: f.resource}},
		})
	})
}

// serve is one stream: it sends the fence when it is asked for and whenever it
// changes, and hears what becomes of it.
func (s *Server) serve(ctx context.Context, recv func() (request, error), send func(*filter, string) error) error {
	requests, ended := make(chan request), make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		for {
			r, err := recv()
			if err != nil {
				ended <- err
				return
			}
			select {
			case requests <- r:
			case <-ctx.Done():
				return
			}
		}
	}()
	sub := &subscription{}
	defer s.note(func() { delete(s.streams, sub) })
	wants, sent := false, "" // sent is the version that the Envoy has or was sent
	var changed <-chan struct{}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.ended:
			return nil
		case err := <-ended:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		case r := <-requests:
			s.heard(sub, r)
			if r.wants {
				wants, sent = true, r.has
			}
		case <-changed:
		}
		if !wants {
			continue
		}
		f, next, err := s.fence.current()
		if err != nil {
			return err
		}
		changed = next
		if f.version == sent {
			continue
		}
		if err := send(f, f.version); err != nil {
			return err
		}
		sent = f.version
	}
}

// heard notes a subscription and what an Envoy says to a version. The nonce is the
// version: there is one resource.
func (s *Server) heard(sub *subscription, r request) {
	s.note(func() {
		if r.wants {
			s.streams[sub] = true
			if r.has != "" {
				sub.accepted = r.has
			}
		}
		if r.nonce != "" && r.refused == nil {
			sub.accepted = r.nonce
		}
	})
	if r.refused != nil {
		// What Envoy quotes may hold a user id.
		s.log.Error("an envoy refuses the fence and keeps the one before", "envoy", r.node.GetId(), "code", r.refused.GetCode())
	}
}
