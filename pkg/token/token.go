// Package token reads and verifies signed tokens (JWT, RFC 7519, in the compact
// form of RFC 7515) where Envoy cannot: on first contacts, for tokens without an
// issuer, and for pins.
//
// It takes what Envoy's jwt_authn takes, and less: algorithms follow from the kind
// of the key and never from the token alone, so that a public key is no shared
// secret; "none", critical headers and unencoded payloads are refused; jku, jwk and
// x5u are not read; an object with a member twice is refused, because two readers
// could read it differently. Nothing is fetched.
//
// The package is pure: the instant is an argument. Errors never hold any part of a
// token. Sizes are bounded by MaxToken and MaxKeys. A Keys never changes and may be
// used by many goroutines at once.
package token

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// MaxToken is the longest token that is read, in bytes.
const MaxToken = 16 << 10

// What is wrong with a token. The set is closed.
var (
	// ErrForm means that it is no token of the form that is read here.
	ErrForm = errors.New("not a signed token")
	// ErrSignature means that no key of the set verifies it.
	ErrSignature = errors.New("the signature does not verify")
	// ErrClaims means that it verifies and says something that is not accepted.
	ErrClaims = errors.New("the claims are not accepted")
)

// Claims are the members of a token's payload, not decoded further.
type Claims map[string]json.RawMessage

// Looks tells whether s has the form of a signed token: whoever meets one that does
// not, holds an opaque token.
func Looks(s string) bool {
	_, _, err := split(s)
	return err == nil
}

// Peek reads the claims without verifying anything.
func Peek(s string) (Claims, error) {
	_, c, err := split(s)
	return c, err
}

// header is what is read of a protected header.
type header struct{ alg, kid string }

// split takes a compact JWS apart, strictly.
func split(s string) (header, Claims, error) {
	var h header
	if len(s) > MaxToken {
		return h, nil, fmt.Errorf("%w: longer than %d bytes", ErrForm, MaxToken)
	}
	parts := strings.Split(s, ".")
	// The decoder passes over line breaks.
	if len(parts) != 3 || parts[2] == "" || strings.ContainsAny(s, "\r\n") {
		return h, nil, fmt.Errorf("%w: not three parts", ErrForm)
	}
	var objects [2]Claims
	for i := range objects {
		data, err := base64.RawURLEncoding.Strict().DecodeString(parts[i])
		if err != nil {
			return h, nil, fmt.Errorf("%w: not base64url", ErrForm)
		}
		if objects[i], err = Object(data); err != nil {
			return h, nil, fmt.Errorf("%w: %w", ErrForm, err)
		}
	}
	head := objects[0]
	for _, name := range []string{"crit", "b64", "zip", "enc"} {
		if head[name] != nil {
			return h, nil, fmt.Errorf("%w: header %s", ErrForm, name)
		}
	}
	var ok bool
	if h.alg, ok = head.String("alg"); !ok {
		return h, nil, fmt.Errorf("%w: no algorithm", ErrForm)
	}
	if head["kid"] != nil {
		if h.kid, ok = head.String("kid"); !ok {
			return h, nil, fmt.Errorf("%w: kid is not a text", ErrForm)
		}
	}
	return h, objects[1], nil
}

// Object reads one JSON object: nothing behind it, and no member twice. Who reads
// its members decodes them.
func Object(data []byte) (Claims, error) {
	errForm := errors.New("not one JSON object")
	if !utf8.Valid(data) {
		return nil, errForm
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errForm
	}
	out := Claims{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, errForm
		}
		key, ok := name.(string)
		if !ok {
			return nil, errForm
		}
		if _, twice := out[key]; twice {
			return nil, errors.New("a member stands twice")
		}
		var v json.RawMessage
		if err := d.Decode(&v); err != nil {
			return nil, errForm
		}
		out[key] = v
	}
	if _, err := d.Token(); err != nil {
		return nil, errForm
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errForm
	}
	return out, nil
}

