// Package remote speaks to the control plane's API and gives each failure its
// exit code. A question is answered within AskTime or the control plane is
// unreachable; nothing is tried twice. A Client may be used concurrently.
package remote

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/domicile-dev/domicile/pkg/api"
	"github.com/domicile-dev/domicile/pkg/bundle"
	"github.com/domicile-dev/domicile/pkg/cli/exit"
	"github.com/domicile-dev/domicile/pkg/control"
)

const (
	// AskTime bounds a question: who does not answer in it is unreachable.
	AskTime = 4 * time.Second
	// mostAnswer bounds an answer, in bytes.
	mostAnswer = 256 << 20
)

// Client speaks to one control plane, or to an agent that answers alike.
type Client struct {
	// What is how messages name the other side: control plane.
	What  string
	Base  *url.URL
	Agent string // our version
	http  *http.Client
	ahead atomic.Int64 // see Ahead
}

// Ahead is how far the other side's clock was ahead of ours, by its last answer,
// to about a second; negative: behind.
func (c *Client) Ahead() time.Duration { return time.Duration(c.ahead.Load()) }

// New returns a client; it opens no connection.
func New(base *url.URL, tlsConfig *tls.Config, agent string) *Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = tlsConfig
	return &Client{What: "control plane", Base: base, Agent: agent, http: &http.Client{Transport: t, CheckRedirect: NoRedirect}}
}

// NoRedirect keeps what is sent from being sent on to another host.
func NoRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Call makes one request. A body makes it a POST; an envelope of approvals goes
// with it. The answer is read whole.
func (c *Client) Call(ctx context.Context, most time.Duration, path string, query url.Values, body []byte, envelope ...byte) ([]byte, error) {
	parent := ctx
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	u := c.Base.JoinPath(path)
	u.RawQuery = query.Encode()
	method, reader := http.MethodGet, io.Reader(nil)
	if body != nil {
		method, reader = http.MethodPost, bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), reader)
	if err != nil {
		return nil, exit.Errorf(exit.Usage, "%w", err)
	}
	req.Header.Set(api.Header, "domicile/"+c.Agent)
	req.Header.Set("Content-Type", "application/octet-stream")
	if len(envelope) > 0 {
		req.Header.Set(api.Approvals, base64.StdEncoding.EncodeToString(envelope))
	}
	res, err := c.http.Do(req)
	if err == nil {
		defer res.Body.Close()
		if date, err := http.ParseTime(res.Header.Get("Date")); err == nil {
			c.ahead.Store(int64(time.Until(date).Round(time.Second)))
		}
		var data []byte
		if data, err = io.ReadAll(io.LimitReader(res.Body, mostAnswer)); err == nil {
			return data, c.judge(res.StatusCode, data)
		}
	}
	switch {
	case parent.Err() != nil:
		return nil, parent.Err()
	case method == http.MethodPost && ctx.Err() != nil:
		return nil, exit.Errorf(exit.Unreachable, "%s %s did not answer in %s: whether the change was made is not known; see domicile history", c.What, c.Base, most)
	}
	var unverified *tls.CertificateVerificationError
	if errors.As(err, &unverified) {
		return nil, exit.Errorf(exit.Forbidden, "%s %s: its certificate does not verify: %w (next: name the signer with --ca)", c.What, c.Base, unverified.Err)
	}
	if ctx.Err() != nil {
		return nil, exit.Errorf(exit.Unreachable, "%s %s is unreachable: no answer in %s", c.What, c.Base, most)
	}
	return nil, exit.Errorf(exit.Unreachable, "%s %s is unreachable: %w", c.What, c.Base, Cause(err))
}

// Cause drops the method and URL that net/http puts before an error.
func Cause(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// Rejected is a change that the control plane checked and refused.
type Rejected struct{ *control.Rejected }

// Error says what was found.
func (r *Rejected) Error() string { return "the control plane rejected it: " + r.Rejected.Error() }

// judge maps a status to an error with its exit code.
func (c *Client) judge(status int, body []byte) error {
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
		return &exit.Error{Code: exit.Findings, Err: &Rejected{p.Rejected}}
	case http.StatusConflict:
		return exit.Errorf(exit.Stale, "%s", text)
	case http.StatusUnauthorized, http.StatusForbidden:
		return exit.Errorf(exit.Forbidden, "%s", text)
	case http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusGatewayTimeout:
		return exit.Errorf(exit.Unreachable, "%s", text)
	case http.StatusBadRequest:
		return exit.Errorf(exit.Usage, "%s", text)
	case http.StatusNotFound, http.StatusRequestEntityTooLarge:
		return exit.Errorf(exit.Findings, "%s", text)
	}
	return exit.Errorf(exit.Bug, "%s %s answered %d: %s", c.What, c.Base, status, text)
}

// Ask gets JSON.
func (c *Client) Ask(ctx context.Context, path string, query url.Values, out any) error {
	data, err := c.Call(ctx, AskTime, path, query, nil)
	if err != nil {
		return err
	}
	return c.Decode(data, out)
}

// Decode reads an answer of this API.
func (c *Client) Decode(data []byte, out any) error {
	if err := json.Unmarshal(data, out); err != nil {
		return exit.Errorf(exit.Bug, "%s %s: answer is not of this API: %w", c.What, c.Base, err)
	}
	return nil
}

// Status is what the control plane runs.
func (c *Client) Status(ctx context.Context) (api.Status, error) {
	var s api.Status
	return s, c.Ask(ctx, "v1/status", nil, &s)
}

// Bundle gets the bundle that is in force, and verifies its digest.
func (c *Client) Bundle(ctx context.Context) (*bundle.Bundle, error) {
	s, err := c.Status(ctx)
	if err != nil {
		return nil, err
	}
	if s.Policy == nil {
		return nil, exit.Errorf(exit.Findings, "%s %s has no policy in force yet (next: domicile apply)", c.What, c.Base)
	}
	archive, err := c.Call(ctx, AskTime, "v1/bundle/"+s.Policy.Bundle, nil, nil)
	if err != nil {
		return nil, err
	}
	b, err := bundle.Open(archive, s.Policy.Bundle)
	if err != nil {
		return nil, exit.Errorf(exit.Findings, "read bundle from %s: %w", c.Base, err)
	}
	return b, nil
}
