package cli

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/domicile-dev/domicile/pkg/cli/exit"
	"github.com/domicile-dev/domicile/pkg/cli/remote"
	"github.com/domicile-dev/domicile/pkg/version"
)

// changeTime bounds a change, which compiles and writes. A control plane that
// answered a question just before gets that long.
const changeTime = 30 * time.Second

// access is where the control plane is and how to prove who we are.
type access struct{ control, dir, cert, key, ca string }

func (r *access) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&r.control, "control", "", "URL of the control plane's API (default $DOMICILE_CONTROL)")
	f.StringVar(&r.dir, "dir", "", "directory of a running demo, in which its control plane is found")
	f.StringVar(&r.cert, "cert", "", "client certificate (PEM), for https")
	f.StringVar(&r.key, "key", "", "key of the client certificate (PEM)")
	f.StringVar(&r.ca, "ca", "", "certificates of who may have signed the control plane's (PEM; default: the system's)")
}

// client finds the control plane: --control, else --dir, else the environment.
func (a *app) client(cmd *cobra.Command, r access) (*remote.Client, error) {
	address := r.control
	switch {
	case address != "" && r.dir != "":
		return nil, usage(cmd, "--control and --dir exclude each other")
	case r.dir != "":
		d, err := readDemo(r.dir)
		if err != nil {
			return nil, err
		}
		address = d.Control.Admin
	case address == "":
		address = a.Getenv("DOMICILE_CONTROL")
	}
	if address == "" {
		return nil, usage(cmd, "no control plane is named: use --control URL, --dir DIR of a demo, or DOMICILE_CONTROL")
	}
	base, err := url.Parse(address)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, usage(cmd, "%q is no URL such as https://control.example.com:8443", address)
	}
	tlsConfig, err := r.tls(cmd)
	if err != nil {
		return nil, err
	}
	return remote.New(base, tlsConfig, version.String()), nil
}

func (r *access) tls(cmd *cobra.Command) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS13}
	if (r.cert == "") != (r.key == "") {
		return nil, usage(cmd, "--cert and --key go together")
	}
	if r.cert != "" {
		pair, err := tls.LoadX509KeyPair(r.cert, r.key)
		if err != nil {
			return nil, exit.Errorf(exit.Usage, "read client certificate: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	if r.ca != "" {
		pem, err := os.ReadFile(r.ca)
		if err != nil {
			return nil, exit.Errorf(exit.Usage, "read --ca: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, exit.Errorf(exit.Usage, "read --ca: %s holds no certificate", r.ca)
		}
	}
	return cfg, nil
}

// demoFile is what the offline and remote commands read of a demo's ready file.
type demoFile struct {
	Control struct {
		Admin string `json:"admin"`
	} `json:"control"`
}

func readDemo(dir string) (demoFile, error) {
	var d demoFile
	data, err := os.ReadFile(filepath.Join(dir, "demo.json"))
	if missing(err) {
		return d, exit.Errorf(exit.Usage, "no demo runs in %s: it has no demo.json", dir)
	}
	if err != nil {
		return d, exit.Errorf(exit.Usage, "open demo: %w", err)
	}
	if err := json.Unmarshal(data, &d); err != nil {
		return d, exit.Errorf(exit.Findings, "read %s: %w", filepath.Join(dir, "demo.json"), err)
	}
	return d, nil
}

// source is where the policy of an offline command comes from.
type source struct {
	access
	policies string
}

func (s *source) flags(cmd *cobra.Command, remotely bool) {
	cmd.Flags().StringVar(&s.policies, "policies", "", "policy directory")
	if remotely {
		s.access.flags(cmd)
	}
}

// source reads the policy from a directory or a running deployment.
func (a *app) source(cmd *cobra.Command, s source, j judged) (*local, error) {
	named := 0
	for _, v := range []string{s.policies, s.control, s.dir} {
		if v != "" {
			named++
		}
	}
	switch {
	case named > 1:
		return nil, usage(cmd, "--policies, --control and --dir exclude each other")
	case s.policies != "":
		return a.read(cmd, s.policies, j)
	case named == 0 && a.Getenv("DOMICILE_CONTROL") == "":
		if _, err := os.Stat("policies"); err != nil {
			return nil, usage(cmd, "no policy is named: use --policies DIR, --dir DIR of a demo, or --control URL")
		}
		return a.read(cmd, "policies", j)
	}
	c, err := a.client(cmd, s.access)
	if err != nil {
		return nil, err
	}
	b, err := c.Bundle(cmd.Context())
	if err != nil {
		return nil, err
	}
	return a.judge(cmd, b.FS(), "", j)
}

// age is how long ago something was, in the largest unit that says enough.
func (a *app) age(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	d := a.Now().Sub(t)
	switch {
	case d < 0:
		return "0s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
