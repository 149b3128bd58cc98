package jwks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/domicile-dev/domicile/pkg/atomicfile"
	"github.com/domicile-dev/domicile/pkg/token"
)

// fetchTime bounds one look at an issuer's URL.
const fetchTime = 10 * time.Second

// errSame means that the set is the one that is known.
var errSame = errors.New("not modified")

// clientOf is a client that stays at the URL that the policy names.
func clientOf(c *http.Client) *http.Client {
	out := http.Client{}
	if c != nil {
		out = *c
	}
	out.Timeout = fetchTime
	out.CheckRedirect = func(*http.Request, []*http.Request) error {
		return errors.New("a redirect is not followed; name the new URL in the policy")
	}
	return &out
}

// fetch reads a set as its one document, and its ETag. The error is errSame where it
// is the one with the ETag given.
func fetch(ctx context.Context, c *http.Client, from, known string) (keys, etag string, err error) {
	u, err := url.Parse(from)
	if err != nil || u.Scheme != "https" {
		return "", "", fmt.Errorf("fetch %s: not an https URL", from)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return "", "", fmt.Errorf("fetch %s: %w", from, err)
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	if known != "" {
		req.Header.Set("If-None-Match", known)
	}
	resp, err := c.Do(req)
	if err != nil {
		return "", "", fmt.Errorf("fetch: %w", err) // names the URL
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotModified && known != "":
		return "", "", errSame
	case resp.StatusCode != http.StatusOK:
		return "", "", fmt.Errorf("fetch %s: %s", from, resp.Status)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, token.MaxKeySet+1))
	if err != nil {
		return "", "", fmt.Errorf("fetch %s: %w", from, err)
	}
	set, err := token.ParseKeys(data)
	if err == nil {
		keys, err = set.Document()
	}
	if err != nil {
		return "", "", fmt.Errorf("fetch %s: %w", from, err)
	}
	return keys, resp.Header.Get("ETag"), nil
}

// record is what a file remembers of one issuer.
type record struct {
	URL  string    `json:"url"`
	Keys string    `json:"keys"`
	At   time.Time `json:"at"`
	// Until is when it stops to count, by the policy that it was fetched under.
	Until time.Time `json:"until"`
}

// recall reads what was remembered. Keys are read as strictly as fetched ones.
func recall(file string, log *slog.Logger) (map[string]record, error) {
	if file == "" {
		return nil, nil
	}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read key sets: %w", err)
	}
	var out map[string]record
	if err := json.Unmarshal(data, &out); err != nil {
		log.Error("the remembered key sets cannot be read; they are fetched anew", "file", file, "error", err)
		return nil, nil
	}
	for name, r := range out {
		if _, err := token.ParseKeys([]byte(r.Keys)); err != nil {
			log.Error("a remembered key set is damaged; it is fetched anew", "file", file, "issuer", name, "error", err)
			delete(out, name)
		}
	}
	return out, nil
}

// remember writes down what counts. It has the lock.
func (p *Poller) remember() {
	if p.cfg.File == "" {
		return
	}
	out := map[string]record{}
	for name, s := range p.sets {
		if s.keys != "" {
			out[name] = record{s.remote.URL, s.keys, s.status.Fetched, s.status.Until}
		}
	}
	data, err := json.Marshal(out)
	if err == nil {
		err = atomicfile.Write(p.cfg.File, data, 0o600)
	}
	if err != nil {
		p.cfg.Log.Error("the key sets cannot be remembered for the next start", "error", err)
	}
}
