package introspect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/domicile-dev/domicile/pkg/resolver"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// tries is how many of a service's backends are asked before it counts as down.
const tries = 3

// whoami asks the IM server of the own region who the token belongs to. A backend that
// cannot be reached is passed over; what one says counts.
func (c *Client) whoami(ctx context.Context, i topology.Issuer, token string) (verdict, error) {
	backends := c.cfg.Backends(i.Whoami.Service)
	if len(backends) == 0 {
		return verdict{}, fmt.Errorf("this region has no backend of service %s", i.Whoami.Service)
	}
	var errs error
	for n, b := range backends {
		if n == tries || ctx.Err() != nil {
			break
		}
		v, err := c.askBackend(ctx, b, i.Whoami, token)
		if err == nil {
			return v, nil
		}
		errs = errors.Join(errs, err)
	}
	return verdict{}, errs
}

func (c *Client) askBackend(parent context.Context, backend string, w *topology.Whoami, token string) (verdict, error) {
	// One that hangs must leave time for another.
	ctx, cancel := context.WithTimeout(parent, c.cfg.Timeout/2)
	defer cancel()
	if !strings.HasPrefix(w.Path, "/") {
		return verdict{}, errors.New("its path does not begin with a slash")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+backend+w.Path, nil)
	if err != nil {
		return verdict{}, bare(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	status, answer, err := c.do(req)
	switch {
	case err != nil:
		return verdict{}, err
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return verdict{refused: true}, nil
	case status != http.StatusOK:
		return verdict{}, fmt.Errorf("the server answers %d", status)
	}
	user, err := userID(answer, w.Member)
	if err != nil {
		return verdict{}, err
	}
	return verdict{Account: resolver.Account{User: user}}, nil
}

// userID reads the user's id: text, or a whole number as some servers have it.
func userID(answer map[string]json.RawMessage, member string) (string, error) {
	raw := string(answer[member])
	if raw != "" && len(raw) <= 20 && strings.Trim(raw, "0123456789") == "" {
		return raw, nil
	}
	user, err := text(answer, member)
	if err == nil && user == "" {
		err = fmt.Errorf("the answer does not hold %s, who the token belongs to", member)
	}
	return user, err
}
