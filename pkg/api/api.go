package api

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/domicile-dev/domicile/pkg/approval"
	"github.com/domicile-dev/domicile/pkg/bundle"
	"github.com/domicile-dev/domicile/pkg/control"
	"github.com/domicile-dev/domicile/pkg/gitsync"
	"github.com/domicile-dev/domicile/pkg/jwks"
	"github.com/domicile-dev/domicile/pkg/release"
	"github.com/domicile-dev/domicile/pkg/store"
)

const (
	historyDefault = 20
	historyMost    = 1000
	authorMost     = 256     // bytes
	messageMost    = 4 << 10 // bytes
	waitMost       = 30 * time.Second
	// writeMost is after which no answer can be given any more, checkMost after which
	// a change is given up, its upload counted: whoever asked must hear of it, also
	// where the longest wait follows.
	writeMost = 2 * time.Minute
	checkMost = writeMost - waitMost - 15*time.Second

	uploadsAtOnce = 4 // bodies held in memory at a time
)

// Control is what the handlers ask of the control plane; *control.Controller is
// one, and its methods say what is promised.
type Control interface {
	Status() control.Status
	Ready() bool
	Apply(context.Context, control.Change) (control.Outcome, error)
	Rollback(ctx context.Context, to uint64, by control.By) (control.Outcome, error)
	Await(ctx context.Context, sequence uint64) control.Spread
	History(ctx context.Context, limit int) ([]store.Record, error)
	Bundle(ctx context.Context, digest string) ([]byte, error)
	Published(ctx context.Context, after string) (release.Published, bool)
}

// Config is what the handlers work with. Control, Metrics and Log are required.
type Config struct {
	Control Control
	Metrics prometheus.Gatherer
	Log     *slog.Logger
	// Git tells how following a git repository stands; nil where none is followed.
	Git func() gitsync.Status
	// Keys tells how it stands with the key sets that are fetched; nil for none.
	Keys func() []jwks.Status
	// Serving tells whether xDS is being served; nil means yes.
	Serving func() bool
	// Hosts are names, beside loopback addresses, that the plain door takes.
	Hosts []string
}

// Status is the body of GET /v1/status.
type Status struct {
	control.Status
	// Git tells how following a git repository stands; nil where none is followed.
	Git *gitsync.Status `json:"git,omitempty"`
	// Keys tells how it stands with the key sets of issuers that are fetched.
	Keys []jwks.Status `json:"keys,omitempty"`
}

// Admin returns the handler of the plain door; serve it on loopback only.
func Admin(cfg Config) http.Handler { return newServer(cfg).handler(loopbackOnly(cfg.Hosts)) }

// Remote returns the handler of the mTLS door; serve it with the settings of
// identity.ServerTLS.
func Remote(cfg Config, trustDomain string) http.Handler {
	return newServer(cfg).handler(mutual(trustDomain))
}

type server struct {
	Config
	uploads chan struct{}
}

func newServer(cfg Config) *server {
	return &server{Config: cfg, uploads: make(chan struct{}, uploadsAtOnce)}
}

// handle is a handler that returns its error; it has then written nothing, or
// the error is errGone.
type handle func(http.ResponseWriter, *http.Request) error

func (s *server) handler(g guard) http.Handler {
	mux := http.NewServeMux()
	for pattern, h := range map[string]handle{
		"GET /healthz":            s.healthz,
		"GET /readyz":             s.readyz,
		"GET /v1/status":          s.status,
		"GET /v1/history":         s.history,
		"GET /v1/bundle":          s.published,
		"GET /v1/bundle/{digest}": s.bundle,
		"POST /v1/apply":          s.apply,
		"POST /v1/rollback":       s.rollback,
	} {
		mux.Handle(pattern, s.serve(h))
	}
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.Metrics, promhttp.HandlerOpts{}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		guarded, err := g(r)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		if _, pattern := mux.Handler(guarded); pattern == "" {
			s.fail(w, guarded, s.unknown(mux, guarded))
			return
		}
		mux.ServeHTTP(w, guarded)
	})
}