// String returns a claim that is a text and not empty. A dot in the name leads into
// an object, as in Envoy; a claim whose own name has the dot comes first.
func (c Claims) String(name string) (string, bool) {
	var s string
	v, ok := c.find(name)
	if !ok || json.Unmarshal(v, &s) != nil || !isText(v) || s == "" {
		return "", false
	}
	return s, true
}

// isText tells a text from null, which decodes into a string without complaint.
func isText(v json.RawMessage) bool { return len(v) > 0 && v[0] == '"' }

func (c Claims) find(name string) (json.RawMessage, bool) {
	if v, ok := c[name]; ok {
		return v, true
	}
	first, rest, nested := strings.Cut(name, ".")
	if !nested {
		return nil, false
	}
	inner, err := Object(c[first])
	if err != nil {
		return nil, false
	}
	return inner.find(rest)
}

// Instant returns a claim that is a NumericDate (RFC 7519).
func (c Claims) Instant(name string) (t time.Time, ok bool) {
	var f float64
	v := c[name]
	if len(v) == 0 || (v[0] < '0' || v[0] > '9') && v[0] != '-' || json.Unmarshal(v, &f) != nil {
		return t, false
	}
	const last = 253402300799 // the year 9999
	if math.IsNaN(f) || f < 0 || f > last {
		return t, false
	}
	whole, part := math.Modf(f)
	return time.Unix(int64(whole), int64(part*1e9)), true
}

// Expect is what a token must say.
type Expect struct {
	// Issuer is the iss claim; Nameless says that there must be none.
	Issuer   string
	Nameless bool
	// Audiences lists those of which the token must name one; empty asks for none.
	Audiences []string
	// MaxLifetime bounds how long it may still be valid, Skew how far clocks may
	// differ; 0 means DefaultLifetime and DefaultSkew.
	MaxLifetime, Skew time.Duration
}

// The defaults of Expect.
const (
	DefaultLifetime = 90 * 24 * time.Hour
	DefaultSkew     = time.Minute
)

// Check judges the claims of a token whose signature was verified. A token that
// never ends is refused. The error is ErrClaims.
func (c Claims) Check(e Expect, now time.Time) error {
	iss, named := c.String("iss")
	switch {
	case e.Nameless && c["iss"] != nil:
		return fmt.Errorf("%w: it names an issuer", ErrClaims)
	case !e.Nameless && (!named || iss != e.Issuer || e.Issuer == ""):
		return fmt.Errorf("%w: another issuer", ErrClaims)
	}
	if e.MaxLifetime == 0 {
		e.MaxLifetime = DefaultLifetime
	}
	if e.Skew == 0 {
		e.Skew = DefaultSkew
	}
	exp, ok := c.Instant("exp")
	switch {
	case !ok:
		return fmt.Errorf("%w: no end", ErrClaims)
	case !now.Before(exp.Add(e.Skew)):
		return fmt.Errorf("%w: expired", ErrClaims)
	case exp.Sub(now) > e.MaxLifetime:
		return fmt.Errorf("%w: valid for too long", ErrClaims)
	}
	if c["nbf"] != nil {
		if nbf, ok := c.Instant("nbf"); !ok || now.Add(e.Skew).Before(nbf) {
			return fmt.Errorf("%w: not valid yet", ErrClaims)
		}
	}
	if len(e.Audiences) > 0 && !slices.ContainsFunc(c.audiences(), func(a string) bool { return slices.Contains(e.Audiences, a) }) {
		return fmt.Errorf("%w: another audience", ErrClaims)
	}
	return nil
}

// audiences reads aud, which is a text or a list of texts.
func (c Claims) audiences() []string {
	if one, ok := c.String("aud"); ok {
		return []string{one}
	}
	var list []string
	if json.Unmarshal(c["aud"], &list) != nil {
		return nil
	}
	return slices.DeleteFunc(list, func(s string) bool { return s == "" })
}
