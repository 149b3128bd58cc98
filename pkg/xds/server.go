package xds

import (
	"cmp"
	"context"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/domicile-dev/domicile/pkg/identity"
)

// Config is what a Server needs to know. Every field has a working default but
// one: TrustDomain or Authenticate must be set, else nobody is let in.
type Config struct {
	TrustDomain string
	// Authenticate gives the id that the client of a stream has proved, or a
	// gRPC status error. Default: AuthenticateTLS(TrustDomain).
	Authenticate func(context.Context) (identity.ID, error)
	Log          *slog.Logger          // default: none
	Metrics      prometheus.Registerer // default: none

	AckDeadline time.Duration // an unanswered response ends the stream; default 15 s
	MinBackoff  time.Duration // pause after a first NACK, doubled by each further one; default 1 s
	MaxBackoff  time.Duration // default 5 min
	Remember    time.Duration // how long a proxy that is gone stays in Proxies; default 1 h
	MaxStreams  int           // more are refused with ResourceExhausted; default 20,000
	MaxNames    int           // names in one request and in one type's subscriptions; default 10,000
}

func (c Config) withDefaults() Config {
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	c.AckDeadline = cmp.Or(c.AckDeadline, 15*time.Second)
	c.MinBackoff = cmp.Or(c.MinBackoff, time.Second)
	c.MaxBackoff = cmp.Or(c.MaxBackoff, 5*time.Minute)
	c.Remember = cmp.Or(c.Remember, time.Hour)
	c.MaxStreams = cmp.Or(c.MaxStreams, 20_000)
	c.MaxNames = cmp.Or(c.MaxNames, 10_000)
	if c.Authenticate == nil {
		c.Authenticate = AuthenticateTLS(c.TrustDomain)
	}
	return c
}

// backoff is the pause after the nth NACK of the same content, with ±20 % of
// jitter, so that a bad resource does not come back to all proxies at once.
func (c Config) backoff(n int) time.Duration {
	d := c.MinBackoff << min(n-1, 20)
	if d <= 0 || d > c.MaxBackoff {
		d = c.MaxBackoff
	}
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
}

// ServerOptions are the gRPC options for a server of many quiet streams: small
// buffers, and keepalives that find half-open connections. TLS is the caller's.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ReadBufferSize(0),
		grpc.WriteBufferSize(4 << 10),
		grpc.MaxRecvMsgSize(4 << 20),
		grpc.MaxConcurrentStreams(16),
		grpc.ConnectionTimeout(20 * time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
	}
}

// Server is a delta ADS server. It owns no goroutine outside of its streams.
type Server struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	config  Config
	metrics *metrics
	streams atomic.Int64
	serials atomic.Uint64
	closed  chan struct{}
	closing sync.Once

	publish   sync.Mutex // one Publish at a time
	published bool       // guarded by mu

	mu      sync.Mutex
	groups  map[Group]*group
	proxies map[string]*record
	purged  time.Time
}

// New makes a server that has no target for anybody.
func New(config Config) *Server {
	s := &Server{
		config:  config.withDefaults(),
		closed:  make(chan struct{}),
		groups:  map[Group]*group{},
		proxies: map[string]*record{},
	}
	s.metrics = newMetrics(s, config.Metrics)
	return s
}

// Register adds the service to g.
func (s *Server) Register(g *grpc.Server) {
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, s)
}

// Close ends all streams with Unavailable and refuses new ones, so that a
// graceful stop of the gRPC server has nothing to wait for.
func (s *Server) Close() { s.closing.Do(func() { close(s.closed) }) }

// group is the proxies that share a plan.
type group struct {
	plan atomic.Pointer[plan]

	mu      sync.Mutex
	streams map[*stream]struct{}
}

// maxKnown is how many recent targets of a group are kept, to recognise proxies
// that come back from another replica. They share what is equal in them.
const maxKnown = 16

