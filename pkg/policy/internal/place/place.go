// Package place judges codes of jurisdictions: the closed list of ISO 3166-1,
// special territories, groups, and what people write in their place. It is data
// and pure functions.
package place

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/language"
	"golang.org/x/text/width"

	"github.com/domicile-dev/domicile/pkg/policy/internal/form"
)

// Known is what the files of a run define beside the countries.
type Known struct {
	Special map[string]bool     // codes of special territories that a law file describes
	Groups  map[string][]string // members by name, for advice
}

// IsCountry tells whether s is a code of ISO 3166-1.
func IsCountry(s string) bool { return countries[s] != "" }

// Use says which codes a place takes.
type Use uint8

const (
	Home    Use = iota // a jurisdiction: a country or a special territory
	Country            // a country: where a region lies
	Any                // a jurisdiction or a group
	Law                // a law file's own code: a country, territory or union
)

var useNames = map[Use]string{
	Home: "a jurisdiction", Country: "a country", Any: "a jurisdiction or a group", Law: "the code of a law",
}

// aliases are codes that people write for another; the table is explicit, nothing
// is guessed.
var aliases = map[string]string{"UK": "GB", "EL": "GR", "KSA": "SA", "UAE": "AE"}

// reserved are codes that ISO 3166 keeps for other ends than a country.
var reserved = map[string]string{
	"AC": "Ascension Island", "CP": "Clipperton Island", "CQ": "Sark", "DG": "Diego Garcia", "EA": "Ceuta and Melilla",
	"EU": "the European Union", "EZ": "the Eurozone", "IC": "the Canary Islands", "TA": "Tristan da Cunha", "UN": "the United Nations",
}

// lookalikes are letters of other scripts that look like a capital of ours.
var lookalikes = map[rune]rune{
	'А': 'A', 'В': 'B', 'С': 'C', 'Е': 'E', 'Н': 'H', 'І': 'I', 'Ј': 'J', 'К': 'K', 'М': 'M', 'О': 'O', 'Р': 'P', 'Ѕ': 'S', 'Т': 'T', 'Х': 'X', 'У': 'Y',
	'Α': 'A', 'Β': 'B', 'Ε': 'E', 'Ζ': 'Z', 'Η': 'H', 'Ι': 'I', 'Κ': 'K', 'Μ': 'M', 'Ν': 'N', 'Ο': 'O', 'Ρ': 'P', 'Τ': 'T', 'Υ': 'Y', 'Χ': 'X',
}

// IsSpecial tells whether s has the form of a special territory: a country, a
// hyphen and its own letters, as in US-CA and AE-DIFC.
func IsSpecial(s string) bool {
	country, rest, ok := strings.Cut(s, "-")
	if !ok || countries[country] == "" || len(rest) == 0 || len(rest) > 8 {
		return false
	}
	return isCapitals(rest)
}

func isCapitals(s string) bool {
	for _, c := range []byte(s) {
		if !(c >= 'A' && c <= 'Z' || c >= '0' && c <= '9') {
			return false
		}
	}
	return s != ""
}

// isUserAssigned tells whether ISO leaves a code to its users, as Kosovo's XK.
func isUserAssigned(s string) bool {
	return len(s) == 2 && (s == "AA" || s == "ZZ" || s[0] == 'X' || s[0] == 'Q' && s[1] >= 'M')
}

// Fault says what is wrong with a code for a use, and what to write; "" when
// nothing is.
func (k Known) Fault(s string, u Use) (why, fix string) {
	_, isGroup := k.Groups[s]
	switch {
	case countries[s] != "":
		return "", ""
	case isGroup && u == Any:
		return "", ""
	case u == Law && (s == "EU" || IsSpecial(s)):
		return "", ""
	case IsSpecial(s) && u == Country:
		return fmt.Sprintf("%q is a special territory, and a region lies in a country", s), fmt.Sprintf("write %q", s[:2])
	case IsSpecial(s) && k.Special[s]:
		return "", ""
	case IsSpecial(s):
		return fmt.Sprintf("%q is a special territory that no law file describes", s), fmt.Sprintf("add law/%s.yaml, or write %q", strings.ToLower(s), s[:2])
	case form.Odd(s) != "":
		return foreignLetters(s)
	case strings.TrimSpace(s) != s:
		return fmt.Sprintf("%q has blanks around it", s), fmt.Sprintf("write %q", strings.TrimSpace(s))
	case isGroup:
		return k.groupFault(s, u)
	case s == "EU":
		return k.unionFault(u)
	case retired[s] != "":
		return fmt.Sprintf("%q is a retired code (%s)", s, retired[s]), successor(s)
	case isUserAssigned(s):
		name := ""
		if s == "XK" {
			name = ", in use for Kosovo,"
		}
		return fmt.Sprintf("%q%s is a code that ISO 3166 leaves to its users, and no country of the list", s, name), "write a code that ISO 3166-1 assigns"
	case reserved[s] != "":
		return fmt.Sprintf("%q (%s) is reserved, and no country of ISO 3166-1", s, reserved[s]), "write the code of the country"
	}
	return k.strangeCode(s, u)
}

