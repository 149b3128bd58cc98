// Package http asks a service of the operator for homes: GET of a URL in which {hash}
// stands for the user's keyed hash. The service answers 200 or 404 with a JSON object
// whose member home is the home, or null where it lists no such user:
//
//	{"home": "SA"}
//
// Every other answer is an error. A 404 without such a body is one too: it is what a
// proxy says whose service is gone, and must not look like a user who has no home.
// Redirects are not followed, no proxy of the environment is used, an answer is read
// up to 4 KiB, and plain HTTP is only spoken with this machine, because whoever
// could change an answer could move a user.
package http

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	nethttp "net/http"
	"net/url"
	"strings"
	"time"

	"github.com/domicile-dev/domicile/pkg/directory"
	"github.com/domicile-dev/domicile/pkg/identity"
	"github.com/domicile-dev/domicile/pkg/secretfile"
)

// placeholder stands in the URL where the hash goes.
const placeholder = "{hash}"

// maxBody bounds what is read of an answer, in bytes.
const maxBody = 4 << 10

// Config of the service.
type Config struct {
	URL string // https, with {hash} in its path or query
	// SecretFile holds a bearer token that is sent along; "" sends none. It is
	// read again for every question.
	SecretFile string
	// TLS holds the client certificate and who may have signed the service's; nil
	// is no certificate and the system's authorities.
	TLS *tls.Config
	// Timeout bounds one question; 0: directory.DefaultTimeout.
	Timeout time.Duration
}

// Directory asks the service. It is a directory.Directory.
type Directory struct {
	cfg    Config
	client *nethttp.Client
}

// Open returns the directory; it asks nothing yet.
func Open(cfg Config) (*Directory, error) {
	if strings.Count(cfg.URL, placeholder) != 1 {
		return nil, fmt.Errorf("open directory: the URL must hold %s once", placeholder)
	}
	u, err := url.Parse(strings.Replace(cfg.URL, placeholder, "0", 1))
	switch {
	case err != nil || u.Host == "" || u.Fragment != "" || u.User != nil:
		return nil, fmt.Errorf("open directory: the URL is not such as https://directory.example.com/v1/%s", placeholder)
	case strings.Contains(u.Host, "0") && !strings.Contains(cfg.URL, u.Host):
		return nil, fmt.Errorf("open directory: %s must stand in the URL's path or query", placeholder)
	case u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())):
		return nil, errors.New("open directory: the URL must be https, unless the service runs on this machine")
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = directory.DefaultTimeout
	}
	return &Directory{cfg: cfg, client: &nethttp.Client{
		CheckRedirect: func(*nethttp.Request, []*nethttp.Request) error { return nethttp.ErrUseLastResponse },
		Transport: &nethttp.Transport{
			TLSClientConfig:        cfg.TLS,
			ForceAttemptHTTP2:      true,
			DisableCompression:     true,
			MaxConnsPerHost:        256,
			MaxIdleConnsPerHost:    64,
			IdleConnTimeout:        time.Minute,
			MaxResponseHeaderBytes: 16 << 10,
		},
	}}, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Close ends idle connections.
func (d *Directory) Close() { d.client.CloseIdleConnections() }

// Lookup finds a home.
func (d *Directory) Lookup(ctx context.Context, hash string) (home string, found bool, err error) {
	if !identity.IsUserHash(hash) {
		return "", false, fmt.Errorf("look up home: %w", directory.ErrBadHash)
	}
	home, err = d.ask(ctx, hash)
	if err != nil {
		return "", false, fmt.Errorf("look up home: %w", err)
	}
	return home, home != "", nil
}

func (d *Directory) ask(ctx context.Context, hash string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Timeout)
	defer cancel()
	req, err := nethttp.NewRequestWithContext(ctx, nethttp.MethodGet, strings.Replace(d.cfg.URL, placeholder, hash, 1), nil)
	if err != nil {
		return "", fmt.Errorf("%w: %w", directory.ErrUnavailable, bare(err))
	}
	req.Header.Set("Accept", "application/json")
	if d.cfg.SecretFile != "" {
		token, err := secretfile.Read(d.cfg.SecretFile)
		if err != nil {
			return "", fmt.Errorf("%w: %w", directory.ErrUnavailable, err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return "", fmt.Errorf("%w: %w", directory.ErrUnavailable, bare(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != nethttp.StatusOK && resp.StatusCode != nethttp.StatusNotFound {
		return "", fmt.Errorf("%w: the service answers %d", directory.ErrUnavailable, resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return "", fmt.Errorf("%w: %w", directory.ErrUnavailable, bare(err))
	}
	home, err := read(resp.StatusCode, resp.Header.Get("Content-Type"), body)
	if err != nil {
		return "", fmt.Errorf("%w (status %d)", err, resp.StatusCode)
	}
	return home, nil
}

// read takes the home from an answer; "" is a user who is not listed.
func read(status int, contentType string, body []byte) (string, error) {
	if len(body) > maxBody {
		return "", fmt.Errorf("%w: the answer is longer than %d bytes", directory.ErrCorrupt, maxBody)
	}
	if kind, _, err := mime.ParseMediaType(contentType); err != nil || kind != "application/json" {
		if status == nethttp.StatusNotFound {
			return "", fmt.Errorf("%w: a 404 that is not JSON is not the service's", directory.ErrUnavailable)
		}
		return "", fmt.Errorf("%w: the answer is not application/json", directory.ErrCorrupt)
	}
	var answer map[string]json.RawMessage
	if json.Unmarshal(body, &answer) != nil || answer["home"] == nil {
		return "", fmt.Errorf(`%w: the answer is not {"home": …}`, directory.ErrCorrupt)
	}
	var home *string
	if json.Unmarshal(answer["home"], &home) != nil {
		return "", fmt.Errorf("%w: home is neither text nor null", directory.ErrCorrupt)
	}
	switch {
	case home == nil:
		return "", nil
	case status == nethttp.StatusNotFound:
		return "", fmt.Errorf("%w: not found, and yet a home", directory.ErrCorrupt)
	}
	return *home, directory.CheckHome(*home)
}

// bare takes the URL, in which the hash stands, off an error.
func bare(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
