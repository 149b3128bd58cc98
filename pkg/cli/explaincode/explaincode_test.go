package explaincode

import (
	"strings"
	"testing"

	"github.com/mattn/go-runewidth"

	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policytest"
)

// TestWrap: no line is too wide, and nothing but spaces at line ends is lost.
func TestWrap(t *testing.T) {
	for _, c := range policytest.Codes() {
		for _, l := range lang.All() {
			page := c.Page.In(l)
			got := Wrap(page, 40)
			for line := range strings.Lines(got) {
				if w := runewidth.StringWidth(strings.TrimSuffix(line, "\n")); w > 42 && strings.Contains(line, " ") {
					t.Errorf("%s %s: %d columns: %q", c.Code, l, w, line)
				}
				if strings.ContainsAny(string([]rune(line)[:1]), "，。；：、") {
					t.Errorf("%s: a line begins with punctuation: %q", c.Code, line)
				}
			}
			squeeze := strings.NewReplacer(" ", "", "\n", "")
			if squeeze.Replace(got) != squeeze.Replace(page) {
				t.Errorf("%s %s: text was lost: %q", c.Code, l, got)
			}
		}
	}
}

func TestFamilies(t *testing.T) {
	for _, c := range policytest.Codes() {
		if family(c.Code) == "" {
			t.Errorf("%s is of no family", c.Code)
		}
	}
}