// unknown tells a wrong method from a wrong path.
func (s *server) unknown(mux *http.ServeMux, r *http.Request) *Problem {
	for _, m := range []string{http.MethodGet, http.MethodPost} {
		other := r.Clone(r.Context())
		other.Method = m
		if _, pattern := mux.Handler(other); pattern != "" {
			return &Problem{Title: "wrong method", Status: http.StatusMethodNotAllowed, Detail: r.Method + " is not for this path", Fix: "use " + m, allow: m}
		}
	}
	return &Problem{Title: "no such path", Status: http.StatusNotFound}
}

func (s *server) serve(h handle) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil && !errors.Is(err, errGone) {
			s.fail(w, r, err)
		}
	})
}

func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := problemOf(err)
	level := slog.LevelInfo
	switch {
	case p.Status == http.StatusInternalServerError:
		level = slog.LevelError
	case r.URL.Path == "/readyz": // asked every few seconds, by machines
		level = slog.LevelDebug
	}
	s.Log.Log(r.Context(), level, "request refused", "method", r.Method, "path", r.URL.Path, "status", p.Status, "error", err)
	writeProblem(w, p)
}

func (s *server) healthz(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, map[string]string{"status": "ok"})
}

func (s *server) readyz(w http.ResponseWriter, _ *http.Request) error {
	switch {
	case !s.Control.Ready():
		return &Problem{
			Title: "not ready", Status: http.StatusServiceUnavailable, Detail: "no policy is in force here yet",
			Fix: "domicile apply, or see GET /v1/status for why the head was refused", retryAfter: 1,
		}
	case s.Serving != nil && !s.Serving():
		return &Problem{Title: "not ready", Status: http.StatusServiceUnavailable, Detail: "xDS is not served", retryAfter: 1}
	}
	return writeJSON(w, map[string]string{"status": "ok"})
}

func (s *server) status(w http.ResponseWriter, _ *http.Request) error {
	out := Status{Status: s.Control.Status()}
	if s.Git != nil {
		g := s.Git()
		out.Git = &g
	}
	if s.Keys != nil {
		out.Keys = s.Keys()
	}
	return writeJSON(w, out)
}

func (s *server) history(w http.ResponseWriter, r *http.Request) error {
	limit, err := number(r, "limit", historyDefault)
	if err != nil {
		return err
	}
	records, err := s.Control.History(r.Context(), int(min(max(limit, 1), historyMost)))
	if err != nil {
		return err
	}
	if records == nil {
		records = []store.Record{}
	}
	return writeJSON(w, records)
}

func (s *server) bundle(w http.ResponseWriter, r *http.Request) error {
	digest := r.PathValue("digest")
	if !bundle.ValidDigest(digest) {
		return badRequest("that is not a digest", "write sha256: and 64 hex digits, as domicile history shows them")
	}
	archive, err := s.Control.Bundle(r.Context(), digest)
	if err != nil {
		return err
	}
	if err := bundle.Verify(archive, digest); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(len(archive)))
	if _, err := w.Write(archive); err != nil {
		return fmt.Errorf("%w: %w", errGone, err)
	}
	return nil
}

// published tells what is in force to those who compile it themselves; with wait, not
// before it is something else than they know.
func (s *server) published(w http.ResponseWriter, r *http.Request) error {
	wait, err := waitOf(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), wait)
	defer cancel()
	p, ok := s.Control.Published(ctx, r.URL.Query().Get("after"))
	if !ok {
		return &Problem{Title: "no policy is in force yet", Status: http.StatusServiceUnavailable, Fix: "domicile apply", retryAfter: 1}
	}
	return writeJSON(w, p)
}

