package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/domicile-dev/domicile/pkg/api"
	"github.com/domicile-dev/domicile/pkg/bundle"
	"github.com/domicile-dev/domicile/pkg/control"
)

const (
	// askTime bounds a question: who does not answer in it is unreachable.
	askTime = 4500 * time.Millisecond
	// changeTime bounds a change, which compiles and writes. A control plane
	// that answered a question just before gets that long.
	changeTime = 30 * time.Second
	// mostAnswer bounds an answer, in bytes.
	mostAnswer = 256 << 20
)

// remote is where the control plane is and how to prove who we are.
type remote struct{ control, dir, cert, key, ca string }

func (r *remote) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&r.control, "control", "", "URL of the control plane's API (default $DOMICILE_CONTROL)")
	f.StringVar(&r.dir, "dir", "", "directory of a running demo, in which its control plane is found")
	f.StringVar(&r.cert, "cert", "", "client certificate (PEM), for https")
	f.StringVar(&r.key, "key", "", "key of the client certificate (PEM)")
	f.StringVar(&r.ca, "ca", "", "certificates of who may have signed the control plane's (PEM; default: the system's)")
}

// client speaks to one control plane.
type client struct {
	base *url.URL
	http *http.Client
}

// client finds the control plane: --control, else --dir, else the environment.
func (a *app) client(cmd *cobra.Command, r remote) (*client, error) {
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
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = tlsConfig
	return &client{base, &http.Client{Transport: t, CheckRedirect: noRedirect}}, nil
}

// noRedirect keeps a bundle from being sent on to another host.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func (r *remote) tls(cmd *cobra.Command) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS13}
	if (r.cert == "") != (r.key == "") {
		return nil, usage(cmd, "--cert and --key go together")
	}
	if r.cert != "" {
		pair, err := tls.LoadX509KeyPair(r.cert, r.key)
		if err != nil {
			return nil, withCode(CodeUsage, "read client certificate: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	if r.ca != "" {
		pem, err := os.ReadFile(r.ca)
		if err != nil {
			return nil, withCode(CodeUsage, "read --ca: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, withCode(CodeUsage, "read --ca: %s holds no certificate", r.ca)
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
		return d, withCode(CodeUsage, "no demo runs in %s: it has no demo.json", dir)
	}
	if err != nil {
		return d, withCode(CodeUsage, "open demo: %w", err)
	}
	if err := json.Unmarshal(data, &d); err != nil {
		return d, withCode(CodeFindings, "read %s: %w", filepath.Join(dir, "demo.json"), err)
	}
	return d, nil
}

// call makes one request. A body makes it a POST. The answer is read whole.
func (c *client) call(ctx context.Context, most time.Duration, path string, query url.Values, body []byte) ([]byte, error) {
	parent := ctx
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	u := c.base.JoinPath(path)
	u.RawQuery = query.Encode()
	method, reader := http.MethodGet, io.Reader(nil)
	if body != nil {
		method, reader = http.MethodPost, bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), reader)
	if err != nil {
		return nil, withCode(CodeUsage, "%w", err)
	}
	req.Header.Set(api.Header, "domicile/"+currentVersion())
	req.Header.Set("Content-Type", "application/octet-stream")
	res, err := c.http.Do(req)
	if err == nil {
		defer res.Body.Close()
		var data []byte
		if data, err = io.ReadAll(io.LimitReader(res.Body, mostAnswer)); err == nil {
			return data, c.judge(res.StatusCode, data)
		}
	}
	switch {
	case parent.Err() != nil:
		return nil, parent.Err()
	case method == http.MethodPost && ctx.Err() != nil:
		return nil, withCode(CodeUnreachable, "control plane %s did not answer in %s: whether the change was made is not known; see domicile history", c.base, most)
	}
	var unverified *tls.CertificateVerificationError
	if errors.As(err, &unverified) {
		return nil, withCode(CodeForbidden, "control plane %s: its certificate does not verify: %w (next: name the signer with --ca)", c.base, unverified.Err)
	}
	return nil, withCode(CodeUnreachable, "control plane %s is unreachable: %w", c.base, cause(err))
}

// cause drops the method and URL that net/http puts before an error.
func cause(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// rejected is a change that the control plane checked and refused.
type rejected struct{ *control.Rejected }

func (r *rejected) Error() string { return "the control plane rejected it: " + r.Rejected.Error() }

// judge maps a status to an error with its exit code.
func (c *client) judge(status int, body []byte) error {
	if status == http.StatusOK {
		return nil
	}
	var p api.Problem
	text := http.StatusText(status)
	if json.Unmarshal(body, &p) == nil && p.Title != "" {
		text = p.Title
		if p.Detail != "" {
			text += ": " + p.Detail
		}
		if p.Fix != "" {
			text += " (next: " + p.Fix + ")"
		}
	}
	switch status {
	case http.StatusUnprocessableEntity:
		if p.Rejected == nil {
			p.Rejected = &control.Rejected{Cause: text}
		}
		return &coded{CodeFindings, &rejected{p.Rejected}}
	case http.StatusConflict:
		return withCode(CodeStale, "%s", text)
	case http.StatusUnauthorized, http.StatusForbidden:
		return withCode(CodeForbidden, "%s", text)
	case http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusGatewayTimeout:
		return withCode(CodeUnreachable, "%s", text)
	case http.StatusBadRequest:
		return withCode(CodeUsage, "%s", text)
	case http.StatusNotFound, http.StatusRequestEntityTooLarge:
		return withCode(CodeFindings, "%s", text)
	}
	return withCode(CodeBug, "control plane %s answered %d: %s", c.base, status, text)
}

// ask gets JSON.
func (c *client) ask(ctx context.Context, path string, query url.Values, out any) error {
	data, err := c.call(ctx, askTime, path, query, nil)
	if err != nil {
		return err
	}
	return c.decode(data, out)
}

func (c *client) decode(data []byte, out any) error {
	if err := json.Unmarshal(data, out); err != nil {
		return withCode(CodeBug, "control plane %s: answer is not of this API: %w", c.base, err)
	}
	return nil
}

func (c *client) status(ctx context.Context) (control.Status, error) {
	var s control.Status
	return s, c.ask(ctx, "v1/status", nil, &s)
}

// bundle gets the bundle that is in force, and verifies its digest.
func (c *client) bundle(ctx context.Context) (*bundle.Bundle, error) {
	s, err := c.status(ctx)
	if err != nil {
		return nil, err
	}
	if s.Policy == nil {
		return nil, withCode(CodeFindings, "control plane %s has no policy in force yet (next: domicile apply)", c.base)
	}
	archive, err := c.call(ctx, askTime, "v1/bundle/"+s.Policy.Bundle, nil, nil)
	if err != nil {
		return nil, err
	}
	b, err := bundle.Open(archive, s.Policy.Bundle)
	if err != nil {
		return nil, withCode(CodeFindings, "read bundle from %s: %w", c.base, err)
	}
	return b, nil
}

// source is where the policy of an offline command comes from.
type source struct {
	remote
	policies string
}

func (s *source) flags(cmd *cobra.Command, remotely bool) {
	cmd.Flags().StringVar(&s.policies, "policies", "", "policy directory")
	if remotely {
		s.remote.flags(cmd)
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
	c, err := a.client(cmd, s.remote)
	if err != nil {
		return nil, err
	}
	b, err := c.bundle(cmd.Context())
	if err != nil {
		return nil, err
	}
	return a.judge(cmd, b.FS(), "", j)
}

// trimDigest drops what every digest begins with, for columns.
func trimDigest(d string) string { return strings.TrimPrefix(short(d), "sha256:") }

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
