// Package casefile writes cases into files of policy tests, without touching what
// stands there: comments, order and layout are their author's.
//
// It is pure. What Append returns is a proposal: whoever writes it reads it first,
// and refuses it unless it holds the old cases and the new one.
package casefile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/policytest"
)

// Line writes a case on one line, as the shipped tests are written.
func Line(c policy.TestCase) string {
	var b strings.Builder
	fmt.Fprintf(&b, "{name: %s, home: %s, class: %s", plain(c.Name), quote(c.Home), plain(c.Class))
	field := func(key, value string) {
		if value != "" {
			fmt.Fprintf(&b, ", %s: %s", key, value)
		}
	}
	field("entry", c.Entry)
	if len(c.Down) > 0 {
		field("down", "["+strings.Join(c.Down, ", ")+"]")
	}
	field("edge", c.Edge)
	if c.Edge != "" {
		field("field", plain(c.Field))
	}
	if c.To != "" {
		field("to", quote(c.To))
		field("for", c.For)
	}
	switch {
	case c.AllowRegion != "":
		field("expect", "{allow: "+c.AllowRegion+"}")
	case c.DenyReason != "":
		field("expect", "{deny: "+c.DenyReason+"}")
	case c.Transfer != "":
		field("expect", "{transfer: "+plain(c.Transfer)+"}")
	case c.CacheNone:
		field("expect", "{cache: none}")
	default:
		field("expect", "{cache: "+policytest.Duration(c.CacheTTL)+"}")
	}
	b.WriteByte('}')
	return b.String()
}

// New is a file with one case.
func New(title string, c policy.TestCase) []byte {
	return fmt.Appendf(nil, "apiVersion: domicile.dev/v1\nkind: PolicyTest\nmetadata: {name: %s}\ncases:\n  - %s\n", plain(title), Line(c))
}

// Append puts a case behind the last one of a file, which stands at last, and
// returns the line it stands in. It is false where the list of cases is not
// written with one dash per case.
func Append(src []byte, last policy.Pos, c policy.TestCase) (out []byte, line int, ok bool) {
	lines := strings.SplitAfter(string(src), "\n")
	if last.Line < 1 || last.Line > len(lines) {
		return nil, 0, false
	}
	dash := lines[last.Line-1]
	indent := len(dash) - len(strings.TrimLeft(dash, " "))
	if !strings.HasPrefix(dash[indent:], "- ") {
		return nil, 0, false
	}
	end := last.Line // the lines before this one belong to the last case
	for i := last.Line; i < len(lines); i++ {
		text := strings.TrimLeft(lines[i], " ")
		deep := len(lines[i])-len(text) > indent
		switch text = strings.TrimRight(text, "\r\n"); {
		case text == "", text[0] == '#' && !deep:
		case !deep:
			i = len(lines)
		default:
			end = i + 1
		}
	}
	newline := "\n"
	if bytes.Contains(src, []byte("\r\n")) {
		newline = "\r\n"
	}
	head := strings.Join(lines[:end], "")
	if !strings.HasSuffix(head, "\n") {
		head += newline
	}
	added := strings.Repeat(" ", indent) + "- " + Line(c) + newline
	return []byte(head + added + strings.Join(lines[end:], "")), end + 1, true
}

var (
	bare  = regexp.MustCompile(`^[\p{L}]([\p{L}\p{N} ._/-]*[\p{L}\p{N}])?$`)
	truth = regexp.MustCompile(`(?i)^(y|n|yes|no|on|off|true|false|null|nan|inf)$`)
)

// plain writes a text without quotes where every YAML reader takes it for text.
func plain(s string) string {
	if bare.MatchString(s) && !truth.MatchString(s) {
		return s
	}
	return quote(s)
}

func quote(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return `""` // a string always encodes
	}
	return strings.TrimSuffix(b.String(), "\n")
}
