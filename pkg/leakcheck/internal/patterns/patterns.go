// Package patterns turns the ways in which a configuration describes texts into
// regular expressions that match the whole text.
package patterns

import (
	"regexp"
	"strings"

	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// Text is a string matcher as a regular expression; "" when it is of a kind
// that cannot be read.
func Text(kind, value string, fold bool) string {
	expr := ""
	switch kind {
	case "exact":
		expr = regexp.QuoteMeta(value)
	case "prefix":
		expr = regexp.QuoteMeta(value) + `.*`
	case "suffix":
		expr = `.*` + regexp.QuoteMeta(value)
	case "contains":
		expr = `.*` + regexp.QuoteMeta(value) + `.*`
	case "regex":
		return `(?:` + value + `)`
	}
	if fold {
		expr = `(?i)` + expr
	}
	return expr
}

// Envoy is the expression of one of Envoy's own string matchers.
func Envoy(m *matcherv3.StringMatcher) string {
	switch p := m.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		return Text("exact", p.Exact, m.GetIgnoreCase())
	case *matcherv3.StringMatcher_Prefix:
		return Text("prefix", p.Prefix, m.GetIgnoreCase())
	case *matcherv3.StringMatcher_Suffix:
		return Text("suffix", p.Suffix, m.GetIgnoreCase())
	case *matcherv3.StringMatcher_Contains:
		return Text("contains", p.Contains, m.GetIgnoreCase())
	case *matcherv3.StringMatcher_SafeRegex:
		return Text("regex", p.SafeRegex.GetRegex(), false)
	}
	return ""
}

// XDS is the expression of a string matcher of the xDS matcher tree, and the
// value where the text must be equal to it.
func XDS(m *xdsmatcherv3.StringMatcher) (expr, exact string) {
	switch p := m.GetMatchPattern().(type) {
	case *xdsmatcherv3.StringMatcher_Exact:
		if !m.GetIgnoreCase() {
			exact = p.Exact
		}
		return Text("exact", p.Exact, m.GetIgnoreCase()), exact
	case *xdsmatcherv3.StringMatcher_Prefix:
		return Text("prefix", p.Prefix, m.GetIgnoreCase()), ""
	case *xdsmatcherv3.StringMatcher_Suffix:
		return Text("suffix", p.Suffix, m.GetIgnoreCase()), ""
	case *xdsmatcherv3.StringMatcher_Contains:
		return Text("contains", p.Contains, m.GetIgnoreCase()), ""
	case *xdsmatcherv3.StringMatcher_SafeRegex:
		return Text("regex", p.SafeRegex.GetRegex(), false), ""
	}
	return "", ""
}

// Segments is the language of a prefix that ends where a segment ends.
func Segments(prefix string) string {
	return regexp.QuoteMeta(strings.TrimSuffix(prefix, "/")) + `(?:/.*)?`
}

// Template is the language of a path template.
func Template(t, segment string) string {
	var out []string
	for _, s := range strings.Split(t, "/") {
		if strings.HasPrefix(s, "{") && strings.HasSuffix(s, "}") {
			out = append(out, segment)
		} else {
			out = append(out, regexp.QuoteMeta(s))
		}
	}
	return strings.Join(out, "/")
}
