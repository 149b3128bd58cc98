package main

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/domicile-dev/domicile/pkg/control"
	"github.com/domicile-dev/domicile/pkg/gitsync"
	"github.com/domicile-dev/domicile/pkg/gitsync/gogit"
)

// gitOptions are the flags of following a git repository.
type gitOptions struct {
	gogit.Config
	signers  string
	interval time.Duration
}

func (g *gitOptions) flags(f *flag.FlagSet) {
	f.StringVar(&g.URL, "git", "", "repository to follow (https, ssh or file `URL` without credentials); empty: none")
	f.StringVar(&g.Ref, "git-ref", "main", "`branch`, or full name (refs/tags/production), to follow")
	f.StringVar(&g.Path, "git-path", "policies", "policy `directory` inside the repository")
	f.StringVar(&g.Dir, "git-dir", "", "`directory` for the copy of the repository; needed with --git")
	f.DurationVar(&g.interval, "git-interval", 30*time.Second, "`time` between two looks at the repository")
	f.StringVar(&g.signers, "git-signers", "", "`file` of keys (git's allowed signers, or an armoured PGP key ring) of which one must have signed the commit; empty: none")
	f.StringVar(&g.TokenFile, "git-token", "", "`file` with the token for https")
	f.StringVar(&g.CAFile, "git-ca", "", "authorities for https beside those of the system (PEM `file`)")
	f.StringVar(&g.SSHKey, "git-ssh-key", "", "private key for ssh (`file`)")
	f.StringVar(&g.KnownHosts, "git-known-hosts", "", "servers' keys for ssh (known_hosts `file`)")
}

func (g *gitOptions) check() error {
	switch {
	case g.URL == "":
		return nil
	case g.Dir == "":
		return errors.New("--git needs --git-dir, a directory for its copy of the repository")
	case g.interval < time.Second:
		return fmt.Errorf("--git-interval %s: write at least 1s", g.interval)
	}
	return nil
}

// follow returns what follows the repository; nil where none is named.
func (g *gitOptions) follow(target *control.Controller, log *slog.Logger, metrics prometheus.Registerer) (*gitsync.Syncer, error) {
	if g.URL == "" {
		return nil, nil
	}
	if g.signers != "" {
		var err error
		if g.Keys, err = gogit.ReadKeys(g.signers); err != nil {
			return nil, err
		}
	}
	source, err := gogit.New(g.Config)
	if err != nil {
		return nil, err
	}
	return gitsync.New(gitsync.Config{
		Source: source, Target: target, Repository: g.URL, Ref: g.Ref, Interval: g.interval, Log: log, Metrics: metrics,
	}), nil
}
