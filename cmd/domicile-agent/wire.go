package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/domicile-dev/domicile/pkg/agent"
	"github.com/domicile-dev/domicile/pkg/agent/inforce"
	"github.com/domicile-dev/domicile/pkg/agent/moves"
	"github.com/domicile-dev/domicile/pkg/directory"
	"github.com/domicile-dev/domicile/pkg/fence"
	"github.com/domicile-dev/domicile/pkg/follow"
	"github.com/domicile-dev/domicile/pkg/identity"
	"github.com/domicile-dev/domicile/pkg/introspect"
	"github.com/domicile-dev/domicile/pkg/resolver"
	"github.com/domicile-dev/domicile/pkg/version"
)

// wire puts the agent together. An error is the operator's to mend.
func (o *options) wire(log *slog.Logger) (*agent.Config, error) {
	cfg := &agent.Config{
		ID: o.id, Socket: o.socket, Listen: o.listen, Metrics: prometheus.NewRegistry(), Version: version.String(), Log: log,
	}
	kept, err := fence.Open(o.fence, time.Now)
	if err != nil {
		return nil, err
	}
	cfg.Fence = fence.NewServer(kept, log)
	cfg.Also = append(cfg.Also, func(ctx context.Context) error { return sweeping(ctx, kept, log) })
	var files *identity.Files
	if o.cert != "" {
		if files, err = identity.OpenFiles(o.cert, o.key, o.ca, o.trustDomain, log); err != nil {
			return nil, err
		}
		if files.ID() != o.id {
			return nil, fmt.Errorf("%s: identity %s, and --id is %s", o.cert, files.ID(), o.id)
		}
	}
	if o.directoryKey != "" {
		if cfg.HashKey, err = identity.ReadHashKey(o.directoryKey); err != nil {
			return nil, err
		}
	}
	if o.sources, err = o.sourcesTLS(files); err != nil {
		return nil, err
	}
	state, err := o.follow(cfg, files, log)
	if err != nil {
		return nil, err
	}
	cfg.Directory = func() directory.Directory {
		if d := state.Directory(); d != nil {
			return d
		}
		return nil
	}
	if len(o.control) > 0 {
		cfg.Resolver = o.resolver(cfg, state, kept, log)
	}
	if o.peer == "" {
		return cfg, nil
	}
	l, err := tls.Listen("tcp", o.peer, files.Server(o.mayMove, "h2", "http/1.1"))
	if err != nil {
		return nil, fmt.Errorf("--peer: %w", err)
	}
	cfg.Peer = &agent.Peer{Listener: l, Handler: moves.Handler(moves.Config{
		Fence: kept, Await: cfg.Fence.Await, Policy: state.Policy, Forget: state.Forget, HashKey: cfg.HashKey, Log: log, Now: time.Now,
	})}
	return cfg, nil
}

// follow opens what says which policy is in force here, and joins it with what this
// machine knows.
func (o *options) follow(cfg *agent.Config, files *identity.Files, log *slog.Logger) (*inforce.State, error) {
	var state *inforce.State
	inForce := func() *follow.Policy { return nil }
	if len(o.control) > 0 {
		client := &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true}}
		if files != nil {
			client.Transport.(*http.Transport).TLSClientConfig = files.Client(identity.Role(identity.RoleControl))
		}
		remote, err := follow.NewRemote(o.control, client)
		if err != nil {
			return nil, err
		}
		follower := follow.New(follow.Config{
			Control: remote, State: o.state, Log: log, Metrics: cfg.Metrics, Now: time.Now,
			Changed: func() {
				if state != nil { // not yet while New reads what was kept
					state.Refresh()
				}
			},
		})
		inForce = follower.Policy
		cfg.Ready = func() error { return errors.Join(unready(follower.Status()), state.Problems()) }
		cfg.Also = append(cfg.Also, follower.Run)
	}
	state = inforce.New(inforce.Config{
		Region: o.id.Region, Policy: inForce, PinKey: o.pinKey, Log: log, Now: time.Now,
		Open: o.openDirectory,
	})
	state.Refresh()
	cfg.Also = append(cfg.Also, state.Run)
	return state, nil
}

// unready tells why what is in force is not what the control plane has.
func unready(s follow.Status) error {
	switch {
	case s.Sequence == 0:
		return errors.New("no policy is in force here yet")
	case s.Behind != "":
		return errors.New("behind: " + s.Behind)
	}
	return nil
}

func (o *options) resolver(cfg *agent.Config, state *inforce.State, kept *fence.Fence, log *slog.Logger) *resolver.Resolver {
	server := introspect.New(introspect.Config{Now: time.Now, TLS: o.sources, Backends: func(service string) []string {
		if p := state.Policy(); p != nil {
			r, _ := p.Topology.Region(o.id.Region)
			return r.Backends[service]
		}
		return nil
	}})
	return resolver.New(resolver.Config{
		Server: server, Propose: o.proposals(cfg, log),
		Region: o.id.Region, Policy: state.Policy, HashKey: cfg.HashKey, Fence: kept, Signer: state.Signer, Now: time.Now,
		Directory: func() resolver.Directory {
			if d := state.Directory(); d != nil {
				return d
			}
			return nil
		},
	})
}
