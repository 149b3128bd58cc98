package introspect

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/domicile-dev/domicile/pkg/resolver"
	"github.com/domicile-dev/domicile/pkg/secretfile"
	"github.com/domicile-dev/domicile/pkg/token"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// introspect asks an OAuth 2.0 server (RFC 7662).
func (c *Client) introspect(ctx context.Context, i topology.Issuer, opaque string) (verdict, error) {
	at := i.Introspection
	u, err := url.Parse(at.URL)
	if err != nil || !private(u) {
		return verdict{}, errors.New("its introspection URL is not https")
	}
	form := url.Values{"token": {opaque}, "token_type_hint": {"access_token"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at.URL, strings.NewReader(form.Encode()))
	if err != nil {
		return verdict{}, bare(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if err := authenticate(req, at); err != nil {
		return verdict{}, err
	}
	status, answer, err := c.do(req)
	switch {
	case err != nil:
		return verdict{}, err
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return verdict{}, fmt.Errorf("the server does not let us ask (%d): see clientID and secretFile", status)
	case status != http.StatusOK:
		return verdict{}, fmt.Errorf("the server answers %d", status)
	}
	return c.judge(i, answer)
}

// authenticate says who asks (RFC 6749, 2.3.1): by id and secret, or by a bearer token
// where there is no id.
func authenticate(req *http.Request, at *topology.Introspection) error {
	secret := ""
	if at.SecretFile != "" {
		var err error
		if secret, err = secretfile.Read(at.SecretFile); err != nil {
			return err
		}
	}
	switch {
	case at.ClientID != "":
		req.SetBasicAuth(url.QueryEscape(at.ClientID), url.QueryEscape(secret))
	case secret != "":
		req.Header.Set("Authorization", "Bearer "+secret)
	}
	return nil
}

// judge reads the answer. A token that is active, but of somebody else, for somebody
// else or for another time, is refused as one that is not active.
func (c *Client) judge(i topology.Issuer, answer map[string]json.RawMessage) (verdict, error) {
	var active *bool
	if json.Unmarshal(answer["active"], &active) != nil || active == nil {
		return verdict{}, errors.New("the answer does not say whether the token is active")
	}
	if !*active {
		return verdict{refused: true}, nil
	}
	var a resolver.Account
	issuer, errs := text(answer, "iss")
	for _, m := range []struct {
		to     *string
		member string
	}{{&a.User, i.User()}, {&a.Home, i.HomeClaim}, {&a.Declared, i.CountryClaim}} {
		var err error
		*m.to, err = text(answer, m.member)
		errs = errors.Join(errs, err)
	}
	expires, err := instant(answer, "exp")
	errs = errors.Join(errs, err)
	begins, err := instant(answer, "nbf")
	errs = errors.Join(errs, err)
	audience, err := audiences(answer)
	if errs = errors.Join(errs, err); errs != nil {
		return verdict{}, errs
	}
	now := c.cfg.Now()
	switch {
	case a.User == "":
		return verdict{}, fmt.Errorf("the answer does not hold %s, who the token belongs to", i.User())
	case issuer != "" && issuer != i.Issuer,
		!expires.IsZero() && !now.Before(expires),
		now.Add(cmp.Or(i.Skew, token.DefaultSkew)).Before(begins),
		len(i.Audiences) > 0 && !slices.ContainsFunc(audience, func(s string) bool { return slices.Contains(i.Audiences, s) }):
		return verdict{refused: true}, nil
	}
	a.Expires = expires
	return verdict{Account: a}, nil
}

// audiences reads aud: text or a list of it.
func audiences(answer map[string]json.RawMessage) ([]string, error) {
	raw, ok := answer["aud"]
	if !ok {
		return nil, nil
	}
	var list []string
	if json.Unmarshal(raw, &list) == nil {
		return list, nil
	}
	one, err := text(answer, "aud")
	return []string{one}, err
}
