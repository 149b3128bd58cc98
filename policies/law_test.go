package policies_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/domicile-dev/domicile/pkg/policy/law"
)

// What the research of 2026-11-24 found, as lists: a law file that says more, or
// less, is wrong.
var (
	required      = []string{"RU"}
	conditional   = []string{"VN", "CN", "TR", "IN"}                   // may reach a messaging service
	sectorOnly    = []string{"SA", "AE", "ID", "NG", "KE", "DE", "FR"} // conditional, by sector or public body
	unclear       = []string{"MM"}                                     // which is no duty
	transfersOnly = []string{"EU", "GB", "CH", "SG", "MY", "TH", "AE-DIFC", "AE-ADGM", "KR", "JP", "BR", "AU", "CA", "CA-QC"}
	freeTransfers = []string{"QA", "US", "US-CA", "US-VA", "US-CO", "US-CT", "US-UT", "US-TX"}
	notLaw        = []string{"US-PA"}
	blockedByUS   = []string{"CN", "HK", "MO", "RU", "IR", "KP", "CU", "VE"}
	keepsCopy     = []string{"VN", "TR", "KE"}
	keepsOnly     = []string{"CN", "RU"}
)

// numbers holds, by law: hours to tell the authority of a breach, days for access
// and erasure, age of minors (0: the law names none), and portability.
var numbers = map[string]struct {
	hours, access, erasure, age int
	portability                 bool
}{
	"EU":      {72, 30, 30, 16, true},
	"DE":      {72, 30, 30, 16, true},
	"FR":      {72, 30, 30, 15, true},
	"GB":      {72, 30, 30, 13, true},
	"CH":      {0, 30, 0, 0, true},
	"US":      {0, 0, 0, 13, false},
	"US-CA":   {0, 45, 45, 16, true},
	"US-VA":   {0, 45, 45, 13, true},
	"US-CO":   {0, 45, 45, 18, true},
	"US-CT":   {0, 45, 45, 18, true},
	"US-UT":   {0, 45, 45, 13, true},
	"US-TX":   {0, 45, 45, 13, true},
	"US-PA":   {0, 0, 0, 13, false},
	"SG":      {72, 30, 0, 0, false},
	"MY":      {72, 21, 0, 18, true},
	"ID":      {72, 3, 3, 18, true},
	"TH":      {72, 30, 0, 20, true},
	"VN":      {72, 10, 20, 16, false},
	"MM":      {0, 0, 0, 0, false},
	"SA":      {72, 30, 30, 18, true},
	"AE":      {0, 0, 0, 13, true},
	"AE-DIFC": {0, 30, 30, 0, true},
	"AE-ADGM": {72, 60, 60, 0, true},
	"QA":      {72, 30, 30, 18, false},
	"TR":      {72, 30, 30, 15, false},
	"IN":      {72, 0, 0, 18, false},
	"RU":      {24, 14, 30, 0, false},
	"CN":      {4, 0, 0, 14, true},
	"KR":      {72, 10, 10, 14, true},
	"JP":      {120, 0, 0, 0, false},
	"BR":      {72, 15, 15, 12, true},
	"AU":      {0, 30, 0, 16, false},
	"CA":      {0, 30, 0, 13, false},
	"CA-QC":   {0, 30, 30, 14, true},
	"NG":      {72, 30, 30, 18, true},
	"KE":      {72, 7, 14, 18, true},
}

// ages holds the age of consent under GDPR Art. 8(1) and its citation (DE and FR
// have files of their own, which cite more fully).
var ages = map[string]struct {
	age      int
	citation string
}{
	"AT": {14, "DSG s. 4(4)"},
	"BE": {13, "Act of 30 July 2018 Art. 7"},
	"BG": {14, "PDPA Art. 25c"},
	"HR": {16, "GDPR default"},
	"CY": {14, "Law 125(I)/2018 s. 8"},
	"CZ": {15, "Act 110/2019 s. 7"},
	"DK": {15, "Databeskyttelsesloven s. 6 as amended from 2024-01-01"},
	"EE": {13, "IKS s. 8"},
	"FI": {13, "Tietosuojalaki 1050/2018 s. 5"},
	"FR": {15, "Law 78-17 Art. 45"},
	"DE": {16, "GDPR default"},
	"GR": {15, "Law 4624/2019 Art. 21"},
	"HU": {16, "GDPR default"},
	"IE": {16, "Data Protection Act 2018 s. 31"},
	"IT": {14, "Codice privacy Art. 2-quinquies"},
	"LV": {13, "Personal Data Processing Law s. 33"},
	"LT": {14, "ADTAI Art. 6"},
	"LU": {16, "GDPR default"},
	"MT": {13, "S.L. 586.11"},
	"NL": {16, "UAVG Art. 5"},
	"PL": {16, "GDPR default"},
	"PT": {13, "Law 58/2019 Art. 16"},
	"RO": {16, "GDPR default"},
	"SK": {16, "Act 18/2018 s. 15"},
	"SI": {15, "ZVOP-2 (2023) Art. 8"},
	"ES": {14, "LOPDGDD 3/2018 Art. 7"},
	"SE": {13, "SFS 2018:218 ch. 2 s. 4"},
	"IS": {13, "Act 90/2018 Art. 10"},
	"LI": {16, "GDPR default"},
	"NO": {13, "Personopplysningsloven s. 5"},
}

