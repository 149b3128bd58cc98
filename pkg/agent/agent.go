// Package agent is the service beside the Envoys of one region. It finds the homes
// of first contacts (package resolver), answers for requests whose subject is the
// user named in the path, gives the Envoys the fence of users who moved or were
// erased (package fence), counts the users that they see by home (package coverage),
// and tells the rest of the region its health, identity, metrics and, if it holds
// one, the directory's entry for a keyed hash.
//
// Until the edge cache exists an agent serves a user's data to that user only
// and answers everybody else not-decidable. It never widens what Envoy's own
// route table decided: it is asked after home and class have been allowed.
//
// Everything fails closed: a call without its context, a path that is not
// exactly the route's template, a panic, and an agent that is not there are
// refusals. Logs and metrics hold no user id and no path.
//
// Run owns all goroutines that it starts.
package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/domicile-dev/domicile/pkg/agent/coverage"
	"github.com/domicile-dev/domicile/pkg/directory"
	"github.com/domicile-dev/domicile/pkg/fence"
	"github.com/domicile-dev/domicile/pkg/identity"
	"github.com/domicile-dev/domicile/pkg/resolver"
)

// stopTimeout is how long Run lets calls in flight finish.
const stopTimeout = 5 * time.Second

// Config of an agent.
type Config struct {
	ID identity.ID // role agent
	// Socket is the path of the Unix socket for Envoy's calls (mode 0600). A
	// socket that nobody serves any more is replaced.
	Socket string
	// Listen is the host:port of the HTTP side.
	Listen string
	// Directory returns the directory; it, or what it returns, is nil where the region
	// holds none.
	Directory func() directory.Directory
	// Resolver finds homes; nil refuses every first contact. HashKey is that of
	// identity.UserHash; without it a pin alone does not tell who calls.
	Resolver *resolver.Resolver
	HashKey  []byte
	// Fence is given to the Envoys; nil for none.
	Fence *fence.Server
	// Ready tells why the agent is not ready, beside what Run knows; nil: it is.
	Ready func() error
	// Peer is the mTLS side, for operators and other agents; nil for none.
	Peer *Peer
	// Also runs beside the agent until ctx ends, and ends the agent if it fails.
	Also []func(ctx context.Context) error
	// Metrics gathers what /metrics shows; nil for a registry of the agent's own.
	Metrics *prometheus.Registry
	Version string
	Log     *slog.Logger
}

// Peer is the mTLS side of an agent.
type Peer struct {
	Listener net.Listener // with the settings of identity.ServerTLS
	Handler  http.Handler
}

// Run serves until ctx ends, then lets calls in flight finish for five seconds.
// It returns nil after an orderly stop.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.ID.Validate(); err != nil {
		return err
	}
	if cfg.ID.Role != identity.RoleAgent {
		return fmt.Errorf("node id %s: role is not agent", cfg.ID)
	}
	sock, err := listenUnix(ctx, cfg.Socket)
	if err != nil {
		return err
	}
	defer sock.Close()
	tcp, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen %s: %w", cfg.Listen, err)
	}
	defer tcp.Close()

	reg := cfg.Metrics
	if reg == nil {
		reg = prometheus.NewRegistry()
	}
	checker := newChecker(cfg, reg)
	alive := health.NewServer()
	rpc := grpc.NewServer(grpc.MaxRecvMsgSize(1 << 20))
	authv3.RegisterAuthorizationServer(rpc, checker)
	seen := coverage.New(time.Now())
	seen.Register(rpc)
	grpc_health_v1.RegisterHealthServer(rpc, alive)
	if cfg.Fence != nil {
		cfg.Fence.Register(rpc)
	}
	servers := map[*http.Server]net.Listener{server(handler(cfg, reg, seen), cfg.Log): tcp}
	if cfg.Peer != nil {
		servers[server(cfg.Peer.Handler, cfg.Log)] = cfg.Peer.Listener
	}
	cfg.Log.Info("agent is up", "id", cfg.ID.String(), "listen", tcp.Addr().String())

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return rpc.Serve(sock) })
	for web, l := range servers {
		g.Go(func() error {
			if err := web.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		})
	}
	for _, f := range cfg.Also {
		g.Go(func() error { return f(ctx) })
	}
	g.Go(func() error {
		<-ctx.Done()
		alive.Shutdown()
		if cfg.Fence != nil {
			cfg.Fence.Close()
		}
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		context.AfterFunc(stop, rpc.Stop)
		rpc.GracefulStop()
		var errs []error
		for web := range servers {
			if err := web.Shutdown(stop); err != nil {
				errs = append(errs, web.Close())
			}
		}
		return errors.Join(errs...)
	})
	err = g.Wait()
	cfg.Log.Info("agent is down", "id", cfg.ID.String())
	return err
}

// server bounds what a client can do.
func server(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      45 * time.Second, // who asks may wait for Envoys
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}

// listenUnix listens on a Unix socket that only this user may open. It takes
// over a socket that nobody serves, never one that is in use and never a file
// of another kind.
func listenUnix(ctx context.Context, path string) (net.Listener, error) {
	fi, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("listen %s: %w", path, err)
	case fi.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("listen %s: a file that is no socket is in the way", path)
	default:
		if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
			c.Close()
			return nil, fmt.Errorf("listen %s: another process serves it", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("listen %s: %w", path, err)
		}
	}
	// The mode is set on the socket before it is bound, so that there is no
	// instant at which others could connect.
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var chmod error
		if err := c.Control(func(fd uintptr) { chmod = syscall.Fchmod(int(fd), 0o600) }); err != nil {
			return err
		}
		return chmod
	}}
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen %s: %w", path, err)
	}
	fi, err = os.Lstat(path)
	if err == nil && fi.Mode().Perm()&0o077 != 0 {
		err = fmt.Errorf("mode is %v", fi.Mode().Perm())
	}
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("listen %s: %w", path, err)
	}
	return l, nil
}
