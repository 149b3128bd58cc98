package session

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

// ChangeTime bounds a change, which compiles and writes. A control plane that
// answered a question just before gets that long.
const ChangeTime = 30 * time.Second

// Access is where the control plane is and how to prove who we are.
type Access struct{ Control, Dir, Cert, Key, CA string }

// Flags adds the flags.
func (r *Access) Flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&r.Control, "control", "", "URL of the control plane's API (default $DOMICILE_CONTROL)")
	f.StringVar(&r.Dir, "dir", "", "directory of a running demo, in which its control plane is found")
	f.StringVar(&r.Cert, "cert", "", "client certificate (PEM), for https")
	f.StringVar(&r.Key, "key", "", "key of the client certificate (PEM)")
	f.StringVar(&r.CA, "ca", "", "certificates of who may have signed the control plane's (PEM; default: the system's)")
}

// Client finds the control plane: --control, else --dir, else the environment.
func (a *Session) Client(cmd *cobra.Command, r Access) (*remote.Client, error) {
	address := r.Control
	switch {
	case address != "" && r.Dir != "":
		return nil, Usage(cmd, "--control and --dir exclude each other")
	case r.Dir != "":
		d, err := ReadDemo(r.Dir)
		if err != nil {
			return nil, err
		}
		address = d.Control.Admin
	case address == "":
		address = a.Getenv("DOMICILE_CONTROL")
	}
	if address == "" {
		return nil, Usage(cmd, "no control plane is named: use --control URL, --dir DIR of a demo, or DOMICILE_CONTROL")
	}
	base, err := url.Parse(address)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, Usage(cmd, "%q is no URL such as https://control.example.com:8443", address)
	}
	tlsConfig, err := r.tls(cmd)
	if err != nil {
		return nil, err
	}
	return remote.New(base, tlsConfig, version.String()), nil
}

func (r *Access) tls(cmd *cobra.Command) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS13}
	if (r.Cert == "") != (r.Key == "") {
		return nil, Usage(cmd, "--cert and --key go together")
	}
	if r.Cert != "" {
		pair, err := tls.LoadX509KeyPair(r.Cert, r.Key)
		if err != nil {
			return nil, exit.Errorf(exit.Usage, "read client certificate: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	if r.CA != "" {
		pem, err := os.ReadFile(r.CA)
		if err != nil {
			return nil, exit.Errorf(exit.Usage, "read --ca: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, exit.Errorf(exit.Usage, "read --ca: %s holds no certificate", r.CA)
		}
	}
	return cfg, nil
}

// Demo is what the offline and remote commands read of a demo's ready file.
type Demo struct {
	Control struct {
		Admin string `json:"admin"`
	} `json:"control"`
	Regions map[string]struct {
		Agent      string `json:"agent"`      // URL
		AgentPeer  string `json:"agentPeer"`  // host:port, mTLS
		EnvoyAdmin string `json:"envoyAdmin"` // URL
	} `json:"regions"`
}

// ReadDemo reads the ready file of the demo in dir.
func ReadDemo(dir string) (Demo, error) {
	var d Demo
	data, err := os.ReadFile(filepath.Join(dir, "demo.json"))
	if Missing(err) {
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

// Source is where the policy of an offline command comes from.
type Source struct {
	Access
	Policies string
}

// Flags adds the flags.
func (s *Source) Flags(cmd *cobra.Command, remotely bool) {
	cmd.Flags().StringVar(&s.Policies, "policies", "", "policy directory")
	if remotely {
		s.Access.Flags(cmd)
	}
}

// Open reads the policy from a directory or a running deployment.
func (a *Session) Open(cmd *cobra.Command, s Source, j Judged) (*Local, error) {
	named := 0
	for _, v := range []string{s.Policies, s.Control, s.Dir} {
		if v != "" {
			named++
		}
	}
	switch {
	case named > 1:
		return nil, Usage(cmd, "--policies, --control and --dir exclude each other")
	case s.Policies != "":
		return a.Read(cmd, s.Policies, j)
	case named == 0 && a.Getenv("DOMICILE_CONTROL") == "":
		if _, err := os.Stat("policies"); err != nil {
			return nil, Usage(cmd, "no policy is named: use --policies DIR, --dir DIR of a demo, or --control URL")
		}
		return a.Read(cmd, "policies", j)
	}
	c, err := a.Client(cmd, s.Access)
	if err != nil {
		return nil, err
	}
	b, err := c.Bundle(cmd.Context())
	if err != nil {
		return nil, err
	}
	return a.JudgeBundle(cmd, b, "", j)
}

// Age is how long ago something was, in the largest unit that says enough.
func (a *Session) Age(t time.Time) string {
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
