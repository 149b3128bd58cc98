// Package pattern holds the regular expressions that routes match requests by. It
// is pure.
package pattern

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Requests that cannot be read in one way only are refused before their token
// is looked at. Envoy itself refuses or normalises the rest (escaped slashes,
// dot segments, double slashes, NUL, underscores in header names).
const (
	// Path parameters, backslashes, fragments, doubly and wrongly escaped bytes:
	// backends differ in how they read them (CVE-2026-73551, CVE-2026-73553).
	OddPath = `[^?]*(?:(?:[;\\#]|%(?:25|2[eEfF]|3[bB]|5[cC]|00|[^0-9a-fA-F]|[0-9a-fA-F][^0-9a-fA-F])|[^\x21-\x7e]).*|%[0-9a-fA-F]?)`
	// Two hosts, user information, spaces, a trailing dot.
	OddHost = `.*[,@/\\?#% ].*|.*\.(?::[0-9]*)?|:.*|`
	// User is a user id that stays what it is as the value of a header: HTTP takes
	// spaces and tabs from its ends (RFC 9110, 5.5), and control characters have no place
	// in one.
	User = `[^\x00-\x20\x7f](?:[^\x00-\x1f\x7f]*[^\x00-\x20\x7f])?`
	// TokenStart is how a token after an equals sign begins.
	TokenStart = `=eyJ`
	// Token has the form of a signed token: header, claims, signature.
	Token      = `[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*`
	tokenShape = `eyJ` + Token
)

// Template turns /v1/profiles/{user} into a regular expression in which
// each variable is one non-empty segment.
func Template(template string) string {
	var out strings.Builder
	for i, seg := range strings.Split(template, "/") {
		if i > 0 {
			out.WriteByte('/')
		}
		if strings.HasPrefix(seg, "{") && strings.HasSuffix(seg, "}") {
			out.WriteString("[^/]+")
		} else {
			out.WriteString(regexp.QuoteMeta(seg))
		}
	}
	return out.String()
}

// Host matches a host name with or without a port, in any case.
func Host(hosts ...string) string {
	quoted := make([]string, len(hosts))
	for i, h := range hosts {
		quoted[i] = regexp.QuoteMeta(h)
	}
	return `(?i)(?:` + strings.Join(quoted, "|") + `)(?::[0-9]*)?`
}

// TokenInQuery matches a path with a token in a query parameter of none of these
// names: where we do not look for one, another part could.
func TokenInQuery(names []string) string {
	return `[^?]*\?(?:.*[&;])?` + otherName(`=&;`, names, `[^=&]*`) + `=` + tokenShape + `(?:[&;].*)?`
}

// TokenInCookies matches a Cookie header with a token in a cookie of none of these
// names.
func TokenInCookies(names []string) string {
	if len(names) == 0 {
		return `.*=` + tokenShape + `.*`
	}
	return `(?:.*[;, \t])?` + otherName(`=;, \t`, names, "") + `=` + tokenShape + `.*`
}

// Cookie matches a Cookie header up to and with a name and its equals sign.
func Cookie(name string) string { return `(?:.*[;, \t])?` + regexp.QuoteMeta(name) + `=` }

// Query matches a path up to and with the name of a query parameter.
func Query(name string) string { return `[^?]*\?(?:.*[&;])?` + Name(name) }

// Name matches the name of a query parameter, in any of the ways to escape it: Envoy
// and backends undo that before they look for a name.
func Name(name string) string {
	var out strings.Builder
	for _, b := range []byte(name) {
		fmt.Fprintf(&out, `(?:%s|%%(?i:%02x))`, regexp.QuoteMeta(string(b)), b)
	}
	return out.String()
}

// otherName matches a name without the bytes of end that is none of names; any where
// there are none.
func otherName(end string, names []string, any string) string {
	if len(names) == 0 {
		return any
	}
	rest := map[byte][]string{}
	whole := false
	for _, n := range names {
		if n == "" {
			whole = true
			continue
		}
		rest[n[0]] = append(rest[n[0]], n[1:])
	}
	firsts := slices.Sorted(maps.Keys(rest))
	class := strings.ReplaceAll(regexp.QuoteMeta(string(firsts)), "-", `\-`)
	out := []string{`[^` + end + class + `][^` + end + `]*`}
	for _, b := range firsts {
		out = append(out, regexp.QuoteMeta(string(b))+otherName(end, rest[b], ""))
	}
	if whole {
		return `(?:` + strings.Join(out, "|") + `)`
	}
	return `(?:` + strings.Join(out, "|") + `)?`
}