func (s *server) apply(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), checkMost)
	defer cancel()
	by, err := author(r)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	ch := control.Change{By: by, Digest: q.Get("digest"), Denial: q.Get("action") == "deny", Lift: q.Get("lift") == "true"}
	if r.URL.Query().Has("base") {
		base, err := number(r, "base", 0)
		if err != nil {
			return err
		}
		ch.Base = &base
	}
	wait, err := waitOf(r)
	if err != nil {
		return err
	}
	select {
	case s.uploads <- struct{}{}:
		defer func() { <-s.uploads }()
	default:
		return &Problem{Title: "too many changes at once", Status: http.StatusServiceUnavailable, Fix: "try again", retryAfter: 1}
	}
	if ch.Archive, err = io.ReadAll(http.MaxBytesReader(w, r.Body, bundle.MaxArchive)); err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return err
		}
		return badRequest("the body ended early", "send it again")
	}
	out, err := s.Control.Apply(ctx, ch)
	if err != nil {
		return err
	}
	return s.done(w, r, out, wait)
}

func (s *server) rollback(w http.ResponseWriter, r *http.Request) error {
	by, err := author(r)
	if err != nil {
		return err
	}
	to, err := number(r, "to", 0)
	if err != nil {
		return err
	}
	wait, err := waitOf(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), checkMost)
	defer cancel()
	out, err := s.Control.Rollback(ctx, to, by)
	if err != nil {
		return err
	}
	return s.done(w, r, out, wait)
}

// done answers a change, after the proxies have taken it or wait has passed.
func (s *server) done(w http.ResponseWriter, r *http.Request, out control.Outcome, wait time.Duration) error {
	if wait == 0 {
		return writeJSON(w, out)
	}
	ctx, cancel := context.WithTimeout(r.Context(), wait)
	defer cancel()
	return writeJSON(w, struct {
		control.Outcome
		Proxies control.Spread `json:"proxies"`
	}{out, s.Control.Await(ctx, out.Sequence)})
}

// Approvals is the header that carries the signatures of a change: a DSSE
// envelope in base64, see package approval.
const Approvals = "X-Domicile-Approvals"

func envelope(r *http.Request) (string, error) {
	data, err := base64.StdEncoding.DecodeString(r.Header.Get(Approvals))
	if err != nil || len(data) > approval.MaxEnvelope {
		return "", badRequest(Approvals+" is not a DSSE envelope in base64", "send what domicile approve has made, unchanged")
	}
	return string(data), nil
}

// author says who changes what. Behind the remote door that is the certificate.
func author(r *http.Request) (control.By, error) {
	q := r.URL.Query()
	by := control.By{Author: q.Get("author"), Message: q.Get("message"), GitCommit: q.Get("commit")}
	if id, ok := caller(r); ok {
		by.Author = id.String()
	}
	for _, f := range []struct {
		name, value string
		most        int
	}{{"author", by.Author, authorMost}, {"message", by.Message, messageMost}, {"commit", by.GitCommit, authorMost}} {
		if len(f.value) > f.most || !printable(f.value) {
			return control.By{}, badRequest(fmt.Sprintf("%s is longer than %d bytes or holds control characters", f.name, f.most), "shorten it")
		}
	}
	var err error
	by.Envelope, err = envelope(r)
	return by, err
}

// printable keeps terminal escapes out of what other people's terminals show.
func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return !unicode.IsPrint(r) && r != '\n' && r != '\t'
	})
}

func number(r *http.Request, name string, otherwise uint64) (uint64, error) {
	v := r.URL.Query().Get(name)
	if v == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseUint(v, 10, 63)
	if err != nil {
		return 0, badRequest(name+" is not a number", "write digits only")
	}
	return n, nil
}

func waitOf(r *http.Request) (time.Duration, error) {
	v := r.URL.Query().Get("wait")
	if v == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 {
		return 0, badRequest("wait is not a duration", "write 5s")
	}
	return min(d, waitMost), nil
}
