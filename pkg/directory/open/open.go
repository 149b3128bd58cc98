// Package open chooses the implementation of a directory by what a deployment says.
// Who wires a program imports it; everybody else knows the port.
package open

import (
	"crypto/tls"
	"fmt"
	"strings"

	"github.com/domicile-dev/domicile/pkg/directory"
	"github.com/domicile-dev/domicile/pkg/directory/http"
	"github.com/domicile-dev/domicile/pkg/directory/redis"
	"github.com/domicile-dev/domicile/pkg/directory/static"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// Local is what a machine knows of the directory and no bundle may hold.
type Local struct {
	// StandIn replaces the deployment's directory: a URL with {hash} in it, or the
	// file of a static directory. A deployment whose directory is static needs one,
	// because users are in no bundle.
	StandIn string
	// TLS holds the client certificate and the authorities for servers that are
	// asked over TLS; nil is no certificate and the system's authorities.
	TLS *tls.Config
}

// Directory is an open directory behind its cache.
type Directory struct {
	directory.Directory
	// Editor changes the directory, and reads it without the cache; nil where it is
	// the operator's service.
	Editor directory.Editor

	forget func(hash string)
	close  func()
}

// Forget makes the next Lookup of a user ask the source: he or she has moved.
func (d *Directory) Forget(hash string) {
	if d.forget != nil {
		d.forget(hash)
	}
}

// Close ends connections. Lookups under way may fail.
func (d *Directory) Close() {
	if d.close != nil {
		d.close()
	}
}

// Open opens the directory of a deployment. It asks nothing yet: a source that is down
// is an error of the lookups.
func Open(d topology.Directory, l Local) (*Directory, error) {
	switch {
	case strings.Contains(l.StandIn, "://"):
		d = topology.Directory{Kind: "http", URL: l.StandIn, Timeout: d.Timeout, Positive: d.Positive, Negative: d.Negative}
	case l.StandIn != "":
		d = topology.Directory{Kind: "static", File: l.StandIn}
	case d.Kind == "static":
		return nil, fmt.Errorf("open directory: %s is in no bundle: name the file on this machine (--directory FILE)", d.File)
	}
	switch d.Kind {
	case "static":
		f := static.Open(d.File)
		return &Directory{Directory: f, Editor: f}, nil
	case "redis":
		cfg := redis.Config{Addresses: d.Addresses, Cluster: d.Cluster, SecretFile: d.SecretFile, Timeout: d.Timeout}
		if d.TLS {
			if cfg.TLS = l.TLS; cfg.TLS == nil {
				cfg.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
			}
		}
		r, err := redis.Open(cfg)
		if err != nil {
			return nil, err
		}
		return cached(d, r, r, r.Close), nil
	case "http":
		h, err := http.Open(http.Config{URL: d.URL, SecretFile: d.SecretFile, TLS: l.TLS, Timeout: d.Timeout})
		if err != nil {
			return nil, err
		}
		return cached(d, h, nil, h.Close), nil
	}
	return nil, fmt.Errorf("open directory: kind %q is not one of static, redis, http", d.Kind)
}

func cached(d topology.Directory, source directory.Directory, e directory.Editor, shut func()) *Directory {
	c := directory.NewCached(source, directory.CacheConfig{Positive: d.Positive, Negative: d.Negative, Timeout: d.Timeout})
	return &Directory{Directory: c, Editor: e, forget: c.Forget, close: shut}
}