// Publish sets the targets of all groups at once and returns without waiting
// for any proxy. A group that is missing has no place in the policy any more:
// its proxies are emptied, listeners first. A group whose target cannot be
// served (a name twice, a type that is not served) keeps its last one, and the
// error is logged: translate is expected to have refused it before.
func (s *Server) Publish(targets map[Group]*Target) {
	s.publish.Lock()
	defer s.publish.Unlock()
	s.mu.Lock()
	for g := range targets {
		s.group(g)
	}
	s.published = true
	groups := make(map[Group]*group, len(s.groups))
	for id, g := range s.groups {
		groups[id] = g
	}
	s.mu.Unlock()
	for id, g := range groups {
		target := targets[id]
		if target == nil || target.Final == nil {
			target = emptyTarget
		}
		log := s.log(id)
		if err := g.set(target, log); err != nil {
			log.Error("publish: group keeps its last target", "err", err)
		}
	}
}

var emptyTarget = &Target{Final: &Snapshot{}}

// group finds or makes a group; s.mu is held. Before the first Publish nothing
// is known about any group; afterwards a group that was not named is empty.
func (s *Server) group(id Group) *group {
	g := s.groups[id]
	if g == nil {
		g = &group{streams: map[*stream]struct{}{}}
		s.groups[id] = g
		if s.published {
			final, _ := prepare(emptyTarget.Final, nil) // nothing in it can be wrong
			g.plan.Store(newPlan(emptyTarget, final, []*prepared{final}, s.log(id)))
		}
	}
	return g
}

// log is the log of what concerns a group.
func (s *Server) log(id Group) *slog.Logger {
	return s.config.Log.With("region", id.Region, "role", id.Role)
}

// set gives all streams of the group a new target; the same target again wakes
// nobody.
func (g *group) set(t *Target, log *slog.Logger) error {
	old := g.plan.Load()
	var prev *prepared
	var known []*prepared
	if old != nil {
		prev, known = old.final, old.known
	}
	final, err := prepare(t.Final, prev)
	if err != nil {
		return err
	}
	if prev != nil && *prev == *final {
		return nil
	}
	recent := []*prepared{final}
	for _, k := range known {
		if k.table != final.table && len(recent) < maxKnown {
			recent = append(recent, k)
		}
	}
	g.plan.Store(newPlan(t, final, recent, log))
	g.mu.Lock()
	defer g.mu.Unlock()
	for st := range g.streams {
		st.poke()
	}
	return nil
}

// DeltaAggregatedResources serves one proxy until either side ends it.
func (s *Server) DeltaAggregatedResources(conn discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	defer s.streams.Add(-1)
	if s.streams.Add(1) > int64(s.config.MaxStreams) {
		return status.Error(codes.ResourceExhausted, "too many proxies on this replica")
	}
	id, err := s.config.Authenticate(conn.Context())
	if err != nil {
		if _, ok := status.FromError(err); !ok {
			err = status.Error(codes.Unauthenticated, err.Error())
		}
		return err
	}
	if err := admit(id); err != nil {
		return err
	}
	st := newStream(s, conn, id)
	err = st.serve()
	if err != nil {
		s.config.Log.Info("proxy left", "proxy", st.id, "err", err)
	}
	return err
}

// enter makes st the stream of its proxy. An older one is ended: Envoy has one
// stream, so the older is a leftover of a broken connection.
func (s *Server) enter(st *stream, now time.Time) {
	s.mu.Lock()
	s.purge(now)
	rec := s.proxies[st.id]
	if rec == nil {
		rec = &record{}
		s.proxies[st.id] = rec
	}
	g := s.group(Group{Region: st.node.Region, Role: st.node.Role})
	earlier := rec.enter(st, now)
	s.mu.Unlock()

	st.group, st.record = g, rec
	st.rollout = newRollout(strconv.FormatUint(s.serials.Add(1), 36), earlier,
		s.config.AckDeadline, s.config.backoff)
	g.mu.Lock()
	g.streams[st] = struct{}{}
	g.mu.Unlock()
}

func (s *Server) leave(st *stream, err error, now time.Time) {
	st.group.mu.Lock()
	delete(st.group.streams, st)
	st.group.mu.Unlock()
	st.record.leave(st, err, now)
}
