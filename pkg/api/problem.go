package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/domicile-dev/domicile/pkg/control"
	"github.com/domicile-dev/domicile/pkg/store"
)

// Problem is the body of every error (RFC 9457).
type Problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	Fix    string `json:"fix,omitempty"`
	// Rejected is set on 422.
	*control.Rejected

	retryAfter int    // seconds; 0: no header
	allow      string // of 405
}

// Error makes a Problem an error, for handlers to return.
func (p *Problem) Error() string { return fmt.Sprintf("%d %s: %s", p.Status, p.Title, p.Detail) }

func badRequest(detail, fix string) *Problem {
	return &Problem{Title: "the request is malformed", Status: http.StatusBadRequest, Detail: detail, Fix: fix}
}

// problemOf is the one place where errors get their outward form. What it does
// not know stays inside: it is a 500 without detail.
func problemOf(err error) *Problem {
	var p *Problem
	var rejected *control.Rejected
	var unapproved *control.Unapproved
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &rejected):
		return &Problem{
			Title: "the policy was checked and rejected", Status: http.StatusUnprocessableEntity, Detail: rejected.Error(),
			Fix: "correct what is listed; domicile lint and domicile test find the same", Rejected: rejected,
		}
	case errors.As(err, &tooLarge):
		return &Problem{
			Title: "the bundle is too large", Status: http.StatusRequestEntityTooLarge,
			Detail: fmt.Sprintf("it has more than %d bytes", tooLarge.Limit), Fix: "leave out what is no policy",
		}
	case errors.Is(err, control.ErrBundle):
		return badRequest(err.Error(), "send the archive as domicile packs it, unchanged")
	case errors.As(err, &unapproved):
		return &Problem{
			Title: "the change is not approved", Status: http.StatusForbidden, Detail: unapproved.Error(),
			Fix: "domicile plan DIR --out FILE, then domicile approve FILE --signing-key KEY by those whose roles are missing, then domicile apply FILE",
		}
	case errors.Is(err, control.ErrBrake):
		return &Problem{
			Title: "this is no emergency denial", Status: http.StatusForbidden, Detail: err.Error(),
			Fix: "domicile apply makes other changes",
		}
	case errors.Is(err, control.ErrNothingBefore):
		return &Problem{
			Title: "there is no such policy to go back to", Status: http.StatusNotFound, Detail: err.Error(),
			Fix: "domicile history lists the sequences",
		}
	case errors.Is(err, store.ErrNotFound):
		return &Problem{Title: "no such bundle", Status: http.StatusNotFound, Fix: "domicile history lists the bundles"}
	case errors.Is(err, store.ErrStale):
		return &Problem{
			Title: "the policy has changed since", Status: http.StatusConflict, Detail: err.Error(),
			Fix: "look at what changed (domicile history), then apply again",
		}
	case errors.Is(err, store.ErrCorrupt):
		return &Problem{
			Title: "the policy store holds corrupt data", Status: http.StatusInternalServerError, Detail: err.Error(),
			Fix: "apply the bundle again, or restore the store",
		}
	case errors.Is(err, control.ErrUnchecked):
		return &Problem{
			Title: "the policy was not checked in time", Status: http.StatusServiceUnavailable, Detail: err.Error(),
			Fix: "nothing was changed; try again when domicile-control has less to do, or make the policy smaller", retryAfter: 5,
		}
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return &Problem{
			Title: "the policy store does not answer", Status: http.StatusServiceUnavailable, Detail: err.Error(),
			Fix: "nothing is known to have changed; try again, the same bundle is never recorded twice in a row", retryAfter: 2,
		}
	}
	return &Problem{Title: "internal error", Status: http.StatusInternalServerError, Fix: "the log of domicile-control says more"}
}

func writeProblem(w http.ResponseWriter, p *Problem) {
	body, err := json.Marshal(p)
	if err != nil {
		body = []byte(`{"title":"internal error","status":500}`)
	}
	w.Header().Set("Content-Type", "application/problem+json")
	if p.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	if p.allow != "" {
		w.Header().Set("Allow", p.allow)
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(body, '\n')) // the client may be gone; nothing to do about it
}

func writeJSON(w http.ResponseWriter, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode response: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	_, err = w.Write(append(body, '\n'))
	if err != nil {
		return fmt.Errorf("%w: %w", errGone, err)
	}
	return nil
}

// errGone means that the response was begun and the client is gone.
var errGone = errors.New("client is gone")
