package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/domicile-dev/domicile/pkg/approval"
	"github.com/domicile-dev/domicile/pkg/control"
	"github.com/domicile-dev/domicile/pkg/store/etcd"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// options are the flags.
type options struct {
	etcd                       []string
	etcdPrefix                 string
	etcdCert, etcdKey, etcdCA  string
	xds, admin, api            string
	adminHosts                 []string
	cert, key, ca, trustDomain string
	overlay, state, trust      string
	keys                       keyOptions
	logLevel                   slog.Level
	git                        gitOptions
	version                    bool
}

var errHelp = errors.New("help was asked for")

// parseOptions reads the command line; help goes to stdout.
func parseOptions(args []string, stdout io.Writer) (*options, error) {
	o := &options{}
	var endpoints, hosts, level string
	f := flag.NewFlagSet("domicile-control", flag.ContinueOnError)
	f.SetOutput(io.Discard) // the caller says what is wrong
	f.StringVar(&endpoints, "etcd", "", "etcd `URLs`, separated by commas: https://etcd-0:2379,https://etcd-1:2379")
	f.StringVar(&o.etcdPrefix, "etcd-prefix", etcd.DefaultPrefix, "`prefix` of every key in etcd")
	f.StringVar(&o.etcdCert, "etcd-cert", "", "client certificate for etcd (PEM `file`)")
	f.StringVar(&o.etcdKey, "etcd-key", "", "key of --etcd-cert (PEM `file`)")
	f.StringVar(&o.etcdCA, "etcd-ca", "", "authority that etcd's certificate must come from (PEM `file`)")
	f.StringVar(&o.xds, "xds", "0.0.0.0:15010", "`host:port` for xDS (gRPC, mTLS)")
	f.StringVar(&o.admin, "admin", "127.0.0.1:15011", "loopback `host:port` for the admin API (plain HTTP)")
	f.StringVar(&hosts, "admin-hosts", "", "`names` beside loopback addresses by which --admin may be addressed, separated by commas")
	f.StringVar(&o.api, "api", "", "`host:port` for the admin API by mTLS; writes need a certificate of role operator; empty: none")
	f.StringVar(&o.cert, "cert", "", "certificate of this replica, identity -/control/NAME (PEM `file`)")
	f.StringVar(&o.key, "key", "", "key of --cert (PEM `file`)")
	f.StringVar(&o.ca, "ca", "", "authority that clients' certificates must come from (PEM `file`)")
	f.StringVar(&o.trustDomain, "trust-domain", topology.TrustDomain, "SPIFFE trust `domain` of the deployment")
	f.StringVar(&o.overlay, "overlay", "", "JSON `file` of local stand-ins for addresses and keys, for demos")
	f.StringVar(&o.state, "state", "", "`file` in which the newest policy of this replica is remembered over restarts; empty: none")
	f.StringVar(&o.trust, "trust", "", "`file` of who must have signed the first policy, NAME and public key a line; empty: whoever writes it first")
	o.keys.flags(f)
	o.git.flags(f)
	f.StringVar(&level, "log-level", "info", "`level`: debug, info, warn or error")
	f.BoolVar(&o.version, "version", false, "print the version and exit")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(stdout, "domicile-control follows the policies in etcd, checks them, and gives each Envoy its configuration.\n\nFlags:")
			f.SetOutput(stdout)
			f.PrintDefaults()
			return nil, errHelp
		}
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if o.version {
		return o, nil
	}
	if err := o.logLevel.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level %q: write debug, info, warn or error", level)
	}
	o.etcd, o.adminHosts = list(endpoints), list(hosts)
	return o, o.check()
}

// list splits at commas; empty entries do not count.
func list(s string) (out []string) {
	for e := range strings.SplitSeq(s, ",") {
		if e = strings.TrimSpace(e); e != "" {
			out = append(out, e)
		}
	}
	return out
}

func (o *options) check() error {
	if len(o.etcd) == 0 {
		return errors.New("--etcd is required")
	}
	for _, f := range []struct{ name, value string }{{"cert", o.cert}, {"key", o.key}, {"ca", o.ca}} {
		if f.value == "" {
			return fmt.Errorf("--%s is required: xDS is served by mTLS only", f.name)
		}
	}
	if err := o.git.check(); err != nil {
		return err
	}
	if (o.etcdCert == "") != (o.etcdKey == "") {
		return errors.New("--etcd-cert and --etcd-key belong together")
	}
	return nil
}

// settings are those of the controller that stand in files.
func (o *options) settings() (out control.Config, err error) {
	out.State = o.state
	if out.Overlay, err = readOverlay(o.overlay); err != nil {
		return out, err
	}
	out.Trust, err = readTrust(o.trust)
	return out, err
}

func readTrust(path string) (approval.Trust, error) {
	if path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--trust: %w", err)
	}
	t, err := approval.ReadTrust(data)
	if err != nil {
		return nil, fmt.Errorf("--trust %s: %w", path, err)
	}
	return t, nil
}

func readOverlay(path string) (*topology.Overlay, error) {
	if path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--overlay: %w", err)
	}
	o, err := topology.ParseOverlay(data)
	if err != nil {
		return nil, fmt.Errorf("--overlay %s: %w", path, err)
	}
	return o, nil
}
