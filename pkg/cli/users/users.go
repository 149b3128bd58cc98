// Package users is how commands reach the directory of users: what a deployment says
// of it, joined with what only this machine knows.
package users

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/domicile-dev/domicile/pkg/cli/exit"
	"github.com/domicile-dev/domicile/pkg/cli/session"
	"github.com/domicile-dev/domicile/pkg/directory"
	"github.com/domicile-dev/domicile/pkg/directory/open"
	"github.com/domicile-dev/domicile/pkg/identity"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// The files of a demo.
const (
	demoUsers = "users.yaml"
	demoKey   = "users.key"
)

// Local is what this machine knows of the directory.
type Local struct{ StandIn, Key, CA string }

// Flags adds the flags.
func (l *Local) Flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&l.StandIn, "directory", "", "`file` of a static directory, or URL with {hash} in it, instead of the deployment's directory")
	f.StringVar(&l.Key, "directory-key", "", "`file` with the key of the keyed hash, in hex, as the agents have it")
	f.StringVar(&l.CA, "directory-ca", "", "authorities that the directory's certificate must come from (PEM `file`; default: the system's)")
}

// From fills in what a demo's directory holds, where --dir names one.
func (l *Local) From(src session.Source) {
	if src.Dir == "" {
		return
	}
	if l.StandIn == "" {
		l.StandIn = filepath.Join(src.Dir, demoUsers)
	}
	if l.Key == "" {
		l.Key = filepath.Join(src.Dir, demoKey)
	}
}

// Open opens the deployment's directory, or the stand-in, and says of what kind it is.
func (l *Local) Open(cmd *cobra.Command, t *topology.Topology) (dir *open.Directory, kind string, err error) {
	var d topology.Directory
	if t.Directory != nil {
		d = *t.Directory
	}
	if t.Directory == nil && l.StandIn == "" {
		return nil, "", exit.Errorf(exit.Findings, "the deployment has no directory: add one to its file, or use --directory")
	}
	if d.Kind == "static" && l.StandIn == "" {
		return nil, "", session.Usage(cmd, "the deployment's directory is static, and users are in no bundle: name the agents' file with --directory")
	}
	switch kind = d.Kind; {
	case strings.Contains(l.StandIn, "://"):
		kind = "http"
	case l.StandIn != "":
		kind = "static"
	}
	local := open.Local{StandIn: l.StandIn}
	if l.CA != "" {
		pem, err := os.ReadFile(l.CA)
		if err != nil {
			return nil, "", exit.Errorf(exit.Usage, "read --directory-ca: %w", err)
		}
		local.TLS = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
		if !local.TLS.RootCAs.AppendCertsFromPEM(pem) {
			return nil, "", exit.Errorf(exit.Usage, "read --directory-ca: %s holds no certificate", l.CA)
		}
	}
	if dir, err = open.Open(d, local); err != nil {
		return nil, "", exit.Errorf(exit.Findings, "%w", err)
	}
	return dir, kind, nil
}

// HashKey reads the key of the keyed hash.
func (l *Local) HashKey(cmd *cobra.Command) ([]byte, error) {
	if l.Key == "" {
		return nil, session.Usage(cmd, "--directory-key is missing: without the agents' key nobody is found in the directory")
	}
	key, err := identity.ReadHashKey(l.Key)
	if err != nil {
		return nil, exit.Errorf(exit.Usage, "%w", err)
	}
	return key, nil
}

// Code is the exit code of an error of the directory.
func Code(err error) int {
	if errors.Is(err, directory.ErrUnavailable) {
		return exit.Unreachable
	}
	return exit.Findings
}
