package form

import (
	"fmt"
	"io/fs"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy/internal/codes"
	"github.com/domicile-dev/domicile/pkg/policy/internal/yamlpos"
	"github.com/domicile-dev/domicile/pkg/policy/shape"
)

// IsBoolLike tells whether a YAML 1.1 reader takes an unquoted word for a truth
// value; the code of Norway is one of them.
func IsBoolLike(s string) bool {
	switch strings.ToLower(s) {
	case "y", "n", "yes", "no", "on", "off", "true", "false":
		return true
	}
	return false
}

func IsName(s string) bool {
	if len(s) == 0 || len(s) > 63 || s[0] < 'a' || s[0] > 'z' || s[len(s)-1] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-') {
			return false
		}
	}
	return true
}

func IsIdent(s string) bool {
	if len(s) == 0 || len(s) > 128 {
		return false
	}
	for i, c := range []byte(s) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
		if !letter && (i == 0 || c != '-' && c != '.') {
			return false
		}
	}
	return true
}

// Odd names the first code point of s that is not ASCII, for a message.
func Odd(s string) lang.Text {
	for _, c := range s {
		if c > unicode.MaxASCII {
			return lang.T(": it holds %q (U+%04X), which only looks like a letter or is none", c, c)
		}
	}
	return lang.Text{}
}

func wholeNumber(s string, max int) (int, bool) {
	if s == "" || len(s) > 9 || len(s) > 1 && s[0] == '0' {
		return 0, false
	}
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
	}
	n, err := strconv.Atoi(s)
	return n, err == nil && n <= max
}

// maxDuration is longer than any deadline of a policy.
const maxDuration = 100 * 365 * 24 * time.Hour

// ParseDuration reads a duration of a policy file: a whole number above zero and
// one unit of s, m, h or d, as in 10m, 24h, 90d.
func ParseDuration(s string) (time.Duration, error) {
	units := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour}
	if len(s) < 2 {
		return 0, fmt.Errorf("duration %q: want a number and a unit, as in 10m", s)
	}
	unit, ok := units[s[len(s)-1]]
	n, whole := wholeNumber(s[:len(s)-1], 1<<30)
	switch {
	case !ok || !whole:
		return 0, fmt.Errorf("duration %q: want a whole number and one of s, m, h, d, as in 10m", s)
	case n == 0:
		return 0, fmt.Errorf("duration %q: want more than zero", s)
	case time.Duration(n) > maxDuration/unit:
		return 0, fmt.Errorf("duration %q: want at most 100 years", s)
	}
	return time.Duration(n) * unit, nil
}

func (o *Object) Duration(field string, required bool) time.Duration {
	v := o.Find(field, required)
	if v == nil {
		return 0
	}
	if o.r.Note(v, shape.Shape{Type: shape.Duration}) {
		return time.Hour
	}
	s, ok := o.r.Text(v, field)
	if !ok {
		return 0
	}
	d, err := ParseDuration(s)
	if err != nil {
		o.r.Fail(v, codes.Duration, lang.T("write a whole number above zero and one unit: 30s, 10m, 24h, 90d"), lang.T("%s is %q, which is no duration", field, s))
	}
	return d
}

// Timeout reads how long one thing may take: milliseconds or seconds.
func (o *Object) Timeout(field string) time.Duration {
	v := o.Get(field)
	if v == nil {
		return 0
	}
	if o.r.Note(v, shape.Shape{Type: shape.Timeout}) {
		return time.Second
	}
	s, ok := o.r.Text(v, field)
	if !ok {
		return 0
	}
	number, unit := strings.TrimSuffix(s, "s"), time.Second
	if short, milli := strings.CutSuffix(s, "ms"); milli {
		number, unit = short, time.Millisecond
	}
	n, whole := wholeNumber(number, 1<<30)
	if number == s || !whole || n == 0 {
		o.r.Fail(v, codes.Duration, lang.T("write a whole number above zero and one unit: 100ms, 2s"), lang.T("%s is %q, which is no time of that kind", field, s))
		return 0
	}
	return time.Duration(n) * unit
}

// Date reads an ISO date; the result is midnight UTC.
func (o *Object) Date(field string, required bool) time.Time {
	v := o.Find(field, required)
	if v == nil {
		return time.Time{}
	}
	if o.r.Note(v, shape.Shape{Type: shape.Date}) {
		return time.Time{}
	}
	s, ok := o.r.Text(v, field)
	if !ok {
		return time.Time{}
	}
	t, err := time.Parse(time.DateOnly, s)
	if err != nil || t.Year() < 1900 || t.Year() > 2200 {
		o.r.Fail(v, codes.Date, lang.T("write year-month-day, as in 2027-02-24"), lang.T("%s is %q, which is no date", field, s))
		return time.Time{}
	}
	return t
}

// Instant reads an instant with its zone, as in 2026-11-24T10:00:00Z.
func (o *Object) Instant(field string, required bool) time.Time {
	v := o.Find(field, required)
	if v == nil {
		return time.Time{}
	}
	if o.r.Note(v, shape.Shape{Type: shape.Instant}) {
		return time.Time{}
	}
	s, ok := o.r.Text(v, field)
	if !ok {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || t.Year() < 1900 || t.Year() > 2200 {
		o.r.Fail(v, codes.Date, lang.T("write date, time and zone, as in 2026-11-24T10:00:00Z"), lang.T("%s is %q, which is no instant", field, s))
		return time.Time{}
	}
	return t.UTC()
}

// isHost tells whether s is a host name of letters, digits and hyphens.
func isHost(s string) bool {
	if len(s) == 0 || len(s) > 253 {
		return false
	}
	for _, label := range strings.Split(s, ".") {
		if len(label) == 0 || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-') {
				return false
			}
		}
	}
	return true
}

