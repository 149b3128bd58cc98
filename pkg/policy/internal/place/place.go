// Package place judges codes of jurisdictions: the closed list of ISO 3166-1,
// special territories, groups, and what people write in their place. It is data
// and pure functions.
package place

import (
	"maps"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/language"
	"golang.org/x/text/width"

	"github.com/domicile-dev/domicile/pkg/lang"
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

var useNames = map[Use]lang.Text{
	Home: lang.T("a jurisdiction"), Country: lang.T("a country"), Any: lang.T("a jurisdiction or a group"), Law: lang.T("the code of a law"),
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
// hyphen and its own letters, as in US-CA and AE-DIFC. Longer names, as in
// GB-ADEQUATE, are free for groups.
func IsSpecial(s string) bool {
	country, rest, ok := strings.Cut(s, "-")
	if !ok || countries[country] == "" || len(rest) == 0 || len(rest) > 6 {
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
func (k Known) Fault(s string, u Use) (why, fix lang.Text) {
	_, isGroup := k.Groups[s]
	switch {
	case countries[s] != "":
		return lang.Text{}, lang.Text{}
	case isGroup && u == Any:
		return lang.Text{}, lang.Text{}
	case u == Law && (s == "EU" || IsSpecial(s)):
		return lang.Text{}, lang.Text{}
	case IsSpecial(s) && u == Country:
		return lang.T("%q is a special territory, and a region lies in a country", s), lang.T("write %q", s[:2])
	case IsSpecial(s) && k.Special[s]:
		return lang.Text{}, lang.Text{}
	case IsSpecial(s):
		return lang.T("%q is a special territory that no law file describes", s), lang.T("add law/%s.yaml, or write %q", strings.ToLower(s), s[:2])
	case !form.Odd(s).IsZero():
		return foreignLetters(s)
	case strings.TrimSpace(s) != s:
		return lang.T("%q has blanks around it", s), lang.T("write %q", strings.TrimSpace(s))
	case isGroup:
		return k.groupFault(s, u)
	case s == "EU":
		return k.unionFault(u)
	case retired[s] != "":
		return lang.T("%q is a retired code (%s)", s, retired[s]), successor(s)
	case isUserAssigned(s):
		name := lang.Text{}
		if s == "XK" {
			name = lang.T(", in use for Kosovo,")
		}
		return lang.T("%q%s is a code that ISO 3166 leaves to its users, and no country of the list", s, name), lang.T("write a code that ISO 3166-1 assigns")
	case reserved[s] != "":
		return lang.T("%q (%s) is reserved, and no country of ISO 3166-1", s, reserved[s]), lang.T("write the code of the country")
	}
	return k.strangeCode(s, u)
}

// strangeCode is Fault for what is no code at all.
func (k Known) strangeCode(s string, u Use) (why, fix lang.Text) {
	up := strings.ToUpper(s)
	switch {
	case aliases[up] != "":
		return lang.T("%q is not the code of a country", s), lang.T("write %q", aliases[up])
	case up != s && (countries[up] != "" || IsSpecial(up)):
		return lang.T("%q is in lower case; codes are capitals", s), lang.T("write %q", up)
	case up != s && k.Groups[up] != nil:
		return lang.T("%q is in lower case; groups are written as they are defined", s), lang.T("write %q", up)
	}
	for two, three := range countries {
		if three == up {
			return lang.T("%q is a three-letter code; codes have two letters", s), lang.T("write %q", two)
		}
	}
	if len(s) == 3 && strings.Trim(s, "0123456789") == "" {
		if reg, err := language.ParseRegion(s); err == nil && countries[reg.String()] != "" {
			return lang.T("%q is a numeric code; codes have two letters", s), lang.T("write %q", reg.String())
		}
	}
	fix = lang.T(`write a code of ISO 3166-1, as in "SA"`)
	if u == Any {
		var names []string
		for g := range k.Groups {
			names = append(names, g)
		}
		slices.Sort(names)
		fix = form.Suggest(s, names, lang.T(`write a code of ISO 3166-1, as in "SA", or one of the groups: %s`, strings.Join(names, ", ")))
	}
	return lang.T("%q is not %s", s, useNames[u]), fix
}

func (k Known) groupFault(s string, u Use) (why, fix lang.Text) {
	members := k.Groups[s]
	if len(members) > 40 {
		members = members[:40]
	}
	return lang.T("%q is a group, and this must be %s", s, useNames[u]), lang.T("write the members: %s", strings.Join(members, ", "))
}

func (k Known) unionFault(u Use) (why, fix lang.Text) {
	if u == Any {
		fix = lang.T("write the member states")
		if _, ok := k.Groups["EEA"]; ok {
			fix = lang.T(`write "EEA", or the member states`)
		}
		return lang.T(`"EU" is the code of a union, and no group of that name is defined`), fix
	}
	return lang.T(`"EU" is a union of states, and this must be %s`, useNames[u]), lang.T(`list the member states: "DE", "FR", …`)
}

// successor tells what to write for a retired code, where x/text knows one
// country that came after.
func successor(s string) lang.Text {
	if reg, err := language.ParseRegion(s); err == nil {
		if c := reg.Canonicalize().String(); c != s && countries[c] != "" {
			return lang.T("write %q, or the code of the country that it is today", c)
		}
	}
	return lang.T("write the code of the country that it is today")
}

// foreignLetters names what only looks like a code, and what it may stand for.
func foreignLetters(s string) (why, fix lang.Text) {
	fix = lang.T("write it with the letters A to Z")
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
		fix = lang.T("write %q with the letters A to Z", plain)
	}
	return lang.T("%q is no code%s", s, form.Odd(s)), fix
}

// Countries lists the codes of ISO 3166-1, sorted.
func Countries() []string { return slices.Sorted(maps.Keys(countries)) }
