package agent

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/domicile-dev/domicile/pkg/agent/coverage"
	"github.com/domicile-dev/domicile/pkg/directory"
	"github.com/domicile-dev/domicile/pkg/identity"
)

// Identity is the answer of GET /v1/identity.
type Identity struct {
	Region  string `json:"region"`
	ID      string `json:"id"`
	Version string `json:"version"`
}

// Entry is the answer of GET /v1/directory/{hash}.
type Entry struct {
	Home string `json:"home"`
}

// handler serves the HTTP side: health, metrics, identity, how many users were
// seen by home, and the directory by keyed hash. Nothing here takes or shows a user id.
func handler(cfg Config, reg *prometheus.Registry, seen *coverage.Counter) http.Handler {
	mux := http.NewServeMux()
	var once seldom
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		err := cfg.ready(r.Context())
		if err == nil {
			w.WriteHeader(http.StatusOK)
			return
		}
		once.say(func() { cfg.Log.Warn("agent is not ready", "error", err) })
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(http.StatusServiceUnavailable)
		w.Write([]byte(err.Error() + "\n"))
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /v1/identity", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, Identity{Region: cfg.ID.Region, ID: cfg.ID.String(), Version: cfg.Version})
	})
	mux.HandleFunc("GET /v1/coverage", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, seen.Report()) })
	mux.HandleFunc("GET /v1/directory/{hash}", func(w http.ResponseWriter, r *http.Request) {
		hash, d := r.PathValue("hash"), cfg.directory()
		if d == nil || !identity.IsUserHash(hash) {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		home, found, err := d.Lookup(r.Context(), hash)
		switch {
		case err != nil:
			cfg.Log.Warn("directory is not readable", "error", err)
			w.WriteHeader(http.StatusServiceUnavailable)
		case !found:
			w.WriteHeader(http.StatusNotFound)
		default:
			answer(w, http.StatusOK, Entry{Home: home})
		}
	})
	return mux
}

// directory returns the directory, nil where there is none.
func (c Config) directory() directory.Directory {
	if c.Directory == nil {
		return nil
	}
	return c.Directory()
}

// ready tells why first contacts cannot be answered; nil where they can.
func (c Config) ready(ctx context.Context) error {
	if d := c.directory(); d != nil {
		if err := directory.Check(ctx, d); err != nil {
			return err
		}
	}
	if c.Ready == nil {
		return nil
	}
	return c.Ready()
}

func answer(w http.ResponseWriter, code int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	w.Write(append(body, '\n'))
}
