package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/domicile-dev/domicile/pkg/api"
	"github.com/domicile-dev/domicile/pkg/control"
	"github.com/domicile-dev/domicile/pkg/gitsync"
	"github.com/domicile-dev/domicile/pkg/identity"
	"github.com/domicile-dev/domicile/pkg/jwks"
	"github.com/domicile-dev/domicile/pkg/store/etcd"
	"github.com/domicile-dev/domicile/pkg/version"
	"github.com/domicile-dev/domicile/pkg/xds"
)

// grace is how long requests under way may take at the end.
const grace = 2 * time.Second

// plane is the process: everything is open and nothing runs yet.
type plane struct {
	log                *slog.Logger
	store              *etcd.Store
	control            *control.Controller
	xds                *xds.Server
	git                *gitsync.Syncer // nil: none is followed
	keys               *jwks.Poller
	grpc               *grpc.Server
	serving            atomic.Bool // xDS is served
	xdsL, adminL, apiL net.Listener
	admin, remote      http.Handler
}

// start opens what the options name; an error is the operator's to mend.
func start(o *options, stderr io.Writer) (*plane, error) {
	p := &plane{log: slog.New(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: o.logLevel}))}
	err := p.open(o)
	if err != nil {
		p.close()
	}
	return p, err
}

func (p *plane) open(o *options) error {
	settings, err := o.settings()
	if err != nil {
		return err
	}
	xdsTLS, err := o.serverTLS(p.log, []string{"h2"}, identity.Envoys()...)
	if err != nil {
		return err
	}
	etcdTLS, err := o.etcdTLS()
	if err != nil {
		return err
	}
	if p.store, err = etcd.New(etcd.Config{Endpoints: o.etcd, TLS: etcdTLS, Prefix: o.etcdPrefix}); err != nil {
		return err
	}
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	p.xds = xds.New(xds.Config{TrustDomain: o.trustDomain, Log: p.log, Metrics: metrics})
	if p.keys, err = o.keys.fetch(o.state, p.log, metrics); err != nil {
		return err
	}
	settings.Store, settings.Publisher, settings.Log, settings.Metrics, settings.Keys = p.store, p.xds, p.log, metrics, p.keys
	if p.control, err = control.New(settings); err != nil {
		return err
	}
	p.grpc = grpc.NewServer(append(xds.ServerOptions(), grpc.Creds(credentials.NewTLS(xdsTLS)))...)
	p.xds.Register(p.grpc)
	cfg := api.Config{Control: p.control, Keys: p.keys.Status, Metrics: metrics, Log: p.log, Serving: p.serving.Load, Hosts: o.adminHosts}
	if p.git, err = o.git.follow(p.control, p.log, metrics); err != nil {
		return err
	} else if p.git != nil {
		cfg.Git = p.git.Status
	}
	p.admin, p.remote = api.Admin(cfg), api.Remote(cfg, o.trustDomain)
	return p.listen(o)
}

// run serves until ctx ends, or until something fails that must not.
func (p *plane) run(ctx context.Context) error {
	defer p.close()
	p.log.Info("started", "version", version.String(), "xds", p.xdsL.Addr().String(), "admin", p.adminL.Addr().String())
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.control.Run(ctx) })
	g.Go(func() error { return p.keys.Run(ctx) })
	if p.git != nil {
		g.Go(func() error { return p.git.Run(ctx) })
	}
	g.Go(func() error { return api.Serve(ctx, p.adminL, p.admin, p.log, grace) })
	if p.apiL != nil {
		g.Go(func() error { return api.Serve(ctx, p.apiL, p.remote, p.log, grace) })
	}
	g.Go(func() error {
		p.serving.Store(true)
		defer p.serving.Store(false)
		return p.grpc.Serve(p.xdsL)
	})
	g.Go(func() error {
		<-ctx.Done()
		p.serving.Store(false)
		p.xds.Close() // ends the streams, so that the graceful stop has nothing to wait for
		stop := time.AfterFunc(grace, p.grpc.Stop)
		defer stop.Stop()
		p.grpc.GracefulStop()
		return nil
	})
	return g.Wait()
}

func (p *plane) close() {
	for _, l := range []net.Listener{p.xdsL, p.adminL, p.apiL} {
		if l != nil {
			_ = l.Close() // most are closed already by who served them
		}
	}
	if p.store != nil {
		if err := p.store.Close(); err != nil {
			p.log.Warn("close store", "error", err)
		}
	}
}
