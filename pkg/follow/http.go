package follow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/domicile-dev/domicile/pkg/bundle"
	"github.com/domicile-dev/domicile/pkg/release"
)

// maxAnswer bounds what is read of an answer that is no archive, in bytes.
const maxAnswer = 8 << 20

// Remote is a control plane behind its API. Several replicas are asked in turn: the
// one that answered last is asked first.
type Remote struct {
	urls   []string
	client *http.Client
	first  atomic.Uint32
}

// NewRemote returns the control plane at some URLs. The client proves who asks, and
// knows whom it asks: see identity.ClientTLS.
func NewRemote(urls []string, client *http.Client) (*Remote, error) {
	if len(urls) == 0 {
		return nil, errors.New("no URL of the control plane")
	}
	r := &Remote{client: client}
	for _, u := range urls {
		p, err := url.Parse(u)
		if err != nil || p.Host == "" || p.Scheme != "https" && p.Scheme != "http" {
			return nil, fmt.Errorf("control plane %q: not a URL like https://control.example.com:15012", u)
		}
		r.urls = append(r.urls, strings.TrimSuffix(u, "/"))
	}
	return r, nil
}

// Published implements Control.
func (r *Remote) Published(ctx context.Context, after string, wait time.Duration) (release.Published, error) {
	q := url.Values{"wait": {wait.String()}}
	if after != "" {
		q.Set("after", after)
	}
	var p release.Published
	data, err := r.get(ctx, "/v1/bundle?"+q.Encode(), maxAnswer)
	if err != nil {
		return p, err
	}
	if err := json.Unmarshal(data, &p); err != nil {
		return p, fmt.Errorf("read answer of the control plane: %w", err)
	}
	return p, nil
}

// Bundle implements Control.
func (r *Remote) Bundle(ctx context.Context, digest string) ([]byte, error) {
	if !bundle.ValidDigest(digest) {
		return nil, errors.New("the control plane names no digest")
	}
	return r.get(ctx, "/v1/bundle/"+digest, bundle.MaxArchive)
}

func (r *Remote) get(ctx context.Context, path string, most int64) ([]byte, error) {
	var errs []error
	first := r.first.Load()
	for i := range len(r.urls) {
		n := (int(first) + i) % len(r.urls)
		data, err := r.getFrom(ctx, r.urls[n]+path, most)
		if err == nil {
			r.first.Store(uint32(n))
			return data, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(errs...)
}

func (r *Remote) getFrom(ctx context.Context, target string, most int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, err
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, most+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("ask control plane: %w", err)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("ask control plane: status %d", resp.StatusCode)
	case int64(len(data)) > most:
		return nil, fmt.Errorf("ask control plane: the answer is larger than %d bytes", most)
	}
	return data, nil
}
