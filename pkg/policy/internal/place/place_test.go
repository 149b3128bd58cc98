package place

import (
	"strings"
	"testing"
)

func TestCodeTables(t *testing.T) {
	if len(countries) != 249 {
		t.Errorf("ISO 3166-1 has 249 codes, the table %d", len(countries))
	}
	three := map[string]bool{}
	for c, c3 := range countries {
		if len(c) != 2 || !isCapitals(c) || len(c3) != 3 || three[c3] {
			t.Errorf("bad row %s %s", c, c3)
		}
		three[c3] = true
		if retired[c] != "" || reserved[c] != "" || isUserAssigned(c) || aliases[c] != "" {
			t.Errorf("%s is a country and something else", c)
		}
	}
	for from, to := range aliases {
		if countries[to] == "" {
			t.Errorf("alias %s leads to %s, which is no country", from, to)
		}
	}
	for _, c := range []string{"NO", "SA", "GB", "TW", "SS", "BQ", "CW"} {
		if countries[c] == "" {
			t.Errorf("%s is missing", c)
		}
	}
}

// TestT24OnlyListedCodesPass tries every word of two characters of a wide
// alphabet: exactly the 249 codes are homes.
func TestT24OnlyListedCodesPass(t *testing.T) {
	var k Known
	var alphabet []rune
	for c := rune(0); c < 0x250; c++ {
		alphabet = append(alphabet, c)
	}
	for c := range lookalikes {
		alphabet = append(alphabet, c)
	}
	for c := 'Ａ'; c <= 'ｚ'; c++ {
		alphabet = append(alphabet, c)
	}
	passed := 0
	for _, a := range alphabet {
		for _, b := range "ABCDEFGHIJKLMNOPQRSTUVWXYZaАＡ\u200b 0" {
			s := string([]rune{a, b})
			why, fix := k.Fault(s, Home)
			if why.IsZero() != (countries[s] != "") {
				t.Errorf("%q: %s", s, why)
			}
			if why.IsZero() {
				passed++
			} else if fix.IsZero() {
				t.Errorf("%q is refused without a fix", s)
			}
		}
	}
	if passed != len(countries) {
		t.Errorf("%d codes pass", passed)
	}
	for _, s := range []string{"", "S", "SAX", "US-", "-CA", "US-ca", "US-CA", "XX-CA", "US-ABCDEFGHI", strings.Repeat("A", 1000)} {
		if why, _ := k.Fault(s, Home); why.IsZero() {
			t.Errorf("%q passes", s)
		}
	}
}