// ownTitles lists the laws whose own language has no title beside title and
// titleZh: those of English-speaking jurisdictions, of China and of the Union.
var ownTitles = []string{"AU", "CN", "EU", "GB", "NG", "SG", "US", "US-CA", "US-CO", "US-CT", "US-PA", "US-TX", "US-UT", "US-VA"}

func laws(t *testing.T) map[string]*law.Law {
	t.Helper()
	set := parse(t)
	return set.Laws
}

func TestLawsMirrorTheFacts(t *testing.T) {
	got := laws(t)
	want := map[string]string{}
	for duty, codes := range map[string][]string{
		"required": required, "conditional": slices.Concat(conditional, sectorOnly), "unclear": unclear,
		"none": slices.Concat(transfersOnly, freeTransfers, notLaw),
	} {
		for _, c := range codes {
			want[c] = duty
		}
	}
	if len(want) != len(numbers) || len(want) != 36 {
		t.Fatalf("the lists name %d laws, the numbers %d", len(want), len(numbers))
	}
	for c := range ages {
		if want[c] == "" {
			want[c] = "none"
		}
	}
	if have, expected := slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)); !slices.Equal(have, expected) {
		t.Fatalf("law files %v\nwant      %v", have, expected)
	}
	for code, l := range got {
		keeps := ""
		switch {
		case slices.Contains(keepsCopy, code):
			keeps = "copy"
		case slices.Contains(keepsOnly, code):
			keeps = "only"
		}
		if l.Duty != want[code] || l.Localisation.Keeps != keeps {
			t.Errorf("%s: duty %q keeps %q, want %q keeps %q", code, l.Duty, l.Localisation.Keeps, want[code], keeps)
		}
		if l.NotLaw != slices.Contains(notLaw, code) {
			t.Errorf("%s: not law: %v", code, l.NotLaw)
		}
		if want[code] != "none" && l.Localisation.Trigger == "" {
			t.Errorf("%s: duty %s without its trigger", code, l.Duty)
		}
		free := slices.Contains(slices.Concat(freeTransfers, notLaw, []string{"IN", "MM"}), code)
		if (l.FreeFlow != nil) != free {
			t.Errorf("%s: free flow %+v, want %v", code, l.FreeFlow, free)
		}
		if l.FreeFlow == nil && len(l.Mechanisms) == 0 && l.Adds != "EU" {
			t.Errorf("%s: no way out, which the facts do not say", code)
		}
	}
}

// TestLevelsByDataClass: a law with a duty for some sector does not reach what a
// messenger holds, and one that may reach it says what.
func TestLevelsByDataClass(t *testing.T) {
	got := laws(t)
	im := []string{"message", "profile", "relation", "contacts"}
	for code := range numbers {
		levels := got[code].Localisation.Classes
		if len(levels) != 8 {
			t.Errorf("%s: levels for %d of 8 data classes", code, len(levels))
		}
		for class, level := range levels {
			switch {
			case level == "required" && code != "RU",
				level != "required" && code == "RU",
				level != "none" && slices.Contains(slices.Concat(transfersOnly, freeTransfers, notLaw), code),
				level == "conditional" && slices.Contains(sectorOnly, code) && slices.Contains(im, class),
				level == "conditional" && code == "MM":
				t.Errorf("%s: %s is %s", code, class, level)
			}
		}
		if slices.Contains(conditional, code) && levels["profile"] != "conditional" {
			t.Errorf("%s: profile is %s", code, levels["profile"])
		}
	}
	// Message bodies are not in Vietnam's list, and India's and Russia's duties differ by operator.
	if got["VN"].Localisation.Classes["message"] != "unclear" {
		t.Errorf("VN: message is %s", got["VN"].Localisation.Classes["message"])
	}
	for code, want := range map[string]int{"VN": 2, "IN": 3, "RU": 2, "SA": 0} {
		if n := len(got[code].Localisation.Variants); n != want {
			t.Errorf("%s: %d variants, want %d", code, n, want)
		}
	}
}