// strangeCode is Fault for what is no code at all.
func (k Known) strangeCode(s string, u Use) (why, fix string) {
	up := strings.ToUpper(s)
	switch {
	case aliases[up] != "":
		return fmt.Sprintf("%q is not the code of a country", s), fmt.Sprintf("write %q", aliases[up])
	case up != s && (countries[up] != "" || IsSpecial(up)):
		return fmt.Sprintf("%q is in lower case; codes are capitals", s), fmt.Sprintf("write %q", up)
	case up != s && k.Groups[up] != nil:
		return fmt.Sprintf("%q is in lower case; groups are written as they are defined", s), fmt.Sprintf("write %q", up)
	}
	for two, three := range countries {
		if three == up {
			return fmt.Sprintf("%q is a three-letter code; codes have two letters", s), fmt.Sprintf("write %q", two)
		}
	}
	if len(s) == 3 && strings.Trim(s, "0123456789") == "" {
		if reg, err := language.ParseRegion(s); err == nil && countries[reg.String()] != "" {
			return fmt.Sprintf("%q is a numeric code; codes have two letters", s), fmt.Sprintf("write %q", reg.String())
		}
	}
	fix = `write a code of ISO 3166-1, as in "SA"`
	if u == Any {
		var names []string
		for g := range k.Groups {
			names = append(names, g)
		}
		slices.Sort(names)
		fix = form.Suggest(s, names, `write a code of ISO 3166-1, as in "SA", or one of the groups: `+strings.Join(names, ", "))
	}
	return fmt.Sprintf("%q is not %s", s, useNames[u]), fix
}

func (k Known) groupFault(s string, u Use) (why, fix string) {
	members := k.Groups[s]
	if len(members) > 40 {
		members = members[:40]
	}
	return fmt.Sprintf("%q is a group, and this must be %s", s, useNames[u]), "write the members: " + strings.Join(members, ", ")
}

func (k Known) unionFault(u Use) (why, fix string) {
	if u == Any {
		fix = "write the member states"
		if _, ok := k.Groups["EEA"]; ok {
			fix = `write "EEA", or the member states`
		}
		return `"EU" is the code of a union, and no group of that name is defined`, fix
	}
	return fmt.Sprintf(`"EU" is a union of states, and this must be %s`, useNames[u]), `list the member states: "DE", "FR", …`
}

// successor tells what to write for a retired code, where x/text knows one
// country that came after.
func successor(s string) string {
	if reg, err := language.ParseRegion(s); err == nil {
		if c := reg.Canonicalize().String(); c != s && countries[c] != "" {
			return fmt.Sprintf("write %q, or the code of the country that it is today", c)
		}
	}
	return "write the code of the country that it is today"
}

// foreignLetters names what only looks like a code, and what it may stand for.
func foreignLetters(s string) (why, fix string) {
	fix = "write it with the letters A to Z"
	plain := strings.Map(func(c rune) rune {
		if l := lookalikes[unicode.ToUpper(c)]; l != 0 {
			return l
		}
		if c == 0x200E || c == 0x200F || c >= 0x200B && c <= 0x200D || c == 0x2060 || c == 0xFEFF || c == 0xA0 {
			return -1
		}
		return c
	}, width.Fold.String(s))
	if plain = strings.ToUpper(strings.TrimSpace(plain)); countries[plain] != "" || IsSpecial(plain) {
		fix = fmt.Sprintf("write %q with the letters A to Z", plain)
	}
	return fmt.Sprintf("%q is no code%s", s, form.Odd(s)), fix
}
