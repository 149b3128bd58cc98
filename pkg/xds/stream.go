package xds

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/domicile-dev/domicile/pkg/identity"
)

// stream joins a proxy's connection to its rollout. The gRPC handler's own
// goroutine runs the loop and never blocks on the connection, so it can always
// give up: receiving is a second goroutine, and a send is a third one that
// lives as long as it takes. Both end when the handler returns.
type stream struct {
	server  *Server
	conn    discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer
	id      string // node, as text
	node    identity.ID
	version string // of Envoy

	group   *group
	record  *record
	rollout *rollout

	wake     chan struct{} // the group has another plan
	replaced chan struct{} // closed when the same proxy has connected again
}

func newStream(s *Server, conn discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer, node identity.ID) *stream {
	return &stream{
		server: s, conn: conn, id: node.String(), node: node,
		wake: make(chan struct{}, 1), replaced: make(chan struct{}),
	}
}

// poke never blocks: one pending wake-up is enough, the plan is read after it.
func (st *stream) poke() {
	select {
	case st.wake <- struct{}{}:
	default:
	}
}

// errSilent marks a stream that was ended for want of an answer.
var errSilent = errors.New("silent")

func (st *stream) serve() error {
	in, broken := make(chan *discoveryv3.DeltaDiscoveryRequest), make(chan error, 1)
	go st.receive(in, broken)

	timer := time.NewTimer(st.server.config.AckDeadline)
	defer timer.Stop()
	var first *discoveryv3.DeltaDiscoveryRequest
	select {
	case first = <-in:
	case err := <-broken:
		return ended(err)
	case <-timer.C:
		return status.Error(codes.DeadlineExceeded, "no first request")
	case <-st.server.closed:
		return errClosed
	}
	if id := first.GetNode().GetId(); id != st.id {
		return status.Errorf(codes.PermissionDenied, "node id %.255q is not that of the certificate, %q", id, st.id)
	}
	st.version = envoyVersion(first.GetNode())
	st.server.enter(st, time.Now())
	err := st.handle(first)
	if err == nil {
		err = st.loop(in, broken, timer)
	}
	st.server.leave(st, err, time.Now())
	if errors.Is(err, errSilent) {
		return status.Error(codes.DeadlineExceeded, err.Error())
	}
	return err
}

var errClosed = status.Error(codes.Unavailable, "this replica is going away")

func (st *stream) receive(in chan<- *discoveryv3.DeltaDiscoveryRequest, broken chan<- error) {
	for {
		req, err := st.conn.Recv()
		if err != nil {
			broken <- err
			return
		}
		select {
		case in <- req:
		case <-st.conn.Context().Done():
			return
		}
	}
}

// loop lists everything that can happen to a stream.
func (st *stream) loop(in <-chan *discoveryv3.DeltaDiscoveryRequest, broken <-chan error, timer *time.Timer) error {
	sent, sending := make(chan error, 1), false
	for {
		now := time.Now()
		if !sending {
			st.rollout.retarget(st.group.plan.Load())
			if out := st.rollout.next(now); out != nil {
				sending = true
				go st.send(out, sent)
			}
		}
		st.record.update(st, now)
		if at := st.rollout.wake(now); at.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(at.Sub(now))
		}
		select {
		case <-st.wake:
		case req := <-in:
			if err := st.handle(req); err != nil {
				return err
			}
		case err := <-sent:
			if err != nil {
				return ended(err)
			}
			sending = false
		case <-timer.C:
			if typeURL, overdue := st.rollout.silent(time.Now()); overdue {
				return fmt.Errorf("%w: no answer to a response of %s within %v", errSilent, typeURL, st.server.config.AckDeadline)
			}
		case err := <-broken:
			return ended(err)
		case <-st.replaced:
			return status.Error(codes.Aborted, "replaced by a newer stream of the same node")
		case <-st.server.closed:
			return errClosed
		}
	}
}

// ended is the result of a stream that the other side has ended.
func ended(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, context.Canceled) || status.Code(err) == codes.Canceled {
		return nil
	}
	return err
}

// send writes one response. The resources in it are shared by all streams, the
// rest is this stream's.
func (st *stream) send(out *response, sent chan<- error) {
	msg := &discoveryv3.DeltaDiscoveryResponse{
		TypeUrl: typeURLs[out.kind], Nonce: out.nonce, SystemVersionInfo: out.version,
	}
	for _, c := range out.changes {
		if c.to == nil {
			msg.RemovedResources = append(msg.RemovedResources, c.name)
		} else {
			msg.Resources = append(msg.Resources, c.to)
		}
	}
	st.server.metrics.pushes.WithLabelValues(msg.TypeUrl).Inc()
	sent <- st.conn.Send(msg)
}

// handle takes one request: an answer, subscriptions, or both.
func (st *stream) handle(req *discoveryv3.DeltaDiscoveryRequest) error {
	k := kind(slices.Index(typeURLs[:], req.GetTypeUrl()))
	if k < 0 {
		return status.Errorf(codes.InvalidArgument, "type %.255q is not served", req.GetTypeUrl())
	}
	if id := req.GetNode().GetId(); id != "" && id != st.id {
		return status.Errorf(codes.PermissionDenied, "node id changed to %.255q", id)
	}
	limit := st.server.config.MaxNames
	names := len(req.GetResourceNamesSubscribe()) + len(req.GetResourceNamesUnsubscribe())
	if names > limit || len(req.GetInitialResourceVersions()) > limit {
		return status.Errorf(codes.ResourceExhausted, "more than %d names of one type", limit)
	}
	now := time.Now()
	what, took := st.rollout.answer(k, req, now)
	m := st.server.metrics
	switch what {
	case answerAck:
		m.acks.Inc()
		m.ackSeconds.Observe(took.Seconds())
	case answerNack:
		m.nacks.Inc()
		rej := st.rollout.kinds[k].rejected.public
		st.server.config.Log.Warn("proxy rejected a response", "proxy", st.id,
			"type", rej.Type, "version", rej.Version, "attempts", rej.Attempts, "detail", rej.Detail)
	}
	st.rollout.subscribe(k, req)
	if s := &st.rollout.kinds[k]; len(s.names) > limit || len(s.over) > 2*limit {
		return status.Errorf(codes.ResourceExhausted, "more than %d names of one type", limit)
	}
	return nil
}

// envoyVersion is what a proxy says about itself: for display only.
func envoyVersion(n *corev3.Node) string {
	if v := n.GetUserAgentBuildVersion().GetVersion(); v != nil {
		return fmt.Sprintf("%d.%d.%d", v.GetMajorNumber(), v.GetMinorNumber(), v.GetPatch())
	}
	return clip(n.GetUserAgentVersion())
}