func TestDeadlinesAndAges(t *testing.T) {
	got := laws(t)
	for code, want := range numbers {
		have := want
		l := got[code]
		have.hours, have.access, have.erasure, have.portability = l.Breach.AuthorityHours, l.DSR.AccessDays, l.DSR.ErasureDays, l.DSR.Portability
		have.age = 0
		if l.Minors != nil {
			have.age = l.Minors.Age
		}
		if have != want {
			t.Errorf("%s: %+v, want %+v", code, have, want)
		}
	}
	eea := parse(t).Groups["EEA"]
	if len(ages) != 30 || len(eea.Members) != 30 {
		t.Fatalf("%d ages, %d members", len(ages), len(eea.Members))
	}
	for _, m := range eea.Members {
		l := got[m.Code]
		if l == nil || l.Adds != "EU" || l.Minors == nil {
			t.Errorf("%s: no law that adds to EU with an age", m.Code)
			continue
		}
		if want := ages[m.Code]; l.Minors.Age != want.age || m.Code != "DE" && m.Code != "FR" && l.Minors.Citation != want.citation {
			t.Errorf("%s: age %d by %q, want %d by %q", m.Code, l.Minors.Age, l.Minors.Citation, want.age, want.citation)
		}
	}
}

func TestExportLimits(t *testing.T) {
	set := parse(t)
	for code, l := range set.Laws {
		if code != "US" {
			if len(l.ExportLimits) > 0 {
				t.Errorf("%s: %+v", code, l.ExportLimits)
			}
			continue
		}
		if len(l.ExportLimits) != 1 || len(l.ExportLimits[0].Destinations) != 1 {
			t.Fatalf("US: %+v", l.ExportLimits)
		}
		var blocked []string
		for _, m := range set.Groups[l.ExportLimits[0].Destinations[0].Value].Members {
			blocked = append(blocked, m.Code)
		}
		if !slices.Equal(blocked, blockedByUS) {
			t.Errorf("US: %v, want %v", blocked, blockedByUS)
		}
	}
}

// TestAdequacy: who calls whom adequate. Where the facts name no list, nobody is.
func TestAdequacy(t *testing.T) {
	want := map[string]string{
		"EU": "EU-ADEQUATE", "GB": "EEA GB-ADEQUATE", "CH": "EEA CH-ADEQUATE", "KR": "EEA", "JP": "EEA GB", "BR": "EEA",
	}
	sizes := map[string]int{"EU-ADEQUATE": 16, "GB-ADEQUATE": 15, "CH-ADEQUATE": 14}
	set := parse(t)
	for code, l := range set.Laws {
		if got := strings.Join(l.Adequate, " "); got != want[code] {
			t.Errorf("%s: %q, want %q", code, got, want[code])
		}
	}
	for name, n := range sizes {
		if len(set.Groups[name].Members) != n {
			t.Errorf("%s: %d members, want %d", name, len(set.Groups[name].Members), n)
		}
	}
}

// TestEveryLawIsComplete: titles in English, Chinese and the jurisdiction's own
// language; sources; a review ahead; and how far each fact was checked.
func TestEveryLawIsComplete(t *testing.T) {
	han := func(s string) bool {
		return strings.ContainsFunc(s, func(r rune) bool { return unicode.Is(unicode.Han, r) })
	}
	for code, l := range laws(t) {
		if l.Title == "" || han(l.Title) || !han(l.TitleZh) {
			t.Errorf("%s: titles %q, %q", code, l.Title, l.TitleZh)
		}
		if own := slices.Contains(ownTitles, code); own != (len(l.TitlesLocal) == 0) {
			t.Errorf("%s: titles in its own languages: %v", code, l.TitlesLocal)
		}
		if !l.ReviewBy.After(released) {
			t.Errorf("%s: to be reviewed by %s", code, l.ReviewBy)
		}
		if len(l.SourcesOfficial) == 0 {
			t.Errorf("%s: no sources", code)
		}
		if _, researched := numbers[code]; researched && (len(l.Articles) == 0 || l.Confidence == "" || l.Retention == nil || l.LawfulAccess == nil) {
			t.Errorf("%s: no articles, confidence, retention or lawful access", code)
		}
		if l.Localisation.Verified == "" || l.Localisation.Scope == "" || l.Localisation.Citation == "" {
			t.Errorf("%s: localisation without scope, citation or verified", code)
		}
		for id, a := range l.Articles {
			if a.Verified == "" || a.Citation == "" {
				t.Errorf("%s: article %s without citation or verified", code, id)
			}
		}
	}
}
