package nearest

import (
	"slices"
	"strings"
	"testing"
)

func TestWord(t *testing.T) {
	known := []string{
		"serve", "entry", "basis", "session", "cache", "message", "pdpl-29", "pdpl-4", "me-riyadh", "eu-frankfurt", "SA", "EEA",
		"here", "longLived", "POST", "GET", "消息主存储",
	}
	for in, want := range map[string]string{
		"entries": "entry", "entires": "entry", "pdpl-92": "pdpl-29", "mesage": "message", "me-riyad": "me-riyadh",
		"eu-frankfrut": "eu-frankfurt", "SB": "SA", "AS": "SA", "EFA": "EEA", "heer": "here", "longlived": "longLived", "post": "POST",
		"serv": "serve", "消息住存储": "消息主存储", "message": "message",

		"": "", "x": "", "XY": "", "JP": "", "zzz": "", "eu-west": "", "payments": "", "tighten": "", "route": "", "servers": "serve",
		"owner": "", "limits": "", "note": "", "law": "",
		strings.Repeat("message", 20): "",
	} {
		if got := Word(in, known); got != want {
			t.Errorf("Word(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"abc", "abc", 0}, {"abc", "axc", 1}, {"abc", "ac", 1},
		{"ab", "ba", 1}, {"abcd", "badc", 2}, {"ca", "abc", 3}, {"entry", "entires", 3}, {"kitten", "sitting", 3},
	} {
		if got := distance([]rune(c.a), []rune(c.b)); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
		if got := distance([]rune(c.b), []rune(c.a)); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.b, c.a, got, c.want)
		}
	}
}

func TestWords(t *testing.T) {
	known := []string{"DP2110", "DP2107", "DP2101", "DP3107", "DP9001"}
	for _, c := range []struct {
		name string
		n    int
		want []string
	}{
		{"DP2170", 3, []string{"DP2107", "DP2110", "DP2101"}},
		{"dp2107", 1, []string{"DP2107"}},
		{"DP2108", 2, []string{"DP2101", "DP2107"}},
		{"nonsense", 3, nil},
		{"DP2107", 0, nil},
	} {
		if got := Words(c.name, known, c.n); !slices.Equal(got, c.want) {
			t.Errorf("Words(%q, %d) = %q, want %q", c.name, c.n, got, c.want)
		}
	}
}

// TestOrderDoesNotMatter: among equally near words the first of the alphabet wins.
func TestOrderDoesNotMatter(t *testing.T) {
	for _, known := range [][]string{{"class-b", "class-a"}, {"class-a", "class-b"}} {
		if got := Word("class-x", known); got != "class-a" {
			t.Errorf("of %v: %q", known, got)
		}
	}
}

// TestSure: one of them must be nearer than every other one.
func TestSure(t *testing.T) {
	for name, want := range map[string]string{"enforcemnt": "enforcement", "class-x": "", "servce": "", "klnd": "kind", "zzz": ""} {
		if got := Sure(name, []string{"enforcement", "class-a", "class-b", "kind", "serve", "service"}); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
