package api

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/domicile-dev/domicile/pkg/identity"
)

// Header marks a request as one of a program: a web page cannot send it to
// another origin without asking first, and nobody here answers such a question.
// A POST carries this header (any value) or Content-Type
// application/octet-stream.
const Header = "X-Domicile-Client"

// guard is the check of one door, made before anything else. It returns the
// request to handle, or an error.
type guard func(*http.Request) (*http.Request, error)

type callerKey struct{}

// caller returns the identity that the remote door has verified, if any.
func caller(r *http.Request) (identity.ID, bool) {
	id, ok := r.Context().Value(callerKey{}).(identity.ID)
	return id, ok
}

// loopbackOnly is the guard of the plain door. A DNS name that a stranger points
// at 127.0.0.1 is refused by the Host header, whatever the browser thinks.
func loopbackOnly(hosts []string) guard {
	return func(r *http.Request) (*http.Request, error) {
		host := hostOf(r.Host)
		if addr, err := netip.ParseAddr(host); (err != nil || !addr.IsLoopback()) && host != "localhost" && !slices.Contains(hosts, host) {
			return nil, &Problem{
				Title: "not addressed to this host", Status: http.StatusForbidden,
				Detail: "the Host header names neither a loopback address nor a configured host", Fix: "use the address that --admin shows",
			}
		}
		return r, notFromPage(r)
	}
}

func hostOf(hostport string) string {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	return strings.ToLower(strings.Trim(host, "[]"))
}

// notFromPage refuses writes that a web page could have sent.
func notFromPage(r *http.Request) error {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return nil
	}
	marked := r.Header.Get(Header) != "" || r.Header.Get("Content-Type") == "application/octet-stream"
	if err := http.NewCrossOriginProtection().Check(r); err != nil || !marked {
		return &Problem{
			Title: "a web page may not do this", Status: http.StatusForbidden,
			Detail: "the request is not marked as one of a program",
			Fix:    fmt.Sprintf("send the header %s: 1, or Content-Type: application/octet-stream, and no foreign Origin", Header),
		}
	}
	return nil
}

// mutual is the guard of the remote door: the connection's certificate, which
// TLS has verified, says who calls.
func mutual(trustDomain string) guard {
	return func(r *http.Request) (*http.Request, error) {
		if r.TLS == nil {
			return nil, &Problem{Title: "not permitted", Status: http.StatusUnauthorized, Detail: "the connection has no client certificate"}
		}
		id, err := identity.FromState(*r.TLS, trustDomain)
		if err != nil {
			return nil, &Problem{Title: "not permitted", Status: http.StatusUnauthorized, Detail: err.Error()}
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead && id.Role != identity.RoleOperator {
			return nil, &Problem{
				Title: "not permitted", Status: http.StatusForbidden, Detail: fmt.Sprintf("%s is not an operator", id),
				Fix: "use a certificate of role operator",
			}
		}
		r = r.WithContext(context.WithValue(r.Context(), callerKey{}, id))
		return r, notFromPage(r)
	}
}
