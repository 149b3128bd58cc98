// Package show writes results for people and machines: text that cannot drive a
// terminal, tables, YAML, and policy problems in all the forms that editors and
// code hosts read. It is pure but for the writers that it is given.
package show

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/domicile-dev/domicile/pkg/lang"
)

// JSON writes encoded JSON with indentation.
func JSON(w io.Writer, data []byte) error {
	var b bytes.Buffer
	if err := json.Indent(&b, data, "", "  "); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	b.WriteByte('\n')
	_, err := w.Write(b.Bytes())
	return err
}

// YAML writes JSON as block-style YAML, keys in their order. Strings stay
// in JSON's double quotes, which YAML reads alike, so that "NO" is a string.
func YAML(w io.Writer, data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var b strings.Builder
	if err := yamlValue(&b, d, 0, true); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	_, err := io.WriteString(w, strings.TrimPrefix(b.String(), "\n"))
	return err
}

// yamlValue writes the next value. Fresh says that a block may start on this
// line, as it does after "- ".
func yamlValue(b *strings.Builder, d *json.Decoder, depth int, fresh bool) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	open, ok := t.(json.Delim)
	if !ok {
		if !fresh {
			b.WriteByte(' ')
		}
		text, err := json.Marshal(t)
		if err != nil {
			return err
		}
		b.Write(text)
		b.WriteByte('\n')
		return nil
	}
	if !d.More() {
		if _, err := d.Token(); err != nil {
			return err
		}
		fmt.Fprintf(b, "%s%s\n", map[bool]string{false: " "}[fresh], map[json.Delim]string{'{': "{}", '[': "[]"}[open])
		return nil
	}
	if !fresh {
		b.WriteByte('\n')
	}
	for first := true; d.More(); first = false {
		if !fresh || !first {
			b.WriteString(strings.Repeat("  ", depth))
		}
		if open == '[' {
			b.WriteString("- ")
			if err := yamlValue(b, d, depth+1, true); err != nil {
				return err
			}
			continue
		}
		key, err := d.Token()
		if err != nil {
			return err
		}
		fmt.Fprintf(b, "%s:", yamlKey(key.(string)))
		if err := yamlValue(b, d, depth+1, false); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

// yamlKey leaves plain identifiers bare and quotes all else; a key such as NO
// or null must not change its type.
func yamlKey(k string) string {
	for i, r := range k {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || i > 0 && r >= '0' && r <= '9') {
			return quote(k)
		}
	}
	switch strings.ToLower(k) {
	case "", "y", "n", "yes", "no", "on", "off", "true", "false", "null":
		return quote(k)
	}
	return k
}

func quote(s string) string {
	q, err := json.Marshal(s)
	if err != nil {
		return `""`
	}
	return string(q)
}

// Clean makes text from outside safe to print: control characters, which drive
// terminals, and bidirectional overrides, which hide what a line says, become
// visible escapes. Newlines and tabs stay.
func Clean(s string) string {
	if !strings.ContainsFunc(s, unsafeRune) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unsafeRune(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func unsafeRune(r rune) bool {
	return r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == unicode.ReplacementChar)
}

// Line is Clean on one line.
func Line(s string) string {
	return Clean(strings.NewReplacer("\n", " ", "\t", " ").Replace(s))
}

// Short is the beginning of a digest that people compare.
func Short(digest string) string {
	const n = len("sha256:") + 12
	if len(digest) <= n {
		return digest
	}
	return digest[:n]
}

// Count is "1 file", "2 files".
func Count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// CountText is Count in both languages, of the nouns that it knows.
func CountText(n int, noun string) lang.Text {
	zh := map[string]string{"file": "%d 个文件", "rule": "%d 条规则", "check": "%d 项检查", "error": "%d 个错误", "warning": "%d 个警告", "Envoy configuration": "%d 份 Envoy 配置"}[noun]
	if zh == "" {
		return lang.Same(Count(n, noun))
	}
	return lang.Text{En: Count(n, noun), Zh: fmt.Sprintf(zh, n)}
}

// Digest is the beginning of a digest without its prefix, for columns.
func Digest(d string) string { return strings.TrimPrefix(Short(d), "sha256:") }

// Duration writes 24h, not 24h0m0s.
func Duration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
