// Package etcd keeps the store in etcd. It is the only importer of etcd's
// client.
//
// Layout, below a prefix:
//
//	bundles/DIGEST/000000 …    the archive in chunks of at most 512 KiB
//	bundles/DIGEST/manifest    JSON: number of chunks, size; written last
//	head                       JSON: the record in force
//	history/SEQUENCE           JSON: each record, 20 digits
//
// Publish takes these steps; after each is said what holds when we die there.
//
//  1. Read the head. Nothing has happened.
//  2. Put the chunks. Without a manifest they are invisible; the next publisher
//     of the same archive writes the same bytes over them.
//  3. Put the manifest. The archive can be read by its digest, but no record
//     names it.
//  4. One transaction: if the head is still the one of step 1, put head and
//     history. etcd does both or neither. A crash or a lost answer here leaves
//     open which; see Publish for how we find out.
//
// All reads are linearizable, so a member that is cut off answers nothing
// rather than something old.
//
// # How a watcher notices
//
// News come from an etcd watch on the head, within milliseconds of the commit.
// The truth comes from a linearizable read of the head every second. The read
// tells that the store is lost (an etcd watch alone stays silent for ever when
// the server stops answering), finds what a broken watch has missed, and sees a
// store that was restored from an older backup, where a watch waits in silence
// for a revision that may be months away. Whenever the two disagree, and on any
// error of the watch such as a compaction, everything starts again from a
// read. Connected means: the last read worked.
package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/domicile-dev/domicile/pkg/store"
)

// DefaultPrefix is where keys lie unless Config says otherwise.
const DefaultPrefix = "/domicile/v1/"

// Config says where etcd is. The zero value of every field but Endpoints stands
// for a default.
type Config struct {
	Endpoints []string    // client URLs: http://HOST:PORT, or https:// with TLS
	TLS       *tls.Config // nil: plain
	Prefix    string      // of all keys; DefaultPrefix

	DialTimeout time.Duration // for one connection attempt; 2 s
	Timeout     time.Duration // for a call whose context has no deadline; 5 s

	// Probe is the time between two reads of a watcher, 1 s, and the time that
	// one may take. So a lost store is noticed within twice Probe.
	Probe time.Duration
}

// Store implements store.Store.
type Store struct {
	client  *clientv3.Client
	prefix  string
	timeout time.Duration
	probe   time.Duration

	life context.Context // ends with Close
	end  context.CancelFunc

	mu      sync.Mutex // orders the start of a watch and Close
	watches sync.WaitGroup
}

var _ store.Store = (*Store)(nil)

// New returns a store that connects when it is first used, so that a process
// can start while etcd is away. Close it.
func New(cfg Config) (*Store, error) {
	if len(cfg.Endpoints) == 0 {
		return nil, errors.New("open etcd store: no endpoints")
	}
	cfg.DialTimeout = or(cfg.DialTimeout, 2*time.Second)
	prefix := or(cfg.Prefix, DefaultPrefix)
	if !strings.HasSuffix(prefix, "/") {
		prefix += "/"
	}
	// Without limits of our own gRPC would wait up to two minutes before it
	// tries again, long after etcd is back.
	reconnect := grpc.ConnectParams{
		Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
		MinConnectTimeout: cfg.DialTimeout,
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints:   cfg.Endpoints,
		TLS:         cfg.TLS,
		DialTimeout: cfg.DialTimeout,
		// etcd refuses pings more frequent than 5 s. The timeout also limits how
		// long sent bytes may stay unacknowledged, so with a probe each second a
		// peer that vanished without a word is dropped after 3 s, not 13.
		DialKeepAliveTime:    10 * time.Second,
		DialKeepAliveTimeout: 3 * time.Second,
		// Every failure is returned or reported as an event.
		Logger:      zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(reconnect)},
	})
	if err != nil {
		return nil, fmt.Errorf("open etcd store: %w", err)
	}
	s := &Store{
		client:  client,
		prefix:  prefix,
		timeout: or(cfg.Timeout, 5*time.Second),
		probe:   or(cfg.Probe, time.Second),
	}
	s.life, s.end = context.WithCancel(context.Background())
	return s, nil
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// Close ends all watches, waits for them, and closes the connections. Calls
// that are under way, and later ones, answer ErrUnavailable.
func (s *Store) Close() error {
	s.mu.Lock()
	s.end()
	s.mu.Unlock()
	s.watches.Wait()
	if err := s.client.Close(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("close etcd store: %w", err)
	}
	return nil
}

func (s *Store) headKey() string                 { return s.prefix + "head" }
func (s *Store) historyKey(n uint64) string      { return fmt.Sprintf("%shistory/%020d", s.prefix, n) }
func (s *Store) bundleKeys(d string) string      { return s.prefix + "bundles/" + d + "/" }
func (s *Store) manifestKey(d string) string     { return s.bundleKeys(d) + "manifest" }
func (s *Store) chunkKey(d string, i int) string { return fmt.Sprintf("%s%06d", s.bundleKeys(d), i) }

// within gives ctx the default deadline if it has none, and an end at Close.
func (s *Store) within(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(s.timeout)
	}
	ctx, stop := context.WithDeadline(ctx, deadline)
	detach := context.AfterFunc(s.life, stop)
	return ctx, func() { detach(); stop() }
}

// explain turns what the client answered into what store promises. ctx is the
// caller's: only its owner's cancellation is passed on as such.
func explain(ctx context.Context, op string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(ctx.Err(), context.Canceled):
		return fmt.Errorf("%s: %w", op, context.Canceled)
	case refused(err), errors.Is(err, store.ErrEmpty), errors.Is(err, store.ErrCorrupt), errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("%s: %w", op, err)
	}
	return fmt.Errorf("%s: %w: %w", op, store.ErrUnavailable, err)
}

// refused tells whether etcd has judged the request and changed nothing, and
// would judge it alike the next time. All other errors leave open what happened.
func refused(err error) bool {
	code := status.Code(err)
	var e rpctypes.EtcdError
	if errors.As(err, &e) {
		code = e.Code()
	}
	switch code {
	case codes.InvalidArgument, codes.PermissionDenied, codes.Unauthenticated, codes.FailedPrecondition, codes.NotFound, codes.OutOfRange, codes.Unimplemented:
		return true
	}
	return false
}
