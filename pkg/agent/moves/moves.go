// Package moves is the agent's door for those who change where users are at home:
// operators, and other agents of the region. It is served by mTLS only.
//
//	POST /v1/users/move   {"user", "issuer"?, "from": [HOME…], "to": HOME}
//	POST /v1/users/erase  {"user", "issuer"?}
//
// Both put the user into the region's fence and make the agent forget what it knew of
// the user's home; with ?wait=5s they answer when the region's Envoys have the fence,
// or that time has passed. Both may be repeated: who moves a user fences the old home
// everywhere, then writes the directory, then repeats the call, because an agent may
// have asked the directory in between.
//
// Errors are application/problem+json. 400: the request makes no sense; 404: a home or an
// issuer that the policy does not know; 503: there is no policy yet, the fence is full, or
// the disk is; nothing was changed then. User ids stand in requests only, never in
// answers, logs or metrics.
package moves

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/domicile-dev/domicile/pkg/fence"
	"github.com/domicile-dev/domicile/pkg/identity"
	"github.com/domicile-dev/domicile/pkg/resolver"
	"github.com/domicile-dev/domicile/pkg/topology"
)

const (
	maxBody  = 64 << 10 // bytes
	waitMost = 30 * time.Second
)

// Config of the door. All fields are required.
type Config struct {
	Fence *fence.Fence
	// Await waits until the region's Envoys have the fence.
	Await   func(context.Context) fence.Spread
	Policy  func() *resolver.Policy
	Forget  func(hash string)
	HashKey []byte
	Log     *slog.Logger
	Now     func() time.Time
}

// Move is the body of a request.
type Move struct {
	User   string   `json:"user"`
	Issuer string   `json:"issuer,omitempty"`
	From   []string `json:"from,omitempty"`
	To     string   `json:"to,omitempty"`
}

// Done is the answer.
type Done struct {
	// Until is when the last token and pin end that the fence keeps out.
	Until time.Time `json:"until"`
	// Envoys tells how many of the region's Envoys have it.
	Envoys fence.Spread `json:"envoys"`
}

// Handler returns the door; serve it with the settings of identity.ServerTLS.
func Handler(c Config) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/users/move", func(w http.ResponseWriter, r *http.Request) { c.serve(w, r, false) })
	mux.HandleFunc("POST /v1/users/erase", func(w http.ResponseWriter, r *http.Request) { c.serve(w, r, true) })
	return mux
}

func (c Config) serve(w http.ResponseWriter, r *http.Request, erase bool) {
	wait, err := time.ParseDuration(r.URL.Query().Get("wait"))
	if r.URL.Query().Has("wait") && (err != nil || wait < 0) {
		problem(w, http.StatusBadRequest, "wait is not a duration: write 5s")
		return
	}
	var m Move
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil || m.User == "" || d.More() {
		problem(w, http.StatusBadRequest, "the body is not one JSON object with a user")
		return
	}
	p := c.Policy()
	if p == nil {
		problem(w, http.StatusServiceUnavailable, "no policy is in force here yet")
		return
	}
	e := fence.Entry{User: m.User, Hash: identity.UserHash(c.HashKey, m.User), Issuer: m.Issuer, Erased: erase, From: m.From, To: m.To}
	if why := judge(p, m, erase); why != "" {
		problem(w, http.StatusNotFound, why)
		return
	}
	e.Until = c.Now().Add(p.Longest(m.From...))
	switch err := c.Fence.Add(e); {
	case errors.Is(err, fence.ErrEntry):
		problem(w, http.StatusBadRequest, err.Error())
		return
	case err != nil:
		c.Log.Error("a user could not be fenced", "error", err)
		problem(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	c.Forget(e.Hash)
	c.Log.Info("a user was fenced", "erased", erase, "until", e.Until)
	ctx, cancel := context.WithTimeout(r.Context(), min(wait, waitMost))
	defer cancel()
	write(w, http.StatusOK, "application/json", Done{e.Until, c.Await(ctx)})
}

// judge tells what the policy does not know.
func judge(p *resolver.Policy, m Move, erase bool) string {
	if m.Issuer != "" && !slices.ContainsFunc(p.Topology.Issuers, func(i topology.Issuer) bool { return i.Issuer == m.Issuer }) {
		return "the policy knows no issuer " + m.Issuer // the user's tokens would go on to be let in
	}
	homes := p.Table.Homes()
	for _, h := range m.From {
		if !slices.Contains(homes, h) {
			return "the policy knows no home " + h
		}
	}
	if !erase && !slices.Contains(homes, m.To) {
		return "the policy knows no home " + m.To
	}
	return ""
}

func problem(w http.ResponseWriter, status int, detail string) {
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "5")
	}
	write(w, status, "application/problem+json", struct {
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
	}{"the user was not fenced", status, detail})
}

func write(w http.ResponseWriter, status int, kind string, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(append(body, '\n'))
}
