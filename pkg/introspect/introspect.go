// Package introspect asks servers about tokens that only they can read: an OAuth 2.0
// server (RFC 7662), or the IM server of the agent's own region, such as Matrix'
// GET /_matrix/client/v3/account/whoami. It is a resolver.Server.
//
// What a server accepts is believed for a minute at most and never longer than the
// token lives, what it refuses for five seconds; those who ask about one token at once
// share a question. A server that cannot be asked, or answers anything but what its
// specification says, is an error and is not remembered: nobody gets a home by it.
//
// A token stands in memory while it is asked about and nowhere else: not in errors,
// and of what is remembered only a keyed hash. Redirects are not followed, no proxy
// of the environment is used, an answer is read up to 64 KiB.
package introspect

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/domicile-dev/domicile/pkg/identity"
	"github.com/domicile-dev/domicile/pkg/memo"
	"github.com/domicile-dev/domicile/pkg/resolver"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// How long an answer is believed at most, and how long a refusal.
const (
	positive = 60 * time.Second
	negative = 5 * time.Second
)

// maxBody bounds what is read of an answer, in bytes.
const maxBody = 64 << 10

// Config of a Client.
type Config struct {
	// Backends returns the host:port list of a service in the agent's own region.
	Backends func(service string) []string
	// TLS is for introspection endpoints; nil is no certificate and the system's
	// authorities.
	TLS *tls.Config
	// Timeout bounds one question; 0: a second.
	Timeout time.Duration
	// Now judges when tokens end; Clock counts how long answers are believed, and
	// never jumps (nil is the process's monotonic clock).
	Now   func() time.Time
	Clock func() time.Duration
}

// Client asks. It may be used by many goroutines at once.
type Client struct {
	cfg   Config
	web   *http.Client
	known *memo.Memo[verdict]
	key   []byte // of the hash under which an answer is remembered
}

// verdict is what a server said of a token.
type verdict struct {
	resolver.Account
	refused bool
}

// New returns a Client that has asked nothing yet.
func New(cfg Config) *Client {
	if cfg.Timeout <= 0 {
		cfg.Timeout = time.Second
	}
	return &Client{
		cfg: cfg,
		web: &http.Client{
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport: &http.Transport{
				TLSClientConfig:        cfg.TLS,
				ForceAttemptHTTP2:      true,
				DisableCompression:     true,
				MaxConnsPerHost:        256,
				MaxIdleConnsPerHost:    32,
				IdleConnTimeout:        time.Minute,
				MaxResponseHeaderBytes: 32 << 10,
			},
		},
		known: memo.New[verdict](memo.Config{Timeout: cfg.Timeout, Clock: cfg.Clock}),
		key:   identity.NewHashKey(),
	}
}

// Close ends idle connections.
func (c *Client) Close() { c.web.CloseIdleConnections() }

// Ask returns who the token belongs to. resolver.ErrRefused means that the server does
// not accept it; any other error that it could not be asked.
func (c *Client) Ask(ctx context.Context, i topology.Issuer, token string) (resolver.Account, error) {
	var ask func(context.Context, topology.Issuer, string) (verdict, error)
	switch {
	case i.Introspection != nil && i.Whoami == nil:
		ask = c.introspect
	case i.Whoami != nil && i.Introspection == nil:
		ask = c.whoami
	default:
		return resolver.Account{}, fmt.Errorf("ask issuer %s: no server reads its tokens", i.Issuer)
	}
	name, err := c.name(i, token)
	if err != nil {
		return resolver.Account{}, err
	}
	v, err := c.known.Get(ctx, name, func(ctx context.Context) (verdict, time.Duration, error) {
		v, err := ask(ctx, i, token)
		return v, c.keep(v), err
	})
	switch {
	case err != nil:
		return resolver.Account{}, fmt.Errorf("ask issuer %s: %w", i.Issuer, err)
	case v.refused:
		return resolver.Account{}, fmt.Errorf("ask issuer %s: %w", i.Issuer, resolver.ErrRefused)
	}
	return v.Account, nil
}

// name is under which the answer is remembered. Everything that makes the answer is in
// it, so that another policy asks again.
func (c *Client) name(i topology.Issuer, token string) (string, error) {
	asked, err := json.Marshal(i)
	if err != nil {
		return "", fmt.Errorf("ask issuer %s: %w", i.Issuer, err)
	}
	m := hmac.New(sha256.New, c.key)
	fmt.Fprintf(m, "%d:%s%s", len(asked), asked, token)
	return string(m.Sum(nil)), nil
}

// keep is how long an answer is believed.
func (c *Client) keep(v verdict) time.Duration {
	switch {
	case v.refused:
		return negative
	case v.Expires.IsZero():
		return positive
	}
	return min(positive, v.Expires.Sub(c.cfg.Now()))
}

// do sends a request and returns status and JSON object. The error names neither the
// URL nor what was sent.
func (c *Client) do(req *http.Request) (int, map[string]json.RawMessage, error) {
	req.Header.Set("Accept", "application/json")
	resp, err := c.web.Do(req)
	if err != nil {
		return 0, nil, bare(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		// Read a little, so that the connection can be used again.
		_, err := io.CopyN(io.Discard, resp.Body, maxBody)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, nil, bare(err)
		}
		return resp.StatusCode, nil, nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	switch kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); {
	case err != nil:
		return 0, nil, bare(err)
	case len(body) > maxBody:
		return 0, nil, fmt.Errorf("the answer is longer than %d bytes", maxBody)
	case kind != "application/json" && kind != "application/token-introspection+json":
		return 0, nil, errors.New("the answer is not application/json")
	}
	var answer map[string]json.RawMessage
	if json.Unmarshal(body, &answer) != nil || answer == nil {
		return 0, nil, errors.New("the answer is no JSON object")
	}
	return resp.StatusCode, answer, nil
}

// bare takes the URL off an error.
func bare(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// text reads a member that holds text; "" where there is none or null.
func text(answer map[string]json.RawMessage, member string) (string, error) {
	raw, ok := answer[member]
	if !ok || member == "" {
		return "", nil
	}
	var s *string
	if json.Unmarshal(raw, &s) != nil {
		return "", fmt.Errorf("%s in the answer is not text", member)
	}
	if s == nil {
		return "", nil
	}
	return *s, nil
}

// instant reads a member that holds seconds since 1970 (RFC 7519, NumericDate); the
// zero time where there is none.
func instant(answer map[string]json.RawMessage, member string) (time.Time, error) {
	raw, ok := answer[member]
	if !ok || string(raw) == "null" {
		return time.Time{}, nil
	}
	var f float64
	// 1e11 seconds is the year 5138; what is beyond is no instant that anybody means.
	if json.Unmarshal(raw, &f) != nil || f < 1 || f > 1e11 {
		return time.Time{}, fmt.Errorf("%s in the answer is no instant", member)
	}
	return time.Unix(int64(f), 0), nil
}

// private tells whether what is sent to the URL stays between us and its server.
func private(u *url.URL) bool {
	host := u.Hostname()
	ip := net.ParseIP(host)
	return u.Scheme == "https" || u.Scheme == "http" && (host == "localhost" || ip != nil && ip.IsLoopback())
}
