package policy

import (
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/mattn/go-runewidth"
)

// Render writes problems for people, in their order: what, where with an excerpt,
// why, the law as cited, and what to do; then one line that counts them. Files
// holds the text of the files by the names that the problems use; a file that is
// not there gets no excerpt. What a file holds is shown without control
// characters, so that it cannot move the reader's cursor.
func Render(w io.Writer, problems []Problem, files map[string][]byte) error {
	var b strings.Builder
	lines := map[string][]string{}
	errs, warnings := 0, 0
	for _, p := range problems {
		if p.Severity == Error {
			errs++
		} else {
			warnings++
		}
		fmt.Fprintf(&b, "%s[%s]: %s\n  --> %s\n", p.Severity, p.Code, clean(p.Message), clean(where(p.Pos)))
		if src, ok := files[p.File]; ok {
			if lines[p.File] == nil {
				lines[p.File] = strings.Split(string(src), "\n")
			}
			excerpt(&b, lines[p.File], p.Pos)
		}
		for _, x := range []struct{ word, text string }{{"why", p.Why}, {"law", p.Law}, {"fix", p.Fix}} {
			if x.text != "" {
				fmt.Fprintf(&b, "   %s  %s\n", x.word, clean(x.text))
			}
		}
		b.WriteString("\n")
	}
	if len(files) > 0 {
		fmt.Fprintf(&b, "Checked %s: ", count(len(files), "file"))
	}
	fmt.Fprintf(&b, "%s, %s.\n", count(errs, "error"), count(warnings, "warning"))
	_, err := io.WriteString(w, b.String())
	return err
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// clean replaces what a terminal would obey instead of show.
func clean(s string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c == '\t':
			return ' '
		case c == unicode.ReplacementChar, unicode.IsControl(c), unicode.Is(unicode.Cf, c), c == 0x2028, c == 0x2029:
			return unicode.ReplacementChar
		}
		return c
	}, s)
}

// maxExcerpt is how many runes of a line are shown; before is how many lines
// come before the one that is meant.
const (
	maxExcerpt = 120
	before     = 2
)

// Excerpt returns the lines of a file around a place, as Render shows them: each
// ends in a newline. A line of more than 120 characters is cut to a window around
// the place. It is "" where src has no such place.
func Excerpt(src []byte, at Pos) string {
	var b strings.Builder
	excerpt(&b, strings.Split(string(src), "\n"), at)
	return b.String()
}

// excerpt writes the line of a problem, two lines before it, and a caret under
// the place, aligned by display width: Chinese takes two cells for each rune.
func excerpt(b *strings.Builder, lines []string, p Pos) {
	if p.Line < 1 || p.Line > len(lines) {
		return
	}
	gutter := len(fmt.Sprint(p.Line)) + 3
	line := []rune(clean(strings.TrimSuffix(lines[p.Line-1], "\r")))
	if len(line) == 0 || p.Column < 1 || p.Column > len(line)+1 {
		return
	}
	// A long line is shown around the place, and alone.
	start := 0
	if len(line) > maxExcerpt {
		start = max(0, p.Column-1-maxExcerpt/2)
	}
	for n := max(1, p.Line-before); n < p.Line && start == 0; n++ {
		if text := []rune(clean(strings.TrimRight(lines[n-1], " \r"))); len(text) > 0 && len(text) <= maxExcerpt {
			fmt.Fprintf(b, "%*d | %s\n", gutter, n, string(text))
		}
	}
	end := min(len(line), start+maxExcerpt)
	fmt.Fprintf(b, "%*d | %s\n", gutter, p.Line, string(line[start:end]))
	widths := runewidth.Condition{StrictEmojiNeutral: true}
	pad := widths.StringWidth(string(line[start : p.Column-1]))
	mark := max(1, widths.StringWidth(string(line[p.Column-1:p.Column-1+tokenLen(line[p.Column-1:end])])))
	fmt.Fprintf(b, "%*s | %s%s\n", gutter, "", strings.Repeat(" ", pad), strings.Repeat("^", mark))
}

// tokenLen is how many runes the YAML token at the beginning of s has.
func tokenLen(s []rune) int {
	if len(s) == 0 {
		return 0
	}
	if q := s[0]; q == '"' || q == '\'' {
		for i := 1; i < len(s); i++ {
			if s[i] == '\\' && q == '"' {
				i++
			} else if s[i] == q {
				return i + 1
			}
		}
		return len(s)
	}
	for i, c := range s {
		if i > 0 && (c == ' ' || strings.ContainsRune(",:[]{}#", c)) {
			if c == ':' && i+1 < len(s) && s[i+1] != ' ' {
				continue
			}
			return i
		}
	}
	return len(s)
}
