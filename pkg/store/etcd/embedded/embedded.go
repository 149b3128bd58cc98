// Package embedded runs a single etcd member inside the process, for the demo
// and for tests. It is the only importer of etcd's server, which therefore stays
// out of the production binaries.
//
// The member is a real one: it writes its log with fsync and finds its data
// again when it is started on the same directory. It is bound to one address
// without TLS, so keep that on loopback. When it fails by itself, Done is closed
// and Err says why.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"sync"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"google.golang.org/grpc"
)

// Config says where the member lives.
type Config struct {
	Dir string // for the data; made if missing, never removed
	// ClientURL and PeerURL are http://HOST:PORT. Empty: a free port of
	// 127.0.0.1, which Endpoints tells. To be found again after a restart, pass
	// what Endpoints told.
	ClientURL, PeerURL string
	LogPath            string // file for the member's log; empty: no log
}

// Server is a running member.
type Server struct {
	etcd *embed.Etcd
	url  string
	cut  context.CancelFunc
	once sync.Once
	done chan struct{}
	err  error // set before done is closed
}

// Start starts the member and waits until it serves, or until ctx ends. Close
// the server.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	s, err := start(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("start embedded etcd: %w", err)
	}
	return s, nil
}

func start(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.Dir == "" {
		return nil, errors.New("no directory")
	}
	ec := embed.NewConfig()
	ec.Name = "domicile"
	ec.Dir = cfg.Dir
	client, err := address(cfg.ClientURL)
	if err != nil {
		return nil, err
	}
	peer, err := address(cfg.PeerURL)
	if err != nil {
		return nil, err
	}
	ec.ListenClientUrls, ec.AdvertiseClientUrls = []url.URL{*client}, []url.URL{*client}
	ec.ListenPeerUrls, ec.AdvertisePeerUrls = []url.URL{*peer}, []url.URL{*peer}
	ec.InitialCluster = ec.InitialClusterFromName(ec.Name)
	// A policy store is small; without this it would still grow for ever.
	ec.AutoCompactionMode, ec.AutoCompactionRetention = embed.CompactorModePeriodic, "1h"
	if cfg.LogPath != "" {
		path, err := filepath.Abs(cfg.LogPath)
		if err != nil {
			return nil, err
		}
		ec.LogOutputs = []string{path}
	} else {
		ec.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	}
	streams, cut := context.WithCancel(context.Background())
	ec.GRPCAdditionalServerOptions = append(ec.GRPCAdditionalServerOptions, grpc.ChainStreamInterceptor(endWith(streams)))
	e, err := embed.StartEtcd(ec)
	if err != nil {
		cut()
		return nil, err
	}
	select {
	case <-e.Server.ReadyNotify():
	case err = <-e.Err():
	case <-e.Server.StopNotify():
		err = errors.New("stopped")
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		cut()
		e.Close()
		return nil, fmt.Errorf("not ready: %w", err)
	}
	s := &Server{etcd: e, url: client.String(), cut: cut, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		select {
		case s.err = <-e.Err():
		case <-e.Server.StopNotify():
		case <-streams.Done():
		}
	}()
	return s, nil
}

// endWith ends every stream together with ctx. Without it etcd would wait seven
// seconds at Close for watches that never end by themselves.
func endWith(ctx context.Context) grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
		own, stop := context.WithCancel(ss.Context())
		defer stop()
		defer context.AfterFunc(ctx, stop)()
		return handle(srv, &stream{ss, own})
	}
}

type stream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *stream) Context() context.Context { return s.ctx }

// address parses a URL, or finds a free port of loopback. The port lies below
// those that Linux hands out to outgoing connections: while the member is down,
// one of these (its own client's, dialling in vain) would sooner or later sit on
// the port that the member must have back. Somebody may still take it between
// the look and the use: then Start fails, and can be repeated.
func address(s string) (*url.URL, error) {
	if s != "" {
		return url.Parse(s)
	}
	const first, last, tries = 20000, 32000, 100
	var err error
	for range tries {
		host := net.JoinHostPort("127.0.0.1", strconv.Itoa(first+rand.N(last-first)))
		var l net.Listener
		if l, err = net.Listen("tcp", host); err == nil {
			return &url.URL{Scheme: "http", Host: host}, l.Close()
		}
	}
	return nil, fmt.Errorf("find a free port: %w", err)
}

// Endpoints returns the client URLs.
func (s *Server) Endpoints() []string { return []string{s.url} }

// Done is closed when the member has stopped, by Close or by itself.
func (s *Server) Done() <-chan struct{} { return s.done }

// Err says why the member stopped by itself; nil before Done is closed and
// after Close.
func (s *Server) Err() error {
	select {
	case <-s.done:
		return s.err
	default:
		return nil
	}
}

// Close stops the member and waits for it. Clients lose their connections at
// once. The data stays. It may be called again.
func (s *Server) Close() {
	s.once.Do(func() {
		s.cut()
		<-s.done
		s.etcd.Close()
	})
}
