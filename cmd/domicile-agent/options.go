package main

import (
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/domicile-dev/domicile/pkg/identity"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// options are the flags.
type options struct {
	id                         identity.ID
	socket, listen, peer       string
	control                    []string
	cert, key, ca, trustDomain string
	state, fence               string
	directory, directoryKey    string
	sourcesCA, geoip           string
	pinKey                     string
	version                    bool

	sources *tls.Config // for connections to directory and introspection servers
}

var errHelp = errors.New("help was asked for")

// parseOptions reads the command line; help goes to stdout.
func parseOptions(args []string, stdout io.Writer) (*options, error) {
	o := &options{}
	var id, control string
	f := flag.NewFlagSet("domicile-agent", flag.ContinueOnError)
	f.SetOutput(io.Discard) // the caller says what is wrong
	f.StringVar(&id, "id", "", "node `REGION/agent/NAME` of this agent")
	f.StringVar(&o.socket, "socket", topology.DefaultAgent, "Unix socket on which Envoy asks (ext_authz, ECDS, gRPC)")
	f.StringVar(&o.listen, "listen", "127.0.0.1:8090", "`host:port` for health, identity, metrics and directory")
	f.StringVar(&o.peer, "peer", "", "`host:port` on which operators and other agents of the region move and erase users (mTLS); none if empty")
	f.StringVar(&control, "control", "", "`URLs` of the control plane's API, separated by commas; without it no home is found here")
	f.StringVar(&o.cert, "cert", "", "certificate of this agent (PEM `file`)")
	f.StringVar(&o.key, "key", "", "key of --cert (PEM `file`)")
	f.StringVar(&o.ca, "ca", "", "authority that the others' certificates must come from (PEM `file`)")
	f.StringVar(&o.trustDomain, "trust-domain", topology.TrustDomain, "SPIFFE trust `domain` of the deployment")
	f.StringVar(&o.state, "state", "", "`file` that keeps the last good policy for the next start; none if empty")
	f.StringVar(&o.fence, "fence", "", "`file` that keeps the users who moved or were erased; in memory only if empty")
	f.StringVar(&o.directory, "directory", "", "`file` of a static directory (keyed hash of the user id: home), or URL with {hash} in it; the deployment's if empty")
	f.StringVar(&o.directoryKey, "directory-key", "", "`file` with the key of the keyed hash, in hex: the same for all agents of a deployment")
	f.StringVar(&o.sourcesCA, "sources-ca", "", "authorities that the certificates of directory and introspection servers must come from (PEM `file`; the system's if empty)")
	f.StringVar(&o.geoip, "geoip", "", "`file` (MaxMind DB) in which the country of a client's address is found; followed when it changes; none if empty")
	f.StringVar(&o.pinKey, "pin-key", "", "`file` with the private keys of this region's pins (JWK or JWK set, the preferred one first)")
	f.BoolVar(&o.version, "version", false, "print the version")
	if err := f.Parse(args); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			return nil, err
		}
		fmt.Fprintln(stdout, "domicile-agent answers the Envoys of one region and reports its health.\n\nFlags:")
		f.SetOutput(stdout)
		f.PrintDefaults()
		return nil, errHelp
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if o.version {
		return o, nil
	}
	for u := range strings.SplitSeq(control, ",") {
		if u = strings.TrimSpace(u); u != "" {
			o.control = append(o.control, u)
		}
	}
	var err error
	if o.id, err = identity.ParseID(id); err != nil {
		return nil, fmt.Errorf("--id: %w", err)
	}
	return o, o.check()
}

// check finds flags that do nothing without others.
func (o *options) check() error {
	tls := o.cert != "" && o.key != "" && o.ca != ""
	switch {
	case !tls && o.cert+o.key+o.ca != "":
		return errors.New("--cert, --key and --ca belong together")
	case o.peer != "" && !tls:
		return errors.New("--peer needs --cert, --key and --ca: it is served by mTLS only")
	case o.peer != "" && (len(o.control) == 0 || o.directoryKey == ""):
		return errors.New("--peer needs --control and --directory-key: without them nobody can be moved")
	case o.peer != "" && o.fence == "":
		return errors.New("--peer needs --fence: a restart would let in again who moved or was erased")
	case len(o.control) > 0 && o.directoryKey == "":
		return errors.New("--control needs --directory-key: without it no user can be looked up")
	case o.pinKey != "" && len(o.control) == 0:
		return errors.New("--pin-key needs --control: pins are signed for a policy")
	}
	for _, u := range o.control {
		if !tls && !strings.HasPrefix(u, "http://127.0.0.1:") && !strings.HasPrefix(u, "http://[::1]:") {
			return fmt.Errorf("--control %s needs --cert, --key and --ca: only loopback addresses are asked without", u)
		}
		if tls && !strings.HasPrefix(u, "https://") {
			return fmt.Errorf("--control %s: write https://", u)
		}
	}
	return nil
}

// mayMove takes operators and the agents of the own region: whoever else could erase a
// user here could do so with the key of another region, which has no part in it.
func (o *options) mayMove(id identity.ID) error {
	if id.Role == identity.RoleAgent && id.Region != o.id.Region {
		return fmt.Errorf("identity %s: an agent of another region", id)
	}
	return identity.Role(identity.RoleAgent, identity.RoleOperator)(id)
}