// Host reads a host name without port and returns it in lower case.
func (r *Reader) Host(n *node, what string) (string, bool) {
	if r.Note(n, shape.Shape{Type: shape.Host}) {
		return n.Value, true
	}
	s, ok := r.Text(n, what)
	if !ok {
		return "", false
	}
	if !isHost(s) {
		r.Fail(n, codes.Address, lang.T("write the name alone, as in sa.im.example.com; no scheme, port, path or trailing dot"), lang.T("%s %q is no host name%s", named(what), s, Odd(s)))
		return "", false
	}
	return strings.ToLower(s), true
}

// Address reads host:port, where host is a name or an IP address.
func (r *Reader) Address(n *node, what string) (string, bool) {
	if r.Note(n, shape.Shape{Type: shape.Address}) {
		return n.Value, true
	}
	s, ok := r.Text(n, what)
	if !ok {
		return "", false
	}
	if !isAddress(s) {
		r.Fail(n, codes.Address, lang.T(`write host:port, as in "10.1.1.1:8080", "im.example.com:443" or "[2001:db8::1]:8080"`), lang.T("%s %q is no address%s", named(what), s, Odd(s)))
		return "", false
	}
	return s, true
}

func isAddress(s string) bool {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return false
	}
	host, port := s[:i], s[i+1:]
	if n, ok := wholeNumber(port, 65535); !ok || n == 0 {
		return false
	}
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		ip, err := netip.ParseAddr(host[1 : len(host)-1])
		return err == nil && ip.Is6() && ip.Zone() == ""
	}
	if last := host[strings.LastIndexByte(host, '.')+1:]; last != "" && strings.Trim(last, "0123456789") == "" {
		ip, err := netip.ParseAddr(host)
		return err == nil && ip.Is4()
	}
	return isHost(host)
}

// Path reads the path of a route: exact, prefix or, with variables, a template.
func (r *Reader) Path(n *node, what string, template bool) (string, bool) {
	kind := shape.Path
	if template {
		kind = shape.Template
	}
	if r.Note(n, shape.Shape{Type: kind}) {
		return n.Value, true
	}
	s, ok := r.Text(n, what)
	if !ok {
		return "", false
	}
	if why := pathFault(s, template); !why.IsZero() {
		r.Fail(n, codes.Path, lang.T("write an absolute, normalised path, as in /v1/messages"), lang.T("%s %q %s", what, s, why))
		return "", false
	}
	return s, true
}

func pathFault(s string, template bool) lang.Text {
	if !strings.HasPrefix(s, "/") {
		return lang.T("does not start with /")
	}
	for _, c := range s {
		if c <= ' ' || c >= 0x7F || strings.ContainsRune(`%?#;\"<>^|`+"`", c) || !template && strings.ContainsRune("{}*", c) {
			return lang.T("holds %q, which no route may hold", c)
		}
	}
	if strings.Contains(s, "//") {
		return lang.T("holds //")
	}
	var names []string
	for _, part := range strings.Split(s[1:], "/") {
		if part == "." || part == ".." {
			return lang.T("holds a . or .. segment")
		}
		if !template || !strings.ContainsAny(part, "{}*") || part == "*" {
			continue
		}
		name := strings.TrimSuffix(strings.TrimPrefix(part, "{"), "}")
		if len(part) != len(name)+2 || !IsIdent(name) || strings.ContainsAny(name, "-.") {
			return lang.T("holds the segment %q; a variable is a whole segment, as in {user}", part)
		}
		if slices.Contains(names, name) {
			return lang.T("names {%s} twice", name)
		}
		names = append(names, name)
	}
	return lang.Text{}
}

// File reads a path inside the policy directory.
func (o *Object) File(field string, required bool) (string, *node) {
	v := o.Find(field, required)
	if v == nil {
		return "", nil
	}
	if o.r.Note(v, shape.Shape{Type: shape.File}) {
		return v.Value, v
	}
	s, ok := o.r.Text(v, field)
	if !ok {
		return "", nil
	}
	if !fs.ValidPath(s) || s == "." || strings.ContainsAny(s, "\\:") || path.Clean(s) != s || !Odd(s).IsZero() {
		o.r.Fail(v, codes.Path, lang.T("write a path inside the policy directory, with /, as in jwks.json"), lang.T("%s %q is no path inside the policy directory", field, s))
		return "", nil
	}
	return s, v
}

// Addresses reads a map of service → list of host:port.
func (o *Object) Addresses(field string) map[string][]string {
	v := o.Get(field)
	if v == nil {
		return nil
	}
	m := o.r.Object(v, field)
	if m == nil {
		return nil
	}
	out := map[string][]string{}
	for _, f := range m.Node.Fields {
		service, ok := o.r.Name(f.Key, "service")
		if !ok {
			continue
		}
		if f.Value.Kind == yamlpos.Null {
			o.r.Fail(f.Key, codes.NoValue, lang.T("list its addresses, or remove it"), lang.T("service %s has no value", service))
			continue
		}
		out[service] = Values(o.r.Texts(f.Value, "backend of "+service, false, o.r.Address))
	}
	return out
}
