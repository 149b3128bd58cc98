// Package pattern holds the regular expressions that routes match requests by. It
// is pure.
package pattern

import (
	"regexp"
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
	// A second token where we do not look for one: another part could.
	tokenShape     = `eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*`
	TokenInQuery   = `[^?]*\?(?:.*[&;])?[^=&]*=` + tokenShape + `(?:[&;].*)?`
	TokenInCookies = `.*=` + tokenShape + `.*`
	TokenStart     = `=eyJ`
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
